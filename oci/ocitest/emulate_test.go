package ocitest_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"airlift/oci/ocitest"
)

// TestRules: each emulated rule cites its source, and answers with the body of the
// real registry where it should, and nowhere else.
func TestRules(t *testing.T) {
	t.Parallel()
	type answer struct{ request, want string } // METHOD PATH [CONTENT-TYPE], and status and a part of the body; "" passes
	for name, test := range map[string]struct {
		rules   []ocitest.Rule
		answers []answer
	}{
		"zot": {ocitest.Zot(false), []answer{
			{"PUT /v2/a/manifests/v1 application/vnd.docker.distribution.manifest.v2+json", `415 "code":"MANIFEST_INVALID","message":"manifest invalid","detail":{"mediaType":"application/vnd.docker.distribution.manifest.v2+json"}`},
			{"PUT /v2/a/manifests/v1 application/vnd.oci.image.manifest.v1+json", ""},
			{"GET /v2/a/manifests/v1", ""},
		}},
		"Quay": {ocitest.Quay(ocitest.QuayOptions{Organisations: []string{"there"}}), []answer{
			{"POST /v2/absent/a/blobs/uploads/", `401 "code":"UNAUTHORIZED","message":"access to the requested resource is not authorized"`},
			{"POST /v2/there/a/blobs/uploads/", ""},
			{"POST /v2/there/a/b/blobs/uploads/", `400 "code":"NAME_INVALID","message":"Nested repositories are not supported. Found: there/a/b"`},
			{"GET /v2/", ""},
		}},
		"Quay, nested": {ocitest.Quay(ocitest.QuayOptions{Organisations: []string{"there"}, Nested: true}), []answer{{"POST /v2/there/a/b/blobs/uploads/", ""}}},
		"Harbor": {ocitest.Harbor("there"), []answer{
			{"POST /v2/app/blobs/uploads/", `400 "code":"BAD_REQUEST","message":"invalid repository name: app"`},
			{"HEAD /v2/absent/app/manifests/v1", "401 "},
			{"POST /v2/absent/app/blobs/uploads/", `401 "code":"UNAUTHORIZED","message":"project absent not found"`},
			{"POST /v2/there/app/x/y/blobs/uploads/", ""},
		}},
		"GitLab": {ocitest.GitLab("group/project"), []answer{
			{"POST /v2/group/project/a/b/blobs/uploads/", ""},
			{"POST /v2/group/project/blobs/uploads/", ""},
			{"POST /v2/group/project/a/b/c/blobs/uploads/", `401 "code":"UNAUTHORIZED","message":"authentication required"`},
			{"POST /v2/group/projects/a/blobs/uploads/", `401 "Name":"group/projects/a"`},
		}},
		"ECR": {ocitest.ECR("there/app"), []answer{
			{"POST /v2/there/app/blobs/uploads/", ""},
			{"GET /v2/there/other/manifests/v1", `404 "code":"NAME_UNKNOWN","message":"The repository with name 'there/other' does not exist in the registry with id '123456789012'"`},
		}},
		"OpenShift": {ocitest.OpenShift(), []answer{
			{"GET /v2/", `401 "code":"UNAUTHORIZED"`},
			{"GET /openshift/token", `200 "token":`},
		}},
	} {
		for _, rule := range test.rules {
			if rule.Name == "" || rule.Source == "" {
				t.Errorf("%s: %+v has no name or no source", name, rule)
			}
		}
		host, stop, err := ocitest.Embedded()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		p := ocitest.Emulate(t, host, test.rules)
		for _, a := range test.answers {
			status, body, _ := strings.Cut(a.want, " ")
			got := ask(t, p.Host, a.request, test.rules)
			if (got == "") != (a.want == "") || !strings.HasPrefix(got, status) || !strings.Contains(got, body) {
				t.Errorf("%s: %s: %s, want %s", name, a.request, got, a.want)
			}
		}
	}
}

// ask sends a request through rules, and gives the answer; "" if none of the rules
// has any.
func ask(t *testing.T, host, request string, rules []ocitest.Rule) string {
	t.Helper()
	words := append(strings.Fields(request), "")
	r, err := http.NewRequest(words[0], "http://"+host+words[1], nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", words[2])
	ruled := false
	for _, rule := range rules {
		ruled = ruled || rule.Answer(r.Clone(t.Context())) != nil
	}
	if !ruled {
		return ""
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, body)
}

// TestCollectUntagged: what a tag leads to stays, with what it lists.
func TestCollectUntagged(t *testing.T) {
	t.Parallel()
	r := ocitest.StartRegistry(t)
	b := r.Builder()
	index := b.NestedIndex("a/b", "v1")
	lone := b.Image("a/b", "", ocitest.ImageOpts{Comment: "lone"})
	if n := r.CollectUntagged(t); n != 1 {
		t.Errorf("%d were collected, one had no tag", n)
	}
	if _, raw := b.Manifest("a/b", index.Digest.String()); raw == nil {
		t.Error("the index is gone")
	}
	if n := r.CollectUntagged(t); n != 0 {
		t.Errorf("%d were collected again", n)
	}
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	if _, raw := b.Manifest("a/b", lone.Digest.String()); raw != nil {
		t.Error("what had no tag is there")
	}
}

// TestBusyQuay: one of five requests to push fails, and goes well when it is made
// again.
func TestBusyQuay(t *testing.T) {
	t.Parallel()
	rules := ocitest.Quay(ocitest.QuayOptions{Organisations: []string{"there"}, Busy: true})
	host, stop, err := ocitest.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	p := ocitest.Emulate(t, host, rules)
	for try, want := range []int{2, 0} {
		failed := 0
		for i := range 10 {
			resp, err := http.Post(fmt.Sprintf("http://%s/v2/there/app%d/blobs/uploads/", p.Host, i), "", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode == http.StatusBadGateway {
				failed++
			}
		}
		if failed != want {
			t.Errorf("try %d: %d failed, not %d", try+1, failed, want)
		}
	}
}
