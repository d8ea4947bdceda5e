package bundle

import (
	"cmp"
	"errors"
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
	p.foundElsewhere()
	if err := p.vitalMissing(); err != nil {
		return nil, err
	}
	a := assembler{planner: p, content: Content{Images: []Image{}, Nodes: []Node{}, read: map[digest.Digest][]byte{}}, placed: map[digest.Digest]bool{}, blobs: map[digest.Digest]Blob{}}
	for _, ref := range slices.Sorted(maps.Keys(p.images)) {
		a.content.Images = append(a.content.Images, Image{Reference: ref, Digest: p.images[ref]})
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
	c.Missing = p.lost()
	return c, c.validate()
}

// foundElsewhere takes back what one repository did not have under a digest and
// another did: the bytes are the same.
func (p *planner) foundElsewhere() {
	for key, m := range p.missing {
		ref, _ := oci.ParseReference(m.Reference)
		if _, found := p.nodes[ref.Digest]; !found {
			continue
		}
		delete(p.missing, key)
		if m.Parent == "" {
			p.images[m.Reference] = ref.Digest
		}
	}
}

// vitalMissing refuses what leaves a release incomplete.
func (p *planner) vitalMissing() error {
	parts := map[string]bool{} // repository and digest of every node of a release
	for ref := range p.vital {
		parsed, _ := oci.ParseReference(ref)
		p.parts(parsed.Digest, func(d digest.Digest) { parts[parsed.WithDigest(d).String()] = true })
	}
	var vital, others []Missing
	for _, m := range p.lost() {
		if parts[m.Reference] {
			vital = append(vital, m)
		} else {
			others = append(others, m)
		}
	}
	if len(vital) == 0 {
		return nil
	}
	return errors.Join(fmt.Errorf("a release needs all its components: %w", MissingErrors(vital)), MissingErrors(others))
}

// parts visits a node and all below it, those included that are missing.
func (p *planner) parts(d digest.Digest, visit func(digest.Digest)) {
	visit(d)
	for _, child := range p.nodes[d].Children {
		p.parts(child.Digest, visit)
	}
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
	n, found := a.planner.nodes[d]
	if a.placed[d] || !found {
		return nil // listed already, or missing
	}
	a.placed[d] = true
	for _, child := range n.Children {
		if err := a.node(child.Digest); err != nil {
			return err
		}
	}
	a.content.Nodes = append(a.content.Nodes, describe(n))
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
