package bundle

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// take does all that needs no connection.
func (im *Importer) take(b *Bundle) error {
	if b.trust.Unverified {
		return fmt.Errorf("%w: the bundle was opened unverified", ErrUntrusted)
	}
	if im.bundle != nil {
		if err := im.bundle.same(b); err != nil {
			return err
		}
	}
	if err := b.importable(im.options); err != nil {
		return err
	}
	if im.bundle == nil {
		if err := im.plan(b); err != nil {
			return err
		}
	}
	return im.open(b)
}

// same is an error unless another medium is of the same bundle, byte for byte in
// its inventory.
func (b *Bundle) same(other *Bundle) error {
	if string(b.bytes) != string(other.bytes) {
		return fmt.Errorf("%s holds another bundle than the medium before", strings.Join(other.dirs, ", "))
	}
	return nil
}

// importable refuses what a quick look shows.
func (b *Bundle) importable(o ImportOptions) error {
	findings, err := b.Quick()
	if err != nil {
		return err
	}
	if err := Verdict(slices.DeleteFunc(findings, Finding.isElsewhere)); err != nil {
		return err
	}
	return b.allowed(o)
}

// allowed refuses content that is missing without leave.
func (b *Bundle) allowed(o ImportOptions) error {
	if missing := b.Inventory.Content.Missing; len(missing) > 0 && !o.SkipMissing {
		return MissingErrors(missing)
	}
	return nil
}

// open opens the volumes of a medium and reads the nodes, if they are not known.
func (im *Importer) open(b *Bundle) error {
	for _, volumes := range b.copies() {
		v, err := openVolumes(b.Layout, volumes)
		if err != nil {
			return errors.Join(err, im.release())
		}
		im.volumes = append(im.volumes, v)
	}
	im.whole = len(b.Absent()) == 0
	if im.raw != nil {
		return nil
	}
	if err := im.readNodes(); err != nil {
		return errors.Join(err, im.release())
	}
	return nil
}

// release closes all files, so that the medium can be taken out.
func (im *Importer) release() error {
	var errs []error
	for _, v := range im.volumes {
		errs = append(errs, v.close())
	}
	im.volumes = nil
	return errors.Join(errs...)
}

// holding are the sets of volumes that have all of an entry. There are several
// where the medium has copies: the first volume is on each.
func (im *Importer) holding(e Entry) []*volumeSet {
	if e.isLeftOut() {
		return nil
	}
	var found []*volumeSet
	for _, v := range im.volumes {
		if v.all(e.data(), e.Size) {
			found = append(found, v)
		}
	}
	return found
}

// fromCopies reads an entry from the first copy whose bytes are right.
func (im *Importer) fromCopies(e Entry, read func(*volumeSet) error) error {
	var damaged []error
	for _, v := range im.holding(e) {
		err := read(v)
		var contents *contentsError
		if err != nil && !errors.As(err, &contents) {
			return err
		}
		if err == nil {
			for _, was := range damaged {
				im.options.Progress.note(was.Error() + "; another copy of it is good")
			}
			return nil
		}
		damaged = append(damaged, im.damaged(v, e, contents))
	}
	return errors.Join(damaged...)
}

// readNodes reads all manifests and indexes out of the first volume. Without
// it nothing can be imported.
func (im *Importer) readNodes() error {
	read := make(map[digest.Digest][]byte, len(im.nodes))
	said := newNodeCheck(&im.bundle.Inventory.Content)
	for d, n := range im.nodes {
		e, _ := im.bundle.Layout.Find(d)
		if len(im.holding(e)) == 0 {
			return fmt.Errorf("%w: the first volume, %s, is needed for any import", ErrAbsent, im.bundle.Inventory.Storage.Volumes[0].Name)
		}
		err := im.fromCopies(e, func(v *volumeSet) (err error) {
			read[d], err = readNode(v, e, n, said)
			return err
		})
		if err != nil {
			return err
		}
	}
	im.raw = read
	return nil
}

func readNode(v *volumeSet, e Entry, n Node, said nodeCheck) ([]byte, error) {
	raw := make([]byte, n.Size)
	err := v.read(raw, e.data())
	if err == nil && digest.FromBytes(raw) != n.Digest {
		err = errOtherDigest
	}
	if err == nil {
		err = said.check(n, raw)
	}
	if err != nil {
		err = &contentsError{err}
	}
	return raw, err
}

// damaged says where on the medium an entry is that cannot be what it should.
func (im *Importer) damaged(v *volumeSet, e Entry, err error) error {
	at := im.bundle.Layout.spans(e.data(), max(e.Size, 1))[0]
	name := im.bundle.Inventory.Storage.Volumes[at.volume].Name
	if f := v.files[at.volume]; f != nil {
		name = f.Name()
	}
	return Finding{File: name, Element: "blob", Offset: at.offset, Length: min(at.length, e.Size), Digest: e.Digest, Problem: err.Error(), kind: ErrDamaged}
}
