package manifest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Shadow are entries of one object that take mirrors away from the images of parts
// of another's source: for a node only the longest source counts.
type Shadow struct {
	Sources    []string // the longer ones, sorted
	Object     string   // that has them
	Hidden     string   // the shorter one
	HiddenFrom string   // the object that has it
	Pull       string   // for these pulls: DigestOnly or TagOnly
}

// Shadows finds what the entries of two groups of mirror sets do to each other in
// one cluster. What entries of one group do among themselves is not told, and
// nothing is where the longer source leads to the same places too. The result is
// sorted; a source that several objects have is told of each.
func Shadows(ours, others []MirrorSet) []Shadow {
	lists := map[string]map[string][][]string{}
	for _, pull := range []string{DigestOnly, TagOnly} {
		lists[pull], _ = mirrorLists(slices.Concat(ours, others), pull)
	}
	found := map[[4]string]*Shadow{} // but for the longer sources
	for _, pair := range [][2][]MirrorSet{{ours, others}, {others, ours}} {
		hidden := claimsOf(pair[0])
		for _, longer := range pair[1] {
			for _, l := range longer.Mirrors {
				if !l.leadsElsewhere() {
					continue
				}
				for _, h := range claimsAround(hidden, l.Source) {
					if !contains(slices.Concat(lists[h.pull][l.Source]...), below(h.entry, l.Source)) {
						h.shadow(found, longer.object(), l.Source)
					}
				}
			}
		}
	}
	var shadows []Shadow
	for _, key := range slices.SortedFunc(maps.Keys(found), func(a, b [4]string) int { return slices.Compare(a[:], b[:]) }) {
		s := found[key]
		slices.Sort(s.Sources)
		s.Sources = slices.Compact(s.Sources)
		shadows = append(shadows, *s)
	}
	return shadows
}

// claim is an entry of an object.
type claim struct {
	entry        Mirror
	object, pull string
}

// claimsOf are those of objects that lead anywhere, by their sources.
func claimsOf(sets []MirrorSet) map[string][]claim {
	claims := map[string][]claim{}
	for _, s := range sets {
		pull := DigestOnly
		if s.Kind == TagMirrorSet {
			pull = TagOnly
		}
		for _, m := range s.Mirrors {
			if m.leadsElsewhere() {
				claims[m.Source] = append(claims[m.Source], claim{m, s.object(), pull})
			}
		}
	}
	return claims
}

// claimsAround are those whose sources are around a scope, which is found without
// a look at every source: there may be thousands.
func claimsAround(claims map[string][]claim, scope string) []claim {
	var all []claim
	for i, c := range scope {
		switch {
		case c == '/':
			all = append(all, claims[scope[:i]]...)
		case c == '.' && i > 0 && !strings.ContainsAny(scope[:i], "/:"):
			if wild := "*" + hostOf(scope)[i:]; wild != scope {
				all = append(all, claims[wild]...)
			}
		}
	}
	return all
}

// hostOf is a scope's, without a port.
func hostOf(scope string) string {
	if i := strings.IndexAny(scope, ":/"); i >= 0 {
		return scope[:i]
	}
	return scope
}

// shadow adds a longer source to those that hide the claim.
func (c claim) shadow(found map[[4]string]*Shadow, object, source string) {
	key := [4]string{c.entry.Source, c.object, object, c.pull}
	if found[key] == nil {
		found[key] = &Shadow{Object: object, Hidden: c.entry.Source, HiddenFrom: c.object, Pull: c.pull}
	}
	found[key].Sources = append(found[key].Sources, source)
}

// object names an object.
func (s MirrorSet) object() string { return s.Kind + " " + s.Name }

// CheckReach finds the mirrors of entries that lie in a scope which nodes may not
// ask: they are no use then, and clusters do not say so.
func (c RegistriesConf) CheckReach(mirrors []Mirror) error {
	for _, m := range mirrors {
		for _, mirror := range m.Mirrors {
			if r, _ := c.find(mirror); r != nil && r.Blocked {
				return fmt.Errorf("source %s: its mirror %s lies in %s, which nodes may not contact", m.Source, mirror, r.Scope)
			}
		}
	}
	return nil
}
