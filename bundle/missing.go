package bundle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci"
)

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
	switch {
	case m.Parent == "":
		return fmt.Sprintf("%s (%s)", m.Reference, m.Reason)
	case m.Role != "":
		return fmt.Sprintf("%s, a %s of image %s (%s)", m.Reference, m.Role, m.Parent, m.Reason)
	}
	return fmt.Sprintf("%s, which index %s lists (%s)", m.Reference, m.Parent, m.Reason)
}

// Denied says whether the registry did not say that there is no such thing, but
// that it may not be had; or whether the thing is an image that lacks nothing else.
func (m Missing) Denied() bool { return strings.HasPrefix(m.Reason, denied) }

// The beginnings of reasons.
const (
	denied     = "denied: "
	answered   = "the registry answered "
	incomplete = "not all of it is there"
)

// reason is the registry's answer without what differs between two mirrors of
// the same content: where it was asked, and in which words it answered.
func reason(err error) string {
	var status *oci.StatusError
	if !errors.As(err, &status) {
		return "not found"
	}
	said := fmt.Sprint(answered, status.Status)
	if oci.IsDenied(err) {
		return denied + said
	}
	return said
}

// fail records why a reference could not be resolved that the image root needs.
func (p *planner) fail(root, ref oci.Reference, parent digest.Digest, err error) {
	if !p.mayLack(root, err) {
		p.failure(fmt.Errorf("resolve %s: %w", ref, err))
		return
	}
	p.lacks(Missing{Reference: ref.String(), Parent: parent, Reason: reason(err)})
}

// mayLack says whether an answer makes what was asked for missing, and not the
// export fail: that it is not there; or that it is denied, for a sample with leave.
func (p *planner) mayLack(root oci.Reference, err error) bool {
	return oci.IsMissing(err) || oci.IsDenied(err) && p.request.SkipDenied && p.isSample(root)
}

func (p *planner) failure(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = append(p.failed, err)
}

func (p *planner) lacks(m Missing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.missing[m.key()] = m
}

// lost is all that is missing, in order.
func (p *planner) lost() []Missing {
	var lost []Missing
	for _, key := range slices.Sorted(maps.Keys(p.missing)) {
		lost = append(lost, p.missing[key])
	}
	return lost
}

// neededBlob is a blob with the images that need it.
type neededBlob struct {
	Blob
	images []*oci.Reference // in order
}

// blobPlace is a repository with images that need a blob.
type blobPlace struct {
	oci.Reference
	images []*oci.Reference
}

// askBlobs asks for all blobs that are to be carried: each at one repository after
// the other that needs it, until one has it.
func (p *planner) askBlobs(ctx context.Context) error {
	blobs := p.neededBlobs()
	done := p.progress.begin("ask", "blobs", int64(len(blobs)))
	err := forEach(ctx, p.jobs, len(blobs), func(ctx context.Context, i int) error {
		p.askBlob(ctx, blobs[i])
		done.add(1)
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	return joinSome(p.failed, maxFailures, "blobs could not be asked for")
}

func (p *planner) askBlob(ctx context.Context, b *neededBlob) {
	said := ""
	for _, at := range b.places() {
		err := p.client.CanPullBlob(ctx, at.Reference, ocispec.Descriptor{Digest: b.Digest, Size: b.Size})
		if err == nil {
			return
		}
		for _, image := range at.images {
			if !p.mayLack(*image, err) {
				p.failure(fmt.Errorf("ask for %s, which %s needs: %w", at, image, err))
				return
			}
		}
		said = reason(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lostBlobs[b.Digest] = said
}

// neededBlobs are the blobs of all images, in their order. What is a node too is at
// hand, and nobody fetches what the far side has.
func (p *planner) neededBlobs() []*neededBlob {
	var all []*neededBlob
	known := map[digest.Digest]*neededBlob{}
	for _, name := range slices.Sorted(maps.Keys(p.images)) {
		ref, _ := oci.ParseReference(name)
		p.carriedBelow(p.images[name], func(n oci.Node) {
			for _, blob := range blobsOf(n) {
				if _, isNode := p.nodes[blob.Digest]; isNode || p.request.isThere(blob.Digest) {
					continue
				}
				b := known[blob.Digest]
				if b == nil {
					b = &neededBlob{Blob: blob}
					known[blob.Digest], all = b, append(all, b)
				}
				if len(b.images) == 0 || b.images[len(b.images)-1] != &ref {
					b.images = append(b.images, &ref)
				}
			}
		})
	}
	return all
}

// isThere says whether the far side has a blob.
func (r Request) isThere(d digest.Digest) bool {
	return slices.ContainsFunc(r.Since, func(s *Since) bool { return s.blobs[d] != nil })
}

// places are the repositories that a blob is needed from, in the order of its images.
func (b *neededBlob) places() (all []blobPlace) {
	for _, image := range b.images {
		at := image.WithDigest(b.Digest)
		i := slices.IndexFunc(all, func(p blobPlace) bool { return p.Reference == at })
		if i < 0 {
			i, all = len(all), append(all, blobPlace{Reference: at})
		}
		all[i].images = append(all[i].images, image)
	}
	return all
}

// carriedBelow visits a node and all below it that are to be carried, children
// before parents, each once.
func (p *planner) carriedBelow(d digest.Digest, visit func(oci.Node)) {
	seen := map[digest.Digest]bool{}
	var down func(digest.Digest)
	down = func(d digest.Digest) {
		if seen[d] || !p.carried[d] {
			return
		}
		seen[d] = true
		for _, child := range p.nodes[d].Children {
			down(child.Digest)
		}
		visit(p.nodes[d])
	}
	down(d)
}

// blobsOf are the config and layers of a node.
func blobsOf(n oci.Node) []Blob {
	var all []Blob
	if n.Config != nil {
		all = append(all, Blob{n.Config.Digest, n.Config.Size, RoleConfig})
	}
	for _, l := range n.Layers {
		all = append(all, Blob{l.Digest, l.Size, RoleLayer})
	}
	return all
}

// settle decides what is carried once all is known: no image without a blob of its
// own, no list without any of its children. What is not carried for that is
// recorded with what it lacks, for each image that needs it.
func (p *planner) settle() {
	p.foundElsewhere()
	for _, name := range slices.Sorted(maps.Keys(p.images)) {
		ref, _ := oci.ParseReference(name)
		d := p.images[name]
		p.carriedBelow(d, func(n oci.Node) {
			if lost := append(p.withoutBlobs(ref, n), p.withoutChildren(ref, n)...); len(lost) > 0 {
				p.lostNodes[n.Descriptor.Digest] = notAll(lost)
			}
		})
		if why, gone := p.lostNodes[d]; gone {
			delete(p.images, name)
			m := Missing{Reference: name, Reason: why}
			if ref.Digest == "" {
				m.Digest = d
			}
			p.lacks(m)
		}
	}
}

// foundElsewhere takes back what one repository did not have under a digest and
// another did: the bytes are the same.
func (p *planner) foundElsewhere() {
	for key, m := range p.missing {
		ref, _ := oci.ParseReference(m.Reference)
		d := cmp.Or(ref.Digest, m.Digest)
		if !p.carried[d] {
			continue
		}
		delete(p.missing, key)
		if m.Parent == "" {
			p.images[m.Reference] = d
		}
	}
}

// withoutBlobs records the blobs of a node that are lost, and gives them.
func (p *planner) withoutBlobs(ref oci.Reference, n oci.Node) (lost []Missing) {
	for _, b := range blobsOf(n) {
		said, gone := p.lostBlobs[b.Digest]
		if !gone {
			continue
		}
		m := Missing{Reference: ref.WithDigest(b.Digest).String(), Parent: n.Descriptor.Digest, Role: b.Role, Reason: said}
		if _, recorded := p.missing[m.key()]; !recorded {
			p.lacks(m)
		}
		lost = append(lost, m)
	}
	return lost
}

// withoutChildren records the children of an index that are lost, and gives them if
// no other is there.
func (p *planner) withoutChildren(ref oci.Reference, n oci.Node) (lost []Missing) {
	there := false
	for _, child := range n.Children {
		m := Missing{Reference: ref.WithDigest(child.Digest).String(), Parent: n.Descriptor.Digest}
		why, gone := p.lostNodes[child.Digest]
		switch {
		case gone:
			m.Reason = why
			p.lacks(m)
		case p.carried[child.Digest]:
			there = true
		default: // it is recorded, or left out
			m = p.missing[m.key()]
		}
		lost = append(lost, m)
	}
	if there {
		return nil
	}
	return lost
}

// notAll is why something is missing that lacks something.
func notAll(lost []Missing) string {
	for _, m := range lost {
		if !m.Denied() {
			return incomplete
		}
	}
	return denied + incomplete
}

// vitalMissing refuses what leaves a release incomplete. An image that lacks a blob is
// missing itself by now.
func (p *planner) vitalMissing() error {
	parts := map[string]bool{} // repository and digest of every node of a release
	for name := range p.vital {
		ref, _ := oci.ParseReference(name)
		p.parts(ref.WithDigest(ref.Digest), parts)
		parts[name] = true
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
	return errors.Join(fmt.Errorf("%w: %w", ErrRelease, MissingErrors(vital)), MissingErrors(others))
}

// parts notes a node and all below it, what is missing included.
func (p *planner) parts(ref oci.Reference, parts map[string]bool) {
	if parts[ref.String()] {
		return
	}
	parts[ref.String()] = true
	for _, child := range p.nodes[ref.Digest].Children {
		p.parts(ref.WithDigest(child.Digest), parts)
	}
}
