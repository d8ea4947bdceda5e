package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// medium is the directory that a bundle is written to: the only code that
// writes one. A file is created under its final name, never replaced, and made
// durable by fsync; so nothing depends on rename, which FAT does not keep.
type medium struct{ dir string }

// newMedium takes a directory, which it makes if there is none, and that must
// hold no bundle yet. With restart, what an unfinished export left is removed.
func newMedium(dir string, restart bool) (medium, error) {
	m := medium{dir}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return m, err
	}
	held, err := m.bundleFiles()
	if err != nil || len(held) == 0 {
		return m, err
	}
	_, err = os.Stat(m.path(CheckpointFile))
	switch unfinished := err == nil; {
	case !unfinished:
		return m, fmt.Errorf("%w: %s holds another bundle (%s is there)", ErrUsage, dir, held[0])
	case !restart:
		return m, fmt.Errorf("%w: %s holds an unfinished export", ErrUnfinished, dir)
	}
	return m, m.clear(held)
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

// free is the number of bytes that can still be written.
func (m medium) free() (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(m.dir, &s); err != nil {
		return 0, fmt.Errorf("ask %s for its free space: %w", m.dir, err)
	}
	return int64(s.Bavail) * s.Bsize, nil //nolint:unconvert // widths differ by platform
}

// storageError marks a full medium, in the three ways that systems say it.
func storageError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
