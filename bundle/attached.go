package bundle

import (
	"context"
	"fmt"
	"regexp"

	"github.com/opencontainers/go-digest"

	"airlift/oci"
)

// Attachments are found by the two ways in use: a tag that is made of the
// digest (cosign's sha256-<hex>.sig, and the fallback sha256-<hex> of registries
// without the referrers API), and that API itself.
var attachmentTag = regexp.MustCompile(`^sha256-[0-9a-f]{64}(\.(sig|att|sbom))?$`)

// isAttachment says whether a reference names something attached to another
// image rather than an image that is pulled by its tag.
func isAttachment(ref oci.Reference) bool { return attachmentTag.MatchString(ref.Tag) }

func attachmentPrefix(d digest.Digest) string { return "sha256-" + d.Encoded() }

// attached resolves what is attached to a node. Nodes refuse images whose
// mirror has no signatures where a policy asks for them, so these travel along;
// that there are none is no fault.
func (p *planner) attached(ctx context.Context, root oci.Reference, d digest.Digest) {
	ref := root.WithDigest(d)
	p.optional(ctx, root, ref.WithTag(attachmentPrefix(d)+".sig"))
	referrers, supported, err := p.client.Referrers(ctx, ref)
	switch {
	case err != nil && p.mayLack(root, err): // it may be denied, too
		p.optional(ctx, root, ref.WithTag(attachmentPrefix(d)))
	case err != nil:
		p.failure(fmt.Errorf("resolve %s: %w", ref, err))
	case !supported:
		p.optional(ctx, root, ref.WithTag(attachmentPrefix(d)))
	}
	for _, r := range referrers {
		p.optional(ctx, root, ref.WithDigest(r.Digest))
	}
}

// optional resolves a reference that may not exist, with all below it. What is
// attached to that in turn is not looked for.
func (p *planner) optional(ctx context.Context, root, ref oci.Reference) {
	n, err := p.node(ctx, ref)
	if oci.IsMissing(err) {
		return
	}
	if err != nil {
		p.fail(root, ref, "", err)
		return
	}
	p.resolved(ref, n)
	p.below(ctx, walk{root: root, seen: map[digest.Digest]bool{}}, n)
}
