package bundle

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"airlift/oci"
)

// pusher pushes images. A blob is uploaded once, however many images need it,
// and mounted where it is needed elsewhere.
type pusher struct {
	im *Importer

	blobs map[digest.Digest]*pushedBlob
	base  places // where blobs could be that are left out
	ranks int    // that blobs have so far
	done  *tally
	slots *slots // of blobs that are on their way, as many as jobs
	nodes *slots // of nodes and tags that are written, as many again

	sends atomic.Int64 // of blobs so far: a clock

	mu    sync.Mutex
	links map[string]*sync.Mutex   // of nodes, by repository and digest
	leads map[string]digest.Digest // what names lead to, as far as is known
}

// pushedBlob is where a blob is known to be. Its lock lets one goroutine at a
// time bring the blob anywhere: the others find it there.
type pushedBlob struct {
	sync.Mutex
	entry        Entry
	rank         int             // in the order in which images need blobs: those of the first image come first
	needed       []oci.Reference // the repositories that need it
	repositories map[string]arrival
	sent         map[string]int64 // when it was, to which repository
	first        string           // a repository to mount it from
	damaged      error            // it cannot come from the volumes that had it
	begun        *begunUpload     // of its first parts
	counted      sync.Once
}

// arrival is how a blob came to be in a repository.
type arrival int

const (
	_        arrival = iota // not known to be there
	wasThere                // as the registry says
	wasSent                 // from the medium that is being read
	wasNot                  // as the registry says of what no medium has brought
)

func newPusher(im *Importer) *pusher {
	n := jobs(im.options.Jobs)
	p := &pusher{
		im: im, blobs: map[digest.Digest]*pushedBlob{}, slots: newSlots(n), nodes: newSlots(n),
		links: map[string]*sync.Mutex{}, leads: map[string]digest.Digest{},
	}
	for _, b := range im.bundle.Inventory.Content.Blobs {
		e, carried := im.bundle.Layout.Find(b.Digest)
		if !carried {
			e = leftOutEntry(b)
		}
		p.blobs[b.Digest] = &pushedBlob{entry: e, repositories: map[string]arrival{}, sent: map[string]int64{}}
	}
	for _, image := range im.images {
		p.need(image)
	}
	p.base = im.places()
	total := int64(0)
	for _, b := range p.blobs {
		if len(b.needed) > 0 && !b.entry.isLeftOut() {
			total += b.entry.Size
		}
	}
	p.done = im.options.Progress.begin("push", "bytes", total)
	return p
}

// need notes the repositories that an image's blobs are needed in.
func (p *pusher) need(image placed) {
	p.im.nodes.walk(image.Digest, func(n Node) {
		for _, d := range n.blobs() {
			b := p.blobs[d]
			if b.rank == 0 {
				p.ranks++
				b.rank = p.ranks
			}
			for _, to := range p.repositories(image) {
				if !slices.Contains(b.needed, to) {
					b.needed = append(b.needed, to)
				}
			}
		}
	})
}

// repositories are those that an image is pushed to.
func (p *pusher) repositories(image placed) []oci.Reference {
	return p.im.options.Placement.repositories(image)
}

// turn begins with another medium. It may have what was damaged on the one before;
// and of what was sent before it, the registry may have collected some.
func (p *pusher) turn() {
	for _, b := range p.blobs {
		e := b.entry
		if e.isLeftOut() {
			continue
		}
		if len(p.im.holding(e)) > 0 || p.im.volumes[0].from(e.data(), e.Size) > 0 {
			b.damaged = nil
		}
		for repository, how := range b.repositories {
			if how == wasSent {
				b.repositories[repository] = wasThere
			}
		}
	}
}

// present says whether all names of an image lead to its digest, with all
// children beside it.
func (p *pusher) present(ctx context.Context, image placed) (present bool, err error) {
	present = true
	for _, d := range image.names {
		to := p.im.options.Placement.pushed(d)
		got, found, err := p.im.client.Head(ctx, to)
		if err != nil {
			return false, err
		}
		present = present && found && got.Digest == image.Digest
		p.lead(to, got.Digest)
	}
	if present {
		present, err = p.children(ctx, image)
	}
	if present && p.im.options.Force {
		present, err = p.holds(ctx, image)
	}
	if present {
		p.countAll(image)
	}
	return present, err
}

// children says whether all below an image is in each of its repositories:
// collectors take the children of an index for untagged.
func (p *pusher) children(ctx context.Context, image placed) (bool, error) {
	asked := map[string]bool{}
	for _, d := range image.names {
		to := p.im.options.Placement.pushed(d)
		for _, n := range p.below(image.Digest) {
			child := to.WithDigest(n.Digest)
			if n.Digest == image.Digest || asked[child.String()] {
				continue
			}
			asked[child.String()] = true
			if _, found, err := p.im.client.Head(ctx, child); err != nil || !found {
				return false, err
			}
		}
	}
	return true, nil
}

// holds asks whether all blobs of an image are in each of its repositories.
func (p *pusher) holds(ctx context.Context, image placed) (bool, error) {
	all := true
	for _, to := range p.repositories(image) {
		for _, n := range p.below(image.Digest) {
			for _, d := range n.blobs() {
				found, err := p.holdsBlob(ctx, to, p.blobs[d])
				if err != nil {
					return false, err
				}
				all = all && found
			}
		}
	}
	return all, nil
}

func (p *pusher) holdsBlob(ctx context.Context, to oci.Reference, b *pushedBlob) (bool, error) {
	b.Lock()
	defer b.Unlock()
	if b.isIn(to.Repository, 0) {
		return true, nil
	}
	return p.ask(ctx, to, b)
}

// lead notes what a name leads to.
func (p *pusher) lead(name oci.Reference, d digest.Digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leads[name.String()] = d
}

// leadsTo says whether a name is known to lead to a digest.
func (p *pusher) leadsTo(name oci.Reference, d digest.Digest) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leads[name.String()] == d
}

// below lists a node and all below it, children before parents.
func (p *pusher) below(root digest.Digest) []Node {
	var nodes []Node
	p.im.nodes.walk(root, func(n Node) { nodes = append(nodes, n) })
	return nodes
}

// tag gives an image one of its names, and what the name led to one of its own.
func (p *pusher) tag(ctx context.Context, name oci.Reference, image digest.Digest) error {
	if err := p.nodes.acquire(ctx, 0); err != nil {
		return err
	}
	defer p.nodes.release()
	was, found, err := p.im.client.Head(ctx, name)
	if err == nil && found && !slices.ContainsFunc(p.below(image), func(n Node) bool { return n.Digest == was.Digest }) {
		err = p.keep(ctx, name.WithDigest(was.Digest))
	}
	if err == nil {
		err = p.write(ctx, name, p.im.nodes[image])
	}
	if err == nil {
		p.lead(name, image)
	}
	return err
}

// keep gives what a name leads to a tag of its own, before the name moves on:
// clusters may have pinned it by its digest, and what has no tag is collected. What
// the registry refuses, for it has lost some of it, keeps no name from moving.
func (p *pusher) keep(ctx context.Context, was oci.Reference) error {
	n, err := p.im.client.Kept(ctx, was)
	if oci.IsMissing(err) {
		return nil
	}
	if err == nil {
		err = p.im.client.PutNode(ctx, was.WithTag(digestTag(was.Digest)), n.Descriptor.MediaType, n.Raw)
		if isUnknown(err) || oci.IsRefusal(err) {
			p.im.options.Progress.note(fmt.Sprintf("%s, which a tag moves on from, gets no other: %v", was, err))
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("keep what its tag named before: %w", err)
	}
	return nil
}

func (p *pusher) countAll(image placed) {
	p.im.nodes.walk(image.Digest, func(n Node) {
		for _, d := range n.blobs() {
			p.count(p.blobs[d])
		}
	})
}

// image pushes an image to all its repositories and tags it there. What a
// registry refuses for something that it said to have is pushed once more,
// whatever it says: collectors and caches are not always of one mind.
func (p *pusher) image(ctx context.Context, image placed) error {
	err := p.attempt(ctx, image, 0)
	if isUnknown(err) && !errors.As(err, new(*sparseError)) {
		err = p.heal(ctx, image)
	}
	return err
}

// heal pushes an image of which the registry has lost something, and believes of
// no blob that it is there but of those that were sent since then.
func (p *pusher) heal(ctx context.Context, image placed) error {
	return p.attempt(ctx, image, p.sends.Add(1))
}

// isUnknown says whether a registry refused a manifest because of something in
// it that it does not have (distribution spec, MANIFEST_BLOB_UNKNOWN and kin).
func isUnknown(err error) bool {
	var answer *oci.StatusError
	return errors.As(err, &answer) && answer.Method == http.MethodPut &&
		slices.Contains([]string{"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"}, answer.Code)
}

// attempt pushes an image: blobs first, children before parents, tags last of
// all; those that lead to it already are left alone. After the time since, unless
// that is 0, only what was sent later is believed to be there.
func (p *pusher) attempt(ctx context.Context, image placed, since int64) error {
	if err := p.everywhere(ctx, image, since); err != nil {
		return err
	}
	for _, d := range image.names {
		to := p.im.options.Placement.pushed(d)
		if since == 0 && p.leadsTo(to, image.Digest) {
			continue
		}
		if err := p.tag(ctx, to, image.Digest); err != nil {
			return err
		}
	}
	return nil
}

// everywhere pushes all that an image needs into each of its repositories.
func (p *pusher) everywhere(ctx context.Context, image placed, since int64) error {
	var lacks error
	for _, to := range p.repositories(image) {
		err := p.fill(ctx, to, image.Digest, since)
		if err != nil && !isLack(err) {
			return err
		}
		lacks = worse(lacks, err)
	}
	return lacks
}

// fill pushes all that a node needs into a repository, and then its children. A
// sparse index below it that is refused does not keep the rest from being brought,
// but then it has no use for others.
func (p *pusher) fill(ctx context.Context, to oci.Reference, root digest.Digest, since int64) error {
	nodes := p.below(root)
	if err := p.all(ctx, to, nodes, since); err != nil {
		return err
	}
	var refused error
	for _, n := range nodes {
		if n.Digest == root || refused != nil && len(n.Children) > 0 {
			continue // the root goes under its tags
		}
		err := p.put(ctx, to.WithDigest(n.Digest), n)
		if errors.As(err, new(*sparseError)) {
			refused, err = err, nil
		}
		if err != nil {
			return err
		}
	}
	return refused
}

// all brings the blobs of nodes into a repository, side by side. What is lacking does
// not keep the rest from being brought: the medium may not come again. When one fails
// otherwise no other is begun, but those on their way go on: other images wait for them.
func (p *pusher) all(ctx context.Context, to oci.Reference, nodes []Node, since int64) error {
	var blobs []digest.Digest
	for _, n := range nodes {
		blobs = union(blobs, n.blobs())
	}
	lacking := make([]error, len(blobs))
	err := forEach(ctx, jobs(p.im.options.Jobs), len(blobs), func(begin context.Context, i int) error {
		if begin.Err() != nil {
			return begin.Err()
		}
		err := p.blob(ctx, begin, to, blobs[i], since)
		if isLack(err) {
			lacking[i], err = err, nil
		}
		return err
	})
	var lacks error
	for _, lack := range lacking {
		lacks = worse(lacks, lack)
	}
	return cmp.Or(err, lacks)
}

// isLack says whether an error is of a blob that no volume has, or none undamaged.
func isLack(err error) bool { return errors.Is(err, errSkip) || errors.Is(err, ErrDamaged) }

// worse is the first of two errors, but damage counts more.
func worse(a, b error) error {
	if a == nil || !errors.Is(a, ErrDamaged) && errors.Is(b, ErrDamaged) {
		return b
	}
	return a
}

// put pushes a node in its turn.
func (p *pusher) put(ctx context.Context, to oci.Reference, n Node) error {
	if err := p.nodes.acquire(ctx, 0); err != nil {
		return err
	}
	defer p.nodes.release()
	return p.write(ctx, to, n)
}

// write pushes a node, while no other goroutine pushes it or one of its children
// into the same repository: distribution writes its links in place, and refuses
// an index (DIGEST_INVALID) while the link of a child is being written.
func (p *pusher) write(ctx context.Context, to oci.Reference, n Node) error {
	touched := append([]digest.Digest{n.Digest}, n.Children...)
	slices.Sort(touched) // all take them in the same order
	for _, d := range slices.Compact(touched) {
		link := p.link(to.WithDigest(d))
		link.Lock()
		defer link.Unlock()
	}
	err := p.im.client.PutNode(ctx, to, n.MediaType, p.im.raw[n.Digest])
	if len(n.Absent) > 0 && oci.IsRefusal(err) {
		return &sparseError{n.Digest, err}
	}
	return p.im.nameType(n, err)
}

// link is the lock of a node in a repository.
func (p *pusher) link(node oci.Reference) *sync.Mutex {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.links[node.String()] == nil {
		p.links[node.String()] = &sync.Mutex{}
	}
	return p.links[node.String()]
}

// blob brings a blob into a repository: it is there, or is mounted, or uploaded.
func (p *pusher) blob(ctx, begin context.Context, to oci.Reference, d digest.Digest, since int64) error {
	b := p.blobs[d]
	return p.inTurn(ctx, begin, to, b, since, func() (arrival, error) { return p.bring(ctx, to, b, since) })
}

// inTurn lets a blob be brought into a repository, unless it is there; not when begin has
// ended meanwhile, or the registry is not available any more. Who waits for one that
// another goroutine brings holds no slot, and who holds one waits for no blob.
func (p *pusher) inTurn(ctx, begin context.Context, to oci.Reference, b *pushedBlob, since int64, bring func() (arrival, error)) error {
	b.Lock()
	defer b.Unlock()
	if b.isIn(to.Repository, since) {
		return nil
	}
	if err := p.slots.acquire(begin, b.rank); err != nil {
		return err
	}
	defer p.slots.release()
	if err := p.im.outage.now(); err != nil {
		return err
	}
	how, err := bring()
	if err != nil {
		return cmp.Or(p.im.outageOf(ctx, err), err)
	}
	p.arrived(b, to, how)
	return nil
}

// isIn says whether a blob is known to be in a repository; after the time since,
// unless that is 0, only what was sent later is.
func (b *pushedBlob) isIn(repository string, since int64) bool {
	how := b.repositories[repository]
	if since > 0 {
		return how == wasSent && b.sent[repository] > since
	}
	return how == wasSent || how == wasThere
}

// known are the blobs below a node that are known to be where an image is pushed to.
func (p *pusher) known(image placed, root digest.Digest) []Holding {
	held := holdings{}
	for _, to := range p.repositories(image) {
		p.im.nodes.walk(root, func(n Node) {
			for _, d := range n.blobs() {
				if p.blobs[d].isIn(to.Repository, 0) {
					held.add(to.Repository, d)
				}
			}
		})
	}
	return held.list()
}

// arrived notes that a repository has a blob.
func (p *pusher) arrived(b *pushedBlob, to oci.Reference, how arrival) {
	b.repositories[to.Repository] = how
	if how == wasSent {
		b.sent[to.Repository] = p.sends.Add(1)
	}
	if b.first == "" {
		b.first = to.Repository
	}
	p.count(b)
}

// count counts a blob that is there, if it is one that had to be brought.
func (p *pusher) count(b *pushedBlob) {
	b.counted.Do(func() {
		if !b.entry.isLeftOut() {
			p.done.add(b.entry.Size)
		}
	})
}

func (p *pusher) bring(ctx context.Context, to oci.Reference, b *pushedBlob, since int64) (arrival, error) {
	if since == 0 {
		found, err := p.find(ctx, to, b)
		if err == nil && !found && b.first != "" {
			found, err = p.im.client.Mount(ctx, to, b.entry.Digest, b.first)
		}
		if err != nil || found {
			return wasThere, err
		}
	}
	if len(p.im.holding(b.entry)) > 0 {
		return wasSent, p.upload(ctx, to, b)
	}
	return wasSent, p.elsewhere(ctx, to, b, since)
}

// find asks whether a repository has a blob. For one that is not at hand it looks
// into the others that need it, too.
func (p *pusher) find(ctx context.Context, to oci.Reference, b *pushedBlob) (bool, error) {
	if len(p.im.holding(b.entry)) > 0 && b.repositories[to.Repository] != wasNot {
		return p.im.client.HasBlob(ctx, to, b.entry.descriptor())
	}
	found, err := p.ask(ctx, to, b)
	for i := 0; i < len(b.needed) && err == nil && !found && b.first == ""; i++ {
		_, err = p.ask(ctx, b.needed[i], b)
	}
	return found, err
}

// ask asks a repository once for a blob that only media can bring.
func (p *pusher) ask(ctx context.Context, to oci.Reference, b *pushedBlob) (bool, error) {
	if b.repositories[to.Repository] == wasNot {
		return false, nil
	}
	found, err := p.im.client.HasBlob(ctx, to, b.entry.descriptor())
	switch {
	case err == nil && found:
		p.arrived(b, to, wasThere)
	case err == nil:
		b.repositories[to.Repository] = wasNot
	}
	return found, err
}

// upload sends a blob from the volumes. Bytes that are not those of the digest
// are found out before the last of them is sent, and the upload is given up.
func (p *pusher) upload(ctx context.Context, to oci.Reference, b *pushedBlob) error {
	if b.damaged != nil {
		return b.damaged
	}
	err := p.im.fromCopies(b.entry, func(v *volumeSet) error { return p.send(ctx, to, b.entry, v) })
	if errors.Is(err, ErrDamaged) {
		b.damaged = err
	}
	return err
}

func (p *pusher) send(ctx context.Context, to oci.Reference, e Entry, v *volumeSet) error {
	return p.im.client.PutBlob(ctx, to, e.descriptor(), func() (io.ReadCloser, error) {
		checked := &checkedReader{r: v.section(e.data(), e.Size), sum: sha256.New(), want: e.Digest}
		return io.NopCloser(&contextReader{ctx, checked}), nil
	})
}
