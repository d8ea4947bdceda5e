package bundle

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"airlift/oci"
)

// Before anything is pushed, the registry is asked for leave to push into every
// repository that needs something: a registry that lacks a project, or takes no
// path so deep, must say so for all of them at once and not for each an hour
// later. What it costs: the names of all images are asked for first, and what is
// there by then needs no leave; then one upload for each other repository is begun
// and given up, two requests.

// preflight asks for leave to push what is not there yet. Images that are there
// are recorded. A registry that is not available ends it; of what else fails only what
// refuses is a refusal, and the rest comes again where it matters.
func (im *Importer) preflight(ctx context.Context, p *pusher) error {
	needy, err := im.needy(ctx, p)
	if err != nil {
		return err
	}
	places := sortedPlaces(needy)
	err = im.askAll(ctx, len(places), func(ctx context.Context, i int) error {
		err := im.client.CanPush(ctx, places[i].at)
		places[i].judge(err)
		return err
	})
	if err != nil {
		return err
	}
	return closed(im.options.Placement.To, places, false)
}

// needy are the repositories into which something must be pushed.
func (im *Importer) needy(ctx context.Context, p *pusher) (map[oci.Reference]bool, error) {
	order := im.inOrder()
	images := slices.Concat(order[0], order[1])
	err := im.askAll(ctx, len(images), func(ctx context.Context, i int) error {
		_, err := im.meet(ctx, p, images[i])
		return err
	})
	needy := map[oci.Reference]bool{}
	for _, image := range images {
		if im.met[image.Reference] && im.waitsFor(image) == "" {
			im.record(ImageResult{Reference: image.Reference, Digest: image.Digest, State: StatePresent, Names: im.names(image)})
			continue
		}
		for _, to := range p.repositories(image) {
			needy[to] = true
		}
	}
	return needy, err
}

// askAll puts n questions to the registry, until it is not available any more. Errors of
// single questions are for ask to note.
func (im *Importer) askAll(ctx context.Context, n int, ask func(context.Context, int) error) error {
	return forEach(ctx, jobs(im.options.Jobs), n, func(ctx context.Context, i int) error {
		err := ask(ctx, i)
		return cmp.Or(im.outageOf(ctx, err), ctx.Err())
	})
}

// UnavailableError: the registry gives no answer, or none but that it cannot now, after
// as many tries as it is worth. What was left to do was not tried.
type UnavailableError struct {
	Host  string
	Begun bool // something may have been pushed before
	Err   error
}

func (e *UnavailableError) Error() string {
	if e.Begun {
		return fmt.Sprintf("%s is not available any more, the rest was not tried: %v", e.Host, e.Err)
	}
	return fmt.Sprintf("%s is not available, nothing was pushed: %v", e.Host, e.Err)
}

func (e *UnavailableError) Unwrap() error { return e.Err }

// outage is what has become of a registry meanwhile: one for all who ask.
type outage struct {
	mu    sync.Mutex
	found error // an *UnavailableError; nil as long as it answers
}

// outageOf tells the failure of one question from one of the registry, which it asks,
// once, whether it is there at all. nil says that it is.
func (im *Importer) outageOf(ctx context.Context, err error) error {
	if !oci.IsUnavailable(err) {
		return nil
	}
	im.outage.mu.Lock()
	defer im.outage.mu.Unlock()
	if im.outage.found == nil {
		im.outage.found = im.outageBy(im.client.Ping(ctx, im.door, true))
	}
	return im.outage.found
}

// outageBy is what the failure of a ping means, nil if the registry answers.
func (im *Importer) outageBy(ping error) error {
	if !oci.IsUnavailable(ping) {
		return nil
	}
	return &UnavailableError{im.options.Placement.To.Host, im.push != nil, ping}
}

// now is the outage that was found, if any.
func (o *outage) now() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.found
}
