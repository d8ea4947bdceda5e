package bundle

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"airlift/oci"
)

// content puts what was resolved into the order of the inventory, which depends
// on nothing but the content itself.
func (p *planner) content() (*Content, error) {
	p.settle()
	if err := p.vitalMissing(); err != nil {
		return nil, err
	}
	blobs := 0 // at most: what images share is there once
	for d := range p.carried {
		blobs += 1 + len(p.nodes[d].Layers)
	}
	c := &Content{Images: make([]Image, 0, len(p.images)), Nodes: make([]Node, 0, len(p.carried)), Blobs: make([]Blob, 0, blobs), read: map[digest.Digest][]byte{}}
	a := assembler{planner: p, content: c, placed: map[digest.Digest]bool{}, blobs: make(map[digest.Digest]int, blobs)}
	for _, ref := range slices.Sorted(maps.Keys(p.images)) {
		c.Images = append(c.Images, Image{Reference: ref, Digest: p.images[ref], Index: p.lists[ref]})
		if err := a.node(p.images[ref]); err != nil {
			return nil, fmt.Errorf("image %s: %w", ref, err)
		}
	}
	slices.SortStableFunc(c.Blobs, func(a, b Blob) int { return strings.Compare(a.Role, b.Role) }) // configs come first
	c.Releases = slices.CompactFunc(slices.SortedFunc(slices.Values(p.released), func(a, b Release) int { return cmp.Compare(a.Image, b.Image) }),
		func(a, b Release) bool { return a.Image == b.Image })
	c.Streams, c.SamplesComplete = p.stream, p.complete
	c.Samples = sortedSamples(p.sampled)
	c.Platforms, c.Missing = names(p.request.Platforms), p.lost()
	return c, nil
}

// carries says whether a node is to be in the bundle.
func (p *planner) carries(d digest.Digest) bool {
	_, lost := p.lostNodes[d]
	return p.carried[d] && !lost
}

// assembler lists nodes and blobs in order of first use.
type assembler struct {
	planner *planner
	content *Content
	placed  map[digest.Digest]bool
	blobs   map[digest.Digest]int // where each stands in the content
}

func (a *assembler) node(d digest.Digest) error {
	if a.placed[d] || !a.planner.carries(d) {
		return nil
	}
	n := a.planner.nodes[d]
	a.placed[d] = true
	for _, child := range n.Children {
		if err := a.node(child.Digest); err != nil {
			return err
		}
	}
	a.content.Nodes = append(a.content.Nodes, a.describe(n))
	a.content.read[d] = n.Raw
	for _, b := range blobsOf(n) {
		if err := a.blob(b); err != nil {
			return err
		}
	}
	return nil
}

// describe says of a node, whose children are placed, what the inventory does.
func (a *assembler) describe(n oci.Node) Node {
	d := describe(n)
	absent := map[digest.Digest]bool{}
	for _, child := range d.Children {
		if !a.placed[child] && !absent[child] {
			absent[child] = true
			d.Absent = append(d.Absent, child)
		}
	}
	return d
}

func (a *assembler) blob(b Blob) error {
	i, there := a.blobs[b.Digest]
	if !there {
		a.blobs[b.Digest] = len(a.content.Blobs)
		a.content.Blobs = append(a.content.Blobs, b)
		return nil
	}
	held := &a.content.Blobs[i]
	if held.Size != b.Size {
		return fmt.Errorf("blob %s has %d bytes here and %d bytes elsewhere", b.Digest, b.Size, held.Size)
	}
	if b.Role == RoleConfig { // a config somewhere is a config: it stands early
		held.Role = b.Role
	}
	return nil
}
