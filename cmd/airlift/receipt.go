package main

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
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
	if l.receipt, err = l.read(); err != nil {
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
func (l *ledger) read() (r *bundle.Receipt, err error) {
	if _, err := os.Stat(l.file()); l.dir == bundle.Printed || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	err = bundle.UpdateReceipt(l.dir, l.key, func(there *bundle.Receipt) (*bundle.Receipt, error) {
		r = there
		return nil, nil
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

// add writes the receipt of an import that was begun, with all earlier ones, those that
// others wrote meanwhile too.
func (l *ledger) add(c *cli.Context, b *bundle.Bundle, p bundle.Placement, results []bundle.ImageResult) error {
	if results == nil {
		return nil
	}
	r := b.Receipt(results, p)
	err := l.write(c, func(there *bundle.Receipt) (*bundle.Receipt, error) {
		err := errors.Join(r.Extend(l.named), r.Extend(there))
		if err != nil || len(r.Bundles) == 0 {
			return nil, err
		}
		return r, nil
	})
	if n := b.Unlisted(results, r); err == nil && l.dir != bundle.Printed && n > 0 {
		_, err = fmt.Fprintf(c.App.Writer, "it does not list %s of images that were there already: nobody asked for them, as --force does\n", count(n, "blob"))
	}
	return err
}

// correct takes out of the receipt what the registry was found not to have, so that
// the next export since the receipt brings it.
func (l *ledger) correct(c *cli.Context, err error) error {
	var lacks *bundle.BaseError
	if l.receipt == nil || !errors.As(err, &lacks) {
		return nil
	}
	gone := slices.Concat(lacks.Blobs, lacks.Damaged)
	return l.write(c, func(there *bundle.Receipt) (*bundle.Receipt, error) {
		r, err := together(there, l.named)
		if r == nil || !r.Forget(gone, l.receipt) {
			return nil, err
		}
		return r, err
	})
}

// write puts what change makes of the receipt that lies there in its place, and says so.
func (l *ledger) write(c *cli.Context, change func(there *bundle.Receipt) (*bundle.Receipt, error)) error {
	if l.dir == bundle.Printed {
		r, err := change(nil)
		if err == nil && r != nil {
			_, err = fmt.Fprintln(c.App.Writer, "no receipt is written; a later export can take this bundle's bundle.json for --since")
		}
		return err
	}
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
	_, err = fmt.Fprintf(c.App.Writer, "receipt for a later export: %s, %s\n", l.file(), signed)
	return err
}
