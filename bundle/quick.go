package bundle

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"airlift/verify"
)

// Quick looks at everything but the volumes' contents: names, sizes, the seal
// of each medium, the first header of each volume. It reads a few KB.
func (b *Bundle) Quick() ([]Finding, error) {
	var found []Finding
	for _, dir := range b.dirs {
		strays, err := b.strays(dir)
		if err != nil {
			return nil, err
		}
		found = append(found, strays...)
		found = append(found, b.seal(dir)...)
	}
	for _, v := range b.volumes {
		found = append(found, b.volumeSize(v)...)
		found = append(found, b.firstHeader(v)...)
	}
	for _, name := range b.Absent() {
		found = append(found, notGiven(name))
	}
	return found, nil
}

func notGiven(volume string) Finding {
	return Finding{File: volume, Element: "volume", kind: ErrAbsent, Problem: "this volume was not given"}
}

// strays are files with a volume's name that the bundle does not have.
func (b *Bundle) strays(dir string) ([]Finding, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	expected := map[string]bool{}
	for _, v := range b.Inventory.Storage.Volumes {
		expected[v.Name] = true
	}
	var found []Finding
	for _, e := range entries {
		if isVolumeName(e.Name()) && !expected[e.Name()] {
			found = append(found, Finding{File: filepath.Join(dir, e.Name()), Element: "volume", kind: ErrDamaged,
				Problem: "this bundle has no such volume: it is another's, or was renamed"})
		}
	}
	return found, nil
}

func (b *Bundle) volumeSize(v volumeFile) []Finding {
	want := b.Inventory.Storage.Volumes[v.index].Size
	if v.size == want {
		return nil
	}
	f := Finding{File: v.path, Element: "volume", kind: ErrDamaged, Offset: min(v.size, want)}
	if v.size < want {
		f.Problem = fmt.Sprintf("cut short: %d bytes where %d belong", v.size, want)
		f.Images = b.behind(v.index, v.size)
	} else {
		f.Problem = fmt.Sprintf("too long: %d bytes where %d belong", v.size, want)
	}
	return []Finding{f}
}

// behind are the references of the images that need something of a volume from
// an offset on.
func (b *Bundle) behind(volume int, offset int64) []string {
	users := b.Inventory.Content.users()
	start, end := b.Layout.volume(volume)
	need := map[string]bool{}
	for _, e := range b.Layout.Entries {
		if e.end() > start+offset && e.Offset < end {
			for _, image := range users[e.Digest] {
				need[image] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(need))
}

// firstHeader tells another bundle's volume of the same size from this one's.
// A volume that begins inside a blob has no header to tell by.
func (b *Bundle) firstHeader(v volumeFile) []Finding {
	start, _ := b.Layout.volume(v.index)
	e, there := b.Layout.entryAt(start)
	if !there || v.size < block {
		return nil
	}
	f := Finding{File: v.path, Element: "header", Length: block, Digest: e.Digest, kind: ErrDamaged, Problem: "begins with another file than it should"}
	got := make([]byte, block)
	if err := readAt(v.path, got, 0); err != nil {
		f.Problem = "cannot be read: " + err.Error()
		return []Finding{f}
	}
	if want := e.header(); !bytes.Equal(got, want[:]) {
		return []Finding{f}
	}
	return nil
}

func readAt(path string, p []byte, offset int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.ReadAt(p, offset)
	return err
}

// seal holds a medium against its SHA256SUMS: that they are there, signed, well
// formed, and true of the small files. Volumes that they name may lie on other
// media: one set of sums for all media is as good as one for each.
func (b *Bundle) seal(dir string) []Finding {
	path := filepath.Join(dir, SumsFile)
	contents, err := b.sums(dir)
	if err != nil {
		return []Finding{noSums(path, err)}
	}
	if _, _, err := b.trust.signatures([]string{dir}, SumsFile, contents); err != nil {
		return []Finding{{File: path, Element: "signature", kind: ErrUntrusted, Problem: err.Error()}}
	}
	sums, err := verify.ParseSums(contents, sumNames(b.Inventory, contents))
	if err != nil {
		return []Finding{{File: path, Element: "sum", kind: ErrDamaged, Problem: err.Error()}}
	}
	return b.sealed(dir, sums)
}

// sums reads a medium's SHA256SUMS, once: what is checked and what is signed are
// the same bytes, even from a medium that gives others when it is read again.
func (b *Bundle) sums(dir string) ([]byte, error) {
	if contents, read := b.seals[dir]; read {
		return contents, nil
	}
	contents, err := readSmall(filepath.Join(dir, SumsFile), maxSumsSize)
	if err != nil {
		return nil, err
	}
	if b.seals == nil {
		b.seals = map[string][]byte{}
	}
	b.seals[dir] = contents
	return contents, nil
}

// noSums is what is wrong with a medium whose SHA256SUMS cannot be read.
func noSums(path string, err error) Finding {
	if errors.Is(err, fs.ErrNotExist) {
		return Finding{File: path, Element: "file", kind: ErrUnsealed, Problem: "not there: the export onto this medium was not finished"}
	}
	return Finding{File: path, Element: "file", kind: ErrDamaged, Problem: err.Error()}
}

// sumNames are the names that a medium's SHA256SUMS lists: the small files, and
// those of the volumes that it speaks of.
func sumNames(inv *Inventory, contents []byte) []string {
	names := []string{ReadmeFile, InventoryFile}
	for _, v := range inv.Storage.Volumes {
		if bytes.Contains(contents, []byte("  "+v.Name+"\n")) {
			names = append(names, v.Name)
		}
	}
	return names
}

// sealed checks the sums of the small files; volumes are held against the layout.
func (b *Bundle) sealed(dir string, sums []verify.Sum) []Finding {
	var found []Finding
	for _, s := range sums {
		path := filepath.Join(dir, s.Name)
		if s.Name != ReadmeFile && s.Name != InventoryFile {
			continue // volumes are held against the layout
		}
		data, err := readSmall(path, MaxInventorySize)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			found = append(found, Finding{File: path, Element: "file", kind: ErrDamaged, Problem: "not there"})
		case err != nil:
			found = append(found, Finding{File: path, Element: "file", kind: ErrDamaged, Problem: err.Error()})
		case sha256.Sum256(data) != s.SHA256:
			found = append(found, Finding{File: path, Element: "file", kind: ErrDamaged, Problem: "not the bytes of its line in " + SumsFile})
		}
	}
	return found
}
