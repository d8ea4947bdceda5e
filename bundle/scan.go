package bundle

import (
	"bytes"
	"context"
	"errors"
	"hash"
	"io"
)

// scan finds how far the volumes on a medium are good, by reading them: whole
// files of the archive by their digests; of the one that was under way what is
// there of it, since its digest is found right or wrong when its rest is.
//
// It commits what it reads to nowhere: so it knows afterwards all that export
// would have known.
func scan(ctx context.Context, l *Layout, p part, v *volumeSet, pieces []piece, read func(int64)) (*state, error) {
	c := &committer{layout: l, part: p, out: nowhere{}, written: read, at: newPosition(), start: newPosition()}
	for _, piece := range pieces {
		held := &heldReader{ctx: ctx, volumes: v, entry: piece.Entry}
		if !scannable(v, piece.Entry) || c.entry(piece, held.next) != nil {
			break // here it ends
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if c.at.offset == c.start.offset+block { // a header alone
		c.at, c.blob = c.start, nil
	}
	return &state{p.from, c.at, c.start, c.blob}, nil
}

// scannable says whether an entry begins on the medium, with its header.
func scannable(v *volumeSet, e Entry) bool {
	got, want := make([]byte, block), e.header()
	return v.all(e.Offset, block) && v.read(got, e.Offset) == nil && bytes.Equal(got, want[:])
}

// zeroPadded says whether an entry's padding is there.
func zeroPadded(v *volumeSet, e Entry) bool {
	got := make([]byte, e.end()-e.dataEnd())
	return len(got) == 0 || v.all(e.dataEnd(), int64(len(got))) && v.read(got, e.dataEnd()) == nil && isZero(got)
}

// errShort: the medium holds no more of an entry.
var errShort = errors.New("no more of it")

// heldReader reads an entry's contents as far as they are there.
type heldReader struct {
	ctx     context.Context
	volumes *volumeSet
	entry   Entry
	done    int64
	buffer  []byte
}

func (r *heldReader) next() (chunk, error) {
	if err := r.ctx.Err(); err != nil {
		return chunk{}, err
	}
	n := min(segmentSize, r.entry.Size-r.done)
	for n > 0 && !r.volumes.all(r.entry.data()+r.done, n) {
		n /= 2
	}
	if n == 0 || r.done+n == r.entry.Size && !zeroPadded(r.volumes, r.entry) {
		return chunk{}, errShort
	}
	r.buffer = sized(r.buffer, n)
	if _, err := io.ReadFull(r.volumes.section(r.entry.data()+r.done, n), r.buffer); err != nil {
		return chunk{}, err
	}
	if want := r.entry.contents(); want != nil && !bytes.Equal(r.buffer, want[r.done:r.done+n]) {
		return chunk{}, errShort // it has no digest to know it by
	}
	r.done += n
	return chunk{bytes: r.buffer}, nil
}

// nowhere takes volumes and keeps nothing.
type nowhere struct{}

func (nowhere) begin(int) error                            { return nil }
func (nowhere) Write(p []byte) (int, error)                { return len(p), nil }
func (nowhere) end() error                                 { return nil }
func (nowhere) sync() error                                { return nil }
func (nowhere) cut(int, int64) error                       { return nil }
func (nowhere) record(position, position, hash.Hash) error { return nil }
func (nowhere) due(position) bool                          { return false }
