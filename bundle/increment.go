package bundle

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// FeatureIncrement is what an inventory requires that leaves out blobs.
const FeatureIncrement = "increment"

// maxBases is the limit for what an increment names as its base, and a receipt as
// what was imported.
const maxBases = 10_000

// Base is a bundle that was brought to the far side before.
type Base struct {
	Content  digest.Digest `json:"content"` // id
	Series   string        `json:"series,omitempty"`
	Sequence int64         `json:"sequence"`
}

// String names a bundle so that people can find it.
func (b Base) String() string {
	return fmt.Sprintf("%s (%sof %s)", b.Content, seriesWords(b.Series), Date(b.Sequence))
}

func seriesWords(series string) string {
	if series == "" {
		return ""
	}
	return "series " + series + ", "
}

// Date is a sequence as people read it.
func Date(sequence int64) string { return time.Unix(sequence, 0).UTC().Format(time.RFC3339) }

// compare orders bundles by their age.
func (b Base) compare(c Base) int {
	return cmp.Or(cmp.Compare(b.Sequence, c.Sequence), cmp.Compare(b.Series, c.Series), cmp.Compare(b.Content, c.Content))
}

// check holds what a file says of a bundle against the rules.
func (b Base) check() error {
	if err := checkDigest(b.Content); err != nil {
		return err
	}
	return checkOrder(b.Series, b.Sequence)
}

// maxSequence is the last second of the year 9999.
const maxSequence = 253402300799

func checkOrder(series string, sequence int64) error {
	switch {
	case series != "" && !namePattern.MatchString(series):
		return fmt.Errorf("series %.60q: bad name", series)
	case sequence < 0 || sequence > maxSequence:
		return fmt.Errorf("sequence %d is outside of 0…%d", sequence, int64(maxSequence))
	}
	return nil
}

// checkBases wants bundles once and in order.
func checkBases(all []Base) error {
	if len(all) > maxBases {
		return fmt.Errorf("%d bundles, the limit is %d", len(all), maxBases)
	}
	for i, b := range all {
		if err := b.check(); err != nil {
			return err
		}
		if i > 0 && all[i-1].compare(b) >= 0 {
			return fmt.Errorf("bundle %s: not in order", b.Content)
		}
	}
	return nil
}

// base is an inventory as the base of another.
func (inv *Inventory) base() Base {
	return Base{inv.ContentID(), inv.About.Series, inv.About.Sequence}
}

// checkAbout holds what the inventory says of itself against the rules.
func (inv *Inventory) checkAbout() error {
	if err := checkOrder(inv.About.Series, inv.About.Sequence); err != nil {
		return fmt.Errorf("about: %w", err)
	}
	if err := checkBases(inv.About.Base); err != nil {
		return fmt.Errorf("about: base: %w", err)
	}
	return nil
}

// checkLeftOut holds that what is left out are blobs of the content, in its order
// and none of them a node; and that an increment says so, and nothing else does.
func (inv *Inventory) checkLeftOut() error {
	left, at := inv.Storage.LeftOut, 0
	nodes := inv.Content.nodeByDigest()
	for _, b := range inv.Content.Blobs {
		if at == len(left) || left[at] != b.Digest {
			continue
		}
		if _, isNode := nodes[b.Digest]; isNode {
			return fmt.Errorf("left out %s: it is a node, which is never left out", b.Digest)
		}
		at++
	}
	if at < len(left) {
		return fmt.Errorf("left out %.80q: it is no blob of the content, or not in its order", string(left[at]))
	}
	var requires []string
	if len(left) > 0 {
		requires = []string{FeatureIncrement}
	}
	if !slices.Equal(inv.Requires, requires) || (len(inv.About.Base) > 0) != (len(left) > 0) {
		return fmt.Errorf("%d blobs are left out, which needs a base and %q in requires if it is any, and neither if it is none", len(left), FeatureIncrement)
	}
	return nil
}

// leftOut is Storage.LeftOut as a set.
func (s Storage) leftOut() map[digest.Digest]bool {
	set := make(map[digest.Digest]bool, len(s.LeftOut))
	for _, d := range s.LeftOut {
		set[d] = true
	}
	return set
}

// LeftOut is the bytes of the blobs that are left out.
func (inv *Inventory) LeftOut() int64 {
	left, bytes := inv.Storage.leftOut(), int64(0)
	for _, b := range inv.Content.Blobs {
		if left[b.Digest] {
			bytes += b.Size
		}
	}
	return bytes
}

// LeaveOut makes an inventory one of an increment: blobs that the far side has are
// left out of the archive, nodes never. The content and its id stay. Where the far
// side has nothing of it, nothing changes: the bundle is complete by itself. Of a base
// that is an increment itself, what it left out is of its own base.
func (inv *Inventory) LeaveOut(since []*Since) error {
	nodes, from := inv.Content.nodeByDigest(), map[*origin]bool{}
	inv.Storage.LeftOut = nil
	for _, b := range inv.Content.Blobs {
		i := slices.IndexFunc(since, func(s *Since) bool { return s.blobs[b.Digest] != nil })
		if _, isNode := nodes[b.Digest]; i < 0 || isNode {
			continue
		}
		from[since[i].blobs[b.Digest]] = true
		inv.Storage.LeftOut = append(inv.Storage.LeftOut, b.Digest)
	}
	if len(inv.Storage.LeftOut) == 0 {
		return nil
	}
	inv.Requires, inv.About.Base = []string{FeatureIncrement}, nil
	for o := range from {
		inv.About.Base = union(inv.About.Base, o.bundles)
	}
	slices.SortFunc(inv.About.Base, Base.compare)
	return inv.computeStorage()
}
