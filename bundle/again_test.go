package bundle_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/bundle"
	"airlift/oci/ocitest"
)

// TestRegistryMisremembers: one that says to have what it then refuses as unknown
// is given all of it, once more.
func TestRegistryMisremembers(t *testing.T) {
	t.Parallel()
	m, _ := interrupted(t)
	host := ocitest.StartRegistry(t).Host
	proxy := ocitest.Misbehave(t, host, func(r *http.Request) *ocitest.Fault {
		if r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/blobs/") {
			return &ocitest.Fault{Status: http.StatusOK}
		}
		return nil
	})
	results, err := importInto(t.Context(), t, m, proxy.Host, 0)
	for _, r := range results {
		if err != nil || r.State != bundle.StateImported {
			t.Errorf("%s: %s, %s: %v", r.Reference, r.State, r.Reason, err)
		}
	}
	wantComplete(t, m, host)
}

// TestCollectedChild: an index whose child the registry has lost is not there,
// whatever its tag says, and made whole again.
func TestCollectedChild(t *testing.T) {
	t.Parallel()
	var inner ocispec.Descriptor
	near := source(t, func(b *ocitest.Builder) {
		inner = b.Index("team/nested", "", false, b.Image("team/nested", "", ocitest.ImageOpts{}))
		b.Index("team/nested", "v1", false, inner)
	})
	far := ocitest.StartRegistry(t)
	c := client(t, near.Host, far.Host)
	b := export(t, c, inventory(t, plan(t, c, bundle.Request{Images: references(t, "quay.io/team/nested:v1")}), 0)).open(t)
	for _, want := range []string{bundle.StateImported, bundle.StatePresent, bundle.StateImported, bundle.StatePresent} {
		results, err := b.Import(t.Context(), c, bundle.ImportOptions{Placement: to(t, far.Host)})
		if err != nil || len(results) != 1 || results[0].State != want {
			t.Errorf("%+v, %v, want it to be %s", results, err, want)
		}
		newCrawler(far.Host).look(t)
		if want == bundle.StatePresent {
			far.Builder().DeleteManifest("team/nested", inner.Digest)
		}
	}
}

// TestMovedTag: what a tag led to before keeps one, for clusters may have pinned
// its digest and registries collect what has none.
func TestMovedTag(t *testing.T) {
	t.Parallel()
	near := source(t, func(b *ocitest.Builder) { b.ZstdImage("team/app", "v1") })
	far := ocitest.StartRegistry(t)
	c := client(t, near.Host, far.Host)
	var carried []digest.Digest
	for range 2 {
		content := plan(t, c, bundle.Request{Images: references(t, "quay.io/team/app:v1")})
		_, err := export(t, c, inventory(t, content, 0)).open(t).Import(t.Context(), c, bundle.ImportOptions{Placement: to(t, far.Host)})
		check(t, err)
		carried = append(carried, content.Images[0].Digest)
		near.Builder().ZeroLayerImage("team/app", "v1")
	}
	if carried[0] == carried[1] {
		t.Fatal("the tag did not move")
	}
	for tag, want := range map[string]digest.Digest{"v1": carried[1], "at-" + fallback(carried[0]): carried[0]} {
		if _, raw := far.Builder().Manifest("team/app", tag); digest.FromBytes(raw) != want {
			t.Errorf("%s leads to %q, not to %s", tag, raw, want)
		}
	}
	newCrawler(far.Host).look(t)
}
