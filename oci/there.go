package oci

import (
	"context"
	"fmt"
	"io"
	"net/http"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// HasBlob asks whether the repository of r has a blob, at the place itself, not at a
// mirror, with the login for pushing. It is an ErrOtherSize if what it has is of another
// size: to upload it would not replace that (distribution 2.8 and 3 answer 201 and
// keep the file that they have).
func (c *Client) HasBlob(ctx context.Context, r Reference, d ocispec.Descriptor) (bool, error) {
	err := c.findBlob(ctx, r, push, d)
	if IsMissing(err) {
		return false, nil
	}
	return err == nil, err
}

// CanPullBlob asks whether a blob can be had from the repository of r with leave
// to pull alone, as nodes do, and not whether it could be pushed. It is an error
// if it cannot; an ErrOtherSize if what is there has another size. At most one byte is
// read: see [Client.Blob].
func (c *Client) CanPullBlob(ctx context.Context, r Reference, d ocispec.Descriptor) error {
	at := c.Locate(r)
	err := c.findBlob(ctx, at, pull, d)
	if isStatus(err, http.StatusBadRequest, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusNotImplemented) {
		return c.tryBlob(ctx, at, pull, d) // some storage services take no HEAD where they take a GET
	}
	return err
}

// findBlob asks for a blob by HEAD. A length of 0 may be that of a file that lost its
// bytes with the power, or none that a proxy knows: then it is a byte that counts.
func (c *Client) findBlob(ctx context.Context, at Reference, as action, d ocispec.Descriptor) error {
	resp, err := c.do(ctx, ask(http.MethodHead, at, as, "/blobs/"+string(d.Digest), http.StatusOK))
	if err != nil {
		return err
	}
	if resp.ContentLength <= 0 && d.Size > 0 {
		return c.tryBlob(ctx, at, as, d)
	}
	return checkSize(at, d, resp.ContentLength)
}

// tryBlob reads the first byte of a blob, if it has any.
func (c *Client) tryBlob(ctx context.Context, at Reference, as action, d ocispec.Descriptor) error {
	body, err := c.openBlob(ctx, at, as, d, 0, min(1, d.Size))
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(io.Discard, body)
	return err
}

// checkSize holds the length that an answer gives against that of a blob; below 0 it
// gives none.
func checkSize(at Reference, d ocispec.Descriptor, length int64) error {
	if length >= 0 && length != d.Size {
		return fmt.Errorf("%s has %d bytes of blob %s, not %d: %w", at.Name(), length, d.Digest, d.Size, ErrOtherSize)
	}
	return nil
}
