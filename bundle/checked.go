package bundle

import (
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
)

// errContents: what a volume holds cannot be read, or is not what it should be.
var errContents = errors.New("not readable as what it should be")

// checkedReader reads to the end only if the bytes have the right digest: its
// last Read gives io.EOF or errContents.
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
		err = fmt.Errorf("%w: the contents have another digest", errContents)
	case err != nil && err != io.EOF:
		err = fmt.Errorf("%w: %w", errContents, err)
	}
	return n, err
}
