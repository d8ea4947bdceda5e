package bundle

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci"
)

// content puts what was resolved into the order of the inventory, which depends
// on nothing but the content itself.
func (p *planner) content() (*Content, error) {
	p.settle()
	if err := p.vitalMissing(); err != nil {
		return nil, err
	}
	a := assembler{planner: p, content: Content{Images: []Image{}, Nodes: []Node{}, read: map[digest.Digest][]byte{}}, placed: map[digest.Digest]bool{}, blobs: map[digest.Digest]Blob{}}
	for _, ref := range slices.Sorted(maps.Keys(p.images)) {
		a.content.Images = append(a.content.Images, Image{Reference: ref, Digest: p.images[ref], Index: p.lists[ref]})
		if err := a.node(p.images[ref]); err != nil {
			return nil, fmt.Errorf("image %s: %w", ref, err)
		}
	}
	c := &a.content
	c.Blobs = slices.Concat([]Blob{}, a.order(RoleConfig), a.order(RoleLayer))
	c.Releases = slices.CompactFunc(slices.SortedFunc(slices.Values(p.released), func(a, b Release) int { return cmp.Compare(a.Image, b.Image) }),
		func(a, b Release) bool { return a.Image == b.Image })
	c.Streams, c.SamplesComplete = p.stream, p.complete
	c.Samples = sortedSamples(p.sampled)
	c.Platforms, c.Missing = names(p.request.Platforms), p.lost()
	return c, c.validate()
}

// carries says whether a node is to be in the bundle.
func (p *planner) carries(d digest.Digest) bool {
	_, lost := p.lostNodes[d]
	return p.carried[d] && !lost
}

// assembler lists nodes and blobs in order of first use.
type assembler struct {
	planner *planner
	content Content
	placed  map[digest.Digest]bool
	blobs   map[digest.Digest]Blob
	used    []digest.Digest // blobs, in order of first use
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
	if n.Config != nil {
		if err := a.blob(*n.Config, RoleConfig); err != nil {
			return err
		}
	}
	for _, layer := range n.Layers {
		if err := a.blob(layer, RoleLayer); err != nil {
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

func (a *assembler) blob(d ocispec.Descriptor, role string) error {
	held, there := a.blobs[d.Digest]
	if there && held.Size != d.Size {
		return fmt.Errorf("blob %s has %d bytes here and %d bytes elsewhere", d.Digest, d.Size, held.Size)
	}
	if !there {
		a.used = append(a.used, d.Digest)
	}
	if !there || role == RoleConfig { // a config somewhere is a config: it stands early
		a.blobs[d.Digest] = Blob{Digest: d.Digest, Size: d.Size, Role: role}
	}
	return nil
}

// order gives the blobs of a role in order of first use.
func (a *assembler) order(role string) []Blob {
	var found []Blob
	for _, d := range a.used {
		if b := a.blobs[d]; b.Role == role {
			found = append(found, b)
		}
	}
	return found
}
