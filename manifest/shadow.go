package manifest

import (
	"cmp"
	"fmt"
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
// sorted; a source that several objects have is told of the first.
func Shadows(ours, others []MirrorSet) []Shadow {
	all := slices.Concat(ours, others)
	var shadows []Shadow
	told := map[[4]string]bool{}
	for _, pair := range [][2][]MirrorSet{{ours, others}, {others, ours}} {
		for _, hidden := range pair[0] {
			for _, longer := range pair[1] {
				shadows = append(shadows, shadowsOf(longer, hidden, all, told)...)
			}
		}
	}
	slices.SortFunc(shadows, func(a, b Shadow) int {
		return cmp.Or(strings.Compare(a.Hidden, b.Hidden), strings.Compare(a.HiddenFrom, b.HiddenFrom), strings.Compare(a.Object, b.Object))
	})
	return shadows
}

// shadowsOf are those of one object over another, but for what was told.
func shadowsOf(longer, hidden MirrorSet, all []MirrorSet, told map[[4]string]bool) []Shadow {
	pull := DigestOnly
	if hidden.Kind == TagMirrorSet {
		pull = TagOnly
	}
	lists, _ := mirrorLists(all, pull)
	var shadows []Shadow
	for _, h := range hidden.Mirrors {
		s := Shadow{Object: longer.object(), Hidden: h.Source, HiddenFrom: hidden.object(), Pull: pull}
		for _, l := range longer.Mirrors {
			key := [4]string{l.Source, h.Source, s.HiddenFrom, longer.Name}
			if !told[key] && hides(l, h, slices.Concat(lists[l.Source]...)) {
				told[key] = true
				s.Sources = append(s.Sources, l.Source)
			}
		}
		if len(s.Sources) > 0 {
			slices.Sort(s.Sources)
			shadows = append(shadows, s)
		}
	}
	return shadows
}

// hides says whether a source takes mirrors from another, those that it has for
// the same pulls being known.
func hides(longer, hidden Mirror, mirrors []string) bool {
	return longer.Source != hidden.Source && isInside(longer.Source, []string{hidden.Source}) &&
		longer.leadsElsewhere() && hidden.leadsElsewhere() && !contains(mirrors, below(hidden, longer.Source))
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
