package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"

	"airlift/oci"
)

// sources knows where each node and blob can be fetched: in the repositories
// of the images that need it, in their order.
type sources struct {
	client  *oci.Client
	read    map[digest.Digest][]byte // nodes that need not be fetched
	nodes   nodeTable
	users   map[digest.Digest][]string // references of images
	check   nodeCheck
	reuse   *reuse // bundles that are asked first
	segment int64  // bytes of a blob that one buffer holds
}

func newSources(client *oci.Client, c *Content, r *reuse) *sources {
	return &sources{client, c.read, c.nodeByDigest(), c.users(), newNodeCheck(c), r, segmentSize}
}

// users gives, for each node and blob, the references of the images that need it.
func (c *Content) users() map[digest.Digest][]string {
	nodes := c.nodeByDigest()
	users := map[digest.Digest][]string{}
	for _, i := range c.Images {
		nodes.walk(i.Digest, func(n Node) {
			users[n.Digest] = appendNew(users[n.Digest], i.Reference)
			for _, b := range n.blobs() {
				users[b] = appendNew(users[b], i.Reference)
			}
		})
	}
	return users
}

// Sizes gives the bytes of each image by its reference: of all its nodes and
// blobs, each once. What images share counts for each of them.
func (c *Content) Sizes() map[string]int64 {
	nodes, bytes := c.nodeByDigest(), newNodeCheck(c).sizes
	sizes := make(map[string]int64, len(c.Images))
	for _, i := range c.Images {
		counted := map[digest.Digest]bool{}
		nodes.walk(i.Digest, func(n Node) {
			for _, d := range append(n.blobs(), n.Digest) {
				if !counted[d] {
					counted[d] = true
					sizes[i.Reference] += bytes[d]
				}
			}
		})
	}
	return sizes
}

// appendNew appends what is not the last element already.
func appendNew(list []string, s string) []string {
	if len(list) > 0 && list[len(list)-1] == s {
		return list
	}
	return append(list, s)
}

type nodeTable map[digest.Digest]Node

func (c *Content) nodeByDigest() nodeTable {
	t := make(nodeTable, len(c.Nodes))
	for _, n := range c.Nodes {
		t[n.Digest] = n
	}
	return t
}

// walk visits a node and all below it, children before parents, each once.
func (t nodeTable) walk(d digest.Digest, visit func(Node)) {
	seen := map[digest.Digest]bool{}
	var down func(digest.Digest)
	down = func(d digest.Digest) {
		n, there := t[d]
		if !there || seen[d] {
			return
		}
		seen[d] = true
		for _, child := range n.Children {
			down(child)
		}
		visit(n)
	}
	down(d)
}

// repositories are the distinct places a digest can be fetched from.
func (s *sources) repositories(d digest.Digest) []oci.Reference {
	var found []oci.Reference
	seen := map[string]bool{}
	for _, user := range s.users[d] {
		ref, err := oci.ParseReference(user)
		if err == nil && !seen[ref.Name()] {
			seen[ref.Name()] = true
			found = append(found, ref.WithDigest(d))
		}
	}
	return found
}

// node fetches one node and holds it against what the inventory says of it.
func (s *sources) node(ctx context.Context, want Node) ([]byte, error) {
	if raw, read := s.read[want.Digest]; read {
		return raw, nil
	}
	got, err := fetch(s, want.Digest, func(at oci.Reference) (oci.Node, error) { return s.client.Node(ctx, at) })
	if err != nil {
		return nil, err
	}
	return got.Raw, s.check.check(want, got.Raw)
}

// open gives a range of the contents of an entry: from a bundle that has it, else
// from a registry. What it reads is not checked yet, but for nodes.
func (s *sources) open(ctx context.Context, e Entry, offset, length int64) (io.ReadCloser, error) {
	if held := s.reuse.open(e, offset, length); held != nil {
		return held, nil
	}
	return s.fetch(ctx, e, offset, length)
}

// fetch is open without other bundles.
func (s *sources) fetch(ctx context.Context, e Entry, offset, length int64) (io.ReadCloser, error) {
	if n, is := s.nodes[e.Digest]; is {
		raw, err := s.node(ctx, n)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(bytes.NewReader(raw[offset : offset+length])), nil
	}
	d := e.descriptor()
	return fetch(s, e.Digest, func(at oci.Reference) (io.ReadCloser, error) {
		return s.client.BlobRange(ctx, at, d, offset, length)
	})
}

// streams says whether the registry that would be asked for an entry knows no ranges.
func (s *sources) streams(e Entry) bool {
	at := s.repositories(e.Digest)
	return len(at) > 0 && s.client.IgnoresRanges(at[0])
}

// fetch asks the repositories that should have a digest, one after the other
// until one does.
func fetch[T any](s *sources, d digest.Digest, from func(oci.Reference) (T, error)) (T, error) {
	var failed error
	for _, at := range s.repositories(d) {
		got, err := from(at)
		if err == nil {
			return got, nil
		}
		if failed = errors.Join(failed, err); !oci.IsMissing(err) && !oci.IsDenied(err) {
			break
		}
	}
	var none T
	return none, s.fetchError(d, failed)
}

// fetchError words the failure to fetch something that was there when planning.
func (s *sources) fetchError(d digest.Digest, err error) error {
	return fmt.Errorf("fetch %s, which %s needs: %w", d, listSome(s.users[d], 3), err)
}

// listSome names the first few of a list.
func listSome(list []string, n int) string {
	if len(list) <= n {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:n], ", "), len(list)-n)
}
