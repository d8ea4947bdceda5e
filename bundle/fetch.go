package bundle

import (
	"context"
	"hash"
	"io"
	"sync"
	"sync/atomic"
)

// segmentSize is how many bytes of a blob are held in one buffer, and hashed and
// written in one go. Larger ones have left the processor's cache by then.
const segmentSize = 1 << 20

// shortRun is how many segments one request brings while they are waited for: all
// connections work on what is needed next. While the medium is, a request brings as
// many as half of the buffers hold, which spares the source some.
const shortRun = 4

// segmentsAhead is how many buffers there are beside those for a short run of each
// job. With them the memory for fetching is (jobs × shortRun + segmentsAhead) ×
// segmentSize, whatever the size of blobs.
const segmentsAhead = 16

// segment is a range of a blob's contents.
type segment struct {
	bytes []byte
	err   error
	ready chan struct{} // closed when bytes, or err, are there
	sum   hash.Hash     // of the contents up to its end
}

// run is consecutive segments of one blob that one request brings.
type run struct {
	entry          Entry
	offset, length int64 // in its contents
	segments       chan *segment
}

// fetcher fetches blobs a few segments at a time, and hashes them in archive order,
// ahead of the one that is being written.
type fetcher struct {
	ctx     context.Context
	cancel  context.CancelFunc
	from    *sources
	working sync.WaitGroup
	runs    chan *run
	ordered chan *segment
	hashed  chan *segment
	buffers chan []byte // those that are free; nil for one that was not needed yet
	held    []byte      // what next gave last

	inTime atomic.Int64 // segments that were there when they were asked for, one after the other
}

// newFetcher begins to fetch pieces, jobs requests at a time.
func newFetcher(ctx context.Context, jobs int, pieces []piece, from *sources) *fetcher {
	n := jobs*shortRun + segmentsAhead
	f := &fetcher{from: from, runs: make(chan *run, n), ordered: make(chan *segment, n), hashed: make(chan *segment, n), buffers: make(chan []byte, n)}
	f.ctx, f.cancel = context.WithCancel(ctx)
	for range n {
		f.buffers <- nil
	}
	f.working.Go(func() { f.schedule(pieces) })
	f.working.Go(func() { f.hash(pieces) })
	for range jobs {
		f.working.Go(f.work)
	}
	return f
}

// stop ends all fetching and waits for it.
func (f *fetcher) stop() {
	f.cancel()
	f.working.Wait()
}

// schedule cuts pieces into segments, as buffers become free. Whoever waits for
// the first segment of all waits for one that is being fetched: runs are taken in
// the order of the archive.
func (f *fetcher) schedule(pieces []piece) {
	defer close(f.ordered)
	defer close(f.runs)
	for _, p := range pieces {
		for offset := p.from; p.inline == nil && offset < p.Size; {
			r := &run{p.Entry, offset, f.runLength(p, offset), make(chan *segment, cap(f.buffers))}
			if !f.announce(r) {
				return
			}
			offset += r.length
		}
	}
}

// runLength is how many bytes of a piece the next request brings.
func (f *fetcher) runLength(p piece, offset int64) int64 {
	rest, segments := p.Size-offset, int64(shortRun)
	if f.from.streams(p.Entry) {
		return rest
	}
	if f.isAhead() && f.from.reuse.isEmpty() {
		segments = f.half()
	}
	return min(segments*f.from.segment, rest)
}

// isAhead says whether all that there are buffers for was written without waiting for
// a segment: the source is faster than the medium. What came late and set free what
// waited behind it looks the same for a while, but is not that much.
func (f *fetcher) isAhead() bool { return f.inTime.Load() > int64(cap(f.buffers)) }

// announce gives a run its segments and has it fetched. It waits for their buffers
// first, so that what is asked for is read at once: a source does not wait for a medium.
// A run that would take most of them for itself gets them on the way.
func (f *fetcher) announce(r *run) bool {
	defer close(r.segments)
	announced := false
	for done := int64(0); done < r.length; {
		select {
		case <-f.ctx.Done():
			return false
		case buffer := <-f.buffers:
			s := &segment{bytes: sized(buffer, min(f.from.segment, r.length-done)), ready: make(chan struct{})}
			r.segments <- s // neither blocks: there is room for all buffers
			f.ordered <- s
			done += int64(len(s.bytes))
		}
		if !announced && (done == r.length || r.length > f.half()*f.from.segment) {
			f.runs <- r
			announced = true
		}
	}
	return true
}

// half is how many segments half of the buffers hold.
func (f *fetcher) half() int64 { return int64(cap(f.buffers) / 2) }

// sized is a buffer of n bytes, the one given if that is large enough.
func sized(buffer []byte, n int64) []byte {
	if int64(cap(buffer)) < n {
		buffer = make([]byte, n)
	}
	return buffer[:n]
}

func (f *fetcher) work() {
	for r := range f.runs {
		f.fetch(r)
	}
}

// fetch brings the segments of a run. What fails fails for all that follow.
func (f *fetcher) fetch(r *run) {
	body, err := f.from.open(f.ctx, r.entry, r.offset, r.length)
	if err == nil {
		defer body.Close()
	}
	left := r.length
	for s := range r.segments {
		if left -= int64(len(s.bytes)); err == nil {
			err = f.read(r.entry, body, s.bytes, left == 0)
		}
		s.err = err
		close(s.ready)
	}
}

// read fills a segment, the last one of its run or not.
func (f *fetcher) read(e Entry, body io.Reader, segment []byte, last bool) error {
	_, err := io.ReadFull(body, segment)
	if last && err == nil {
		err = ended(body)
	}
	if err != nil {
		err = f.from.fetchError(e.Digest, err)
	}
	return err
}

// ended makes sure that nothing follows; so a connection can be used again.
func ended(r io.Reader) error {
	var one [1]byte
	if n, err := r.Read(one[:]); n > 0 {
		return errWrongBytes
	} else if err != io.EOF {
		return err
	}
	return nil
}

// hash hashes the segments in their order. What follows one that failed is not
// hashed right, and is of no use.
func (f *fetcher) hash(pieces []piece) {
	defer close(f.hashed)
	for _, p := range pieces {
		if p.inline != nil {
			continue
		}
		sum := p.sum()
		for left := p.Size - p.from; left > 0; {
			s, more := <-f.ordered
			if !more || !f.wait(s) {
				return
			}
			sum.Write(s.bytes)
			s.sum = cloneHash(sum)
			f.hashed <- s // does not block: there is room for all buffers
			left -= int64(len(s.bytes))
		}
	}
}

// wait waits for the bytes of a segment. It reports false if fetching was ended.
func (f *fetcher) wait(s *segment) bool {
	select {
	case <-s.ready:
		return true
	case <-f.ctx.Done():
		return false
	}
}

// next gives the next bytes of the pieces. They are valid until it is called
// again. With an error their number is still right.
func (f *fetcher) next() (chunk, error) {
	if f.held != nil {
		f.buffers <- f.held // does not block: it was taken from there
		f.held = nil
	}
	if len(f.hashed) == 0 {
		f.inTime.Store(0)
	}
	s, more := <-f.hashed
	if !more { // nothing asks for more than the pieces: fetching was ended
		return chunk{}, f.ctx.Err()
	}
	f.inTime.Add(1)
	f.held = s.bytes
	return chunk{s.bytes, s.sum}, s.err
}
