package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Upload is a blob on its way to a registry in parts. Between them any time may
// pass that the registry allows; distribution keeps an upload for a week.
type Upload struct {
	client *Client
	to     Reference
	blob   ocispec.Descriptor
	at     *url.URL // where the next request goes
	done   int64    // bytes that the registry has
	sent   int64    // bytes of the last request
	least  int64    // bytes of a piece that the registry wants
	once   bool     // the bytes can be read only once: let it say no before that
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
	u := &Upload{client: c, to: r, blob: d, least: least(resp.Header)}
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
	u.once = true
	err := u.patch(ctx, part, size)
	if failure := (*sourceError)(nil); errors.As(err, &failure) {
		return failure.error
	}
	return err
}

// probe asks something that can be asked again, and soon. After a pause, or a long
// piece, the login may have run out, and the connection may be dead without anybody
// knowing: both would cost the one try that a part has, and the latter the long wait
// for the answer to the last request.
func (u *Upload) probe(ctx context.Context) error {
	if u.done == 0 {
		return nil // it was just begun
	}
	_, err := u.client.HasBlob(ctx, u.to, u.blob)
	return err
}

// Commit says that all of the blob was sent. The registry keeps it under its
// digest, if the bytes have that. After an error it may keep the upload: whoever began
// it is to Cancel it.
func (u *Upload) Commit(ctx context.Context) error {
	if u.done != u.blob.Size {
		return fmt.Errorf("push blob %s: only %d of %d bytes were sent", u.blob.Digest, u.done, u.blob.Size)
	}
	if err := u.probe(ctx); err != nil {
		return err
	}
	return u.commit(ctx)
}

func (u *Upload) commit(ctx context.Context) error {
	q := u.last()
	q.limit, q.body = u.client.commit, http.NoBody
	_, err := u.client.do(ctx, q)
	if IsRefusal(err) {
		// The answer to an earlier try may have been lost: the upload is no more then.
		if has, asked := u.client.HasBlob(ctx, u.to, u.blob); has && asked == nil {
			return nil
		}
	}
	return err
}

// cancelTime is how long a registry may take to forget an upload.
const cancelTime = 10 * time.Second

// Cancel gives the upload up, also if it was the end of ctx that ended it. A registry
// that fails at it is not asked again: it throws away by itself what is never finished.
// Of an upload that broke off distribution 3 wants to hear how much there is, once it
// has written that; 2.8 does not know it any more (404 BLOB_UPLOAD_INVALID).
func (u *Upload) Cancel(ctx context.Context) {
	ctx, end := context.WithTimeout(context.WithoutCancel(ctx), cancelTime)
	defer end()
	for range u.client.tries {
		err := u.remove(ctx)
		if !isStatus(err, http.StatusRequestedRangeNotSatisfiable) || sleep(ctx, u.client.backoff) != nil || !u.resume(ctx) {
			return
		}
	}
}

func (u *Upload) remove(ctx context.Context) error {
	q := u.request(http.MethodDelete, u.at, http.StatusNoContent, http.StatusOK, http.StatusAccepted)
	q.header.Del("Content-Type")
	resp, err := u.client.send(ctx, q)
	if err == nil {
		drain(resp)
	}
	return err
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
	return u.request(http.MethodPut, &at, http.StatusCreated)
}

// transfer sends a request whose body are all size bytes of the source, which it
// closes.
func (u *Upload) transfer(ctx context.Context, q request, source io.ReadCloser, size int64) (*http.Response, error) {
	u.sent = size
	if u.once {
		q.header.Set("Expect", "100-continue")
	}
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
