package oci

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Ping asks whether a registry answers, and whether it lets us into the
// repository of r: for pushing, or pulling only.
func (c *Client) Ping(ctx context.Context, r Reference, push bool) error {
	_, err := retry(ctx, c, func() (struct{}, error) {
		resp, err := c.send(ctx, request{method: http.MethodGet, at: r, url: "https://" + host(r.Registry) + "/v2/", push: push, want: []int{http.StatusOK}})
		if err == nil {
			finish(resp)
		}
		return struct{}{}, err
	})
	return err
}

// Head asks what a reference names at the registry.
func (c *Client) Head(ctx context.Context, r Reference) (d ocispec.Descriptor, found bool, err error) {
	d, err = retry(ctx, c, func() (ocispec.Descriptor, error) { return c.head(ctx, r) })
	if IsMissing(err) {
		return d, false, nil
	}
	return d, err == nil, err
}

// head falls back to GET where HEAD is not taken, or its headers were stripped
// on the way.
func (c *Client) head(ctx context.Context, r Reference) (ocispec.Descriptor, error) {
	resp, err := c.send(ctx, request{method: http.MethodHead, at: r, path: "manifests/" + r.identifier(), header: acceptNodes, push: true, want: []int{http.StatusOK, http.StatusMethodNotAllowed}})
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	finish(resp)
	d := ocispec.Descriptor{
		MediaType: resp.Header.Get("Content-Type"), Digest: digest.Digest(resp.Header.Get("Docker-Content-Digest")), Size: resp.ContentLength,
	}
	if resp.StatusCode == http.StatusOK && checkDescriptor(d, MaxNodeSize) == nil {
		return d, nil
	}
	n, err := c.node(ctx, r)
	return n.Descriptor, err
}

// HasBlob asks whether the repository of r has a blob.
func (c *Client) HasBlob(ctx context.Context, r Reference, d digest.Digest) (bool, error) {
	_, err := retry(ctx, c, func() (struct{}, error) {
		resp, err := c.send(ctx, request{method: http.MethodHead, at: r, path: "blobs/" + string(d), push: true, want: []int{http.StatusOK}})
		if err == nil {
			finish(resp)
		}
		return struct{}{}, err
	})
	if IsMissing(err) {
		return false, nil
	}
	return err == nil, err
}

// Mount asks the registry to take a blob from another of its repositories into
// that of r. A registry that will not, for whatever reason of its own, is no
// error: the blob has to be uploaded then.
func (c *Client) Mount(ctx context.Context, r Reference, d digest.Digest, from string) (bool, error) {
	query := url.Values{"mount": {string(d)}, "from": {from}}
	resp, err := retry(ctx, c, func() (*http.Response, error) {
		return c.send(ctx, request{method: http.MethodPost, at: r, path: "blobs/uploads/?" + query.Encode(), push: true, from: from, want: []int{http.StatusCreated, http.StatusAccepted}})
	})
	var answer *StatusError
	if errors.As(err, &answer) && answer.Status/100 == 4 && answer.Status != http.StatusTooManyRequests {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	finish(resp)
	if resp.StatusCode == http.StatusAccepted {
		c.cancel(ctx, r, resp)
		return false, nil
	}
	return true, nil
}

// cancel gives up an upload that was begun; what a registry says to that is of
// no use to anybody.
func (c *Client) cancel(ctx context.Context, r Reference, begun *http.Response) {
	location, err := begun.Location()
	if err != nil {
		return
	}
	resp, err := c.send(ctx, request{method: http.MethodDelete, at: r, url: location.String(), push: true, want: []int{http.StatusNoContent, http.StatusOK, http.StatusAccepted}})
	if err == nil {
		finish(resp)
	}
}

// PutBlob uploads a blob in one piece. open gives its bytes, from the start,
// for each try. An error of theirs ends the upload at once and is returned; the
// registry then never sees the last of them, so it can keep nothing.
func (c *Client) PutBlob(ctx context.Context, r Reference, d ocispec.Descriptor, open func() (io.ReadCloser, error)) error {
	_, err := retry(ctx, c, func() (struct{}, error) { return struct{}{}, c.putBlob(ctx, r, d, open) })
	return err
}

func (c *Client) putBlob(ctx context.Context, r Reference, d ocispec.Descriptor, open func() (io.ReadCloser, error)) error {
	begun, err := c.send(ctx, request{method: http.MethodPost, at: r, path: "blobs/uploads/", push: true, body: http.NoBody, want: []int{http.StatusAccepted}})
	if err != nil {
		return err
	}
	finish(begun)
	location, err := begun.Location()
	if err != nil {
		return final("begin upload to %s: %w", r.Name(), err)
	}
	query := location.Query()
	query.Set("digest", string(d.Digest))
	location.RawQuery = query.Encode()
	contents, err := open()
	if err != nil {
		return &finalError{err}
	}
	defer contents.Close()
	body := &heldReader{r: contents}
	header := http.Header{"Content-Type": {"application/octet-stream"}, "Content-Length": {strconv.FormatInt(d.Size, 10)}}
	resp, err := c.send(ctx, request{method: http.MethodPut, at: r, url: location.String(), header: header, push: true, body: body, length: d.Size, want: []int{http.StatusCreated}})
	if failed := body.failure(); failed != nil {
		if err == nil {
			finish(resp)
		}
		return &finalError{failed}
	}
	if err != nil {
		return err
	}
	finish(resp)
	return nil
}

// PutNode pushes a manifest or index, by tag or digest.
func (c *Client) PutNode(ctx context.Context, r Reference, mediaType string, raw []byte) error {
	_, err := retry(ctx, c, func() (struct{}, error) { return struct{}{}, c.putNode(ctx, r, mediaType, raw) })
	return err
}

func (c *Client) putNode(ctx context.Context, r Reference, mediaType string, raw []byte) error {
	resp, err := c.send(ctx, request{
		method: http.MethodPut, at: r, path: "manifests/" + r.identifier(), header: http.Header{"Content-Type": {mediaType}}, push: true,
		body: newBody(raw), length: int64(len(raw)), want: []int{http.StatusCreated, http.StatusOK},
	})
	if err != nil {
		return err
	}
	finish(resp)
	if got := resp.Header.Get("Docker-Content-Digest"); got != "" && got != string(digest.FromBytes(raw)) {
		return final("%s keeps %s under the digest %.100q", r.Registry, r, got)
	}
	return nil
}
