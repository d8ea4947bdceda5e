package oci

import (
	"context"
	"fmt"
	"net/http"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// CanPullBlob asks whether a blob can be had from the repository of r with leave
// to pull alone, as nodes do, and not whether it could be pushed. It is an error
// if it cannot, also if the registry says that it has another size. The bytes
// are not read: see [Client.Blob].
func (c *Client) CanPullBlob(ctx context.Context, r Reference, d ocispec.Descriptor) error {
	resp, err := c.do(ctx, ask(http.MethodHead, c.Locate(r), pull, "/blobs/"+string(d.Digest), http.StatusOK))
	if isStatus(err, http.StatusBadRequest, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusNotImplemented) {
		return c.tryBlob(ctx, r, d) // some storage services take no HEAD where they take a GET
	}
	if err != nil {
		return err
	}
	if n := resp.ContentLength; n >= 0 && n != d.Size {
		return fmt.Errorf("the registry has %d bytes of blob %s, not %d: %w", n, d.Digest, d.Size, ErrOtherSize)
	}
	return nil
}

// tryBlob opens a blob, and reads none of it.
func (c *Client) tryBlob(ctx context.Context, r Reference, d ocispec.Descriptor) error {
	body, err := c.BlobRange(ctx, r, d, 0, min(1, d.Size))
	if err != nil {
		return err
	}
	return body.Close()
}
