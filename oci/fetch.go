package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// acceptNodes lists what is understood, and schema 1, to call it by its name.
var acceptNodes = http.Header{"Accept": {strings.Join([]string{
	dockerManifest, dockerList, ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex, schema1Signed, schema1,
}, ", ")}}

// Node fetches a manifest or index: by digest where r has one, and then only
// bytes of that digest are given, else by tag.
func (c *Client) Node(ctx context.Context, r Reference) (Node, error) {
	return retry(ctx, c, func() (Node, error) { return c.node(ctx, c.Locate(r)) })
}

func (c *Client) node(ctx context.Context, r Reference) (Node, error) {
	resp, err := c.send(ctx, request{method: http.MethodGet, at: r, path: "manifests/" + r.identifier(), header: acceptNodes, want: []int{http.StatusOK}})
	if err != nil {
		return Node{}, err
	}
	defer finish(resp)
	raw, err := io.ReadAll(io.LimitReader(resp.Body, MaxNodeSize+1))
	if err != nil {
		return Node{}, fmt.Errorf("read manifest of %s: %w", r, err)
	}
	if r.Digest != "" && digest.FromBytes(raw) != r.Digest {
		return Node{}, final("the registry answered for %s with other bytes", r)
	}
	n, err := ParseNode(resp.Header.Get("Content-Type"), raw)
	if err != nil {
		return Node{}, final("%s: %w", r, err)
	}
	return n, nil
}

// identifier is what a manifest is asked for by.
func (r Reference) identifier() string {
	if r.Digest != "" {
		return string(r.Digest)
	}
	return r.Tag
}

// maxConfigSize is the largest config that is read, in bytes.
const maxConfigSize = 8 << 20

// Config fetches the config of an image, with its digest checked.
func (c *Client) Config(ctx context.Context, r Reference, n Node) ([]byte, error) {
	if n.Config == nil {
		return nil, fmt.Errorf("%s has no config", r)
	}
	if n.Config.Size > maxConfigSize {
		return nil, fmt.Errorf("the config of %s has %d bytes, the limit is %d", r, n.Config.Size, maxConfigSize)
	}
	body, err := c.Blob(ctx, r, *n.Config)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err == nil && digest.FromBytes(data) != n.Config.Digest {
		err = fmt.Errorf("the registry answered for %s with other bytes", n.Config.Digest)
	}
	return data, err
}

// maxReferrers bounds the pages that are followed.
const maxReferrers = 100

// Referrers lists what is attached to the digest of r, through the referrers
// API of OCI 1.1. supported is false where the registry has none; it is then
// not asked again.
func (c *Client) Referrers(ctx context.Context, r Reference) (list []ocispec.Descriptor, supported bool, err error) {
	at := c.Locate(r)
	if c.lacksReferrers(at.Registry) {
		return nil, false, nil
	}
	path := "referrers/" + string(r.Digest)
	for range maxReferrers {
		page, next, err := c.referrersPage(ctx, at, path)
		var answer *StatusError
		if errors.As(err, &answer) && answer.Status/100 == 4 && !IsDenied(err) && answer.Status != http.StatusTooManyRequests {
			c.setLacksReferrers(at.Registry)
			return nil, false, nil
		}
		if err != nil {
			return nil, false, err
		}
		if list = append(list, page...); next == "" {
			return list, true, nil
		}
		path = next
	}
	return nil, false, fmt.Errorf("%s has more than %d pages of referrers", r, maxReferrers)
}

func (c *Client) lacksReferrers(registry string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.noReferrer[registry]
}

func (c *Client) setLacksReferrers(registry string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.noReferrer[registry] = true
}

func (c *Client) referrersPage(ctx context.Context, at Reference, path string) (list []ocispec.Descriptor, next string, err error) {
	type page struct {
		list []ocispec.Descriptor
		next string
	}
	got, err := retry(ctx, c, func() (page, error) {
		resp, err := c.send(ctx, request{method: http.MethodGet, at: at, path: path, want: []int{http.StatusOK}})
		if err != nil {
			return page{}, err
		}
		defer finish(resp)
		data, err := io.ReadAll(io.LimitReader(resp.Body, MaxNodeSize))
		if err != nil {
			return page{}, err
		}
		var index ocispec.Index
		if json.Unmarshal(data, &index) != nil || index.SchemaVersion != 2 {
			return page{}, &StatusError{Method: http.MethodGet, Host: at.Registry, Path: path, Status: http.StatusNotFound, Message: "no index of referrers"}
		}
		for _, d := range index.Manifests {
			if err := checkDescriptor(d, MaxNodeSize); err != nil {
				return page{}, final("referrers of %s: %w", at, err)
			}
		}
		return page{index.Manifests, nextPage(resp, at)}, nil
	})
	return got.list, got.next, err
}

// nextPage is the path of the next page of the same list, if there is one: a
// link elsewhere is not followed.
func nextPage(resp *http.Response, at Reference) string {
	target, rest, found := strings.Cut(strings.TrimPrefix(resp.Header.Get("Link"), "<"), ">")
	if !found || !strings.Contains(rest, `rel="next"`) {
		return ""
	}
	link, err := url.Parse(target)
	if err != nil {
		return ""
	}
	link = resp.Request.URL.ResolveReference(link)
	path, below := strings.CutPrefix(link.RequestURI(), "/v2/"+at.Repository+"/")
	if !below || link.Host != resp.Request.URL.Host {
		return ""
	}
	return path
}
