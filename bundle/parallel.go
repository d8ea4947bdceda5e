package bundle

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// forEach runs do for 0…n-1, at most jobs at a time, until one fails.
func forEach(ctx context.Context, jobs, n int, do func(context.Context, int) error) error {
	g, running := errgroup.WithContext(ctx)
	g.SetLimit(jobs)
	for i := range n {
		if running.Err() != nil {
			break
		}
		g.Go(func() error { return do(running, i) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}
