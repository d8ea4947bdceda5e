package manifest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Values of a mirror's pull-from-mirror in registries.conf: which pulls it is
// for. A reference with a digest is pulled by digest, whatever tag it has.
const (
	DigestOnly = "digest-only"
	TagOnly    = "tag-only"
)

// RegistriesConf is what the nodes of a cluster know of registries: what the
// machine config operator makes of all mirror sets together (runtime-utils,
// EditRegistriesConfig), and what containers/image then makes of that
// (sysregistriesv2). The zero value is a cluster without mirror sets.
type RegistriesConf struct {
	Registries []Registry // in the operator's order; scopes unique
}

// Registry is what nodes know of one scope.
type Registry struct {
	Scope    string // host, host/path or *.host, as in a mirror set's source
	Mirrors  []Endpoint
	Insecure bool
	Blocked  bool // nobody asks it: NeverContactSource
}

// Endpoint is one mirror of a scope.
type Endpoint struct {
	Location string
	Pull     string // DigestOnly or TagOnly
	Insecure bool
}

// RegistrySources are the scopes that image.config.openshift.io/cluster treats
// in a way of its own: host, host/path or *.host each.
type RegistrySources struct {
	Insecure []string // over plain HTTP, or with any certificate
	Blocked  []string
}

// NewRegistriesConf renders the mirror sets of a cluster, of whatever kinds, as
// the machine config operator does:
//
//   - The sets of one source are merged per kind, in an order that suits each of
//     them if there is one. Those of both kinds share one entry.
//   - A set whose mirrors only repeat its source, or are none, is ignored, its
//     policy included.
//   - NeverContactSource in one kind blocks the source for both.
//   - What is insecure or blocked is so for all scopes inside of it; a scope
//     without mirrors has those of the scope around it.
//
// It fails on what makes the operator render nothing at all: see
// [CheckMirrorSets].
func NewRegistriesConf(sets []MirrorSet, special RegistrySources) (RegistriesConf, error) {
	if err := CheckMirrorSets(sets); err != nil {
		return RegistriesConf{}, err
	}
	for _, scope := range slices.Concat(special.Insecure, special.Blocked) {
		if !sourceName.MatchString(scope) {
			return RegistriesConf{}, fmt.Errorf("registry source %.200q: %w", scope, sourceFault(scope))
		}
	}
	var c RegistriesConf
	var mirrored []string
	for _, pull := range []string{DigestOnly, TagOnly} {
		lists, blocked := mirrorLists(sets, pull)
		for _, source := range sortedKeys(lists) {
			r := c.entry(source)
			r.Blocked = blocked[source] // the other kind says the same, if anything
			for _, mirror := range mergedLists(lists[source], source) {
				r.Mirrors = append(r.Mirrors, Endpoint{Location: mirror, Pull: pull})
			}
			mirrored = append(mirrored, source)
		}
	}
	c.mark(special)
	return c, c.inherit(mirrored)
}

// mirrorLists are the lists of mirrors for one way to pull, by their source, and
// the sources that one of them blocks.
func mirrorLists(sets []MirrorSet, pull string) (lists map[string][][]string, blocked map[string]bool) {
	lists, blocked = map[string][][]string{}, map[string]bool{}
	for _, s := range sets {
		if (s.Kind == TagMirrorSet) != (pull == TagOnly) {
			continue
		}
		for _, m := range s.Mirrors {
			if !m.leadsElsewhere() {
				continue
			}
			lists[m.Source] = append(lists[m.Source], m.Mirrors)
			blocked[m.Source] = blocked[m.Source] || m.Policy == NeverContactSource
		}
	}
	return lists, blocked
}

// leadsElsewhere: clusters ignore an entry that does not.
func (m Mirror) leadsElsewhere() bool {
	return slices.ContainsFunc(m.Mirrors, func(mirror string) bool { return mirror != m.Source })
}

// entry is the one of a scope, made if need be. The pointer is good until the
// next call.
func (c *RegistriesConf) entry(scope string) *Registry {
	i := slices.IndexFunc(c.Registries, func(r Registry) bool { return r.Scope == scope })
	if i < 0 {
		i = len(c.Registries)
		c.Registries = append(c.Registries, Registry{Scope: scope})
	}
	return &c.Registries[i]
}

// mark sets the flags of scopes and of all that lies inside of them.
func (c *RegistriesConf) mark(special RegistrySources) {
	for _, scope := range slices.Concat(special.Blocked, special.Insecure) {
		c.entry(scope)
	}
	for i := range c.Registries {
		r := &c.Registries[i]
		r.Insecure = isInside(r.Scope, special.Insecure)
		r.Blocked = r.Blocked || isInside(r.Scope, special.Blocked)
		for j := range r.Mirrors {
			r.Mirrors[j].Insecure = isInside(r.Mirrors[j].Location, special.Insecure)
		}
	}
}

// inherit gives scopes without mirrors those of the scopes around them. The
// operator cannot do that below a wildcard, and renders nothing then.
func (c *RegistriesConf) inherit(mirrored []string) error {
	for _, source := range mirrored {
		mirrors := c.entry(source).Mirrors
		for i := range c.Registries {
			r := &c.Registries[i]
			if r.Scope == source || len(r.Mirrors) > 0 || !isInside(r.Scope, []string{source}) {
				continue
			}
			if strings.HasPrefix(source, "*.") {
				return fmt.Errorf("source %s: %s inside of it has settings but no mirrors of its own, which clusters refuse", source, r.Scope)
			}
			for _, m := range mirrors {
				m.Location += r.Scope[len(source):]
				r.Mirrors = append(r.Mirrors, m)
			}
		}
	}
	return nil
}

// isInside says whether a scope lies in one of others, or is one of them
// (runtime-utils, ScopeIsNestedInsideScope).
func isInside(scope string, others []string) bool {
	return slices.ContainsFunc(others, func(other string) bool {
		if scope == other || strings.HasPrefix(scope, other+"/") {
			return true
		}
		if !strings.HasPrefix(other, "*.") {
			return false
		}
		host, _, hasPort := strings.Cut(scope, ":")
		if !hasPort {
			host, _, _ = strings.Cut(scope, "/")
		}
		return strings.HasSuffix(host, other[1:]) && !strings.Contains(host, "/")
	})
}

// mergedLists puts lists of mirrors of one source into one, in which each list
// keeps its order if all of them can; otherwise the order is fixed, but means
// nothing. The source stands among them only where a list has it before others
// (runtime-utils, mergedMirrors).
func mergedLists(lists [][]string, source string) []string {
	g := precedence{}
	for _, list := range lists {
		if !slices.Contains(list, source) {
			list = append(slices.Clone(list), source)
		}
		for i := range len(list) - 1 {
			g.edge(list[i], list[i+1])
		}
	}
	all := g.sorted()
	if all[len(all)-1] == source {
		all = all[:len(all)-1]
	}
	return all
}

// precedence holds names, and for each those that come right before and right
// after it.
type precedence map[string]*struct{ before, after map[string]bool }

func (g precedence) edge(from, to string) {
	for _, name := range []string{from, to} {
		if g[name] == nil {
			g[name] = &struct{ before, after map[string]bool }{map[string]bool{}, map[string]bool{}}
		}
	}
	g[from].after[to] = true
	g[to].before[from] = true
}

// sorted gives all names, those first that have none before them; where all that
// are left have, the alphabet decides. It uses the graph up.
func (g precedence) sorted() []string {
	names := sortedKeys(g)
	var all, ready []string
	done := map[string]bool{}
	for _, name := range names {
		if len(g[name].before) == 0 {
			ready = append(ready, name)
		}
	}
	for len(ready) > 0 || len(names) > 0 {
		var name string
		if len(ready) > 0 {
			name, ready = ready[0], ready[1:]
		} else {
			name, names = names[0], names[1:]
		}
		if done[name] {
			continue
		}
		done[name] = true
		all = append(all, name)
		for _, next := range sortedKeys(g[name].after) {
			delete(g[next].before, name)
			if len(g[next].before) == 0 && !done[next] {
				ready = append(ready, next)
			}
		}
	}
	return all
}

// PullSource is one place where a node looks for an image.
type PullSource struct {
	Name     string // host/path, to which the image's tag or digest belongs
	Insecure bool
	Blocked  bool // it is not asked, and counts as failed
}

// Sources lists where nodes look for an image, in order: its mirrors, then the
// image's own repository. The first that has the manifest serves all of the
// image. The name is host/path, without tag and digest, Docker Hub's written out
// ("docker.io/library/busybox"); a reference with a digest is pulled by digest.
//
// Only the longest scope counts, even if it has no mirror for this way to pull.
// It fails where nodes fail for any image of that name, its own repository
// included: one of the places would be no valid name then.
func (c RegistriesConf) Sources(name string, byDigest bool) ([]PullSource, error) {
	r, rest := c.find(name)
	if r == nil {
		return []PullSource{{Name: name}}, nil
	}
	pull := TagOnly
	if byDigest {
		pull = DigestOnly
	}
	var sources []PullSource
	for _, m := range r.Mirrors {
		if m.Pull != pull {
			continue
		}
		place := m.Location + rest
		if !isRepository(place) {
			return nil, fmt.Errorf("no image of %s can be pulled: its source %s with the mirror %s gives %q, which is no name of a repository", name, r.Scope, m.Location, place)
		}
		itself, _ := c.find(place)
		sources = append(sources, PullSource{place, m.Insecure, itself != nil && itself.Blocked})
	}
	return append(sources, PullSource{name, r.Insecure, r.Blocked}), nil
}

// find is the longest scope that a name lies in, and what of the name follows. A
// wildcard goes before a host of the same length.
func (c RegistriesConf) find(name string) (found *Registry, rest string) {
	for i, r := range c.Registries {
		after, under := belowScope(name, r.Scope)
		if !under {
			continue
		}
		if found == nil || len(r.Scope) > len(found.Scope) || len(r.Scope) == len(found.Scope) && r.Scope < found.Scope {
			found, rest = &c.Registries[i], after
		}
	}
	return found, rest
}

// belowScope cuts a scope off a name. A host without a port is the scope of all
// of its ports: containers/image has it so. Of a wildcard only the first fit
// counts.
func belowScope(name, scope string) (rest string, under bool) {
	if domain, wild := strings.CutPrefix(scope, "*"); wild {
		before, after, found := strings.Cut(name, domain)
		if !found || strings.Contains(before, "/") {
			return "", false
		}
		rest = after
	} else if rest, under = strings.CutPrefix(name, scope); !under {
		return "", false
	}
	return rest, rest == "" || rest[0] == '/' || rest[0] == ':'
}

// isRepository says whether containers/image takes s for the full name of a
// repository: a host that cannot be mistaken for a part of a path, and a path.
func isRepository(s string) bool {
	host, path, found := strings.Cut(s, "/")
	switch {
	case !found || !mirrorName.MatchString(s):
		return false
	case host == "index.docker.io", host == "docker.io" && !strings.Contains(path, "/"):
		return false // it would be written in another way
	}
	return strings.ContainsAny(host, ".:") || host == "localhost" || host != strings.ToLower(host)
}

// searched stand at the head of every node's file.
const searched = "unqualified-search-registries = [\"registry.access.redhat.com\", \"docker.io\"]\nshort-name-mode = \"\"\n"

// TOML returns the file as the nodes of a cluster since 4.13 will have it, with
// the lines of comment in front.
func (c RegistriesConf) TOML(comment string) []byte {
	return c.text(comment, func(Registry) string { return "" }, func(m Endpoint) string {
		return fmt.Sprintf("    pull-from-mirror = %q\n", m.Pull)
	})
}

// OldTOML returns the file as the nodes of a cluster before 4.13 will have it.
// Tags have no mirrors there, which is an error.
func (c RegistriesConf) OldTOML(comment string) ([]byte, error) {
	for _, r := range c.Registries {
		for _, m := range r.Mirrors {
			if m.Pull != DigestOnly {
				return nil, fmt.Errorf("source %s: the mirror %s is for tags, which clusters before 4.13 do not have", r.Scope, m.Location)
			}
		}
	}
	return c.text(comment, func(r Registry) string {
		if len(r.Mirrors) == 0 {
			return ""
		}
		return "  mirror-by-digest-only = true\n"
	}, func(Endpoint) string { return "" }), nil
}

// text writes the file. Scopes and locations have no character that needs a
// backslash: their patterns see to that.
func (c RegistriesConf) text(comment string, ofRegistry func(Registry) string, ofMirror func(Endpoint) string) []byte {
	var out bytes.Buffer
	out.WriteString(searched)
	for _, r := range c.Registries {
		prefix, location := "", r.Scope
		if strings.HasPrefix(r.Scope, "*.") {
			prefix, location = r.Scope, ""
		}
		fmt.Fprintf(&out, "\n[[registry]]\n  prefix = %q\n", prefix)
		if location != "" {
			fmt.Fprintf(&out, "  location = %q\n", location)
		}
		out.WriteString(setting("  insecure", r.Insecure) + setting("  blocked", r.Blocked) + ofRegistry(r))
		for _, m := range r.Mirrors {
			fmt.Fprintf(&out, "\n  [[registry.mirror]]\n    location = %q\n", m.Location)
			out.WriteString(setting("    insecure", m.Insecure) + ofMirror(m))
		}
	}
	return withComment(comment, out.Bytes())
}

func setting(name string, set bool) string {
	if !set {
		return ""
	}
	return name + " = true\n"
}
