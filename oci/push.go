package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Ping asks whether a registry answers and lets us in, to push to the repository
// of r or only to pull. Some registries say only when content is pushed that it
// may not be.
func (c *Client) Ping(ctx context.Context, r Reference, pushing bool) error {
	as := pull
	if pushing {
		as = push
	}
	q := ask(http.MethodGet, r, as, "", http.StatusOK)
	q.url.Path, q.aside = "/v2/", true
	_, err := c.do(ctx, q)
	return err
}

// Head asks for the descriptor of a manifest or index at the place itself, not
// at a mirror. It is what the registry says: nothing has been checked but its
// form. It logs in for pushing, since some registries deny that a repository
// without images exists to whoever only pulls.
func (c *Client) Head(ctx context.Context, r Reference) (d ocispec.Descriptor, found bool, err error) {
	q := ask(http.MethodHead, r, push, "/manifests/"+r.identifier(), http.StatusOK)
	q.header.Set("Accept", acceptNodes)
	resp, err := c.do(ctx, q)
	if err == nil {
		d = headDescriptor(resp)
	}
	if err == nil && d.Digest == "" || isStatus(err, http.StatusBadRequest, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusNotImplemented) {
		// The headers were stripped on the way; or HEAD is not known; or 403 is
		// how Artifactory says that there is none.
		var n Node
		n, err = c.node(ctx, r, push)
		d = n.Descriptor
	}
	if IsMissing(err) {
		return ocispec.Descriptor{}, false, nil
	}
	return d, err == nil, err
}

// headDescriptor reads the headers; without a digest if any is missing or
// malformed.
func headDescriptor(resp *http.Response) ocispec.Descriptor {
	d := ocispec.Descriptor{
		MediaType: nodeType(resp.Header),
		Digest:    digest.Digest(resp.Header.Get("Docker-Content-Digest")),
		Size:      resp.ContentLength,
	}
	if d.MediaType == "" || clean(d.MediaType) != d.MediaType || checkDigest(d.Digest) != nil || d.Size <= 0 || d.Size > MaxNodeSize {
		return ocispec.Descriptor{}
	}
	return d
}

// Kept is Node at the place itself, not at a mirror, with the login for pushing.
func (c *Client) Kept(ctx context.Context, r Reference) (Node, error) { return c.node(ctx, r, push) }

// Mount makes a blob of another repository of the registry, from, one of the
// repository of r too, without moving it. It reports false if the registry will
// not, or fails at it: the blob is to be uploaded then.
func (c *Client) Mount(ctx context.Context, r Reference, d digest.Digest, from string) (bool, error) {
	q := ask(http.MethodPost, r, push, "/blobs/uploads/", http.StatusCreated, http.StatusAccepted)
	q.url.RawQuery = url.Values{"mount": {string(d)}, "from": {from}}.Encode()
	q.session.from = from
	resp, err := c.do(ctx, q)
	if errors.As(err, new(*StatusError)) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if resp.StatusCode == http.StatusAccepted {
		u := &Upload{client: c, to: r}
		if u.move(resp) == nil {
			u.Cancel(ctx)
		}
		return false, nil
	}
	return true, nil
}

// PutNode pushes a manifest or index byte for byte: under r's tag if it has one,
// else under its digest. All that it points to must be there. distribution says
// DIGEST_INVALID while somebody else writes the link of a child, in place: that is
// tried again, and so is what arrived as something else.
func (c *Client) PutNode(ctx context.Context, r Reference, mediaType string, raw []byte) error {
	sum := digest.FromBytes(raw)
	if r.Digest != "" && r.Digest != sum {
		return fmt.Errorf("push %s: the manifest has the digest %s", r, sum)
	}
	name := r.Tag
	if name == "" {
		name = string(sum)
	}
	_, err := retry(ctx, c, r.Registry, func() (*http.Response, error) {
		q := ask(http.MethodPut, r, push, "/manifests/"+name, http.StatusCreated, http.StatusOK, http.StatusAccepted)
		q.header.Set("Content-Type", mediaType)
		q.body, q.size = bytes.NewReader(raw), int64(len(raw))
		resp, err := c.send(ctx, q)
		if err == nil {
			drain(resp)
			err = checkKept(r, resp, sum)
		}
		if isCode(err, "DIGEST_INVALID") { // it is right
			err = transientError{err}
		}
		return resp, err
	})
	return err
}

// checkKept holds the digest that a registry keeps a manifest under against that of what
// was sent. Another is that of what the network made of it, and may have its tag by now.
func checkKept(r Reference, resp *http.Response, sum digest.Digest) error {
	if got := resp.Header.Get("Docker-Content-Digest"); got != "" && got != string(sum) {
		return transientError{fmt.Errorf("push %s: the registry keeps it as %q, not as %s", r, clean(got), sum)}
	}
	return nil
}
