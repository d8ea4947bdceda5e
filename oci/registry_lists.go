package oci

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// codePage: distribution's code for a page that makes no sense; the spec has none.
const codePage = "PAGINATION_NUMBER_INVALID"

func (s *Registry) catalog(w http.ResponseWriter, r *http.Request) {
	if names, ok := page(w, r, s.names()); ok {
		answer(w, "application/json", map[string][]string{"repositories": names})
	}
}

func (p *Repository) list(w http.ResponseWriter, r *http.Request, name string) {
	if len(p.Nodes) == 0 {
		Refuse(w, http.StatusNotFound, codeNameUnknown, "there is no such repository here")
		return
	}
	tags := slices.SortedFunc(maps.Keys(p.Tags), compareNames)
	if tags, ok := page(w, r, tags); ok {
		answer(w, "application/json", struct {
			Name string   `json:"name"`
			Tags []string `json:"tags"`
		}{name, tags})
	}
}

// compareNames orders as the distribution spec wants lists: case does not count.
func compareNames(a, b string) int {
	return cmp.Or(cmp.Compare(strings.ToLower(a), strings.ToLower(b)), cmp.Compare(a, b))
}

// page is the part of a sorted list that the query asks for: n of them, behind
// last. Where more follow, a Link leads to them. It reports false if it has refused.
func page(w http.ResponseWriter, r *http.Request, all []string) ([]string, bool) {
	query := r.URL.Query()
	if last := query.Get("last"); last != "" {
		i, found := slices.BinarySearchFunc(all, last, compareNames)
		if found {
			i++
		}
		all = all[i:]
	}
	n := len(all)
	if query.Has("n") {
		asked, err := strconv.Atoi(query.Get("n"))
		if err != nil || asked < 0 {
			Refuse(w, http.StatusBadRequest, codePage, "n is not a number of names")
			return nil, false
		}
		n = min(n, asked)
	}
	if 0 < n && n < len(all) {
		next := url.URL{Path: r.URL.Path, RawQuery: url.Values{"n": {query.Get("n")}, "last": {all[n-1]}}.Encode()}
		w.Header().Set("Link", "<"+next.String()+`>; rel="next"`)
	}
	return append([]string{}, all[:n]...), true // an empty list is no null
}

func (p *Repository) referrers(w http.ResponseWriter, r *http.Request, which string) {
	subject := digest.Digest(which)
	if err := checkDigest(subject); err != nil {
		Refuse(w, http.StatusBadRequest, codeDigestInvalid, err.Error())
		return
	}
	found := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
	kind := r.URL.Query().Get("artifactType")
	for _, d := range slices.Sorted(maps.Keys(p.Nodes)) {
		n := p.Nodes[d]
		if n.Subject == nil || n.Subject.Digest != subject {
			continue
		}
		if referrer := n.referrer(); kind == "" || referrer.ArtifactType == kind {
			found.Manifests = append(found.Manifests, referrer)
		}
	}
	if kind != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	answer(w, ocispec.MediaTypeImageIndex, found)
}

// referrer is the descriptor of a node in a list of referrers.
func (n Node) referrer() ocispec.Descriptor {
	d := n.Descriptor
	d.ArtifactType = n.ArtifactType
	if d.ArtifactType == "" && n.Config != nil {
		d.ArtifactType = n.Config.MediaType
	}
	if o, err := parseObject(n.Raw); err == nil {
		_ = o.read("annotations", &d.Annotations) // of another form they are none
	}
	return d
}
