package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// PutBlob uploads a blob in one piece to the repository of r. open gives its
// bytes from the start; it is called for each try.
//
// The last bytes are sent only after the reader has returned io.EOF: one that
// checks what it reads, and ends in an error instead, keeps the registry from
// ever seeing the whole blob. Its error ends the upload at once and is what
// PutBlob returns, as is a blob that is longer or shorter than d.Size.
func (c *Client) PutBlob(ctx context.Context, r Reference, d ocispec.Descriptor, open func() (io.ReadCloser, error)) error {
	_, err := retry(ctx, c, r.Registry, func() (struct{}, error) {
		return struct{}{}, c.putBlob(ctx, r, d, open)
	})
	return err
}

// PutBlobOnce is PutBlob for bytes that can be read only once. To begin the
// upload is tried as often as anything, since nothing was read yet; to send the
// bytes is tried once. contents is not read any more when it returns.
func (c *Client) PutBlobOnce(ctx context.Context, r Reference, d ocispec.Descriptor, contents io.Reader) error {
	return c.putBlob(ctx, r, d, func() (io.ReadCloser, error) { return io.NopCloser(contents), nil })
}

func (c *Client) putBlob(ctx context.Context, r Reference, d ocispec.Descriptor, open func() (io.ReadCloser, error)) error {
	u, err := c.BeginUpload(ctx, r, d)
	if err != nil {
		return err
	}
	source, err := open()
	if err != nil {
		u.Cancel(ctx)
		return err
	}
	_, err = u.transfer(ctx, u.last(), source, d.Size)
	if failure := (*sourceError)(nil); errors.As(err, &failure) {
		u.Cancel(ctx)
		return failure.error
	}
	if isCode(err, "BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID") {
		return transientError{err} // it has forgotten the upload: begin another
	}
	return err
}

// Upload is a blob on its way to a registry in parts. Between them any time may
// pass that the registry allows; distribution keeps an upload for a week.
type Upload struct {
	client *Client
	to     Reference
	blob   ocispec.Descriptor
	at     *url.URL // where the next request goes
	done   int64    // bytes that the registry has
}

// BeginUpload begins to upload a blob to the repository of r. Either Commit or
// Cancel ends it.
func (c *Client) BeginUpload(ctx context.Context, r Reference, d ocispec.Descriptor) (*Upload, error) {
	if err := checkDigest(d.Digest); err != nil {
		return nil, fmt.Errorf("push blob: %w", err)
	}
	resp, err := c.do(ctx, ask(http.MethodPost, r, push, "/blobs/uploads/", http.StatusAccepted))
	if err != nil {
		return nil, err
	}
	u := &Upload{client: c, to: r, blob: d}
	if err := u.move(resp); err != nil {
		return nil, err
	}
	return u, nil
}

// Append sends the next size bytes, which are all that part has. It tries once,
// since part can be read only once; after an error the upload can only be given
// up. As in PutBlob, an error of part is what it returns, and keeps its last
// bytes from being sent. part is not read any more when it returns.
func (u *Upload) Append(ctx context.Context, part io.Reader, size int64) error {
	if size < 0 || size > u.blob.Size-u.done {
		return fmt.Errorf("push blob %s: %d bytes do not follow the first %d of %d", u.blob.Digest, size, u.done, u.blob.Size)
	}
	if size == 0 {
		return nil
	}
	if err := u.wake(ctx); err != nil {
		return err
	}
	q := u.request(http.MethodPatch, u.at, http.StatusAccepted, http.StatusNoContent, http.StatusCreated)
	q.header.Set("Content-Range", fmt.Sprintf("%d-%d", u.done, u.done+size-1))
	resp, err := u.transfer(ctx, q, io.NopCloser(part), size)
	if failure := (*sourceError)(nil); errors.As(err, &failure) {
		return failure.error
	}
	if err != nil {
		return err
	}
	u.done += size
	return u.move(resp)
}

// wake asks something that can be asked again, and soon. After a pause the login
// may have run out, and the connection may be dead without anybody knowing: both
// would cost the one try that a part has, and the latter the long wait for the
// answer to the last request.
func (u *Upload) wake(ctx context.Context) error {
	if u.done == 0 {
		return nil // it was just begun
	}
	_, err := u.client.HasBlob(ctx, u.to, u.blob.Digest)
	return err
}

// Commit says that all of the blob was sent. The registry keeps it under its
// digest, if the bytes have that.
func (u *Upload) Commit(ctx context.Context) error {
	if u.done != u.blob.Size {
		return fmt.Errorf("push blob %s: only %d of %d bytes were sent", u.blob.Digest, u.done, u.blob.Size)
	}
	if err := u.wake(ctx); err != nil {
		return err
	}
	q := u.last()
	q.limit, q.body = u.client.commit, http.NoBody
	_, err := u.client.do(ctx, q)
	if IsRefusal(err) {
		// The answer to an earlier try may have been lost: the upload is no more then.
		if has, asked := u.client.HasBlob(ctx, u.to, u.blob.Digest); has && asked == nil {
			return nil
		}
	}
	return err
}

// Cancel gives the upload up. It tries once: a registry throws away by itself
// what is never finished.
func (u *Upload) Cancel(ctx context.Context) {
	q := u.request(http.MethodDelete, u.at, http.StatusNoContent, http.StatusOK, http.StatusAccepted)
	q.header.Del("Content-Type")
	if resp, err := u.client.send(ctx, q); err == nil {
		drain(resp)
	}
}

// request starts a request about the upload.
func (u *Upload) request(method string, at *url.URL, want ...int) request {
	q := ask(method, u.to, push, "", want...)
	q.url, q.aside = at, true
	q.header.Set("Content-Type", "application/octet-stream")
	return q
}

// last starts the request that ends the upload well.
func (u *Upload) last() request {
	at := *u.at
	query := at.Query()
	query.Set("digest", string(u.blob.Digest))
	at.RawQuery = query.Encode()
	return u.request(http.MethodPut, &at, http.StatusCreated, http.StatusNoContent, http.StatusOK)
}

// transfer sends a request whose body are all size bytes of the source, which it
// closes.
func (u *Upload) transfer(ctx context.Context, q request, source io.ReadCloser, size int64) (*http.Response, error) {
	body := &uploadBody{source: source, left: size, commit: u.client.commit}
	defer body.Close()
	q.body, q.size = body, size
	if size == 0 {
		if _, err := body.Read(make([]byte, 1)); err != io.EOF {
			return nil, err
		}
		q.body, q.limit = http.NoBody, u.client.commit
	}
	resp, err := u.client.send(ctx, q)
	if err == nil {
		drain(resp)
	}
	if failure := body.end(); failure != nil {
		return nil, failure
	}
	if err == nil && !body.sentAll() {
		err = fmt.Errorf("push blob %s: %s answered before it had everything", u.blob.Digest, resp.Request.URL.Host)
	}
	return resp, err
}

// move takes the place that an answer names for the next request.
func (u *Upload) move(resp *http.Response) error {
	at, err := resp.Location()
	if err != nil {
		return fmt.Errorf("push blob %s: the registry names no place for it", u.blob.Digest)
	}
	u.at = at
	return nil
}
