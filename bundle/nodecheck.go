package bundle

import (
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"airlift/oci"
)

// describe says of a node what the inventory does.
func describe(n oci.Node) Node {
	d := Node{Digest: n.Descriptor.Digest, Size: n.Descriptor.Size, MediaType: n.Descriptor.MediaType}
	if n.Config != nil {
		d.Config = n.Config.Digest
	}
	d.Layers = slices.Grow(d.Layers, len(n.Layers))
	for _, l := range n.Layers {
		d.Layers = append(d.Layers, l.Digest)
	}
	for _, c := range n.Children {
		d.Children = append(d.Children, c.Digest)
	}
	return d
}

// nodeCheck holds the bytes of nodes against what an inventory says of them.
type nodeCheck struct{ sizes map[digest.Digest]int64 }

func newNodeCheck(c *Content) nodeCheck {
	sizes := make(map[digest.Digest]int64, len(c.Nodes)+len(c.Blobs))
	for _, n := range c.Nodes {
		sizes[n.Digest] = n.Size
	}
	for _, b := range c.Blobs {
		sizes[b.Digest] = b.Size
	}
	return nodeCheck{sizes}
}

// check takes bytes of the right digest: they can differ from what the
// inventory says only if that speaks falsely.
func (c nodeCheck) check(want Node, raw []byte) error {
	n, err := oci.ParseNode(want.MediaType, raw)
	if err != nil {
		return fmt.Errorf("node %s: %w", want.Digest, err)
	}
	if got := describe(n); want.Size != got.Size || want.MediaType != got.MediaType || want.Config != got.Config ||
		!slices.Equal(want.Layers, got.Layers) || !slices.Equal(want.Children, got.Children) {
		return fmt.Errorf("node %s is not what the inventory says of it", want.Digest)
	}
	return c.checkSizes(n)
}

func (c nodeCheck) checkSizes(n oci.Node) error {
	named := blobsOf(n)
	for _, child := range n.Children {
		named = append(named, Blob{Digest: child.Digest, Size: child.Size})
	}
	for _, d := range named {
		if size, listed := c.sizes[d.Digest]; listed && size != d.Size {
			return fmt.Errorf("node %s: the inventory has %d bytes for %s, not %d", n.Descriptor.Digest, size, d.Digest, d.Size)
		}
	}
	return nil
}
