package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// MaxFATFile is the largest file on FAT, in bytes.
const MaxFATFile = 4294967295

// MaxFileSize is the largest file, in bytes, that the file system of a directory
// takes; 0 if it is not known to have such a limit.
func MaxFileSize(dir string) (int64, error) {
	s, err := statfs(dir)
	if err != nil {
		return 0, err
	}
	return maxFileSize(s), nil
}

// freeBytes is the number of bytes that can be written in a directory.
func freeBytes(dir string) (int64, error) {
	s, err := statfs(dir)
	return int64(s.Bavail) * int64(s.Bsize), err //nolint:unconvert // widths differ by platform
}

// statfs asks for the file system that a directory is on, or will be: that of
// its nearest parent that exists.
func statfs(dir string) (s unix.Statfs_t, err error) {
	at, err := filepath.Abs(dir)
	if err != nil {
		return s, err
	}
	err = unix.Statfs(at, &s)
	for errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at) {
		at = filepath.Dir(at)
		err = unix.Statfs(at, &s)
	}
	if err != nil {
		err = fmt.Errorf("ask %s for its file system: %w", dir, err)
	}
	return s, err
}
