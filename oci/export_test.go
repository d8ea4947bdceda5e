package oci

import (
	"io"
	"time"
)

// SetLimits shortens the limits of time.
func (c *Client) SetLimits(stall, commit time.Duration) { c.stall, c.commit = stall, commit }

// SetIdle shortens the time after which a blob's reader counts as idle.
func (c *Client) SetIdle(d time.Duration) { c.idle = d }

// RetryAfter is the parser of the header.
var RetryAfter = retryAfter

// Bounded is a reader as layers are read through, with another limit.
func Bounded(r io.Reader, limit int64) io.Reader { return &bounded{r, limit} }

// SetNotice shortens the time after which somebody is told of a stall.
func (c *Client) SetNotice(d time.Duration) { c.notices.limit = d }

// SetNotices sets who is told, and the first wait between two tries.
func (c *Client) SetNotices(tell func(string), backoff time.Duration) {
	c.notices.tell, c.backoff = tell, backoff
}

// Paces is how many requests of pushes a registry gets at once.
func (c *Client) Paces(registry string) int {
	p := c.pace(registry)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.limit
}

// Rests is how long a registry is not to be asked.
func (c *Client) Rests(registry string) time.Duration {
	p := c.pace(registry)
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(0, time.Until(p.until))
}

// Piece is how much of a blob a registry is sent with one request.
func (c *Client) Piece(registry string) int64 { return c.piece(registry) }
