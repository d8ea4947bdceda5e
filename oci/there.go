package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// HasBlob asks whether the repository of r has a blob, at the place itself, not at a
// mirror, with the login for pushing. It is a SizeError if what it has is of another
// size: to upload it would not replace that (distribution 2.8 and 3 answer 201 and
// keep the file that they have).
func (c *Client) HasBlob(ctx context.Context, r Reference, d ocispec.Descriptor) (bool, error) {
	err := c.findBlob(ctx, r, push, d)
	switch {
	case IsMissing(err):
		return false, nil
	case errors.As(err, new(*SizeError)):
		err = fmt.Errorf("%w: unless something else answers in the registry's place its storage is damaged, which no upload mends; remove that blob there and import again", err)
	}
	return err == nil, err
}

// CanPullBlob asks whether a blob can be had from the repository of r with leave
// to pull alone, as nodes do, and not whether it could be pushed. It is an error
// if it cannot; a SizeError if what is there has another size. At most one byte is
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

// SizeError: what a registry has under a digest cannot be the blob.
type SizeError struct {
	From      Reference // the repository
	Blob      digest.Digest
	Has, Size int64 // bytes: those that there are, those of the blob
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("%s has %d bytes of blob %s, not %d", e.From.Name(), e.Has, e.Blob, e.Size)
}

// checkSize holds the length that an answer gives against that of a blob; below 0 it
// gives none.
func checkSize(at Reference, d ocispec.Descriptor, length int64) error {
	if length >= 0 && length != d.Size {
		return &SizeError{at, d.Digest, length, d.Size}
	}
	return nil
}
