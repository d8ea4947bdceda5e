package oci

import (
	"bytes"
	"encoding/json"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// Registry answers as a registry that can only be read, by the distribution spec
// 1.1: pull and content discovery. What it has is given and does not change while
// it answers. How long anybody may keep a connection is for the [http.Server] to say.
type Registry struct {
	Repositories map[string]*Repository // by name
	// Blob answers for a blob that the repository has. What is known of it stands in
	// the header already; [http.ServeContent] does the rest.
	Blob func(http.ResponseWriter, *http.Request, digest.Digest)
}

// Repository is what a Registry has under one name.
type Repository struct {
	Tags  map[string]digest.Digest
	Nodes map[digest.Digest]Node
	Blobs map[digest.Digest]bool
	// Absent says of tags and digests that somebody may ask for why they are not there.
	Absent map[string]string
}

// Codes of errors, of the distribution spec.
const (
	codeBlobUnknown     = "BLOB_UNKNOWN"
	codeDigestInvalid   = "DIGEST_INVALID"
	codeManifestUnknown = "MANIFEST_UNKNOWN"
	codeNameUnknown     = "NAME_UNKNOWN"
	codeUnsupported     = "UNSUPPORTED"
)

func (s *Registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		Refuse(w, http.StatusMethodNotAllowed, codeUnsupported, "this registry can only be read")
		return
	}
	switch r.URL.Path {
	case "/v2", "/v2/":
		answer(w, "application/json", struct{}{})
	case "/v2/_catalog":
		s.catalog(w, r)
	default:
		s.inRepository(w, r)
	}
}

// inRepository answers for /v2/NAME/KIND/WHICH. A name may have elements that are
// called as kinds are; so the last two elements count.
func (s *Registry) inRepository(w http.ResponseWriter, r *http.Request) {
	rest, which := path.Split(r.URL.Path)
	name, kind := path.Split(strings.TrimSuffix(rest, "/"))
	name, below := strings.CutPrefix(strings.TrimSuffix(name, "/"), "/v2/")
	repository := s.Repositories[name]
	switch {
	case !below || repository == nil:
		Refuse(w, http.StatusNotFound, codeNameUnknown, "there is no such repository here")
	case kind == "manifests":
		repository.manifest(w, r, which)
	case kind == "blobs":
		s.blob(w, r, repository, which)
	case kind == "referrers":
		repository.referrers(w, r, which)
	case kind == "tags" && which == "list":
		repository.list(w, r, name)
	default:
		Refuse(w, http.StatusNotFound, codeUnsupported, "there is no such thing in a registry")
	}
}

func (p *Repository) manifest(w http.ResponseWriter, r *http.Request, reference string) {
	d := p.Tags[reference]
	if strings.Contains(reference, ":") {
		if d = digest.Digest(reference); checkDigest(d) != nil {
			Refuse(w, http.StatusBadRequest, codeDigestInvalid, checkDigest(d).Error())
			return
		}
	}
	n, there := p.Nodes[d]
	if !there {
		p.unknown(w, codeManifestUnknown, "manifest", reference)
		return
	}
	describeContent(w, d, n.Descriptor.MediaType)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(n.Raw))
}

func (s *Registry) blob(w http.ResponseWriter, r *http.Request, p *Repository, which string) {
	d := digest.Digest(which)
	if err := checkDigest(d); err != nil {
		Refuse(w, http.StatusBadRequest, codeDigestInvalid, err.Error())
		return
	}
	if !p.Blobs[d] {
		p.unknown(w, codeBlobUnknown, "blob", which)
		return
	}
	describeContent(w, d, "application/octet-stream")
	s.Blob(w, r, d)
}

// unknown says that something is not there, and why if that is known.
func (p *Repository) unknown(w http.ResponseWriter, code, what, which string) {
	why := p.Absent[which]
	if why == "" {
		why = "there is no such " + what + " in this repository"
	}
	Refuse(w, http.StatusNotFound, code, why)
}

func describeContent(w http.ResponseWriter, d digest.Digest, mediaType string) {
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Docker-Content-Digest", string(d))
	h.Set("ETag", `"`+string(d)+`"`)
}

// Refuse answers with an error of the form of OCI. Code is one of the distribution
// spec's; UNKNOWN, as registries have it, where that has none.
func Refuse(w http.ResponseWriter, status int, code, message string) {
	h := w.Header()
	for _, name := range []string{"Docker-Content-Digest", "ETag"} {
		h.Del(name) // of what would have been the answer
	}
	type fault struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	h.Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string][]fault{"errors": {{code, message}}}) // who asked may have gone
}

// answer writes JSON of a type.
func answer(w http.ResponseWriter, mediaType string, v any) {
	w.Header().Set("Content-Type", mediaType)
	_ = json.NewEncoder(w).Encode(v) // who asked may have gone
}

// names are those of the repositories that have anything, in the order of lists.
func (s *Registry) names() []string {
	var names []string
	for name, p := range s.Repositories {
		if len(p.Nodes) > 0 {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, compareNames)
	return names
}
