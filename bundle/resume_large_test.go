package bundle

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci"
	"airlift/oci/ocitest"
)

// TestResumeReadsNothing: what a checkpoint says of 20 GiB is believed, and the
// first request is for what comes behind them. They are a hole in a file here:
// reading them would show that they are not what they should be.
func TestResumeReadsNothing(t *testing.T) {
	t.Parallel()
	registry := ocitest.StartRegistry(t)
	b := registry.Builder()
	last := b.RandomLayer("team/large", "last", 5000)
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	proxy := ocitest.Misbehave(t, registry.Host, nil)
	node, config, first := digest.FromString("node"), digest.FromString("config"), digest.FromString("first")
	inv, err := NewInventory(Content{
		Images: []Image{{Reference: proxy.Host + "/team/large:v1", Digest: node}},
		Nodes:  []Node{{Digest: node, Size: 400, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []digest.Digest{first, last.Digest}}},
		Blobs:  []Blob{{config, 100, RoleConfig}, {first, 20 << 30, RoleLayer}, {last.Digest, last.Size, RoleLayer}},
	}, 0, "airlift test", 1)
	if err != nil {
		t.Fatal(err)
	}
	authfile := filepath.Join(t.TempDir(), "auth.json")
	ocitest.WriteAuthfile(t, authfile, nil)
	c, err := oci.NewClient(oci.Options{Insecure: []string{proxy.Host}, Authfile: authfile})
	if err != nil {
		t.Fatal(err)
	}
	key, dir := testKey(t), t.TempDir()
	at := leaveOff(t, c, inv, dir, ExportOptions{Key: key}, last.Digest)
	if err := Export(t.Context(), c, inv, dir, ExportOptions{Key: key}); err != nil {
		t.Fatal(err)
	}
	for _, r := range proxy.Log() {
		if r.Path != "/v2/" && !strings.HasSuffix(r.Path, "/blobs/"+string(last.Digest)) {
			t.Errorf("%s %s was asked for", r.Method, r.Path)
		}
	}
	info, err := os.Stat(filepath.Join(dir, VolumeFile))
	if err != nil || info.Size() != inv.Storage.Size {
		t.Errorf("%v, %v", info, err)
	}
	got := make([]byte, 5*block)
	if err := readAt(filepath.Join(dir, VolumeFile), got, at); err != nil || !bytes.Contains(got, []byte(last.Digest.Encoded())) {
		t.Errorf("the last layer is not at its place: %v", err)
	}
}

// leaveOff makes a directory what an export leaves that was interrupted before a
// blob, but for the contents before it, which are a hole. It gives their length.
func leaveOff(t *testing.T, c *oci.Client, inv *Inventory, dir string, o ExportOptions, before digest.Digest) int64 {
	t.Helper()
	x, err := newExport(c, inv, o)
	if err != nil {
		t.Fatal(err)
	}
	m := medium{dir, disk{}}
	if err := x.label(m); err != nil {
		t.Fatal(err)
	}
	e, _ := x.layout.Find(before)
	if err := os.WriteFile(m.path(VolumeFile), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(m.path(VolumeFile), e.Offset); err != nil {
		t.Fatal(err)
	}
	ck, err := newCheckpoint(x.bytes, o.Key, 0)
	if err != nil {
		t.Fatal(err)
	}
	if ck.file, err = m.reopen(CheckpointFile, 0); err != nil {
		t.Fatal(err)
	}
	at := position{offset: e.Offset, sum: sha256.New()}
	if err := ck.append(state{1, at, at, nil}); err != nil {
		t.Fatal(err)
	}
	if err := ck.close(); err != nil {
		t.Fatal(err)
	}
	return e.Offset
}

// TestReadBack finds what a medium has not kept.
func TestReadBack(t *testing.T) {
	t.Parallel()
	key, dir := testKey(t), filepath.Join(t.TempDir(), "medium")
	c, inv := tiny(t)
	out, err := OpenOutput(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := out.Export(t.Context(), c, inv, ExportOptions{Key: key}); err != nil {
		t.Fatal(err)
	}
	if err := out.ReadBack(t.Context(), key, nil); err != nil {
		t.Error(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, VolumeFile), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{0xff}, inv.Storage.Size-endSize-block); err != nil {
		t.Fatal(err)
	}
	if err := out.ReadBack(t.Context(), key, nil); err == nil || !strings.Contains(err.Error(), VolumeFile) {
		t.Errorf("what has changed is not found: %v", err)
	}
}
