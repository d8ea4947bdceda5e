package main

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"airlift/bundle"
	"airlift/verify"
)

func receiptFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "receipt-key", Usage: "sign receipt.json, by which a later export leaves out what is here (--since), with the key in `NAME.key`"},
		&cli.StringFlag{Name: "last", Usage: "go on from the receipt.json `FILE` of earlier imports, beside the one under --manifests"},
		&cli.BoolFlag{Name: "allow-older", Usage: "import a bundle that is older than one of its series that was imported"},
		&cli.BoolFlag{Name: "prove", Usage: "read and hash what an increment leaves out, rather than only ask whether the registry has it"},
	}
}

// ledger is what earlier imports recorded, and where this one does.
type ledger struct {
	dir      string // --manifests
	registry string
	key      *ecdsa.PrivateKey // signs the receipt; nil = nobody does
	receipt  *bundle.Receipt   // of the earlier imports; nil if there is none
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
	if file := c.String("last"); file != "" {
		if err := l.extend(file); err != nil {
			return nil, fmt.Errorf("--last: %w", err)
		}
	}
	if o.Held, err = l.held(); err != nil {
		return nil, err
	}
	o.Receipt, o.Prove = l.receipt, c.Bool("prove")
	return l, nil
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
func (l *ledger) read() (*bundle.Receipt, error) {
	if l.dir == bundle.Printed {
		return nil, nil
	}
	r, err := l.readFile(l.file())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && r.Of(l.registry) != nil {
		err = manifestsHint(fmt.Errorf("%w: %s is of %s, not of %s", bundle.ErrOccupied, l.file(), r.Registry, l.registry))
	}
	return r, err
}

func (l *ledger) readFile(file string) (*bundle.Receipt, error) {
	var keys []verify.PublicKey
	if l.key != nil {
		keys = append(keys, verify.PublicKeyOf(l.key))
	}
	r, err := bundle.ReadReceipt(file, keys...)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		err = withHint(err, "put a copy of it in its place; or take it away, with its signatures: a new one lists what is imported from now on")
	}
	return r, err
}

// extend adds a receipt that was named.
func (l *ledger) extend(file string) error {
	named, err := l.readFile(file)
	if err == nil {
		if err = named.Of(l.registry); err != nil {
			err = withHint(err, "name a receipt of imports into the registry of --to")
		}
	}
	if err == nil {
		err = named.Extend(l.receipt)
	}
	if err == nil {
		l.receipt = named
	}
	return err
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

// add writes the receipt of an import that was begun, with all earlier ones.
func (l *ledger) add(c *cli.Context, b *bundle.Bundle, p bundle.Placement, results []bundle.ImageResult) error {
	if results == nil {
		return nil
	}
	r, err := b.Receipt(results, p)
	if err != nil {
		return err
	}
	there, err := l.read() // another import may have written it meanwhile
	if err := errors.Join(err, r.Extend(l.receipt), r.Extend(there)); err != nil {
		return err
	}
	if len(r.Bundles) == 0 {
		return nil
	}
	return l.write(c, r)
}

func (l *ledger) write(c *cli.Context, r *bundle.Receipt) error {
	if l.dir == bundle.Printed {
		_, err := fmt.Fprintln(c.App.Writer, "no receipt is written; a later export can take this bundle's bundle.json for --since")
		return err
	}
	if err := r.Write(l.dir, l.key); err != nil {
		return err
	}
	signed := "not signed: --receipt-key NAME.key signs it"
	if l.key != nil {
		signed = "signed by " + verify.PublicKeyOf(l.key).ID()
	}
	_, err := fmt.Fprintf(c.App.Writer, "receipt for a later export: %s, %s\n", l.file(), signed)
	return err
}

// correct takes out of the receipt what the registry was found not to have, so that
// the next export since the receipt brings it.
func (l *ledger) correct(c *cli.Context, err error) error {
	var lacks *bundle.BaseError
	if l.receipt == nil || !errors.As(err, &lacks) {
		return nil
	}
	l.receipt.Forget(lacks.Blobs)
	return l.write(c, l.receipt)
}
