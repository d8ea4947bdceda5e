package bundle

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"airlift/oci"
)

// What names in an inventory may look like: they become tags, file contents
// and lines on a screen.
var (
	versionPattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._+-]{0,127}$`)
	namePattern    = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,252}$`)
	textPattern    = regexp.MustCompile(`^[\x20-\x7e]{1,400}$`)
	mediaPattern   = regexp.MustCompile(`^[\x21-\x7e]{1,255}$`)
)

// validate is the one check of a content, at export and at every reading.
// It holds that all that is named is there or recorded as missing or left out,
// once, with one size; that nothing is there without being named, or although it
// is missing; and that no node contains itself.
func (c *Content) validate() error {
	v := validator{
		sizes: make(map[digest.Digest]int64, len(c.Nodes)),
		nodes: make(map[digest.Digest]bool, len(c.Nodes)), blobs: make(map[digest.Digest]bool, len(c.Blobs)),
		images: make(map[string]bool, len(c.Images)), missing: make(map[string]bool, len(c.Missing)),
		lost: missingChildren(c), absent: map[parentChild]bool{},
		used: make(map[digest.Digest]bool, len(c.Blobs)+len(c.Nodes)),
	}
	for _, n := range c.Nodes {
		v.sizes[n.Digest] = n.Size
	}
	for _, step := range []func(*Content) error{v.counts, v.platforms, v.missingOnes, v.blobTable, v.nodeTable, v.nothingMissing, v.imageTable, v.releases, v.streams, v.samples, v.nothingUnused} {
		if err := step(c); err != nil {
			return err
		}
	}
	return nil
}

type validator struct {
	nodes, blobs, used map[digest.Digest]bool
	sizes              map[digest.Digest]int64 // of nodes
	images, missing    map[string]bool         // by reference
	lost, absent       map[parentChild]bool    // children, as the missing ones and as the nodes say
}

func (v *validator) counts(c *Content) error {
	switch {
	case len(c.Images) == 0 && len(c.Missing) == 0:
		return fmt.Errorf("content: no images")
	case len(c.Images) > MaxImages:
		return fmt.Errorf("content: %d images, the limit is %d", len(c.Images), MaxImages)
	case len(c.Nodes) > MaxNodes:
		return fmt.Errorf("content: %d nodes, the limit is %d", len(c.Nodes), MaxNodes)
	case len(c.Blobs) > MaxBlobs:
		return fmt.Errorf("content: %d blobs, the limit is %d", len(c.Blobs), MaxBlobs)
	case len(c.Missing) > MaxImages:
		return fmt.Errorf("content: %d missing, the limit is %d", len(c.Missing), MaxImages)
	}
	return nil
}

func (v *validator) platforms(c *Content) error {
	last := ""
	for _, s := range c.Platforms {
		if p, err := oci.ParsePlatform(s); err != nil || p.String() != s || s <= last {
			return fmt.Errorf("platform %.60q: none, not in its normal form, or not in order", s)
		}
		last = s
	}
	return nil
}

func (v *validator) missingOnes(c *Content) error {
	last := ""
	for _, m := range c.Missing {
		if err := checkReference(m.Reference); err != nil {
			return fmt.Errorf("missing: %w", err)
		}
		switch key, ref := m.key(), m.reference(); {
		case key <= last:
			return fmt.Errorf("missing %s: not in order", m.Reference)
		case m.Digest != "" && (ref.Digest != "" || checkDigest(m.Digest) != nil):
			return fmt.Errorf("missing %s: its digest %.80q is none, or one too many", m.Reference, string(m.Digest))
		case m.Parent != "" && (ref.Digest == "" || ref.Tag != ""):
			return fmt.Errorf("missing %s: it has a parent, and is not named by digest alone", m.Reference)
		case m.Role != "" && (m.Parent == "" || m.Role != RoleConfig && m.Role != RoleLayer):
			return fmt.Errorf("missing %s: role %.40q is not known, or of no image", m.Reference, m.Role)
		case !textPattern.MatchString(m.Reason):
			return fmt.Errorf("missing %s: reason %.60q is not a line of text", m.Reference, m.Reason)
		case m.Parent != "" && checkDigest(m.Parent) != nil:
			return fmt.Errorf("missing %s: parent %.80q is not a sha256 digest", m.Reference, string(m.Parent))
		default:
			last = key
		}
		v.missing[m.Reference] = true
	}
	return nil
}

func (v *validator) blobTable(c *Content) error {
	layers := false
	for _, b := range c.Blobs {
		if err := checkDigest(b.Digest); err != nil {
			return fmt.Errorf("blob: %w", err)
		}
		switch size, listed := v.sizes[b.Digest]; {
		case v.blobs[b.Digest]:
			return fmt.Errorf("blob %s: listed twice", b.Digest)
		case listed && size != b.Size:
			return fmt.Errorf("blob %s: %d bytes, and %d as a node", b.Digest, b.Size, size)
		case b.Size < 0 || b.Size > MaxBlobSize:
			return fmt.Errorf("blob %s: size %d is outside of 0…%d", b.Digest, b.Size, int64(MaxBlobSize))
		case b.Role != RoleConfig && b.Role != RoleLayer:
			return fmt.Errorf("blob %s: role %.40q is not known", b.Digest, b.Role)
		case b.Role == RoleConfig && layers:
			return fmt.Errorf("blob %s: a config behind a layer", b.Digest)
		}
		layers = layers || b.Role == RoleLayer
		v.blobs[b.Digest] = true
	}
	return nil
}

func (v *validator) nodeTable(c *Content) error {
	for _, n := range c.Nodes {
		if err := checkDigest(n.Digest); err != nil {
			return fmt.Errorf("node: %w", err)
		}
		switch {
		case v.nodes[n.Digest]:
			return fmt.Errorf("node %s: listed twice", n.Digest)
		case n.Size <= 0 || n.Size > oci.MaxNodeSize:
			return fmt.Errorf("node %s: size %d is outside of 1…%d", n.Digest, n.Size, oci.MaxNodeSize)
		case !mediaPattern.MatchString(n.MediaType):
			return fmt.Errorf("node %s: media type %.60q is none", n.Digest, n.MediaType)
		}
		for _, b := range n.blobs() {
			if !v.blobs[b] {
				return fmt.Errorf("node %s: its blob %.80q is not listed", n.Digest, b)
			}
			v.used[b] = true
		}
		if err := v.children(c, n); err != nil {
			return err
		}
		v.nodes[n.Digest] = true
	}
	return nil
}

// children holds that each child is listed, or absent for a reason, and that some
// are listed.
func (v *validator) children(c *Content, n Node) error {
	absent, listed := map[digest.Digest]bool{}, 0
	for _, child := range n.Absent {
		absent[child] = true
	}
	var claimed []digest.Digest // as Absent must be
	for _, child := range n.Children {
		pair := parentChild{n.Digest, child}
		switch {
		case v.nodes[child] && absent[child]:
			return fmt.Errorf("node %s: its child %s is both listed and absent", n.Digest, child)
		case v.nodes[child]:
			listed++
			v.used[child] = true
		case !absent[child]:
			return fmt.Errorf("node %s: its child %.80q is neither listed before it nor absent", n.Digest, child)
		case !v.lost[pair] && len(c.Platforms) == 0:
			return fmt.Errorf("node %s: its child %.80q is absent, and neither missing nor left out for a platform", n.Digest, child)
		case !v.absent[pair]:
			v.absent[pair] = true
			claimed = append(claimed, child)
		}
	}
	switch {
	case !slices.Equal(claimed, n.Absent):
		return fmt.Errorf("node %s: what is absent are not its children, once and in order", n.Digest)
	case listed == 0 && len(n.Children) > 0:
		return fmt.Errorf("node %s: none of its children is listed", n.Digest)
	}
	return nil
}

// nothingMissing holds that what is missing is nowhere in the archive, and that it
// is a child of the index that is said to list it, or a part of what is missing too.
func (v *validator) nothingMissing(c *Content) error {
	lost := map[digest.Digest]bool{} // manifests and indexes
	for _, m := range c.Missing {
		d := cmp.Or(m.Digest, m.reference().Digest)
		if v.nodes[d] || v.blobs[d] {
			return fmt.Errorf("missing %s: the archive has it", m.Reference)
		}
		lost[d] = lost[d] || m.Role == ""
	}
	for _, m := range c.Missing {
		child := v.absent[parentChild{m.Parent, m.reference().Digest}] && m.Role == ""
		if m.Parent != "" && !child && !lost[m.Parent] {
			return fmt.Errorf("missing %s: it is no absent child of %s", m.Reference, m.Parent)
		}
	}
	return nil
}

func (v *validator) imageTable(c *Content) error {
	last := ""
	for _, i := range c.Images {
		if err := checkReference(i.Reference); err != nil {
			return fmt.Errorf("image: %w", err)
		}
		switch ref, _ := oci.ParseReference(i.Reference); {
		case i.Reference <= last:
			return fmt.Errorf("image %s: not in order", i.Reference)
		case ref.Digest != "" && ref.Digest != i.Digest:
			return fmt.Errorf("image %s: names another digest than %s", i.Reference, i.Digest)
		case i.Index != "" && (ref.Digest != "" || i.Index == i.Digest || checkDigest(i.Index) != nil || len(c.Platforms) == 0):
			return fmt.Errorf("image %s: it cannot be one of the index %.80q", i.Reference, string(i.Index))
		case v.missing[i.Reference]:
			return fmt.Errorf("image %s: both listed and missing", i.Reference)
		case !v.nodes[i.Digest]:
			return fmt.Errorf("image %s: its node %.80q is not listed", i.Reference, i.Digest)
		}
		last = i.Reference
		v.images[i.Reference], v.used[i.Digest] = true, true
	}
	return nil
}

func (v *validator) releases(c *Content) error {
	lastImage, nodes := "", c.nodeByDigest()
	for _, r := range c.Releases {
		if r.Image <= lastImage {
			return fmt.Errorf("release %.60q: not in order of its image", r.Version)
		}
		lastImage = r.Image
		if !versionPattern.MatchString(r.Version) || !namePattern.MatchString(r.Architecture) {
			return fmt.Errorf("release %.60q %.60q: not a version and an architecture", r.Version, r.Architecture)
		}
		if !v.images[r.Image] {
			return fmt.Errorf("release %s: its image %.200q is not listed", r.Version, r.Image)
		}
		if v.incomplete(nodes, r.Image) {
			return fmt.Errorf("release %s: some of its image %s is missing", r.Version, r.Image)
		}
		last := ""
		for _, component := range r.Components {
			if !namePattern.MatchString(component.Name) || component.Name <= last {
				return fmt.Errorf("release %s: component %.60q: bad name or not in order", r.Version, component.Name)
			}
			if !v.images[component.Image] {
				return fmt.Errorf("release %s: component %s: its image %.200q is not listed", r.Version, component.Name, component.Image)
			}
			if v.incomplete(nodes, component.Image) {
				return fmt.Errorf("release %s: component %s: some of its image %s is missing", r.Version, component.Name, component.Image)
			}
			last = component.Name
		}
	}
	return nil
}

// incomplete says whether a child is missing anywhere below an image, which is
// listed and named by digest.
func (v *validator) incomplete(nodes nodeTable, image string) (missing bool) {
	ref, _ := oci.ParseReference(image)
	nodes.walk(ref.Digest, func(n Node) {
		for _, child := range n.Absent {
			missing = missing || v.lost[parentChild{n.Digest, child}]
		}
	})
	return missing
}

func (v *validator) streams(c *Content) error {
	last := ""
	for _, s := range c.Streams {
		if s.LeftOut {
			return fmt.Errorf("imagestream %.60q: left out, and no sample", s.Name)
		}
		if err := v.stream(s, last); err != nil {
			return err
		}
		last = s.Name
	}
	return nil
}

// stream checks one stream, which comes behind another.
func (v *validator) stream(s ImageStream, last string) error {
	if !namePattern.MatchString(s.Name) || s.Name <= last {
		return fmt.Errorf("imagestream %.60q: bad name or not in order", s.Name)
	}
	tags, lastTag := map[string]bool{}, ""
	for _, t := range s.Tags {
		if t.Name <= lastTag {
			return fmt.Errorf("imagestream %s: tag %.60q: not in order", s.Name, t.Name)
		}
		lastTag = t.Name
		from, err := oci.ParseReference(t.From)
		switch {
		case !namePattern.MatchString(t.Name):
			return fmt.Errorf("imagestream %s: tag %.60q: bad name", s.Name, t.Name)
		case err != nil || !textPattern.MatchString(t.From) || from.String() != t.Image:
			return fmt.Errorf("imagestream %s:%s: %.200q is not the image %.200q", s.Name, t.Name, t.From, t.Image)
		case !s.LeftOut && !v.images[t.Image] && !v.missing[t.Image]:
			return fmt.Errorf("imagestream %s:%s: its image %s is neither listed nor missing", s.Name, t.Name, t.Image)
		}
		tags[t.Name] = true
	}
	lastTag = ""
	for _, alias := range s.Aliases {
		if !namePattern.MatchString(alias.Name) || alias.Name <= lastTag || tags[alias.Name] || !tags[alias.Tag] {
			return fmt.Errorf("imagestream %s: alias %.60q: bad name, not in order, a tag itself or of no tag", s.Name, alias.Name)
		}
		lastTag = alias.Name
	}
	if s.Repository != "" && !textPattern.MatchString(s.Repository) {
		return fmt.Errorf("imagestream %s: dockerImageRepository %.60q is not a line of text", s.Name, s.Repository)
	}
	return nil
}

// samples checks what samples operators create.
func (v *validator) samples(c *Content) error {
	released := map[string]bool{}
	for _, r := range c.Releases {
		released[r.Image] = true
	}
	last := ""
	for _, s := range c.Samples {
		key := s.Release + " " + s.Architecture
		if !released[s.Release] || !namePattern.MatchString(s.Architecture) || key <= last {
			return fmt.Errorf("samples of %.200q for %.60q: no release, no architecture or not in order", s.Release, s.Architecture)
		}
		last = key
		if err := v.sampleSet(s); err != nil {
			return fmt.Errorf("samples of %s for %s: %w", s.Release, s.Architecture, err)
		}
	}
	return nil
}

func (v *validator) sampleSet(s Samples) error {
	last := ""
	for _, stream := range s.Streams {
		if err := v.stream(stream, last); err != nil {
			return err
		}
		last = stream.Name
	}
	last = ""
	for _, t := range s.Templates {
		if !namePattern.MatchString(t.Name) || t.Name <= last {
			return fmt.Errorf("template %.60q: bad name or not in order", t.Name)
		}
		last = t.Name
		if err := v.template(t); err != nil {
			return fmt.Errorf("template %s: %w", t.Name, err)
		}
	}
	return nil
}

func (v *validator) template(t Template) error {
	last := ""
	for _, image := range t.Images {
		if err := checkReference(image); err != nil {
			return err
		}
		if image <= last || !t.LeftOut && !v.images[image] && !v.missing[image] {
			return fmt.Errorf("its image %s is not in order, or neither listed nor missing", image)
		}
		last = image
	}
	last = ""
	for _, s := range t.Streams {
		name, tag, _ := strings.Cut(s, ":")
		if !namePattern.MatchString(name) || !namePattern.MatchString(tag) || s <= last {
			return fmt.Errorf("%.60q is no tag of an imagestream, or not in order", s)
		}
		last = s
	}
	return nil
}

func (v *validator) nothingUnused(c *Content) error {
	for _, n := range c.Nodes {
		if !v.used[n.Digest] {
			return fmt.Errorf("node %s: no image needs it", n.Digest)
		}
	}
	for _, b := range c.Blobs {
		if !v.used[b.Digest] {
			return fmt.Errorf("blob %s: no image needs it", b.Digest)
		}
	}
	return nil
}

// blobs is every digest that the node itself points to but its children.
func (n Node) blobs() []digest.Digest {
	if n.Config == "" {
		return n.Layers
	}
	return append([]digest.Digest{n.Config}, n.Layers...)
}

type parentChild struct{ parent, child digest.Digest }

// missingChildren are the children of indexes that are recorded as missing.
func missingChildren(c *Content) map[parentChild]bool {
	pairs := map[parentChild]bool{}
	for _, m := range c.Missing {
		if m.Parent != "" {
			pairs[parentChild{m.Parent, m.reference().Digest}] = true
		}
	}
	return pairs
}

// reference is what is missing, parsed; empty if it is no reference.
func (m Missing) reference() oci.Reference {
	ref, _ := oci.ParseReference(m.Reference)
	return ref
}

// checkReference holds a reference to its one normal form.
func checkReference(s string) error {
	ref, err := oci.ParseReference(s)
	if err != nil {
		return err
	}
	if ref.String() != s {
		return fmt.Errorf("reference %.200q is written %q", s, ref.String())
	}
	return nil
}

func checkDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
		return fmt.Errorf("digest %.80q is not a sha256 one", string(d))
	}
	return nil
}
