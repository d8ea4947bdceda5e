package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// PutBlob uploads a blob to the repository of r. open gives its bytes from the
// start; it is called for each try.
//
// The blob goes in one piece. A registry, or a proxy before it, that refuses that
// gets it in pieces, and so it gets all that follow. When the connection breaks,
// and the registry says how much of the blob it has kept, the next try goes on from
// there; each byte that was kept is progress after which the tries count anew.
//
// The last bytes are sent only after the reader has returned io.EOF: one that
// checks what it reads, and ends in an error instead, keeps the registry from
// ever seeing the whole blob. Its error ends the upload at once and is what
// PutBlob returns, as is a blob that is longer or shorter than d.Size.
func (c *Client) PutBlob(ctx context.Context, r Reference, d ocispec.Descriptor, open func() (io.ReadCloser, error)) error {
	p := blobPush{client: c, to: r, blob: d, open: open}
	for a := c.attempts(r.Registry); ; {
		err := p.try(ctx)
		if err == nil {
			return nil
		}
		if p.advanced {
			a.progress()
		}
		if err := a.next(ctx, err); err != nil {
			p.drop(ctx)
			return err
		}
	}
}

// PutBlobOnce is PutBlob for bytes that can be read only once. To begin the
// upload is tried as often as anything, and so is to send it in pieces, as long as
// nothing was read; to send the bytes is tried once. contents is not read any more
// when it returns.
func (c *Client) PutBlobOnce(ctx context.Context, r Reference, d ocispec.Descriptor, contents io.Reader) error {
	source := &untouched{r: contents}
	p := blobPush{client: c, to: r, blob: d, once: true, open: func() (io.ReadCloser, error) { return io.NopCloser(source), nil }}
	for {
		err := p.try(ctx)
		if err == nil {
			return nil
		}
		if !p.advanced || source.read {
			p.drop(ctx)
			return plain(err)
		}
	}
}

// plain takes the mark off an error that is not tried again.
func plain(err error) error {
	var again transientError
	if errors.As(err, &again) {
		return again.error
	}
	return err
}

// untouched is a reader that knows whether it was read.
type untouched struct {
	r    io.Reader
	read bool
}

func (u *untouched) Read(p []byte) (int, error) {
	u.read = true
	return u.r.Read(p)
}

// blobPush brings one blob into a repository, in as many tries as it takes.
type blobPush struct {
	client *Client
	to     Reference
	blob   ocispec.Descriptor
	open   func() (io.ReadCloser, error)
	once   bool // the bytes can be read only once

	upload   *Upload // what the last try left; nil for none
	fresh    bool    // begin anew from now on: what was kept was of no use
	kept     int64   // bytes that the registry had when a try began
	advanced bool    // the last try was not in vain: what follows differs from it
}

// try begins an upload, or goes on with the one before, and ends it.
func (p *blobPush) try(ctx context.Context) error {
	p.advanced = false
	there, err := p.begin(ctx)
	if err != nil || there {
		return err
	}
	source, err := p.open()
	if err != nil {
		return err
	}
	defer source.Close()
	resumed := p.upload.done > 0
	err = p.send(ctx, source)
	if failure := (*sourceError)(nil); errors.As(err, &failure) {
		return failure.error
	}
	switch {
	case p.adapt(ctx, err):
		p.advanced = true
		return transientError{err}
	case isCode(err, "BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"):
		p.upload = nil
		return transientError{err} // it has forgotten the upload: begin another
	case isCode(err, "DIGEST_INVALID"): // it is the network that changed a byte, for the reader has found them right
		p.upload, p.fresh = nil, p.fresh || resumed
		return transientError{err}
	case resumed && IsRefusal(err):
		p.fresh = !isStatus(err, http.StatusRequestedRangeNotSatisfiable) // it was still writing when it was asked
		return transientError{err}                                        // else what it kept was not what was sent
	}
	return err
}

// begin goes on with the upload of the try before if the registry has kept some
// of it, else begins another; unless the blob is there: the answer alone was
// lost, or somebody else has pushed it.
func (p *blobPush) begin(ctx context.Context) (there bool, err error) {
	if p.upload != nil {
		if !p.fresh && p.upload.resume(ctx) {
			p.advanced = p.upload.done > p.kept
			p.kept = max(p.kept, p.upload.done)
			return false, nil
		}
		has, asked := p.client.HasBlob(ctx, p.to, p.blob)
		p.drop(ctx)
		if has && asked == nil {
			return true, nil
		}
	}
	p.upload, err = p.client.BeginUpload(ctx, p.to, p.blob)
	return false, err
}

// drop gives up what the last try left.
func (p *blobPush) drop(ctx context.Context) {
	if p.upload != nil {
		p.upload.Cancel(ctx)
		p.upload = nil
	}
}

// send sends what the registry does not have yet.
func (p *blobPush) send(ctx context.Context, source io.Reader) error {
	u := p.upload
	u.once = p.once
	if _, err := io.CopyN(io.Discard, source, u.done); err != nil {
		return &sourceError{err}
	}
	if u.done == 0 && p.client.piece(p.to.Registry) == 0 || p.blob.Size == 0 {
		_, err := u.transfer(ctx, u.last(), io.NopCloser(source), p.blob.Size)
		return err
	}
	if err := u.patch(ctx, source, p.blob.Size-u.done); err != nil {
		return err
	}
	return u.commit(ctx)
}

// pieceSizes are tried one after the other where requests are too large. nginx
// takes 1 MiB unless told otherwise (client_max_body_size).
var pieceSizes = []int64{64 << 20, 16 << 20, 4 << 20, 1 << 20}

// piece is how much of a blob a registry is sent with one request; 0 = all of it,
// and that it is all.
func (c *Client) piece(registry string) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pieces[registry]
}

// shrink lets a registry have pieces of at most a size from now on. What it answers
// to a large blob may come after smaller ones were refused.
func (c *Client) shrink(registry string, size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.pieces[registry]; now == 0 || size < now {
		c.pieces[registry] = size
	}
}

// adapt makes the pieces smaller if that is what an answer asks for: 413 is that
// of a proxy with a limit; others say that a blob cannot come with the request that
// ends its upload.
func (p *blobPush) adapt(ctx context.Context, err error) bool {
	size := int64(0)
	switch u := p.upload; {
	case isStatus(err, http.StatusRequestEntityTooLarge) && u.sent > u.least:
		size = smallerPiece(u.sent)
	case isPutRefused(err) && u.done == 0 && p.blob.Size > 0:
		size = MaxBlobSize
	}
	if size == 0 {
		return false
	}
	p.client.shrink(p.to.Registry, size)
	p.drop(ctx)
	return true
}

// isPutRefused says whether an answer to the whole blob means that the request
// itself is unknown, and not the upload.
func isPutRefused(err error) bool {
	var e *StatusError
	return errors.As(err, &e) && e.Method == http.MethodPut && (e.Code == "" || e.Code == "UNSUPPORTED") &&
		isStatus(err, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented)
}

// smallerPiece is the next size below; 0 if there is none.
func smallerPiece(than int64) int64 {
	for _, size := range pieceSizes {
		if size < than {
			return size
		}
	}
	return 0
}

// resume asks how much of the blob the registry has kept of a try that broke off.
// distribution 3 goes on from there; 2.8 has lost its state and answers 404
// BLOB_UPLOAD_INVALID. "0-0" is what both say of nothing.
func (u *Upload) resume(ctx context.Context) bool {
	q := u.request(http.MethodGet, u.at, http.StatusNoContent, http.StatusAccepted)
	q.header.Del("Content-Type")
	resp, err := u.client.send(ctx, q)
	if err != nil {
		return false
	}
	drain(resp)
	from, to, _ := strings.Cut(strings.TrimPrefix(resp.Header.Get("Range"), "bytes="), "-")
	last, err := strconv.ParseInt(to, 10, 64)
	if err != nil || from != "0" || last < 1 || last >= u.blob.Size {
		return false
	}
	if resp.Header.Get("Location") != "" && u.move(resp) != nil {
		return false
	}
	u.done = last + 1
	return true
}

// least is the smallest piece that a registry takes, but for the last one
// (distribution spec, OCI-Chunk-Min-Length); 0 if it did not say.
func least(h http.Header) int64 {
	n, err := strconv.ParseInt(h.Get("OCI-Chunk-Min-Length"), 10, 64)
	if err != nil || n < 0 || n > MaxBlobSize {
		return 0
	}
	return n
}

// patch sends the next size bytes, which are all that the source has, in pieces.
func (u *Upload) patch(ctx context.Context, source io.Reader, size int64) error {
	for end := u.done + size; u.done < end; {
		if u.once {
			if err := u.probe(ctx); err != nil {
				return err
			}
		}
		n := end - u.done
		piece := source
		if most := u.client.piece(u.to.Registry); most > 0 && n > max(most, u.least) {
			n = max(most, u.least)
			piece = io.LimitReader(source, n)
		}
		q := u.request(http.MethodPatch, u.at, http.StatusAccepted, http.StatusNoContent, http.StatusCreated)
		q.header.Set("Content-Range", fmt.Sprintf("%d-%d", u.done, u.done+n-1))
		resp, err := u.transfer(ctx, q, io.NopCloser(piece), n)
		if err != nil {
			return err
		}
		u.done += n
		if err := u.move(resp); err != nil {
			return err
		}
	}
	return nil
}
