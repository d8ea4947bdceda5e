package bundle

import (
	"errors"
	"fmt"
)

// What a caller may want to act on. Every error of this package that belongs
// to one of these classes wraps it; all others are plain failures.
var (
	// ErrUsage: what was asked for cannot be done as asked (nothing was begun).
	ErrUsage = errors.New("usage")
	// ErrUntrusted: no signature of a trusted key opens the bundle.
	ErrUntrusted = errors.New("not signed by a trusted key")
	// ErrDamaged: bytes on the medium are not those of the inventory.
	ErrDamaged = errors.New("damaged")
	// ErrAbsent: volumes of the bundle were not given.
	ErrAbsent = errors.New("volumes absent")
	// ErrUnsealed: a medium without SHA256SUMS, which are written last.
	ErrUnsealed = fmt.Errorf("%w: the export was not finished", ErrAbsent)
	// ErrLeftOut: an increment does not have what its base has.
	ErrLeftOut = fmt.Errorf("%w: what this increment leaves out is in its base", ErrAbsent)
	// ErrPartialRelease: what a release consists of is not all at hand.
	ErrPartialRelease = errors.New("a cluster that begins with a part of a release fails late")
	// ErrNoSpace: the medium is full, or too small for what it must hold.
	ErrNoSpace = errors.New("no space")
	// ErrMissing: everything was done but for what the inventory records as
	// missing at the source.
	ErrMissing = errors.New("missing at the source")
	// ErrRelease: a release lacks something.
	ErrRelease = errors.New("a release needs all its components")
	// ErrSparse: everything was done but for lists that lack children and that the
	// registry therefore refused.
	ErrSparse = errors.New("the registry takes no sparse lists")
	// ErrSparseRelease: such a list is of a release, which is nothing without it.
	ErrSparseRelease = errors.New("no cluster can pull a release from a registry that takes no sparse lists")
)
