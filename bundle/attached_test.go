package bundle_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/bundle"
	"airlift/oci"
	"airlift/oci/ocitest"
)

// tagged is a registry with images of one repository, of which some have something
// attached by tags.
type tagged struct {
	proxy    *ocitest.Proxy
	list     atomic.Pointer[ocitest.Fault] // what is done to lists of tags
	images   []string
	attached []string // further references that are to be carried
}

// newTagged pushes n images, of which every third from the first on is signed, and
// every fourth has a referrer; the last one is an index of two, of which one is signed.
func newTagged(t *testing.T, n int) *tagged {
	t.Helper()
	s := &tagged{}
	near := ocitest.StartRegistry(t)
	s.proxy = ocitest.Misbehave(t, near.Host, func(r *http.Request) *ocitest.Fault {
		if strings.HasSuffix(r.URL.Path, "/tags/list") {
			return s.list.Load()
		}
		return nil
	})
	const repo = "team/app"
	b := near.Builder()
	layers := []ocispec.Descriptor{b.RandomLayer(repo, "shared", 1000)}
	image := func(tag, name string) ocispec.Descriptor {
		return b.Image(repo, tag, ocitest.ImageOpts{Layers: layers, Labels: map[string]string{"name": name}})
	}
	at := s.proxy.Host + "/" + repo
	sign := func(d ocispec.Descriptor) {
		b.CosignSignature(repo, d.Digest)
		s.attached = append(s.attached, at+":"+fallback(d.Digest)+".sig")
	}
	for i := range n - 1 {
		tag := fmt.Sprintf("v%02d", i)
		d := image(tag, tag)
		s.images = append(s.images, at+":"+tag)
		if i%3 == 0 {
			sign(d)
		}
		if i%4 == 1 {
			b.Referrer(repo, d, "application/x-sbom", tag)
			s.attached = append(s.attached, at+":"+fallback(d.Digest))
		}
	}
	child := image("", "a child")
	sign(child)
	b.Index(repo, "v99", false, child, image("", "another child"))
	s.images = append(s.images, at+":v99")
	check(t, b.Err())
	return s
}

// plan gives the content, and how many requests that took.
func (s *tagged) plan(t *testing.T, c *oci.Client) (content []byte, requests int) {
	t.Helper()
	before := len(s.proxy.Log())
	planned := plan(t, c, bundle.Request{Images: references(t, s.images...)})
	requests = len(s.proxy.Log()) - before
	var carried []string
	for _, i := range planned.Images {
		carried = append(carried, i.Reference)
	}
	for _, want := range slices.Concat(s.images, s.attached) {
		if !slices.Contains(carried, want) {
			t.Errorf("%s is not carried", want)
		}
	}
	content, err := json.Marshal(planned)
	check(t, err)
	return content, requests
}

// TestTagListSavesRequests: where a repository lists all its tags, an image costs one
// request, and what is attached to it another one each.
func TestTagListSavesRequests(t *testing.T) {
	t.Parallel()
	const images = 40
	s := newTagged(t, images)
	_, requests := s.plan(t, client(t, s.proxy.Host))
	referrers := 10 // which the indexes at the tags of referrers list
	if most := images + 2 + len(s.attached) + referrers + 20; requests > most {
		t.Errorf("%d requests for %d images with %d attachments, want %d at most", requests, images, len(s.attached), most)
	}
	if n := s.proxy.Count("GET", "/tags/list"); n != 1 {
		t.Errorf("the tags were listed %d times", n)
	}
}

// TestTagListMakesNoDifference: whatever a registry says to the wish for a list, the
// same is carried. What it does not list, or not as a whole, is asked for.
func TestTagListMakesNoDifference(t *testing.T) {
	t.Parallel()
	const images = 12
	s := newTagged(t, images)
	want, few := s.plan(t, client(t, s.proxy.Host))
	says := func(body string) ocitest.Fault {
		return ocitest.Fault{Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: body}
	}
	for name, f := range map[string]ocitest.Fault{
		"paged":                 {Header: http.Header{"Link": {`</v2/team/app/tags/list?last=v10&n=50>; rel="next"`}}},
		"paged at another host": {Header: http.Header{"Link": {`<http://other.example/v2/team/app/tags/list?last=v10>; rel="next"`}}},
		"401":                   {Status: 401},
		"403":                   {Status: 403},
		"404":                   {Status: 404},
		"429":                   {Status: 429},
		"500":                   {Status: 500},
		"dropped":               {Drop: true},
		"cut":                   {Cut: true, At: 20},
		"a page":                says("<h1>welcome</h1>"),
		"no tags":               says(`{"name":"team/app"}`),
		"other than tags":       says(`{"name":"team/app","tags":{"v00":1}}`),
		"no name of a tag":      says(`{"name":"team/app","tags":["v00",null]}`),
		"twice":                 says(`{"name":"team/app","tags":[],"tags":[]}`),
		"too large":             says(`{"name":"team/app","tags":[]}` + strings.Repeat(" ", oci.MaxNodeSize)),
		"null, which is a lie":  says(`{"name":"team/app","tags":null}`),
		"none, which is a lie":  says(`{"name":"team/app","tags":[]}`),
	} {
		s.list.Store(&f)
		got, requests := s.plan(t, client(t, s.proxy.Host))
		if string(got) != string(want) {
			t.Errorf("%s: another content: %s", name, got)
		}
		if requests <= few {
			t.Errorf("%s: %d requests, and %d with a list", name, requests, few)
		}
	}
}

// TestTagListOfMirror: a mirror is not asked for a list. It may be a proxy that lists
// what it was asked for before, and has more.
func TestTagListOfMirror(t *testing.T) {
	t.Parallel()
	s := newTagged(t, 12)
	want, _ := s.plan(t, client(t, s.proxy.Host))
	for _, list := range [][]string{s.images, s.attached} {
		for i := range list {
			list[i] = strings.Replace(list[i], s.proxy.Host, "quay.io", 1)
		}
	}
	lists := s.proxy.Count("GET", "/tags/list")
	got, _ := s.plan(t, client(t, s.proxy.Host))
	if string(got) != strings.ReplaceAll(string(want), s.proxy.Host, "quay.io") {
		t.Errorf("another content: %s", got)
	}
	if n := s.proxy.Count("GET", "/tags/list") - lists; n > 0 {
		t.Errorf("asked for %d lists", n)
	}
}
