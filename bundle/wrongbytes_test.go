package bundle_test

import (
	"bytes"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/bundle"
	"airlift/oci"
	"airlift/oci/ocitest"
)

// twoImages pushes a good image and one whose layer is of several chunks.
func twoImages(b *ocitest.Builder) (layer ocispec.Descriptor) {
	layer = b.RandomLayer("team/large", "large", 200_000)
	b.Image("team/large", "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{layer}})
	b.Image("team/small", "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{b.RandomLayer("team/small", "small", 3000)}})
	return layer
}

// TestWrongBytesOnce: a source that gives wrong bytes once is asked again.
func TestWrongBytesOnce(t *testing.T) {
	t.Parallel()
	var layer ocispec.Descriptor
	near := source(t, func(b *ocitest.Builder) { layer = twoImages(b) })
	proxy := corrupting(t, near.Host, layer.Digest, 1)
	direct := client(t, near.Host)
	inv := inventory(t, plan(t, direct, bundle.Request{Images: references(t, "quay.io/team/large:v1", "quay.io/team/small:v1")}), 120_000)
	good := export(t, direct, inv)
	equalVolumes(t, good, export(t, client(t, proxy.Host), inv))
	if n := proxy.Count(http.MethodGet, string(layer.Digest)); n != 2 {
		t.Errorf("the layer was fetched %d times", n)
	}
}

// TestWrongBytesTwice end the export, naming source and images; what is on the
// medium is true.
func TestWrongBytesTwice(t *testing.T) {
	t.Parallel()
	var layer ocispec.Descriptor
	near := source(t, func(b *ocitest.Builder) { layer = twoImages(b) })
	proxy := corrupting(t, near.Host, layer.Digest, 2)
	direct := client(t, near.Host)
	inv := inventory(t, plan(t, direct, bundle.Request{Images: references(t, "quay.io/team/large:v1", "quay.io/team/small:v1")}), 120_000)
	good := export(t, direct, inv)
	bad := medium{dir: t.TempDir(), inv: inv, key: newKey(t)}
	err := bundle.Export(t.Context(), client(t, proxy.Host), inv, bad.dir, bundle.ExportOptions{Key: bad.key})
	wantError(t, err, nil, string(layer.Digest), "quay.io/team/large:v1", "not the bytes")
	wrote := 0
	for _, v := range inv.Storage.Volumes {
		whole := readFile(t, good.path(v.Name))
		part, err := os.ReadFile(bad.path(v.Name))
		if err == nil && !bytes.HasPrefix(whole, part) {
			t.Errorf("%s holds other bytes than it should", v.Name)
		}
		wrote += len(part)
	}
	e, _ := good.open(t).Layout.Find(layer.Digest)
	if int64(wrote) != e.Offset {
		t.Errorf("%d bytes were left, the wrong blob begins at %d", wrote, e.Offset)
	}
	if names := strings.Join(fileNames(t, bad.dir), " "); !strings.Contains(names, bundle.CheckpointFile) || strings.Contains(names, bundle.SumsFile) {
		t.Errorf("the medium does not say that it is unfinished: %s", names)
	}
}

// corrupting gives wrong bytes for a blob the first times that it is asked for.
func corrupting(t *testing.T, host string, d digest.Digest, times int64) *ocitest.Proxy {
	var asked atomic.Int64
	return ocitest.Misbehave(t, host, func(r *http.Request) *ocitest.Fault {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, string(d)) && asked.Add(1) <= times {
			return &ocitest.Fault{Corrupt: true, At: 150_000}
		}
		return nil
	})
}

// TestVanishedBlob: a blob that went after planning ends the export by its name.
func TestVanishedBlob(t *testing.T) {
	t.Parallel()
	var layer ocispec.Descriptor
	near := source(t, func(b *ocitest.Builder) { layer = twoImages(b) })
	c := client(t, near.Host)
	inv := inventory(t, plan(t, c, bundle.Request{Images: references(t, "quay.io/team/large:v1")}), 0)
	near.Builder().DeleteBlob("team/large", layer.Digest)
	err := bundle.Export(t.Context(), c, inv, t.TempDir(), bundle.ExportOptions{})
	wantError(t, err, nil, string(layer.Digest), "quay.io/team/large:v1")
	if !oci.IsMissing(err) {
		t.Errorf("the error does not show that it is missing: %v", err)
	}
}
