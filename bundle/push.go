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

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci"
)

// pusher pushes images. A blob is uploaded once, however many images need it,
// and mounted where it is needed elsewhere.
type pusher struct {
	im *importing

	blobs map[digest.Digest]*pushedBlob
	done  *tally

	mu    sync.Mutex
	links map[string]*sync.Mutex // of nodes, by repository and digest
}

// pushedBlob is where a blob is known to be. Its lock lets one goroutine at a
// time bring the blob anywhere: the others find it there.
type pushedBlob struct {
	sync.Mutex
	size         int64 // bytes
	repositories map[string]arrival
	first        string // a repository to mount it from
	damaged      error  // it cannot come from the volumes
	counted      sync.Once
}

// arrival is how a blob came to be in a repository.
type arrival int

const (
	_        arrival = iota // not known to be there
	wasThere                // as the registry says
	wasSent                 // by this run
)

func newPusher(im *importing) *pusher {
	p := &pusher{im: im, blobs: map[digest.Digest]*pushedBlob{}, links: map[string]*sync.Mutex{}}
	total := int64(0)
	for _, b := range im.bundle.Inventory.Content.Blobs {
		p.blobs[b.Digest] = &pushedBlob{size: b.Size, repositories: map[string]arrival{}}
		total += b.Size
	}
	p.done = im.options.Progress.begin("push", "bytes", total)
	return p
}

// present says whether all names of an image lead to its digest, with all
// children beside it, and which names lead to another digest.
func (p *pusher) present(ctx context.Context, image placed) (present bool, moved []oci.Reference, err error) {
	present = true
	for _, d := range image.names {
		to := p.im.options.Placement.pushed(d)
		got, found, err := p.im.client.Head(ctx, to)
		if err != nil {
			return false, nil, err
		}
		if found && got.Digest != image.Digest {
			moved = append(moved, to.WithDigest(got.Digest))
		}
		present = present && found && got.Digest == image.Digest
	}
	if present {
		present, err = p.children(ctx, image)
	}
	if present {
		p.countAll(image)
	}
	return present, moved, err
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

// below lists a node and all below it, children before parents.
func (p *pusher) below(root digest.Digest) []Node {
	var nodes []Node
	p.im.nodes.walk(root, func(n Node) { nodes = append(nodes, n) })
	return nodes
}

// keep gives what a name led to until now a tag of its own, before the name
// moves on: clusters may have pinned it by its digest, and what has no tag is
// collected.
func (p *pusher) keep(ctx context.Context, was oci.Reference) error {
	n, err := p.im.client.Node(ctx, was)
	if oci.IsMissing(err) {
		return nil
	}
	if err == nil {
		err = p.im.client.PutNode(ctx, was.WithTag(digestTag(was.Digest)), n.Descriptor.MediaType, n.Raw)
	}
	if err != nil {
		return fmt.Errorf("keep what its tag named before: %w", err)
	}
	return nil
}

func (p *pusher) countAll(image placed) {
	p.im.nodes.walk(image.Digest, func(n Node) {
		for _, b := range n.blobs() {
			p.count(b)
		}
	})
}

// image pushes an image to all its repositories and tags it there. What a
// registry refuses for something that it said to have is pushed once more,
// whatever it says: collectors and caches are not always of one mind.
func (p *pusher) image(ctx context.Context, image placed) error {
	err := p.attempt(ctx, image, false)
	if isUnknown(err) {
		err = p.attempt(ctx, image, true)
	}
	return err
}

// isUnknown says whether a registry refused a manifest because of something in
// it that it does not have (distribution spec, MANIFEST_BLOB_UNKNOWN and kin).
func isUnknown(err error) bool {
	var answer *oci.StatusError
	return errors.As(err, &answer) && answer.Method == http.MethodPut &&
		slices.Contains([]string{"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"}, answer.Code)
}

// attempt pushes an image: blobs first, children before parents, tags last of
// all. With again, blobs are uploaded whatever the registry says to have.
func (p *pusher) attempt(ctx context.Context, image placed, again bool) error {
	var tags []oci.Reference
	done := map[string]bool{}
	for _, d := range image.names {
		to := p.im.options.Placement.pushed(d)
		tags = append(tags, to)
		if done[to.Name()] {
			continue
		}
		done[to.Name()] = true
		if err := p.fill(ctx, to, image.Digest, again); err != nil {
			return err
		}
	}
	root := p.im.nodes[image.Digest]
	for _, tag := range tags {
		if err := p.put(ctx, tag, root); err != nil {
			return err
		}
	}
	return nil
}

// fill pushes all that a node needs into a repository, and its children.
func (p *pusher) fill(ctx context.Context, to oci.Reference, root digest.Digest, again bool) error {
	var skipped error // blobs of volumes that were not given; the others are brought
	for _, n := range p.below(root) {
		for _, b := range n.blobs() {
			err := p.blob(ctx, to, b, again)
			if err != nil && !errors.Is(err, errSkip) {
				return err
			}
			skipped = cmp.Or(skipped, err)
		}
		if n.Digest == root || skipped != nil {
			continue // the root goes under its tags; nothing incomplete goes anywhere
		}
		if err := p.put(ctx, to.WithDigest(n.Digest), n); err != nil {
			return err
		}
	}
	return skipped
}

// put pushes a node, while no other goroutine pushes it or one of its children
// into the same repository: distribution writes its links in place, and refuses
// an index (DIGEST_INVALID) while the link of a child is being written.
func (p *pusher) put(ctx context.Context, to oci.Reference, n Node) error {
	touched := append([]digest.Digest{n.Digest}, n.Children...)
	slices.Sort(touched) // all take them in the same order
	for _, d := range slices.Compact(touched) {
		link := p.link(to.WithDigest(d))
		link.Lock()
		defer link.Unlock()
	}
	return p.im.client.PutNode(ctx, to, n.MediaType, p.im.raw[n.Digest])
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
func (p *pusher) blob(ctx context.Context, to oci.Reference, d digest.Digest, again bool) error {
	b := p.blobs[d]
	b.Lock()
	defer b.Unlock()
	how := b.repositories[to.Repository]
	if how == wasSent || how == wasThere && !again {
		return nil
	}
	how, err := p.bring(ctx, to, d, b.first, again)
	if err != nil {
		return err
	}
	b.repositories[to.Repository] = how
	if b.first == "" {
		b.first = to.Repository
	}
	p.count(d)
	return nil
}

func (p *pusher) bring(ctx context.Context, to oci.Reference, d digest.Digest, first string, again bool) (arrival, error) {
	if !again {
		found, err := p.im.client.HasBlob(ctx, to, d)
		if err == nil && !found && first != "" {
			found, err = p.im.client.Mount(ctx, to, d, first)
		}
		if err != nil || found {
			return wasThere, err
		}
	}
	return wasSent, p.upload(ctx, to, d)
}

// upload sends a blob from the volumes. Bytes that are not those of the digest
// are found out before the last of them is sent, and the upload is given up.
func (p *pusher) upload(ctx context.Context, to oci.Reference, d digest.Digest) error {
	if p.blobs[d].damaged != nil {
		return p.blobs[d].damaged
	}
	e, _ := p.im.bundle.Layout.Find(d)
	if !p.im.volumes.all(e.data(), e.Size) {
		return p.elsewhere(ctx, to, e)
	}
	open := func() (io.ReadCloser, error) {
		checked := &checkedReader{r: p.im.volumes.section(e.data(), e.Size), sum: sha256.New(), want: d}
		return io.NopCloser(&contextReader{ctx, checked}), nil
	}
	err := p.im.client.PutBlob(ctx, to, ocispec.Descriptor{Digest: d, Size: e.Size}, open)
	var contents *contentsError
	if errors.As(err, &contents) {
		p.blobs[d].damaged = p.im.damaged(e, err)
		return p.blobs[d].damaged
	}
	return err
}

// count reports a blob as done, once.
func (p *pusher) count(d digest.Digest) {
	b := p.blobs[d]
	b.counted.Do(func() { p.done.add(b.size) })
}
