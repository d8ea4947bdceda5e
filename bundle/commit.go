package bundle

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/opencontainers/go-digest"

	"airlift/verify"
)

// committer appends the archive to the medium, in its order: headers, contents,
// padding. One pass computes the digest of each blob and of each volume.
type committer struct {
	medium  medium
	layout  *Layout
	offset  int64 // in the archive: what has been written
	volume  int   // the one being written
	file    *os.File
	sum     hash.Hash    // of the current volume so far
	sums    []verify.Sum // of the finished volumes
	written func(int64)  // told of every write's bytes
	buffer  []byte       // between a source and the volume
}

// mark is a place to which a committer can go back.
type mark struct {
	offset int64
	volume int
	sum    hash.Hash
}

func newCommitter(m medium, l *Layout, written func(int64)) (*committer, error) {
	c := &committer{medium: m, layout: l, written: written, buffer: make([]byte, chunkSize)}
	return c, c.begin(0)
}

// begin opens a new volume.
func (c *committer) begin(volume int) (err error) {
	c.volume, c.sum = volume, sha256.New()
	c.file, err = c.medium.create(volumeName(volume, c.layout.Volumes()))
	return err
}

// Write appends bytes, over the borders of volumes.
func (c *committer) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		_, end := c.layout.volume(c.volume)
		if c.offset == end {
			if err := c.nextVolume(); err != nil {
				return n, err
			}
			continue
		}
		part := p[:min(int64(len(p)), end-c.offset)]
		k, err := c.file.Write(part)
		c.sum.Write(part[:k])
		c.offset, n = c.offset+int64(k), n+k
		c.written(int64(k))
		if err != nil {
			return n, fmt.Errorf("write %s: %w", c.file.Name(), storageError(err))
		}
		p = p[k:]
	}
	return n, nil
}

func (c *committer) nextVolume() error {
	if err := c.finishVolume(); err != nil {
		return err
	}
	return c.begin(c.volume + 1)
}

func (c *committer) finishVolume() error {
	c.sums = append(c.sums, verify.Sum{Name: volumeName(c.volume, c.layout.Volumes()), SHA256: [sha256.Size]byte(c.sum.Sum(nil))})
	err := c.medium.finish(c.file)
	c.file = nil
	return err
}

// finish writes the end of the archive and closes the last volume. It gives
// the sums of all volumes.
func (c *committer) finish() ([]verify.Sum, error) {
	if _, err := c.Write(make([]byte, endSize)); err != nil {
		return nil, err
	}
	if c.offset != c.layout.Size {
		return nil, fmt.Errorf("the archive ended at byte %d of %d", c.offset, c.layout.Size)
	}
	err := c.finishVolume()
	return c.sums, err
}

// close gives the open file up, as it is.
func (c *committer) close() error {
	if c.file == nil {
		return nil
	}
	err := c.file.Close()
	c.file = nil
	return err
}

// errWrongBytes says that what a source gave has not the digest it should have.
var errWrongBytes = errors.New("not the bytes of this digest")

// entry appends one file of the archive. Contents that turn out wrong are cut
// off again, and the error is errWrongBytes.
func (c *committer) entry(ctx context.Context, e Entry, contents io.Reader) error {
	m, err := c.mark()
	if err != nil {
		return err
	}
	h := e.header()
	if _, err := c.Write(h[:]); err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(c, sum), &contextReader{ctx, contents}, c.buffer)
	switch {
	case err != nil:
		return errors.Join(err, c.back(m))
	case n != e.Size || e.Digest != "" && digest.NewDigest(digest.SHA256, sum) != e.Digest:
		return errors.Join(errWrongBytes, c.back(m))
	}
	_, err = c.Write(make([]byte, e.end()-e.dataEnd()))
	return err
}

func (c *committer) mark() (mark, error) {
	sum, err := c.sum.(hash.Cloner).Clone()
	return mark{c.offset, c.volume, sum}, err
}

// back cuts off everything behind a mark, in every volume it touches, so that
// wrong bytes never become a part of what is kept.
func (c *committer) back(m mark) error {
	if err := c.close(); err != nil {
		return err
	}
	n := c.layout.Volumes()
	for ; c.volume > m.volume; c.volume-- {
		if err := c.medium.remove(volumeName(c.volume, n)); err != nil {
			return err
		}
	}
	start, _ := c.layout.volume(m.volume)
	file, err := c.medium.reopen(volumeName(m.volume, n), m.offset-start)
	if err != nil {
		return err
	}
	c.written(m.offset - c.offset)
	c.file, c.sum, c.offset, c.sums = file, m.sum, m.offset, c.sums[:m.volume]
	return nil
}

// contextReader ends in ctx's error once that is over.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
