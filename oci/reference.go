package oci

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"
)

// dockerHub is the registry of names without one. Its API is at another host,
// which [name.NewRegistry] knows; names never show that.
const dockerHub = "docker.io"

// Reference names an image. It is normalised: equal images have equal strings.
type Reference struct {
	Registry   string        // "quay.io", "docker.io" (never index.docker.io), "host:5000"; lower case
	Repository string        // path on the registry; "library/busybox" for docker.io's short names
	Tag        string        // may be empty if Digest is set; "latest" if neither was given
	Digest     digest.Digest // sha256; may be empty
}

// ParseReference reads NAME, NAME:TAG, NAME@sha256:… and NAME:TAG@sha256:…, as
// podman and oc take them: a first element with a dot, a colon or the name
// localhost is the registry, docker.io otherwise. URLs are refused.
func ParseReference(s string) (Reference, error) {
	r, err := parseReference(s)
	if err != nil {
		return Reference{}, fmt.Errorf("parse image name %.300q: %w", s, err)
	}
	return r, nil
}

func parseReference(s string) (Reference, error) {
	if err := refuseScheme(s); err != nil {
		return Reference{}, err
	}
	base, hash, byDigest := strings.Cut(s, "@")
	d := digest.Digest(hash)
	if byDigest {
		if err := checkDigest(d); err != nil {
			return Reference{}, err
		}
	}
	tag, err := name.NewTag(base, name.WeakValidation)
	if err != nil {
		return Reference{}, reason(err)
	}
	host, err := checkHost(tag.RegistryStr())
	if err != nil {
		return Reference{}, err
	}
	r := Reference{Registry: host, Repository: tag.RepositoryStr(), Tag: tag.TagStr(), Digest: d}
	if host == dockerHub && !strings.Contains(r.Repository, "/") {
		r.Repository = "library/" + r.Repository // of a spelling of the host that name does not know
	}
	if err := checkPath(r.Repository); err != nil {
		return Reference{}, err
	}
	if !tagPattern.MatchString(r.Tag) {
		return Reference{}, fmt.Errorf("%q is not a tag", clean(r.Tag))
	}
	if byDigest && !strings.HasSuffix(base, ":"+r.Tag) {
		r.Tag = "" // it was not given: name filled in latest
	}
	return r, nil
}

// String is REGISTRY/REPOSITORY[:TAG][@DIGEST].
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

// Name is REGISTRY/REPOSITORY.
func (r Reference) Name() string { return r.Registry + "/" + r.Repository }

// WithDigest names another image of the repository, by digest alone.
func (r Reference) WithDigest(d digest.Digest) Reference {
	return Reference{Registry: r.Registry, Repository: r.Repository, Digest: d}
}

// WithTag names another image of the repository, by tag alone.
func (r Reference) WithTag(tag string) Reference {
	return Reference{Registry: r.Registry, Repository: r.Repository, Tag: tag}
}

// identifier is the last element of a manifest's URL.
func (r Reference) identifier() string {
	if r.Digest != "" {
		return string(r.Digest)
	}
	return r.Tag
}

func refuseScheme(s string) error {
	if scheme, _, found := strings.Cut(s, "://"); found {
		return fmt.Errorf("it is a URL: leave out %s://", scheme)
	}
	return nil
}

// checkDigest lets through well-formed sha256 digests only.
func checkDigest(d digest.Digest) error {
	algorithm, _, found := strings.Cut(string(d), ":")
	switch {
	case !found:
		return fmt.Errorf("%q is not a digest", clean(string(d)))
	case algorithm != string(digest.SHA256):
		return fmt.Errorf("a digest of the kind %q is not supported, only sha256", clean(algorithm))
	case d.Validate() != nil:
		return fmt.Errorf("%q is not a sha256 digest", clean(string(d)))
	}
	return nil
}

var (
	hostPattern = regexp.MustCompile(`^([a-zA-Z0-9._-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?$`)
	pathPattern = regexp.MustCompile(`^` + element + `(/` + element + `)*$`)
	tagPattern  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
)

// element is one of a path (distribution, reference/regexp.go).
const element = `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`

// checkHost normalises a registry: lower case, and one name for Docker Hub.
func checkHost(host string) (string, error) {
	if !hostPattern.MatchString(host) {
		return "", fmt.Errorf("%q is not a registry's HOST[:PORT]", clean(host))
	}
	switch host = strings.ToLower(host); host {
	case name.DefaultRegistry, "registry-1.docker.io":
		return dockerHub, nil
	}
	return host, nil
}

func checkPath(path string) error {
	if !pathPattern.MatchString(path) {
		return fmt.Errorf("%q is not a repository's path: lower case letters, digits and single separators between them", clean(path))
	}
	return nil
}

// reason is an error of package name in our words: it repeats the whole name
// otherwise.
func reason(err error) error {
	var bad *name.ErrBadName
	if errors.As(err, &bad) {
		return errors.New(clean(strings.TrimPrefix(bad.Error(), "could not parse reference: ")))
	}
	return err
}
