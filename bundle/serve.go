package bundle

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"airlift/oci"
)

// Served is a bundle as a registry that can only be read, straight from its media:
// an [http.Handler]. What it serves is what was signed:
//
//   - Manifests and indexes are read and hashed once, by Serve, and kept in memory.
//   - A blob is hashed when it is first asked for: a small one, or one of which a part
//     is wanted, before anything is sent; any other while it is sent, and the last of
//     it is held back until the digest is right. If it is not, the connection is cut.
//   - After that it is sent as it stands in its file, which the kernel does where it
//     can (sendfile). A file that was changed or exchanged meanwhile is refused.
//
// An image that lacks a blob, because the volume with it was not given or the source did
// not have it, is not there, and the answer says why. A release is whole, or there was
// leave to serve a part of it.
type Served struct {
	registry oci.Registry
	options  ServeOptions
	im       *Importer              // knows the media and what goes where; it never imports
	files    map[string]os.FileInfo // volumes as they were opened, by path
	blobs    map[digest.Digest]*servedBlob

	leftOut error // what a complete bundle would have

	mu      sync.Mutex
	damaged map[digest.Digest]error // blobs of which no copy was found right
}

// ServeOptions say what is served, and by which names.
type ServeOptions struct {
	Placement Placement // names are those that an import to Placement.To would give
	// Partial serves what is at hand of a release, too, of which something is on volumes
	// that were not given, or in the base of an increment.
	Partial  bool
	Progress Progress // gets notes of what is wrong with the media
}

// Serve reads all manifests and indexes of a bundle, and knows after that what is
// where. What is refused is what Import refuses, and a part of a release without leave:
// ErrPartialRelease, with an *AbsentError or ErrLeftOut.
func (b *Bundle) Serve(o ServeOptions) (*Served, error) {
	s := &Served{options: o, im: NewImporter(nil, ImportOptions{Placement: o.Placement, SkipMissing: true, Progress: o.Progress})}
	if err := s.im.take(b); err != nil {
		return nil, err
	}
	s.registry.Blob = s.blob
	s.files, s.blobs, s.damaged = map[string]os.FileInfo{}, map[digest.Digest]*servedBlob{}, map[digest.Digest]error{}
	for _, v := range s.im.volumes {
		for _, f := range v.files {
			info, err := f.Stat()
			if err != nil {
				return nil, errors.Join(err, s.Close())
			}
			s.files[f.Name()] = info
		}
	}
	if err := s.arrange(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close closes the volumes.
func (s *Served) Close() error { return s.im.release() }

func (s *Served) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.registry.ServeHTTP(w, r) }

// Images are the results of all images: StatePlanned for those that are served, with
// a Reason where not all of a list is there, StateSkipped for others.
func (s *Served) Images() []ImageResult { return s.im.list() }

// Verdict is what was wrong so far: ErrAbsent, ErrMissing, and ErrDamaged for all blobs
// that were found damaged when they were asked for.
func (s *Served) Verdict() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.leftOut, s.im.verdict(), joinSome(slices.Collect(maps.Values(s.damaged)), maxFailures, "blobs are damaged"))
}

// arrange puts every image where it goes, with all below it.
func (s *Served) arrange() error {
	s.registry.Repositories = map[string]*oci.Repository{}
	content := &s.im.bundle.Inventory.Content
	lacks := s.lacks(content)
	partial, err := s.partial(content, lacks)
	if err != nil && !s.options.Partial {
		return err
	}
	for _, image := range s.im.images {
		r := s.result(image, lacks)
		r.Reason = cmp.Or(r.Reason, partial[image.Digest])
		s.im.record(r)
		for _, name := range image.names {
			r := s.repository(s.im.options.Placement.pushed(name).Repository)
			if why := lacks[image.Digest]; why != "" {
				r.Absent[name.tag] = why
			} else {
				r.Tags[name.tag] = image.Digest
			}
			if err := s.fill(r, image.Digest, lacks); err != nil {
				return err
			}
		}
	}
	return s.arrangeMissing(content)
}

// partial says of releases, by their digests, what they lack of what is somewhere
// else; the error says so of all, and where that is.
func (s *Served) partial(c *Content, lacks map[digest.Digest]string) (map[digest.Digest]string, error) {
	why := map[digest.Digest]string{}
	var all []error
	for _, r := range c.Releases {
		var parts []string
		images := append([]Component{{"the release itself", r.Image}}, r.Components...)
		for _, part := range images {
			if image, _ := oci.ParseReference(part.Image); !s.isWhole(image.Digest, lacks) {
				parts = append(parts, part.Name)
			}
		}
		if len(parts) == 0 {
			continue
		}
		what := fmt.Sprintf("lacks %d of its %d images: %s", len(parts), len(images), listSome(parts, 5))
		release, _ := oci.ParseReference(r.Image)
		why[release.Digest] = what
		all = append(all, fmt.Errorf("%w: release %s (%s) %s: %w", ErrPartialRelease, r.Version, r.Architecture, what, s.elsewhere()))
	}
	return why, errors.Join(all...)
}

// isWhole says whether all blobs of an image that its bundle or the base of that
// carries are at hand.
func (s *Served) isWhole(d digest.Digest, lacks map[digest.Digest]string) bool {
	whole := true
	s.im.nodes.walk(d, func(n Node) {
		whole = whole && !slices.ContainsFunc(n.blobs(), func(d digest.Digest) bool { return lacks[d] != "" })
	})
	return whole
}

// elsewhere is where that is which is not at hand: nil if there is no such thing.
func (s *Served) elsewhere() error {
	if len(s.im.absent) == 0 {
		return s.leftOut
	}
	return errors.Join(s.leftOut, &AbsentError{s.im.volumeNames(s.im.absent), s.im.volumeNames(s.im.cut)})
}

// result is StatePlanned for an image that is served, with a reason if something
// below it is not there, and StateSkipped for any other.
func (s *Served) result(image placed, lacks map[digest.Digest]string) ImageResult {
	r := ImageResult{Reference: image.Reference, Digest: image.Digest, State: StatePlanned, Names: s.im.names(image)}
	if why := lacks[image.Digest]; why != "" {
		r.State, r.Reason, r.Names = StateSkipped, why, nil
		return r
	}
	s.im.nodes.walk(image.Digest, func(n Node) {
		for _, child := range n.Children {
			r.Reason = cmp.Or(r.Reason, lacks[child])
		}
	})
	return r
}

func (s *Served) repository(name string) *oci.Repository {
	if s.registry.Repositories[name] == nil {
		s.registry.Repositories[name] = &oci.Repository{
			Tags: map[string]digest.Digest{}, Nodes: map[digest.Digest]oci.Node{}, Blobs: map[digest.Digest]bool{}, Absent: map[string]string{},
		}
	}
	return s.registry.Repositories[name]
}

// lacks says of nodes and blobs why they are not there: a blob that an increment leaves
// out, or whose volume was not given, an image with such a blob, an index without any child that is there, what
// is not carried.
func (s *Served) lacks(c *Content) map[digest.Digest]string {
	why := map[digest.Digest]string{}
	for _, sparse := range c.Sparse() {
		for _, d := range sparse.Missing {
			why[d] = ErrMissing.Error()
		}
		for _, d := range sparse.LeftOut {
			why[d] = "left out for its platform when the bundle was made"
		}
	}
	for _, b := range c.Blobs {
		switch e, carried := s.im.bundle.Layout.Find(b.Digest); {
		case !carried:
			s.leftOut = fmt.Errorf("%w: %s", ErrLeftOut, BaseWords(s.im.bundle.Inventory.About.Base))
			why[b.Digest] = s.leftOut.Error()
		case len(s.im.holding(e)) == 0:
			why[b.Digest] = skipReason(s.im.absentFrom(e, 0))
		}
	}
	for _, n := range c.Nodes { // children come before their parents
		needs := slices.DeleteFunc(slices.Concat(n.blobs(), n.Children), func(d digest.Digest) bool { return why[d] == "" })
		if len(needs) > 0 && (n.Config != "" || len(needs) == len(n.Children)) {
			why[n.Digest] = why[needs[0]]
		}
	}
	return why
}

// fill gives a repository a node and all below it.
func (s *Served) fill(r *oci.Repository, d digest.Digest, lacks map[digest.Digest]string) (err error) {
	s.im.nodes.walk(d, func(n Node) {
		for _, d := range slices.Concat(n.blobs(), n.Absent, []digest.Digest{n.Digest}) {
			if lacks[d] != "" {
				r.Absent[string(d)] = lacks[d]
			}
		}
		if lacks[n.Digest] != "" || err != nil {
			return
		}
		r.Nodes[n.Digest], err = oci.ParseNode(n.MediaType, s.im.raw[n.Digest])
		for _, d := range n.blobs() {
			r.Blobs[d] = true
			s.blobs[d] = cmp.Or(s.blobs[d], &servedBlob{read: map[*volumeSet]error{}})
		}
	})
	return err
}

// arrangeMissing lets what was missing at the source be missing here, by its name.
func (s *Served) arrangeMissing(c *Content) error {
	for _, m := range c.Missing {
		source, err := oci.ParseReference(m.Reference)
		if err != nil {
			return err
		}
		path, err := s.im.options.Placement.path(source)
		if err != nil {
			continue // it has no place that anybody could ask at
		}
		absent := s.repository(s.im.options.Placement.pushed(destination{path: path}).Repository).Absent
		absent[cmp.Or(source.Tag, string(source.Digest))] = ErrMissing.Error() + ": " + m.String()
	}
	return nil
}
