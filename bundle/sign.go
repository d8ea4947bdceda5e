package bundle

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"airlift/verify"
)

// SignOptions say where signatures go. The zero value puts them on the media.
type SignOptions struct {
	Output   string // a directory for them, for media that cannot be written to; made if there is none
	Progress Progress

	on storage // nil = the disk
}

// Signed is a bundle that a key has vouched for.
type Signed struct {
	*Bundle           // as it was opened, before
	ID       string   // of the key
	Written  []string // signature files; none if all were there
	Replaced []string // those among them that were there, and did not fit
}

// Vouching are the ids of the trusted keys that have signed, and that of the key
// that has now. Signers are those of before.
func (s *Signed) Vouching() []string {
	ids := append(slices.Clone(s.Signers), s.ID)
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Sign opens a bundle with the trust given, checks every byte of the media given,
// whole volumes against their sums too, and then signs: what the bundle is, and
// that each medium is complete. Volumes that lie on other media are no concern, but
// each medium must have those that its own SHA256SUMS names; media with the same
// SHA256SUMS count as one.
//
// Nothing is written if anything is wrong. No file is changed but for signatures
// of the key itself that do not fit, as an interrupted run leaves them: running it
// again is safe. In SignOptions.Output another's files are not replaced (ErrUsage).
func Sign(ctx context.Context, dirs []string, key *ecdsa.PrivateKey, trust Trust, o SignOptions) (_ *Signed, err error) {
	trust.signer = keyID(key)
	b, err := Open(dirs, trust)
	if err != nil {
		return nil, err
	}
	if o.on == nil {
		o.on = disk{}
	}
	s := &signing{bundle: b, key: key, options: o, outputs: map[string]*Output{}}
	if err := s.plan(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.open(); err != nil {
		return nil, err
	}
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	return s.write()
}

// signing is one run of Sign.
type signing struct {
	bundle  *Bundle
	key     *ecdsa.PrivateKey
	options SignOptions
	due     []due
	outputs map[string]*Output // directories to write into, locked
}

// due is a signature that must be there in the end.
type due struct {
	file
	dir      string
	of       string // path of the file that it is over
	there    bool   // it is
	replaces bool   // something else is there
}

func (d due) path() string { return filepath.Join(d.dir, d.name) }

// plan finds out which signatures there must be: on each medium that of the
// inventory before that of the sums. What would be in the way is known now rather
// than after hours of reading.
func (s *signing) plan() error {
	var last []byte
	for _, dir := range s.bundle.dirs {
		sums, err := s.bundle.sums(dir)
		if err != nil {
			return noSums(filepath.Join(dir, SumsFile), err)
		}
		if m := (medium{dir: dir}); m.has(CheckpointFile) {
			return Finding{File: m.path(CheckpointFile), Element: "file", kind: ErrUnsealed, Problem: "there: the export onto this medium was not finished"}
		}
		if s.options.Output != "" && last != nil && !bytes.Equal(sums, last) {
			return fmt.Errorf("%w: %s differs on these media: signatures that do not go onto them need a directory for each, and a run", ErrUsage, SumsFile)
		}
		last = sums
		for _, f := range []file{{InventoryFile, s.bundle.bytes}, {SumsFile, sums}} {
			if err := s.add(dir, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// add makes the signature over a file due.
func (s *signing) add(dir string, f file) error {
	signature, err := verify.Sign(s.key, f.contents)
	if err != nil {
		return err
	}
	d := due{dir: filepath.Clean(cmp.Or(s.options.Output, dir)), of: filepath.Join(dir, f.name)}
	d.file = file{signatureFile(f.name, keyID(s.key)), signature}
	if slices.ContainsFunc(s.due, func(other due) bool { return other.path() == d.path() }) {
		return nil
	}
	held, err := readSmall(d.path(), verify.MaxSignatureSize)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case verify.PublicKeyOf(s.key).Check(f.contents, held) == nil:
		d.there, d.contents = true, held // made by another program it is another one
	case s.options.Output != "" && !begunAs(held, signature):
		return fmt.Errorf("%w: %s is there, and is over something else: each medium needs a directory of its own", ErrUsage, d.path())
	default:
		d.replaces = true
	}
	s.due = append(s.due, d)
	return nil
}

// begunAs says whether a file is what a crash leaves of one: cut short, or of zeros.
func begunAs(held, whole []byte) bool { return bytes.HasPrefix(whole, held) || isZero(held) }

// open locks the directories that are written to.
func (s *signing) open() error {
	for _, d := range s.due {
		if d.there || s.outputs[d.dir] != nil {
			continue
		}
		if err := Writable(d.dir); err != nil {
			return err
		}
		out, err := openOutput(d.dir, s.options.on)
		if err != nil {
			return err
		}
		s.outputs[d.dir] = out
	}
	return nil
}

func (s *signing) close() error {
	var errs []error
	for _, out := range s.outputs {
		errs = append(errs, out.Close())
	}
	return errors.Join(errs...)
}

// check reads every byte. The sums are signed too, so they must be true of whole
// volumes.
func (s *signing) check(ctx context.Context) error {
	found, err := s.bundle.Check(ctx, CheckOptions{Sums: true, Progress: s.options.Progress})
	if err != nil {
		return err
	}
	found = slices.DeleteFunc(found, Finding.isElsewhere)
	return Verdict(append(found, s.absent()...))
}

// absent are the volumes that media should have, by their own sums, and have not.
func (s *signing) absent() []Finding {
	type volume struct{ sums, name string }
	there := map[volume]bool{}
	for _, dir := range s.bundle.dirs {
		for _, v := range s.bundle.volumes {
			if filepath.Dir(v.path) == filepath.Clean(dir) {
				there[volume{string(s.bundle.seals[dir]), filepath.Base(v.path)}] = true
			}
		}
	}
	var found []Finding
	for _, dir := range s.bundle.dirs {
		sums := s.bundle.seals[dir]
		for _, name := range sumNames(s.bundle.Inventory, sums)[2:] {
			if !there[volume{string(sums), name}] {
				found = append(found, Finding{File: filepath.Join(dir, name), Element: "volume", kind: ErrAbsent,
					Problem: "not there, and " + SumsFile + " of this medium names it"})
			}
		}
	}
	return found
}

// write brings about what is due.
func (s *signing) write() (*Signed, error) {
	signed := &Signed{Bundle: s.bundle, ID: keyID(s.key)}
	for _, d := range s.due {
		if err := s.put(d); err != nil {
			return nil, fmt.Errorf("sign %s: %w", d.of, err)
		}
		if !d.there {
			signed.Written = append(signed.Written, d.path())
		}
		if d.replaces {
			signed.Replaced = append(signed.Replaced, d.path())
		}
	}
	return signed, nil
}

// put writes a signature that is not there, and makes one durable that is: the run
// that wrote it may have been killed before it did.
func (s *signing) put(d due) error {
	m := medium{d.dir, s.options.on}
	if d.there {
		return m.settle(d.name)
	}
	err := m.renew(d.name, d.contents)
	if err != nil {
		_ = m.on.remove(d.path()) // the next run would take it for whole
	}
	return err
}
