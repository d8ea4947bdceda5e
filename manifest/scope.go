package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Scopes of the sources of mirror sets.
const (
	RepositoryScope = "repository"
	NamespaceScope  = "namespace" // a registry and the first element of the path
	RegistryScope   = "registry"
)

// Narrowed says why sources keep a narrower scope than was asked for.
type Narrowed struct {
	Scope  string // the source that there could have been
	Reason string
}

// Widen replaces sources by the namespaces or registries that they lie in, where
// nodes then look for every one of them in the same places as before, and lose
// nothing else:
//
//   - The mirrors of all of them must be those of the wider source, each followed
//     by what is left of the name.
//   - NeverContactSource stays where it is: a wider source would cut off the
//     repositories that nobody carried.
//   - No source among others, which are those of the cluster's other objects,
//     may be the wider source, lie between it and one that it replaces, or around
//     it, unless it leads to the same places: only the longest counts for a node.
//   - A host without a port is no wider source if any source has a port of it.
//
// Where a registry is too wide its namespaces are tried. Each source occurs once
// in mirrors, and in the result, which is sorted. Wildcards stay as they are.
func Widen(mirrors, others []Mirror, scope string) (wide []Mirror, narrowed []Narrowed) {
	if scope == "" || scope == RepositoryScope {
		return sorted(mirrors), nil
	}
	groups := map[string][]Mirror{}
	for _, m := range mirrors {
		source := scopeOf(m.Source, scope)
		groups[source] = append(groups[source], m)
	}
	for _, source := range sortedKeys(groups) {
		members := groups[source]
		outside := slices.DeleteFunc(slices.Clone(mirrors), func(m Mirror) bool { return scopeOf(m.Source, scope) == source })
		one, reason := widened(source, members, append(outside, others...))
		switch {
		case reason == "":
			wide = append(wide, one)
			continue
		case len(members) == 1 && members[0].Source == source: // there is nothing narrower
			wide = append(wide, members[0])
			continue
		}
		narrowed = append(narrowed, Narrowed{source, reason})
		if scope == RegistryScope {
			var more []Narrowed
			members, more = Widen(members, append(outside, others...), NamespaceScope)
			narrowed = append(narrowed, more...)
		}
		wide = append(wide, members...)
	}
	return sorted(wide), narrowed
}

// scopeOf is the part of a source that a wider one would be.
func scopeOf(source, scope string) string {
	host, path, _ := strings.Cut(source, "/")
	namespace, _, _ := strings.Cut(path, "/")
	if scope == RegistryScope || namespace == "" {
		return host
	}
	return host + "/" + namespace
}

// widened is the source that replaces its members, or the reason why none can.
func widened(source string, members, outside []Mirror) (wide Mirror, reason string) {
	if strings.HasPrefix(source, "*") {
		return Mirror{}, "it is a wildcard"
	}
	for i, m := range members {
		if m.Policy == NeverContactSource {
			return Mirror{}, NeverContactSource + " would cut off what was not carried"
		}
		prefixes, fits := cutRest(m.Mirrors, m.Source[len(source):])
		switch {
		case slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(p, source+":") }):
			return Mirror{}, "it would take all ports of the host, and its mirror is one of them"
		case !fits:
			return Mirror{}, fmt.Sprintf("%s is at %s, which does not end in the rest of its name", m.Source, strings.Join(m.Mirrors, ", "))
		case i == 0:
			wide = Mirror{Source: source, Mirrors: prefixes, Policy: m.Policy}
		case !slices.Equal(prefixes, wide.Mirrors):
			return Mirror{}, fmt.Sprintf("%s and %s are not in one place", members[0].Source, m.Source)
		}
		wide.Policy = cmp.Or(wide.Policy, m.Policy)
	}
	for _, o := range outside {
		if why := inTheWay(wide, o, members); why != "" {
			return Mirror{}, why
		}
	}
	return wide, ""
}

// cutRest cuts the end off mirrors, all of which must have it. What is left must
// be a mirror too.
func cutRest(mirrors []string, rest string) (prefixes []string, all bool) {
	for _, m := range mirrors {
		prefix, found := strings.CutSuffix(m, rest)
		if !found || CheckMirror(prefix) != nil {
			return nil, false
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes, true
}

// inTheWay says why another entry and a wider source do not go together.
func inTheWay(wide, o Mirror, members []Mirror) string {
	if !o.leadsElsewhere() {
		return ""
	}
	host, _, _ := strings.Cut(o.Source, "/")
	switch {
	case strings.HasPrefix(host, wide.Source+":"):
		return fmt.Sprintf("it would take all ports of the host, and there is the source %s", o.Source)
	case effective(o.Policy) != effective(wide.Policy) && isInside(wide.Source, []string{o.Source}):
		return fmt.Sprintf("the source %s has another policy", o.Source)
	case !isInside(o.Source, []string{wide.Source}) && slices.ContainsFunc(o.Mirrors, func(m string) bool { return isInside(m, wide.Mirrors) }):
		return fmt.Sprintf("images of %s lie there too, and would answer to its tags", o.Source)
	case o.Source == wide.Source:
		if !contains(wide.Mirrors, o.Mirrors) {
			return fmt.Sprintf("another object has other mirrors for it: %s", strings.Join(o.Mirrors, ", "))
		}
	case isInside(wide.Source, []string{o.Source}):
		if !contains(wide.Mirrors, below(o, wide.Source)) {
			return fmt.Sprintf("it would hide the source %s around it from what was not carried", o.Source)
		}
	case isInside(o.Source, []string{wide.Source}):
		for _, m := range members {
			if isInside(m.Source, []string{o.Source}) {
				return fmt.Sprintf("the source %s hides it from %s", o.Source, m.Source)
			}
		}
	}
	return ""
}

// below are the places to which an entry leads for a scope inside of its source.
func below(m Mirror, scope string) []string {
	rest, _ := belowScope(scope, m.Source)
	places := make([]string, len(m.Mirrors))
	for i, mirror := range m.Mirrors {
		places[i] = mirror + rest
	}
	return places
}

func contains(all, some []string) bool {
	return !slices.ContainsFunc(some, func(s string) bool { return !slices.Contains(all, s) })
}

// Covering is the entry with the longest source that a name lies in; with strict,
// one whose source is not the name itself.
func Covering(mirrors []Mirror, name string, strict bool) (entry Mirror, found bool) {
	for _, m := range mirrors {
		if strict && m.Source == name || !isInside(name, []string{m.Source}) {
			continue
		}
		if !found || len(m.Source) > len(entry.Source) {
			entry, found = m, true
		}
	}
	return entry, found
}

// Unhide adds to the entries for one way to pull those of the other that lie
// inside of their sources: there, a node would look at the inner entry alone, and
// find nothing for this way in it.
func Unhide(mirrors, other []Mirror) []Mirror {
	all := slices.Clone(mirrors)
	for _, o := range other {
		_, hides := Covering(mirrors, o.Source, true)
		there := slices.ContainsFunc(mirrors, func(m Mirror) bool { return m.Source == o.Source })
		if hides && !there {
			all = append(all, o)
		}
	}
	return sorted(all)
}
