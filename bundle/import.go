package bundle

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"airlift/oci"
)

// ImportOptions say what an import may leave out, and where it tells the
// cluster about the rest.
type ImportOptions struct {
	Placement   Placement
	SkipMissing bool // go on without what the inventory records as missing
	// Platform is the one whose image takes the tag of a sparse list that the
	// registry refuses; the zero value is that of the content (Content.Platform).
	Platform oci.Platform
	// Prove reads and hashes what an increment leaves out, instead of only asking
	// whether the registry has it. Where to ask beside the repositories that need it
	// is what earlier imports recorded: Receipt and Held; nil if they did not.
	Prove   bool
	Receipt *Receipt
	Held    []Held
	// Force asks for every blob of images that are there, whatever their tags say,
	// and brings those that the registry has lost.
	Force    bool
	Shard    Shard // import these images only, and tag no releases
	Jobs     int   // blobs on their way at once, of one image or of several; 0 = 8
	Progress Progress
}

// States of an image after an import.
const (
	StateImported = "imported" // pushed, and tagged last
	StatePresent  = "present"  // its names led to its digest before
	StateSkipped  = "skipped"  // it is missing, or on volumes that were not given, or sparse and refused, or waits for a part
	StateFailed   = "failed"
	StateOpen     = "open"    // the import was interrupted before, or the registry was not available any more
	StatePlanned  = "planned" // by Rehearse
)

// ImageResult is what became of one image.
type ImageResult struct {
	Reference string        `json:"reference"`
	Digest    digest.Digest `json:"digest,omitempty"` // that its names lead to
	// Index is the list that the bundle has under the reference, where the registry
	// refused that and its names lead to the image of one platform instead.
	Index  digest.Digest `json:"index,omitempty"`
	State  string        `json:"state"`
	Reason string        `json:"reason,omitempty"` // why it was skipped or failed, or is another image
	Names  []string      `json:"names,omitempty"`  // at the destination, as the cluster names it
	// Blobs are those of an image that is there which this import sent or mounted, or
	// which the registry said to have when it was asked, by repository.
	Blobs []Holding `json:"-"`
}

// isThere says whether its names lead to the image.
func (r ImageResult) isThere() bool { return r.State == StateImported || r.State == StatePresent }

// Import pushes a bundle into a registry, image by image: blobs, children, the
// image, its tags last. No tag is ever written that names an incomplete image,
// and no byte becomes content of the registry whose digest was not checked.
//
// A list that lacks children is pushed as it is, when the children that it has are
// there. Where the registry refuses that, the names of an image that is known by tag
// only are given to the child of one platform, and the result says so; one that is
// known by digest is skipped: a *SparseError. A release fails so: ErrSparseRelease.
//
// Volumes may be missing, but for the first: media can come one at a time, in any
// order. What is at hand is pushed, what came before is asked of the registry, and
// an image that needs more is skipped: an *AbsentError, until an import finds
// nothing lacking. A blob that is cut over media needs them all at once, or an
// Importer.
//
// Of an increment all that is left out is asked for before anything is written: if
// the registry lacks any of it, nothing is pushed (*BaseError). Where it is needed in
// another repository than the one that has it, it is mounted or copied.
//
// Everything that can be known beforehand is refused before the first
// connection: damage that shows without reading all, collisions of names, names
// that mirror sets cannot express, content that is missing without leave. What
// fails later fails for its image alone: the result lists every image, and the
// error is of all classes that occurred. A registry that is not available (any more)
// ends the import: an *UnavailableError, and what was not brought is open.
func (b *Bundle) Import(ctx context.Context, client *oci.Client, o ImportOptions) ([]ImageResult, error) {
	im := NewImporter(client, o)
	im.last = true
	return im.Medium(ctx, b)
}

// Rehearse gives what Import would begin with, without a connection: every
// image with the names it would get, and what would be skipped unless the
// registry has it. The error is the one that Import would end with if nothing
// failed and the registry had nothing.
func (b *Bundle) Rehearse(o ImportOptions) ([]ImageResult, error) {
	im := NewImporter(nil, o)
	if err := im.take(b); err != nil {
		return nil, err
	}
	defer im.release()
	im.assume(StatePlanned)
	return im.list(), im.verdict()
}

// assume records every image as being in a state, but those that cannot be
// complete, or for lists that lack something, what then.
func (im *Importer) assume(state string) {
	for _, image := range im.images {
		r := ImageResult{Reference: image.Reference, Digest: image.Digest, State: state}
		why, lacks := "", false
		if im.volumes != nil {
			why, lacks = im.notAtHand(image)
		}
		if lacks {
			r.State, r.Reason = StateSkipped, why
		} else {
			r.Names = im.names(image)
		}
		if s, sparse := im.nodes.sparseBelow(image.Digest, im.sparse); sparse && !lacks && state == StatePlanned {
			r.Reason = s.String() + "; " + im.whereRefused(image)
		}
		im.record(r)
	}
}

// notAtHand says which blob of an image is not on the volumes, if one is not.
func (im *Importer) notAtHand(image placed) (why string, lacks bool) {
	im.nodes.walk(image.Digest, func(n Node) {
		for _, d := range n.blobs() {
			if e, carried := im.bundle.Layout.Find(d); carried && len(im.holding(e)) == 0 {
				why, lacks = skipReason(im.absentFrom(e, 0)), true
			}
		}
	})
	return why, lacks
}

// names are an image's names as the cluster says them.
func (im *Importer) names(image placed) []string {
	names := make([]string, len(image.names))
	for i, d := range image.names {
		names[i] = im.options.Placement.named(d)
	}
	return names
}

// list gives all results, sorted by reference, with what was missing at the
// source among them.
func (im *Importer) list() []ImageResult {
	list := []ImageResult{} // nil would say that nothing was begun
	for _, image := range im.images {
		r, there := im.results[image.Reference]
		if !there {
			r = ImageResult{Reference: image.Reference, Digest: image.Digest, State: StateOpen}
		}
		if im.push != nil && r.isThere() {
			r.Blobs = im.push.known(image, r.Digest)
		}
		if r.State == StateOpen && im.outage.now() != nil {
			r.Reason = im.options.Placement.To.Host + " is not available any more"
		}
		list = append(list, r)
	}
	for _, m := range im.bundle.Inventory.Content.Missing {
		if m.Parent == "" && !im.options.Shard.divides() {
			list = append(list, ImageResult{Reference: m.Reference, State: StateSkipped, Reason: ErrMissing.Error() + ": " + m.Reason})
		}
	}
	slices.SortFunc(list, func(a, b ImageResult) int { return strings.Compare(a.Reference, b.Reference) })
	return list
}

// AbsentError: images lack what is on volumes that were not given. It is of the
// class ErrAbsent.
type AbsentError struct {
	Volumes []string // that are still to come, in their order
	// Cut are volumes, in their order, over which a blob is cut that is still to
	// come: they must be given together, or to an Importer in this order.
	Cut []string
}

func (e *AbsentError) Error() string {
	return fmt.Sprintf("%v, still to come: %s", ErrAbsent, listSome(e.Volumes, 5))
}

func (e *AbsentError) Unwrap() error { return ErrAbsent }
