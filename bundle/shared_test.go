package bundle_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/bundle"
	"airlift/oci/ocitest"
)

// TestSharedBlobs: two layers that forty images in as many repositories share
// are fetched once, and uploaded once.
func TestSharedBlobs(t *testing.T) {
	t.Parallel()
	const images = 40
	var shared []ocispec.Descriptor
	var refs []string
	near := source(t, func(b *ocitest.Builder) {
		for i := range images {
			repo := fmt.Sprintf("team/app%02d", i)
			shared = []ocispec.Descriptor{b.RandomLayer(repo, "one", 2000), b.RandomLayer(repo, "two", 3000)}
			b.Image(repo, "v1", ocitest.ImageOpts{Layers: shared, Labels: map[string]string{"name": repo}})
			refs = append(refs, "quay.io/"+repo+":v1")
		}
	})
	in, out := ocitest.Misbehave(t, near.Host, nil), ocitest.Misbehave(t, ocitest.StartRegistry(t).Host, nil)
	c := client(t, in.Host, out.Host)
	m := export(t, c, inventory(t, plan(t, c, bundle.Request{Images: references(t, refs...)}), 0))
	results, err := m.open(t).Import(t.Context(), c, bundle.ImportOptions{Placement: to(t, out.Host)})
	check(t, err)
	if len(results) != images {
		t.Errorf("%d images were imported", len(results))
	}
	for _, layer := range shared {
		if n := in.Count(http.MethodGet, string(layer.Digest)); n != 1 {
			t.Errorf("%s was fetched %d times", layer.Digest, n)
		}
		if n := queried(out, http.MethodPut, "digest=", layer); n != 1 {
			t.Errorf("%s was uploaded %d times", layer.Digest, n)
		}
		if n := queried(out, http.MethodPost, "mount=", layer); n != images-1 {
			t.Errorf("%s was mounted %d times", layer.Digest, n)
		}
	}
	for _, name := range refs { // nothing is asked for twice when planning and exporting
		ref := references(t, name)[0]
		if n := in.Count(http.MethodGet, ref.Repository+"/manifests/v1"); n != 1 {
			t.Errorf("the manifest of %s was fetched %d times", name, n)
		}
	}
}

// queried counts requests whose query has a blob's digest.
func queried(p *ocitest.Proxy, method, key string, d ocispec.Descriptor) int {
	n := 0
	for _, r := range p.Log() {
		if query := strings.ReplaceAll(r.Query, "%3A", ":"); r.Method == method && strings.Contains(query, key+string(d.Digest)) {
			n++
		}
	}
	return n
}
