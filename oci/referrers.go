package oci

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Limits of an answer: an honest image has a handful.
const (
	maxReferrers     = 10_000
	maxReferrerPages = 1_000
)

// errNoReferrers is an answer that comes from no referrers API.
var errNoReferrers = errors.New("no referrers API")

// Referrers lists what is attached to the image of r, which must have a digest,
// by the API of OCI 1.1: sorted by digest, each once. It reports false if the
// registry has no such API; a registry is asked until it said so once.
func (c *Client) Referrers(ctx context.Context, r Reference) ([]ocispec.Descriptor, bool, error) {
	r = c.Locate(r)
	if err := checkDigest(r.Digest); err != nil {
		return nil, false, fmt.Errorf("list referrers of %s: %w", r, err)
	}
	if c.lacksReferrers(r.Registry) {
		return nil, false, nil
	}
	found, err := c.referrers(ctx, r)
	if errors.Is(err, errNoReferrers) || IsRefusal(err) || isStatus(err, http.StatusNotImplemented) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.noReferrers[r.Registry] = true
		return nil, false, nil
	}
	return found, err == nil, err
}

func (c *Client) lacksReferrers(registry string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.noReferrers[registry]
}

func (c *Client) referrers(ctx context.Context, r Reference) ([]ocispec.Descriptor, error) {
	q := ask(http.MethodGet, r, pull, "/referrers/"+string(r.Digest), http.StatusOK)
	q.header.Set("Accept", ocispec.MediaTypeImageIndex)
	var all []ocispec.Descriptor
	for range maxReferrerPages {
		resp, raw, err := c.fetch(ctx, q, MaxNodeSize)
		if err != nil {
			return nil, err
		}
		page, err := referrersPage(nodeType(resp.Header), raw)
		if err != nil {
			return nil, fmt.Errorf("list referrers of %s: %w", r, err)
		}
		if all = append(all, page.Children...); len(all) > maxReferrers {
			return nil, fmt.Errorf("list referrers of %s: more than %d", r, maxReferrers)
		}
		next, err := nextPage(q.url, resp.Header)
		if err != nil {
			return nil, fmt.Errorf("list referrers of %s: %w", r, err)
		}
		if next == nil {
			return sortedOnce(all), nil
		}
		q.url = next
	}
	return nil, fmt.Errorf("list referrers of %s: more than %d pages", r, maxReferrerPages)
}

// referrersPage reads an index. What was not served as one may be the page that
// some web servers give for every address.
func referrersPage(mediaType string, raw []byte) (Node, error) {
	kind, _, _ := mime.ParseMediaType(mediaType)
	if mediaType != "" && kind != ocispec.MediaTypeImageIndex {
		return Node{}, errNoReferrers
	}
	page, err := ParseNode(mediaType, raw)
	if mediaType == "" && (err != nil || !isIndex(page.Descriptor.MediaType)) {
		return Node{}, errNoReferrers
	}
	return page, err
}

func sortedOnce(all []ocispec.Descriptor) []ocispec.Descriptor {
	slices.SortStableFunc(all, func(a, b ocispec.Descriptor) int { return cmp.Compare(a.Digest, b.Digest) })
	return slices.CompactFunc(all, func(a, b ocispec.Descriptor) bool { return a.Digest == b.Digest })
}

// nextPage finds the Link of the form <URL>; rel="next", nil if there is none.
// It must lead to the same host.
func nextPage(from *url.URL, h http.Header) (*url.URL, error) {
	for _, link := range h.Values("Link") {
		target, rest, found := strings.Cut(strings.TrimPrefix(strings.TrimSpace(link), "<"), ">")
		if !found || !strings.Contains(strings.ReplaceAll(rest, `"`, ""), "rel=next") {
			continue
		}
		next, err := from.Parse(target)
		if err != nil {
			return nil, errors.New("the next page has no URL")
		}
		if next.Host != from.Host {
			return nil, fmt.Errorf("the next page is at another host, %s", clean(next.Host))
		}
		return next, nil
	}
	return nil, nil
}
