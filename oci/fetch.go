package oci

import (
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxConfigSize is what Config reads, in bytes.
const maxConfigSize = 8 << 20

// acceptNodes asks for what ParseNode reads, and for schema 1, to refuse it by
// name: a registry would say not found otherwise.
var acceptNodes = strings.Join([]string{
	dockerManifest, dockerList, ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex, schema1Signed, schema1,
}, ", ")

// Node fetches a manifest or index, by digest if r has one, else by tag. What
// was asked for by digest has that digest, or is an error.
func (c *Client) Node(ctx context.Context, r Reference) (Node, error) {
	return c.node(ctx, c.Locate(r), pull)
}

func (c *Client) node(ctx context.Context, r Reference, as action) (Node, error) {
	q := ask(http.MethodGet, r, as, "/manifests/"+r.identifier(), http.StatusOK)
	q.header.Set("Accept", acceptNodes)
	resp, raw, err := c.fetch(ctx, q, MaxNodeSize)
	if err != nil {
		return Node{}, err
	}
	kind := nodeType(resp.Header)
	if got := digest.FromBytes(raw); r.Digest != "" && got != r.Digest {
		err := fmt.Errorf("check manifest %s: the registry sent %s", r, got)
		if isSchema1(kind) { // its digest is not of all its bytes: no lie, but of no use either
			err = fmt.Errorf("%w, %w", err, errSchema1)
		}
		return Node{}, err
	}
	n, err := ParseNode(kind, raw)
	if err != nil {
		return Node{}, fmt.Errorf("%s: %w", r, err)
	}
	return n, nil
}

// nodeType is the media type of an answer; empty for those that plain web
// servers give, which say nothing.
func nodeType(h http.Header) string {
	value := h.Get("Content-Type")
	switch kind, _, _ := mime.ParseMediaType(value); kind {
	case "application/json", "application/octet-stream", "text/plain":
		return ""
	}
	return value
}

// Config fetches an image's config, which may have 8 MiB, and checks its digest.
func (c *Client) Config(ctx context.Context, r Reference, n Node) ([]byte, error) {
	switch {
	case n.Config == nil:
		return nil, fmt.Errorf("read config of %s: an index has none", r)
	case n.Config.Size > maxConfigSize:
		return nil, fmt.Errorf("read config of %s: it has %d bytes, the limit is %d", r, n.Config.Size, maxConfigSize)
	}
	body, err := c.Blob(ctx, r, *n.Config)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	if got := digest.FromBytes(data); got != n.Config.Digest {
		return nil, fmt.Errorf("check config %s of %s: the registry sent %s", n.Config.Digest, r, got)
	}
	return data, nil
}
