package oci_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"airlift/oci"
)

// TestTags: a list is whole, or an error, of which the registry is asked once.
func TestTags(t *testing.T) {
	for _, c := range []struct {
		status     int
		link, body string
		want       []string
		text       string // of the error; "" for none
	}{
		{200, "", `{"name":"a/b","tags":["v1","sha256-0.sig"]}`, []string{"v1", "sha256-0.sig"}, ""},
		{200, "", `{"tags":[]}`, []string{}, ""},
		{200, "", `{"tags":null}`, nil, ""},
		{200, `</v2/>; rel="prev"`, `{"tags":["v1"]}`, []string{"v1"}, ""},
		{200, `</v2/a/b/tags/list?last=v1>; rel="next"`, `{"tags":["v1"]}`, nil, "page"},
		{200, `<http://other.example/>; rel="next"`, `{"tags":["v1"]}`, nil, "page"},
		{200, "", `{"name":"a/b"}`, nil, "tags"},
		{200, "", `{"tags":"v1"}`, nil, "tags"},
		{200, "", `{"tags":["v1",null]}`, nil, "not a tag"},
		{200, "", `{"tags":["v1","a/b"]}`, nil, "not a tag"},
		{200, "", `{"Tags":["v1"]}`, nil, "tags"},
		{200, "", `{"tags":["v1"],"tags":[]}`, nil, "twice"},
		{200, "", `{"tags":["v1"]}{}`, nil, "not JSON"},
		{200, "", `<html>`, nil, "not JSON"},
		{200, "", `{"tags":[]}` + strings.Repeat(" ", oci.MaxNodeSize), nil, "larger"},
		{206, "", `{"tags":["v1"]}`, nil, "206"},
		{404, "", "", nil, "404"},
		{403, "", "", nil, "403"},
		{429, "", "", nil, "429"},
		{500, "", "", nil, "500"},
	} {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/a/b/tags/list" || r.URL.RawQuery != "" {
				t.Errorf("asked for %s", r.URL)
			}
			if c.link != "" {
				w.Header().Set("Link", c.link)
			}
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.body)
		})
		got, err := client(t, s.host).Tags(background, parse(t, s.host+"/a/b:v1"))
		if c.text != "" {
			wantError(t, err, c.text)
		} else if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%.60s: got %q, %v", c.body, got, err)
		}
		if n := len(s.seen()); n != 1 {
			t.Errorf("%d %.60s: asked %d times", c.status, c.body, n)
		}
	}
}
