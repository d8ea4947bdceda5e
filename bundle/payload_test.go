package bundle_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/bundle"
	"airlift/oci"
	"airlift/oci/ocitest"
)

// TestDamagedPayload: whichever byte of a blob is wrong, it never becomes a blob
// of the registry, nothing that needs it is tagged, and everything else is.
func TestDamagedPayload(t *testing.T) {
	t.Parallel()
	var layer ocispec.Descriptor
	var release ocitest.Release
	near := source(t, func(b *ocitest.Builder) {
		layer = twoImages(b)
		large := ocitest.ImageOpts{Layers: []ocispec.Descriptor{layer}}
		b.Index("team/large", "list", false, b.Image("team/large", "", ocitest.ImageOpts{}), b.Index("team/large", "", false, b.Image("team/large", "", large)))
		b.RandomLayer("team/mounted", "large", 200_000)
		b.Image("team/mounted", "v1", large)
		release = b.Release(ocitest.ReleaseOpts{Components: []string{"cli"}, LayerSize: 100_000})
	})
	c := client(t, near.Host)
	whole := export(t, c, inventory(t, plan(t, c, bundle.Request{
		Releases: references(t, release.Reference),
		Images:   references(t, "quay.io/team/large:v1", "quay.io/team/large:list", "quay.io/team/mounted:v1", "quay.io/team/small:v1"),
	}), 0))
	component := componentLayer(t, near, release)
	for name, damage := range map[string]struct {
		blob digest.Digest
		at   func(size int64) int64
		lost []string // parts of names of what needs it
	}{
		"first byte": {layer.Digest, func(int64) int64 { return 0 }, []string{"team/large", "team/mounted"}},
		"middle":     {layer.Digest, func(size int64) int64 { return size / 2 }, []string{"team/large", "team/mounted"}},
		"last byte":  {layer.Digest, func(size int64) int64 { return size - 1 }, []string{"team/large", "team/mounted"}},
		"component":  {component, func(size int64) int64 { return size / 3 }, []string{"openshift-release-dev/ocp-release", release.Images["cli"]}},
	} {
		t.Run(name, func(t *testing.T) {
			m := whole.copied(t)
			e, _ := m.open(t).Layout.Find(damage.blob)
			flip(t, m.path("bundle.tar"), e.Offset+512+damage.at(e.Size))
			far := ocitest.StartRegistry(t)
			results, err := importInto(t.Context(), t, m, far.Host, 0)
			wantError(t, err, bundle.ErrDamaged, m.path("bundle.tar"), string(damage.blob))
			wantNothingOf(t, far, damage.blob)
			wantLost(t, results, damage.lost)
			newCrawler(far.Host).look(t)
			tags := far.Builder().Tags("far/openshift-release-dev/ocp-release")
			if wants := name != "component"; wants != slices.Contains(tags, "4.17.3-x86_64") {
				t.Errorf("the release's tags: %s", tags)
			}
		})
	}
}

// componentLayer is the layer that only the release's component cli has.
func componentLayer(t *testing.T, near *ocitest.Registry, release ocitest.Release) digest.Digest {
	t.Helper()
	b := near.Builder()
	_, raw := b.Manifest(release.ComponentRepo, string(release.Components["cli"]))
	check(t, b.Err())
	n, err := oci.ParseNode(ocitest.DockerManifest, raw)
	check(t, err)
	return n.Layers[len(n.Layers)-1].Digest
}

// wantNothingOf looks into the registry's storage.
func wantNothingOf(t *testing.T, far *ocitest.Registry, d digest.Digest) {
	t.Helper()
	for _, name := range fileNames(t, far.Root) {
		if strings.Contains(name, d.Encoded()) {
			t.Errorf("the registry holds %s", name)
		}
	}
}

// wantLost fails unless exactly the images with these names were not imported.
func wantLost(t *testing.T, results []bundle.ImageResult, lost []string) {
	t.Helper()
	for _, r := range results {
		needs := slices.ContainsFunc(lost, func(part string) bool { return strings.Contains(r.Reference, part) })
		if imported := r.State == bundle.StateImported; imported == needs {
			t.Errorf("%s: %s, %s", r.Reference, r.State, r.Reason)
		}
	}
}

// TestDamagedLastByte of any blob: the upload is given up, and no manifest is pushed.
func TestDamagedLastByte(t *testing.T) {
	t.Parallel()
	m, _ := small(t, "x", 0)
	b := m.open(t)
	for _, blob := range m.inv.Content.Blobs {
		spoilt, far := m.copied(t), ocitest.StartRegistry(t)
		e, _ := b.Layout.Find(blob.Digest)
		flip(t, spoilt.path("bundle.tar"), e.Offset+512+e.Size-1)
		proxy := ocitest.Misbehave(t, far.Host, nil)
		_, err := importInto(t.Context(), t, spoilt, proxy.Host, 1)
		wantError(t, err, bundle.ErrDamaged, string(blob.Digest))
		wantNothingOf(t, far, blob.Digest)
		if n := proxy.Count(http.MethodPut, "/manifests/"); n != 0 {
			t.Errorf("%d manifests were pushed", n)
		}
	}
}
