package bundle

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"airlift/oci"
)

// provenFirst is the size of blobs up to which they are hashed before anything of
// them is sent, so that the answer can still say what is wrong.
const provenFirst = 1 << 20

// servedBlob is what is known of a blob.
type servedBlob struct {
	proving sync.Mutex // held while it is read for nobody, so that many who ask read it once

	mu   sync.Mutex
	read map[*volumeSet]error // of the copies that were read whole what was wrong; nil = nothing
}

func (b *servedBlob) known(v *volumeSet) (proven bool, damage error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	damage, read := b.read[v]
	return read && damage == nil, damage
}

func (b *servedBlob) learn(v *volumeSet, damage error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.read[v] = damage
}

// blob answers with a blob that is at hand.
func (s *Served) blob(w http.ResponseWriter, r *http.Request, d digest.Digest) {
	e, _ := s.im.bundle.Layout.Find(d)
	first := r.Method == http.MethodGet && (e.Size <= provenFirst || r.Header.Get("Range") != "")
	from, proven, err := s.copyOf(r.Context(), e, first)
	if err != nil {
		oci.Refuse(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
		return
	}
	body := &servedBody{s: s, ctx: r.Context(), entry: e, from: from, proven: proven}
	defer body.close()
	if err := body.open(); err != nil {
		oci.Refuse(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
		return
	}
	http.ServeContent(fileWriter{w, body}, r, "", time.Time{}, body)
	if body.err != nil {
		panic(http.ErrAbortHandler) // net/http cuts the connection: what was sent must not look like all of it
	}
}

// copyOf is the first copy of a blob that was not found wrong; with first it is found
// right before.
func (s *Served) copyOf(ctx context.Context, e Entry, first bool) (from *volumeSet, proven bool, err error) {
	b := s.blobs[e.Digest]
	if first {
		b.proving.Lock()
		defer b.proving.Unlock()
	}
	var wrong []error
	for _, v := range s.im.holding(e) {
		proven, err := b.known(v)
		if err == nil && first && !proven {
			_, err = io.Copy(io.Discard, &servedBody{s: s, ctx: ctx, entry: e, from: v})
			proven = true
		}
		if err == nil {
			return v, proven, nil
		}
		wrong = append(wrong, err)
	}
	return nil, false, errors.Join(wrong...)
}

// servedBody reads a blob, or a part of one that is proven.
type servedBody struct {
	s      *Served
	ctx    context.Context
	entry  Entry
	from   *volumeSet
	proven bool

	files map[int]*os.File // of what is proven, by volume: each has a position of its own
	at    int64            // where Read goes on
	r     io.Reader        // from there; nil until something is read
	err   error            // what is wrong with the medium
}

// open opens the volumes of what is proven once more, for the kernel to send from
// them, if they are those that were read.
func (b *servedBody) open() error {
	b.files = map[int]*os.File{}
	if !b.proven {
		return nil
	}
	for _, at := range b.from.layout.spans(b.entry.data(), b.entry.Size) {
		f, err := b.s.again(b.from.files[at.volume].Name())
		if err != nil {
			return b.fail(err)
		}
		b.files[at.volume] = f
	}
	return nil
}

func (b *servedBody) close() {
	for _, f := range b.files {
		f.Close()
	}
}

func (b *servedBody) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += b.at
	case io.SeekEnd:
		offset += b.entry.Size
	}
	b.at, b.r = offset, nil
	return offset, nil
}

// Read gives the last bytes of what is not proven only if all have been right.
func (b *servedBody) Read(p []byte) (int, error) {
	if b.r == nil {
		b.r = &contextReader{b.ctx, b.from.section(b.entry.data()+b.at, b.entry.Size-b.at)}
		if !b.proven {
			b.r = &checkedReader{b.r, sha256.New(), b.entry.Digest}
		}
	}
	n, err := b.r.Read(p)
	b.at += int64(n)
	if err == nil && b.at == b.entry.Size {
		_, err = b.r.Read(make([]byte, 1))
	}
	switch {
	case err == io.EOF && !b.proven:
		b.s.prove(b.from, b.entry)
	case err != nil && err != io.EOF:
		return 0, b.fail(err)
	}
	return n, err
}

// fail keeps, and tells, what is wrong with the medium.
func (b *servedBody) fail(err error) error {
	if b.ctx.Err() != nil {
		return b.ctx.Err() // nobody waits for it any more
	}
	b.err = b.s.im.damaged(b.from, b.entry, err)
	var unread *fs.PathError
	if !b.proven && !errors.As(err, &unread) { // what cannot be read may be there again later
		b.s.blobs[b.entry.Digest].learn(b.from, b.err)
	}
	b.s.blame(b.entry.Digest, b.err)
	return b.err
}

// fileWriter lets what is proven go from its file to the network without passing
// through the program.
type fileWriter struct {
	http.ResponseWriter
	body *servedBody
}

func (w fileWriter) ReadFrom(src io.Reader) (int64, error) {
	l, limited := src.(*io.LimitedReader)
	if !limited || l.R != io.Reader(w.body) || !w.body.proven {
		return io.Copy(w.ResponseWriter, src)
	}
	return w.body.send(w.ResponseWriter, l.N)
}

// send sends n bytes from where Read would go on.
func (b *servedBody) send(w io.Writer, n int64) (sent int64, err error) {
	for _, at := range b.from.layout.spans(b.entry.data()+b.at, n) {
		done, err := b.sendSpan(w, at)
		b.at, sent = b.at+done, sent+done
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

func (b *servedBody) sendSpan(w io.Writer, at span) (int64, error) {
	f := b.files[at.volume]
	if _, err := f.Seek(at.offset, io.SeekStart); err != nil {
		return 0, b.fail(err)
	}
	n, err := io.CopyN(w, f, at.length)
	if err != nil {
		// Either side may have failed: the medium is asked for what comes next.
		if _, unread := f.ReadAt(make([]byte, 1), at.offset+n); unread != nil {
			return n, b.fail(unread)
		}
	}
	return n, err
}

// again opens a volume once more.
func (s *Served) again(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	now, err := f.Stat()
	was := s.files[path]
	if err == nil && (!os.SameFile(was, now) || now.Size() != was.Size() || !now.ModTime().Equal(was.ModTime())) {
		err = fmt.Errorf("%s was changed or exchanged after serving it had begun", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// prove notes that a copy of a blob is right.
func (s *Served) prove(v *volumeSet, e Entry) {
	s.blobs[e.Digest].learn(v, nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.damaged, e.Digest)
}

// blame notes that a blob could not be served.
func (s *Served) blame(d digest.Digest, err error) {
	s.options.Progress.note(err.Error())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.damaged[d] = err
}
