package bundle

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"airlift/oci"
)

// prove is the end of what was tagged: each of its names must lead to its image,
// whose bytes are fetched and hashed, and all below it must be there. What is not,
// because a collector was at work meanwhile, is pushed once more.
func (im *Importer) prove(ctx context.Context, images []placed) error {
	proof := &proof{p: im.push}
	return forEach(ctx, jobs(im.options.Jobs), len(images), func(ctx context.Context, i int) error {
		image := images[i]
		if result, tagged := im.tagged(image); tagged {
			image.Digest = result.Digest
			if err := im.proveOne(ctx, proof, image); err != nil {
				return im.conclude(ctx, image, ImageResult{}, fmt.Errorf("prove that it is there: %w", err))
			}
		}
		return ctx.Err()
	})
}

// tagged is the result of an image that this import has given its names, which no
// earlier proof was about.
func (im *Importer) tagged(image placed) (ImageResult, bool) {
	im.mu.Lock()
	defer im.mu.Unlock()
	result := im.results[image.Reference]
	tagged := result.State == StateImported && !im.proven[image.Reference]
	im.proven[image.Reference] = tagged || im.proven[image.Reference]
	return result, tagged
}

func (im *Importer) proveOne(ctx context.Context, p *proof, image placed) error {
	err := p.image(ctx, image)
	if !oci.IsMissing(err) && !errors.As(err, new(*anotherError)) && !errors.As(err, new(*lostError)) {
		return err
	}
	if err := im.push.heal(ctx, image); err != nil {
		return err
	}
	return (&proof{p: im.push}).image(ctx, image) // what was not there may be now
}

// proof asks a registry for what it holds. Nothing is asked for twice.
type proof struct {
	p       *pusher
	answers answers
}

// image asks for an image under all its names, and for all below it beside each.
func (f *proof) image(ctx context.Context, image placed) error {
	for _, d := range image.names {
		to := f.p.im.options.Placement.pushed(d)
		got, err := f.node(ctx, to)
		if err == nil && got != image.Digest {
			err = &anotherError{to, got, image.Digest}
		}
		if err == nil {
			err = f.below(ctx, to, image.Digest)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *proof) below(ctx context.Context, to oci.Reference, root digest.Digest) error {
	for _, n := range f.p.below(root) {
		if n.Digest != root {
			if _, err := f.node(ctx, to.WithDigest(n.Digest)); err != nil {
				return err
			}
		}
		for _, d := range n.blobs() {
			if err := f.blob(ctx, to, d); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *proof) node(ctx context.Context, at oci.Reference) (digest.Digest, error) {
	return f.answers.ask(at.String(), func() (digest.Digest, error) {
		n, err := f.p.im.client.Kept(ctx, at)
		return n.Descriptor.Digest, err
	})
}

func (f *proof) blob(ctx context.Context, to oci.Reference, d digest.Digest) error {
	_, err := f.answers.ask(to.Name()+" "+d.String(), func() (digest.Digest, error) {
		found, err := f.p.im.client.HasBlob(ctx, to, f.p.blobs[d].entry.descriptor())
		if err == nil && !found {
			err = &lostError{to, d}
		}
		return d, err
	})
	return err
}

// lostError: a registry has lost a blob that it had.
type lostError struct {
	from oci.Reference
	blob digest.Digest
}

func (e *lostError) Error() string { return fmt.Sprintf("%s has lost %s", e.from.Name(), e.blob) }
