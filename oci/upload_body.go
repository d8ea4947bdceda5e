package oci

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// uploadChunk is how many bytes of an upload are held back, at least one.
const uploadChunk = 64 << 10

// sourceError is an error of what is uploaded, not of the network.
type sourceError struct{ error }

func (e *sourceError) Unwrap() error { return e.error }

var errUploadEnded = errors.New("the upload has ended")

// uploadBody is the body of a request of an upload. It always knows what follows the bytes that
// it gives: they are the last ones only if the source has ended well.
type uploadBody struct {
	commit time.Duration
	watch  *watchdog

	mu     sync.Mutex // net/http may read on when it has answered
	source io.ReadCloser
	ready  []byte    // may be given
	held   []byte    // may be given once more was read, or the end
	chunks [2][]byte // where they lie, in turn
	left   int64     // bytes to come from the source
	ended  bool      // the source gave io.EOF in its place
	failed error     // the source's own, or what is wrong with its length
	closed bool
}

func (u *uploadBody) Read(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.pause()
	defer u.resume()
	for len(u.ready) == 0 {
		switch {
		case u.closed:
			return 0, errUploadEnded
		case u.failed != nil:
			return 0, u.failed
		case u.given():
			return 0, io.EOF
		}
		u.advance()
	}
	n := copy(p, u.ready)
	u.ready = u.ready[n:]
	return n, nil
}

// given says whether all of it was read.
func (u *uploadBody) given() bool { return u.ended && len(u.ready) == 0 && len(u.held) == 0 }

// advance reads the next chunk, or the end, and lets the chunk before it go.
func (u *uploadBody) advance() {
	if u.ended {
		u.ready, u.held = u.held, nil
		return
	}
	chunk := u.chunk()
	n, err := fill(u.source, chunk)
	u.left -= int64(n)
	switch {
	case err != nil && err != io.EOF:
		u.failed = &sourceError{err}
	case u.left < 0:
		u.failed = &sourceError{errors.New("read blob to push: it is longer than its descriptor says")}
	case err == io.EOF && u.left > 0:
		u.failed = &sourceError{fmt.Errorf("read blob to push: it ends %d bytes early", u.left)}
	default:
		u.ready, u.held, u.ended = u.held, chunk[:n], err == io.EOF
	}
}

// chunk is the one of the two that nothing lies in.
func (u *uploadBody) chunk() []byte {
	free := u.chunks[0]
	if free == nil {
		free = make([]byte, min(uploadChunk, max(u.left, 1)))
	}
	u.chunks[0], u.chunks[1] = u.chunks[1], free
	return free
}

// fill reads until the chunk is full or the source ends or fails. Unlike
// io.ReadFull it hands on every error as it is.
func fill(r io.Reader, chunk []byte) (n int, err error) {
	for empty := 0; n < len(chunk) && err == nil; {
		var got int
		got, err = r.Read(chunk[n:])
		n += got
		if empty++; got > 0 {
			empty = 0
		}
		if empty > 100 {
			err = io.ErrNoProgress
		}
	}
	return n, err
}

// pause stops the watchdog: it is us who are read from.
func (u *uploadBody) pause() {
	if u.watch != nil {
		u.watch.stop()
	}
}

// resume lets the watchdog wait for the network to take what it was given; or,
// after the last of it, for the registry to store it.
func (u *uploadBody) resume() {
	switch {
	case u.watch == nil || u.closed:
	case u.given():
		u.watch.start(u.commit, waitAnswer)
	default:
		u.watch.start(u.watch.limit, waitTaken)
	}
}

// Close ends the reading of the source.
func (u *uploadBody) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return nil
	}
	u.closed = true
	return u.source.Close()
}

// end closes the upload and gives the failure of its source, if there was one. What
// net/http has read since it answered has let the watchdog wait again.
func (u *uploadBody) end() error {
	u.Close()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.pause()
	return u.failed
}

// sentAll says whether everything was given to the network.
func (u *uploadBody) sentAll() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.given()
}
