package bundle

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
)

// reuse is bundles that lie here, finished or not: blobs are taken from them
// rather than fetched. Nobody's signature is needed for that: like what a registry
// gives, their bytes count once their digest is found to be right.
type reuse struct {
	bundles []reusable
	// proved: a blob is hashed as a whole before the first byte is taken of it,
	// for what cannot take wrong bytes back.
	proved bool
}

type reusable struct {
	layout  *Layout
	volumes *volumeSet
	good    *sync.Map // digest → func() bool, of what was hashed
}

// isGood says whether a bundle has the right bytes of an entry.
func (b reusable) isGood(e Entry) bool {
	read, _ := b.good.LoadOrStore(e.Digest, sync.OnceValue(func() bool {
		sum := sha256.New()
		n, err := io.Copy(sum, b.volumes.section(e.data(), e.Size))
		return err == nil && n == e.Size && digest.NewDigest(digest.SHA256, sum) == e.Digest
	}))
	return read.(func() bool)()
}

// openReuse opens the bundles in directories.
func openReuse(dirs []string) (*reuse, error) {
	r := &reuse{}
	for _, dir := range dirs {
		b, err := Open([]string{dir}, Trust{Unverified: true})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("reuse %s: %w", dir, err), r.close())
		}
		volumes, err := openVolumes(b.Layout, b.copies()[0])
		if err != nil {
			return nil, errors.Join(fmt.Errorf("reuse %s: %w", dir, err), r.close())
		}
		r.bundles = append(r.bundles, reusable{b.Layout, volumes, &sync.Map{}})
	}
	return r, nil
}

func (r *reuse) close() error {
	var errs []error
	if r != nil {
		for _, b := range r.bundles {
			errs = append(errs, b.volumes.close())
		}
	}
	return errors.Join(errs...)
}

// isEmpty says whether there is nothing to take blobs from.
func (r *reuse) isEmpty() bool { return r == nil || len(r.bundles) == 0 }

// open gives a range of the contents of an entry, nil if no bundle has all of it.
func (r *reuse) open(e Entry, offset, length int64) io.ReadCloser {
	if r == nil {
		return nil
	}
	for _, b := range r.bundles {
		at, there := b.layout.Find(e.Digest)
		if there && at.Size == e.Size && b.volumes.all(at.data()+offset, length) && (!r.proved || b.isGood(at)) {
			return io.NopCloser(&reusedReader{b.volumes.section(at.data()+offset, length)})
		}
	}
	return nil
}

// reusedReader: what cannot be read is as good as wrong, it is fetched then.
type reusedReader struct{ r io.Reader }

func (r *reusedReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%w: %w", errWrongBytes, err)
	}
	return n, err
}
