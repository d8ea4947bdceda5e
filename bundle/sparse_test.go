package bundle_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/bundle"
	"airlift/oci"
	"airlift/oci/ocitest"
)

// lossy is a source that has lost some of what its images need.
type lossy struct {
	host       string
	refs       []string
	amd        map[string]digest.Digest // images for linux/amd64, by repository
	list       map[string]digest.Digest // indexes, likewise
	absent     []string                 // references of children that are gone
	pinned     string                   // a list that is named by digest
	incomplete string                   // an image without a layer
}

func newLossy(t testing.TB) *lossy {
	t.Helper()
	host, stop, err := ocitest.Embedded()
	check(t, err)
	t.Cleanup(stop)
	b := ocitest.NewBuilder(host)
	s := &lossy{host: host, amd: map[string]digest.Digest{}, list: map[string]digest.Digest{}}
	image := func(repo, tag, arch string) ocispec.Descriptor {
		d := b.Image(repo, tag, ocitest.ImageOpts{Docker: true, Arch: arch, Layers: []ocispec.Descriptor{b.RandomLayer(repo, repo+arch, 20_000)}})
		if arch == "amd64" {
			s.amd[repo] = d.Digest
		}
		return d
	}
	lose := func(repo string, d ocispec.Descriptor) {
		b.DeleteManifest(repo, d.Digest)
		s.absent = append(s.absent, "quay.io/"+repo+"@"+string(d.Digest))
	}
	for _, repo := range []string{"team/list", "team/pin"} {
		arm := image(repo, "", "arm64")
		s.list[repo] = b.Index(repo, "v1", true, image(repo, "", "amd64"), arm).Digest
		lose(repo, arm)
	}
	arm := image("team/other", "", "arm64") // nothing of it is for linux/amd64
	s.list["team/other"] = b.Index("team/other", "v1", false, image("team/other", "", "s390x"), arm).Digest
	lose("team/other", arm)
	arm = image("team/nest", "", "arm64")
	inner := b.Index("team/nest", "", false, arm, image("team/nest", "", "amd64"))
	s.list["team/nest"] = b.Index("team/nest", "v1", false, image("team/nest", "", "s390x"), inner).Digest
	lose("team/nest", arm)
	arm = image("team/deep", "", "arm64")
	inner = b.Index("team/deep", "", false, image("team/deep", "", "amd64"), arm)
	s.list["team/deep"] = b.Index("team/deep", "v1", false, b.Index("team/deep", "", false, inner)).Digest
	lose("team/deep", arm)
	image("team/whole", "v1", "amd64")
	layer := b.Layer("team/hollow", map[string]string{"a": "b"}, "gzip")
	b.Image("team/hollow", "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{layer}})
	b.DeleteBlob("team/hollow", layer.Digest)
	check(t, b.Err())
	s.pinned, s.incomplete = "quay.io/team/pin@"+string(s.list["team/pin"]), "quay.io/team/hollow:v1"
	s.refs = []string{s.pinned, s.incomplete, "quay.io/team/deep:v1", "quay.io/team/list:v1", "quay.io/team/other:v1", "quay.io/team/nest:v1", "quay.io/team/whole:v1", "quay.io/team/none:v1"}
	return s
}

func (s *lossy) request(t testing.TB) bundle.Request {
	return bundle.Request{Images: references(t, s.refs...), SkipMissing: true}
}

// ways are those in which a bundle comes.
var ways = map[string]func(*testing.T, *oci.Client, medium, string, bundle.ImportOptions) ([]bundle.ImageResult, error){
	"at once": func(t *testing.T, _ *oci.Client, m medium, host string, o bundle.ImportOptions) ([]bundle.ImageResult, error) {
		return m.open(t).Import(t.Context(), client(t, host, host), o)
	},
	"medium by medium": func(t *testing.T, c *oci.Client, m medium, host string, o bundle.ImportOptions) (results []bundle.ImageResult, err error) {
		importer := bundle.NewImporter(client(t, host, host), o)
		for _, dir := range parted(t, c, m, 2, 3, 4) {
			results, err = importer.Medium(t.Context(), openAt(t, m, dir))
		}
		return results, err
	},
	"as a stream": func(t *testing.T, c *oci.Client, m medium, host string, o bundle.ImportOptions) ([]bundle.ImageResult, error) {
		var stream bytes.Buffer
		check(t, bundle.ExportStream(t.Context(), c, m.inv, &stream, bundle.ExportOptions{Key: m.key}))
		s, err := bundle.OpenStream(&stream, m.trust())
		check(t, err)
		return s.Import(t.Context(), client(t, host, host), o)
	},
}

// destinations take sparse lists, or do not.
func destinations(t *testing.T) (takes, refuses map[string]func() string) {
	takes = map[string]func() string{
		"distribution 3": func() string { return ocitest.StartRegistryWith(t, ocitest.RegistryOptions{Sparse: true}).Host },
		"in memory":      func() string { return ocitest.Lists(t, nil) },
	}
	refuses = map[string]func() string{"distribution 2": func() string { return ocitest.StartRegistry(t).Host }}
	for name, answer := range ocitest.SparseRefusals {
		refuses[name+" in memory"] = func() string { return ocitest.Lists(t, &answer) }
	}
	return takes, refuses
}

// outcome is what became of an image, in short.
func outcome(r bundle.ImageResult) string {
	s := r.Reference + " " + r.State
	if r.Index != "" {
		s += " as one image"
	}
	return s
}

func outcomes(results []bundle.ImageResult) (all []string) {
	for _, r := range results {
		all = append(all, outcome(r))
	}
	return all
}

// TestSparseImport: who takes sparse lists gets them byte for byte. Who refuses gets
// the image of the platform under the tag, and what is known by digest is skipped;
// in either case all children that there are, complete, in whatever way they come,
// and the import says that not everything came. Once more it finds all of it there.
func TestSparseImport(t *testing.T) {
	t.Parallel()
	s := newLossy(t)
	c := client(t, s.host)
	content := plan(t, c, s.request(t))
	if n := len(content.Sparse()); n != 5 {
		t.Fatalf("%d indexes are sparse", n)
	}
	m := export(t, c, inventory(t, content, firstVolume(t, content)))
	takes, refuses := destinations(t)
	for way, run := range ways {
		for name, start := range takes {
			host := start()
			for _, state := range []string{"imported", "present"} {
				results, err := run(t, c, m, host, bundle.ImportOptions{Placement: to(t, host), SkipMissing: true})
				wantError(t, err, bundle.ErrMissing)
				if errors.Is(err, bundle.ErrSparse) {
					t.Errorf("%s, %s: %v", way, name, err)
				}
				want := []string{
					"quay.io/team/deep:v1 " + state, s.incomplete + " skipped", "quay.io/team/list:v1 " + state, "quay.io/team/nest:v1 " + state, "quay.io/team/none:v1 skipped",
					"quay.io/team/other:v1 " + state, s.pinned + " " + state, "quay.io/team/whole:v1 " + state,
				}
				if diff := gocmp.Diff(want, outcomes(results)); diff != "" {
					t.Errorf("%s, %s: (-want +got): %s", way, name, diff)
				}
			}
			wantAt(t, host, "team/list", "v1", s.list["team/list"])
			wantAt(t, host, "team/nest", "v1", s.list["team/nest"])
			newCrawler(host).lookFor(t, content)
		}
		for name, start := range refuses {
			host := start()
			for _, state := range []string{"imported", "present"} {
				results, err := run(t, c, m, host, bundle.ImportOptions{Placement: to(t, host), SkipMissing: true})
				wantError(t, err, bundle.ErrMissing)
				wantError(t, err, bundle.ErrSparse, "2 images skipped")
				want := []string{
					"quay.io/team/deep:v1 " + state + " as one image", s.incomplete + " skipped", "quay.io/team/list:v1 " + state + " as one image", "quay.io/team/nest:v1 " + state + " as one image", "quay.io/team/none:v1 skipped",
					"quay.io/team/other:v1 skipped", s.pinned + " skipped", "quay.io/team/whole:v1 " + state,
				}
				if diff := gocmp.Diff(want, outcomes(results)); diff != "" {
					t.Errorf("%s, %s: (-want +got): %s", way, name, diff)
				}
				for _, r := range results {
					if r.Index != "" && (r.Digest != s.amd[references(t, r.Reference)[0].Repository] || !strings.Contains(r.Reason, "linux/amd64")) {
						t.Errorf("%s, %s: %+v", way, name, r)
					}
				}
			}
			wantAt(t, host, "team/list", "v1", s.amd["team/list"])
			wantAt(t, host, "team/nest", "v1", s.amd["team/nest"])
			wantAt(t, host, "team/pin", string(s.amd["team/pin"]), s.amd["team/pin"])
			newCrawler(host).look(t)
			b := ocitest.NewBuilder(host)
			if tags := b.Tags("team/list"); !slices.Equal(tags, []string{"v1"}) {
				t.Errorf("%s, %s: the tags of an image are %s", way, name, tags)
			}
			if tags := slices.Concat(b.Tags("team/other"), b.Tags("team/pin"), b.Tags("team/hollow")); len(tags) > 0 {
				t.Errorf("%s, %s: what was skipped has the tags %s", way, name, tags)
			}
		}
	}
}

// wantAt holds that a name leads to a digest.
func wantAt(t testing.TB, host, repo, name string, want digest.Digest) {
	t.Helper()
	b := ocitest.NewBuilder(host)
	if _, raw := b.Manifest(repo, name); digest.FromBytes(raw) != want {
		t.Errorf("%s:%s at %s is not %s (%v)", repo, name, host, want, b.Err())
	}
}

// TestSparseFails: a registry that denies or fails is none that takes no sparse lists.
func TestSparseFails(t *testing.T) {
	t.Parallel()
	s := newLossy(t)
	c := client(t, s.host)
	m := export(t, c, inventory(t, plan(t, c, s.request(t)), 0))
	for _, kind := range []string{ocitest.DockerList, ocitest.DockerManifest} { // the list, or what would take its place
		refusal := ocitest.SparseRefusals["zot"]
		dst := ocitest.Misbehave(t, ocitest.Lists(t, &refusal), func(r *http.Request) *ocitest.Fault {
			if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/team/list/manifests/v1") && r.Header.Get("Content-Type") == kind {
				return &ocitest.Fault{Status: 403}
			}
			return nil
		})
		results, err := m.open(t).Import(t.Context(), client(t, dst.Host, dst.Host), bundle.ImportOptions{Placement: to(t, dst.Host), SkipMissing: true})
		i := slices.IndexFunc(results, func(r bundle.ImageResult) bool { return r.Reference == "quay.io/team/list:v1" })
		if outcome(results[i]) != "quay.io/team/list:v1 failed" || results[i].Digest != s.list["team/list"] {
			t.Errorf("%s: %+v", kind, results[i])
		}
		wantError(t, err, nil, "403", "import quay.io/team/list:v1")
	}
}

// TestSparsePlatform: which image takes a tag is what was asked for, what the bundle
// was narrowed to, the release's, or linux/amd64.
func TestSparsePlatform(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		releases  []string
		platforms []string
		want      string
	}{
		{nil, nil, "linux/amd64"},
		{[]string{"aarch64"}, nil, "linux/arm64"},
		{[]string{"s390x"}, nil, "linux/s390x"},
		{[]string{"multi"}, nil, "linux/amd64"},
		{[]string{"multi", "aarch64"}, nil, "linux/arm64"},
		{nil, []string{"linux/arm64"}, "linux/arm64"},
		{nil, []string{"linux/amd64", "linux/arm64"}, "linux/amd64"},
		{[]string{"aarch64"}, []string{"linux/amd64", "linux/arm64"}, "linux/arm64"},
		{[]string{"x86_64"}, []string{"linux/arm64", "linux/s390x"}, "linux/arm64"},
	} {
		c := bundle.Content{Platforms: test.platforms}
		for _, arch := range test.releases {
			c.Releases = append(c.Releases, bundle.Release{Architecture: arch})
		}
		if got := c.Platform().String(); got != test.want {
			t.Errorf("%s, %s: %s, not %s", test.releases, test.platforms, got, test.want)
		}
	}
	s := newLossy(t)
	c := client(t, s.host)
	m := export(t, c, inventory(t, plan(t, c, s.request(t)), 0))
	refused := ocitest.SparseRefusals["Quay"]
	host := ocitest.Lists(t, &refused)
	results, err := m.open(t).Import(t.Context(), client(t, host, host), bundle.ImportOptions{
		Placement: to(t, host), SkipMissing: true, Platform: oci.Platform{OS: "linux", Architecture: "s390x"},
	})
	wantError(t, err, bundle.ErrSparse)
	for _, want := range []string{"quay.io/team/list:v1 skipped", "quay.io/team/other:v1 imported as one image", "quay.io/team/nest:v1 imported as one image"} {
		if !slices.Contains(outcomes(results), want) {
			t.Errorf("%q, not %q", outcomes(results), want)
		}
	}
}

// TestSparseRehearsed: before anything is pushed it is known what lacks what.
func TestSparseRehearsed(t *testing.T) {
	t.Parallel()
	s := newLossy(t)
	c := client(t, s.host)
	m := export(t, c, inventory(t, plan(t, c, s.request(t)), 0))
	results, err := m.open(t).Rehearse(bundle.ImportOptions{Placement: to(t, "registry.example"), SkipMissing: true})
	wantError(t, err, bundle.ErrMissing)
	for _, r := range results {
		sparse := strings.Contains(r.Reason, "is sparse: of 2 manifests 1 missing at the source")
		if wants := s.list[references(t, r.Reference)[0].Repository] != ""; r.State == bundle.StatePlanned && sparse != wants {
			t.Errorf("%+v", r)
		}
	}
}

// TestAnythingMissing: whatever a source has lost, nothing of it is in the archive,
// the import skips exactly what is recorded and what refuses to be sparse, and all
// else is complete.
func TestAnythingMissing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 1))
		host, stop, err := ocitest.Embedded()
		check(t, err)
		b := ocitest.NewBuilder(host)
		refs := everyShape(b)
		check(t, b.Err())
		whole := plan(t, client(t, host), bundle.Request{Images: references(t, refs...)})
		gone := map[string]bool{} // manifests and blobs, as paths end
		for _, n := range whole.Nodes {
			for _, d := range append(slices.Clone(n.Layers), n.Digest, n.Config) {
				gone["/"+string(d)] = d != "" && random.IntN(10) == 0
			}
		}
		for _, i := range whole.Images {
			gone["/"+strings.TrimPrefix(i.Reference, "quay.io/")] = random.IntN(10) == 0
		}
		far := ocitest.Misbehave(t, host, func(r *http.Request) *ocitest.Fault {
			name := strings.Replace(strings.TrimPrefix(r.URL.Path, "/v2"), "/manifests/", ":", 1)
			if gone[r.URL.Path[strings.LastIndex(r.URL.Path, "/"):]] || gone[name] {
				return &ocitest.Fault{Status: 404}
			}
			return nil
		})
		c := client(t, far.Host)
		content := plan(t, c, bundle.Request{Images: references(t, refs...), SkipMissing: true})
		wantNowhere(t, content)
		m := export(t, c, inventory(t, content, 0))
		for _, refusal := range []*ocitest.Fault{nil, {Status: 400, Body: "no"}} {
			dst := ocitest.Lists(t, refusal)
			results, err := m.open(t).Import(t.Context(), client(t, dst, dst), bundle.ImportOptions{Placement: to(t, dst), SkipMissing: true})
			if (err == nil) != (len(content.Missing) == 0) || err != nil && !errors.Is(err, bundle.ErrMissing) {
				t.Errorf("seed %d: %v", seed, err)
			}
			for _, r := range results {
				if skipped := r.State == bundle.StateSkipped; skipped != maySkip(content, r, refusal != nil) || !skipped && r.State != bundle.StateImported {
					t.Errorf("seed %d: %+v", seed, r)
				}
			}
			if refusal == nil {
				newCrawler(dst).lookFor(t, content)
			} else {
				newCrawler(dst).look(t)
			}
		}
		stop()
	}
}

// maySkip says whether an image has to be skipped: it is recorded as missing, or a
// registry that takes no sparse lists refuses it and no image can take its place.
func maySkip(c *bundle.Content, r bundle.ImageResult, refused bool) bool {
	for _, m := range c.Missing {
		if m.Reference == r.Reference {
			return true
		}
	}
	nodes := map[digest.Digest]bundle.Node{}
	for _, n := range c.Nodes {
		nodes[n.Digest] = n
	}
	var sparse func(d digest.Digest) bool
	sparse = func(d digest.Digest) bool {
		return len(nodes[d].Absent) > 0 || slices.ContainsFunc(nodes[d].Children, sparse)
	}
	return refused && r.Index == "" && slices.ContainsFunc(c.Images, func(i bundle.Image) bool { return i.Reference == r.Reference && sparse(i.Digest) })
}
