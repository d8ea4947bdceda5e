package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// medium is the directory that a bundle is written to: the only code that
// writes one. A file is created under its final name, never replaced, and made
// durable by fsync; so nothing depends on rename, which FAT does not keep.
type medium struct{ dir string }

// CheckOutput says beforehand whether Export would write into a directory: one
// that is not there, or that holds no bundle, or with restart one with an
// unfinished export (without, ErrUnfinished).
func CheckOutput(dir string, restart bool) error {
	_, err := medium{dir}.leftovers(restart)
	return err
}

// leftovers are the files of an unfinished export that a restart removes.
func (m medium) leftovers(restart bool) ([]string, error) {
	held, err := m.bundleFiles()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil || len(held) == 0 {
		return nil, err
	}
	_, err = os.Stat(m.path(CheckpointFile))
	switch unfinished := err == nil; {
	case !unfinished && !slices.Contains(held, InventoryFile):
		return nil, fmt.Errorf("%w: %s is in the way: a bundle needs that name", ErrUsage, m.path(held[0]))
	case !unfinished:
		return nil, fmt.Errorf("%w: %s holds another bundle (%s is there)", ErrUsage, m.dir, held[0])
	case !restart:
		return nil, fmt.Errorf("%w in %s", ErrUnfinished, m.dir)
	}
	return held, nil
}

// take makes the directory if there is none, and removes leftovers from it.
func (m medium) take(leftovers []string) error {
	if err := os.MkdirAll(m.dir, 0o777); err != nil {
		return err
	}
	return m.clear(leftovers)
}

// ErrUnfinished: the directory holds an export that was not finished.
var ErrUnfinished = fmt.Errorf("%w: unfinished export", ErrUsage)

// bundleFiles are the names in the directory that a bundle may have, the
// checkpoint last.
func (m medium) bundleFiles() ([]string, error) {
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return nil, err
	}
	var names []string
	checkpoint := false
	for _, e := range entries {
		switch name := e.Name(); {
		case name == CheckpointFile:
			checkpoint = true
		case isBundleName(name):
			names = append(names, name)
		}
	}
	if checkpoint {
		names = append(names, CheckpointFile)
	}
	return names, nil
}

func isBundleName(name string) bool {
	return name == ReadmeFile || name == InventoryFile || name == SumsFile || isVolumeName(name) ||
		strings.HasSuffix(name, signatureEnd) && (strings.HasPrefix(name, InventoryFile+".") || strings.HasPrefix(name, SumsFile+"."))
}

// clear removes an unfinished export; the checkpoint, which says that it is one, last.
func (m medium) clear(names []string) error {
	for _, name := range names {
		if err := os.Remove(m.path(name)); err != nil {
			return err
		}
	}
	return nil
}

func (m medium) path(name string) string { return filepath.Join(m.dir, name) }

// create opens a new file for appending.
func (m medium) create(name string) (*os.File, error) {
	f, err := os.OpenFile(m.path(name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	return f, storageError(err)
}

// reopen opens a file that was written before, cut to size, for appending.
func (m medium) reopen(name string, size int64) (*os.File, error) {
	f, err := os.OpenFile(m.path(name), os.O_WRONLY, 0)
	if err != nil {
		return nil, storageError(err)
	}
	if err := f.Truncate(size); err != nil {
		return nil, errors.Join(storageError(err), f.Close())
	}
	if _, err := f.Seek(size, 0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// write writes a whole small file and makes it durable.
func (m medium) write(name string, contents []byte) error {
	f, err := m.create(name)
	if err != nil {
		return err
	}
	if _, err := f.Write(contents); err != nil {
		return errors.Join(storageError(err), f.Close())
	}
	return m.finish(f)
}

// finish makes a file and its name durable and closes it.
func (m medium) finish(f *os.File) error {
	if err := f.Sync(); err != nil {
		return errors.Join(storageError(err), f.Close())
	}
	if err := f.Close(); err != nil {
		return storageError(err)
	}
	return m.syncDir()
}

// syncDir makes the names in the directory durable. Some file systems refuse to
// sync a directory; they write it with the file.
func (m medium) syncDir() error {
	d, err := os.Open(m.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return storageError(err)
	}
	return nil
}

func (m medium) remove(name string) error {
	if err := os.Remove(m.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return m.syncDir()
}

// free is the number of bytes that can be written, once leftovers are removed.
// For a directory that is not there yet, its parent says it.
func (m medium) free(leftovers []string) (int64, error) {
	var s unix.Statfs_t
	dir := m.dir
	err := unix.Statfs(dir, &s)
	for errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		err = unix.Statfs(dir, &s)
	}
	if err != nil {
		return 0, fmt.Errorf("ask %s for its free space: %w", dir, err)
	}
	free := int64(s.Bavail) * s.Bsize //nolint:unconvert // widths differ by platform
	for _, name := range leftovers {
		info, err := os.Stat(m.path(name))
		if err != nil {
			return 0, err
		}
		free += info.Size()
	}
	return free, nil
}

// storageError marks a full medium, in the three ways that systems say it.
func storageError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
