package bundle

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

// ErrLocked: another run is at work in the directory.
var ErrLocked = errors.New("locked by another run")

// ErrUnfinished: the directory holds an export that was not finished, and that
// is not the one that was asked for.
var ErrUnfinished = fmt.Errorf("%w: unfinished export", ErrUsage)

// Output is a directory to export into. It is locked until it is closed; the
// lock dies with the process.
type Output struct {
	// Unlocked: the file system has no locks. Nothing keeps another run away.
	Unlocked bool

	medium medium
	lock   *flock.Flock
	made   []string // directories that were made for it, outermost first
}

// OpenOutput locks a directory, and makes it if there is none. ErrLocked if
// another run has it.
func OpenOutput(dir string) (*Output, error) { return openOutput(dir, disk{}) }

func openOutput(dir string, on storage) (*Output, error) {
	o := &Output{medium: medium{dir, on}, lock: flock.New(dir, flock.SetFlag(os.O_RDONLY))}
	if err := o.makeDir(filepath.Clean(dir)); err != nil {
		return nil, errors.Join(err, o.Close())
	}
	locked, err := o.lock.TryLock()
	switch {
	case errors.Is(err, syscall.EBADF), errors.Is(err, syscall.ENOTSUP), errors.Is(err, syscall.ENOLCK), errors.Is(err, syscall.ENOSYS):
		o.Unlocked = true
	case err != nil:
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), o.Close())
	case !locked || !o.isLocked():
		return nil, errors.Join(fmt.Errorf("%w: %s", ErrLocked, dir), o.lock.Close())
	}
	return o, nil
}

// How long a run waits for a directory that others lock for a moment, and how often it
// looks.
const (
	lockTime = 30 * time.Second
	lockLook = 10 * time.Millisecond
)

// Alone runs something while no other run that does so is at work in a directory of
// objects: what several imports add to its files is all there. ErrLocked if another does
// not let go of it; the end of the context ends the wait, and not what is to be done.
func Alone(ctx context.Context, dir string, do func() error) (err error) {
	if dir == Printed {
		return do()
	}
	lock, err := awaitOutput(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	return do()
}

// awaitOutput is OpenOutput where others have the directory only for a moment each.
func awaitOutput(ctx context.Context, dir string) (*Output, error) {
	for end := time.Now().Add(lockTime); ; {
		o, err := OpenOutput(dir)
		if !errors.Is(err, ErrLocked) || time.Now().After(end) {
			return o, err
		}
		select {
		case <-time.After(lockLook):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}

// isLocked says whether what was locked is still what the path names: a run that
// has just ended may have removed the directory that it made in vain.
func (o *Output) isLocked() bool {
	held, err := o.lock.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(o.medium.dir)
	return err == nil && os.SameFile(held, named)
}

// makeDir makes a directory and its parents, and remembers which.
func (o *Output) makeDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err == nil && !info.IsDir():
		return fmt.Errorf("%w: %s is a file: name a directory to write into", ErrUsage, dir)
	case err == nil || !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := o.makeDir(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := o.medium.on.mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return storageError(err)
	}
	o.made = append(o.made, dir)
	return storageError(o.medium.on.sync(filepath.Dir(dir)))
}

// Close unlocks the directory. Directories that were made for it and stayed
// empty are removed.
func (o *Output) Close() error {
	for _, dir := range slices.Backward(o.made) {
		if os.Remove(dir) != nil { // it is in use
			break
		}
	}
	return o.lock.Close()
}

// Held gives the inventory of the export that the directory holds, if same says
// of it that it is the one that was asked for: unfinished, or complete with some
// or all of its volumes. It is nil if the directory is free. What the directory
// holds else is an error, ErrUnfinished or ErrUsage, and left as it is.
//
// The inventory is believed only if key signed it, or nobody did and key is nil.
func (o *Output) Held(key *ecdsa.PrivateKey, same func(*Inventory) bool) (*Inventory, error) {
	names, err := o.medium.bundleFiles()
	if err != nil || len(names) == 0 {
		return nil, err
	}
	if !o.unfinished(names) && !slices.Contains(names, InventoryFile) {
		return nil, fmt.Errorf("%w: %s is in the way: a bundle needs that name", ErrUsage, o.medium.path(names[0]))
	}
	inv, trusted := o.inventory(key)
	asked := inv != nil && same(inv)
	switch {
	case o.begun(names) && (asked || inv == nil): // what there is may not be durable, nor be signed
		if trusted != nil {
			inv = nil
		}
		return inv, o.discard(names)
	case asked && trusted == nil:
		return inv, nil
	case asked:
		return nil, fmt.Errorf("%w: go on with the key that signed it: %w", ErrUsage, trusted)
	case o.unfinished(names):
		return nil, fmt.Errorf("%w in %s", ErrUnfinished, o.medium.dir)
	}
	return nil, fmt.Errorf("%w: %s holds another bundle (%s is there)", ErrUsage, o.medium.dir, InventoryFile)
}

// Restart removes an unfinished export. All else is left as it is.
func (o *Output) Restart() error {
	names, err := o.medium.bundleFiles()
	if err != nil || !o.unfinished(names) {
		return err
	}
	return o.discard(names)
}

// discard removes the files of an unfinished export: the checkpoint, which says
// that they are that, once none of the others can come back. If one of them has a
// common name and is not what airlift writes, all stay.
func (o *Output) discard(names []string) error {
	for _, name := range names {
		if own, common := heads[name]; common && !o.medium.begins(name, own.at, own.text) {
			return fmt.Errorf("%w: %s is in the way: airlift did not write it", ErrUsage, o.medium.path(name))
		}
	}
	rest := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == CheckpointFile })
	if err := o.medium.remove(rest...); err != nil {
		return err
	}
	return o.medium.remove(CheckpointFile)
}

// heads are what airlift's files begin with whose names others use, too; those of
// the sums behind the first of them.
var heads = map[string]struct {
	at   int
	text string
}{
	ReadmeFile: {0, readmeHead},
	SumsFile:   {2 * sha256.Size, "  " + ReadmeFile + "\n"},
}

// begins says whether a file has a text at an offset: as far as it goes, for it may be
// torn, and but for zeros, where nothing became durable.
func (m medium) begins(name string, at int, text string) bool {
	f, err := os.Open(m.path(name))
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	defer f.Close()
	got, err := io.ReadAll(io.LimitReader(f, int64(at+len(text))))
	for i, c := range got[min(at, len(got)):] {
		if c != 0 && c != text[i] {
			return false
		}
	}
	return err == nil
}

// unfinished says whether files are those of an export that was not finished:
// the checkpoint is there, or it was lost before the sums were written.
func (o *Output) unfinished(names []string) bool {
	if slices.Contains(names, CheckpointFile) {
		return true
	}
	inv, _ := o.inventory(nil)
	return inv != nil && !slices.Contains(names, SumsFile) && slices.ContainsFunc(names, isVolumeName)
}

// begun says whether an export got no further than its small files.
func (o *Output) begun(names []string) bool {
	return slices.Contains(names, CheckpointFile) && !slices.Contains(names, SumsFile) && !slices.ContainsFunc(names, isVolumeName)
}

// inventory reads bundle.json, if it can be read, and says whether key vouches for it.
func (o *Output) inventory(key *ecdsa.PrivateKey) (inv *Inventory, trusted error) {
	data, err := readSmall(o.medium.path(InventoryFile), MaxInventorySize)
	if err != nil {
		return nil, err
	}
	_, _, trusted = trustOf(key).signatures([]string{o.medium.dir}, InventoryFile, data)
	if inv, err = ParseInventory(data); err != nil {
		return nil, err
	}
	return inv, trusted
}
