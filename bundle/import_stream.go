package bundle

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"airlift/oci"
)

// What an import of a stream holds in memory at most: so many blobs, each of so
// many bytes. Larger ones go to the registry while they are read.
const (
	heldBlobs = 8
	heldSize  = 4 << 20
)

// Import pushes a bundle into a registry as Bundle.Import does, while it comes
// through the stream, and needs no space for it. Nothing is connected to before
// the stream has been opened.
//
// A blob goes to the first repository that needs it, and from there to the others.
// One that is too large to be held can be uploaded only once: where that fails,
// the images that need it fail, and all others are brought. A stream that ends
// early, or is damaged, is an error; whole images that came before are tagged by
// then. Releases come last, after the end of the stream has been checked.
func (s *Stream) Import(ctx context.Context, client *oci.Client, o ImportOptions) ([]ImageResult, error) {
	im := NewImporter(client, o)
	im.whole = true
	if err := im.planStream(s); err != nil {
		return nil, err
	}
	if err := im.begin(ctx); err != nil {
		return nil, err
	}
	im.raw = map[digest.Digest][]byte{}
	x := &streamed{im: im, ctx: ctx, waiting: map[digest.Digest][]placed{}, left: map[string]int{}}
	x.uploads.SetLimit(heldBlobs)
	return x.run(s)
}

// Rehearse gives what Import would begin with, without a connection. It reads no
// more of the stream.
func (s *Stream) Rehearse(o ImportOptions) ([]ImageResult, error) {
	im := NewImporter(nil, o)
	if err := im.planStream(s); err != nil {
		return nil, err
	}
	im.assume(StatePlanned)
	return im.list(), im.verdict()
}

func (im *Importer) planStream(s *Stream) error {
	if s.trust.Unverified {
		return fmt.Errorf("%w: the stream was opened unverified", ErrUntrusted)
	}
	if err := s.allowed(im.options); err != nil {
		return err
	}
	return im.plan(s.Bundle)
}

// streamed is an import of what comes by once.
type streamed struct {
	im      *Importer
	ctx     context.Context
	begun   bool                       // all nodes are there
	waiting map[digest.Digest][]placed // images that are not there and need a blob
	uploads errgroup.Group             // of blobs that are held, and of images

	mu   sync.Mutex
	left map[string]int // blobs that an image still needs, by reference
}

func (x *streamed) run(s *Stream) ([]ImageResult, error) {
	broken := s.each(x.ctx, x.visit)
	if broken == nil {
		x.begin()
	}
	_ = x.uploads.Wait() // what failed is recorded
	if broken == nil {
		broken = x.im.outage.now()
	}
	if !errors.As(broken, new(*UnavailableError)) {
		broken = cmp.Or(broken, x.im.prove(x.ctx, x.im.images))
	}
	if broken == nil {
		broken = x.releases()
	}
	return x.im.list(), errors.Join(broken, x.im.verdict())
}

// visit takes one file of the archive.
func (x *streamed) visit(e Entry, contents io.Reader) error {
	if err := x.im.outage.now(); err != nil {
		return err
	}
	if _, isNode := x.im.nodes[e.Digest]; isNode {
		raw, err := io.ReadAll(contents)
		x.im.raw[e.Digest] = raw
		return err
	}
	if e.inline != nil {
		return nil
	}
	x.begin()
	return x.blob(e, contents)
}

// begin begins, once all nodes are known, with the images that need nothing but
// nodes.
func (x *streamed) begin() {
	if x.begun {
		return
	}
	x.begun = true
	im := x.im
	for _, image := range im.images {
		x.await(image)
	}
	for d, raw := range im.raw { // a node may be a blob of another
		if len(x.waiting[d]) > 0 {
			x.hold(im.push.blobs[d], raw)
		}
	}
}

// await notes which blobs an image needs that is not there.
func (x *streamed) await(image placed) {
	if x.im.isThere(image.Reference) {
		return
	}
	needs := map[digest.Digest]bool{}
	x.im.nodes.walk(image.Digest, func(n Node) {
		for _, d := range n.blobs() {
			if !x.im.push.blobs[d].entry.isLeftOut() {
				needs[d] = true
			}
		}
	})
	for d := range needs {
		x.waiting[d] = append(x.waiting[d], image)
	}
	x.left[image.Reference] = len(needs)
	if len(needs) == 0 {
		x.uploads.Go(func() error {
			x.complete(image)
			return nil
		})
	}
}

// complete imports an image whose blobs are all there. Releases wait for the end.
func (x *streamed) complete(image placed) {
	if x.im.vital[image.Digest] == nil {
		_ = x.im.image(x.ctx, image) // what ends the import is found by whoever reads on
	}
}

// releases imports what had to wait for others.
func (x *streamed) releases() error {
	for _, image := range x.im.inOrder()[1] {
		if x.left[image.Reference] != 0 {
			continue
		}
		if err := x.im.image(x.ctx, image); err != nil {
			return err
		}
	}
	return x.im.prove(x.ctx, x.im.images)
}

// blob takes one that some image may need: held in memory if it is small.
func (x *streamed) blob(e Entry, contents io.Reader) error {
	b := x.im.push.blobs[e.Digest]
	if len(x.waiting[e.Digest]) == 0 {
		return nil
	}
	if e.Size > heldSize {
		return x.pass(b, contents)
	}
	raw, err := io.ReadAll(contents)
	if err == nil {
		x.hold(b, raw)
	}
	return err
}

// hold uploads a blob from memory, while the stream is read on.
func (x *streamed) hold(b *pushedBlob, raw []byte) {
	x.uploads.Go(func() error {
		x.arrive(b, x.bring(b, func(ctx context.Context, to oci.Reference, d ocispec.Descriptor) error {
			return x.im.client.PutBlob(ctx, to, d, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil })
		}))
		return nil
	})
}

// pass uploads a blob while it is read. It gives the error of the stream; that of
// the upload is the images'.
func (x *streamed) pass(b *pushedBlob, contents io.Reader) error {
	source := &remembering{r: contents}
	err := x.bring(b, func(ctx context.Context, to oci.Reference, d ocispec.Descriptor) error {
		return x.im.client.PutBlobOnce(ctx, to, d, source)
	})
	if source.err != nil {
		return source.err
	}
	if x.ctx.Err() != nil {
		return x.ctx.Err()
	}
	if err != nil {
		err = fmt.Errorf("%w; it has gone by, and comes only with the stream again", err)
	}
	x.uploads.Go(func() error {
		x.arrive(b, err)
		return nil
	})
	return nil
}

// bring lets a blob be put into the first repository that needs it, unless it is
// there.
func (x *streamed) bring(b *pushedBlob, put func(context.Context, oci.Reference, ocispec.Descriptor) error) error {
	d := b.entry.descriptor()
	to := x.im.push.repositories(x.waiting[d.Digest][0])[0]
	return x.im.push.inTurn(x.ctx, x.ctx, to, b, 0, func() (arrival, error) {
		found, err := x.im.client.HasBlob(x.ctx, to, d)
		if err != nil || found {
			return wasThere, err
		}
		return wasSent, put(x.ctx, to, d)
	})
}

// arrive tells the images that wait for a blob that it is there, or why not.
func (x *streamed) arrive(b *pushedBlob, err error) {
	for _, image := range x.waiting[b.entry.Digest] {
		if err != nil {
			_ = x.im.conclude(x.ctx, image, ImageResult{}, fmt.Errorf("push %s: %w", b.entry.Digest, err))
			continue
		}
		x.mu.Lock()
		x.left[image.Reference]--
		whole := x.left[image.Reference] == 0
		x.mu.Unlock()
		if whole {
			x.complete(image)
		}
	}
}

// remembering is a reader that knows how it failed.
type remembering struct {
	r   io.Reader
	err error // but for io.EOF
}

func (r *remembering) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}
