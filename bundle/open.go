package bundle

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Bundle is an opened bundle: its inventory, where each byte belongs, and the
// volumes that were given.
type Bundle struct {
	Inventory *Inventory
	Layout    *Layout
	Signers   []string // ids of trusted keys whose signature over the inventory fits
	Unchecked []string // ids of other keys that signed, which were not looked at

	trust   Trust
	bytes   []byte // bundle.json
	dirs    []string
	volumes []volumeFile      // sorted by volume
	seals   map[string][]byte // SHA256SUMS of the directories, as first read
}

// volumeFile is one volume where it was found. The first volume may be found
// several times.
type volumeFile struct {
	index int
	path  string
	size  int64 // as found
}

// Open is the only door to a bundle. dirs are the directories of one or more
// media of the same bundle. Nothing of bundle.json is parsed before a trusted
// key's signature over it fits; a trusted key's signature that does not fit is
// an error even if another's does (ErrUntrusted). That the bundle is complete
// is not said: Quick and Check do.
func Open(dirs []string, trust Trust) (*Bundle, error) {
	if len(dirs) == 0 {
		return nil, fmt.Errorf("%w: no directory was named", ErrUsage)
	}
	b := &Bundle{dirs: dirs, trust: trust}
	if err := b.readInventory(); err != nil {
		return nil, err
	}
	var err error
	if b.Signers, b.Unchecked, err = b.trust.signatures(b.dirs, InventoryFile, b.bytes); err != nil {
		return nil, err
	}
	if b.Inventory, err = ParseInventory(b.bytes); err != nil {
		return nil, fmt.Errorf("%s: %w", dirs[0], err)
	}
	if b.Layout, err = b.Inventory.layout(); err != nil {
		return nil, err
	}
	return b, b.findVolumes()
}

// readInventory reads bundle.json, which must be the same in every directory.
func (b *Bundle) readInventory() error {
	for i, dir := range b.dirs {
		if info, err := os.Stat(dir); err != nil {
			return err
		} else if !info.IsDir() {
			return fmt.Errorf("%w: %s is a file: name the directory that it lies in", ErrUsage, dir)
		}
		data, err := readSmall(filepath.Join(dir, InventoryFile), MaxInventorySize)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("%s holds no bundle: no %s in it", dir, InventoryFile)
		case err != nil:
			return err
		case i > 0 && string(data) != string(b.bytes):
			return fmt.Errorf("%w: %s and %s hold different bundles, or one %s is damaged", ErrDamaged, b.dirs[0], dir, InventoryFile)
		}
		b.bytes = data
	}
	return nil
}

// findVolumes looks for volumes by their names. What does not begin with
// bundle.tar is not the bundle's, and left alone.
func (b *Bundle) findVolumes() error {
	for _, dir := range b.dirs {
		for i, v := range b.Inventory.Storage.Volumes {
			path := filepath.Join(dir, v.Name)
			info, err := os.Stat(path)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				continue
			case err != nil:
				return err
			case !info.Mode().IsRegular():
				return fmt.Errorf("%w: %s is not a file", ErrDamaged, path)
			}
			b.volumes = append(b.volumes, volumeFile{i, path, info.Size()})
		}
	}
	slices.SortStableFunc(b.volumes, func(a, c volumeFile) int { return a.index - c.index })
	return nil
}

// Absent are the names of the volumes that were not given.
func (b *Bundle) Absent() []string {
	var names []string
	for i, v := range b.Inventory.Storage.Volumes {
		if !slices.ContainsFunc(b.volumes, func(f volumeFile) bool { return f.index == i }) {
			names = append(names, v.Name)
		}
	}
	return names
}

// readSmall reads a file of at most limit bytes.
func readSmall(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // opening a pipe would wait for ever
		return nil, fmt.Errorf("%w: %s is not a file", ErrDamaged, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%w: %s has more than %d bytes", ErrDamaged, path, limit)
	}
	return data, err
}
