package bundle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"airlift/manifest"
	"airlift/oci"
)

// Request says what to carry.
type Request struct {
	Releases []oci.Reference       // payload images, by tag or digest
	Images   []oci.Reference       // any images
	Streams  manifest.ImageStreams // image streams, with their tags
	Samples  *SamplesRequest       // of the releases' samples operators; nil = none
	Jobs     int                   // requests at once; 0 = 8
	Progress Progress
}

// Digest tells one request from another: it is the same for the same images,
// releases and streams, in whatever order, cut into volumes of the same size.
func (r Request) Digest(volumeSize int64) digest.Digest {
	return requestDigest(map[string]any{
		"releases": names(r.Releases), "images": names(r.Images), "streams": r.Streams, "samples": r.Samples.sorted(), "volumeSize": volumeSize,
	})
}

// RequestAgain is the Digest of a request for what an inventory lists.
func (inv *Inventory) RequestAgain(volumeSize int64) digest.Digest {
	return requestDigest(map[string]any{"content": inv.ContentID(), "volumeSize": volumeSize})
}

func requestDigest(request map[string]any) digest.Digest {
	data, err := marshal(request)
	if err != nil { // only for what JSON cannot say
		panic(err)
	}
	return digest.FromBytes(data)
}

func names(refs []oci.Reference) []string {
	var list []string
	for _, ref := range refs {
		list = append(list, ref.String())
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// MissingError is one thing that a source does not have, and that was not
// allowed to be left out.
type MissingError struct{ Missing Missing }

func (e *MissingError) Error() string { return ErrMissing.Error() + ": " + e.Missing.String() }

// MissingErrors joins a *MissingError for each of a list; nil for none.
func MissingErrors(list []Missing) error {
	errs := make([]error, len(list))
	for i, m := range list {
		errs[i] = &MissingError{m}
	}
	return errors.Join(errs...)
}

// key orders what is missing: by reference, then by what lists it.
func (m Missing) key() string { return m.Reference + " " + string(m.Parent) }

// String names what is missing and what for.
func (m Missing) String() string {
	if m.Parent == "" {
		return fmt.Sprintf("%s (%s)", m.Reference, m.Reason)
	}
	return fmt.Sprintf("%s, which index %s lists (%s)", m.Reference, m.Parent, m.Reason)
}

// Plan resolves all that is asked for: references to digests, digests to nodes,
// nodes to blobs with their sizes. It is the only place that resolves, so tags
// that move later change nothing. What the sources answer not to have is listed
// in the content; a release component that they do not have is an error
// (*MissingError), as is whatever they refuse. Failures are reported together, not
// the first alone.
func Plan(ctx context.Context, client *oci.Client, r Request) (*Content, error) {
	p := &planner{
		client: client, progress: r.Progress, jobs: jobs(r.Jobs), nodes: map[digest.Digest]oci.Node{}, asked: map[string]*asking{},
		images: map[string]digest.Digest{}, missing: map[string]Missing{}, vital: map[string]bool{},
	}
	if err := p.streams(r.Streams); err != nil {
		return nil, err
	}
	p.want(r.Images...)
	unread := errors.Join(p.releases(ctx, r.Releases), p.samples(ctx, r.Samples))
	if err := errors.Join(unread, p.resolve(ctx)); err != nil {
		return nil, errors.Join(err, MissingErrors(p.lost()))
	}
	return p.content()
}

// lost is all that is missing, in order.
func (p *planner) lost() []Missing {
	var lost []Missing
	for _, key := range slices.Sorted(maps.Keys(p.missing)) {
		lost = append(lost, p.missing[key])
	}
	return lost
}

// planner is one run of Plan.
type planner struct {
	client   *oci.Client
	jobs     int
	progress Progress

	wanted   []oci.Reference
	vital    map[string]bool // names of repositories@digests that releases consist of
	released []Release
	stream   []ImageStream
	complete bool
	sampled  []Samples

	mu      sync.Mutex
	images  map[string]digest.Digest   // by reference
	nodes   map[digest.Digest]oci.Node // found, wherever
	asked   map[string]*asking         // by repository and digest
	missing map[string]Missing         // by reference and parent
	failed  []error
}

// asking is a node that is asked for once, however many images need it.
type asking struct {
	once sync.Once
	err  error
}

func (p *planner) want(refs ...oci.Reference) { p.wanted = append(p.wanted, refs...) }

func (p *planner) streams(s manifest.ImageStreams) error {
	p.complete = s.Complete
	for _, stream := range s.Streams {
		planned, refs, err := plannedStream(stream)
		if err != nil {
			return err
		}
		planned.Samples = stream.Managed
		p.want(refs...)
		p.stream = append(p.stream, planned)
	}
	return nil
}

// plannedStream is a stream in the terms of the inventory, with its images.
func plannedStream(s manifest.ImageStream) (planned ImageStream, refs []oci.Reference, err error) {
	planned = ImageStream{Name: s.Name, Repository: s.Repository}
	for _, t := range s.Tags {
		ref, err := oci.ParseReference(t.From)
		if err != nil {
			return planned, nil, fmt.Errorf("imagestream %s:%s: %w", s.Name, t.Name, err)
		}
		planned.Tags = append(planned.Tags, StreamTag{Name: t.Name, From: t.From, Image: ref.String()})
		refs = append(refs, ref)
	}
	for _, a := range s.Aliases {
		planned.Aliases = append(planned.Aliases, Alias(a))
	}
	return planned, refs, nil
}

// resolve asks for everything that is wanted, once, several at a time.
func (p *planner) resolve(ctx context.Context) error {
	unique := map[string]oci.Reference{}
	for _, ref := range p.wanted {
		unique[ref.String()] = ref
	}
	refs := slices.Sorted(maps.Keys(unique))
	done := p.progress.begin("plan", "images", int64(len(refs)))
	err := forEach(ctx, p.jobs, len(refs), func(ctx context.Context, i int) error {
		p.image(ctx, unique[refs[i]])
		done.add(1)
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	return joinSome(p.failed, maxFailures, "images could not be resolved")
}

// maxFailures is how many failures to resolve are reported one by one: an
// unreachable registry fails for every image in the same way.
const maxFailures = 20

// joinSome joins errors, sorted by their text, and counts those beyond n.
func joinSome(errs []error, n int, what string) error {
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	if len(errs) > n {
		errs = append(errs[:n:n], &moreErrors{fmt.Sprintf("and %d more %s", len(errs)-n, what), errs[n:]})
	}
	return errors.Join(errs...)
}

// moreErrors stands for errors that are not worded one by one; it is of all
// their classes.
type moreErrors struct {
	text string
	errs []error
}

func (m *moreErrors) Error() string   { return m.text }
func (m *moreErrors) Unwrap() []error { return m.errs }

// image resolves one reference with all below it and all attached to it.
func (p *planner) image(ctx context.Context, ref oci.Reference) {
	n, err := p.node(ctx, ref)
	if err != nil {
		p.fail(ref, "", err)
		return
	}
	p.resolved(ref, n)
	p.below(ctx, ref, n, !isAttachment(ref), map[digest.Digest]bool{})
}

func (p *planner) resolved(ref oci.Reference, n oci.Node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.images[ref.String()] = n.Descriptor.Digest
}

// node asks for a node; by digest only if it has not been found yet.
func (p *planner) node(ctx context.Context, ref oci.Reference) (oci.Node, error) {
	if ref.Digest == "" {
		n, err := p.client.Node(ctx, ref)
		if err == nil {
			p.found(n)
		}
		return n, err
	}
	if n, found := p.known(ref.Digest); found {
		return n, nil
	}
	a := p.ask(ref.WithDigest(ref.Digest).String())
	a.once.Do(func() {
		var n oci.Node
		if n, a.err = p.client.Node(ctx, ref.WithDigest(ref.Digest)); a.err == nil {
			p.found(n)
		}
	})
	n, _ := p.known(ref.Digest)
	return n, a.err
}

func (p *planner) found(n oci.Node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nodes[n.Descriptor.Digest] = n
}

func (p *planner) known(d digest.Digest) (oci.Node, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, found := p.nodes[d]
	return n, found
}

func (p *planner) ask(key string) *asking {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked[key] == nil {
		p.asked[key] = &asking{}
	}
	return p.asked[key]
}

// below resolves the children of a node and, if wanted, what is attached to it
// and them.
func (p *planner) below(ctx context.Context, ref oci.Reference, n oci.Node, attached bool, seen map[digest.Digest]bool) {
	if seen[n.Descriptor.Digest] {
		return
	}
	seen[n.Descriptor.Digest] = true
	if attached {
		p.attached(ctx, ref.WithDigest(n.Descriptor.Digest))
	}
	for _, child := range n.Children {
		at := ref.WithDigest(child.Digest)
		below, err := p.node(ctx, at)
		if err != nil {
			p.fail(at, n.Descriptor.Digest, err)
			continue
		}
		p.below(ctx, ref, below, attached, seen)
	}
}

// fail records why a reference could not be resolved.
func (p *planner) fail(ref oci.Reference, parent digest.Digest, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !oci.IsMissing(err) {
		p.failed = append(p.failed, fmt.Errorf("resolve %s: %w", ref, err))
		return
	}
	m := Missing{Reference: ref.String(), Parent: parent, Reason: reason(err)}
	p.missing[m.key()] = m
}

// reason is the registry's answer without what differs between two mirrors of
// the same content: where it was asked, and in which words it answered.
func reason(err error) string {
	var status *oci.StatusError
	if !errors.As(err, &status) {
		return "not found"
	}
	return fmt.Sprintf("the registry answered %d", status.Status)
}
