package oci

import (
	"context"
	"fmt"
	"io"
	"net/http"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Blob opens a blob for reading. The reader gives exactly d.Size bytes or an
// error, and goes on where a connection broke. It does not check the digest.
func (c *Client) Blob(ctx context.Context, r Reference, d ocispec.Descriptor) (io.ReadCloser, error) {
	b := &blobReader{ctx: ctx, client: c, at: c.Locate(r), blob: d}
	return b, b.open()
}

// blobReader reads one blob over as many connections as it takes.
type blobReader struct {
	ctx    context.Context
	client *Client
	at     Reference
	blob   ocispec.Descriptor
	body   io.ReadCloser
	offset int64 // given so far
	failed int   // connections that broke since the last byte
}

// open asks the registry for what is left, with a fresh redirect each time.
func (b *blobReader) open() error {
	body, err := retry(b.ctx, b.client, func() (io.ReadCloser, error) {
		if b.offset == 0 {
			return b.whole()
		}
		return b.rest()
	})
	b.body = body
	return err
}

func (b *blobReader) get(header http.Header, want ...int) (*http.Response, error) {
	return b.client.send(b.ctx, request{method: http.MethodGet, at: b.at, path: "blobs/" + string(b.blob.Digest), header: header, want: want})
}

// whole streams the blob from its start and drops what was given already.
func (b *blobReader) whole() (io.ReadCloser, error) {
	resp, err := b.get(nil, http.StatusOK)
	if err != nil {
		return nil, err
	}
	return b.skip(resp)
}

func (b *blobReader) skip(resp *http.Response) (io.ReadCloser, error) {
	if resp.ContentLength >= 0 && resp.ContentLength != b.blob.Size {
		_ = resp.Body.Close()
		return nil, final("%s has %d bytes at %s, not %d", b.blob.Digest, resp.ContentLength, b.at.Name(), b.blob.Size)
	}
	if _, err := io.CopyN(io.Discard, resp.Body, b.offset); err != nil {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("read %s again: %w", b.blob.Digest, err)
	}
	return resp.Body, nil
}

// rest asks for a closed range: some registries answer 416 to an open one. One
// that ignores ranges, or answers with another, is streamed from the start.
func (b *blobReader) rest() (io.ReadCloser, error) {
	last := b.blob.Size - 1
	header := http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", b.offset, last)}}
	resp, err := b.get(header, http.StatusPartialContent, http.StatusOK, http.StatusRequestedRangeNotSatisfiable)
	if err != nil {
		return nil, err
	}
	ranged := fmt.Sprintf("bytes %d-%d/", b.offset, last)
	switch answered := resp.Header.Get("Content-Range"); {
	case resp.StatusCode == http.StatusOK:
		return b.skip(resp)
	case resp.StatusCode == http.StatusPartialContent && (answered == ranged+"*" || answered == fmt.Sprint(ranged, b.blob.Size)):
		return resp.Body, nil
	}
	_ = resp.Body.Close()
	return b.whole()
}

func (b *blobReader) Read(p []byte) (int, error) {
	if b.offset == b.blob.Size {
		return 0, b.end()
	}
	if left := b.blob.Size - b.offset; int64(len(p)) > left {
		p = p[:left]
	}
	n, err := b.body.Read(p)
	b.offset += int64(n)
	if n > 0 {
		b.failed = 0
	}
	if err == nil || b.offset == b.blob.Size {
		return n, nil
	}
	return n, b.reopen(err)
}

// reopen goes on after a connection broke, or ended too early.
func (b *blobReader) reopen(err error) error {
	if b.ctx.Err() != nil {
		return b.ctx.Err()
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	_ = b.body.Close()
	if b.failed++; b.failed >= b.client.options.Tries {
		return fmt.Errorf("read %s from %s: %w", b.blob.Digest, b.at.Name(), err)
	}
	return b.open()
}

// end holds against the registry that nothing follows the last byte.
func (b *blobReader) end() error {
	if n, _ := b.body.Read(make([]byte, 1)); n > 0 {
		return fmt.Errorf("%s has more than %d bytes at %s", b.blob.Digest, b.blob.Size, b.at.Name())
	}
	return io.EOF
}

func (b *blobReader) Close() error { return b.body.Close() }
