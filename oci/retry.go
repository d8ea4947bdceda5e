package oci

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// maxRetryAfter is the longest wait that a registry may ask for; one that asks
// for more has said no.
const maxRetryAfter = 5 * time.Minute

// transientError is a failure of the network that may be gone the next time.
type transientError struct{ error }

func (e transientError) Unwrap() error { return e.error }

// gaveUpError ends a number of tries: whoever called for them must not begin
// anew.
type gaveUpError struct {
	error
	why string
}

func (e *gaveUpError) Error() string { return fmt.Sprintf("%s (%s)", e.error, e.why) }
func (e *gaveUpError) Unwrap() error { return e.error }

// IsUnavailable says whether err is what a host still gave, or did not, after every try
// that it was worth: no answer, or that it cannot now.
func IsUnavailable(err error) bool {
	var gaveUp *gaveUpError
	return errors.As(err, &gaveUp)
}

// ended is the error of a context that has ended: its own, and the cause if it
// was given one.
func ended(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != ctx.Err() {
		return fmt.Errorf("%w: %w", ctx.Err(), cause)
	}
	return ctx.Err()
}

// attempts counts the tries of one thing and waits between them.
type attempts struct {
	host   string // that is asked for it
	limit  int
	failed int
	waits  *backoff.ExponentialBackOff
	told   *notices
}

func (c *Client) attempts(host string) *attempts {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval = c.backoff
	waits.Multiplier = 2
	waits.MaxInterval = max(30*time.Second, c.backoff)
	waits.Reset()
	return &attempts{host: host, limit: c.tries, waits: waits, told: &c.notices}
}

// progress forgets the tries so far.
func (a *attempts) progress() {
	if a.failed > 0 {
		a.failed = 0
		a.waits.Reset()
	}
}

// next waits until it is time to try again after err, or gives the error to
// end with.
func (a *attempts) next(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ended(ctx)
	}
	asked, retryable := isRetryable(err)
	switch {
	case !retryable:
		return err
	case asked > maxRetryAfter:
		return &gaveUpError{err, fmt.Sprintf("it wants to be asked again in %s, which is too long to wait", asked.Round(time.Second))}
	}
	if a.failed++; a.failed >= a.limit {
		return &gaveUpError{err, fmt.Sprintf("tried %d times", a.failed)}
	}
	wait := max(a.waits.NextBackOff(), asked)
	a.told.again(a.host, err, wait)
	return sleep(ctx, wait)
}

// sleep waits, unless the context ends first.
func sleep(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ended(ctx)
	}
}

// isRetryable says whether err may be gone the next time, and how long the
// registry asked to wait. An answer within a transientError is one that has
// another way around it.
func isRetryable(err error) (time.Duration, bool) {
	if IsUnavailable(err) {
		return 0, false
	}
	var network transientError
	transient := errors.As(err, &network)
	var answer *StatusError
	if errors.As(err, &answer) {
		return answer.RetryAfter, transient || isRetryableStatus(answer.Status)
	}
	return 0, transient
}

func isRetryableStatus(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
		522: // Cloudflare: the origin did not answer
		return true
	}
	return false
}

// retry does something until it succeeds, or fails in a way that trying again
// cannot mend, or too often.
func retry[T any](ctx context.Context, c *Client, host string, do func() (T, error)) (T, error) {
	for a := c.attempts(host); ; {
		got, err := do()
		if err == nil {
			return got, nil
		}
		if err := a.next(ctx, err); err != nil {
			return got, err
		}
	}
}
