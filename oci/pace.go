package oci

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// goodAnswers is how many answers in a row allow one request more at once.
const goodAnswers = 10

// pace is how a registry wants to be asked: by how many requests of pushes at
// once, which halves when it fails or has too many and grows back slowly, and from when
// on, if it said so. Pulls keep to the latter alone: a push may read what it sends
// from the same registry, and must not wait for itself.
type pace struct {
	most int

	mu      sync.Mutex
	limit   int           // requests at once
	running int           // requests
	good    int           // answers since the limit changed
	halved  int           // how often that was
	changed chan struct{} // closed when somebody may go on
	until   time.Time     // nobody asks before
}

// pace is that of a registry.
func (c *Client) pace(registry string) *pace {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.paces[registry]
	if p == nil {
		p = &pace{most: c.jobs, limit: c.jobs, changed: make(chan struct{})}
		c.paces[registry] = p
	}
	return p
}

// paced does one try of a request when its registry wants it.
func (c *Client) paced(ctx context.Context, q request, try func() (*http.Response, error)) (*http.Response, error) {
	p := c.pace(q.session.registry)
	if q.session.action == push {
		return c.limited(ctx, p, q.session.registry, try)
	}
	return p.ask(ctx, try)
}

// limited is one of the requests that there may be so many of at once.
func (c *Client) limited(ctx context.Context, p *pace, registry string, try func() (*http.Response, error)) (*http.Response, error) {
	before, err := p.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer p.leave()
	resp, err := p.ask(ctx, try)
	var answer *StatusError
	switch {
	case errors.As(err, &answer) && isOverload(answer.Status):
		if limit, less := p.less(before); less {
			c.notices.about("pace", registry, fmt.Sprintf("%s answers %d: it gets at most %d requests at once", registry, answer.Status, limit))
		}
	case err == nil || answer != nil:
		p.more()
	}
	return resp, err
}

// ask does one try when the registry may be asked, and heeds when it may be again.
func (p *pace) ask(ctx context.Context, try func() (*http.Response, error)) (*http.Response, error) {
	if err := p.rest(ctx); err != nil {
		return nil, err
	}
	resp, err := try()
	if answer := (*StatusError)(nil); errors.As(err, &answer) && isOverload(answer.Status) {
		p.pause(answer.RetryAfter)
	}
	return resp, err
}

// isOverload says whether a status means that fewer requests would fare better.
func isOverload(status int) bool {
	return isRetryableStatus(status) && status != http.StatusRequestTimeout
}

// enter waits for its turn. It gives how often the limit was halved by then.
func (p *pace) enter(ctx context.Context) (halved int, err error) {
	for {
		p.mu.Lock()
		if p.running < p.limit {
			p.running++
			halved := p.halved
			p.mu.Unlock()
			return halved, nil
		}
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, ended(ctx)
		}
	}
}

func (p *pace) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running--
	p.wake()
}

// wake lets those who wait look again.
func (p *pace) wake() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// less halves the limit, once for all requests that were under way together:
// before is what enter gave.
func (p *pace) less(before int) (limit int, less bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.good = 0
	if before != p.halved || p.limit == 1 {
		return p.limit, false
	}
	p.limit, p.halved = p.limit/2, p.halved+1
	return p.limit, true
}

// more counts a good answer.
func (p *pace) more() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.good++; p.good >= goodAnswers && p.limit < p.most {
		p.good = 0
		p.limit++
		p.wake()
	}
}

// pause lets nobody ask for a while. A registry that wants more than it may has
// said no to one request, not to all.
func (p *pace) pause(d time.Duration) {
	if d > maxRetryAfter {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if until := time.Now().Add(d); until.After(p.until) {
		p.until = until
	}
}

// rest waits until the registry may be asked. Meanwhile others may hear that it is to
// be later.
func (p *pace) rest(ctx context.Context) error {
	for {
		p.mu.Lock()
		wait := time.Until(p.until)
		p.mu.Unlock()
		if wait <= 0 {
			return nil
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}
