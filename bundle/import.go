package bundle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"airlift/oci"
)

// ImportOptions say what an import may leave out, and where it tells the
// cluster about the rest.
type ImportOptions struct {
	Placement   Placement
	SkipMissing bool // go on without what the inventory records as missing
	Jobs        int  // images at once; 0 = 8
	Progress    Progress
}

// States of an image after an import.
const (
	StateImported = "imported" // pushed, and tagged last
	StatePresent  = "present"  // its names led to its digest before
	StateSkipped  = "skipped"  // its content is missing, or on volumes that were not given
	StateFailed   = "failed"
	StateOpen     = "open"    // the import was interrupted before
	StatePlanned  = "planned" // by Rehearse
)

// ImageResult is what became of one image.
type ImageResult struct {
	Reference string        `json:"reference"`
	Digest    digest.Digest `json:"digest,omitempty"`
	State     string        `json:"state"`
	Reason    string        `json:"reason,omitempty"`
	Names     []string      `json:"names,omitempty"` // at the destination, as the cluster names it
}

// Import pushes a bundle into a registry, image by image: blobs, children, the
// image, its tags last. No tag is ever written that names an incomplete image,
// and no byte becomes content of the registry whose digest was not checked.
//
// Volumes may be missing, but for the first: media can come one at a time, in any
// order. What is at hand is pushed, what came before is asked of the registry, and
// an image that needs more is skipped: ErrAbsent, until an import finds nothing
// lacking.
//
// Everything that can be known beforehand is refused before the first
// connection: damage that shows without reading all, collisions of names, names
// that mirror sets cannot express, content that is missing without leave. What
// fails later fails for its image alone: the result lists every image, and the
// error is of all classes that occurred.
func (b *Bundle) Import(ctx context.Context, client *oci.Client, o ImportOptions) ([]ImageResult, error) {
	return NewImporter(client, o).Medium(ctx, b)
}

// Importer imports a bundle whose media come one after the other.
type Importer struct {
	client  *oci.Client
	options ImportOptions
	begun   map[digest.Digest]*begunUpload // blobs that lie on several media
}

// NewImporter begins to import. It connects to nothing.
func NewImporter(client *oci.Client, o ImportOptions) *Importer {
	return &Importer{client, o, map[digest.Digest]*begunUpload{}}
}

// Medium imports what the volumes of a medium, or several, bring, as
// Bundle.Import does. The result is that of all media so far.
func (i *Importer) Medium(ctx context.Context, b *Bundle) ([]ImageResult, error) {
	im, err := b.prepare(i.options)
	if err != nil {
		return nil, err
	}
	defer im.volumes.close()
	if err := im.readNodes(); err != nil {
		return nil, err
	}
	im.client, im.begun = i.client, i.begun
	if err := im.reach(ctx); err != nil {
		return nil, err
	}
	return im.run(ctx)
}

// Rehearse gives what Import would begin with, without a connection: every
// image with the names it would get, and what would be skipped. The error is the
// one that Import would end with if nothing failed.
func (b *Bundle) Rehearse(o ImportOptions) ([]ImageResult, error) {
	im, err := b.prepare(o)
	if err != nil {
		return nil, err
	}
	defer im.volumes.close()
	im.assume(StatePlanned)
	if len(b.dirs) == 0 { // a stream, which brings all
		return im.list(), im.verdict(nil)
	}
	if err := im.readNodes(); err != nil {
		return nil, err
	}
	for _, volume := range b.Absent() {
		im.absent[volume] = true
	}
	return im.list(), im.verdict(nil)
}

// assume records every image as being in a state, but those that cannot be complete.
func (im *importing) assume(state string) {
	for _, image := range im.images {
		r := ImageResult{Reference: image.Reference, Digest: image.Digest, State: state}
		if why, lacks := im.lacking[image.Reference]; lacks {
			r.State, r.Reason = StateSkipped, why
		} else {
			r.Names = im.names(image)
		}
		im.record(r)
	}
}

// names are an image's names as the cluster says them.
func (im *importing) names(image placed) []string {
	names := make([]string, len(image.names))
	for i, d := range image.names {
		names[i] = im.options.Placement.named(d)
	}
	return names
}

// importing is one run of Import.
type importing struct {
	bundle  *Bundle
	client  *oci.Client
	options ImportOptions
	images  []placed
	nodes   nodeTable
	raw     map[digest.Digest][]byte // nodes, checked
	volumes *volumeSet
	lacking map[string]string // why an image cannot be complete, by reference
	push    *pusher
	begun   map[digest.Digest]*begunUpload
	vital   map[digest.Digest][]string // references that must be there before a release's digest is tagged

	mu      sync.Mutex
	results map[string]ImageResult // by reference
	absent  map[string]bool        // volumes that something needs
}

// prepare does all that needs no connection.
func (b *Bundle) prepare(o ImportOptions) (*importing, error) {
	if b.trust.Unverified {
		return nil, fmt.Errorf("%w: the bundle was opened unverified", ErrUntrusted)
	}
	if err := b.importable(o); err != nil {
		return nil, err
	}
	images, err := o.Placement.place(&b.Inventory.Content)
	if err != nil {
		return nil, err
	}
	if err := o.Placement.check(images); err != nil {
		return nil, err
	}
	im := &importing{bundle: b, options: o, images: images, nodes: b.Inventory.Content.nodeByDigest(), results: map[string]ImageResult{}, absent: map[string]bool{}}
	if im.volumes, err = openVolumes(b.Layout, b.copies()[0]); err != nil {
		return nil, err
	}
	im.incomplete()
	return im, nil
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
	if missing := b.Inventory.Content.Missing; len(missing) > 0 && !o.SkipMissing {
		return MissingErrors(missing)
	}
	return nil
}

// readNodes reads all manifests and indexes out of the first volume. Without
// it nothing can be imported.
func (im *importing) readNodes() error {
	im.raw = make(map[digest.Digest][]byte, len(im.nodes))
	said := newNodeCheck(&im.bundle.Inventory.Content)
	for d, n := range im.nodes {
		e, _ := im.bundle.Layout.Find(d)
		if !im.volumes.all(e.data(), e.Size) {
			return fmt.Errorf("%w: the first volume, %s, is needed for any import", ErrAbsent, im.bundle.Inventory.Storage.Volumes[0].Name)
		}
		raw := make([]byte, n.Size)
		err := im.volumes.read(raw, e.data())
		if err == nil && digest.FromBytes(raw) != d {
			err = errors.New("the contents have another digest")
		}
		if err == nil {
			err = said.check(n, raw)
		}
		if err != nil {
			return im.damaged(e, err)
		}
		im.raw[d] = raw
	}
	return nil
}

// damaged says where on the medium an entry is that cannot be what it should.
func (im *importing) damaged(e Entry, err error) error {
	at := im.bundle.Layout.spans(e.data(), max(e.Size, 1))[0]
	name := im.bundle.Inventory.Storage.Volumes[at.volume].Name
	if f := im.volumes.files[at.volume]; f != nil {
		name = f.Name()
	}
	return Finding{File: name, Element: "blob", Offset: at.offset, Length: min(at.length, e.Size), Digest: e.Digest, Problem: err.Error(), kind: ErrDamaged}
}

// incomplete finds the images that cannot be complete at the destination, for
// what their sources did not have.
func (im *importing) incomplete() {
	im.lacking = map[string]string{}
	gone := map[digest.Digest]string{} // an index, and what it lacks
	for _, m := range im.bundle.Inventory.Content.Missing {
		if m.Parent != "" {
			gone[m.Parent] = m.String()
		}
	}
	for _, image := range im.images {
		im.nodes.walk(image.Digest, func(n Node) {
			if why, lacks := gone[n.Digest]; lacks {
				im.lacking[image.Reference] = ErrMissing.Error() + ": " + why
			}
		})
	}
}

// reach asks the registry whether it answers and lets us push.
func (im *importing) reach(ctx context.Context) error {
	if len(im.images) == 0 {
		return nil
	}
	return im.client.Ping(ctx, im.options.Placement.pushed(im.images[0].names[0]), true)
}

// start makes ready what pushing needs.
func (im *importing) start() {
	im.push = newPusher(im)
	im.vital = im.bundle.Inventory.Content.releaseParts()
}

// run imports every image; releases last, so that their tags come when all
// their components are there.
func (im *importing) run(ctx context.Context) ([]ImageResult, error) {
	im.start()
	var first, last []placed
	for _, image := range im.images {
		if im.vital[image.Digest] == nil {
			first = append(first, image)
		} else {
			last = append(last, image)
		}
	}
	var failed []error
	for _, images := range [][]placed{first, last} {
		err := forEach(ctx, jobs(im.options.Jobs), len(images), func(ctx context.Context, i int) error {
			if err := im.image(ctx, images[i]); err != nil {
				im.mu.Lock()
				defer im.mu.Unlock()
				failed = append(failed, err)
			}
			return ctx.Err()
		})
		if err != nil {
			return im.list(), err
		}
	}
	return im.list(), im.verdict(failed)
}

// releaseParts are the references of a release's components, by the digest of
// the release: under whatever name it was asked for, it is nothing without them.
func (c *Content) releaseParts() map[digest.Digest][]string {
	parts := map[digest.Digest][]string{}
	for _, r := range c.Releases {
		release, _ := oci.ParseReference(r.Image)
		parts[release.Digest] = []string{}
		for _, component := range r.Components {
			parts[release.Digest] = append(parts[release.Digest], component.Image)
		}
	}
	return parts
}

// image imports one image and records what became of it.
func (im *importing) image(ctx context.Context, image placed) error {
	result := ImageResult{Reference: image.Reference, Digest: image.Digest}
	state, err := im.attempt(ctx, image)
	switch {
	case err == nil:
		result.State, result.Names = state, im.names(image)
	case errors.Is(err, errSkip):
		result.State, result.Reason = StateSkipped, strings.TrimPrefix(err.Error(), errSkip.Error()+": ")
		err = nil
	case ctx.Err() != nil:
		result.State = StateOpen
	default:
		result.State, result.Reason = StateFailed, err.Error()
		err = fmt.Errorf("import %s: %w", image.Reference, err)
	}
	im.record(result)
	return err
}

func (im *importing) record(r ImageResult) {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.results[r.Reference] = r
}

// errSkip: an image is left out, with leave.
var errSkip = errors.New("skipped")

func (im *importing) attempt(ctx context.Context, image placed) (state string, err error) {
	if why, lacks := im.lacking[image.Reference]; lacks {
		return "", fmt.Errorf("%w: %s", errSkip, why)
	}
	for _, part := range im.vital[image.Digest] {
		if state := im.state(part); state != StateImported && state != StatePresent {
			return "", fmt.Errorf("%w: its component %s is not there", errSkip, part)
		}
	}
	present, moved, err := im.push.present(ctx, image)
	if err != nil {
		return "", err
	}
	if present {
		return StatePresent, nil
	}
	for _, was := range moved {
		if err := im.push.keep(ctx, was); err != nil {
			return "", err
		}
	}
	return StateImported, im.push.image(ctx, image)
}

func (im *importing) state(reference string) string {
	im.mu.Lock()
	defer im.mu.Unlock()
	return im.results[reference].State
}

// list gives all results, sorted by reference, with what was missing at the
// source among them.
func (im *importing) list() []ImageResult {
	var list []ImageResult
	for _, image := range im.images {
		if r, there := im.results[image.Reference]; there {
			list = append(list, r)
		} else {
			list = append(list, ImageResult{Reference: image.Reference, Digest: image.Digest, State: StateOpen})
		}
	}
	for _, m := range im.bundle.Inventory.Content.Missing {
		if m.Parent == "" {
			list = append(list, ImageResult{Reference: m.Reference, State: StateSkipped, Reason: ErrMissing.Error() + ": " + m.Reason})
		}
	}
	slices.SortFunc(list, func(a, b ImageResult) int { return strings.Compare(a.Reference, b.Reference) })
	return list
}

// verdict adds to what failed what was left out.
func (im *importing) verdict(failed []error) error {
	failed = []error{joinSome(failed, maxFailures, "images could not be imported")}
	if len(im.absent) > 0 {
		failed = append(failed, fmt.Errorf("%w, still to come: %s", ErrAbsent, listSome(slices.Sorted(maps.Keys(im.absent)), 5)))
	}
	if n := len(im.bundle.Inventory.Content.Missing); n > 0 {
		failed = append(failed, fmt.Errorf("%w: %d, as the bundle records", ErrMissing, n))
	}
	return errors.Join(failed...)
}
