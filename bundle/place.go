package bundle

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"airlift/manifest"
	"airlift/oci"
)

// Location is a registry and a path in it under which repositories lie.
type Location struct {
	Host string // HOST[:PORT]
	Path string // "" or a path without slashes at its ends
}

// ParseLocation reads HOST[:PORT][/PATH].
func ParseLocation(s string) (Location, error) {
	if scheme, _, found := strings.Cut(s, "://"); found {
		return Location{}, fmt.Errorf("%w: %q is a URL: write HOST[:PORT][/PREFIX] without %s://", ErrUsage, s, scheme)
	}
	host, path, _ := strings.Cut(s, "/")
	ref, err := oci.ParseReference(host + "/" + cmp.Or(path, "x") + "@" + string(emptyDigest))
	if err != nil || ref.Registry != host || ref.Tag != "" {
		return Location{}, fmt.Errorf("%w: %q is not a registry: write HOST[:PORT][/PREFIX]", ErrUsage, s)
	}
	return Location{host, path}, nil
}

// ParseClusterLocation reads HOST[:PORT][/PATH] as the name that objects of a
// cluster will give to a registry: the CRDs of mirror sets decide what that can be.
func ParseClusterLocation(s string) (Location, error) {
	if err := manifest.CheckMirror(s); err != nil {
		return Location{}, fmt.Errorf("%w: no mirror set can hold %w", ErrUsage, err)
	}
	return ParseLocation(s)
}

var emptyDigest = digest.FromString("")

func (l Location) String() string { return join(l.Host, l.Path) }

// join joins two paths, of which any may be empty.
func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "/" + b
}

// Mapping sends a source registry, namespace or repository to a path of its own.
type Mapping struct {
	Source string `json:"source"` // registry[/namespace[/repository]]
	Dest   string `json:"dest"`   // below the destination; "" is the destination itself
}

// ParseMapping reads SOURCE=DEST. DEST is a path below to; it may be written
// with to in front.
func ParseMapping(s string, to Location) (Mapping, error) {
	source, dest, found := strings.Cut(s, "=")
	if !found || source == "" {
		return Mapping{}, fmt.Errorf("%w: map %q: write SOURCE=DEST", ErrUsage, s)
	}
	source, err := oci.ParsePlace(source)
	if err != nil {
		return Mapping{}, fmt.Errorf("%w: map %q: %w", ErrUsage, s, err)
	}
	if rest, under := below(dest, to.String()); under {
		dest = rest
	}
	dest = strings.Trim(dest, "/")
	if _, err := ParseLocation(join(to.String(), dest)); err != nil {
		return Mapping{}, fmt.Errorf("%w: map %q: %q is not a path", ErrUsage, s, dest)
	}
	return Mapping{source, dest}, nil
}

// below cuts a path prefix off at a slash.
func below(path, prefix string) (rest string, under bool) {
	if path == prefix {
		return "", true
	}
	return strings.CutPrefix(path, prefix+"/")
}

// Placement says where images go, and what says so: it is the one function from
// a source reference to a destination, for pushing and for every object that is
// written. The path of a source lies under To; Maps come before that, the
// longest source first.
type Placement struct {
	To             Location   // where images are pushed to
	Cluster        Location   // the same place as the cluster's nodes name it
	Mirrors        []Location // further registries that hold the same in the same way
	KeepSourceHost bool       // the source's host becomes the first element of the path
	Maps           []Mapping
	MaxNestedPaths int // components of a whole path, that of To included; more are folded into so many; 0 = any number
}

// Idle are the maps under which a content has no source: mistyped, or meant for
// another bundle.
func (p Placement) Idle(c *Content) []Mapping {
	return slices.DeleteFunc(slices.Clone(p.Maps), func(m Mapping) bool {
		return slices.ContainsFunc(c.Images, func(i Image) bool {
			source, err := oci.ParseReference(i.Reference)
			_, under := below(source.Name(), m.Source)
			return err == nil && under
		})
	})
}

// path is where a source repository lies below To.
func (p Placement) path(source oci.Reference) (string, error) {
	var best *Mapping
	for i, m := range p.Maps {
		if _, under := below(source.Name(), m.Source); under && (best == nil || len(m.Source) > len(best.Source)) {
			best = &p.Maps[i]
		}
	}
	path := source.Repository
	switch {
	case best != nil:
		rest, _ := below(source.Name(), best.Source)
		path = join(best.Dest, rest)
	case p.KeepSourceHost:
		path = join(strings.ToLower(strings.ReplaceAll(source.Registry, ":", "-")), path)
	}
	if join(p.To.Path, path) == "" {
		return "", fmt.Errorf("%w: %s would lie at the root of %s, which is no repository: map it to a path", ErrUsage, source.Name(), p.To)
	}
	return p.folded(path), nil
}

// destination is one name that an image gets, below To.
type destination struct{ path, tag string }

func (p Placement) at(l Location, path string) string { return join(l.String(), path) }

// pushed is a destination as a reference to push to.
func (p Placement) pushed(d destination) oci.Reference {
	return oci.Reference{Registry: p.To.Host, Repository: join(p.To.Path, d.path), Tag: d.tag}
}

// repositories are those that an image is pushed to.
func (p Placement) repositories(image placed) []oci.Reference {
	var all []oci.Reference
	for _, d := range image.names {
		all = union(all, []oci.Reference{p.pushed(d).WithTag("")})
	}
	return all
}

// named is a destination as the cluster names it.
func (p Placement) named(d destination) string { return p.at(p.Cluster, d.path) + ":" + d.tag }

// address is where a repository that the cluster names can be asked, if it is in
// the registry.
func (p Placement) address(name string) (at oci.Reference, there bool) {
	host, path, _ := strings.Cut(name, "/")
	if host != p.Cluster.Host {
		return oci.Reference{}, false
	}
	if p.To.Path != p.Cluster.Path {
		if p.Cluster.Path != "" {
			if path, there = below(path, p.Cluster.Path); !there {
				return oci.Reference{}, false // nobody knows what it is called here
			}
		}
		path = join(p.To.Path, path)
	}
	return oci.Reference{Registry: p.To.Host, Repository: path}, path != ""
}

// Known is how the cluster names a repository that was pushed to: it is the name
// that a pull secret has for it.
func (p Placement) Known(name string) string {
	if path, under := below(name, p.To.String()); under {
		return join(p.Cluster.String(), path)
	}
	if path, under := below(name, p.To.Host); under {
		return join(p.Cluster.Host, path)
	}
	return name
}

// placed is an image with everywhere it goes.
type placed struct {
	Image
	names []destination // the first is the one that mirror sets lead to
}

// place gives every image its names. One repository:tag for two digests is an
// error, and so is a name that no registry takes; all such errors are reported.
// Where the samples operator cannot be told where samples are (SamplesFault),
// they have no names for it.
func (p Placement) place(c *Content) ([]placed, error) {
	all, err := p.places(c)
	if err != nil {
		return all, err
	}
	if named, err := p.secondNames(c, all); err == nil {
		return named, nil
	}
	return all, nil
}

// SamplesFault is why the samples operator cannot be told by a samplesRegistry
// where the samples of a content are; nil if it can.
func (p Placement) SamplesFault(c *Content) error {
	all, err := p.places(c)
	if err == nil {
		_, err = p.secondNames(c, all)
	}
	return err
}

// places gives every image the names that its source has here.
func (p Placement) places(c *Content) ([]placed, error) {
	if err := p.CheckNesting(); err != nil {
		return nil, err
	}
	tags := c.releaseTags()
	var failed []error
	all := make([]placed, 0, len(c.Images))
	for _, image := range c.Images {
		source, err := oci.ParseReference(image.Reference)
		if err != nil {
			return nil, err
		}
		path, err := p.path(source)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		one := placed{Image: image}
		for _, tag := range imageTags(source, image.Digest, tags[image.Reference]) {
			one.names = append(one.names, destination{path: path, tag: tag})
		}
		all = append(all, one)
	}
	return all, errors.Join(append(failed, p.unfit(all), p.collisions(all))...)
}

// secondNames adds the names at which the samples operator will look. There are
// none for any image if one of them cannot be: samplesRegistry is one for all.
func (p Placement) secondNames(c *Content, all []placed) ([]placed, error) {
	carried := map[string]bool{}
	for _, image := range all {
		carried[image.Reference] = true
	}
	rewrites, err := p.rewrites(c, carried)
	if err != nil {
		return nil, err
	}
	named := slices.Clone(all)
	for i, image := range named {
		named[i].names = union(image.names, rewrites[image.Reference])
	}
	return named, errors.Join(p.unfit(named), p.collisions(named))
}

// imageTags are the tags of an image. Registries collect what has none, so each
// gets one: a release's, its own, or one made of the digest. The plain tag
// sha256-<hex> is not used: the referrers fallback of OCI registries owns it.
func imageTags(source oci.Reference, d digest.Digest, released []string) []string {
	tags := slices.Clone(released)
	if source.Tag != "" {
		tags = append(tags, source.Tag)
	}
	if len(tags) == 0 {
		tags = append(tags, digestTag(d))
	}
	return tags
}

// digestTag is the tag of an image that has no other.
func digestTag(d digest.Digest) string { return "at-" + strings.Replace(string(d), ":", "-", 1) }

// releaseTags are the tags that releases give, by reference: <version>-<arch>
// and <version>-<arch>-<component>, as `oc adm release mirror` names them.
func (c *Content) releaseTags() map[string][]string {
	tags := map[string][]string{}
	for _, r := range c.Releases {
		name := strings.ReplaceAll(r.Version, "+", "_") + "-" + r.Architecture
		tags[r.Image] = append(tags[r.Image], name)
		for _, component := range r.Components {
			tags[component.Image] = append(tags[component.Image], name+"-"+component.Name)
		}
	}
	return tags
}

// rewrites are the names at which samples operators will look for images that
// are carried, by reference.
func (p Placement) rewrites(c *Content, carried map[string]bool) (map[string][]destination, error) {
	found := map[string][]destination{}
	for _, s := range c.sampleStreams() {
		if manifest.KeepsReferences(s.Name) {
			continue
		}
		for _, t := range s.Tags {
			if !carried[t.Image] {
				continue
			}
			d, err := p.rewritten(t)
			if err != nil {
				return nil, fmt.Errorf("imagestream %s:%s: %w", s.Name, t.Name, err)
			}
			found[t.Image] = union(found[t.Image], []destination{d})
		}
	}
	return found, nil
}

// allStreams are the streams by themselves and those of samples operators, which
// are told apart by their field Samples.
func (c *Content) allStreams() []ImageStream {
	all := slices.Clone(c.Streams)
	for _, set := range c.Samples {
		for _, s := range set.Streams {
			s.Samples = true
			all = append(all, s)
		}
	}
	return all
}

// sampleStreams are all streams of all samples operators.
func (c *Content) sampleStreams() []ImageStream {
	return slices.DeleteFunc(c.allStreams(), func(s ImageStream) bool { return !s.Samples })
}

// rewritten is where the samples operator will look for a stream's tag.
func (p Placement) rewritten(t StreamTag) (destination, error) {
	name := manifest.RewriteSample(t.From, p.Cluster.String())
	ref, err := oci.ParseReference(name)
	if err != nil {
		return destination{}, fmt.Errorf("the samples operator would look for it at %.300s, which is no name of an image", name)
	}
	path, under := below(ref.Name(), p.Cluster.String())
	if !under {
		return destination{}, fmt.Errorf("the samples operator would look for it at %s, outside of %s", ref, p.Cluster)
	}
	if err := p.tooDeep(path); err != nil {
		return destination{}, fmt.Errorf("the samples operator would look for it at %s: %w", ref, err)
	}
	tag := imageTags(ref, ref.Digest, nil)[0]
	return destination{path, tag}, nil
}

// unfit refuses names that no registry takes, such as a tag of more than 128
// characters.
func (p Placement) unfit(all []placed) error {
	var failed []error
	for _, image := range all {
		for _, d := range image.names {
			if _, err := oci.ParseReference(p.pushed(d).String()); err != nil {
				failed = append(failed, fmt.Errorf("%w: no name for %s: %w", ErrUsage, image.Reference, err))
			}
		}
	}
	return errors.Join(failed...)
}

// collisions refuses two digests under one name.
func (p Placement) collisions(all []placed) error {
	taken := map[destination]placed{}
	var clashes []string
	for _, image := range all {
		for _, d := range image.names {
			held, there := taken[d]
			if there && held.Digest != image.Digest {
				clashes = append(clashes, fmt.Sprintf("%s and %s would both be %s", held.Reference, image.Reference, p.pushed(d)))
			}
			taken[d] = image
		}
	}
	if len(clashes) > 0 {
		return fmt.Errorf("%w: %w: %s", ErrUsage, ErrCollision, strings.Join(clashes, "; "))
	}
	return nil
}

// ErrCollision: two images would have the same name at the destination.
var ErrCollision = fmt.Errorf("two images for one name")

// check refuses, before anything is pushed, what could not be written into the
// objects later: the CRDs' pattern for mirrors decides.
func (p Placement) check(all []placed) error {
	for _, location := range append([]Location{p.Cluster}, p.Mirrors...) {
		if err := manifest.CheckMirror(location.String()); err != nil {
			return fmt.Errorf("%w: no mirror set can hold %w", ErrUsage, err)
		}
		for _, image := range all {
			if err := manifest.CheckMirror(p.at(location, image.names[0].path)); err != nil {
				return fmt.Errorf("%w: %s: no mirror set can hold %w", ErrUsage, image.Reference, err)
			}
		}
	}
	return nil
}
