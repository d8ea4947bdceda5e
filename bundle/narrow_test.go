package bundle_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/bundle"
	"airlift/oci"
	"airlift/oci/ocitest"
)

func platforms(t testing.TB, names ...string) []oci.Platform {
	t.Helper()
	var all []oci.Platform
	for _, name := range names {
		p, err := oci.ParsePlatform(name)
		check(t, err)
		all = append(all, p)
	}
	return all
}

// lists is a registry with lists of all kinds, and names for the digests of what they list.
func lists(t testing.TB) (host string, digests map[string]digest.Digest) {
	t.Helper()
	host, stop, err := ocitest.Embedded()
	check(t, err)
	t.Cleanup(stop)
	b, digests := ocitest.NewBuilder(host), map[string]digest.Digest{}
	image := func(repo, arch string, p *ocispec.Platform) ocispec.Descriptor {
		d := b.Image("team/"+repo, "", ocitest.ImageOpts{Arch: arch, Layers: []ocispec.Descriptor{b.RandomLayer("team/"+repo, repo+arch, 500)}})
		if p != nil {
			d.Platform = p
		}
		digests[repo+" "+arch] = d.Digest
		return d
	}
	index := func(repo, tag string, children ...ocispec.Descriptor) ocispec.Descriptor {
		d := b.Index("team/"+repo, tag, false, children...)
		digests[repo] = d.Digest
		return d
	}
	plain := func(repo string, arches ...string) (all []ocispec.Descriptor) {
		for _, arch := range arches {
			all = append(all, image(repo, arch, nil))
		}
		return all
	}
	index("three", "v1", plain("three", "amd64", "arm64", "s390x")...)
	attested := plain("attested", "amd64", "arm64")
	for _, of := range attested[:2:2] {
		about := image("attested", "about-"+of.Platform.Architecture, &ocispec.Platform{OS: "unknown", Architecture: "unknown"})
		about.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": string(of.Digest)}
		attested = append(attested, about)
	}
	index("attested", "v1", attested...)
	index("nested", "v1", index("nested", "", plain("nested", "amd64", "arm64")...), image("nested", "s390x", nil))
	index("arm", "v1", image("arm", "v6", &ocispec.Platform{OS: "linux", Architecture: "arm", Variant: "v6"}), image("arm", "v7", &ocispec.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}), image("arm", "amd64", nil))
	index("unsaid", "v1", image("unsaid", "x", &ocispec.Platform{}), image("unsaid", "amd64", nil), image("unsaid", "arm64", nil))
	bare := plain("bare", "amd64", "arm64")
	about := image("bare", "about", nil) // an attestation that does not even say so of its platform
	about.Platform, about.Annotations = nil, map[string]string{"vnd.docker.reference.digest": string(bare[1].Digest)}
	index("bare", "v1", append(bare, about)...)
	lone := b.Image("team/lone", "v1", ocitest.ImageOpts{Arch: "s390x"})
	digests["lone"] = lone.Digest
	check(t, b.Err())
	return host, digests
}

// TestNarrow: what is carried of a list that is named by tag.
func TestNarrow(t *testing.T) {
	t.Parallel()
	host, digests := lists(t)
	inner := func() digest.Digest { // the list in the nested one
		for _, n := range plan(t, client(t, host), bundle.Request{Images: references(t, "quay.io/team/nested:v1")}).Nodes {
			if slices.Contains(n.Children, digests["nested amd64"]) {
				return n.Digest
			}
		}
		return ""
	}()
	digests["inner"] = inner
	for _, test := range []struct {
		repo, platforms string
		image           string   // what the tag names in the bundle
		absent          []string // of that
	}{
		{"three", "linux/amd64", "three amd64", nil},
		{"three", "linux/s390x", "three s390x", nil},
		{"three", "linux/amd64 linux/ppc64le", "three amd64", nil},
		{"three", "linux/amd64 linux/s390x", "three", []string{"three arm64"}},
		{"three", "linux/amd64 linux/arm64 linux/s390x", "three", nil},
		{"three", "linux/ppc64le windows/amd64", "", nil},
		{"attested", "linux/arm64", "attested arm64", nil},
		{"attested", "linux/amd64 linux/arm64", "attested", nil},
		{"bare", "linux/amd64", "bare amd64", nil},
		{"nested", "linux/s390x", "nested", nil}, // what the inner list has is not known
		{"nested", "linux/amd64", "inner", nil},
		{"arm", "linux/arm", "arm", []string{"arm amd64"}},
		{"arm", "linux/arm/v7", "arm v7", nil},
		{"unsaid", "linux/amd64", "unsaid", []string{"unsaid arm64"}},
		{"lone", "linux/amd64", "lone", nil}, // it is no list
	} {
		name := "quay.io/team/" + test.repo + ":v1"
		r := bundle.Request{Images: references(t, name), Platforms: platforms(t, strings.Fields(test.platforms)...)}
		c := plan(t, client(t, host), r)
		if test.image == "" {
			if len(c.Images) > 0 || len(c.Missing) != 1 || c.Missing[0].Reason != "it has no image for linux/ppc64le or windows/amd64" {
				t.Errorf("%s, %s: %+v, %+v", test.repo, test.platforms, c.Images, c.Missing)
			}
			continue
		}
		image := c.Images[0]
		if image.Digest != digests[test.image] || (image.Index != "") != (image.Digest != digests[test.repo]) || image.Index != "" && image.Index != digests[test.repo] {
			t.Errorf("%s, %s: %+v is not %s %s", test.repo, test.platforms, image, test.image, digests[test.image])
		}
		var want []digest.Digest
		for _, name := range test.absent {
			want = append(want, digests[name])
		}
		if top := c.Nodes[len(c.Nodes)-1]; !slices.Equal(top.Absent, want) || len(c.Missing) > 0 || !slices.IsSorted(c.Platforms) || len(c.Platforms) == 0 {
			t.Errorf("%s, %s: absent are %s, missing %v, platforms %s", test.repo, test.platforms, top.Absent, c.Missing, c.Platforms)
		}
		wantAbsentNowhere(t, c)
	}
}

// wantAbsentNowhere holds that the archive has nothing of what was left out.
func wantAbsentNowhere(t testing.TB, c *bundle.Content) {
	t.Helper()
	layout := opened(t, c).Layout
	for _, n := range c.Nodes {
		for _, d := range n.Absent {
			if _, there := layout.Find(d); there {
				t.Errorf("%s is absent, and in the archive", d)
			}
		}
	}
}

// TestNarrowsTagsOnly: a list that is named by digest, too or alone, stays whole;
// unless it may be sparse.
func TestNarrowsTagsOnly(t *testing.T) {
	t.Parallel()
	host, digests := lists(t)
	c := client(t, host)
	r := bundle.Request{Images: references(t, "quay.io/team/three@"+string(digests["three"])), Platforms: platforms(t, "linux/amd64")}
	if content := plan(t, c, r); len(content.Sparse()) > 0 || len(content.Nodes) != 4 {
		t.Errorf("%+v", content.Sparse())
	}
	r.Sparse = true
	content := plan(t, c, r)
	if s := content.Sparse(); len(s) != 1 || len(s[0].LeftOut) != 2 || len(s[0].Missing) > 0 || content.Images[0].Digest != digests["three"] {
		t.Errorf("%+v", s)
	}
	if whole, sparse := content.Pinned(); whole != 0 || sparse != 1 {
		t.Errorf("%d lists are whole, %d sparse", whole, sparse)
	}
	r.Sparse, r.Images = false, references(t, "quay.io/team/three:v1", "quay.io/team/three@"+string(digests["three"]))
	both := plan(t, c, r)
	if both.Images[0].Digest != digests["three amd64"] || both.Images[1].Digest != digests["three"] || len(both.Nodes) != 4 {
		t.Errorf("%+v, %d nodes", both.Images, len(both.Nodes))
	}
	r.Sparse, r.Platforms = true, platforms(t, "linux/ppc64le")
	_, err := bundle.Plan(t.Context(), c, r)
	wantError(t, err, nil, "it has no image for linux/ppc64le")
}

// TestNarrowedLost: the one image of a list that is wanted is not there, or has lost
// a layer: the reference that stands for it is missing.
func TestNarrowedLost(t *testing.T) {
	t.Parallel()
	host, digests := lists(t)
	s := shelf{host: host}
	whole := plan(t, client(t, host), bundle.Request{Images: references(t, "quay.io/team/three:v1"), Platforms: platforms(t, "linux/arm64")})
	for path, reason := range map[string]string{
		"/manifests/" + string(digests["three arm64"]): "the registry answered 404",
		"/blobs/" + string(whole.Nodes[0].Layers[0]):   "not all of it is there",
	} {
		far := s.behind(t, map[string]ocitest.Fault{path: {Status: 404}})
		c := plan(t, client(t, far.Host), bundle.Request{Images: references(t, "quay.io/team/three:v1"), Platforms: platforms(t, "linux/arm64"), SkipMissing: true})
		if m := c.Missing; len(c.Images) > 0 || m[0].Reference != "quay.io/team/three:v1" || m[0].Digest != digests["three arm64"] || m[0].Reason != reason {
			t.Errorf("%s: %+v", path, m)
		}
		wantNowhere(t, c)
	}
}

// TestNarrowedImport: what was narrowed to one platform comes into any registry;
// what was narrowed to several comes so where that is possible, and else as one
// image. Nothing is missing then.
func TestNarrowedImport(t *testing.T) {
	t.Parallel()
	host, digests := lists(t)
	c := client(t, host)
	takes, refuses := destinations(t)
	for _, test := range []struct{ platforms, taken, refused string }{
		{"linux/arm64", "three arm64", "three arm64"},
		{"linux/arm64 linux/s390x", "three", "three arm64"},
	} {
		content := plan(t, c, bundle.Request{Images: references(t, "quay.io/team/three:v1"), Platforms: platforms(t, strings.Fields(test.platforms)...)})
		m := export(t, c, inventory(t, content, 0))
		for _, start := range takes {
			dst := start()
			_, err := m.open(t).Import(t.Context(), client(t, dst, dst), bundle.ImportOptions{Placement: to(t, dst)})
			check(t, err)
			wantAt(t, dst, "team/three", "v1", digests[test.taken])
			newCrawler(dst).lookFor(t, content)
		}
		for _, start := range refuses {
			dst := start()
			_, err := m.open(t).Import(t.Context(), client(t, dst, dst), bundle.ImportOptions{Placement: to(t, dst)})
			check(t, err)
			wantAt(t, dst, "team/three", "v1", digests[test.refused])
			newCrawler(dst).look(t)
		}
	}
}

// TestSparseRelease: a release of several architectures is whole unless it may be
// sparse; sparse, it keeps its digests, comes complete into a registry that takes it
// so, and fails at another: none of its lists has another name than its digest.
func TestSparseRelease(t *testing.T) {
	t.Parallel()
	var release ocitest.Release
	near := source(t, func(b *ocitest.Builder) {
		release = b.Release(ocitest.ReleaseOpts{Multi: true, Signatures: true, Components: []string{"cli", "etcd"}})
	})
	c := client(t, near.Host)
	r := bundle.Request{Releases: references(t, release.Reference), Platforms: platforms(t, "linux/arm64")}
	if content := plan(t, c, r); len(content.Sparse()) > 0 {
		t.Errorf("without leave %+v", content.Sparse())
	}
	r.Sparse = true
	content := plan(t, c, r)
	lists := 1 + len(release.Components)
	if n := len(content.Sparse()); n != lists || content.Releases[0].Architecture != "multi" {
		t.Errorf("%d indexes are sparse, of %d: %+v", n, lists, content.Releases[0])
	}
	wantAbsentNowhere(t, content)
	m := export(t, c, inventory(t, content, 0))
	takes, refuses := destinations(t)
	for _, start := range takes {
		dst := start()
		results, err := m.open(t).Import(t.Context(), client(t, dst, dst), bundle.ImportOptions{Placement: to(t, dst)})
		check(t, err)
		wantStates(t, results, len(content.Images), bundle.StateImported)
		wantAt(t, dst, release.PayloadRepo, "4.17.3-multi", release.Descriptor.Digest)
		newCrawler(dst).lookFor(t, content)
	}
	for name, start := range refuses {
		dst := start()
		results, err := m.open(t).Import(t.Context(), client(t, dst, dst), bundle.ImportOptions{Placement: to(t, dst)})
		wantError(t, err, bundle.ErrSparseRelease, "import "+release.Images["cli"])
		if errors.Is(err, bundle.ErrSparse) {
			t.Errorf("%s: it is said to be done but for that: %v", name, err)
		}
		for _, result := range results {
			want := bundle.StateImported
			switch {
			case strings.HasSuffix(result.Reference, "@"+string(release.Descriptor.Digest)):
				want = bundle.StateSkipped // it waits for its components
			case slices.ContainsFunc(content.Sparse(), func(s bundle.Sparse) bool { return s.Digest == result.Digest }):
				want = bundle.StateFailed
			}
			if result.State != want {
				t.Errorf("%s: %+v, not %s", name, result, want)
			}
		}
		for _, tag := range ocitest.NewBuilder(dst).Tags(release.PayloadRepo) {
			if tag == "4.17.3-multi" {
				t.Errorf("%s: the release is tagged", name)
			}
		}
		newCrawler(dst).look(t)
	}
}

// TestRequestNarrowed: narrowed otherwise, it is another request; in another order, or
// with leave to skip something, it is the same.
func TestRequestNarrowed(t *testing.T) {
	t.Parallel()
	r := bundle.Request{Images: references(t, "quay.io/team/three:v1"), Platforms: platforms(t, "linux/amd64", "linux/arm64")}
	same, fewer, none, sparse := r, r, r, r
	same.Platforms, same.SkipMissing, same.SkipDenied = platforms(t, "linux/arm64", "linux/x86_64"), true, true
	fewer.Platforms, none.Platforms, sparse.Sparse = r.Platforms[:1], nil, true
	if same.Digest(0) != r.Digest(0) {
		t.Error("the same platforms make another request")
	}
	for _, other := range []bundle.Request{fewer, none, sparse} {
		if other.Digest(0) == r.Digest(0) {
			t.Errorf("%v, sparse %v, make the same request", other.Platforms, other.Sparse)
		}
	}
}
