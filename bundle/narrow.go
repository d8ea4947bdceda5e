package bundle

import (
	"context"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci"
)

// The narrowing of lists to platforms. A list that is named by digest has to stay
// what it is: unless it may be sparse it is carried whole. One that is named by tag
// only is a means to find an image; where one image is left of it, the tag names
// that image from now on. So any registry takes it, whether or not it takes lists
// that lack children. Where several are left the list stays, without the others.

// narrow gives what is carried of a list: the list itself, with what is not wanted
// of it marked as seen, or its only image. It reports false, and records why, if
// that is nothing.
func (p *planner) narrow(ctx context.Context, w walk, n oci.Node) (oci.Node, bool) {
	if !p.narrows(w.root) || len(n.Children) == 0 {
		return n, true
	}
	images, others := p.ofPlatforms(n)
	switch {
	case len(images) == 0 && w.root.Digest != "":
		p.failure(fmt.Errorf("resolve %s: %s", w.root, p.noImage()))
		return n, false
	case len(images) == 0:
		p.lacks(Missing{Reference: w.root.String(), Reason: p.noImage()})
		return n, false
	case len(images)+len(others) == len(n.Children): // nothing is left out
		return n, true
	case len(images) == 1 && w.root.Digest == "":
		return p.only(ctx, w.root, n, images[0].Digest)
	}
	for _, child := range n.Children {
		w.seen[child.Digest] = true
	}
	for _, wanted := range append(images, others...) {
		w.seen[wanted.Digest] = false
	}
	return n, true
}

// only gives the one image of a list that a reference stands for from now on.
func (p *planner) only(ctx context.Context, ref oci.Reference, list oci.Node, d digest.Digest) (oci.Node, bool) {
	image, err := p.node(ctx, ref.WithDigest(d))
	switch {
	case err == nil:
	case p.mayLack(ref, err):
		p.lacks(Missing{Reference: ref.String(), Digest: d, Reason: reason(err)})
	default:
		p.failure(fmt.Errorf("resolve %s: %w", ref.WithDigest(d), err))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lists[ref.String()] = list.Descriptor.Digest
	return image, err == nil
}

// narrows says whether an image that is named so may be carried in part.
func (p *planner) narrows(ref oci.Reference) bool {
	return len(p.request.Platforms) > 0 && (ref.Digest == "" || p.request.Sparse)
}

func (p *planner) noImage() string {
	return "it has no image for " + p.platforms()
}

func (p *planner) platforms() string { return strings.Join(names(p.request.Platforms), " or ") }

// ofPlatforms gives the children of a list that are wanted: its images, those
// included that do not say what they run on, and what describes these.
func (p *planner) ofPlatforms(n oci.Node) (images, others []ocispec.Descriptor) {
	for _, child := range n.Children {
		if describes(child) == "" && p.runs(child.Platform) {
			images = append(images, child)
		}
	}
	for _, child := range n.Children {
		for _, image := range images {
			if describes(child) == string(image.Digest) {
				others = append(others, child)
				break
			}
		}
	}
	return images, others
}

// runs says whether a platform is wanted. Leaving out takes a platform that says
// to be another.
func (p *planner) runs(platform *ocispec.Platform) bool {
	if platform == nil || platform.OS == "" && platform.Architecture == "" {
		return true
	}
	for _, wanted := range p.request.Platforms {
		if wanted.Runs(*platform) {
			return true
		}
	}
	return false
}

// describes is the digest of the image that an attestation in an index is about
// (buildkit, docs/attestations/attestation-storage.md); "" for an image.
func describes(d ocispec.Descriptor) string {
	return d.Annotations["vnd.docker.reference.digest"]
}
