package bundle

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"

	"airlift/oci"
	"airlift/verify"
)

// ReceiptFormat is what receipt.json says of its own form.
const ReceiptFormat = "airlift.receipt/1"

// ReceiptFile is a receipt's name beside the report.
const ReceiptFile = "receipt.json"

// Receipt says what a registry holds since the imports so far, and where: what an
// export may leave out. The same imports give the same receipt.
type Receipt struct {
	Format       string    `json:"format"`
	Registry     string    `json:"registry"`     // HOST[:PORT][/PREFIX] that images were pushed to
	Bundles      []Base    `json:"bundles"`      // of which something was imported, by their age
	Repositories []Holding `json:"repositories"` // sorted by name
}

// Holding is what a repository holds.
type Holding struct {
	Name  string          `json:"name"`  // behind the registry's host
	Blobs []digest.Digest `json:"blobs"` // sorted
}

// Receipt makes the receipt of an import by itself: it claims what the import sent, or
// asked for and found, and nothing of what images that were there before only imply.
func (b *Bundle) Receipt(results []ImageResult, p Placement) *Receipt {
	r := &Receipt{Format: ReceiptFormat, Registry: p.To.String(), Bundles: []Base{}}
	held := holdings{}
	for _, image := range results {
		if !image.isThere() {
			continue
		}
		r.Bundles = []Base{b.Inventory.base()}
		for _, h := range image.Blobs {
			held.add(h.Name, h.Blobs...)
		}
	}
	r.Repositories = held.list()
	return r
}

// Unlisted counts the blobs that images need which are there, and that a receipt does
// not list: nobody asked for them.
func (b *Bundle) Unlisted(results []ImageResult, r *Receipt) int {
	nodes, listed, unlisted := b.Inventory.Content.nodeByDigest(), r.places(""), map[digest.Digest]bool{}
	for _, image := range results {
		if !image.isThere() {
			continue
		}
		nodes.walk(image.Digest, func(n Node) {
			for _, d := range n.blobs() {
				if listed[d] == nil {
					unlisted[d] = true
				}
			}
		})
	}
	return len(unlisted)
}

// holdings are blobs by the repository.
type holdings map[string]map[digest.Digest]bool

func (h holdings) add(repository string, blobs ...digest.Digest) {
	if h[repository] == nil {
		h[repository] = map[digest.Digest]bool{}
	}
	for _, d := range blobs {
		h[repository][d] = true
	}
}

func (h holdings) list() []Holding {
	list := []Holding{}
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if len(h[name]) > 0 {
			list = append(list, Holding{name, slices.Sorted(maps.Keys(h[name]))})
		}
	}
	return list
}

// Extend adds what an earlier receipt of the same registry lists.
func (r *Receipt) Extend(earlier *Receipt) error {
	if earlier == nil {
		return nil
	}
	if err := earlier.Of(r.Registry); err != nil {
		return err
	}
	held := holdings{}
	for _, h := range slices.Concat(r.Repositories, earlier.Repositories) {
		held.add(h.Name, h.Blobs...)
	}
	r.Repositories, r.Bundles = held.list(), union(r.Bundles, earlier.Bundles)
	slices.SortFunc(r.Bundles, Base.compare)
	r.Bundles = r.Bundles[max(0, len(r.Bundles)-maxBases):]
	return nil
}

// Of is an error unless a receipt is of a registry. No receipt is of any.
func (r *Receipt) Of(registry string) error {
	if r != nil && r.Registry != registry {
		return fmt.Errorf("%w: the receipt is of %s, not of %s", ErrUsage, r.Registry, registry)
	}
	return nil
}

// Forget takes away blobs that a registry was found not to have, wherever the receipt
// listed them by which they were asked for. What came into this one since stays. It says
// whether there was anything to forget.
func (r *Receipt) Forget(blobs []digest.Digest, asked *Receipt) (changed bool) {
	gone, then, held := Storage{LeftOut: blobs}.leftOut(), asked.places(""), holdings{}
	for _, h := range r.Repositories {
		here := oci.Reference{Repository: h.Name}
		kept := slices.DeleteFunc(slices.Clone(h.Blobs), func(d digest.Digest) bool {
			return gone[d] && slices.Contains(then[d], here)
		})
		held.add(h.Name, kept...)
		changed = changed || len(kept) < len(h.Blobs)
	}
	r.Repositories = held.list()
	return changed
}

// Unknown are the bundles of a receipt that a report knows nothing of.
func (r *Receipt) Unknown(report *Report) []Base {
	if r == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(r.Bundles), func(b Base) bool { return report.Knows(b.Content) })
}

// Newer is the newest bundle of a bundle's series that was imported, if that is
// newer than the bundle itself.
func (r *Receipt) Newer(inv *Inventory) (newest Base, newer bool) {
	if r == nil {
		return Base{}, false
	}
	for _, b := range r.Bundles { // by their age
		if b.Series == inv.About.Series && b.Sequence > inv.About.Sequence {
			newest, newer = b, true
		}
	}
	return newest, newer
}

// places are the repositories of a registry that hold each blob.
func (r *Receipt) places(host string) map[digest.Digest][]oci.Reference {
	places := map[digest.Digest][]oci.Reference{}
	if r == nil {
		return places
	}
	for _, h := range r.Repositories {
		for _, d := range h.Blobs {
			places[d] = append(places[d], oci.Reference{Registry: host, Repository: h.Name})
		}
	}
	return places
}

// ReadReceipt reads a receipt where imports left it. If one of the keys has signed
// it, that must fit: an import vouches with its own key for what it extends. Whoever
// gets a receipt from elsewhere asks for more (OpenSince). One that is not there
// gives fs.ErrNotExist.
func ReadReceipt(file string, keys ...verify.PublicKey) (*Receipt, error) {
	data, err := readSmall(file, maxReportSize)
	if err != nil {
		return nil, err
	}
	found, dir, name := map[string][]signature{}, filepath.Dir(file), filepath.Base(file)
	if err := (Trust{Keys: keys}).collect(found, dir, name, false); err != nil {
		return nil, err
	}
	for _, key := range keys {
		if _, err := signedBy(key, name, data, found[key.ID()]); err != nil {
			return nil, err
		}
	}
	r, err := parseReceipt(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// HasSignature says whether a signature of a key lies beside a receipt. ReadReceipt,
// given the key, says whether it fits.
func HasSignature(file string, key verify.PublicKey) bool {
	_, err := os.Stat(filepath.Join(filepath.Dir(file), signatureFile(filepath.Base(file), key.ID())))
	return err == nil
}

func parseReceipt(data []byte) (*Receipt, error) {
	if err := checkKeys(data, Receipt{}); err != nil {
		return nil, fmt.Errorf("parse the receipt: %w", err)
	}
	var r Receipt
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("parse the receipt: %w", err)
	}
	if r.Format != ReceiptFormat {
		return nil, fmt.Errorf("parse the receipt: format %.60q is not %s", r.Format, ReceiptFormat)
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("parse the receipt: %w", err)
	}
	return &r, nil
}

func (r *Receipt) check() error {
	at, err := ParseLocation(r.Registry)
	if err != nil {
		return fmt.Errorf("registry %.200q is none", r.Registry)
	}
	if err := checkBases(r.Bundles); err != nil {
		return err
	}
	if len(r.Repositories) > 0 && len(r.Bundles) == 0 {
		return errors.New("repositories without a bundle that brought what they hold")
	}
	last := ""
	for _, h := range r.Repositories {
		ref := oci.Reference{Registry: at.Host, Repository: h.Name, Digest: emptyDigest}
		if checkReference(ref.String()) != nil || h.Name <= last {
			return fmt.Errorf("repository %.200q: no name of one, or not in order", h.Name)
		}
		last = h.Name
		if err := h.check(); err != nil {
			return fmt.Errorf("repository %s: %w", h.Name, err)
		}
	}
	return nil
}

func (h Holding) check() error {
	last := digest.Digest("")
	for _, d := range h.Blobs {
		if err := checkDigest(d); err != nil {
			return err
		}
		if d <= last {
			return fmt.Errorf("blob %s: not in order", d)
		}
		last = d
	}
	return nil
}

// UpdateReceipt puts what change makes of the receipt that lies in a directory, nil if
// none does, in its place, signed if there is a key; what change gives as nil leaves it
// as it is. A receipt that the key has signed, and that was changed since, is an error.
// Whoever is not alone there calls it within Alone: what several imports add is all there.
func UpdateReceipt(dir string, key *ecdsa.PrivateKey, change func(there *Receipt) (*Receipt, error)) error {
	there, err := ReadReceipt(filepath.Join(dir, ReceiptFile), trustOf(key).Keys...)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	r, err := change(there)
	if err != nil || r == nil {
		return err
	}
	return r.Write(dir, key)
}

// Write writes the receipt into a directory, signed if there is a key. At every
// instant a signature that lies there fits: those over what was there before go
// first. Whoever is not alone there calls UpdateReceipt within Alone.
func (r *Receipt) Write(dir string, key *ecdsa.PrivateKey) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	file := filepath.Join(dir, ReceiptFile)
	if before, err := os.ReadFile(file); err != nil || !bytes.Equal(before, data) {
		if err := removeSignatures(dir, ReceiptFile); err != nil {
			return err
		}
		if err := replaceFile(file, data); err != nil {
			return err
		}
	}
	if key == nil {
		return nil
	}
	signature, err := verify.Sign(key, data)
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(dir, signatureFile(ReceiptFile, keyID(key))), signature)
}

// removeSignatures removes the signatures over a file.
func removeSignatures(dir, file string) error {
	names, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, name := range names {
		if _, is := signatureID(file, name.Name()); is {
			err = errors.Join(err, os.Remove(filepath.Join(dir, name.Name())))
		}
	}
	return err
}
