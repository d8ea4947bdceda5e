package bundle

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

// randomContent is a content of one image with n layers, whose sizes are drawn
// from a seed, and the bytes of all its blobs.
func randomContent(seed uint64, layers int, maxSize int64) (*Content, map[digest.Digest][]byte) {
	r := rand.New(rand.NewPCG(seed, 0))
	data := map[digest.Digest][]byte{}
	blob := func(size int64) digest.Digest {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		d := digest.FromBytes(b)
		data[d] = b
		return d
	}
	node := Node{MediaType: "application/vnd.oci.image.manifest.v1+json", Size: 400, Digest: blob(400), Config: blob(200)}
	c := &Content{Blobs: []Blob{{Digest: node.Config, Size: 200, Role: RoleConfig}}}
	for range layers {
		size := 1 + r.Int64N(maxSize)
		d := blob(size)
		if slices.Contains(node.Layers, d) {
			continue
		}
		node.Layers = append(node.Layers, d)
		c.Blobs = append(c.Blobs, Blob{Digest: d, Size: size, Role: RoleLayer})
	}
	c.Nodes = []Node{node}
	c.Images = []Image{{Reference: "quay.io/a/b:c", Digest: node.Digest}}
	return c, data
}

// TestHeaderIsTars: the standard library reads every header as what was meant,
// up to sizes beyond eight GiB.
func TestHeaderIsTars(t *testing.T) {
	for _, size := range []int64{0, 1, 511, 512, 1 << 20, maxOctalSize, maxOctalSize + 1, MaxBlobSize} {
		e := Entry{Digest: digest.FromString("x"), Size: size}
		h := e.header()
		got, err := tar.NewReader(io.MultiReader(bytes.NewReader(h[:]), bytes.NewReader(make([]byte, 4*block)))).Next()
		if err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		if got.Name != e.Name() || got.Size != size || got.Mode != 0o644 || got.Uid != 0 || got.Typeflag != tar.TypeReg || got.ModTime.Unix() != 0 {
			t.Errorf("size %d: read back as %+v", size, got)
		}
	}
}

// TestCutHolds: over many contents and volume sizes the volumes join to the
// archive, none is too large, the first holds what comes before the layers, no
// header is parted from its first data, and nothing is cut that fits.
func TestCutHolds(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		c, _ := randomContent(seed, 1+r.IntN(20), 1+r.Int64N(20_000))
		size := 4096 + r.Int64N(20_000)
		l, err := newLayout(c, Storage{VolumeSize: size})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		checkCut(t, seed, l, size)
	}
}

func checkCut(t *testing.T, seed uint64, l *Layout, size int64) {
	t.Helper()
	at := int64(0)
	for i := range l.Volumes() {
		start, end := l.volume(i)
		if start != at || end <= start || end-start > size {
			t.Errorf("seed %d: volume %d is %d…%d, after %d, with at most %d bytes", seed, i, start, end, at, size)
		}
		at = end
	}
	if at != l.Size {
		t.Errorf("seed %d: volumes end at %d of %d", seed, at, l.Size)
	}
	if l.Volumes() == 1 {
		return
	}
	if _, end := l.volume(0); end != l.headEnd() {
		t.Errorf("seed %d: the first volume ends at %d, nodes and configs at %d", seed, end, l.headEnd())
	}
	for _, e := range l.Entries {
		if whole := l.spans(e.Offset, e.end()-e.Offset); len(whole) > 1 && e.end()-e.Offset <= size/block*block {
			t.Errorf("seed %d: %s of %d bytes is cut though it fits", seed, e.Name(), e.Size)
		}
		if first := l.spans(e.Offset, block+min(e.Size, block)); len(first) > 1 {
			t.Errorf("seed %d: the header of %s is parted from its data", seed, e.Name())
		}
	}
}

// TestCutFillsVolumes: a blob larger than a volume begins where there is room
// for it, so that no medium is left half empty.
func TestCutFillsVolumes(t *testing.T) {
	c, _ := randomContent(1, 2, 9)
	c.Blobs[1].Size, c.Blobs[2].Size = 1000, 20_000
	l, err := newLayout(c, Storage{VolumeSize: 8192})
	if err != nil {
		t.Fatal(err)
	}
	big, _ := l.Find(c.Blobs[2].Digest)
	if spans := l.spans(big.Offset, big.end()-big.Offset); spans[0].volume != 1 || spans[0].offset == 0 {
		t.Errorf("the large blob begins at byte %d of volume %d", spans[0].offset, spans[0].volume)
	}
	for i := 1; i < l.Volumes()-1; i++ {
		if start, end := l.volume(i); end-start != 8192 {
			t.Errorf("volume %d has %d bytes of 8192", i, end-start)
		}
	}
}

// TestCutRefuses what no volumes can be.
func TestCutRefuses(t *testing.T) {
	tiny, _ := randomContent(1, 3, 4000)
	huge, _ := randomContent(1, 3, 4000)
	huge.Blobs[1].Size = 1000 * 4096
	if _, err := newLayout(tiny, Storage{VolumeSize: 1024}); err == nil {
		t.Error("volumes smaller than the manifests were taken")
	}
	if _, err := newLayout(huge, Storage{VolumeSize: 4096}); err == nil {
		t.Error("more than 999 volumes were taken")
	}
}

// TestDigestStandsOnce: a blob that is a config here and a layer there, and a
// node that is a layer elsewhere, have one place.
func TestDigestStandsOnce(t *testing.T) {
	c, _ := randomContent(1, 1, 100)
	c.Nodes[0].Layers = append(c.Nodes[0].Layers, c.Nodes[0].Config, c.Nodes[0].Layers[0])
	l, err := newLayout(c, Storage{VolumeSize: 0})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, e := range l.Entries {
		if seen[e.Name()] {
			t.Errorf("%s stands twice", e.Name())
		}
		seen[e.Name()] = true
	}
}

// TestRollback: what is cut off again leaves no trace, whichever volumes it touched.
func TestRollback(t *testing.T) {
	for seed := range uint64(20) {
		c, data := randomContent(seed, 6, 9000)
		l, err := newLayout(c, Storage{VolumeSize: 4096})
		if err != nil {
			t.Fatal(err)
		}
		want, got := t.TempDir(), t.TempDir()
		writeArchive(t, want, l, data, false)
		writeArchive(t, got, l, data, true)
		if diff := cmp.Diff(readDir(t, want), readDir(t, got)); diff != "" {
			t.Errorf("seed %d: after wrong bytes were cut off: %s", seed, diff)
		}
	}
}

// writeArchive writes the volumes; with disturb every blob comes wrong first.
func writeArchive(t *testing.T, dir string, l *Layout, data map[digest.Digest][]byte, disturb bool) {
	t.Helper()
	key, err := newCheckpoint(nil, nil, 1000)
	if err != nil {
		t.Fatal(err)
	}
	p := part{1, l.Volumes()}
	files := &volumeFiles{medium: medium{dir, disk{}}, layout: l, part: p, checkpoint: key}
	if key.file, err = files.create(CheckpointFile); err != nil {
		t.Fatal(err)
	}
	c := &committer{layout: l, part: p, out: files, written: func(int64) {}, at: newPosition()}
	for _, e := range l.Entries {
		contents := append(data[e.Digest], e.contents()...)
		if wrong := bytes.Clone(contents); disturb && e.inline == nil {
			wrong[len(wrong)-1] ^= 1
			if err := c.entry(piece{Entry: e}, once(wrong)); !errors.Is(err, errWrongBytes) {
				t.Fatalf("wrong bytes: %v", err)
			}
		}
		if err := c.entry(piece{Entry: e}, once(contents)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(c.finish(), key.close(), files.remove(CheckpointFile)); err != nil {
		t.Fatal(err)
	}
}

func readDir(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(data)
	}
	return files
}
