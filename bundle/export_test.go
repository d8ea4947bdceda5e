package bundle_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"airlift/bundle"
	"airlift/oci"
	"airlift/oci/ocitest"
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
