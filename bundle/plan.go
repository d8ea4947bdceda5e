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

	// Platforms narrow lists that are named by tag only: images for others are left
	// out. None = all are carried. With Sparse that goes for lists named by digest,
	// releases' too, which keep their digests and lack children then.
	Platforms []oci.Platform
	Sparse    bool

	// The series of the bundle, nil for that of Since, and what the far side has. They
	// make no difference to the content, but that nobody asks for blobs that are there.
	Series *string
	Since  []*Since

	SkipMissing bool // ask for blobs too, so that images without theirs are found out
	SkipDenied  bool // take samples that their registry denies for missing

	Jobs     int // requests at once; 0 = 8
	Progress Progress
}

// Digest tells one request from another: it is the same for the same images,
// releases and streams, in whatever order, narrowed alike, since the same bundles, cut
// into volumes of the same size. What may be skipped makes no difference.
func (r Request) Digest(volumeSize int64) digest.Digest {
	request := map[string]any{
		"releases": names(r.Releases), "images": names(r.Images), "streams": r.Streams, "samples": r.Samples.sorted(),
		"platforms": names(r.Platforms), "sparse": r.Sparse, "volumeSize": volumeSize,
	}
	if len(r.Since) > 0 || r.Series != nil && *r.Series != "" {
		request["series"], request["since"] = r.Series, sinceIDs(r.Since)
	}
	return requestDigest(request)
}

// RequestAgain is the Digest of a request for what an inventory lists.
func (inv *Inventory) RequestAgain(volumeSize int64) digest.Digest {
	request := map[string]any{"content": inv.ContentID(), "volumeSize": volumeSize}
	if len(inv.Storage.LeftOut) > 0 {
		request["leftOut"] = inv.Storage.LeftOut
	}
	return requestDigest(request)
}

func requestDigest(request map[string]any) digest.Digest {
	data, err := marshal(request)
	if err != nil { // only for what JSON cannot say
		panic(err)
	}
	return digest.FromBytes(data)
}

// names are the normal forms of a list, sorted, each once.
func names[S fmt.Stringer](all []S) []string {
	var list []string
	for _, one := range all {
		list = append(list, one.String())
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Plan resolves all that is asked for: references to digests, digests to nodes,
// nodes to blobs with their sizes. It is the only place that resolves, so tags
// that move later change nothing.
//
// Whatever it asks for is there, missing, denied or failing, by the status and the
// code of the answer. What is missing is listed in the content, and so is an image
// that lacks a blob of its own, where blobs are asked for, or a list without any of
// its images. It is an error (ErrRelease) if a release lacks it. What is denied
// is an error but for samples, with leave; what fails, when all tries have been
// made, always is. Errors are reported together, not the first alone.
func Plan(ctx context.Context, client *oci.Client, r Request) (*Content, error) {
	c, err := newPlanner(client, r).plan(ctx)
	if err != nil {
		return nil, err
	}
	return c, c.validate()
}

// plan makes the content.
func (p *planner) plan(ctx context.Context) (*Content, error) {
	r := p.request
	if err := p.streams(r.Streams); err != nil {
		return nil, err
	}
	p.want(r.Images...)
	unread := errors.Join(p.releases(ctx, r.Releases), p.samples(ctx, r.Samples))
	if errors.Is(unread, ErrUsage) { // what was asked for has to be put right first
		return nil, unread
	}
	err := errors.Join(unread, p.resolve(ctx))
	if err == nil && r.SkipMissing {
		err = p.askBlobs(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, MissingErrors(p.lost()))
	}
	return p.content()
}

func newPlanner(client *oci.Client, r Request) *planner {
	return &planner{
		client: client, request: r, progress: r.Progress, jobs: jobs(r.Jobs),
		vital: map[string]bool{}, ofSamples: map[string]bool{}, others: map[string]bool{}, images: map[string]digest.Digest{},
		nodes: map[digest.Digest]oci.Node{}, carried: map[digest.Digest]bool{}, asked: map[string]*asking{},
		lists: map[string]digest.Digest{}, missing: map[string]Missing{},
		lostBlobs: map[digest.Digest]string{}, lostNodes: map[digest.Digest]string{},
	}
}

// planner is one run of Plan.
type planner struct {
	client   *oci.Client
	request  Request
	jobs     int
	progress Progress

	wanted    []oci.Reference
	vital     map[string]bool // names of repositories@digests that releases consist of
	ofSamples map[string]bool // references that the samples operator's streams and templates name
	others    map[string]bool // references that are wanted for anything else
	released  []Release
	stream    []ImageStream
	complete  bool
	sampled   []Samples

	mu      sync.Mutex
	images  map[string]digest.Digest   // by reference
	nodes   map[digest.Digest]oci.Node // found, wherever
	carried map[digest.Digest]bool     // nodes that images need; others were looked at only
	lists   map[string]digest.Digest   // by reference: that gave way to their one image that is wanted
	asked   map[string]*asking         // by repository and digest
	missing map[string]Missing         // by reference and parent
	failed  []error

	lostBlobs map[digest.Digest]string // that no repository has, and what the last one said
	lostNodes map[digest.Digest]string // that are not whole, and why
}

// asking is a node that is asked for once, however many images need it.
type asking struct {
	once sync.Once
	err  error
}

func (p *planner) want(refs ...oci.Reference) { p.wantFor(p.others, refs) }

// wantSamples wants images of the samples operator.
func (p *planner) wantSamples(refs []oci.Reference) { p.wantFor(p.ofSamples, refs) }

func (p *planner) wantFor(whom map[string]bool, refs []oci.Reference) {
	p.wanted = append(p.wanted, refs...)
	for _, ref := range refs {
		whom[ref.String()] = true
	}
}

func (p *planner) streams(s manifest.ImageStreams) error {
	p.complete = s.Complete
	for _, stream := range s.Streams {
		planned, refs, err := plannedStream(stream)
		if err != nil {
			return err
		}
		if planned.Samples = stream.Managed; planned.Samples {
			p.wantSamples(refs)
		} else {
			p.want(refs...)
		}
		p.stream = append(p.stream, planned)
	}
	return nil
}

// plannedStream is a stream in the terms of the inventory, with its images. With an error
// it is its name alone.
func plannedStream(s manifest.ImageStream) (planned ImageStream, refs []oci.Reference, err error) {
	planned = ImageStream{Name: s.Name, Repository: s.Repository}
	for _, t := range s.Tags {
		ref, err := oci.ParseReference(t.From)
		if err != nil {
			return ImageStream{Name: s.Name}, nil, fmt.Errorf("imagestream %s:%s: %w", s.Name, t.Name, err)
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

// isSample says whether a reference is wanted for the samples operator, and for nothing
// else.
func (p *planner) isSample(ref oci.Reference) bool {
	return p.ofSamples[ref.String()] && !p.others[ref.String()]
}

// walk is the way from one image that is wanted to all below it.
type walk struct {
	root     oci.Reference
	attached bool                   // what is attached is wanted too
	seen     map[digest.Digest]bool // met before, or not wanted
}

// image resolves one reference with all below it and all attached to it.
func (p *planner) image(ctx context.Context, ref oci.Reference) {
	n, err := p.node(ctx, ref)
	if err != nil {
		p.fail(ref, ref, "", err)
		return
	}
	w := walk{ref, !isAttachment(ref), map[digest.Digest]bool{}}
	if n, wanted := p.narrow(ctx, w, n); wanted {
		p.resolved(ref, n)
		p.below(ctx, w, n)
	}
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
func (p *planner) below(ctx context.Context, w walk, n oci.Node) {
	w.seen[n.Descriptor.Digest] = true
	p.carry(n.Descriptor.Digest)
	if w.attached {
		p.attached(ctx, w.root, n.Descriptor.Digest)
	}
	for _, child := range n.Children {
		if w.seen[child.Digest] {
			continue
		}
		at := w.root.WithDigest(child.Digest)
		below, err := p.node(ctx, at)
		if err != nil {
			w.seen[child.Digest] = true
			p.fail(w.root, at, n.Descriptor.Digest, err)
			continue
		}
		p.below(ctx, w, below)
	}
}

func (p *planner) carry(d digest.Digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.carried[d] = true
}
