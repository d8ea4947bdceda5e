package oci

import (
	"bytes"
	"io"
	"sync"
)

// heldChunk is how much of a blob is always held back, in bytes.
const heldChunk = 64 << 10

// heldReader gives the last chunk of a reader only once that has ended without
// an error. Its error, if it has one, is remembered: net/http words it as one of
// the connection.
type heldReader struct {
	r           io.Reader
	held, ready []byte // held back; and free to be given
	ended       bool

	mu  sync.Mutex
	err error
}

func (h *heldReader) Read(p []byte) (int, error) {
	for len(h.ready) == 0 {
		if h.ended {
			return 0, io.EOF
		}
		if err := h.advance(); err != nil {
			return 0, err
		}
	}
	n := copy(p, h.ready)
	h.ready = h.ready[n:]
	return n, nil
}

// advance reads one more chunk and frees the one before it.
func (h *heldReader) advance() error {
	chunk := make([]byte, heldChunk)
	n, err := io.ReadFull(h.r, chunk)
	switch err {
	case nil:
		h.ready, h.held = h.held, chunk
		return nil
	case io.EOF, io.ErrUnexpectedEOF:
		h.ready, h.held, h.ended = append(h.held, chunk[:n]...), nil, true
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = err
	return err
}

// failure is the error of the reader, but for its end.
func (h *heldReader) failure() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// newBody is a body that net/http cannot send twice by itself: a request that
// is tried again is made again.
func newBody(raw []byte) io.Reader { return struct{ io.Reader }{bytes.NewReader(raw)} }
