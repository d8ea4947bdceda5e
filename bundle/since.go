package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"

	"airlift/verify"
)

// Since is what the far side has: all that a bundle lists, or that a receipt does.
type Since struct {
	name    string        // of the file
	id      digest.Digest // of the content of a bundle, of the file of a receipt
	bundles []Base        // that were imported, as far as their order counts
	blobs   map[digest.Digest]*origin
	receipt bool
}

// origin is the bundles of which one or more brought a blob.
type origin struct{ bundles []Base }

// OpenSince reads what the far side has: the bundle.json of a bundle that was
// imported there, a directory with one, or the receipt of an import. Nothing of it
// is parsed before a signature over it fits, of a bundle's keys or of the receipt's
// ones, whatever it is. A bundle whose export was not finished is ErrUnfinished; one medium of
// several says nothing of the others, and is taken.
func OpenSince(name string, bundles Trust, receipts []verify.PublicKey) (*Since, error) {
	file, data, err := readSigned(name, ReceiptFile)
	if err != nil {
		return nil, err
	}
	either := bundles
	either.Required, either.Keys = 1, slices.Concat(bundles.Keys, receipts)
	if err := either.opens(file, data); err != nil {
		return nil, err
	}
	var head struct {
		Format string `json:"format"`
	}
	_ = json.Unmarshal(data, &head) // whichever it is not meant to be says what is wrong with it
	if head.Format == ReceiptFormat {
		ofReceipts := Trust{Keys: receipts, AllowUnsigned: bundles.AllowUnsigned, Signatures: bundles.Signatures}
		if err := ofReceipts.opens(file, data); err != nil {
			return nil, err
		}
		return sinceReceipt(file, data)
	}
	if err := bundles.opens(file, data); err != nil {
		return nil, err
	}
	return sinceBundle(file, data)
}

// opens says whether a file may be parsed.
func (t Trust) opens(file string, data []byte) error {
	_, _, err := t.signatures([]string{filepath.Dir(file)}, filepath.Base(file), data)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// readSigned reads a file that a person named: bundle.json, by itself or by its
// directory, or a file of another kind that may stand there instead.
func readSigned(name string, others ...string) (file string, data []byte, err error) {
	info, err := os.Stat(name)
	if err != nil {
		return name, nil, err
	}
	if !info.IsDir() {
		data, err = readSmall(name, maxReportSize)
		return name, data, err
	}
	for _, base := range append([]string{InventoryFile}, others...) {
		file = filepath.Join(name, base)
		if _, err := os.Stat(file); err == nil {
			data, err = readSmall(file, maxReportSize)
			return file, data, err
		}
	}
	return name, nil, fmt.Errorf("%s holds no bundle: no %s in it", name, InventoryFile)
}

func sinceBundle(file string, data []byte) (*Since, error) {
	inv, err := ParseInventory(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if inv.isUnfinished(filepath.Dir(file)) {
		return nil, fmt.Errorf("%w in %s: nobody can have imported all of it", ErrUnfinished, filepath.Dir(file))
	}
	s := &Since{name: file, id: inv.ContentID(), bundles: []Base{inv.base()}, blobs: make(map[digest.Digest]*origin, len(inv.Content.Blobs))}
	own, before, left := &origin{s.bundles}, &origin{inv.About.Base}, inv.Storage.leftOut()
	for _, b := range inv.Content.Blobs {
		if s.blobs[b.Digest] = own; left[b.Digest] {
			s.blobs[b.Digest] = before
		}
	}
	return s, nil
}

// isUnfinished says whether a directory has a medium whose export was not finished: the
// checkpoint is there, or volumes without the sums, which are written last. A
// bundle.json by itself is a copy of one.
func (inv *Inventory) isUnfinished(dir string) bool {
	m := medium{dir: dir}
	return m.has(CheckpointFile) || !m.has(SumsFile) && slices.ContainsFunc(inv.Storage.Volumes, func(v Volume) bool { return m.has(v.Name) })
}

func sinceReceipt(file string, data []byte) (*Since, error) {
	r, err := parseReceipt(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	s := &Since{name: file, id: digest.FromBytes(data), bundles: r.Bundles, blobs: map[digest.Digest]*origin{}, receipt: true}
	all := &origin{r.Bundles}
	for _, h := range r.Repositories {
		for _, d := range h.Blobs {
			s.blobs[d] = all
		}
	}
	return s, nil
}

// OpenInventory reads a bundle.json by itself, or that of a directory, with who
// signed it.
func OpenInventory(name string, trust Trust) (inv *Inventory, signers []string, err error) {
	file, data, err := readSigned(name)
	if err != nil {
		return nil, nil, err
	}
	if signers, _, err = trust.signatures([]string{filepath.Dir(file)}, filepath.Base(file), data); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	if inv, err = ParseInventory(data); err != nil {
		err = fmt.Errorf("%s: %w", file, err)
	}
	return inv, signers, err
}

// Follow decides the series of a bundle that is made since others: theirs, unless
// one is named (nil = none; "" is the one without a name), and then theirs must be that.
// (A receipt may be of several.) It must be later than what is there of the series.
func Follow(named *string, sequence int64, since []*Since) (series string, err error) {
	if named != nil {
		series = *named
	} else if series, err = seriesOf(since); err != nil {
		return "", err
	}
	if err := checkOrder(series, sequence); err != nil {
		return "", fmt.Errorf("%w: %w", ErrUsage, err)
	}
	var errs []error
	for _, s := range since {
		errs = append(errs, s.follow(series, sequence))
	}
	return series, errors.Join(errs...)
}

// seriesOf is the one series that bundles are of; "" if there are none.
func seriesOf(since []*Since) (series string, err error) {
	first := true
	for _, s := range since {
		for _, b := range s.bundles {
			if !first && b.Series != series {
				return "", fmt.Errorf("%w: %s: the far side has bundles of the series %q and %q: say which one this is of", ErrUsage, s.name, series, b.Series)
			}
			series, first = b.Series, false
		}
	}
	return series, nil
}

func (s *Since) follow(series string, sequence int64) error {
	for _, b := range s.bundles {
		switch {
		case b.Series != series && !s.receipt:
			return fmt.Errorf("%w: %s is of the series %q, not of %q", ErrUsage, s.name, b.Series, series)
		case b.Series == series && b.Sequence > sequence:
			return fmt.Errorf("%w: it is %s by this host's clock, and %s is of %s: a later bundle of a series must have a later time", ErrUsage, Date(sequence), s.name, Date(b.Sequence))
		}
	}
	return nil
}

// sinceIDs tell what the far side has from what it has at other times.
func sinceIDs(since []*Since) []string {
	var ids []string
	for _, s := range since {
		ids = append(ids, string(s.id))
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
