package bundle

import (
	"context"
	"errors"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
)

// errOtherDigest: bytes of a medium, or of a registry, are not those of the blob.
var errOtherDigest = errors.New("the contents have another digest")

// contentsError: what a volume holds cannot be read, or is not what it should be.
type contentsError struct{ error }

func (e *contentsError) Unwrap() error { return e.error }

// checkedReader reads to the end only if the bytes have the right digest: its
// last Read gives io.EOF or a contentsError.
type checkedReader struct {
	r    io.Reader
	sum  hash.Hash
	want digest.Digest
}

func (r *checkedReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.sum.Write(p[:n])
	switch {
	case err == io.EOF && digest.NewDigest(digest.SHA256, r.sum) != r.want:
		err = &contentsError{errOtherDigest}
	case err != nil && err != io.EOF:
		err = &contentsError{err}
	}
	return n, err
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
