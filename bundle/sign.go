package bundle

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"airlift/verify"
)

// SignOptions say where signatures go. The zero value puts them on the media.
type SignOptions struct {
	Output   string // a directory for them, for media that cannot be written to; made if there is none
	Progress Progress
}

// Sign checks every byte of the media that were given, and then signs: what the
// bundle is, and that each medium is complete. Volumes that lie on other media are
// no concern. Nothing is written if anything is wrong. Signatures of others stay;
// running it again is safe.
func (b *Bundle) Sign(ctx context.Context, key *ecdsa.PrivateKey, o SignOptions) error {
	found, err := b.Check(ctx, CheckOptions{Progress: o.Progress})
	if err != nil {
		return err
	}
	if err := Verdict(slices.DeleteFunc(found, Finding.isElsewhere)); err != nil {
		return err
	}
	if o.Output != "" {
		if err := os.MkdirAll(o.Output, 0o777); err != nil {
			return err
		}
	}
	for _, dir := range b.dirs {
		if err := b.signMedium(key, dir, o.Output); err != nil {
			return err
		}
	}
	return nil
}

// signMedium signs the inventory, and then the sums of one medium.
func (b *Bundle) signMedium(key *ecdsa.PrivateKey, dir, output string) error {
	sums, err := readSmall(filepath.Join(dir, SumsFile), maxSumsSize)
	if err != nil {
		return err
	}
	for _, f := range []file{{InventoryFile, b.bytes}, {SumsFile, sums}} {
		signature, err := verify.Sign(key, f.contents)
		if err != nil {
			return err
		}
		name := signatureFile(f.name, keyID(key))
		if output == "" {
			err = medium{dir, disk{}}.renew(name, signature)
		} else {
			err = medium{output, disk{}}.add(name, signature)
		}
		if err != nil {
			return fmt.Errorf("sign %s: %w", filepath.Join(dir, f.name), err)
		}
	}
	return nil
}

// add writes a small file, if it is not there. Another one under its name stays.
func (m medium) add(name string, contents []byte) error {
	held, err := os.ReadFile(m.path(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return m.write(name, contents)
	case err == nil && string(held) != string(contents):
		return fmt.Errorf("%w: %s is there, and of something else: each medium needs a directory of its own", ErrUsage, m.path(name))
	}
	return err
}
