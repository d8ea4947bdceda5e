package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// errRange is an answer to a request for a range that does not fit it.
var errRange = errors.New("the range is not the one that was asked for")

// Blob opens a blob for reading: exactly d.Size bytes, or an error. It is
// BlobRange of all of it.
func (c *Client) Blob(ctx context.Context, r Reference, d ocispec.Descriptor) (io.ReadCloser, error) {
	return c.BlobRange(ctx, r, d, 0, d.Size)
}

// BlobRange opens length bytes of a blob from offset on: exactly these, or an
// error. That the digest of the blob is d.Digest is NOT checked: the caller
// hashes what it reads.
//
// When the connection breaks or the registry answers that it is busy, the reader
// goes back to the registry, to be sent to the storage anew, and asks for the
// rest as a closed range. A registry that does not know ranges is read from the
// start. Each byte is progress after which the tries count anew; the loss of a
// connection that the caller left alone for a second counts as none, once.
//
// An answer such as 404 comes from BlobRange itself; no bytes of a blob that has
// some are none without asking. The reader ends with the context; it must be
// closed. A connection is used again only if its reader was read to io.EOF.
func (c *Client) BlobRange(ctx context.Context, r Reference, d ocispec.Descriptor, offset, length int64) (io.ReadCloser, error) {
	return c.openBlob(ctx, c.Locate(r), pull, d, offset, length)
}

// openBlob is BlobRange at the place itself, with a login for what it is read for.
func (c *Client) openBlob(ctx context.Context, from Reference, as action, d ocispec.Descriptor, offset, length int64) (io.ReadCloser, error) {
	if err := checkDigest(d.Digest); err != nil {
		return nil, fmt.Errorf("open blob: %w", err)
	}
	if d.Size < 0 || d.Size > MaxBlobSize {
		return nil, fmt.Errorf("open blob %s: size %d is outside of 0…%d", d.Digest, d.Size, int64(MaxBlobSize))
	}
	if offset < 0 || length < 0 || offset > d.Size-length {
		return nil, fmt.Errorf("open blob %s: it has no %d bytes from byte %d on", d.Digest, length, offset)
	}
	b := &blob{ctx: ctx, client: c, from: from, as: as, d: d, offset: offset, end: offset + length, attempts: c.attempts(from.Registry), read: time.Now()}
	for b.body == nil && (length > 0 || d.Size == 0) {
		if err := b.open(); err != nil {
			if err := b.attempts.next(ctx, err); err != nil {
				return nil, err
			}
		}
	}
	return b, nil
}

// blob reads one blob through as many connections as it takes.
type blob struct {
	ctx      context.Context
	client   *Client
	from     Reference
	as       action
	d        ocispec.Descriptor
	attempts *attempts

	body   io.ReadCloser // nil between two connections
	skip   int64         // bytes of body that were read before
	offset int64         // of the blob's next byte for the caller
	end    int64         // of the range that was asked for
	whole  bool          // ranges are of no use here
	idled  bool          // the caller left the connection at hand alone
	read   time.Time     // when the caller last got something
	err    error         // the end: io.EOF, or what went wrong
}

func (b *blob) Read(p []byte) (int, error) {
	if len(p) == 0 || b.err != nil {
		return 0, b.err
	}
	// What the kernel holds of a lost connection is still read before its loss is seen.
	b.idled = b.idled || time.Since(b.read) >= b.client.idle
	n, err := b.next(p)
	b.read = time.Now()
	if err != nil {
		b.err = err
		b.Close()
	}
	return n, err
}

// next reads the next bytes, from the connection at hand or from others.
func (b *blob) next(p []byte) (int, error) {
	for {
		n, err := b.try(p)
		if n > 0 || err == nil || err == io.EOF {
			return n, err
		}
		b.close()
		_, retryable := isRetryable(err)
		forgiven := b.idled && retryable && b.ctx.Err() == nil
		b.idled = false // the next connection was not left alone
		if forgiven {
			continue
		}
		if err := b.attempts.next(b.ctx, err); err != nil {
			return 0, fmt.Errorf("read blob %s at byte %d of %d: %w", b.d.Digest, b.offset, b.d.Size, err)
		}
	}
}

// try reads once, having opened a connection if there is none. Having read
// everything it makes sure that nothing follows.
func (b *blob) try(p []byte) (int, error) {
	left := b.end - b.offset
	if b.body == nil {
		if left == 0 {
			return 0, io.EOF // it broke after the last byte
		}
		if err := b.open(); err != nil {
			return 0, err
		}
	}
	if left == 0 {
		return 0, b.atEnd()
	}
	if err := b.discard(); err != nil {
		return 0, err
	}
	n, err := b.body.Read(p[:min(int64(len(p)), left)])
	if b.offset += int64(n); n > 0 {
		b.attempts.progress()
		return n, nil
	}
	return 0, cut(err)
}

// cut is what an error means before the last byte was read. An end that comes
// too early may be that of a proxy on the way.
func cut(err error) error {
	if err == io.EOF {
		return transientError{io.ErrUnexpectedEOF}
	}
	return err
}

// atEnd gives io.EOF if the body ends here, as it must unless a registry sends
// the whole blob whatever it is asked for.
func (b *blob) atEnd() error {
	if b.whole && b.end < b.d.Size {
		return io.EOF
	}
	var one [1]byte
	for range 100 {
		n, err := b.body.Read(one[:])
		switch {
		case n > 0:
			return fmt.Errorf("the registry sent more than was asked for: the bytes up to %d of %d", b.end, b.d.Size)
		case err != nil:
			return io.EOF // broken or not, all is there
		}
	}
	return io.EOF
}

// discard reads what was read before.
func (b *blob) discard() error {
	for b.skip > 0 {
		n, err := io.CopyN(io.Discard, b.body, min(b.skip, 1<<20))
		b.skip -= n
		if err != nil {
			return cut(err)
		}
	}
	return nil
}

// open asks the registry for what is left. If that is everything, not as a range:
// so the size is seen.
func (b *blob) open() error {
	q := ask(http.MethodGet, b.from, b.as, "/blobs/"+string(b.d.Digest), http.StatusOK)
	ranged := (b.offset > 0 || b.end < b.d.Size) && !b.whole
	if ranged {
		q.header.Set("Range", fmt.Sprintf("bytes=%d-%d", b.offset, b.end-1))
		q.want = []int{http.StatusOK, http.StatusPartialContent}
	}
	resp, err := b.client.send(b.ctx, q)
	if ranged && isStatus(err, http.StatusRequestedRangeNotSatisfiable) {
		b.ignored()
		return transientError{err}
	}
	if err != nil {
		return err
	}
	if err := b.accept(resp); err != nil {
		resp.Body.Close()
		return err
	}
	b.body = resp.Body
	return nil
}

// accept holds an answer against what was asked for.
func (b *blob) accept(resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		if resp.Request.Header.Get("Range") != "" {
			b.ignored()
		}
		b.skip = b.offset
		return checkSize(b.from, b.d, resp.ContentLength)
	}
	var first, last, total int64
	said := resp.Header.Get("Content-Range")
	if _, err := fmt.Sscanf(said, "bytes %d-%d/%d", &first, &last, &total); err != nil {
		total = b.d.Size // it may be *
		_, err = fmt.Sscanf(said, "bytes %d-%d/*", &first, &last)
		if err != nil {
			first = -1
		}
	}
	if first == b.offset && total != b.d.Size {
		return checkSize(b.from, b.d, total)
	}
	if first != b.offset || last < first || last >= b.end {
		b.ignored()
		return transientError{requestError(resp.Request.Method, resp.Request.URL, fmt.Errorf("%w: %q", errRange, clean(said)))}
	}
	b.skip = 0
	return nil
}

// ignored notes that ranges are of no use here.
func (b *blob) ignored() {
	b.whole = true
	b.client.rangeless.Store(b.from.Registry, true)
}

// IgnoresRanges says whether the registry that r is fetched from has answered a
// request for a range with something else. Whoever wants a blob in pieces better
// reads it from start to end there.
func (c *Client) IgnoresRanges(r Reference) bool {
	_, ignores := c.rangeless.Load(c.Locate(r).Registry)
	return ignores
}

func (b *blob) close() {
	if b.body != nil {
		b.body.Close()
		b.body = nil
	}
}

// Close ends the reading. It never fails.
func (b *blob) Close() error {
	b.close()
	if b.err == nil {
		b.err = errors.New("read blob: it is closed")
	}
	return nil
}
