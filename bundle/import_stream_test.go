package bundle_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/bundle"
	"airlift/oci"
	"airlift/oci/ocitest"
	"airlift/verify"
)

// streamOf writes a bundle as a stream.
func streamOf(t *testing.T, c *oci.Client, r bundle.Request, volumeSize int64) ([]byte, medium) {
	t.Helper()
	m := medium{inv: inventory(t, plan(t, c, r), volumeSize), key: newKey(t)}
	var stream bytes.Buffer
	check(t, bundle.ExportStream(t.Context(), c, m.inv, &stream, bundle.ExportOptions{Key: m.key}))
	return stream.Bytes(), m
}

// importStream imports what is left of a stream, which can be read only once.
func importStream(t *testing.T, stream []byte, m medium, host string) ([]bundle.ImageResult, error) {
	t.Helper()
	s, err := bundle.OpenStream(io.MultiReader(bytes.NewReader(stream)), m.trust())
	if err != nil {
		return nil, err
	}
	return s.Import(t.Context(), client(t, host, host), bundle.ImportOptions{Placement: to(t, host+"/far")})
}

// wantStates fails unless all images are in a state.
func wantStates(t *testing.T, results []bundle.ImageResult, n int, state string) {
	t.Helper()
	if len(results) != n {
		t.Errorf("%d results, want %d", len(results), n)
	}
	for _, r := range results {
		if r.State != state {
			t.Errorf("%s: %s, %s", r.Reference, r.State, r.Reason)
		}
	}
}

// TestStreamCarriesEveryShape: all that a bundle holds comes through a stream, in
// one volume or several, to registries that mount and to those that do not; the
// same stream once more finds all of it there, and sends nothing.
func TestStreamCarriesEveryShape(t *testing.T) {
	t.Parallel()
	var shapes []string
	var release ocitest.Release
	near := source(t, func(b *ocitest.Builder) {
		shapes = everyShape(b)
		for _, repo := range []string{"shared/one", "shared/two", "shared/three"} {
			b.Image(repo, "v1", ocitest.ImageOpts{Labels: map[string]string{"name": repo}, Layers: []ocispec.Descriptor{
				b.RandomLayer(repo, "small", 3000), b.RandomLayer(repo, "large", 5<<20),
			}})
			shapes = append(shapes, "quay.io/"+repo+":v1")
		}
		release = b.Release(ocitest.ReleaseOpts{Multi: true, Signatures: true, Components: []string{"cli", "etcd"}})
	})
	c := client(t, near.Host)
	sizes := map[string][]int64{"mounts": {0, 150_000}, "202": {0}, "405": {150_000}}
	for way, rule := range mountRefused {
		for _, volumeSize := range sizes[way] {
			stream, m := streamOf(t, c, bundle.Request{Images: references(t, shapes...), Releases: references(t, release.Reference)}, volumeSize)
			far := ocitest.StartRegistry(t)
			dst := ocitest.Misbehave(t, far.Host, rule)
			results, err := importStream(t, stream, m, dst.Host)
			if err != nil {
				t.Fatalf("%s: %v", way, err)
			}
			wantStates(t, results, len(m.inv.Content.Images), bundle.StateImported)
			pair := compared{t, near.Builder(), far.Builder()}
			for _, r := range results {
				ref := references(t, r.Reference)[0]
				for _, name := range r.Names {
					place := references(t, name)[0]
					pair.node(ref.Repository, place.Repository, identifier(ref), place.Tag)
				}
			}
			newCrawler(far.Host).look(t)
			before := len(dst.Log())
			results, err = importStream(t, stream, m, dst.Host)
			check(t, err)
			wantStates(t, results, len(m.inv.Content.Images), bundle.StatePresent)
			for _, r := range dst.Log()[before:] {
				if r.Method != http.MethodHead && r.Path != "/v2/" || strings.Contains(r.Path, "/blobs/") && !strings.Contains(r.Path, "release") {
					t.Errorf("%s: the second time: %s %s", way, r.Method, r.Path)
				}
			}
		}
	}
}

// passing is a stream of a small image, one with a layer that is too large to be
// held, and a release.
func passing(t *testing.T) (stream []byte, m medium, release ocitest.Release, large ocispec.Descriptor) {
	t.Helper()
	near := source(t, func(b *ocitest.Builder) {
		large = b.RandomLayer("team/large", "large", 5<<20)
		b.Image("team/large", "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{large}})
		b.Image("team/small", "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{b.RandomLayer("team/small", "small", 3000)}})
		release = b.Release(ocitest.ReleaseOpts{Components: []string{"cli"}})
	})
	stream, m = streamOf(t, client(t, near.Host), bundle.Request{
		Images: references(t, "quay.io/team/large:v1", "quay.io/team/small:v1"), Releases: references(t, release.Reference),
	}, 0)
	return stream, m, release, large
}

// TestStreamUploadFails: what the registry does not take fails by name, and all
// else is brought; a small blob is tried again, a large one comes with the next
// stream.
func TestStreamUploadFails(t *testing.T) {
	t.Parallel()
	stream, m, _, large := passing(t)
	images := len(m.inv.Content.Images)
	for name, fault := range map[string]ocitest.Fault{
		"cut": {CutUpload: true, At: 1 << 20}, "dropped": {Drop: true}, "refused": {Status: http.StatusForbidden},
	} {
		far := ocitest.StartRegistry(t)
		var tried sync.Map // small blobs, the first try of each of which fails
		broken := ocitest.Misbehave(t, far.Host, func(r *http.Request) *ocitest.Fault {
			switch upload := r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/uploads/"); {
			case upload && r.URL.Query().Get("digest") == string(large.Digest):
				return &fault
			case upload:
				if _, again := tried.LoadOrStore(r.URL.Query().Get("digest"), true); !again {
					return &ocitest.Fault{Status: http.StatusServiceUnavailable}
				}
			}
			return nil
		})
		results, err := importStream(t, stream, m, broken.Host)
		wantError(t, err, nil, "import quay.io/team/large:v1", "comes only with the stream again")
		if err != nil && strings.Contains(err.Error(), "team/small") || errors.Is(err, bundle.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		for _, r := range results {
			if want := r.Reference != "quay.io/team/large:v1"; (r.State == bundle.StateImported) != want {
				t.Errorf("%s: %s: %s, %s", name, r.Reference, r.State, r.Reason)
			}
		}
		newCrawler(far.Host).look(t)
		_, err = importStream(t, stream, m, far.Host)
		check(t, err)
		if got, err := importStream(t, stream, m, far.Host); err != nil || len(got) != images {
			t.Errorf("%s: at last: %+v, %v", name, got, err)
		}
		newCrawler(far.Host).look(t)
	}
}

// TestStreamComponentFails: a release whose component did not come is not tagged.
func TestStreamComponentFails(t *testing.T) {
	t.Parallel()
	stream, m, release, _ := passing(t)
	component := references(t, release.Images["cli"])[0].Digest
	var config string
	for _, n := range m.inv.Content.Nodes {
		if n.Digest == component {
			config = string(n.Config)
		}
	}
	far := ocitest.StartRegistry(t)
	broken := ocitest.Misbehave(t, far.Host, func(r *http.Request) *ocitest.Fault {
		if r.Method == http.MethodPut && config != "" && r.URL.Query().Get("digest") == config {
			return &ocitest.Fault{Status: http.StatusForbidden}
		}
		return nil
	})
	results, err := importStream(t, stream, m, broken.Host)
	wantError(t, err, nil, "import "+release.Images["cli"])
	for _, r := range results {
		if r.Digest == release.Descriptor.Digest && (r.State != bundle.StateSkipped || !strings.Contains(r.Reason, "component")) {
			t.Errorf("the release: %s, %s", r.State, r.Reason)
		}
	}
	if slices.Contains(far.Builder().Repositories(), "far/"+release.PayloadRepo) && len(far.Builder().Tags("far/"+release.PayloadRepo)) > 0 {
		t.Error("the release is tagged")
	}
}

// TestStreamCutOrChanged: wherever a stream ends early or is changed, that is an
// error, no tag names an incomplete image, and no release is tagged; the whole
// stream brings the rest.
func TestStreamCutOrChanged(t *testing.T) {
	t.Parallel()
	stream, m, release, _ := passing(t)
	begun := 0
	for i := 1; i < 24; i++ {
		at := len(stream) * i / 24
		if i == 23 {
			at = len(stream) - 1600 // within the sums
		}
		far := lenient(t)
		changed := slices.Clone(stream)
		changed[at] ^= 1
		for _, broken := range [][]byte{stream[:at], changed} {
			results, err := importStream(t, broken, m, far)
			if err == nil {
				t.Errorf("byte %d of %d: no error", at, len(stream))
			}
			newCrawler(far).look(t)
			for _, r := range results {
				begun++
				if r.State == bundle.StateFailed {
					t.Errorf("byte %d of %d: %s failed, but it is the stream that did: %s", at, len(stream), r.Reference, r.Reason)
				}
				if r.Digest == release.Descriptor.Digest && r.State == bundle.StateImported {
					t.Errorf("byte %d of %d: the release is tagged", at, len(stream))
				}
			}
		}
		if i%6 == 0 {
			_, err := importStream(t, stream, m, far)
			check(t, err)
			newCrawler(far).look(t)
		}
	}
	if begun == 0 {
		t.Error("no import began")
	}
}

// TestStreamNotTrusted: nobody is connected to for a stream that no trusted key
// signed, or that lacks what it may not lack without leave.
func TestStreamNotTrusted(t *testing.T) {
	t.Parallel()
	stream, m, _, _ := passing(t)
	host, connections := nobody(t)
	m.key = newKey(t)
	_, err := importStream(t, stream, m, host)
	wantError(t, err, bundle.ErrUntrusted)
	_, err = importStream(t, stream[:1024], m, host)
	wantError(t, err, nil, "the stream ends early")
	s, err := bundle.OpenStream(bytes.NewReader(stream), bundle.Trust{Unverified: true})
	check(t, err)
	_, err = s.Import(t.Context(), client(t, host, host), bundle.ImportOptions{Placement: to(t, host)})
	wantError(t, err, bundle.ErrUntrusted)
	if n := connections.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
}

// TestStreamRehearsed: what would be imported is known from the inventory.
func TestStreamRehearsed(t *testing.T) {
	t.Parallel()
	stream, m, _, _ := passing(t)
	s, err := bundle.OpenStream(bytes.NewReader(stream[:len(stream)/2]), bundle.Trust{Keys: []verify.PublicKey{verify.PublicKeyOf(m.key)}})
	check(t, err)
	results, err := s.Rehearse(bundle.ImportOptions{Placement: to(t, "registry.example")})
	check(t, err)
	wantStates(t, results, len(m.inv.Content.Images), bundle.StatePlanned)
}
