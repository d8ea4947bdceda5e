package bundle

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"airlift/manifest"
	"airlift/oci"
)

// Prune asks the registry for all that the report holds, with what lies under a
// directory, and takes out what is there no more: the objects that are rendered
// then lose its sources, and the places where nothing of a source is left.
// Sources that no report knows stay. It gives the references that left. If the
// registry does not answer for any of them, nothing is taken out.
func (r *Report) Prune(ctx context.Context, client *oci.Client, dir string) ([]string, error) {
	if r.Assumed {
		return nil, fmt.Errorf("%w: no registry has been asked, so there is nothing that it could have lost", ErrUsage)
	}
	if err := r.Join(dir); err != nil {
		return nil, err
	}
	left := make([]Held, len(r.Held))
	err := forEach(ctx, 8, len(r.Held), func(ctx context.Context, i int) (err error) {
		left[i], err = r.still(ctx, client, r.Held[i])
		return err
	})
	if err != nil {
		return nil, err
	}
	before := r.mirrors(func(Held) bool { return true })
	var gone []string
	for _, h := range left {
		if len(h.Mirrors) == 0 {
			gone = append(gone, h.Reference)
		}
	}
	r.Held = slices.DeleteFunc(left, func(h Held) bool { return len(h.Mirrors) == 0 })
	r.forget(before)
	return gone, nil
}

// still is a held image with the names and repositories at which it is there yet:
// under a tag, if clusters pull it by one, else by its digest.
func (r *Report) still(ctx context.Context, client *oci.Client, h Held) (Held, error) {
	var names, mirrors []string
	for _, name := range h.Names {
		there, err := r.answers(ctx, client, name)
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
			if there, err = r.answers(ctx, client, mirror+"@"+string(h.Digest)); err != nil {
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

// answers says whether the registry has what the cluster knows by a name. What
// lies elsewhere cannot be asked for, and counts as there.
func (r *Report) answers(ctx context.Context, client *oci.Client, name string) (bool, error) {
	rest, under := strings.CutPrefix(name, r.Options.Cluster+"/")
	if !under {
		return true, nil
	}
	ref, err := oci.ParseReference(r.Options.To + "/" + rest)
	if err != nil {
		return false, err
	}
	_, found, err := client.Head(ctx, ref)
	if err != nil {
		return false, fmt.Errorf("ask for %s: %w", ref, err)
	}
	return found, nil
}

// forget notes the places of sources that are no more, for the objects that have
// them.
func (r *Report) forget(before []manifest.Mirror) {
	now := map[string][]string{}
	for _, m := range r.mirrors(func(Held) bool { return true }) {
		now[m.Source] = m.Mirrors
	}
	r.gone = map[string][]string{}
	for _, m := range before {
		lost := slices.DeleteFunc(m.Mirrors, func(place string) bool { return slices.Contains(now[m.Source], place) })
		if len(lost) > 0 {
			r.gone[m.Source] = lost
		}
	}
}

// remaining are the entries of an object without what Prune found to be gone: a
// source loses its places, and one around it that leads there leaves with the last
// source that it stands for.
func (r *Report) remaining(entries []manifest.Mirror) []manifest.Mirror {
	held := r.mirrors(func(Held) bool { return true })
	var all []manifest.Mirror
	for _, m := range entries {
		m.Mirrors = slices.DeleteFunc(slices.Clone(m.Mirrors), func(place string) bool { return slices.Contains(r.gone[m.Source], place) })
		stoodFor := false
		for source, lost := range r.gone {
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
