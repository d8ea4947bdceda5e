package bundle

import (
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
	err = askAll(ctx, im.options.Jobs, len(places), func(ctx context.Context, i int) error {
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
	err := askAll(ctx, im.options.Jobs, len(images), func(ctx context.Context, i int) error {
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

// askAll puts n questions to a registry. One that is not available is found out by the
// first, and by the last as well, for it could be the question: then no other is put,
// and the error is what it gave. Errors of single questions are for ask to note.
func askAll(ctx context.Context, most, n int, ask func(context.Context, int) error) error {
	if n == 0 {
		return nil
	}
	from, to := 1, n
	err := ask(ctx, 0)
	if oci.IsUnavailable(err) && n > 1 {
		to = n - 1
		err = ask(ctx, to)
	}
	if oci.IsUnavailable(err) {
		return err
	}
	return forEach(ctx, jobs(most), to-from, func(ctx context.Context, i int) error {
		_ = ask(ctx, from+i) // noted
		return ctx.Err()
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

// unavailable names what keeps an import from being begun.
func (im *Importer) unavailable(err error) error {
	if !oci.IsUnavailable(err) {
		return err
	}
	return &UnavailableError{Host: im.options.Placement.To.Host, Err: err}
}

// outage is what has become of a registry meanwhile: one for all who ask.
type outage struct {
	mu    sync.Mutex
	found error // an *UnavailableError; nil as long as it answers
}

// outageOf tells a failure of one image from one of the registry, which it asks, once,
// whether it is there at all. nil says that it is.
func (im *Importer) outageOf(ctx context.Context, err error) error {
	if !oci.IsUnavailable(err) {
		return nil
	}
	im.outage.mu.Lock()
	defer im.outage.mu.Unlock()
	if im.outage.found == nil {
		if err := im.client.Ping(ctx, im.door, true); oci.IsUnavailable(err) {
			im.outage.found = &UnavailableError{im.options.Placement.To.Host, true, err}
		}
	}
	return im.outage.found
}

// now is the outage that was found, if any.
func (o *outage) now() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.found
}
