package bundle

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// medium is the directory that a bundle is written to: the only code that
// writes one. A file is created under its final name and made durable by fsync; so
// nothing depends on rename, which FAT does not keep. A
// sync that failed is not tried again: what was to be written is lost then, and
// the run ends.
type medium struct {
	dir string
	on  storage
}

func (m medium) path(name string) string { return filepath.Join(m.dir, name) }

// bundleFiles are the names in the directory that a bundle may have.
func (m medium) bundleFiles() ([]string, error) {
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if isBundleName(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func isBundleName(name string) bool {
	return name == ReadmeFile || name == InventoryFile || name == SumsFile || name == CheckpointFile || isVolumeName(name) ||
		isSignatureOf(InventoryFile, name) || isSignatureOf(SumsFile, name)
}

func isSignatureOf(file, name string) bool {
	return strings.HasPrefix(name, file+".") && strings.HasSuffix(name, signatureEnd)
}

// has says whether a file is there.
func (m medium) has(name string) bool {
	_, err := os.Stat(m.path(name))
	return err == nil
}

// create opens a new file for appending; its name is durable.
func (m medium) create(name string) (storedFile, error) {
	f, err := m.on.create(m.path(name))
	if err != nil {
		return nil, storageError(err)
	}
	if err := m.syncDir(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// reopen opens a file that was written before, cut to size, for appending.
func (m medium) reopen(name string, size int64) (storedFile, error) {
	f, err := m.on.reopen(m.path(name), size)
	return f, storageError(err)
}

// write writes a whole small file and makes it durable.
func (m medium) write(name string, contents []byte) error {
	f, err := m.on.create(m.path(name))
	if err != nil {
		return storageError(err)
	}
	if _, err := f.Write(contents); err != nil {
		return errors.Join(storageError(err), f.Close())
	}
	return m.finish(f)
}

// renew makes a small file's contents what they should be, if they are not, and
// durable: who wrote them may have been killed before they were.
func (m medium) renew(name string, contents []byte) error {
	held, err := os.ReadFile(m.path(name))
	if err == nil && string(held) == string(contents) {
		return m.settle(name)
	}
	if err == nil {
		err = m.on.remove(m.path(name))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return storageError(err)
	}
	return m.write(name, contents)
}

// trim cuts a file to size, and makes it durable.
func (m medium) trim(name string, size int64) error {
	f, err := m.reopen(name, size)
	if err != nil {
		return err
	}
	return m.finish(f)
}

// finish makes a file and its name durable and closes it.
func (m medium) finish(f storedFile) error {
	if err := f.Sync(); err != nil {
		return errors.Join(storageError(err), f.Close())
	}
	if err := f.Close(); err != nil {
		return storageError(err)
	}
	return m.syncDir()
}

// syncDir makes the names in the directory durable.
func (m medium) syncDir() error { return storageError(m.on.sync(m.dir)) }

// settle makes files durable that are there, with their names: who wrote them may
// have been killed before they were.
func (m medium) settle(names ...string) error {
	for _, name := range names {
		if err := m.on.sync(m.path(name)); err != nil {
			return storageError(err)
		}
	}
	return m.syncDir()
}

// settleAll makes all files of a bundle durable, and the absence of others.
func (m medium) settleAll() error {
	names, err := m.bundleFiles()
	if err != nil {
		return err
	}
	return m.settle(names...)
}

// remove removes files, those that are there, in their order.
func (m medium) remove(names ...string) error {
	for _, name := range names {
		if err := m.on.remove(m.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return storageError(err)
		}
	}
	return m.syncDir()
}

// size is the number of bytes of files, those that are there.
func (m medium) size(names []string) int64 {
	total := int64(0)
	for _, name := range names {
		if info, err := os.Stat(m.path(name)); err == nil {
			total += info.Size()
		}
	}
	return total
}
