package bundle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"airlift/oci"
)

// Sparse is an index that is carried byte for byte without all of its children.
// Registries that know indexes so take it; others refuse it.
type Sparse struct {
	Digest   digest.Digest   `json:"digest"`
	Children int             `json:"children"`          // all that it lists
	Missing  []digest.Digest `json:"missing,omitempty"` // that the sources did not have
	LeftOut  []digest.Digest `json:"leftOut,omitempty"` // for their platforms
}

// Sparse lists the indexes that are sparse, in the order of the nodes.
func (c *Content) Sparse() []Sparse {
	var all []Sparse
	missing := missingChildren(c)
	for _, n := range c.Nodes {
		if len(n.Absent) == 0 {
			continue
		}
		s := Sparse{Digest: n.Digest, Children: len(n.Children)}
		for _, child := range n.Absent {
			if missing[parentChild{n.Digest, child}] {
				s.Missing = append(s.Missing, child)
			} else {
				s.LeftOut = append(s.LeftOut, child)
			}
		}
		all = append(all, s)
	}
	return all
}

func (c *Content) sparseByDigest() map[digest.Digest]Sparse {
	all := map[digest.Digest]Sparse{}
	for _, s := range c.Sparse() {
		all[s.Digest] = s
	}
	return all
}

// String says what an index lacks.
func (s Sparse) String() string {
	var lacks []string
	if n := len(s.Missing); n > 0 {
		lacks = append(lacks, fmt.Sprintf("%d missing at the source", n))
	}
	if n := len(s.LeftOut); n > 0 {
		lacks = append(lacks, fmt.Sprintf("%d left out", n))
	}
	return fmt.Sprintf("index %s is sparse: of %d manifests %s", s.Digest, s.Children, strings.Join(lacks, ", "))
}

// Pinned counts the lists of several manifests that images are named by digest as:
// those that are whole, and those of which something was left out.
func (c *Content) Pinned() (whole, sparse int) {
	nodes, left := c.nodeByDigest(), map[digest.Digest]bool{}
	for _, s := range c.Sparse() {
		left[s.Digest] = len(s.LeftOut) > 0
	}
	counted := map[digest.Digest]bool{}
	for _, i := range c.Images {
		ref, err := oci.ParseReference(i.Reference)
		if err != nil || ref.Digest == "" || counted[i.Digest] || len(nodes[i.Digest].Children) < 2 {
			continue
		}
		counted[i.Digest] = true
		if left[i.Digest] {
			sparse++
		} else {
			whole++
		}
	}
	return whole, sparse
}

// sparseBelow finds the sparse index at an image or below it that comes first,
// from the image down.
func (t nodeTable) sparseBelow(d digest.Digest, all map[digest.Digest]Sparse) (found Sparse, is bool) {
	t.walk(d, func(n Node) { // the image itself comes last
		if s, sparse := all[n.Digest]; sparse {
			found, is = s, true
		}
	})
	return found, is
}

// Standing is the content as a registry holds it, by the digests that references lead
// to there: an image of a sparse list may stand for the list under its tag (see
// Bundle.Import). Digests of anything else mean nothing.
func (c *Content) Standing(held map[string]digest.Digest) *Content {
	standing, nodes := *c, c.nodeByDigest()
	standing.Images = slices.Clone(c.Images)
	for i, image := range c.Images {
		ref, err := oci.ParseReference(image.Reference)
		if d := held[image.Reference]; err == nil && ref.Digest == "" && nodes.standsFor(d, image.Digest) {
			standing.Images[i].Digest = d
		}
	}
	return &standing
}

// OfArchitecture is the content without the samples of other architectures than
// that of a cluster, x86_64 for example; "" keeps all.
func (c *Content) OfArchitecture(arch string) *Content {
	own := *c
	if arch != "" {
		own.Samples = slices.DeleteFunc(slices.Clone(c.Samples), func(s Samples) bool { return s.Architecture != arch })
	}
	return &own
}

// standsFor says whether an image is carried below a list that is sparse, itself or
// in one below it.
func (t nodeTable) standsFor(image, list digest.Digest) bool {
	sparse, below := false, false
	t.walk(list, func(n Node) {
		sparse = sparse || len(n.Absent) > 0
		below = below || n.Digest == image && n.Digest != list && len(n.Children) == 0
	})
	return sparse && below
}

// Platform is the one whose image takes the tag of a list that a registry refuses:
// what the lists were narrowed to, else that of a release, else linux/amd64.
func (c *Content) Platform() oci.Platform {
	best := oci.Platform{OS: "linux", Architecture: "amd64"}
	for _, r := range c.Releases {
		if p, err := oci.ParsePlatform("linux/" + r.Architecture); err == nil && r.Architecture != "multi" {
			best = p
			break
		}
	}
	if len(c.Platforms) == 0 || slices.Contains(c.Platforms, best.String()) {
		return best
	}
	first, _ := oci.ParsePlatform(c.Platforms[0])
	return first
}
