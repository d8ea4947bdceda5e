package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci/ocitest"
	"airlift/verify"
)

// taped gives what write makes of a tarWriter.
func taped(t testing.TB, write func(*tarWriter) error) []byte {
	t.Helper()
	var stream bytes.Buffer
	if err := write(newTarWriter(&stream)); err != nil {
		t.Fatal(err)
	}
	return stream.Bytes()
}

// made is a bundle of one image with random layers, made without a registry.
type made struct {
	inv   *Inventory
	small []file   // README.txt and bundle.json
	cut   [][]byte // the volumes
	sums  []byte
}

// makeBundle makes one with layers of these sizes. What spoil does to the inventory
// is not true of the bytes.
func makeBundle(t testing.TB, volumeSize int64, sizes []int, spoil func(*Content)) made {
	t.Helper()
	random := rand.NewChaCha8([32]byte{7})
	data := map[digest.Digest][]byte{}
	add := func(raw []byte) ocispec.Descriptor {
		d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
		data[d.Digest] = raw
		return d
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: add([]byte("{}"))}
	m.Config.MediaType = ocispec.MediaTypeImageConfig
	c := Content{Blobs: []Blob{{Digest: m.Config.Digest, Size: m.Config.Size, Role: RoleConfig}}}
	node := Node{MediaType: m.MediaType, Config: m.Config.Digest}
	for _, size := range sizes {
		raw := make([]byte, size)
		_, _ = random.Read(raw) // never fails
		l := add(raw)
		m.Layers = append(m.Layers, l)
		node.Layers = append(node.Layers, l.Digest)
		c.Blobs = append(c.Blobs, Blob{Digest: l.Digest, Size: l.Size, Role: RoleLayer})
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	d := add(raw)
	node.Digest, node.Size = d.Digest, d.Size
	c.Nodes = []Node{node}
	c.Images = []Image{{Reference: "quay.io/team/made:v1", Digest: d.Digest}}
	if spoil != nil {
		spoil(&c)
	}
	return placeBundle(t, &c, volumeSize, data)
}

func placeBundle(t testing.TB, c *Content, volumeSize int64, data map[digest.Digest][]byte) made {
	t.Helper()
	inv, err := NewInventory(*c, volumeSize, "airlift test", 1)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := inv.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLayout(c, Storage{VolumeSize: volumeSize})
	if err != nil {
		t.Fatal(err)
	}
	archive := make([]byte, l.Size)
	for _, e := range l.Entries {
		h := e.header()
		copy(archive[e.Offset:], h[:])
		copy(archive[e.data():], slices.Concat(e.contents(), data[e.Digest]))
	}
	b := made{inv: inv, small: []file{{ReadmeFile, readme(inv)}, {InventoryFile, raw}}}
	for i := range l.Volumes() {
		start, end := l.volume(i)
		b.cut = append(b.cut, archive[start:end])
	}
	b.sums = b.formatSums()
	return b
}

func (b *made) formatSums() []byte {
	var sums []verify.Sum
	for _, f := range b.small {
		sums = append(sums, verify.Sum{Name: f.name, SHA256: sha256.Sum256(f.contents)})
	}
	for i, v := range b.cut {
		sums = append(sums, verify.Sum{Name: volumeName(i, len(b.cut)), SHA256: sha256.Sum256(v)})
	}
	return verify.FormatSums(sums)
}

// stream is the bundle as one, signed by a key, with more files of a signature's
// size behind the signature of bundle.json.
func (b *made) stream(t testing.TB, key *ecdsa.PrivateKey, more ...file) []byte {
	t.Helper()
	sign := func(f file) file {
		signed, err := verify.Sign(key, f.contents)
		if err != nil {
			t.Fatal(err)
		}
		return file{signatureFile(f.name, keyID(key)), signed}
	}
	files := slices.Clone(b.small)
	signatures := append([]file{sign(b.small[1])}, more...)
	slices.SortStableFunc(signatures, func(a, c file) int { return strings.Compare(a.name, c.name) })
	files = append(files, signatures...)
	for i, v := range b.cut {
		files = append(files, file{volumeName(i, len(b.cut)), v})
	}
	sums := file{SumsFile, b.sums}
	files = append(files, sums, sign(sums))
	return taped(t, func(w *tarWriter) error { return errors.Join(w.files(files), w.close()) })
}

// TestTarWriterIsTars: the stock tar unpacks what is written, from a pipe, whatever
// the sizes of the files.
func TestTarWriterIsTars(t *testing.T) {
	t.Parallel()
	want := map[string]string{}
	stream := taped(t, func(w *tarWriter) error {
		for _, size := range []int{0, 1, 511, 512, 513, 70_000} {
			contents := bytes.Repeat([]byte("contents"), size/8+1)[:size]
			name := fmt.Sprintf("file.%d", size)
			want[name] = string(contents)
			if err := w.begin(name, int64(size)); err != nil {
				return err
			}
			for piece := range slices.Chunk(contents, 1000) {
				if _, err := w.Write(piece); err != nil {
					return err
				}
			}
			if err := w.end(); err != nil {
				return err
			}
		}
		return w.close()
	})
	dir := t.TempDir()
	untar := exec.Command(ocitest.Program(t, "tar"), "xf", "-", "-C", dir)
	untar.Stdin = bytes.NewReader(stream)
	if out, err := untar.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v: %s", err, out)
	}
	got := readDir(t, dir)
	if len(got) != len(want) {
		t.Errorf("there are %d files, want %d", len(got), len(want))
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s: %d bytes, want %d", name, len(got[name]), len(want[name]))
		}
	}
	if len(stream)%block != 0 {
		t.Errorf("it has %d bytes", len(stream))
	}
}

// TestTarWriterLarge: sizes around 8 GiB are those that tar reads, and that are read
// here.
func TestTarWriterLarge(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{maxOctalSize, maxOctalSize + 1, MaxArchiveSize} {
		header := taped(t, func(w *tarWriter) error { return w.begin("bundle.tar", size) })
		h, err := tar.NewReader(io.MultiReader(bytes.NewReader(header), bytes.NewReader(make([]byte, endSize)))).Next()
		if err != nil || h.Size != size || h.Name != "bundle.tar" {
			t.Errorf("%d bytes: tar reads %+v, %v", size, h, err)
		}
		if err := newTarReader(bytes.NewReader(header)).begin("bundle.tar", size); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

// TestTarWriterCounts: a file has as many bytes as it was begun with.
func TestTarWriterCounts(t *testing.T) {
	t.Parallel()
	for _, n := range []int{9, 11} {
		w := newTarWriter(io.Discard)
		if err := w.begin("file", 10); err != nil {
			t.Fatal(err)
		}
		_, err := w.Write(make([]byte, n))
		if n < 10 {
			if err != nil {
				t.Fatal(err)
			}
			err = w.end()
		}
		if err == nil {
			t.Errorf("%d bytes of 10: no error", n)
		}
	}
}

// TestStreamInPieces: it does not matter in what pieces a stream comes.
func TestStreamInPieces(t *testing.T) {
	t.Parallel()
	key := testKey(t)
	for _, volumeSize := range []int64{0, 8192} {
		b := makeBundle(t, volumeSize, []int{20_000, 0, 1, 511, 512, 513, 3000}, nil)
		stream := b.stream(t, key)
		for name, pieces := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "halves": iotest.HalfReader, "with its end": iotest.DataErrReader,
		} {
			s, err := OpenStream(pieces(bytes.NewReader(stream)), trustOf(key))
			if err == nil {
				err = s.Check(t.Context(), nil)
			}
			if err != nil {
				t.Errorf("volumes of %d, %s: %v", volumeSize, name, err)
			}
		}
		s, err := OpenStream(iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(stream))), trustOf(key))
		if s != nil || !errors.Is(err, iotest.ErrTimeout) || errors.Is(err, errStreamEnds) {
			t.Errorf("of a reader that fails: %v", err)
		}
	}
}

// TestStreamProgress: what goes by is counted while it does, and adds up.
func TestStreamProgress(t *testing.T) {
	t.Parallel()
	key := testKey(t)
	b := makeBundle(t, 1<<20, []int{3 << 20, 1000}, nil)
	s, err := OpenStream(bytes.NewReader(b.stream(t, key)), trustOf(key))
	if err != nil {
		t.Fatal(err)
	}
	last := Event{}
	err = s.Check(t.Context(), func(e Event) {
		if e.Phase != "verify" || e.Unit != "bytes" || e.Total != b.inv.Storage.Size || e.Done-last.Done > streamPiece || e.Done < last.Done {
			t.Errorf("%+v after %+v", e, last)
		}
		last = e
	})
	if err != nil || last.Done != last.Total {
		t.Errorf("at the end %+v, %v", last, err)
	}
}

// TestStreamInterrupted: the end of its context ends the reading.
func TestStreamInterrupted(t *testing.T) {
	t.Parallel()
	key := testKey(t)
	b := makeBundle(t, 0, []int{3 << 20}, nil)
	s, err := OpenStream(bytes.NewReader(b.stream(t, key)), trustOf(key))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := s.Check(ctx, func(e Event) {
		if e.Done > 1<<20 {
			cancel()
		}
		if e.Done > 2<<20 {
			t.Error("it read on")
		}
	}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestStreamSignatures: signatures come sorted, each once, and not too many of
// them; all this is known before anything is believed.
func TestStreamSignatures(t *testing.T) {
	t.Parallel()
	key := testKey(t)
	b := makeBundle(t, 0, nil, nil)
	strangers := func(n int) (more []file) {
		for i := range n {
			more = append(more, file{signatureFile(InventoryFile, fmt.Sprintf("%016x", i+1)), []byte("signature")})
		}
		return more
	}
	s, err := OpenStream(bytes.NewReader(b.stream(t, key, strangers(maxStreamSignatures-1)...)), trustOf(key))
	if err != nil || len(s.Signers) != 1 || len(s.Unchecked) != maxStreamSignatures-1 {
		t.Fatalf("%d signatures: %v", maxStreamSignatures, err)
	}
	files, _ := streamFiles(t, b.stream(t, key, strangers(2)...))
	swapped := slices.Clone(files)
	swapped[2], swapped[3] = swapped[3], swapped[2]
	for name, c := range map[string]struct {
		stream []byte
		class  error
	}{
		"too many":         {b.stream(t, key, strangers(maxStreamSignatures)...), ErrDamaged},
		"swapped":          {slices.Concat(swapped...), ErrDamaged},
		"doubled":          {slices.Concat(slices.Insert(slices.Clone(files), 2, files[2])...), ErrDamaged},
		"too large":        {b.stream(t, key, file{signatureFile(InventoryFile, strings.Repeat("0", 16)), make([]byte, verify.MaxSignatureSize+1)}), ErrDamaged},
		"before another's": {b.stream(t, key, file{signatureFile(SumsFile, strings.Repeat("0", 16)), []byte("signature")}), ErrUntrusted},
		"before no key's":  {b.stream(t, key, file{InventoryFile + ".0123.sig", []byte("signature")}), ErrUntrusted},
		"behind no key's":  {b.stream(t, key, file{signatureFile(InventoryFile, "zzzzzzzzzzzzzzzz"), []byte("signature")}), ErrDamaged},
		"without a volume": {slices.Concat(slices.Delete(slices.Clone(files), 5, 6)...), ErrDamaged},
		"of a stranger":    {b.stream(t, testKey(t)), ErrUntrusted},
	} {
		if s, err := OpenStream(bytes.NewReader(c.stream), trustOf(key)); !errors.Is(err, c.class) {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}

// TestStreamLimits: a small file that is too large is refused by its header.
func TestStreamLimits(t *testing.T) {
	t.Parallel()
	key := testKey(t)
	b := makeBundle(t, 0, nil, nil)
	files, _ := streamFiles(t, b.stream(t, key))
	begin := func(name string, size int64) []byte {
		return taped(t, func(w *tarWriter) error { return w.begin(name, size) })
	}
	for name, stream := range map[string][]byte{
		ReadmeFile:    begin(ReadmeFile, maxReadmeSize+1),
		InventoryFile: slices.Concat(files[0], begin(InventoryFile, MaxInventorySize+1)),
		SumsFile:      slices.Concat(slices.Concat(files[:4]...), begin(SumsFile, maxSumsSize+1)),
	} {
		if err := checkStream(t.Context(), stream, trustOf(key)); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), name+" has ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	b.small[0].contents = make([]byte, maxReadmeSize)
	b.sums = b.formatSums()
	if err := checkStream(t.Context(), b.stream(t, key), trustOf(key)); err != nil {
		t.Errorf("the largest %s: %v", ReadmeFile, err)
	}
}

// TestStreamSeal: what is signed as complete must be exactly what came.
func TestStreamSeal(t *testing.T) {
	t.Parallel()
	key := testKey(t)
	whole := makeBundle(t, 8192, []int{3000, 2000}, nil)
	if err := checkStream(t.Context(), whole.stream(t, key), trustOf(key)); err != nil {
		t.Fatal(err)
	}
	other := makeBundle(t, 8192, []int{3000, 2001}, nil)
	for name, spoil := range map[string]func(*made){
		"sums of another bundle":         func(b *made) { b.sums = other.sums },
		"sums of another README.txt":     func(b *made) { b.small[0].contents = []byte("changed") },
		"sums in another order":          func(b *made) { b.sums = swapLines(b.sums) },
		"sums without the last volume":   func(b *made) { b.sums = b.sums[:bytes.LastIndexByte(b.sums[:len(b.sums)-1], '\n')+1] },
		"sums with carriage returns":     func(b *made) { b.sums = bytes.ReplaceAll(b.sums, []byte("\n"), []byte("\r\n")) },
		"no sums":                        func(b *made) { b.sums = nil },
		"a README.txt of another bundle": func(b *made) { b.small = []file{other.small[0], b.small[1]} },
	} {
		b := whole
		b.small = slices.Clone(whole.small)
		spoil(&b)
		if err := checkStream(t.Context(), b.stream(t, key), trustOf(key)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// swapLines gives sums with the last two in each other's place.
func swapLines(sums []byte) []byte {
	lines := bytes.SplitAfter(sums, []byte("\n"))
	n := len(lines) - 1 // behind the last is nothing
	return slices.Concat(slices.Concat(lines[:n-2]...), lines[n-1], lines[n-2])
}

// TestStreamNodes: an inventory that says something else of a node than its bytes
// do is refused, and whoever visits never sees the end of that node.
func TestStreamNodes(t *testing.T) {
	t.Parallel()
	key := testKey(t)
	b := makeBundle(t, 0, []int{1000, 2000}, func(c *Content) { slices.Reverse(c.Nodes[0].Layers) })
	s, err := OpenStream(bytes.NewReader(b.stream(t, key)), trustOf(key))
	if err != nil {
		t.Fatal(err)
	}
	visited := ""
	err = s.each(t.Context(), func(e Entry, contents io.Reader) error {
		visited = filepath.Base(e.Name())
		_, err := io.ReadAll(contents)
		return err
	})
	if !errors.Is(err, ErrDamaged) || visited != b.inv.Content.Nodes[0].Digest.Encoded() {
		t.Errorf("after %s: %v", visited, err)
	}
	var found Finding
	if !errors.As(err, &found) || found.Element != "blob" || found.Digest != b.inv.Content.Nodes[0].Digest || len(found.Images) != 1 {
		t.Errorf("found %+v", found)
	}
}

// TestStreamFinding: what is wrong is named by where it is on the medium that the
// stream was made of.
func TestStreamFinding(t *testing.T) {
	t.Parallel()
	key := testKey(t)
	b := makeBundle(t, 8192, []int{20_000}, nil)
	large, _ := b.layout(t).Find(b.inv.Content.Blobs[1].Digest)
	at := b.layout(t).spans(large.data(), large.Size)
	if len(at) < 2 {
		t.Fatalf("the layer is in %d volumes", len(at))
	}
	for _, c := range []struct {
		element        string
		volume         int
		offset, length int64 // of the element
	}{
		{"header", 0, 0, block},
		{"padding", 0, block + b.layout(t).Entries[0].Size, block - b.layout(t).Entries[0].Size},
		{"blob", at[0].volume, at[0].offset, at[0].length},
		{"end", len(b.cut) - 1, int64(len(b.cut[len(b.cut)-1]) - endSize), endSize},
	} {
		b := b
		b.cut = slices.Clone(b.cut)
		b.cut[c.volume] = slices.Clone(b.cut[c.volume])
		b.cut[c.volume][c.offset+c.length-1] ^= 1
		b.sums = b.formatSums()
		err := checkStream(t.Context(), b.stream(t, key), trustOf(key))
		var f Finding
		if !errors.As(err, &f) || f.Element != c.element || f.File != volumeName(c.volume, len(b.cut)) || f.Offset != c.offset || f.Length != c.length {
			t.Errorf("%+v: found %+v, %v", c, f, err)
		}
	}
}

func (b *made) layout(t testing.TB) *Layout {
	t.Helper()
	l, err := b.inv.layout()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestStreamUnread: contents that nobody reads are checked all the same.
func TestStreamUnread(t *testing.T) {
	t.Parallel()
	key := testKey(t)
	b := makeBundle(t, 0, []int{1000, 2000}, nil)
	for _, e := range b.layout(t).Entries {
		b.cut[0][e.data()] ^= 1
		s, err := OpenStream(bytes.NewReader(b.stream(t, key)), trustOf(key))
		if err != nil {
			t.Fatal(err)
		}
		var found Finding
		err = s.each(t.Context(), func(Entry, io.Reader) error { return nil })
		if !errors.As(err, &found) || found.Digest != e.Digest || found.Element != "blob" {
			t.Errorf("%s: %v", e.Name(), err)
		}
		b.cut[0][e.data()] ^= 1
	}
}
