package oci

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Upload is a blob on its way to a registry in parts, between which any time may
// pass that the registry allows (distribution keeps uploads for days).
type Upload struct {
	client *Client
	begun  request  // what began it
	at     *url.URL // where the next request goes
	blob   ocispec.Descriptor
	done   int64 // bytes that the registry has
}

// BeginUpload begins to upload a blob to the repository of r. Either Commit or
// Cancel ends it.
func (c *Client) BeginUpload(ctx context.Context, r Reference, d ocispec.Descriptor) (*Upload, error) {
	if err := checkDigest(d.Digest); err != nil {
		return nil, fmt.Errorf("push blob: %w", err)
	}
	u := &Upload{client: c, begun: ask(http.MethodPost, r, push, "/blobs/uploads/", http.StatusAccepted), blob: d}
	resp, err := c.do(ctx, u.begun)
	if err != nil {
		return nil, err
	}
	return u, u.move(resp)
}

// Append sends the next size bytes. It tries once: part can be read only once.
func (u *Upload) Append(ctx context.Context, part io.Reader, size int64) error {
	body := &upload{source: io.NopCloser(part), left: size, commit: u.client.commit}
	defer body.Close()
	q := u.begun
	q.method, q.url, q.aside = http.MethodPatch, u.at, true
	q.header = http.Header{
		"Content-Type":  {"application/octet-stream"},
		"Content-Range": {fmt.Sprintf("%d-%d", u.done, u.done+size-1)},
	}
	q.want = []int{http.StatusAccepted, http.StatusNoContent, http.StatusCreated}
	q.body, q.size = body, size
	resp, err := u.client.send(ctx, q)
	if failure := body.end(); failure != nil {
		if err == nil {
			drain(resp)
		}
		return failure
	}
	if err != nil {
		return err
	}
	drain(resp)
	u.done += size
	return u.move(resp)
}

// Commit says that all of the blob was sent. The registry keeps it under its
// digest, if the bytes have that.
func (u *Upload) Commit(ctx context.Context) error {
	at := *u.at
	query := at.Query()
	query.Set("digest", string(u.blob.Digest))
	at.RawQuery = query.Encode()
	q := u.begun
	q.method, q.url, q.aside, q.limit = http.MethodPut, &at, true, u.client.commit
	q.header = http.Header{"Content-Type": {"application/octet-stream"}}
	q.body, q.size = http.NoBody, 0
	q.want = []int{http.StatusCreated, http.StatusNoContent, http.StatusOK}
	_, err := u.client.do(ctx, q)
	return err
}

// Cancel gives the upload up: the registry keeps nothing of it. It tries once.
func (u *Upload) Cancel(ctx context.Context) { u.client.cancelAt(ctx, u.begun, u.at) }

// move takes the place that an answer names.
func (u *Upload) move(resp *http.Response) error {
	at, err := resp.Location()
	if err != nil {
		return fmt.Errorf("push blob %s: the registry names no place for it", u.blob.Digest)
	}
	u.at = at
	return nil
}
