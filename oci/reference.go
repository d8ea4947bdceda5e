package oci

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"
)

// dockerHub is the registry of references without one; dockerHubHost is where
// it answers.
const (
	dockerHub     = "docker.io"
	dockerHubHost = name.DefaultRegistry
)

// Reference names an image. It is normalised: equal images have equal strings.
type Reference struct {
	Registry   string        // host[:port]; docker.io, never index.docker.io
	Repository string        // path; library/… for Docker Hub's short names
	Tag        string        // may be empty where Digest is set
	Digest     digest.Digest // sha256, or empty
}

// The grammar of paths and tags (distribution, reference/regexp.go).
var (
	repositoryPattern = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern        = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	digestPattern     = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// ParseReference reads name, name:tag, name@sha256:… or name:tag@sha256:….
// A name without either means the tag latest.
func ParseReference(s string) (Reference, error) {
	r, err := parseReference(s)
	if err != nil {
		return Reference{}, fmt.Errorf("reference %.300q: %w", s, err)
	}
	return r, nil
}

func parseReference(s string) (Reference, error) {
	if scheme, _, found := strings.Cut(s, "://"); found {
		return Reference{}, fmt.Errorf("is a URL: write it without %s://", scheme)
	}
	base, dg, pinned := strings.Cut(s, "@")
	if pinned && !digestPattern.MatchString(dg) {
		return Reference{}, fmt.Errorf("%.100q is not a sha256 digest", dg)
	}
	tagged := strings.LastIndex(base, ":") > strings.LastIndex(base, "/")
	parsed, err := name.NewTag(base, name.WeakValidation)
	if err != nil {
		return Reference{}, errors.New("is not HOST[:PORT]/PATH[:TAG][@sha256:DIGEST]")
	}
	r := Reference{Registry: parsed.RegistryStr(), Repository: parsed.RepositoryStr(), Digest: digest.Digest(dg)}
	if r.Registry == dockerHubHost {
		r.Registry = dockerHub
	}
	if tagged || !pinned {
		r.Tag = parsed.TagStr()
	}
	switch {
	case !repositoryPattern.MatchString(r.Repository) || len(r.Name()) > 255:
		return Reference{}, fmt.Errorf("%.255q is not a path of a repository", r.Repository)
	case r.Tag != "" && !tagPattern.MatchString(r.Tag):
		return Reference{}, fmt.Errorf("%.128q is not a tag", r.Tag)
	}
	return r, nil
}

// Name is the repository with its registry.
func (r Reference) Name() string { return r.Registry + "/" + r.Repository }

// String is the normal form: registry/repository[:tag][@digest].
func (r Reference) String() string {
	s := r.Name()
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + string(r.Digest)
	}
	return s
}

// WithDigest is another image of the same repository, by digest alone.
func (r Reference) WithDigest(d digest.Digest) Reference {
	r.Tag, r.Digest = "", d
	return r
}

// WithTag is another image of the same repository, by tag alone.
func (r Reference) WithTag(tag string) Reference {
	r.Tag, r.Digest = tag, ""
	return r
}

// SourceMirror sends what lies under a source, at a border of its path, to a
// place that has the same.
type SourceMirror struct {
	Source string // registry[/path]: quay.io
	Mirror string // registry[/path]: proxy.example:5000/quay
}

// ParseSourceMirror reads SOURCE=MIRROR.
func ParseSourceMirror(s string) (SourceMirror, error) {
	source, mirror, found := strings.Cut(s, "=")
	if !found {
		return SourceMirror{}, fmt.Errorf("source mirror %.300q: write SOURCE=MIRROR", s)
	}
	for _, side := range []string{source, mirror} {
		host, path, _ := strings.Cut(side, "/")
		if path == "" {
			path = "any"
		}
		if r, err := parseReference(host + "/" + path); err != nil || r.Registry != host || r.Tag != "latest" {
			return SourceMirror{}, fmt.Errorf("source mirror %.300q: %q is not HOST[:PORT][/PATH]", s, side)
		}
	}
	return SourceMirror{source, mirror}, nil
}

// Locate gives where a reference is really fetched from.
func (c *Client) Locate(r Reference) Reference {
	best := SourceMirror{}
	for _, m := range c.options.Mirrors {
		under := r.Name() == m.Source || strings.HasPrefix(r.Name(), m.Source+"/")
		if under && len(m.Source) > len(best.Source) {
			best = m
		}
	}
	if best.Source == "" {
		return r
	}
	host, path, _ := strings.Cut(best.Mirror+strings.TrimPrefix(r.Name(), best.Source), "/")
	r.Registry, r.Repository = host, path
	return r
}
