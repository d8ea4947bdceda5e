package bundle

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"sync"

	"github.com/opencontainers/go-digest"

	"airlift/verify"
)

// volumeWriter is where volumes go: the files of a medium, or a stream. They come
// in order, each from its start to its end.
type volumeWriter interface {
	begin(volume int) error
	Write(p []byte) (int, error)
	end() error                                      // the volume is complete, and durable
	sync() error                                     // what was written is durable
	cut(volume int, length int64) error              // everything behind the first bytes of a volume goes; it is open again unless length is 0
	record(at, start position, blob hash.Hash) error // a checkpoint, of what is durable
	due(at position) bool                            // it is time for one
}

// committer appends the archive, in its order: headers, contents, padding. One
// pass computes the digest of each blob and of each volume. What does not lie in
// its part is hashed only.
type committer struct {
	layout  *Layout
	part    part
	out     volumeWriter
	written func(int64) // told of every write's bytes

	at    position
	open  bool      // the volume that at lies in has been begun
	start position  // where the entry under way begins
	blob  hash.Hash // of its contents so far
	hurt  bool      // the storage has failed: what it holds is not known
}

// errWrongBytes says that what a source gave has not the digest it should have.
var errWrongBytes = errors.New("not the bytes of this digest")

// chunk is some bytes of one entry.
type chunk struct {
	bytes []byte
	sum   hash.Hash // of the entry's contents up to their end; nil: nobody has made it yet
}

// chunks gives the bytes of one entry, piece by piece, each valid until the next.
type chunks func() (chunk, error)

// entry appends one file of the archive, or its rest. Contents that turn out
// wrong are cut off again, and the error is errWrongBytes.
func (c *committer) entry(p piece, next chunks) error {
	if err := c.enter(p); err != nil {
		return err
	}
	for left := p.Size - p.from; left > 0; {
		got, err := next()
		if errors.Is(err, errWrongBytes) {
			return errors.Join(err, c.back())
		}
		if err != nil {
			return err
		}
		if int64(len(got.bytes)) > left { // more than it should have: its digest is another
			got = chunk{bytes: got.bytes[:left]}
		}
		if err := c.contents(got); err != nil {
			return err
		}
		left -= int64(len(got.bytes))
	}
	if p.Digest != "" && digest.NewDigest(digest.SHA256, c.blob) != p.Digest {
		return errors.Join(errWrongBytes, c.back())
	}
	if _, err := c.Write(make([]byte, p.end()-p.dataEnd())); err != nil {
		return err
	}
	c.blob, c.start = nil, c.at
	return c.checkpointIfDue()
}

// enter begins an entry, or goes on with it.
func (c *committer) enter(p piece) error {
	if p.blob != nil { // its header is there
		c.at.offset, c.blob = p.data()+p.from, p.blob
		return nil
	}
	c.at.offset, c.blob = p.Offset, sha256.New()
	c.start = c.at.clone()
	h := p.header()
	_, err := c.Write(h[:])
	return err
}

// contents appends bytes of a blob, and makes a checkpoint if it is time.
func (c *committer) contents(got chunk) error {
	if got.sum == nil {
		c.blob.Write(got.bytes)
	}
	if _, err := c.Write(got.bytes); err != nil {
		return err
	}
	if got.sum != nil {
		c.blob = got.sum
	}
	return c.checkpointIfDue()
}

// Write appends bytes, over the borders of volumes.
func (c *committer) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		volume, _ := c.layout.at(c.at.offset)
		_, end := c.layout.volume(volume)
		part := p[:min(int64(len(p)), end-c.at.offset)]
		if c.part.has(volume) {
			err = c.append(volume, part)
		}
		if err != nil {
			c.hurt = true
			return n, err
		}
		n, p = n+len(part), p[len(part):]
		if c.at.offset += int64(len(part)); c.at.offset == end && c.part.has(volume) {
			if err := c.endVolume(volume); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (c *committer) append(volume int, p []byte) error {
	if !c.open {
		if err := c.out.begin(volume); err != nil {
			return err
		}
		c.open, c.at.sum = true, sha256.New()
	}
	var hashing sync.WaitGroup
	hashing.Go(func() { c.at.sum.Write(p) }) // beside the write
	_, err := c.out.Write(p)
	hashing.Wait()
	if err != nil {
		return fmt.Errorf("write %s: %w", volumeName(volume, c.layout.Volumes()), err)
	}
	c.written(int64(len(p)))
	return nil
}

func (c *committer) endVolume(volume int) error {
	if err := c.out.end(); err != nil {
		c.hurt = true
		return err
	}
	sum := verify.Sum{Name: volumeName(volume, c.layout.Volumes()), SHA256: [sha256.Size]byte(c.at.sum.Sum(nil))}
	c.at.sums = append(c.at.sums[:len(c.at.sums):len(c.at.sums)], sum)
	c.open, c.at.sum = false, sha256.New()
	return nil
}

// finish writes the end of the archive, if it belongs here.
func (c *committer) finish() error {
	if last := c.layout.Volumes() - 1; !c.part.has(last) || c.at.offset == c.layout.Size {
		return nil
	}
	c.at.offset = max(c.at.offset, c.layout.Size-endSize)
	_, err := c.Write(make([]byte, c.layout.Size-c.at.offset))
	return err
}

func (c *committer) checkpointIfDue() error {
	if !c.out.due(c.at) {
		return nil
	}
	return c.checkpoint()
}

// checkpoint makes everything durable, and then records how far that is.
func (c *committer) checkpoint() error {
	err := c.out.sync()
	if err == nil {
		err = c.out.record(c.at, c.start, c.blob)
	}
	c.hurt = c.hurt || err != nil
	return err
}

// errNoWayBack: wrong bytes lie where nothing can be cut off any more.
var errNoWayBack = errors.New("what was written cannot be taken back")

// back cuts off the entry under way, in every volume it touches, so that wrong
// bytes never become a part of what is kept. That is recorded first: a
// checkpoint may lag behind the medium, never run ahead of it.
func (c *committer) back() error {
	gone := c.layout.within(c.part, c.start.offset, c.at.offset)
	c.at, c.blob = c.start.clone(), nil
	volume, within := c.layout.at(c.at.offset)
	if !c.part.has(volume) {
		volume, within = c.part.from, 0
	}
	err := c.out.record(c.at, c.start, nil)
	if err == nil {
		err = c.out.cut(volume, within)
	}
	c.open, c.hurt = within > 0, c.hurt || err != nil
	c.written(-gone)
	return err
}
