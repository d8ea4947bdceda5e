package bundle

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sync/atomic"

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

// unlisted is how many images of a repository are asked for their attachments in any
// case. Only for more of them its tags are listed, and the answers for these say
// whether the list is to be believed.
const unlisted = 4

// attachments resolves what is attached to all that was found. Nodes refuse images
// whose mirror has no signatures where a policy asks for them, so these travel along;
// that there are none is no fault.
//
// Where a repository lists its tags, those that are not there need not be asked for.
// The list is had before the first of them is asked for: a registry that fetches what
// it is asked for would list it from then on.
func (p *planner) attachments(ctx context.Context, walks []*walk, done *tally) error {
	first, rest := firstOfRepositories(walks)
	lists, err := p.tagLists(ctx, rest)
	if err != nil {
		return err
	}
	if err := p.attachedTo(ctx, first, lists, done); err != nil {
		return err
	}
	for _, l := range lists {
		l.use = !l.wrong.Load()
	}
	return p.attachedTo(ctx, rest, lists, done)
}

// firstOfRepositories parts the first few images of each repository from the others.
func firstOfRepositories(walks []*walk) (first, rest []*walk) {
	count := map[string]int{}
	for _, w := range walks {
		name := w.root.Name()
		if len(w.met) == 0 || count[name] == unlisted {
			rest = append(rest, w)
			continue
		}
		count[name]++
		first = append(first, w)
	}
	return first, rest
}

// tagList is the tags of a repository by which something is attached.
type tagList struct {
	tags  map[string]bool
	use   bool        // what it lacks is not asked for
	wrong atomic.Bool // it lacks what the registry has
}

// lacks says whether a tag is known not to be there.
func (l *tagList) lacks(tag string) bool { return l != nil && l.use && !l.tags[tag] }

// has notes that a tag is there, or may be.
func (l *tagList) has(tag string) {
	if l != nil && !l.tags[tag] {
		l.wrong.Store(true)
	}
}

// tagLists are the lists of the repositories of images, by their names. Where there
// is none, for whatever reason, all is asked for. A mirror may be one that fetches
// what it is asked for, and lists what it has.
func (p *planner) tagLists(ctx context.Context, images []*walk) (map[string]*tagList, error) {
	repositories := map[string]oci.Reference{}
	for _, w := range images {
		if len(w.met) > 0 && p.client.Locate(w.root) == w.root {
			repositories[w.root.Name()] = w.root
		}
	}
	names, lists := slices.Sorted(maps.Keys(repositories)), map[string]*tagList{}
	err := forEach(ctx, p.jobs, len(names), func(ctx context.Context, i int) error {
		if tags, err := p.client.Tags(ctx, repositories[names[i]]); err == nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			lists[names[i]] = newTagList(tags)
		}
		return ctx.Err()
	})
	return lists, err
}

func newTagList(tags []string) *tagList {
	l := &tagList{tags: map[string]bool{}}
	for _, tag := range tags {
		if attachmentTag.MatchString(tag) {
			l.tags[tag] = true
		}
	}
	return l
}

// attachedTo resolves what is attached to images and to all below them.
func (p *planner) attachedTo(ctx context.Context, images []*walk, lists map[string]*tagList, done *tally) error {
	return forEach(ctx, p.jobs, len(images), func(ctx context.Context, i int) error {
		w := images[i]
		for _, d := range w.met {
			p.attached(ctx, w.root, d, lists[w.root.Name()])
		}
		done.add(1)
		return ctx.Err()
	})
}

// attached resolves what is attached to a node.
func (p *planner) attached(ctx context.Context, root oci.Reference, d digest.Digest, l *tagList) {
	ref := root.WithDigest(d)
	byTag := func(tag string) {
		if !l.lacks(tag) && p.optional(ctx, root, ref.WithTag(tag)) {
			l.has(tag)
		}
	}
	byTag(attachmentPrefix(d) + ".sig")
	referrers, supported, err := p.client.Referrers(ctx, ref)
	switch {
	case err != nil && p.mayLack(root, err): // it may be denied, too
		byTag(attachmentPrefix(d))
	case err != nil:
		p.failure(fmt.Errorf("resolve %s: %w", ref, err))
	case !supported:
		byTag(attachmentPrefix(d))
	}
	for _, r := range referrers {
		p.optional(ctx, root, ref.WithDigest(r.Digest))
	}
}

// optional resolves a reference that may not exist, with all below it. What is
// attached to that in turn is not looked for. It reports false if the answer is that
// it does not exist.
func (p *planner) optional(ctx context.Context, root, ref oci.Reference) bool {
	n, err := p.node(ctx, ref)
	if oci.IsMissing(err) {
		return false
	}
	if err != nil {
		p.fail(root, ref, "", err)
		return true
	}
	p.resolved(ref, n)
	p.below(ctx, &walk{root: root, seen: map[digest.Digest]bool{}}, n)
	return true
}
