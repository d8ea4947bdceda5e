package oci

import (
	"context"
	"net/http"
	"net/url"
)

// CanPush asks whether content may be pushed to the repository of r, and leaves
// none there: some registries say only when an upload begins that it may not be,
// so one is begun and given up. Where a first push makes a repository, this may
// make it already.
func (c *Client) CanPush(ctx context.Context, r Reference) error {
	resp, err := c.do(ctx, ask(http.MethodPost, r, push, "/blobs/uploads/", http.StatusAccepted))
	if err != nil {
		return err
	}
	if u := (&Upload{client: c, to: r}); u.move(resp) == nil {
		u.Cancel(ctx)
	}
	return nil
}

// HasRepository asks whether the repository of r is there, and may be pulled
// from. It writes nothing, and asks for leave to pull only: Quay makes a
// repository when somebody asks for leave to push to it (quay/quay,
// endpoints/v2/v2auth.py).
func (c *Client) HasRepository(ctx context.Context, r Reference) (bool, error) {
	q := ask(http.MethodGet, r, pull, "/tags/list", http.StatusOK)
	q.url.RawQuery = url.Values{"n": {"1"}}.Encode()
	_, err := c.do(ctx, q)
	if IsMissing(err) {
		return false, nil
	}
	return err == nil, err
}

// TokenRealm is where the registry of r sends for tokens, as it says to whoever has
// none; "" if it wants none.
func (c *Client) TokenRealm(ctx context.Context, r Reference) (string, error) {
	registry, err := c.registry(r)
	if err != nil {
		return "", err
	}
	g, err := c.greeting(ctx, registry, r)
	if err != nil {
		return "", err
	}
	return g.bearer["realm"], nil
}
