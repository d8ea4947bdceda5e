package manifest

import (
	"fmt"
	"slices"
)

// Change is what becomes of one source of an object.
type Change struct {
	Source string
	What   string // Added, Removed or Changed
}

// What can become of a source.
const (
	Added   = "added"
	Removed = "removed"
	Changed = "changed" // its mirrors, their order, or its policy
)

// Changes compares the entries of an object before and after; the result is
// sorted by source, each of which occurs once on either side.
func Changes(before, after []Mirror) []Change {
	was, is := bySource(before), bySource(after)
	var changes []Change
	all := map[string]bool{}
	for _, m := range slices.Concat(before, after) {
		all[m.Source] = true
	}
	for _, source := range sortedKeys(all) {
		b, there := was[source]
		a, here := is[source]
		switch {
		case !there:
			changes = append(changes, Change{source, Added})
		case !here:
			changes = append(changes, Change{source, Removed})
		case !slices.Equal(a.Mirrors, b.Mirrors) || effective(a.Policy) != effective(b.Policy):
			changes = append(changes, Change{source, Changed})
		}
	}
	return changes
}

func bySource(mirrors []Mirror) map[string]Mirror {
	found := map[string]Mirror{}
	for _, m := range mirrors {
		found[m.Source] = m
	}
	return found
}

// Drains says why the machine config operator drains the nodes of a cluster, one
// after the other, when what they know of registries becomes this; it does not
// if there is no reason. What it may do without are new mirrors for pulls by
// digest (its daemon's drain.go). The reasons are sorted by scope.
func (c RegistriesConf) Drains(before RegistriesConf) []string {
	scopes := map[string][2]Registry{}
	for i, conf := range []RegistriesConf{before, c} {
		for _, r := range conf.Registries {
			both := scopes[r.Scope]
			both[i] = r
			scopes[r.Scope] = both
		}
	}
	var reasons []string
	for _, scope := range sortedKeys(scopes) {
		was, is := scopes[scope][0], scopes[scope][1]
		switch {
		case is.Scope == "":
			reasons = append(reasons, scope+" leaves")
			continue
		case is.Blocked != was.Blocked:
			reasons = append(reasons, scope+" "+map[bool]string{true: "is blocked", false: "is blocked no longer"}[is.Blocked])
		case is.Insecure != was.Insecure:
			reasons = append(reasons, scope+" "+map[bool]string{true: "becomes insecure", false: "is insecure no longer"}[is.Insecure])
		}
		reasons = append(reasons, mirrorReasons(was, is)...)
	}
	return reasons
}

// mirrorReasons are those that the mirrors of a scope give.
func mirrorReasons(was, is Registry) []string {
	var reasons []string
	for _, m := range was.Mirrors {
		if !slices.Contains(is.Mirrors, m) {
			reasons = append(reasons, fmt.Sprintf("%s loses the mirror %s", is.Scope, m.Location))
		}
	}
	for _, m := range is.Mirrors {
		if m.Pull != DigestOnly && !slices.Contains(was.Mirrors, m) {
			reasons = append(reasons, fmt.Sprintf("%s gets the mirror %s for tags", is.Scope, m.Location))
		}
	}
	return reasons
}
