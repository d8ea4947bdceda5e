package bundle_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/bundle"
	"airlift/oci"
	"airlift/oci/ocitest"
	"airlift/verify"
)

// TestSameContentSameVolumes: what is carried decides every byte of the volumes;
// neither time, mirror, key nor the order of asking does.
func TestSameContentSameVolumes(t *testing.T) {
	t.Parallel()
	var shapes []string
	var release ocitest.Release
	near := source(t, func(b *ocitest.Builder) {
		shapes = append(everyShape(b), "quay.io/shapes/none:v1")
		release = b.Release(ocitest.ReleaseOpts{Signatures: true, Components: []string{"cli", "etcd"}, LayerSize: 50_000})
	})
	request := bundle.Request{Images: references(t, shapes...), Releases: references(t, release.Reference)}
	reversed := bundle.Request{Releases: request.Releases, Jobs: 1}
	for _, ref := range request.Images {
		reversed.Images = append([]oci.Reference{ref}, reversed.Images...)
	}
	direct, mirrored := client(t, near.Host), client(t, unreliable(t, near.Host))
	archives := map[string]bool{}
	for _, size := range []int64{0, 80_000, 150_000} {
		first, err := bundle.NewInventory(*plan(t, direct, request), size, "airlift 1", 1)
		check(t, err)
		second, err := bundle.NewInventory(*plan(t, mirrored, reversed), size, "airlift 2", 2_000_000_000)
		check(t, err)
		one, two := export(t, direct, first), export(t, mirrored, second)
		again := export(t, mirrored, fromFile(t, one, 0))
		equalVolumes(t, one, two)
		equalVolumes(t, one, again)
		archives[digest.FromBytes(one.volumes(t)).String()] = true
		if n := len(one.inv.Storage.Volumes); (n > 1) != (size > 0) {
			t.Errorf("volumes of %d bytes are %d", size, n)
		}
		if one.id() == two.id() || bytes.Equal(readFile(t, one.path(bundle.InventoryFile)), readFile(t, two.path(bundle.InventoryFile))) {
			t.Error("the two bundles do not differ in what should not matter")
		}
		recut := export(t, direct, fromFile(t, two, 100_000))
		archives[digest.FromBytes(recut.volumes(t)).String()] = true
	}
	if len(archives) != 1 {
		t.Errorf("the same content gave %d archives", len(archives))
	}
}

// unreliable is another name for a registry, where everything fails or breaks
// off the first time.
func unreliable(t *testing.T, host string) string {
	var mu sync.Mutex
	asked := map[string]bool{}
	return ocitest.Misbehave(t, host, func(r *http.Request) *ocitest.Fault {
		mu.Lock()
		defer mu.Unlock()
		first := !asked[r.URL.Path]
		asked[r.URL.Path] = true
		switch {
		case first && len(asked)%2 == 0:
			return &ocitest.Fault{Status: http.StatusServiceUnavailable}
		case first:
			return &ocitest.Fault{Cut: true, At: 100}
		}
		return nil
	}).Host
}

// fromFile is what --from does with a bundle's bundle.json.
func fromFile(t *testing.T, m medium, size int64) *bundle.Inventory {
	t.Helper()
	inv, err := bundle.ParseInventory(readFile(t, m.path(bundle.InventoryFile)))
	check(t, err)
	again, err := inv.Again(size, "airlift 3", 3)
	check(t, err)
	if again.ContentID() != inv.ContentID() {
		t.Errorf("the content id became %s, it was %s", again.ContentID(), inv.ContentID())
	}
	return again
}

func equalVolumes(t *testing.T, a, b medium) {
	t.Helper()
	if diff := gocmp.Diff(a.inv.Storage, b.inv.Storage); diff != "" {
		t.Errorf("storage differs: %s", diff)
		return
	}
	for _, v := range a.inv.Storage.Volumes {
		if data := readFile(t, a.path(v.Name)); int64(len(data)) != v.Size || !bytes.Equal(data, readFile(t, b.path(v.Name))) {
			t.Errorf("%s of %d bytes differs", v.Name, len(data))
		}
	}
}

// TestContentID: it is the SHA-256 of the JSON value without white space, as
// other tools print it.
func TestContentID(t *testing.T) {
	t.Parallel()
	inv := inventory(t, contentOf(t, "quay.io/a/b:c", "quay.io/a/d:e"), 0)
	data, err := inv.Bytes()
	check(t, err)
	var file struct{ Content json.RawMessage }
	check(t, json.Unmarshal(data, &file))
	var compact bytes.Buffer
	check(t, json.Compact(&compact, file.Content))
	if want := digest.NewDigestFromBytes(digest.SHA256, sum(compact.Bytes())); inv.ContentID() != want {
		t.Errorf("the content id is %s, not %s", inv.ContentID(), want)
	}
}

func sum(data []byte) []byte {
	s := sha256.Sum256(data)
	return s[:]
}

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

// TestMediumTaken: a directory that holds a bundle, finished or not, is left as it is.
func TestMediumTaken(t *testing.T) {
	t.Parallel()
	near := source(t, func(b *ocitest.Builder) { twoImages(b) })
	c := client(t, near.Host)
	inv := inventory(t, plan(t, c, bundle.Request{Images: references(t, "quay.io/team/small:v1")}), 0)
	for name, file := range map[string]string{
		"finished": bundle.InventoryFile, "volume": "bundle.tar.001", "readme": bundle.ReadmeFile,
		"sums": bundle.SumsFile, "signature": "bundle.json.0123456789abcdef.sig",
	} {
		for _, restart := range []bool{false, true} {
			dir := t.TempDir()
			writeFile(t, filepath.Join(dir, file), []byte("precious"))
			err := bundle.Export(t.Context(), c, inv, dir, bundle.ExportOptions{Restart: restart})
			wantError(t, err, bundle.ErrUsage, "another bundle", file)
			if got := fileNames(t, dir); len(got) != 1 || string(readFile(t, filepath.Join(dir, file))) != "precious" {
				t.Errorf("%s: the directory has become %s", name, got)
			}
		}
	}
}

// TestRestart takes away what an unfinished export left, and nothing else.
func TestRestart(t *testing.T) {
	t.Parallel()
	near := source(t, func(b *ocitest.Builder) { twoImages(b) })
	c := client(t, near.Host)
	m := medium{dir: t.TempDir(), key: newKey(t)}
	m.inv = inventory(t, plan(t, c, bundle.Request{Images: references(t, "quay.io/team/small:v1")}), 0)
	foreign := []string{"notes.txt", ".Trash-1000/info", "System Volume Information/x", "SHA256SUMS.asc", "bundle.json.bak", "sub/bundle.json"}
	own := []string{
		"README.txt", "bundle.json", "bundle.json.0123456789abcdef.sig", "bundle.tar.001", "bundle.tar.002",
		"SHA256SUMS", "SHA256SUMS.0123456789abcdef.sig", "bundle.checkpoint",
	}
	for _, name := range append(own, foreign...) {
		writeFile(t, m.path(name), []byte("x"))
	}
	o := bundle.ExportOptions{Key: m.key}
	wantError(t, bundle.Export(t.Context(), c, m.inv, m.dir, o), bundle.ErrUnfinished)
	if got := fileNames(t, m.dir); len(got) != len(own)+len(foreign) {
		t.Errorf("without --restart the directory became %s", got)
	}
	o.Restart = true
	check(t, bundle.Export(t.Context(), c, m.inv, m.dir, o))
	for _, name := range foreign {
		if got, err := os.ReadFile(m.path(name)); err != nil || string(got) != "x" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if got := fileNames(t, m.dir); len(got) != len(foreign)+6 {
		t.Errorf("the directory holds %s", got)
	}
	findings, err := m.open(t).Check(t.Context(), bundle.CheckOptions{})
	if err != nil || len(findings) > 0 {
		t.Errorf("%v, %v", findings, err)
	}
}

// TestBytesToWrite are the bytes that are written, to the byte, but for signatures.
func TestBytesToWrite(t *testing.T) {
	t.Parallel()
	near := source(t, func(b *ocitest.Builder) { twoImages(b) })
	c := client(t, near.Host)
	for _, size := range []int64{0, 50_000} {
		inv := inventory(t, plan(t, c, bundle.Request{Images: references(t, "quay.io/team/large:v1")}), size)
		want, err := bundle.BytesToWrite(inv)
		check(t, err)
		m, got := export(t, c, inv), int64(0)
		for _, name := range fileNames(t, m.dir) {
			if !strings.HasSuffix(name, ".sig") {
				got += int64(len(readFile(t, m.path(name))))
			} else if n := len(readFile(t, m.path(name))); n > verify.MaxSignatureSize {
				t.Errorf("%s has %d bytes", name, n)
			}
		}
		if got != want {
			t.Errorf("%d bytes were written, %d were announced", got, want)
		}
	}
}
