package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// uploadChunk is how many bytes of an upload are held back, at least one.
const uploadChunk = 64 << 10

// PutBlob uploads a blob in one piece to the repository of r. open gives its
// bytes from the start; it is called for each try.
//
// The last bytes are sent only after the reader has returned io.EOF: one that
// checks what it reads, and ends in an error instead, keeps the registry from
// ever seeing the whole blob. Its error ends the upload at once and is what
// PutBlob returns, as is a blob that is longer or shorter than d.Size.
func (c *Client) PutBlob(ctx context.Context, r Reference, d ocispec.Descriptor, open func() (io.ReadCloser, error)) error {
	if err := checkDigest(d.Digest); err != nil {
		return fmt.Errorf("push blob: %w", err)
	}
	_, err := retry(ctx, c, func() (struct{}, error) {
		return struct{}{}, c.putBlob(ctx, r, d, open)
	})
	return err
}

// PutBlobOnce is PutBlob for bytes that can be read only once: one try.
func (c *Client) PutBlobOnce(ctx context.Context, r Reference, d ocispec.Descriptor, contents io.Reader) error {
	if err := checkDigest(d.Digest); err != nil {
		return fmt.Errorf("push blob: %w", err)
	}
	return c.putBlob(ctx, r, d, func() (io.ReadCloser, error) { return io.NopCloser(contents), nil })
}

func (c *Client) putBlob(ctx context.Context, r Reference, d ocispec.Descriptor, open func() (io.ReadCloser, error)) error {
	begin := ask(http.MethodPost, r, push, "/blobs/uploads/", http.StatusAccepted)
	begun, err := c.send(ctx, begin)
	if err != nil {
		return err
	}
	drain(begun)
	put := begin
	if put.url, err = begun.Location(); err != nil {
		return fmt.Errorf("push blob %s: the registry names no place for it", d.Digest)
	}
	query := put.url.Query()
	query.Set("digest", string(d.Digest))
	put.url.RawQuery = query.Encode()
	put.method, put.want = http.MethodPut, []int{http.StatusCreated, http.StatusNoContent, http.StatusOK}
	put.aside = true
	put.header = http.Header{"Content-Type": {"application/octet-stream"}}
	err = c.transfer(ctx, put, d, open)
	if failure := (*sourceError)(nil); errors.As(err, &failure) {
		c.cancel(ctx, begin, begun)
		return failure.error
	}
	if isCode(err, "BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID") {
		return transientError{err} // it has forgotten the upload: begin another
	}
	return err
}

// transfer sends the bytes.
func (c *Client) transfer(ctx context.Context, q request, d ocispec.Descriptor, open func() (io.ReadCloser, error)) error {
	source, err := open()
	if err != nil {
		return &sourceError{err}
	}
	body := &upload{source: source, left: d.Size, commit: c.commit}
	defer body.Close()
	if d.Size == 0 {
		if _, err := body.Read(make([]byte, 1)); err != io.EOF {
			return err
		}
		q.body, q.limit = http.NoBody, c.commit
	} else {
		q.body, q.size = body, d.Size
	}
	resp, err := c.send(ctx, q)
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
	if !body.sentAll() {
		return fmt.Errorf("push blob %s: %s answered before it had everything", d.Digest, resp.Request.URL.Host)
	}
	return nil
}

// sourceError is an error of what is uploaded, not of the network.
type sourceError struct{ error }

func (e *sourceError) Unwrap() error { return e.error }

var errUploadEnded = errors.New("the upload has ended")

// upload is the body of an upload. It always knows what follows the bytes that
// it gives: they are the last ones only if the source has ended well.
type upload struct {
	commit time.Duration
	watch  *watchdog

	mu     sync.Mutex // net/http may read on when it has answered
	source io.ReadCloser
	ready  []byte // may be given
	held   []byte // may be given once more was read, or the end
	left   int64  // bytes to come from the source
	ended  bool   // the source gave io.EOF in its place
	failed error  // the source's own, or what is wrong with its length
	closed bool
}

func (u *upload) Read(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.pause()
	defer u.resume()
	for len(u.ready) == 0 {
		switch {
		case u.closed:
			return 0, errUploadEnded
		case u.failed != nil:
			return 0, u.failed
		case u.ended:
			return 0, io.EOF
		}
		u.advance()
	}
	n := copy(p, u.ready)
	u.ready = u.ready[n:]
	return n, nil
}

// advance reads the next chunk, or the end, and lets the chunk before it go.
func (u *upload) advance() {
	chunk := make([]byte, uploadChunk)
	n, err := fill(u.source, chunk)
	u.left -= int64(n)
	switch {
	case err != nil && err != io.EOF:
		u.failed = &sourceError{err}
	case u.left < 0:
		u.failed = &sourceError{errors.New("read blob to push: it is longer than its descriptor says")}
	case err == io.EOF && u.left > 0:
		u.failed = &sourceError{fmt.Errorf("read blob to push: it ends %d bytes early", u.left)}
	case err == io.EOF:
		u.ready, u.held, u.ended = append(u.held, chunk[:n]...), nil, true
	default:
		u.ready, u.held = u.held, chunk
	}
}

// fill reads until the chunk is full or the source ends or fails. Unlike
// io.ReadFull it hands on every error as it is.
func fill(r io.Reader, chunk []byte) (n int, err error) {
	for empty := 0; n < len(chunk) && err == nil; {
		var got int
		got, err = r.Read(chunk[n:])
		n += got
		if empty++; got > 0 {
			empty = 0
		}
		if empty > 100 {
			err = io.ErrNoProgress
		}
	}
	return n, err
}

// pause stops the watchdog: it is us who are read from.
func (u *upload) pause() {
	if u.watch != nil {
		u.watch.stop()
	}
}

// resume lets the watchdog wait for the network to take what it was given; or,
// after the last of it, for the registry to store it.
func (u *upload) resume() {
	switch {
	case u.watch == nil || u.closed:
	case u.ended && len(u.ready) == 0:
		u.watch.start(u.commit)
	default:
		u.watch.start(u.watch.limit)
	}
}

// Close ends the reading of the source.
func (u *upload) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return nil
	}
	u.closed = true
	return u.source.Close()
}

// end closes the upload and gives the failure of its source, if there was one.
func (u *upload) end() error {
	u.Close()
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.failed
}

// sentAll says whether everything was given to the network.
func (u *upload) sentAll() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.ended && len(u.ready) == 0
}
