package oci

import (
	"fmt"
	"strings"
)

// SourceMirror says that everything under Source is fetched under Mirror:
// "quay.io" -> "proxy.example:5000/quay" makes quay.io/a/b
// proxy.example:5000/quay/a/b.
type SourceMirror struct{ Source, Mirror string }

// ParseSourceMirror reads SOURCE=MIRROR, each a HOST[:PORT][/PATH]. A source
// stands for itself and for all below it: quay.io/a for quay.io/a/b, not for
// quay.io/ab.
func ParseSourceMirror(s string) (SourceMirror, error) {
	source, mirror, found := strings.Cut(s, "=")
	if !found {
		return SourceMirror{}, fmt.Errorf("parse mirror %.300q: it is not SOURCE=MIRROR", s)
	}
	m := SourceMirror{source, mirror}
	for _, place := range []*string{&m.Source, &m.Mirror} {
		normal, err := ParsePlace(*place)
		if err != nil {
			return SourceMirror{}, fmt.Errorf("parse mirror %.300q: %w", s, err)
		}
		*place = normal
	}
	return m, nil
}

// ParsePlace normalises the name of a registry, or of a place in it:
// HOST[:PORT][/PATH].
func ParsePlace(s string) (string, error) {
	if err := refuseScheme(s); err != nil {
		return "", err
	}
	host, path, hasPath := strings.Cut(s, "/")
	host, err := checkHost(host)
	if err != nil || !hasPath {
		return host, err
	}
	return host + "/" + path, checkPath(path)
}

// Locate is where r is really fetched from: the mirror of the longest source
// that it is under, or r itself. Pushing knows no mirrors.
func (c *Client) Locate(r Reference) Reference {
	longest := SourceMirror{}
	for _, m := range c.mirrors {
		if len(m.Source) > len(longest.Source) && under(r.Name(), m.Source) {
			longest = m
		}
	}
	if longest.Source == "" {
		return r
	}
	place := longest.Mirror + strings.TrimPrefix(r.Name(), longest.Source)
	r.Registry, r.Repository, _ = strings.Cut(place, "/")
	return r
}

// under says whether name is place or below it.
func under(name, place string) bool {
	rest, found := strings.CutPrefix(name, place)
	return found && (rest == "" || rest[0] == '/')
}
