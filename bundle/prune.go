package bundle

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"airlift/manifest"
	"airlift/oci"
)

// Prune asks the registry for all that the report lists, with what lies under a
// directory: the objects that are rendered then lose what is there no more, its sources,
// and the places where nothing of a source is left. Sources that no report knows stay,
// and what this import brought is not asked for. It gives the references that leave. If
// the registry does not answer for any of them, or another run writes its report there
// before the objects are rendered (Objects.Unpruned), nothing is taken out. It is called
// before these are, and not within Alone.
func (r *Report) Prune(ctx context.Context, client *oci.Client, dir string) ([]string, error) {
	if r.Assumed {
		return nil, fmt.Errorf("%w: no registry has been asked, so there is nothing that it could have lost", ErrUsage)
	}
	asked := *r
	asked.Operators = slices.Clone(r.Operators)
	p := pruning{client: client, report: &asked, brought: map[[2]string]bool{}, named: map[string][]Held{}}
	p.bring()
	if err := asked.Join(dir); err != nil {
		return nil, err
	}
	for _, h := range asked.Held {
		for _, name := range h.Names {
			p.named[name] = append(p.named[name], h)
		}
	}
	left := make([]Held, len(asked.Held))
	err := forEach(ctx, 8, len(asked.Held), func(ctx context.Context, i int) (err error) {
		left[i], err = p.still(ctx, asked.Held[i])
		return err
	})
	if err != nil {
		return nil, err
	}
	r.pruned = &asked
	return asked.drop(left), nil
}

// drop leaves of what is held, image by image, only what is left, and gives the
// references of which nothing is.
func (r *Report) drop(left []Held) (gone []string) {
	for i, h := range left {
		lost := r.Held[i]
		lost.Mirrors = minus(lost.Mirrors, h.Mirrors)
		r.lost = append(r.lost, lost)
		if len(h.Mirrors) == 0 {
			gone = append(gone, h.Reference)
		}
	}
	r.Held = slices.DeleteFunc(left, func(h Held) bool { return len(h.Mirrors) == 0 })
	return gone
}

// pruning is what asks a registry for what a report lists.
type pruning struct {
	client  *oci.Client
	report  *Report
	brought map[[2]string]bool // references, with the names and repositories that this import gave them
	named   map[string][]Held  // the images that have a name
}

// bring notes what this import brought, before earlier ones are added.
func (p *pruning) bring() {
	if p.report.read {
		return
	}
	for _, h := range p.report.Held {
		for _, name := range slices.Concat(h.Names, h.Mirrors) {
			p.brought[[2]string{h.Reference, name}] = true
		}
	}
}

// still is a held image with the names and repositories at which it is there yet:
// under a tag, if clusters pull it by one, else by its digest.
func (p *pruning) still(ctx context.Context, h Held) (Held, error) {
	var names, mirrors []string
	for _, name := range h.Names {
		there, err := p.has(ctx, h, name)
		if err != nil {
			return h, err
		}
		if there {
			names = append(names, name)
		}
	}
	for _, mirror := range h.Mirrors {
		there := slices.ContainsFunc(names, func(name string) bool { return repositoryOf(name) == mirror })
		if !h.pulledByTag() {
			var err error
			if there, err = p.hasDigest(ctx, h, mirror); err != nil {
				return h, err
			}
		}
		if there {
			mirrors = append(mirrors, mirror)
		}
	}
	h.Mirrors = mirrors
	if len(names) > 0 { // an image that is there without a tag keeps those that it had
		h.Names = names
	}
	return h, nil
}

// has says whether a name leads to an image. Where its tag moved on it does; where
// another source's image has the name now it does not.
func (p *pruning) has(ctx context.Context, h Held, name string) (bool, error) {
	if p.brought[[2]string{h.Reference, name}] {
		return true, nil
	}
	d, found, err := p.answer(ctx, name)
	taken := slices.ContainsFunc(p.named[name], func(other Held) bool { return h.isAnother(other) && other.Digest == d })
	return found && !taken, err
}

// hasDigest says whether a repository has an image.
func (p *pruning) hasDigest(ctx context.Context, h Held, repository string) (bool, error) {
	if p.brought[[2]string{h.Reference, repository}] {
		return true, nil
	}
	_, found, err := p.answer(ctx, repository+"@"+string(h.Digest))
	return found, err
}

// answer is the digest of what the cluster knows by a name. What lies elsewhere
// cannot be asked for, and counts as there.
func (p *pruning) answer(ctx context.Context, name string) (d digest.Digest, found bool, err error) {
	o := p.report.Options
	rest, under := strings.CutPrefix(name, o.Cluster+"/")
	if !under {
		return "", true, nil
	}
	ref, err := oci.ParseReference(o.To + "/" + rest)
	if err != nil {
		return "", false, err
	}
	desc, found, err := p.client.Head(ctx, ref)
	if err != nil {
		return "", false, fmt.Errorf("ask for %s: %w", ref, err)
	}
	return desc.Digest, found, nil
}

// gone are the sources of images that are wanted, with the places at which nothing
// of them is left.
func (r *Report) gone(wanted func(Held) bool) map[string][]string {
	now := map[string][]string{}
	for _, m := range r.mirrors(r.Held, wanted) {
		now[m.Source] = m.Mirrors
	}
	gone := map[string][]string{}
	for _, m := range r.mirrors(r.lost, wanted) {
		if lost := minus(m.Mirrors, now[m.Source]); len(lost) > 0 {
			gone[m.Source] = lost
		}
	}
	return gone
}

// remaining are the entries of an object without what Prune found to be gone of the
// images that it is for: a source loses its places, and one around it that leads
// there leaves with the last source that it stands for.
func (r *Report) remaining(entries []manifest.Mirror, wanted func(Held) bool) []manifest.Mirror {
	held, gone := r.mirrors(r.Held, wanted), r.gone(wanted)
	var all []manifest.Mirror
	for _, m := range entries {
		m.Mirrors = minus(m.Mirrors, gone[m.Source])
		stoodFor := false
		for source, lost := range gone {
			rest, under := below(source, m.Source)
			stoodFor = stoodFor || under && slices.ContainsFunc(m.Mirrors, func(place string) bool { return slices.Contains(lost, join(place, rest)) })
		}
		stands := slices.ContainsFunc(held, func(h manifest.Mirror) bool { _, under := below(h.Source, m.Source); return under })
		if len(m.Mirrors) > 0 && (stands || !stoodFor) {
			all = append(all, m)
		}
	}
	return all
}
