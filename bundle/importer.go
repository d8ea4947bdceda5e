package bundle

import (
	"cmp"
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

// Importer imports a bundle whose media come one after the other, in any order.
// What it knows of the registry it does not ask again, and a blob that is cut over
// media is uploaded part by part as they come.
type Importer struct {
	client  *oci.Client
	options ImportOptions
	last    bool // no other medium will come

	// What follows from the inventory.
	bundle   *Bundle // the first that was given
	images   []placed
	nodes    nodeTable
	sparse   map[digest.Digest]Sparse   // indexes that lack children
	vital    map[digest.Digest][]string // references that must be there before a release's digest is tagged
	released map[string]bool            // references that releases consist of
	door     oci.Reference              // where the registry is asked to let us in; of all images, also if this part has none

	raw     map[digest.Digest][]byte // nodes, checked
	volumes []*volumeSet             // of the medium that is being read, the whole first, then further copies
	whole   bool                     // all volumes are among them
	push    *pusher                  // nil until the registry has answered

	mu      sync.Mutex
	results map[string]ImageResult // by reference
	failed  map[string]error       // likewise
	proven  map[string]bool        // references that were tagged and asked for since
	met     map[string]bool        // by reference: whether it was there when it was asked for
	refused map[string]bool        // references that were skipped for what they lack
	absent  map[int]bool           // volumes that something still needs
	cut     map[int]bool           // those over which something is cut that is still to come

	outage outage
}

// NewImporter begins to import. It connects to nothing.
func NewImporter(client *oci.Client, o ImportOptions) *Importer {
	return &Importer{
		client: client, options: o, results: map[string]ImageResult{}, failed: map[string]error{}, proven: map[string]bool{},
		met: map[string]bool{}, refused: map[string]bool{}, absent: map[int]bool{}, cut: map[int]bool{},
	}
}

// Medium imports what the volumes of a medium, or of several, bring, as
// Bundle.Import does. Results and error are those of all media so far; nil results
// say that the medium is of no use, or the registry of none, and nothing has
// changed: they are empty where there are no images. No file of the medium stays open.
func (im *Importer) Medium(ctx context.Context, b *Bundle) ([]ImageResult, error) {
	if err := im.take(b); err != nil {
		return nil, err
	}
	defer im.release()
	im.outage.found = nil
	if im.push == nil {
		if err := im.begin(ctx); err != nil {
			return nil, err
		}
	}
	return im.run(ctx)
}

// Close gives up the uploads that no medium finished. It is called when no other
// will come.
func (im *Importer) Close(ctx context.Context) {
	if im.push == nil {
		return
	}
	for _, b := range im.push.blobs {
		if b.begun != nil {
			b.begun.upload.Cancel(ctx)
		}
	}
}

// plan decides what goes where.
func (im *Importer) plan(b *Bundle) error {
	content := &b.Inventory.Content
	images, err := im.options.Placement.place(content)
	if err != nil {
		return err
	}
	if err := im.options.Placement.check(images); err != nil {
		return err
	}
	if len(images) > 0 {
		im.door = im.options.Placement.pushed(images[0].names[0])
	}
	images = im.options.Shard.of(images)
	im.bundle, im.images, im.nodes = b, images, content.nodeByDigest()
	im.vital, im.released = content.releaseParts(), content.releaseReferences()
	im.sparse = content.sparseByDigest()
	if im.options.Platform == (oci.Platform{}) {
		im.options.Platform = content.Platform()
	}
	return nil
}

// begin asks the registry all that decides whether anything is pushed: whether it
// answers, has what an increment leaves out, and lets us push all that is needed.
func (im *Importer) begin(ctx context.Context) error {
	p := newPusher(im)
	if im.door != (oci.Reference{}) {
		if err := im.reach(ctx, p); err != nil {
			return cmp.Or(im.outageOf(ctx, err), err)
		}
	}
	im.push = p
	return nil
}

func (im *Importer) reach(ctx context.Context, p *pusher) error {
	place := im.options.Placement
	if err := im.client.Ping(ctx, im.door, true); err != nil {
		im.outage.found = im.outageBy(err)
		return err
	}
	if err := place.fits(ctx, im.client, im.door, im.images); err != nil {
		return err
	}
	if err := p.askBase(ctx); err != nil {
		return err
	}
	return im.preflight(ctx, p)
}

// run imports every image that is not there yet; releases last, so that their
// tags come when all their components are there.
func (im *Importer) run(ctx context.Context) ([]ImageResult, error) {
	im.absent, im.cut = map[int]bool{}, map[int]bool{}
	im.push.turn()
	for _, images := range im.inOrder() {
		err := forEach(ctx, imagesAtOnce(im.options.Jobs), len(images), func(ctx context.Context, i int) error {
			return im.image(ctx, images[i])
		})
		if err == nil {
			err = im.prove(ctx, images)
		}
		if err != nil {
			return im.list(), errors.Join(im.failures(), err)
		}
	}
	return im.list(), im.verdict()
}

// imagesAtOnce are many more than the blobs on their way, whose number has its own bound:
// while most of them wait for one layer that they share, others find work. With one job
// they come in their order.
func imagesAtOnce(n int) int { return jobs(n) * jobs(n) }

// inOrder are the images that are not there yet, releases after all others.
func (im *Importer) inOrder() [2][]placed {
	var order [2][]placed
	for _, image := range im.images {
		switch {
		case im.isThere(image.Reference):
		case im.vital[image.Digest] == nil:
			order[0] = append(order[0], image)
		default:
			order[1] = append(order[1], image)
		}
	}
	return order
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

// image imports one image, and records what became of it. The error ends the import.
func (im *Importer) image(ctx context.Context, image placed) error {
	result, err := im.attempt(ctx, image)
	return im.conclude(ctx, image, result, err)
}

// conclude records what became of an image. It gives what keeps all others from being
// imported: the end of the context, or that the registry is not there any more.
func (im *Importer) conclude(ctx context.Context, image placed, result ImageResult, err error) error {
	end := cmp.Or(im.outageOf(ctx, err), ctx.Err())
	if err != nil {
		result = ImageResult{}
	}
	result.Reference, result.Digest = image.Reference, cmp.Or(result.Digest, image.Digest)
	var failed error
	switch {
	case err == nil:
		result.Names = im.names(image)
	case errors.Is(err, errSkip):
		result.State, result.Reason = StateSkipped, skipReason(err)
	case end != nil:
		result.State = StateOpen
	default:
		result.State, result.Reason = StateFailed, err.Error()
		failed = fmt.Errorf("import %s: %w", image.Reference, err)
	}
	im.record(result)
	im.mu.Lock()
	defer im.mu.Unlock()
	im.failed[image.Reference], im.refused[image.Reference] = failed, errors.Is(err, ErrSparse)
	return end
}

func (im *Importer) record(r ImageResult) {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.results[r.Reference] = r
}

// errSkip: an image is left out, with leave.
var errSkip = errors.New("skipped")

func skipReason(err error) string { return strings.TrimPrefix(err.Error(), errSkip.Error()+": ") }

func (im *Importer) attempt(ctx context.Context, image placed) (ImageResult, error) {
	if im.vital[image.Digest] != nil && im.options.Shard.divides() {
		return ImageResult{}, im.ahead(ctx, image, fmt.Errorf("%w: an import of all shards tags it, when its components are there", errSkip))
	}
	if part := im.waitsFor(image); part != "" {
		return ImageResult{}, im.ahead(ctx, image, fmt.Errorf("%w: its component %s is not there", errSkip, part))
	}
	present, err := im.present(ctx, image)
	if err != nil || present {
		return ImageResult{State: StatePresent}, err
	}
	err = im.push.image(ctx, image)
	var refused *sparseError
	if errors.As(err, &refused) {
		return im.instead(ctx, image, refused)
	}
	return ImageResult{State: StateImported}, err
}

// present asks the registry, once, whether an image is there.
func (im *Importer) present(ctx context.Context, image placed) (bool, error) {
	im.mu.Lock()
	present, met := im.met[image.Reference]
	im.mu.Unlock()
	if met {
		return present, nil
	}
	return im.meet(ctx, im.push, image)
}

// meet asks the registry whether an image is there, and notes what it says.
func (im *Importer) meet(ctx context.Context, p *pusher, image placed) (bool, error) {
	present, err := p.present(ctx, image)
	if err == nil {
		im.mu.Lock()
		defer im.mu.Unlock()
		im.met[image.Reference] = present
	}
	return present, err
}

// waitsFor is a component without which a release is not tagged, if one is not
// there.
func (im *Importer) waitsFor(image placed) string {
	for _, part := range im.vital[image.Digest] {
		if !im.isThere(part) {
			return part
		}
	}
	return ""
}

// ahead brings what this medium has of a release whose components are on others:
// it may not come again. It gives why the release waits, or what failed.
func (im *Importer) ahead(ctx context.Context, image placed, waits error) error {
	if im.whole && !im.options.Shard.divides() {
		return waits
	}
	err := im.push.everywhere(ctx, image, 0)
	if err == nil || errors.Is(err, errSkip) {
		return waits
	}
	return err
}

func (im *Importer) isThere(reference string) bool {
	im.mu.Lock()
	defer im.mu.Unlock()
	return im.results[reference].isThere()
}

// absentFrom notes the volumes that a blob needs and that were not given, from one
// of its bytes on, and says so. A blob that is cut is given in the order of its
// parts: what comes after one that is absent has to be given again.
func (im *Importer) absentFrom(e Entry, done int64) error {
	im.mu.Lock()
	defer im.mu.Unlock()
	var needed []string
	for _, at := range im.bundle.Layout.spans(e.data()+done, e.Size-done) {
		if len(needed) > 0 || !im.given(at) {
			im.absent[at.volume] = true
			needed = append(needed, im.bundle.Inventory.Storage.Volumes[at.volume].Name)
		}
	}
	if all := im.bundle.Layout.spans(e.data(), e.Size); len(all) > 1 {
		for _, at := range all {
			im.cut[at.volume] = true
		}
		return fmt.Errorf("%w: %s is cut over several volumes; next is %s, which was not given", errSkip, e.Digest, needed[0])
	}
	return fmt.Errorf("%w: %s is on %s, which was not given", errSkip, e.Digest, needed[0])
}

func (im *Importer) given(at span) bool {
	return slices.ContainsFunc(im.volumes, func(v *volumeSet) bool { return v.files[at.volume] != nil })
}

// failures are those of single images.
func (im *Importer) failures() error {
	failed := slices.DeleteFunc(slices.Collect(maps.Values(im.failed)), func(err error) bool { return err == nil })
	return joinSome(failed, maxFailures, "images could not be imported")
}

// verdict adds to what failed what was left out.
func (im *Importer) verdict() error {
	all := []error{im.failures()}
	if len(im.absent) > 0 {
		all = append(all, &AbsentError{im.volumeNames(im.absent), im.volumeNames(im.cut)})
	}
	all = append(all, im.sparseSkipped())
	if n := len(im.bundle.Inventory.Content.Missing); n > 0 && !im.options.Shard.divides() {
		all = append(all, fmt.Errorf("%w: %d, as the bundle records", ErrMissing, n))
	}
	return errors.Join(all...)
}

func (im *Importer) volumeNames(volumes map[int]bool) []string {
	var names []string
	for _, i := range slices.Sorted(maps.Keys(volumes)) {
		names = append(names, im.bundle.Inventory.Storage.Volumes[i].Name)
	}
	return names
}
