package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"sort"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// block is tar's unit, in bytes: headers take one, contents are padded to it,
// and volumes are cut at its multiples.
const block = 512

// endSize is the end of an archive: two blocks of zeros.
const endSize = 2 * block

// Entry is one file of the archive. Its header stands at Offset, its contents
// follow one block later, zeros fill its last block.
type Entry struct {
	Digest digest.Digest // of the contents; "" for oci-layout and index.json
	Size   int64         // of the contents, bytes
	Offset int64         // of the header from the archive's first byte
	inline *inlineFile   // nil for one that its digest names
}

// inlineFile is a file whose contents follow from the inventory.
type inlineFile struct {
	name     string
	contents []byte
}

// contents are those of an inline file, nil for any other.
func (e Entry) contents() []byte {
	if e.inline == nil {
		return nil
	}
	return e.inline.contents
}

// Name is the path in the archive.
func (e Entry) Name() string {
	if e.inline != nil {
		return e.inline.name
	}
	return "blobs/sha256/" + e.Digest.Encoded()
}

func (e Entry) descriptor() ocispec.Descriptor {
	return ocispec.Descriptor{Digest: e.Digest, Size: e.Size}
}

func (e Entry) data() int64    { return e.Offset + block }     // where the contents begin
func (e Entry) dataEnd() int64 { return e.data() + e.Size }    // where they end
func (e Entry) end() int64     { return roundUp(e.dataEnd()) } // where the padding ends
func roundUp(n int64) int64    { return (n + block - 1) / block * block }

// Layout is where every byte of an archive stands: a pure function of the
// content, the blobs that are left out of it, and the size of volumes.
type Layout struct {
	Entries  []Entry // in archive order
	Size     int64   // of the whole archive with its end, bytes
	cuts     []int64 // where each volume begins; the first is 0
	head     int     // entries before the first layer
	byDigest map[digest.Digest]int
}

// newLayout places oci-layout, index.json, all nodes, configs, then layers, but for
// what is left out. One digest stands once. With a volume size of 0 there is one
// volume.
func newLayout(c *Content, s Storage) (*Layout, error) {
	n := 2 + len(c.Nodes) + len(c.Blobs)
	l := &Layout{Entries: make([]Entry, 0, n), byDigest: make(map[digest.Digest]int, n)}
	l.addInline(ocispec.ImageLayoutFile, []byte(`{"imageLayoutVersion":"`+ocispec.ImageLayoutVersion+`"}`))
	index, err := indexJSON(c)
	if err != nil {
		return nil, err
	}
	l.addInline(ocispec.ImageIndexFile, index)
	for _, node := range c.Nodes {
		l.addBlob(node.Digest, node.Size)
	}
	left := s.leftOut()
	for _, b := range c.Blobs {
		if b.Role == RoleLayer && l.head == 0 {
			l.head = len(l.Entries)
		}
		if !left[b.Digest] {
			l.addBlob(b.Digest, b.Size)
		}
	}
	if l.head == 0 {
		l.head = len(l.Entries)
	}
	l.Size += endSize
	if l.Size > MaxArchiveSize {
		return nil, fmt.Errorf("the archive would have %d bytes, the limit is %d", l.Size, int64(MaxArchiveSize))
	}
	return l, l.cut(s.VolumeSize)
}

func (l *Layout) addInline(name string, contents []byte) {
	l.add(Entry{Size: int64(len(contents)), inline: &inlineFile{name, contents}})
}

func (l *Layout) addBlob(d digest.Digest, size int64) {
	if _, there := l.byDigest[d]; there {
		return
	}
	l.byDigest[d] = len(l.Entries)
	l.add(Entry{Digest: d, Size: size})
}

func (l *Layout) add(e Entry) {
	e.Offset = l.Size
	l.Entries = append(l.Entries, e)
	l.Size = e.end()
}

// Find gives the entry of a node or blob. A blob that is left out has none.
func (l *Layout) Find(d digest.Digest) (Entry, bool) {
	i, there := l.byDigest[d]
	if !there {
		return Entry{}, false
	}
	return l.Entries[i], true
}

// cut decides where volumes begin. The first holds exactly what comes before
// the layers. An entry that fits into a volume is never cut; one that does not
// fills up the current volume, if that has room for its header and first data,
// and is cut where volumes are full.
func (l *Layout) cut(volumeSize int64) error {
	l.cuts = []int64{0}
	capacity := volumeSize / block * block
	if volumeSize == 0 || l.Size <= capacity {
		return nil
	}
	headEnd := l.headEnd()
	if headEnd > capacity {
		return fmt.Errorf("%w: volumes of %d bytes cannot hold the first volume's manifests and configs, %d bytes", ErrUsage, volumeSize, headEnd)
	}
	l.cuts = append(l.cuts, headEnd)
	for _, e := range l.Entries[l.head:] {
		l.place(e.Offset, e.end()-e.Offset, capacity)
	}
	l.place(l.Size-endSize, endSize, capacity)
	if len(l.cuts) > MaxVolumes {
		return fmt.Errorf("%w: volumes of %d bytes make %d of them, the limit is %d", ErrUsage, volumeSize, len(l.cuts), MaxVolumes)
	}
	return nil
}

// place lets length bytes at start be where they belong, in the last volume or new ones.
func (l *Layout) place(start, length, capacity int64) {
	end := l.cuts[len(l.cuts)-1] + capacity // of the last volume
	if start+length <= end {
		return
	}
	if start != l.cuts[len(l.cuts)-1] && (length <= capacity || start+2*block > end) {
		l.cuts = append(l.cuts, start)
		end = start + capacity
	}
	for ; end < start+length && len(l.cuts) <= MaxVolumes; end += capacity {
		l.cuts = append(l.cuts, end)
	}
}

func (l *Layout) headEnd() int64 { return l.Entries[l.head-1].end() }

// Volumes is the number of volumes.
func (l *Layout) Volumes() int { return len(l.cuts) }

// volume gives where volume i begins and ends in the archive.
func (l *Layout) volume(i int) (start, end int64) {
	if i+1 == len(l.cuts) {
		return l.cuts[i], l.Size
	}
	return l.cuts[i], l.cuts[i+1]
}

func (l *Layout) describe() []Volume {
	volumes := make([]Volume, len(l.cuts))
	for i := range volumes {
		start, end := l.volume(i)
		volumes[i] = Volume{volumeName(i, len(l.cuts)), end - start}
	}
	return volumes
}

// span is a range of bytes inside one volume.
type span struct {
	volume int
	offset int64 // in the volume
	length int64
}

// spans says where a range of the archive lies, volume by volume.
func (l *Layout) spans(offset, length int64) []span {
	var found []span
	i := sort.Search(len(l.cuts), func(i int) bool { return l.cuts[i] > offset }) - 1
	for ; length > 0; i++ {
		start, end := l.volume(i)
		n := min(length, end-offset)
		found = append(found, span{i, offset - start, n})
		offset, length = offset+n, length-n
	}
	return found
}

// entryAt gives the entry whose header begins at an offset of the archive.
func (l *Layout) entryAt(offset int64) (Entry, bool) {
	i, there := slices.BinarySearchFunc(l.Entries, offset, func(e Entry, at int64) int {
		switch {
		case e.Offset < at:
			return -1
		case e.Offset > at:
			return 1
		}
		return 0
	})
	if !there {
		return Entry{}, false
	}
	return l.Entries[i], true
}

// indexJSON lists every image under its reference, as tools that open an OCI
// layout expect it (org.opencontainers.image.ref.name).
func indexJSON(c *Content) ([]byte, error) {
	nodes := make(map[digest.Digest]Node, len(c.Nodes))
	for _, n := range c.Nodes {
		nodes[n.Digest] = n
	}
	index := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{},
	}
	for _, i := range c.Images {
		n := nodes[i.Digest]
		index.Manifests = append(index.Manifests, ocispec.Descriptor{
			MediaType: n.MediaType, Digest: n.Digest, Size: n.Size,
			Annotations: map[string]string{ocispec.AnnotationRefName: i.Reference},
		})
	}
	return json.Marshal(index)
}

func (e Entry) header() [block]byte { return tarHeader(e.Name(), e.Size) }

// tarHeader has every field fixed but name and size.
func tarHeader(name string, size int64) [block]byte {
	var h [block]byte
	copy(h[0:], name)
	copy(h[100:], "0000644\x000000000\x000000000\x00") // mode, uid, gid
	copy(h[124:], tarSize(size))
	copy(h[136:], "00000000000\x00") // mtime
	h[156] = '0'                     // a regular file
	copy(h[257:], "ustar\x0000")
	if size > maxOctalSize {
		copy(h[257:], "ustar  \x00") // base-256 sizes are GNU's
	}
	sum := 8 * int(' ') // the checksum field counts as spaces
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

// maxOctalSize is the largest size that eleven octal digits hold: 8 GiB − 1.
const maxOctalSize = 1<<33 - 1

func tarSize(n int64) []byte {
	if n <= maxOctalSize {
		return fmt.Appendf(nil, "%011o\x00", n)
	}
	b := make([]byte, 12)
	for i := len(b) - 1; n > 0; i-- {
		b[i], n = byte(n), n>>8
	}
	b[0] |= 0x80
	return b
}

// isZero says whether all bytes are zero, as padding must be.
func isZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }
