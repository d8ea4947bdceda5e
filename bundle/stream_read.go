package bundle

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"

	"airlift/verify"
)

// Limits of a stream, in bytes and files.
const (
	maxReadmeSize       = 1 << 20
	maxStreamSignatures = 64       // over one file
	maxStreamEnd        = 64 << 20 // zeros behind the end, as dd and tapes put them
)

// Stream is a bundle that comes from start to end, through a pipe. It has no
// volumes that could be opened.
type Stream struct {
	*Bundle
	in     *tarReader
	readme [sha256.Size]byte
}

// OpenStream reads a stream up to its first volume. It is the door to what comes
// through a pipe, as Open is to directories: nothing of bundle.json is parsed
// before a trusted key's signature over it fits.
func OpenStream(r io.Reader, trust Trust) (*Stream, error) {
	s := &Stream{Bundle: &Bundle{trust: trust}, in: newTarReader(r)}
	readme, err := s.in.file(ReadmeFile, maxReadmeSize)
	if err != nil {
		return nil, err
	}
	s.readme = sha256.Sum256(readme)
	if s.bytes, err = s.in.file(InventoryFile, MaxInventorySize); err != nil {
		return nil, err
	}
	if s.Signers, s.Unchecked, err = s.judge(InventoryFile, s.bytes); err != nil {
		return nil, err
	}
	if s.Inventory, err = ParseInventory(s.bytes); err != nil {
		return nil, err
	}
	s.Layout, err = newLayout(&s.Inventory.Content, s.Inventory.Storage.VolumeSize)
	return s, err
}

// judge reads the signatures that follow a file, and decides whether it is
// trusted.
func (s *Stream) judge(file string, contents []byte) (signers, unchecked []string, err error) {
	found := map[string][]signature{}
	last := ""
	for len(found) <= maxStreamSignatures {
		name, err := s.in.peek()
		if err != nil {
			return nil, nil, err
		}
		id, is := signatureID(file, name)
		if !is || id <= last {
			break
		}
		signed, err := s.in.file(name, verify.MaxSignatureSize)
		if err != nil {
			return nil, nil, err
		}
		found[id], last = []signature{{path: name, contents: signed}}, id
	}
	for _, place := range s.trust.Signatures {
		if err := s.trust.collect(found, place, file, true); err != nil {
			return nil, nil, err
		}
	}
	return s.trust.judge(file, contents, found)
}

// each hands every file of the archive, in its order, to visit, which need not
// read all of it; contents end in io.EOF only if their digest is right. Then it
// reads on to the end of the stream, where the sums and their signatures are. The
// first thing wrong ends it, and so does an error of visit.
func (s *Stream) each(ctx context.Context, visit func(e Entry, contents io.Reader) error) error {
	a := &archiveReader{ctx: ctx, stream: s, sum: sha256.New()}
	nodes, said := s.Inventory.Content.nodeByDigest(), newNodeCheck(&s.Inventory.Content)
	for _, e := range s.Layout.Entries {
		if err := a.entry(e, nodes, said, visit); err != nil {
			return err
		}
	}
	if err := a.expect(make([]byte, endSize), "end", Entry{}); err != nil {
		return err
	}
	return s.seal(a.sums)
}

// seal reads what follows the volumes.
func (s *Stream) seal(volumes []verify.Sum) error {
	contents, err := s.in.file(SumsFile, maxSumsSize)
	if err != nil {
		return err
	}
	if _, _, err := s.judge(SumsFile, contents); err != nil {
		return err
	}
	want := append([]verify.Sum{{Name: ReadmeFile, SHA256: s.readme}, {Name: InventoryFile, SHA256: sha256.Sum256(s.bytes)}}, volumes...)
	if !bytes.Equal(contents, verify.FormatSums(want)) {
		return fmt.Errorf("%w: %s is not that of the files before it", ErrDamaged, SumsFile)
	}
	return s.in.end()
}

// Check reads the stream to its end. What is wrong first is the only finding: what
// follows cannot be judged by itself.
func (s *Stream) Check(ctx context.Context, progress Progress) error {
	done := progress.begin("verify", "bytes", s.Layout.Size)
	return s.each(ctx, func(e Entry, contents io.Reader) error {
		n, err := io.Copy(io.Discard, contents)
		done.add(n + block)
		return err
	})
}

// archiveReader reads the archive out of the volumes in a stream.
type archiveReader struct {
	ctx    context.Context
	stream *Stream
	offset int64 // in the archive
	volume int   // that is to begin or under way
	begun  bool
	sum    hashing
	sums   []verify.Sum
}

// hashing is a hash that begins anew for each volume.
type hashing interface {
	io.Writer
	Sum([]byte) []byte
	Reset()
}

// Read reads bytes of the archive, over the borders of volumes.
func (a *archiveReader) Read(p []byte) (int, error) {
	if err := a.ctx.Err(); err != nil {
		return 0, err
	}
	if !a.begun {
		v := a.stream.Inventory.Storage.Volumes[a.volume]
		if err := a.stream.in.begin(v.Name, v.Size); err != nil {
			return 0, err
		}
		a.begun = true
	}
	_, end := a.stream.Layout.volume(a.volume)
	n, err := a.stream.in.Read(p[:min(int64(len(p)), end-a.offset)])
	a.sum.Write(p[:n])
	if a.offset += int64(n); a.offset == end && err == nil {
		err = a.endVolume()
	}
	return n, err
}

func (a *archiveReader) endVolume() error {
	sum := verify.Sum{Name: a.stream.Inventory.Storage.Volumes[a.volume].Name, SHA256: [sha256.Size]byte(a.sum.Sum(nil))}
	a.sums = append(a.sums, sum)
	a.sum.Reset()
	a.volume, a.begun = a.volume+1, false
	return a.stream.in.pad()
}

// expect reads bytes that must be these.
func (a *archiveReader) expect(want []byte, element string, e Entry) error {
	got := make([]byte, len(want))
	at := a.offset
	if _, err := io.ReadFull(a, got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return a.damage(element, at, int64(len(want)), e, errors.New("not what belongs here"))
	}
	return nil
}

func (a *archiveReader) damage(element string, offset, length int64, e Entry, problem error) error {
	at := a.stream.Layout.spans(offset, max(length, 1))[0]
	f := Finding{
		File: a.stream.Inventory.Storage.Volumes[at.volume].Name, Element: element, Offset: at.offset, Length: length,
		Digest: e.Digest, Problem: problem.Error(), Images: a.stream.Inventory.Content.users()[e.Digest], kind: ErrDamaged,
	}
	if e.inline != nil {
		f.Problem = e.Name + ": " + f.Problem
	}
	return f
}

// entry reads one file of the archive.
func (a *archiveReader) entry(e Entry, nodes nodeTable, said nodeCheck, visit func(Entry, io.Reader) error) error {
	header := e.header()
	if err := a.expect(header[:], "header", e); err != nil {
		return err
	}
	contents := &streamedContents{archive: a, entry: e, left: e.Size, sum: sha256.New()}
	if n, isNode := nodes[e.Digest]; isNode {
		contents.check = func(raw []byte) error { return said.check(n, raw) }
	}
	if err := visit(e, contents); err != nil {
		return err
	}
	if err := contents.drain(); err != nil {
		return err
	}
	return a.expect(make([]byte, e.end()-e.dataEnd()), "padding", e)
}

// streamedContents are the contents of one file of the archive.
type streamedContents struct {
	archive *archiveReader
	entry   Entry
	left    int64
	sum     hashing
	check   func(raw []byte) error // of a node, besides its digest
	raw     []byte                 // of a node
	err     error                  // the end: io.EOF, or what went wrong
}

func (c *streamedContents) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	if c.left == 0 {
		c.err = c.judge()
		return 0, c.err
	}
	n, err := c.archive.Read(p[:min(int64(len(p)), c.left)])
	c.sum.Write(p[:n])
	if c.check != nil {
		c.raw = append(c.raw, p[:n]...)
	}
	c.left -= int64(n)
	c.err = err
	return n, err
}

// judge is io.EOF for the right bytes.
func (c *streamedContents) judge() error {
	want := c.entry.Digest
	if c.entry.inline != nil {
		want = digest.FromBytes(c.entry.inline)
	}
	problem := error(nil)
	if digest.NewDigestFromBytes(digest.SHA256, c.sum.Sum(nil)) != want {
		problem = errors.New("the contents have another digest")
	} else if c.check != nil {
		problem = c.check(c.raw)
	}
	if problem != nil {
		return &contentsError{c.archive.damage("blob", c.entry.data(), c.entry.Size, c.entry, problem)}
	}
	return io.EOF
}

func (c *streamedContents) drain() error {
	_, err := io.Copy(io.Discard, c)
	return err
}

// tarReader reads the files of a stream. It knows no tar: each header must be, to
// the byte, the one that belongs to the name and the size in it.
type tarReader struct {
	r      *bufio.Reader
	offset int64  // in the stream
	name   string // of the file under way, or of the next one if ahead
	size   int64
	left   int64
	ahead  bool // the header was read, and nothing behind it
}

func newTarReader(r io.Reader) *tarReader { return &tarReader{r: bufio.NewReaderSize(r, 16<<10)} }

// peek gives the name of the next file, "" at the end.
func (t *tarReader) peek() (string, error) {
	if t.ahead {
		return t.name, nil
	}
	var h [block]byte
	if err := t.fill(h[:], "the header behind "+t.name); err != nil {
		return "", err
	}
	if isZero(h[:]) {
		t.name, t.size, t.ahead = "", 0, true
		return "", nil
	}
	name, _, _ := strings.Cut(string(h[:100]), "\x00")
	size, ok := parseTarSize(h[124:136])
	if canonical := (Entry{Name: name, Size: size}).header(); !ok || name == "" || canonical != h {
		return "", fmt.Errorf("%w: the stream has no header that airlift writes at byte %d", ErrDamaged, t.offset-block)
	}
	t.name, t.size, t.left, t.ahead = name, size, size, true
	return name, nil
}

// parseTarSize reads the two forms of a size; the header shows whether it is
// written as it must be.
func parseTarSize(b []byte) (int64, bool) {
	if b[0]&0x80 != 0 {
		n := int64(0)
		for _, c := range b[4:] {
			n = n<<8 | int64(c)
		}
		return n, n > 0
	}
	n := int64(0)
	for _, c := range b[:11] {
		if c < '0' || c > '7' {
			return 0, false
		}
		n = n<<3 | int64(c-'0')
	}
	return n, true
}

// begin reads the header of a file that must be next, with this size.
func (t *tarReader) begin(name string, size int64) error {
	got, err := t.peek()
	if err != nil {
		return err
	}
	if got != name {
		return fmt.Errorf("%w: the stream has %q where %s belongs", ErrDamaged, got, name)
	}
	if t.size != size {
		return fmt.Errorf("%w: %s has %d bytes in the stream, not %d", ErrDamaged, name, t.size, size)
	}
	t.ahead = false
	return nil
}

// file reads a whole small file that must be next.
func (t *tarReader) file(name string, limit int64) ([]byte, error) {
	got, err := t.peek()
	if err != nil {
		return nil, err
	}
	if got == name && t.size > limit {
		return nil, fmt.Errorf("%w: %s has %d bytes in the stream, the limit is %d", ErrDamaged, name, t.size, limit)
	}
	if err := t.begin(name, t.size); err != nil {
		return nil, err
	}
	contents, err := io.ReadAll(t)
	if err != nil {
		return nil, err
	}
	return contents, t.pad()
}

// Read reads contents of the file under way.
func (t *tarReader) Read(p []byte) (int, error) {
	if t.left == 0 {
		return 0, io.EOF
	}
	n, err := t.r.Read(p[:min(int64(len(p)), t.left)])
	t.offset, t.left = t.offset+int64(n), t.left-int64(n)
	if err != nil {
		return n, t.early(t.name, err)
	}
	return n, nil
}

// pad reads what fills the last block of a file.
func (t *tarReader) pad() error {
	padding := make([]byte, roundUp(t.size)-t.size)
	if err := t.fill(padding, t.name); err != nil {
		return err
	}
	if !isZero(padding) {
		return fmt.Errorf("%w: the stream has no zeros behind %s", ErrDamaged, t.name)
	}
	return nil
}

// end reads the end of the stream: zeros, and nothing else.
func (t *tarReader) end() error {
	if name, err := t.peek(); err != nil {
		return err
	} else if name != "" {
		return fmt.Errorf("%w: the stream has %q behind its last file", ErrDamaged, name)
	}
	rest := make([]byte, endSize-block)
	if err := t.fill(rest, "its end"); err != nil {
		return err
	}
	for more, buffer := 0, make([]byte, 64<<10); ; {
		if !isZero(rest) || more > maxStreamEnd {
			return fmt.Errorf("%w: something follows the end of the stream", ErrDamaged)
		}
		n, err := t.r.Read(buffer)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the stream: %w", err)
		}
		rest, more = buffer[:n], more+n
	}
}

func (t *tarReader) fill(p []byte, within string) error {
	n, err := io.ReadFull(t.r, p)
	t.offset += int64(n)
	if err != nil {
		return t.early(within, err)
	}
	return nil
}

// errStreamEnds: a stream was not written to its end, or not read to it.
var errStreamEnds = errors.New("the stream ends early")

func (t *tarReader) early(within string, err error) error {
	if t.offset == 0 && err == io.EOF {
		return fmt.Errorf("%w: nothing came through it", errStreamEnds)
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%w: in %s, at its byte %d", errStreamEnds, within, t.offset)
	}
	return fmt.Errorf("read the stream: %w", err)
}
