package bundle_test

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/bundle"
	"airlift/oci"
	"airlift/oci/ocitest"
)

// threeMedia writes a bundle of four volumes onto three media: 1 and 2, 3, 4. With
// cut a layer lies on all of them.
func threeMedia(t *testing.T, c *oci.Client, src *ocitest.Registry, cut bool) (media []string, whole medium) {
	t.Helper()
	b := src.Builder()
	var layers []ocispec.Descriptor
	for i := range 3 {
		size := 6000
		if cut {
			size = 9000 * i // none, one volume's worth, and one of several
		}
		layers = append(layers, b.RandomLayer("team/three", fmt.Sprint(i), size+200))
	}
	b.Image("team/three", "v1", ocitest.ImageOpts{Layers: layers})
	b.Image("team/three", "one", ocitest.ImageOpts{Layers: layers[:1]})
	check(t, b.Err())
	inv := inventory(t, plan(t, c, bundle.Request{Images: references(t, "quay.io/team/three:v1", "quay.io/team/three:one")}), 8192)
	whole = export(t, c, inv)
	if n := len(inv.Storage.Volumes); n < 4 {
		t.Fatalf("the bundle has %d volumes", n)
	}
	for _, r := range []bundle.VolumeRange{{First: 1, Last: 2}, {First: 3, Last: 3}, {First: 4}} {
		dir := t.TempDir()
		check(t, bundle.Export(t.Context(), c, inv, dir, bundle.ExportOptions{Key: whole.key, Volumes: r}))
		media = append(media, dir)
	}
	return media, whole
}

// orders are the ways to bring three media.
var orders = [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}

// TestMediaInEveryOrder: each medium is checked by itself and by stock tools;
// together they are the bundle; imported one at a time, in whatever order, each by
// a run of its own, everything is there after the last, and not before.
func TestMediaInEveryOrder(t *testing.T) {
	t.Parallel()
	src := ocitest.StartRegistry(t)
	c := client(t, src.Host)
	media, whole := threeMedia(t, c, src, false)
	for _, dir := range media {
		sums := exec.CommandContext(t.Context(), "sha256sum", "--quiet", "--strict", "-c", "SHA256SUMS")
		sums.Dir = dir
		if out, err := sums.CombinedOutput(); err != nil {
			t.Errorf("sha256sum: %v: %s", err, out)
		}
		wantError(t, verdict(t, whole, dir), bundle.ErrAbsent)
	}
	for _, order := range orders {
		dirs := []string{media[order[0]], media[order[1]], media[order[2]]}
		check(t, verdict(t, whole, dirs...))
		dst := ocitest.StartRegistry(t)
		far := client(t, dst.Host, dst.Host)
		for i, dir := range dirs {
			b, err := bundle.Open([]string{dir}, whole.trust())
			check(t, err)
			results, err := b.Import(t.Context(), far, bundle.ImportOptions{Placement: to(t, dst.Host)})
			if i < 2 {
				wantError(t, err, bundle.ErrAbsent, "bundle.tar.00")
			} else if err != nil {
				t.Errorf("order %d: %v", order, err)
			}
			if there := slices.ContainsFunc(results, isThere("quay.io/team/three:v1")); there != (i == 2) {
				t.Errorf("order %d, medium %d: the image on all media is there: %v", order, i, there)
			}
		}
		check(t, verdict(t, whole, dirs...))
	}
}

func verdict(t *testing.T, whole medium, dirs ...string) error {
	t.Helper()
	b, err := bundle.Open(dirs, whole.trust())
	check(t, err)
	findings, err := b.Check(t.Context(), bundle.CheckOptions{})
	check(t, err)
	return bundle.Verdict(findings)
}

func isThere(reference string) func(bundle.ImageResult) bool {
	return func(r bundle.ImageResult) bool {
		return r.Reference == reference && (r.State == bundle.StateImported || r.State == bundle.StatePresent)
	}
}

// TestBlobOnSeveralMedia: one run that is given medium after medium brings it,
// whatever comes first, as soon as the parts have come in their order; so do all
// media together. A run for each medium cannot, and says which volume is next.
func TestBlobOnSeveralMedia(t *testing.T) {
	t.Parallel()
	src := ocitest.StartRegistry(t)
	c := client(t, src.Host)
	media, whole := threeMedia(t, c, src, true)
	for _, given := range [][]int{{0, 1, 2}, {2, 1, 0, 1, 2}, {1, 0, 2, 1, 2}, {0, 0, 1, 1, 2}} {
		dst := ocitest.StartRegistry(t)
		importer := bundle.NewImporter(client(t, dst.Host, dst.Host), bundle.ImportOptions{Placement: to(t, dst.Host)})
		for i, m := range given {
			b, err := bundle.Open([]string{media[m]}, whole.trust())
			check(t, err)
			_, err = importer.Medium(t.Context(), b)
			if err != nil && !errors.Is(err, bundle.ErrAbsent) || (err == nil) && i < 2 || err != nil && i == len(given)-1 {
				t.Errorf("media %d, the %dth: %v", given, i+1, err)
			}
		}
		if !slices.Contains(dst.Builder().Tags("team/three"), "v1") {
			t.Errorf("media %d: the image is not there", given)
		}
	}
	dst := ocitest.StartRegistry(t)
	far := client(t, dst.Host, dst.Host)
	for range 2 {
		for _, m := range media {
			b, err := bundle.Open([]string{m}, whole.trust())
			check(t, err)
			_, err = b.Import(t.Context(), far, bundle.ImportOptions{Placement: to(t, dst.Host)})
			wantError(t, err, bundle.ErrAbsent)
		}
	}
	b, err := bundle.Open(media, whole.trust())
	check(t, err)
	_, err = b.Import(t.Context(), far, bundle.ImportOptions{Placement: to(t, dst.Host)})
	check(t, err)
}
