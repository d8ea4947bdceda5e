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
