package bundle

import (
	"context"

	"airlift/oci"
)

// Before anything is pushed, the registry is asked for leave to push into every
// repository that needs something: a registry that lacks a project, or takes no
// path so deep, must say so for all of them at once and not for each an hour
// later. What it costs: the names of all images are asked for first, and what is
// there by then needs no leave; then one upload for each other repository is begun
// and given up, two requests.

// preflight asks for leave to push what is not there yet. Images that are there
// are recorded, and what the names of others lead to is kept. Only what refuses is a
// refusal: any other failure comes again where it matters.
func (im *Importer) preflight(ctx context.Context, p *pusher) error {
	needy, err := im.needy(ctx, p)
	if err != nil {
		return err
	}
	places := sortedPlaces(needy)
	err = forEach(ctx, jobs(im.options.Jobs), len(places), func(ctx context.Context, i int) error {
		places[i].judge(im.client.CanPush(ctx, places[i].at))
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	return closed(im.options.Placement.To, places)
}

// needy are the repositories into which something must be pushed.
func (im *Importer) needy(ctx context.Context, p *pusher) (map[oci.Reference]bool, error) {
	needy := map[oci.Reference]bool{}
	for _, images := range im.inOrder() {
		err := forEach(ctx, jobs(im.options.Jobs), len(images), func(ctx context.Context, i int) error {
			image := images[i]
			present, moved, err := p.present(ctx, image)
			if err == nil && present && im.waitsFor(image) == "" {
				im.record(ImageResult{Reference: image.Reference, Digest: image.Digest, State: StatePresent, Names: im.names(image)})
				return nil
			}
			im.mu.Lock()
			defer im.mu.Unlock()
			if err == nil && !present {
				im.met[image.Reference] = moved
			}
			for _, to := range p.repositories(image) {
				needy[to] = true
			}
			return ctx.Err()
		})
		if err != nil {
			return nil, err
		}
	}
	return needy, nil
}
