package bundle_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/bundle"
	"airlift/manifest"
	"airlift/oci"
	"airlift/oci/ocitest"
)

// The words for what `oc image mirror --skip-missing` does (pkg/cli/image/mirror):
// it takes a few of the answers for missing, and fails for all others.
const (
	ocSkips = "skips it, exit code 0, no record"
	ocFails = "fails"
)

// goneBodies are the ways in which registries say that there is no such thing, and
// what oc makes of each where the thing is named by tag, by digest, is the child of
// an index, or a blob. airlift takes each for missing, everywhere.
var goneBodies = []struct {
	name, kind, body        string
	status                  int
	tag, digest, child, blb string
}{
	{"MANIFEST_UNKNOWN with a detail", "application/json", `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"v1"}}]}`, 404, ocSkips, ocFails, ocFails, ocFails},
	{"MANIFEST_UNKNOWN with words of its own", "application/json", `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no such image"}]}`, 404, ocSkips, ocFails, ocFails, ocFails},
	{"MANIFEST_UNKNOWN alone", "application/json", `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`, 404, ocFails, ocFails, ocFails, ocFails},
	{"NAME_UNKNOWN", "application/json", `{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known to registry","detail":{"name":"team/app"}}]}`, 404, ocFails, ocFails, ocFails, ocFails},
	{"BLOB_UNKNOWN", "application/json", `{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry"}]}`, 404, ocFails, ocFails, ocFails, ocFails},
	{"no errors", "application/json", `{"errors":[]}`, 404, ocFails, ocSkips, ocFails, ocFails},
	{"text", "text/plain", "Not found", 404, ocFails, ocSkips, ocFails, ocFails},
	{"a page", "text/html", "<h1>404</h1>", 404, ocFails, ocSkips, ocFails, ocFails},
	{"nothing", "", "", 404, ocFails, ocSkips, ocFails, ocFails},
	{"410", "", "", 410, ocFails, ocFails, ocFails, ocFails},
}

// shelf is a registry in memory with an image, and an index of two images.
type shelf struct {
	host                string
	app, list, amd, arm ocispec.Descriptor
	layers              map[digest.Digest]digest.Digest // of app and arm
}

func newShelf(t testing.TB) *shelf {
	t.Helper()
	host, stop, err := ocitest.Embedded()
	check(t, err)
	t.Cleanup(stop)
	b, s := ocitest.NewBuilder(host), &shelf{host: host, layers: map[digest.Digest]digest.Digest{}}
	image := func(repo, tag, arch string) ocispec.Descriptor {
		layer := b.RandomLayer(repo, repo+arch, 1000)
		d := b.Image(repo, tag, ocitest.ImageOpts{Arch: arch, Layers: []ocispec.Descriptor{layer}})
		s.layers[d.Digest] = layer.Digest
		return d
	}
	s.app = image("team/app", "v1", "")
	s.amd, s.arm = image("team/list", "", "amd64"), image("team/list", "", "arm64")
	s.list = b.Index("team/list", "v1", true, s.amd, s.arm)
	check(t, b.Err())
	return s
}

// behind serves the registry through a proxy that answers so to what a path ends with.
func (s *shelf) behind(t testing.TB, faults map[string]ocitest.Fault) *ocitest.Proxy {
	return ocitest.Misbehave(t, s.host, func(r *http.Request) *ocitest.Fault {
		for suffix, f := range faults {
			if strings.HasSuffix(r.URL.Path, suffix) {
				return &f
			}
		}
		return nil
	})
}

// loss is a way in which something of the shelf is lost.
type loss struct {
	asked   string // what is asked for; the others are quay.io/team/app:v1 and quay.io/team/list:v1
	path    string // that is answered so
	missing []bundle.Missing
	carried []string // images that are left
}

// losses are the places of the truth table.
func (s *shelf) losses() map[string]loss {
	const said, all = "the registry answered 404", "not all of it is there"
	at := func(repo string, d digest.Digest) string { return "quay.io/team/" + repo + "@" + string(d) }
	return map[string]loss{
		"tag": {
			asked: "quay.io/team/app:v1", path: "/team/app/manifests/v1",
			missing: []bundle.Missing{{Reference: "quay.io/team/app:v1", Reason: said}},
			carried: []string{"quay.io/team/list:v1"},
		},
		"digest": {
			asked: at("app", s.app.Digest), path: "/team/app/manifests/" + string(s.app.Digest),
			missing: []bundle.Missing{{Reference: at("app", s.app.Digest), Reason: said}},
			carried: []string{"quay.io/team/list:v1"},
		},
		"child": {
			asked: "quay.io/team/app:v1", path: "/team/list/manifests/" + string(s.arm.Digest),
			missing: []bundle.Missing{{Reference: at("list", s.arm.Digest), Parent: s.list.Digest, Reason: said}},
			carried: []string{"quay.io/team/app:v1", "quay.io/team/list:v1"},
		},
		"blob": {
			asked: "quay.io/team/app:v1", path: "/team/app/blobs/" + string(s.layers[s.app.Digest]),
			missing: []bundle.Missing{
				{Reference: "quay.io/team/app:v1", Digest: s.app.Digest, Reason: all},
				{Reference: at("app", s.layers[s.app.Digest]), Parent: s.app.Digest, Role: bundle.RoleLayer, Reason: said},
			},
			carried: []string{"quay.io/team/list:v1"},
		},
		"blob of a child": {
			asked: "quay.io/team/app:v1", path: "/team/list/blobs/" + string(s.layers[s.arm.Digest]),
			missing: []bundle.Missing{
				{Reference: at("list", s.arm.Digest), Parent: s.list.Digest, Reason: all},
				{Reference: at("list", s.layers[s.arm.Digest]), Parent: s.arm.Digest, Role: bundle.RoleLayer, Reason: said},
			},
			carried: []string{"quay.io/team/app:v1", "quay.io/team/list:v1"},
		},
	}
}

// TestMissingTable: the truth table of answers and places. Whatever the words, what
// is not there is recorded, once asked for, with what needs it and the status; the
// rest is carried. oc does the same for the few that its column says.
func TestMissingTable(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	skips := 0
	for _, body := range goneBodies {
		oc := map[string]string{"tag": body.tag, "digest": body.digest, "child": body.child, "blob": body.blb, "blob of a child": body.blb}
		for place, l := range s.losses() {
			fault := ocitest.Fault{Status: body.status, Header: http.Header{"Content-Type": {body.kind}}, Body: body.body}
			far := s.behind(t, map[string]ocitest.Fault{l.path: fault})
			content, err := bundle.Plan(t.Context(), client(t, far.Host), bundle.Request{
				Images: references(t, l.asked, "quay.io/team/list:v1"), SkipMissing: true,
			})
			if err != nil {
				t.Errorf("%s, %s (where oc %s): %v", body.name, place, oc[place], err)
				continue
			}
			want := slices.Clone(l.missing)
			for i := range want {
				want[i].Reason = strings.Replace(want[i].Reason, "404", fmt.Sprint(body.status), 1)
			}
			slices.SortFunc(want, byKey)
			if diff := gocmp.Diff(want, content.Missing); diff != "" {
				t.Errorf("%s, %s (-want +got): %s", body.name, place, diff)
			}
			if got := carriedImages(content); !slices.Equal(got, l.carried) {
				t.Errorf("%s, %s: carried are %s", body.name, place, got)
			}
			if n := far.Count("", l.path); n != 1 {
				t.Errorf("%s, %s: asked %d times", body.name, place, n)
			}
			wantNowhere(t, content)
			if oc[place] == ocSkips {
				skips++
			}
		}
	}
	if skips != 6 {
		t.Errorf("oc takes %d cells of this table for missing, not the 6 that it was seen to", skips)
	}
}

// byKey is the order of what is missing.
func byKey(a, b bundle.Missing) int {
	return strings.Compare(a.Reference+" "+string(a.Parent), b.Reference+" "+string(b.Parent))
}

func carriedImages(c *bundle.Content) (all []string) {
	for _, i := range c.Images {
		all = append(all, i.Reference)
	}
	return all
}

// wantNowhere holds that the archive has nothing of what is missing.
func wantNowhere(t testing.TB, c *bundle.Content) {
	t.Helper()
	layout := opened(t, c).Layout
	for _, m := range c.Missing {
		for _, d := range []digest.Digest{m.Digest, references(t, m.Reference)[0].Digest} {
			if _, there := layout.Find(d); d != "" && there {
				t.Errorf("%s is missing, and in the archive", m.Reference)
			}
		}
	}
}

// TestWithoutLeaveBlobsAreNotAskedFor: asking costs a request each.
func TestWithoutLeaveBlobsAreNotAskedFor(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	for _, skip := range []bool{false, true} {
		far := s.behind(t, nil)
		plan(t, client(t, far.Host), bundle.Request{Images: references(t, "quay.io/team/app:v1", "quay.io/team/list:v1"), SkipMissing: skip})
		if n := far.Count(http.MethodHead, "/blobs/"); (n == 6) != skip || (n == 0) == skip {
			t.Errorf("skip missing %v: %d blobs were asked for", skip, n)
		}
	}
}

// TestFailing: what is denied or failing is an error, and no reason to leave
// anything out, wherever it is; and all is reported together.
func TestFailing(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	for status, tries := range map[int]int{401: 1, 403: 1, 429: 3, 500: 3, 503: 3, 418: 1} {
		for place, l := range s.losses() {
			far := s.behind(t, map[string]ocitest.Fault{l.path: {Status: status}})
			_, err := bundle.Plan(t.Context(), client(t, far.Host), bundle.Request{
				Images: references(t, l.asked, "quay.io/team/list:v1", "quay.io/team/none:v1"), SkipMissing: true, SkipDenied: true,
			})
			wantError(t, err, nil, l.path)
			var missing *bundle.MissingError
			if !errors.As(err, &missing) || missing.Missing.Reference != "quay.io/team/none:v1" {
				t.Errorf("%d, %s: what is missing is not told: %v", status, place, err)
			}
			if n := far.Count("", l.path); n < tries || n > 2*tries { // a HEAD that is denied is asked again as a GET
				t.Errorf("%d, %s: asked %d times", status, place, n)
			}
		}
	}
}

// streams makes one stream of each reference.
func streams(managed bool, refs ...string) manifest.ImageStreams {
	var all manifest.ImageStreams
	for i, ref := range refs {
		all.Streams = append(all.Streams, manifest.ImageStream{Name: fmt.Sprint("s", i), Managed: managed, Tags: []manifest.Tag{{Name: "1", From: ref}}})
	}
	return all
}

// TestDenied: with leave a sample that is denied is missing for that reason, with
// whatever of it is; without leave, or for anything else, it is an error.
func TestDenied(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	const app, list = "quay.io/team/app:v1", "quay.io/team/list:v1"
	hide := ocitest.Fault{Status: 404, Body: `{"errors":[{"code":"DENIED"}]}`}
	for name, test := range map[string]struct {
		faults map[string]ocitest.Fault
		want   []string // reference and reason
	}{
		"tag, 401":            {map[string]ocitest.Fault{"/app/manifests/v1": {Status: 401}}, []string{app + " denied: the registry answered 401"}},
		"tag, 403":            {map[string]ocitest.Fault{"/app/manifests/v1": {Status: 403}}, []string{app + " denied: the registry answered 403"}},
		"tag, 404 that hides": {map[string]ocitest.Fault{"/app/manifests/v1": hide}, []string{app + " denied: the registry answered 404"}},
		"child": {
			map[string]ocitest.Fault{"/list/manifests/" + string(s.arm.Digest): {Status: 403}},
			[]string{"quay.io/team/list@" + string(s.arm.Digest) + " denied: the registry answered 403"},
		},
		"layer": {
			map[string]ocitest.Fault{"/app/blobs/" + string(s.layers[s.app.Digest]): {Status: 403}},
			[]string{app + " denied: not all of it is there", "quay.io/team/app@" + string(s.layers[s.app.Digest]) + " denied: the registry answered 403"},
		},
	} {
		far := s.behind(t, test.faults)
		for _, r := range []bundle.Request{
			{Streams: streams(true, app, list), SkipMissing: true},
			{Streams: streams(false, app, list), SkipMissing: true, SkipDenied: true},
			{Images: references(t, app, list), SkipMissing: true, SkipDenied: true},
			{Streams: streams(true, app, list), Images: references(t, app, list), SkipMissing: true, SkipDenied: true},
		} {
			_, err := bundle.Plan(t.Context(), client(t, far.Host), r)
			if !oci.IsDenied(err) {
				t.Errorf("%s, without leave: %v", name, err)
			}
		}
		c := plan(t, client(t, far.Host), bundle.Request{Streams: streams(true, app, list), SkipMissing: true, SkipDenied: true})
		var got []string
		for _, m := range c.Missing {
			got = append(got, m.Reference+" "+m.Reason)
			if !m.Denied() {
				t.Errorf("%s: %s does not count as denied", name, m)
			}
		}
		if slices.Sort(test.want); !slices.Equal(got, test.want) {
			t.Errorf("%s: missing are %q", name, got)
		}
		wantNowhere(t, c)
	}
}

// TestOperatorSamplesDenied: so are the samples of a release, those included that its
// templates name; the release itself is none.
func TestOperatorSamplesDenied(t *testing.T) {
	t.Parallel()
	near, release := sampled(t, operatorFiles(twoArchitectures), ocitest.ReleaseOpts{})
	s := shelf{host: near.Host}
	r := bundle.Request{
		Releases: references(t, release.Reference), SkipMissing: true, SkipDenied: true,
		Samples: &bundle.SamplesRequest{Include: []string{"httpd", "cache-service"}, Architectures: []string{"x86_64"}},
	}
	shut := map[string]ocitest.Fault{"/ubi9/httpd-24/manifests/latest": {Status: 403}, "/datagrid73-openshift/manifests/latest": {Status: 401}}
	c := plan(t, client(t, s.behind(t, shut).Host), r)
	want := []bundle.Missing{
		{Reference: cacheImage + ":latest", Reason: "denied: the registry answered 401"},
		{Reference: httpdImage, Reason: "denied: the registry answered 403"},
	}
	if diff := gocmp.Diff(want, c.Missing); diff != "" {
		t.Errorf("(-want +got): %s", diff)
	}
	quiet := map[string]ocitest.Fault{"/referrers/": {Status: 403}} // only what is attached is not to be asked for
	if c := plan(t, client(t, s.behind(t, quiet).Host), bundle.Request{Streams: manifest.ImageStreams{Streams: []manifest.ImageStream{{Name: "httpd", Managed: true, Tags: []manifest.Tag{{Name: "1", From: httpdImage}}}}}, SkipDenied: true}); len(c.Missing) > 0 {
		t.Errorf("missing are %v", c.Missing)
	}
	r.SkipDenied = false
	_, err := bundle.Plan(t.Context(), client(t, s.behind(t, shut).Host), r)
	wantError(t, err, nil, httpdImage, cacheImage)
	_, component, _ := strings.Cut(release.Images["cli"], "@")
	r.SkipDenied = true
	_, err = bundle.Plan(t.Context(), client(t, s.behind(t, map[string]ocitest.Fault{"/manifests/" + component: {Status: 403}}).Host), r)
	if !oci.IsDenied(err) {
		t.Errorf("a component that is denied: %v", err)
	}
}

// TestNothingOfAnIndex: an index of which no child can be carried is missing itself,
// and so is one that has nothing but that.
func TestNothingOfAnIndex(t *testing.T) {
	t.Parallel()
	var inner, outer, image ocispec.Descriptor
	host, stop, err := ocitest.Embedded()
	check(t, err)
	t.Cleanup(stop)
	b := ocitest.NewBuilder(host)
	image = b.Image("team/nest", "", ocitest.ImageOpts{})
	inner = b.Index("team/nest", "", false, image)
	outer = b.Index("team/nest", "v1", false, inner)
	check(t, b.Err())
	s := shelf{host: host}
	far := s.behind(t, map[string]ocitest.Fault{"/manifests/" + string(image.Digest): {Status: 404}})
	c := plan(t, client(t, far.Host), bundle.Request{Images: references(t, "quay.io/team/nest:v1")})
	at := func(d digest.Digest) string { return "quay.io/team/nest@" + string(d) }
	want := []bundle.Missing{
		{Reference: "quay.io/team/nest:v1", Digest: outer.Digest, Reason: "not all of it is there"},
		{Reference: at(inner.Digest), Parent: outer.Digest, Reason: "not all of it is there"},
		{Reference: at(image.Digest), Parent: inner.Digest, Reason: "the registry answered 404"},
	}
	slices.SortFunc(want, byKey)
	if diff := gocmp.Diff(want, c.Missing); diff != "" || len(c.Images)+len(c.Nodes)+len(c.Blobs) > 0 {
		t.Errorf("%d images, (-want +got): %s", len(c.Images), diff)
	}
	opened(t, c)
}

// TestBlobElsewhere: a layer that one repository lost and another has is not
// missing, is asked for once in each at most, and is carried from there.
func TestBlobElsewhere(t *testing.T) {
	t.Parallel()
	var layer ocispec.Descriptor
	near := source(t, func(b *ocitest.Builder) {
		for _, repo := range []string{"team/aaa", "team/bbb", "team/ccc"} {
			layer = b.RandomLayer(repo, "shared", 3000)
			for _, tag := range []string{"v1", "v2"} {
				b.Image(repo, tag, ocitest.ImageOpts{Layers: []ocispec.Descriptor{layer}, Labels: map[string]string{"name": repo + tag}})
			}
		}
		b.DeleteBlob("team/aaa", layer.Digest)
	})
	refs := references(t, "quay.io/team/aaa:v1", "quay.io/team/aaa:v2", "quay.io/team/bbb:v1", "quay.io/team/bbb:v2", "quay.io/team/ccc:v1")
	for _, jobs := range []int{1, 0} {
		far := ocitest.Misbehave(t, near.Host, nil)
		c := client(t, far.Host)
		content := plan(t, c, bundle.Request{Images: refs, SkipMissing: true, Jobs: jobs})
		if len(content.Missing) > 0 || len(content.Images) != len(refs) {
			t.Errorf("missing are %v", content.Missing)
		}
		for repo, times := range map[string]int{"aaa": 1, "bbb": 1, "ccc": 0} {
			if n := far.Count(http.MethodHead, "/team/"+repo+"/blobs/"+string(layer.Digest)); n != times {
				t.Errorf("%d jobs: %s was asked %d times for the layer", jobs, repo, n)
			}
		}
		export(t, c, inventory(t, content, 0))
	}
}

// TestFoundElsewhere: a manifest that one repository lost and another has is there,
// named by digest, as the child of an index, or as the one image of a list.
func TestFoundElsewhere(t *testing.T) {
	t.Parallel()
	var image, list ocispec.Descriptor
	host, stop, err := ocitest.Embedded()
	check(t, err)
	t.Cleanup(stop)
	b := ocitest.NewBuilder(host)
	for _, repo := range []string{"team/aaa", "team/bbb"} {
		image = b.Image(repo, "", ocitest.ImageOpts{Arch: "arm64"})
		list = b.Index(repo, "v1", false, b.Image(repo, "", ocitest.ImageOpts{}), image)
	}
	check(t, b.Err())
	s := shelf{host: host}
	far := s.behind(t, map[string]ocitest.Fault{"/team/aaa/manifests/" + string(image.Digest): {Status: 404}})
	at := func(repo string) string { return "quay.io/team/" + repo + "@" + string(image.Digest) }
	for _, r := range []bundle.Request{
		{Images: references(t, at("aaa"), at("bbb"))},
		{Images: references(t, "quay.io/team/aaa:v1", at("bbb"))},
		{Images: references(t, "quay.io/team/aaa:v1", at("bbb")), Platforms: platforms(t, "linux/arm64")},
	} {
		c := client(t, far.Host)
		r.Jobs = 1 // the one that lost it is asked first
		content := plan(t, c, r)
		if len(content.Missing) > 0 || len(content.Images) != 2 || r.Platforms != nil && content.Images[0].Index != list.Digest {
			t.Errorf("%+v, missing %v", content.Images, content.Missing)
		}
		export(t, c, inventory(t, content, 0))
	}
}

// TestDeniedElsewhere: a layer that one sample's repository denies and another's has
// is carried from there.
func TestDeniedElsewhere(t *testing.T) {
	t.Parallel()
	var layer ocispec.Descriptor
	near := source(t, func(b *ocitest.Builder) {
		for _, repo := range []string{"team/aaa", "team/bbb"} {
			layer = b.RandomLayer(repo, "shared", 3000)
			b.Image(repo, "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{layer}, Labels: map[string]string{"name": repo}})
		}
	})
	s := shelf{host: near.Host}
	c := client(t, s.behind(t, map[string]ocitest.Fault{"/team/aaa/blobs/" + string(layer.Digest): {Status: 403}}).Host)
	content := plan(t, c, bundle.Request{Streams: streams(true, "quay.io/team/aaa:v1", "quay.io/team/bbb:v1"), SkipMissing: true, SkipDenied: true})
	if len(content.Missing) > 0 {
		t.Errorf("missing are %v", content.Missing)
	}
	export(t, c, inventory(t, content, 0))
}

// TestAtMostSoManyRequests: blobs are asked for so many at once, and no more. Each
// request waits for another, so that there are always some.
func TestAtMostSoManyRequests(t *testing.T) {
	t.Parallel()
	const jobs, layers = 2, 59 // and a config
	host, stop, err := ocitest.Embedded()
	check(t, err)
	t.Cleanup(stop)
	b := ocitest.NewBuilder(host)
	var opts ocitest.ImageOpts
	for i := range layers {
		opts.Layers = append(opts.Layers, b.RandomLayer("team/app", fmt.Sprint(i), 10))
	}
	b.Image("team/app", "v1", opts)
	check(t, b.Err())
	var running atomic.Int32
	other := make(chan struct{})
	far := ocitest.Misbehave(t, host, func(r *http.Request) *ocitest.Fault {
		if r.Method == http.MethodHead {
			if n := running.Add(1); n > jobs {
				t.Errorf("%d requests at once", n)
			}
			select {
			case other <- struct{}{}:
			case <-other:
			}
			running.Add(-1)
		}
		return nil
	})
	plan(t, client(t, far.Host), bundle.Request{Images: references(t, "quay.io/team/app:v1"), SkipMissing: true, Jobs: jobs})
	if n := far.Count(http.MethodHead, "/blobs/"); n != layers+1 {
		t.Errorf("%d blobs were asked for", n)
	}
}

// TestReleaseIsNeverWithout: a component, a child of one, its config or a layer: a
// release is not carried without, whatever may be skipped.
func TestReleaseIsNeverWithout(t *testing.T) {
	t.Parallel()
	host, stop, err := ocitest.Embedded()
	check(t, err)
	t.Cleanup(stop)
	b := ocitest.NewBuilder(host)
	release := b.Release(ocitest.ReleaseOpts{Multi: true, Components: []string{"cli", "etcd"}})
	check(t, b.Err())
	whole := plan(t, client(t, host), bundle.Request{Releases: references(t, release.Reference)})
	etcd := references(t, release.Images["etcd"])[0]
	var parts []string // of the component: itself, its children, their blobs
	for _, n := range whole.Nodes {
		if n.Digest == etcd.Digest {
			parts = append(parts, "manifests/"+string(n.Digest))
			for _, child := range n.Children {
				parts = append(parts, "manifests/"+string(child))
			}
		}
	}
	for _, n := range whole.Nodes {
		if slices.Contains(parts, "manifests/"+string(n.Digest)) && n.Config != "" {
			parts = append(parts, "blobs/"+string(n.Config))
		}
	}
	if len(parts) != 5 {
		t.Fatalf("the component has the parts %s", parts)
	}
	s := shelf{host: host}
	for _, part := range parts {
		for _, status := range []int{404, 403} {
			far := s.behind(t, map[string]ocitest.Fault{"/" + part: {Status: status}})
			_, err := bundle.Plan(t.Context(), client(t, far.Host), bundle.Request{
				Releases: references(t, release.Reference), Streams: streams(true, release.Images["etcd"]), SkipMissing: true, SkipDenied: true,
			})
			_, hash, _ := strings.Cut(part, "/")
			wantError(t, err, nil, hash)
			var missing *bundle.MissingError
			if status == 404 && (!errors.As(err, &missing) || !strings.Contains(err.Error(), "a release needs all its components")) {
				t.Errorf("%s: %v", part, err)
			}
		}
	}
}
