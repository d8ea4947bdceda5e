package bundle

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// storage is what a medium is written through: each method is one operation
// that can fail. It is a seam: tests make any of them fail, or record them.
type storage interface {
	create(path string) (storedFile, error)             // a new file, to append to; it must not exist
	reopen(path string, size int64) (storedFile, error) // one that exists, cut to size, to append to or to write into
	remove(path string) error
	sync(path string) error // makes a file durable, or the names in a directory
	mkdir(path string) error
}

// storedFile is a file that is written.
type storedFile interface {
	io.Writer
	io.WriterAt
	Sync() error
	Close() error
}

// disk is the storage of this machine's file systems.
type disk struct{}

func (disk) create(path string) (storedFile, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return nil, err
	}
	return &steadyFile{file: f}, nil
}

func (disk) reopen(path string, size int64) (storedFile, error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(size); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := f.Seek(size, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &steadyFile{f, size, size}, nil
}

// writebackSize is how many bytes are appended to a file until the system is told to
// write them to the medium.
const writebackSize = 4 << 20

// steadyFile is a file whose bytes are on their way to the medium soon after they were
// appended. The system would let them gather, for each sync to wait for.
type steadyFile struct {
	file   *os.File
	end    int64 // of what was appended
	behind int64 // where that begins which the system was not told of
}

func (f *steadyFile) WriteAt(p []byte, offset int64) (int, error) { return f.file.WriteAt(p, offset) }
func (f *steadyFile) Sync() error                                 { return f.file.Sync() }
func (f *steadyFile) Close() error                                { return f.file.Close() }

func (f *steadyFile) Write(p []byte) (int, error) {
	n, err := f.file.Write(p)
	f.end += int64(n)
	if size := f.end - f.behind; size >= writebackSize {
		startWriteback(f.file, f.behind, size)
		f.behind = f.end
	}
	return n, err
}

func (disk) remove(path string) error { return os.Remove(path) }

func (disk) mkdir(path string) error { return os.Mkdir(path, 0o777) }

// sync: some file systems refuse to sync a directory, they write it with the file;
// and what is read-only is durable.
func (disk) sync(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	err = f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.EROFS) {
		return nil
	}
	return err
}

// storageError marks a full medium, in the three ways that systems say it.
func storageError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
