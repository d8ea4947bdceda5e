package manifest

import (
	"fmt"
	"slices"
	"strings"
)

// Shadow is an entry of one object that takes mirrors away from the images of a
// part of another's source: for a node only the longest source counts.
type Shadow struct {
	Source, Object     string // the longer source, and the object that has it
	Hidden, HiddenFrom string // the shorter one, and its object
	Pull               string // for these pulls: DigestOnly or TagOnly
}

func (s Shadow) String() string {
	way := map[string]string{DigestOnly: "digest", TagOnly: "tag"}[s.Pull]
	return fmt.Sprintf("%s of %s hides %s of %s: what is pulled from it by %s is not looked for there", s.Source, s.Object, s.Hidden, s.HiddenFrom, way)
}

// Shadows finds what the entries of two groups of mirror sets do to each other in
// one cluster. What entries of one group do among themselves is not told, and
// nothing is where the longer source leads to the same places too. The result is
// sorted.
func Shadows(ours, others []MirrorSet) []Shadow {
	all := slices.Concat(ours, others)
	var shadows []Shadow
	for _, pair := range [][2][]MirrorSet{{ours, others}, {others, ours}} {
		for _, hidden := range pair[0] {
			for _, longer := range pair[1] {
				shadows = append(shadows, shadowsOf(longer, hidden, all)...)
			}
		}
	}
	slices.SortFunc(shadows, func(a, b Shadow) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(shadows)
}

func shadowsOf(longer, hidden MirrorSet, all []MirrorSet) []Shadow {
	pull := DigestOnly
	if hidden.Kind == TagMirrorSet {
		pull = TagOnly
	}
	lists, _ := mirrorLists(all, pull)
	var shadows []Shadow
	for _, l := range longer.Mirrors {
		left := slices.Concat(lists[l.Source]...)
		for _, h := range hidden.Mirrors {
			inside := l.Source != h.Source && isInside(l.Source, []string{h.Source})
			if inside && l.leadsElsewhere() && h.leadsElsewhere() && !contains(left, below(h, l.Source)) {
				shadows = append(shadows, Shadow{l.Source, longer.object(), h.Source, hidden.object(), pull})
			}
		}
	}
	return shadows
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
