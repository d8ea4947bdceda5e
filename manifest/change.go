package manifest

import "slices"

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
// digest (its daemon's drain.go). There is one reason for a scope, and they are
// sorted by it.
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
		if why := drains(scopes[scope][0], scopes[scope][1]); why != "" {
			reasons = append(reasons, scope+" "+why)
		}
	}
	return reasons
}

// drains says why nodes are drained for a scope that was and is so, if they are.
// The operator knows a mirror by its location alone, and compares it with the
// first there was of that location: where both kinds share one, any change of
// the scope counts as one of the mirror for tags.
func drains(was, is Registry) string {
	at := func(location string) func(Endpoint) bool {
		return func(m Endpoint) bool { return m.Location == location }
	}
	switch {
	case is.Scope == "":
		return "leaves"
	case was.Blocked == is.Blocked && was.Insecure == is.Insecure && slices.Equal(was.Mirrors, is.Mirrors):
		return ""
	case is.Blocked && !was.Blocked:
		return "is blocked"
	case is.Blocked != was.Blocked:
		return "is blocked no longer"
	case is.Insecure != was.Insecure:
		return "is insecure, or is so no longer"
	}
	for _, m := range was.Mirrors {
		if !slices.ContainsFunc(is.Mirrors, at(m.Location)) {
			return "loses the mirror " + m.Location
		}
	}
	for _, m := range is.Mirrors {
		i := slices.IndexFunc(was.Mirrors, at(m.Location))
		switch {
		case m.Pull == DigestOnly:
		case i < 0 || !slices.Contains(was.Mirrors, m):
			return "gets mirrors for tags"
		case was.Mirrors[i].Pull != m.Pull:
			return "changes beside a mirror for tags"
		}
	}
	return ""
}
