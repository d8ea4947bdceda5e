package bundle_test

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/bundle"
	"airlift/oci"
	"airlift/oci/ocitest"
)

// parted writes the volumes of a bundle onto media, each after the first getting
// the volumes from one number on.
func parted(t *testing.T, c *oci.Client, whole medium, from ...int) (media []string) {
	t.Helper()
	for i, first := range from {
		r := bundle.VolumeRange{First: first}
		if i+1 < len(from) {
			r.Last = from[i+1] - 1
		}
		dir := t.TempDir()
		check(t, bundle.Export(t.Context(), c, whole.inv, dir, bundle.ExportOptions{Key: whole.key, Volumes: r}))
		media = append(media, dir)
	}
	return media
}

func openAt(t *testing.T, whole medium, dirs ...string) *bundle.Bundle {
	t.Helper()
	b, err := bundle.Open(dirs, whole.trust())
	check(t, err)
	return b
}

// twoLayers is a bundle of four volumes: the first, one for each layer of the image
// "two", one for that of the image "lone"; and what it was fetched from.
func twoLayers(t *testing.T) (medium, *oci.Client, []ocispec.Descriptor) {
	t.Helper()
	var layers []ocispec.Descriptor
	near := source(t, func(b *ocitest.Builder) {
		layers = []ocispec.Descriptor{b.RandomLayer("team/two", "a", 6000), b.RandomLayer("team/two", "b", 6000)}
		b.Image("team/two", "v1", ocitest.ImageOpts{Layers: layers, Annotations: map[string]string{"note": "nothing"}})
		b.Image("team/zone", "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{b.RandomLayer("team/zone", "c", 6000)}})
	})
	c := client(t, near.Host)
	inv := inventory(t, plan(t, c, bundle.Request{Images: references(t, "quay.io/team/two:v1", "quay.io/team/zone:v1")}), 8192)
	if n := len(inv.Storage.Volumes); n != 4 {
		t.Fatalf("the bundle has %d volumes", n)
	}
	return export(t, c, inv), c, layers
}

// firstVolume is the size of the smallest first volume of a content, in bytes: no
// layer of these tests is larger.
func firstVolume(t *testing.T, content *bundle.Content) int64 {
	t.Helper()
	for _, b := range content.Blobs {
		if b.Role == bundle.RoleLayer {
			e, _ := opened(t, content).Layout.Find(b.Digest)
			return e.Offset
		}
	}
	t.Fatal("there is no layer")
	return 0
}

// TestReleaseOnMedia: a release whose own layers and components are on different
// media comes in every order, each medium once; its tag comes with the last.
func TestReleaseOnMedia(t *testing.T) {
	t.Parallel()
	var release ocitest.Release
	near := source(t, func(b *ocitest.Builder) {
		release = b.Release(ocitest.ReleaseOpts{Multi: true, Components: []string{"cli", "etcd", "installer"}})
	})
	c := client(t, near.Host)
	content := plan(t, c, bundle.Request{Releases: references(t, release.Reference)})
	whole := export(t, c, inventory(t, content, firstVolume(t, content)))
	volumes := len(whole.inv.Storage.Volumes)
	if volumes < 4 {
		t.Fatalf("the bundle has %d volumes", volumes)
	}
	media := parted(t, c, whole, 2, 3, 4)
	for _, order := range orders {
		dst := ocitest.StartRegistry(t)
		far := client(t, dst.Host, dst.Host)
		for i, m := range order {
			results, err := openAt(t, whole, media[m]).Import(t.Context(), far, bundle.ImportOptions{Placement: to(t, dst.Host)})
			if i < 2 {
				wantError(t, err, bundle.ErrAbsent)
			} else if err != nil {
				t.Errorf("order %d: %v", order, err)
			}
			if there := slices.ContainsFunc(results, isThere("quay.io/"+release.PayloadRepo+"@"+string(release.Descriptor.Digest))); there != (i == 2) {
				t.Errorf("order %d, medium %d: the release is there: %v", order, i, there)
			}
		}
		newCrawler(dst.Host).look(t)
	}
}

// TestOneImporter: what one medium brought is not asked for when the next comes,
// and is reported in the end.
func TestOneImporter(t *testing.T) {
	t.Parallel()
	whole, c, _ := twoLayers(t)
	media := parted(t, c, whole, 2, 3, 4)
	dst := ocitest.Misbehave(t, ocitest.StartRegistry(t).Host, nil)
	importer := bundle.NewImporter(client(t, dst.Host, dst.Host), bundle.ImportOptions{Placement: to(t, dst.Host)})
	var results []bundle.ImageResult
	var err error
	for i, m := range []int{2, 0, 1} {
		results, err = importer.Medium(t.Context(), openAt(t, whole, media[m]))
		if i < 2 {
			wantError(t, err, bundle.ErrAbsent, fmt.Sprintf("still to come: bundle.tar.%03d", 2+i))
		}
	}
	if err != nil || len(results) != 2 || results[0].State != bundle.StateImported || results[1].State != bundle.StateImported {
		t.Errorf("%+v, %v", results, err)
	}
	for request, n := range dst.Requests() {
		if strings.HasPrefix(request, "HEAD ") {
			n-- // the final proof; and of a tag what it leads to when it is written
		}
		if n > 1 && !strings.HasSuffix(request, "/blobs/uploads/") && request != "GET /v2/" {
			t.Errorf("%s: %d times", request, n)
		}
	}
}

// TestCopyOfFirstVolume: where one copy is damaged another serves, for manifests
// and for configs, and that is said.
func TestCopyOfFirstVolume(t *testing.T) {
	t.Parallel()
	whole, c, _ := twoLayers(t)
	for _, of := range []string{"manifest", "config"} {
		media := parted(t, c, whole, 2, 3)
		offset := nodeOffset(t, whole)
		if of == "config" {
			e, _ := openAt(t, whole, media[0]).Layout.Find(whole.inv.Content.Nodes[0].Config)
			offset = e.Offset + 512
		}
		flip(t, filepath.Join(media[0], "bundle.tar.001"), offset)
		dst := ocitest.StartRegistry(t)
		var notes []string
		results, err := openAt(t, whole, media...).Import(t.Context(), client(t, dst.Host, dst.Host), bundle.ImportOptions{
			Placement: to(t, dst.Host), Jobs: 1,
			Progress: func(e bundle.Event) {
				if e.Note != "" {
					notes = append(notes, e.Note)
				}
			},
		})
		if err != nil || len(results) != 2 {
			t.Errorf("%s: %+v, %v", of, results, err)
		}
		if len(notes) != 1 || !strings.Contains(notes[0], media[0]) || !strings.HasSuffix(notes[0], "another copy of it is good") {
			t.Errorf("%s: said %q", of, notes)
		}
		newCrawler(dst.Host).look(t)
	}
}

// TestDamagedMediumAgain: what was damaged on one medium may come from another,
// even if others were read between; until then it is still to come.
func TestDamagedMediumAgain(t *testing.T) {
	t.Parallel()
	whole, c, layers := twoLayers(t)
	media := parted(t, c, whole, 2, 3)
	bad := parted(t, c, whole, 2, 3)[0]
	e, _ := openAt(t, whole, bad).Layout.Find(layers[0].Digest)
	if e.Size == 0 {
		t.Fatal("the layer is not in the bundle")
	}
	flip(t, filepath.Join(bad, "bundle.tar.002"), 700)
	dst := ocitest.StartRegistry(t)
	importer := bundle.NewImporter(client(t, dst.Host, dst.Host), bundle.ImportOptions{Placement: to(t, dst.Host)})
	_, err := importer.Medium(t.Context(), openAt(t, whole, bad))
	wantError(t, err, bundle.ErrDamaged, filepath.Join(bad, "bundle.tar.002"))
	_, err = importer.Medium(t.Context(), openAt(t, whole, media[1]))
	wantError(t, err, bundle.ErrDamaged, filepath.Join(bad, "bundle.tar.002"), "still to come: bundle.tar.002")
	wantError(t, err, bundle.ErrAbsent)
	_, err = importer.Medium(t.Context(), openAt(t, whole, media[0]))
	check(t, err)
	newCrawler(dst.Host).look(t)
}

// TestOtherBundlesMedium is of no use to an import or a check under way, which
// goes on with the right one.
func TestOtherBundlesMedium(t *testing.T) {
	t.Parallel()
	whole, c, _ := twoLayers(t)
	media := parted(t, c, whole, 2, 3)
	other, err := bundle.NewInventory(whole.inv.Content, 8192, "airlift test", 2)
	check(t, err)
	foreign := medium{dir: t.TempDir(), inv: other, key: whole.key}
	check(t, bundle.Export(t.Context(), c, other, foreign.dir, bundle.ExportOptions{Key: whole.key}))
	dst := ocitest.StartRegistry(t)
	importer := bundle.NewImporter(client(t, dst.Host, dst.Host), bundle.ImportOptions{Placement: to(t, dst.Host)})
	var checks bundle.Checks
	for i, dir := range []string{media[0], foreign.dir, media[1]} {
		b := openAt(t, whole, dir)
		results, imported := importer.Medium(t.Context(), b)
		checked := checks.Medium(b, b.Quick)
		switch i {
		case 0:
			wantError(t, imported, bundle.ErrAbsent)
			check(t, checked)
		case 1:
			wantError(t, imported, nil, dir, "another bundle")
			wantError(t, checked, nil, dir, "another bundle")
			if results != nil {
				t.Errorf("results of another bundle: %+v", results)
			}
		default:
			check(t, errors.Join(imported, checked, bundle.Verdict(checks.Findings())))
		}
	}
}

// TestChecksInEveryOrder: damage that was found is kept, what is still to come is
// said, and in the end all is known, in whatever order the media come.
func TestChecksInEveryOrder(t *testing.T) {
	t.Parallel()
	src := ocitest.StartRegistry(t)
	c := client(t, src.Host)
	for _, cut := range []bool{false, true} {
		media, whole := threeMedia(t, c, src, cut)
		for _, order := range orders {
			var good, bad bundle.Checks
			for i, m := range order {
				b := openAt(t, whole, media[m])
				full := func() ([]bundle.Finding, error) { return b.Check(t.Context(), bundle.CheckOptions{}) }
				check(t, good.Medium(b, full))
				if i == 0 {
					path := filepath.Join(media[m], []string{"bundle.tar.002", "bundle.tar.003", "bundle.tar.004"}[m])
					flip(t, path, 600)
					check(t, bad.Medium(b, full))
					flip(t, path, 600)
				} else {
					check(t, bad.Medium(b, full))
				}
				if absent := len(good.Absent()); (absent == 0) != (i == 2) {
					t.Errorf("order %d, medium %d: %d volumes are absent", order, i, absent)
				}
				wantError(t, bundle.Verdict(bad.Findings()), bundle.ErrDamaged)
				if i < 2 {
					wantError(t, bundle.Verdict(good.Findings()), bundle.ErrAbsent)
					wantError(t, bundle.Verdict(bad.Findings()), bundle.ErrAbsent)
				}
			}
			check(t, bundle.Verdict(good.Findings()))
		}
	}
}

// mounts are requests to mount.
func mounts(r *http.Request) bool {
	return r.Method == http.MethodPost && r.URL.Query().Get("mount") != ""
}

// mountRefused are the ways in which registries do not mount: an upload is begun
// instead, or the request is not known.
var mountRefused = map[string]func(r *http.Request) *ocitest.Fault{
	"mounts": func(*http.Request) *ocitest.Fault { return nil },
	"202": func(r *http.Request) *ocitest.Fault {
		if mounts(r) {
			r.URL.RawQuery = "" // as a registry does that knows no mounts
		}
		return nil
	},
	"405": func(r *http.Request) *ocitest.Fault {
		if mounts(r) {
			return &ocitest.Fault{Status: http.StatusMethodNotAllowed}
		}
		return nil
	},
}

// TestBlobElsewhereAtTheRegistry: a blob on a medium that is not given is taken
// from another repository that has it: mounted, or where that is refused copied.
func TestBlobElsewhereAtTheRegistry(t *testing.T) {
	t.Parallel()
	near := source(t, func(b *ocitest.Builder) {
		for _, repo := range []string{"team/aaa", "team/zzz"} { // in either order one comes before the other
			b.Image(repo, "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{b.RandomLayer(repo, "shared", 6000)}, Labels: map[string]string{"name": repo}})
		}
		b.Image("team/more", "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{b.RandomLayer("team/more", "more", 6000)}})
	})
	c := client(t, near.Host)
	both := references(t, "quay.io/team/aaa:v1", "quay.io/team/zzz:v1", "quay.io/team/more:v1")
	content := plan(t, c, bundle.Request{Images: both})
	whole := export(t, c, inventory(t, content, firstVolume(t, content)))
	for way, rule := range mountRefused {
		for _, held := range []string{"quay.io/team/aaa:v1", "quay.io/team/zzz:v1"} {
			dst := ocitest.Misbehave(t, ocitest.StartRegistry(t).Host, rule)
			far := client(t, dst.Host, dst.Host)
			first := export(t, c, inventory(t, plan(t, c, bundle.Request{Images: references(t, held)}), 0))
			_, err := first.open(t).Import(t.Context(), far, bundle.ImportOptions{Placement: to(t, dst.Host)})
			check(t, err)
			for _, m := range parted(t, c, whole, 3) { // the volume of "more" alone
				results, err := openAt(t, whole, m).Import(t.Context(), far, bundle.ImportOptions{Placement: to(t, dst.Host), Jobs: 1})
				if err != nil || len(results) != 3 {
					t.Errorf("%s, %s: %+v, %v", way, held, results, err)
				}
			}
			newCrawler(dst.Host).look(t)
		}
	}
}
