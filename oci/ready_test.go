package oci_test

import (
	"net/http"
	"strings"
	"testing"

	"airlift/oci"
	"airlift/oci/ocitest"
)

// TestCanPush: whoever may only pull is told so, by whatever says it, and nothing
// is left behind.
func TestCanPush(t *testing.T) {
	t.Parallel()
	p := ocitest.Misbehave(t, ocitest.StartRegistry(t).Host, nil)
	host := ocitest.StartTokens(t, p.Host, map[string]ocitest.TokenUser{
		"reader": {Password: "r", Actions: []string{"pull"}},
		"writer": {Password: "w", Actions: []string{"pull", "push", "delete"}},
	})
	at := oci.Reference{Registry: host, Repository: "team/app"}
	for user, password := range map[string]string{"reader": "r", "writer": "w"} {
		authfile := t.TempDir() + "/auth.json"
		ocitest.WriteAuthfile(t, authfile, map[string][2]string{host: {user, password}})
		c, err := oci.NewClient(oci.Options{Insecure: []string{host}, Authfile: authfile})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.CanPush(t.Context(), at); (err == nil) != (user == "writer") || err != nil && !oci.IsDenied(err) {
			t.Errorf("%s: %v", user, err)
		}
		if there, err := c.HasRepository(t.Context(), at); there || err != nil {
			t.Errorf("%s: there is %v, %v", user, there, err)
		}
		if realm, err := c.TokenRealm(t.Context(), at); realm != "http://"+host+"/token" || err != nil {
			t.Errorf("%s: tokens come from %q, %v", user, realm, err)
		}
	}
	if begun, given := p.Count(http.MethodPost, "/blobs/uploads/"), p.Count(http.MethodDelete, "/blobs/uploads/"); begun != 1 || given != 1 {
		t.Errorf("%d uploads were begun and %d given up", begun, given)
	}
	c, err := oci.NewClient(oci.Options{Insecure: []string{p.Host}})
	if err != nil {
		t.Fatal(err)
	}
	if realm, err := c.TokenRealm(t.Context(), oci.Reference{Registry: p.Host, Repository: "team/app"}); realm != "" || err != nil {
		t.Errorf("tokens come from %q, %v", realm, err)
	}
}

// TestLeaveToDelete: where it is wanted to give an upload up, and not given, that
// keeps nobody from pushing after: what is refused whole is asked for once.
func TestLeaveToDelete(t *testing.T) {
	t.Parallel()
	behind := ocitest.StartTokens(t, ocitest.StartRegistry(t).Host, map[string]ocitest.TokenUser{
		"writer": {Password: "w", Actions: []string{"pull", "push"}},
	})
	p := ocitest.Misbehave(t, behind, func(r *http.Request) *ocitest.Fault {
		if r.URL.Path == "/token" && strings.Contains(r.URL.RawQuery, "delete") {
			return &ocitest.Fault{Status: http.StatusForbidden}
		}
		return nil
	})
	authfile := t.TempDir() + "/auth.json"
	ocitest.WriteAuthfile(t, authfile, map[string][2]string{p.Host: {"writer", "w"}})
	c, err := oci.NewClient(oci.Options{Insecure: []string{p.Host}, Authfile: authfile})
	if err != nil {
		t.Fatal(err)
	}
	at := oci.Reference{Registry: p.Host, Repository: "team/app"}
	for range 2 {
		if err := c.CanPush(t.Context(), at); err != nil {
			t.Error(err)
		}
	}
	if n := p.Count(http.MethodPost, "/blobs/uploads/"); n != 2 {
		t.Errorf("%d uploads were begun", n)
	}
	if begun, tokens := p.Count(http.MethodDelete, ""), p.Count(http.MethodGet, "/token"); begun != 2 || tokens != 3 {
		t.Errorf("%d uploads were to be given up, with %d tokens", begun, tokens)
	}
}
