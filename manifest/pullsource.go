package manifest

import (
	"fmt"
	"strings"
)

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
