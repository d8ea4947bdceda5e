package bundle_test

import (
	"encoding/json"

	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/bundle"
	"airlift/oci/ocitest"
)

// What the distribution spec 1.1.1 asks of a registry that one can pull from
// (workflows Pull and Content Discovery, and Error Codes), each requirement by itself.
// The spec's own suite is in no module that could be had. That it is understood as
// others understand it is shown by Debian's docker-registry, which passes the part on
// pulling too.

// specCodes are all codes that errors may have.
var specCodes = []string{
	"BLOB_UNKNOWN", "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN", "MANIFEST_INVALID",
	"MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN", "SIZE_INVALID", "UNAUTHORIZED", "DENIED", "UNSUPPORTED", "TOOMANYREQUESTS",
}

// pulled is a repository to test with.
type pulled struct {
	host, repo string
	image      ocispec.Descriptor // with the tag v1
	blob       ocispec.Descriptor
}

// wantRefusal fails unless an answer has a status and an error of the spec's form.
func (r reply) wantRefusal(t *testing.T, status int) {
	t.Helper()
	var body struct {
		Errors []struct{ Code, Message string }
	}
	err := json.Unmarshal([]byte(r.body), &body)
	if r.status != status || err != nil || len(body.Errors) != 1 || !slices.Contains(specCodes, body.Errors[0].Code) {
		t.Errorf("answered %d, want %d with a code of the spec: %v, %.200s", r.status, status, err, r.body)
	}
}

const nowhere = digest.Digest("sha256:0123456789012345678901234567890123456789012345678901234567890123")

// pull is the workflow Pull.
func (p pulled) pull(t *testing.T) {
	ask(t, http.MethodGet, p.host, "").want(t, http.StatusOK)
	accept := "Accept: " + p.image.MediaType
	for _, ref := range []string{"v1", string(p.image.Digest)} {
		got := ask(t, http.MethodGet, p.host, p.repo+"/manifests/"+ref, accept)
		got.want(t, http.StatusOK)
		if digest.FromString(got.body) != p.image.Digest || got.header.Get("Content-Type") != p.image.MediaType || got.header.Get("Docker-Content-Digest") != string(p.image.Digest) {
			t.Errorf("manifest %s: %v, %s", ref, got.header, got.body)
		}
		head := ask(t, http.MethodHead, p.host, p.repo+"/manifests/"+ref, accept)
		head.want(t, http.StatusOK)
		for _, name := range []string{"Content-Type", "Content-Length", "Docker-Content-Digest"} {
			if head.header.Get(name) != got.header.Get(name) {
				t.Errorf("HEAD of %s: %s is %q, of GET %q", ref, name, head.header.Get(name), got.header.Get(name))
			}
		}
	}
	got := ask(t, http.MethodGet, p.host, p.repo+"/blobs/"+string(p.blob.Digest))
	got.want(t, http.StatusOK)
	if digest.FromString(got.body) != p.blob.Digest || got.header.Get("Docker-Content-Digest") != string(p.blob.Digest) {
		t.Errorf("blob: %v", got.header)
	}
	head := ask(t, http.MethodHead, p.host, p.repo+"/blobs/"+string(p.blob.Digest))
	head.want(t, http.StatusOK)
	if head.header.Get("Content-Length") != fmt.Sprint(p.blob.Size) {
		t.Errorf("HEAD of a blob: %v", head.header)
	}
	part := ask(t, http.MethodGet, p.host, p.repo+"/blobs/"+string(p.blob.Digest), "Range: bytes=5-14")
	if part.want(t, http.StatusPartialContent); part.body != got.body[5:15] {
		t.Errorf("a part of a blob: %q", part.body)
	}
	p.pullNothing(t, map[string]int{
		p.repo + "/manifests/none":                    http.StatusNotFound,
		p.repo + "/manifests/" + string(nowhere):      http.StatusNotFound,
		p.repo + "/blobs/" + string(nowhere):          http.StatusNotFound,
		"no/such/repository/manifests/v1":             http.StatusNotFound,
		"no/such/repository/blobs/" + string(nowhere): http.StatusNotFound,
	})
}

// pullNothing asks for what is not there.
func (p pulled) pullNothing(t *testing.T, paths map[string]int) {
	t.Helper()
	for path, status := range paths {
		ask(t, http.MethodGet, p.host, path).wantRefusal(t, status)
		if head := ask(t, http.MethodHead, p.host, path); head.status != status || head.body != "" {
			t.Errorf("HEAD of %s: %d %q", path, head.status, head.body)
		}
	}
}

// specWorld is what the workflows are tested with, as it is pushed.
func specWorld(b *ocitest.Builder) (p pulled, signatures [3]ocispec.Descriptor) {
	p.repo = "spec/image"
	p.blob = b.RandomLayer(p.repo, "spec", 50_000)
	p.image = b.Image(p.repo, "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{p.blob}})
	for _, tag := range []string{"B", "a", "C", "d"} {
		_, raw := b.Manifest(p.repo, "v1")
		b.Raw(p.repo, tag, p.image.MediaType, raw)
	}
	config := b.Blob(p.repo, []byte("{}"))
	config.MediaType = "application/x-kept"
	signatures[0] = b.Referrer(p.repo, p.image, "application/x-sbom", "one")
	signatures[1] = b.Referrer(p.repo, p.image, "application/x-scan", "two")
	// Its type is that of its config.
	signatures[2] = b.Image(p.repo, "kept", ocitest.ImageOpts{Config: &config, Subject: &p.image, Annotations: map[string]string{"who": "somebody"}})
	return p, signatures
}

// TestSpecPull holds what is served, and Debian's registry, against the workflow.
func TestSpecPull(t *testing.T) {
	t.Parallel()
	var p pulled
	near := source(t, func(b *ocitest.Builder) { p, _ = specWorld(b) })
	p.host = near.Host
	t.Run("docker-registry", p.pull)
	p.host = servedSpec(t, near.Host).host
	t.Run("served", p.pull)
	p.pullNothing(t, map[string]int{ // docker-registry answers these with 500 and 405
		p.repo + "/manifests/sha256:totallywrong":      http.StatusBadRequest,
		p.repo + "/blobs/sha256:totallywrong":          http.StatusBadRequest,
		p.repo + "/manifests/" + string(p.blob.Digest): http.StatusNotFound,
		"no/such/repository/tags/list":                 http.StatusNotFound,
	})
}

func servedSpec(t *testing.T, near string) *shelved {
	c := client(t, near)
	var names []string
	for _, tag := range []string{"v1", "B", "a", "C", "d", "kept"} {
		names = append(names, "quay.io/spec/image:"+tag)
	}
	m := export(t, c, inventory(t, plan(t, c, bundle.Request{Images: references(t, names...)}), 0))
	return serve(t, m.open(t), to(t, "registry.example"))
}

// specDiscovery is what the workflow is tested with, served.
func specDiscovery(t *testing.T) (pulled, [3]ocispec.Descriptor) {
	host, stop, err := ocitest.Embedded()
	check(t, err)
	t.Cleanup(stop)
	b := ocitest.NewBuilder(host)
	p, signatures := specWorld(b)
	check(t, b.Err())
	p.host = servedSpec(t, host).host
	return p, signatures
}

// TestSpecTags is Listing Tags.
func TestSpecTags(t *testing.T) {
	t.Parallel()
	p, _ := specDiscovery(t)
	fallback := "sha256-" + p.image.Digest.Encoded()
	for query, want := range map[string]string{
		"":              "a B C d kept " + fallback + " v1",
		"?n=0":          "",
		"?n=2":          "a B",
		"?n=2&last=B":   "C d",
		"?last=C":       "d kept " + fallback + " v1",
		"?last=bb":      "C d kept " + fallback + " v1", // it need not be there
		"?n=7":          "a B C d kept " + fallback + " v1",
		"?n=99":         "a B C d kept " + fallback + " v1",
		"?n=5&last=v1":  "",
		"?n=1&last=zzz": "",
	} {
		got := ask(t, http.MethodGet, p.host, p.repo+"/tags/list"+query)
		got.want(t, http.StatusOK)
		var list struct {
			Name string
			Tags *[]string
		}
		check(t, json.Unmarshal([]byte(got.body), &list))
		if list.Name != p.repo || list.Tags == nil || strings.Join(*list.Tags, " ") != want {
			t.Errorf("%s: %s, want %s", query, got.body, want)
		}
		if link := got.header.Get("Link"); (link != "") != strings.HasPrefix(query, "?n=2") {
			t.Errorf("%s: Link: %s", query, link)
		}
	}
	for _, query := range []string{"?n=x", "?n=-1"} {
		if got := ask(t, http.MethodGet, p.host, p.repo+"/tags/list"+query); got.status != http.StatusBadRequest {
			t.Errorf("%s: %d", query, got.status)
		}
	}
	for _, list := range []string{p.repo + "/tags/list", "_catalog"} {
		wantPages(t, p.host, list)
	}
}

// wantPages follows the links of a list, one name a page.
func wantPages(t *testing.T, host, path string) {
	t.Helper()
	names := func(r reply) []string {
		var list struct{ Tags, Repositories []string }
		check(t, json.Unmarshal([]byte(r.body), &list))
		return append(list.Tags, list.Repositories...)
	}
	var paged []string
	next := path + "?n=1"
	for range 20 {
		r := ask(t, http.MethodGet, host, next)
		r.want(t, http.StatusOK)
		paged = append(paged, names(r)...)
		link, rest, more := strings.Cut(r.header.Get("Link"), ">")
		if !more {
			break
		}
		if rest != `; rel="next"` {
			t.Fatalf("Link: %s", r.header.Get("Link"))
		}
		next = strings.TrimPrefix(link, "</v2/")
	}
	if all := names(ask(t, http.MethodGet, host, path)); !slices.Equal(paged, all) || len(all) == 0 {
		t.Errorf("%s: %s by pages, %s at once", path, paged, all)
	}
}

// TestSpecReferrers is Listing Referrers.
func TestSpecReferrers(t *testing.T) {
	t.Parallel()
	p, signatures := specDiscovery(t)
	at := p.repo + "/referrers/"
	list := func(path string) (reply, []ocispec.Descriptor) {
		got := ask(t, http.MethodGet, p.host, path)
		got.want(t, http.StatusOK)
		var index ocispec.Index
		check(t, json.Unmarshal([]byte(got.body), &index))
		if got.header.Get("Content-Type") != ocispec.MediaTypeImageIndex || index.MediaType != ocispec.MediaTypeImageIndex || index.SchemaVersion != 2 || index.Manifests == nil {
			t.Errorf("%s: %v %s", path, got.header, got.body)
		}
		return got, index.Manifests
	}
	kinds := map[digest.Digest]string{signatures[0].Digest: "application/x-sbom", signatures[1].Digest: "application/x-scan", signatures[2].Digest: "application/x-kept"}
	_, all := list(at + string(p.image.Digest))
	for _, d := range all {
		if d.ArtifactType != kinds[d.Digest] || d.MediaType != ocispec.MediaTypeImageManifest || d.Size == 0 {
			t.Errorf("%+v", d)
		}
		if d.Digest == signatures[2].Digest && d.Annotations["who"] != "somebody" {
			t.Errorf("%+v", d)
		}
		delete(kinds, d.Digest)
	}
	if len(kinds) > 0 || len(all) != 3 {
		t.Errorf("not listed: %v; of %d", kinds, len(all))
	}
	filtered, some := list(at + string(p.image.Digest) + "?artifactType=application/x-scan")
	if len(some) != 1 || some[0].Digest != signatures[1].Digest || filtered.header.Get("OCI-Filters-Applied") != "artifactType" {
		t.Errorf("filtered: %v, %v", filtered.header, some)
	}
	for _, none := range []string{string(nowhere), string(p.image.Digest) + "?artifactType=application/x-none"} {
		if _, some := list(at + none); len(some) > 0 {
			t.Errorf("%s: %v", none, some)
		}
	}
	ask(t, http.MethodGet, p.host, at+"sha256:totallywrong").wantRefusal(t, http.StatusBadRequest)
	found, supported, err := client(t, p.host).Referrers(t.Context(), references(t, "quay.io/spec/image@"+string(p.image.Digest))[0])
	if err != nil || !supported || len(found) != 3 {
		t.Error(found, supported, err)
	}
}

// TestSpecReadOnly: whatever would write is refused as not supported, and what has
// a body does not keep the connection.
func TestSpecReadOnly(t *testing.T) {
	t.Parallel()
	p, _ := specDiscovery(t)
	for _, request := range []string{
		"POST " + p.repo + "/blobs/uploads/", "POST new/repository/blobs/uploads/", "PATCH " + p.repo + "/blobs/uploads/x", "PUT " + p.repo + "/blobs/uploads/x",
		"PUT " + p.repo + "/manifests/v2", "DELETE " + p.repo + "/manifests/v1", "DELETE " + p.repo + "/blobs/" + string(p.blob.Digest), "POST ",
	} {
		method, path, _ := strings.Cut(request, " ")
		got := ask(t, method, p.host, path)
		got.wantRefusal(t, http.StatusMethodNotAllowed)
		if !strings.Contains(got.body, "UNSUPPORTED") || got.header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %v %s", request, got.header, got.body)
		}
	}
	for _, path := range []string{p.repo, p.repo + "/tags", p.repo + "/tags/lists", p.repo + "/none/v1", "../v2/" + p.repo + "/manifests/v1"} {
		if got := ask(t, http.MethodGet, p.host, path); got.status != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
}
