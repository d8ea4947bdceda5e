package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"

	"airlift/verify"
)

// archiveReader reads the archive out of the volumes in a stream.
type archiveReader struct {
	ctx    context.Context
	stream *Stream
	offset int64 // in the archive
	volume int   // that is to begin or under way
	begun  bool
	sum    hash.Hash // of the volume
	sums   []verify.Sum
	scrap  []byte // for what nobody wants to read
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

// damage is where something is wrong: from where it begins on, in the volume where
// it does.
func (a *archiveReader) damage(element string, offset, length int64, e Entry, problem error) error {
	at := a.stream.Layout.spans(offset, max(length, 1))[0]
	f := Finding{
		File: a.stream.Inventory.Storage.Volumes[at.volume].Name, Element: element, Offset: at.offset, Length: min(length, at.length),
		Digest: e.Digest, Problem: problem.Error(), Images: a.stream.Inventory.Content.users()[e.Digest], kind: ErrDamaged,
	}
	if e.inline != nil {
		f.Problem = e.Name() + ": " + f.Problem
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
	if err := discard(contents, a.scrap); err != nil {
		return err
	}
	return a.expect(make([]byte, e.end()-e.dataEnd()), "padding", e)
}

// streamedContents are the contents of one file of the archive.
type streamedContents struct {
	archive *archiveReader
	entry   Entry
	left    int64
	sum     hash.Hash
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
		want = digest.FromBytes(c.entry.contents())
	}
	problem := error(nil)
	if digest.NewDigestFromBytes(digest.SHA256, c.sum.Sum(nil)) != want {
		problem = errOtherDigest
	} else if c.check != nil {
		problem = c.check(c.raw)
	}
	if problem != nil {
		return &contentsError{c.archive.damage("blob", c.entry.data(), c.entry.Size, c.entry, problem)}
	}
	return io.EOF
}

// discard reads to the end, in pieces of the size of scrap.
func discard(r io.Reader, scrap []byte) error {
	for {
		if _, err := r.Read(scrap); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}
