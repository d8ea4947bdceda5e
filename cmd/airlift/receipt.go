package main

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"airlift/bundle"
	"airlift/verify"
)

func receiptFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "receipt-key", Usage: "sign receipt.json, by which a later export leaves out what is here (--since), with the key in `NAME.key`"},
		&cli.StringSliceFlag{Name: "last", Usage: "go on from the receipt.json `FILE` of earlier imports, beside the one under --manifests (may be repeated); of what these wrote for the cluster it knows nothing"},
		&cli.BoolFlag{Name: "allow-older", Usage: "import a bundle that is older than one of its series that was imported"},
		&cli.BoolFlag{Name: "prove", Usage: "read and hash what an increment leaves out, rather than only ask whether the registry has it"},
	}
}

// ledger is what earlier imports recorded, and where this one does.
type ledger struct {
	dir      string // --manifests
	registry string
	key      *ecdsa.PrivateKey // signs the receipt; nil = nobody does
	named    *bundle.Receipt   // what --last names; nil if it names nothing
	receipt  *bundle.Receipt   // that, and what lay under dir when we began; nil if there is none
	said     []string          // what was written, for people
}

// openLedger reads what earlier imports recorded, and adds it to the options.
func openLedger(c *cli.Context, o *bundle.ImportOptions) (*ledger, error) {
	l := &ledger{dir: c.String("manifests"), registry: o.Placement.To.String()}
	var err error
	if c.IsSet("receipt-key") && l.dir == bundle.Printed {
		return nil, usagef("--receipt-key with --manifests -: no receipt is written there")
	}
	if name := c.String("receipt-key"); name != "" && !c.Bool("dry-run") {
		if l.key, err = openKey(c.Context, name); err != nil {
			return nil, err
		}
	}
	if l.receipt, err = l.read(c.Context); err != nil {
		return nil, err
	}
	for _, file := range c.StringSlice("last") {
		if err := l.name(file); err != nil {
			return nil, fmt.Errorf("--last: %w", err)
		}
	}
	if l.receipt, err = together(l.receipt, l.named); err != nil {
		return nil, err
	}
	if o.Held, err = l.held(); err != nil {
		return nil, err
	}
	l.warnUnsigned(c.StringSlice("last"))
	o.Receipt, o.Prove = l.receipt, c.Bool("prove")
	return l, nil
}

// warnUnsigned says which receipts our key has not signed: what they list will be signed
// with what this import adds.
func (l *ledger) warnUnsigned(last []string) {
	if l.key == nil {
		return
	}
	files := last
	if _, err := os.Stat(l.file()); err == nil {
		files = append([]string{l.file()}, files...)
	}
	key := verify.PublicKeyOf(l.key)
	for _, file := range files {
		if !bundle.HasSignature(file, key) {
			say(os.Stderr, "warning: %s is not signed by %s, and what it lists will be, with what this import adds", file, key.ID())
			say(os.Stderr, "hint: if an import without --receipt-key wrote it, that is as it should be; else take it away: a new one lists what is imported from now on")
		}
	}
}

// held is what the report that lies there says to be in the registry.
func (l *ledger) held() ([]bundle.Held, error) {
	if l.dir == bundle.Printed {
		return nil, nil
	}
	report, err := bundle.ReadReport(filepath.Join(l.dir, bundle.ReportFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return report.Held, nil
}

func (l *ledger) file() string { return filepath.Join(l.dir, bundle.ReceiptFile) }

// read gives the receipt that lies there, nil if none does.
func (l *ledger) read(ctx context.Context) (r *bundle.Receipt, err error) {
	if _, err := os.Stat(l.file()); l.dir == bundle.Printed || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	err = bundle.Alone(ctx, l.dir, func() error {
		return bundle.UpdateReceipt(l.dir, l.key, func(there *bundle.Receipt) (*bundle.Receipt, error) {
			r = there
			return nil, nil
		})
	})
	switch {
	case err != nil:
		return nil, receiptHint(err)
	case r.Of(l.registry) != nil:
		return nil, manifestsHint(fmt.Errorf("%w: %s is of %s, not of %s", bundle.ErrOccupied, l.file(), r.Registry, l.registry))
	}
	return r, nil
}

func receiptHint(err error) error {
	if errors.Is(err, bundle.ErrLocked) || errors.Is(err, bundle.ErrUsage) {
		return err
	}
	return withHint(err, "put a copy of it in its place; or take it away, with its signatures: a new one lists what is imported from now on")
}

// name adds a receipt that was named.
func (l *ledger) name(file string) error {
	var keys []verify.PublicKey
	if l.key != nil {
		keys = append(keys, verify.PublicKeyOf(l.key))
	}
	named, err := bundle.ReadReceipt(file, keys...)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return err
	case err != nil:
		return receiptHint(err)
	}
	if err := named.Of(l.registry); err != nil {
		return withHint(err, "name a receipt of imports into the registry of --to")
	}
	l.named, err = together(named, l.named)
	return err
}

// together is what two receipts list; either may be nil.
func together(a, b *bundle.Receipt) (*bundle.Receipt, error) {
	if a == nil {
		return b, nil
	}
	return a, a.Extend(b)
}

// order refuses a bundle that is older than what was imported of its series.
func (l *ledger) order(c *cli.Context, inv *bundle.Inventory) error {
	newest, newer := l.receipt.Newer(inv)
	if !newer || c.Bool("allow-older") {
		return nil
	}
	series := ""
	if newest.Series != "" {
		series = " of the series " + newest.Series
	}
	return withHint(fmt.Errorf("this bundle%s is of %s, and %s has one of %s already: %s",
		series, bundle.Date(inv.About.Sequence), l.registry, bundle.Date(newest.Sequence), newest.Content),
		"nothing was pushed; --allow-older imports it all the same: tags go back to what it has; bundles that are not to wait for each other are exported with --series NAME")
}

// close writes what an import leaves, alone in the directory: of one that was begun the
// receipt, and what else is to be written there; of another what it found the registry
// not to have.
func (l *ledger) close(c *cli.Context, done outcome, write func() error) error {
	if done.results != nil {
		return lateHint(bundle.Alone(c.Context, l.dir, func() error {
			var written error
			if write != nil {
				written = write()
			}
			return errors.Join(written, l.add(done))
		}))
	}
	var lacks *bundle.BaseError
	if l.receipt == nil || l.dir == bundle.Printed || !errors.As(done.err, &lacks) {
		return nil
	}
	err := bundle.Alone(c.Context, l.dir, func() error { return l.correct(lacks) })
	return errors.Join(err, l.tell(c.App.Writer))
}

// tell says what was written.
func (l *ledger) tell(w io.Writer) error {
	for _, line := range l.said {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// add writes the receipt of an import that was begun, with all earlier ones, those that
// others wrote meanwhile too.
func (l *ledger) add(done outcome) error {
	r := done.bundle.Receipt(done.results, done.placement)
	if l.dir == bundle.Printed {
		if len(r.Bundles) > 0 {
			l.said = append(l.said, "no receipt is written; a later export can take this bundle's bundle.json for --since")
		}
		return nil
	}
	err := l.write(func(there *bundle.Receipt) (*bundle.Receipt, error) {
		err := errors.Join(r.Extend(l.named), r.Extend(there))
		if err != nil || len(r.Bundles) == 0 {
			return nil, err
		}
		return r, nil
	})
	if n := done.bundle.Unlisted(done.results, r); err == nil && n > 0 {
		l.said = append(l.said, fmt.Sprintf("it does not list %s of images that were there already: nobody asked for them, as --force does", count(n, "blob")))
	}
	return err
}

// correct takes out of the receipt what the registry was found not to have, so that
// the next export since the receipt brings it.
func (l *ledger) correct(lacks *bundle.BaseError) error {
	gone := slices.Concat(lacks.Blobs, lacks.Damaged)
	return l.write(func(there *bundle.Receipt) (*bundle.Receipt, error) {
		r, err := together(there, l.named)
		if r == nil || !r.Forget(gone, l.receipt) {
			return nil, err
		}
		return r, err
	})
}

// write puts what change makes of the receipt that lies there in its place.
func (l *ledger) write(change func(there *bundle.Receipt) (*bundle.Receipt, error)) error {
	written := false
	err := bundle.UpdateReceipt(l.dir, l.key, func(there *bundle.Receipt) (*bundle.Receipt, error) {
		r, err := change(there)
		written = r != nil
		return r, err
	})
	if err != nil || !written {
		return err
	}
	signed := "not signed: --receipt-key NAME.key signs it"
	if l.key != nil {
		signed = "signed by " + verify.PublicKeyOf(l.key).ID()
	}
	l.said = append(l.said, fmt.Sprintf("receipt for a later export: %s, %s", l.file(), signed))
	return nil
}
