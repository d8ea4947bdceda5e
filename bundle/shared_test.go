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

// TestSharedChildren: images that are pushed at once and have children in common
// do not come in each other's way. The registry writes a link in place, and
// refuses an index while that of a child is being written.
func TestSharedChildren(t *testing.T) {
	t.Parallel()
	var refs []string
	near := source(t, func(b *ocitest.Builder) {
		var children []ocispec.Descriptor
		for _, arch := range []string{"amd64", "arm64"} {
			child := b.Image("team/app", "", ocitest.ImageOpts{Arch: arch})
			children = append(children, child)
			refs = append(refs, "quay.io/team/app@"+child.Digest.String())
		}
		for i := range 12 {
			tag := fmt.Sprint("v", i)
			children[0].Annotations = map[string]string{"for": tag}
			b.Index("team/app", tag, false, children...)
			b.Raw("team/app", "amd-"+tag, ocispec.MediaTypeImageManifest, manifestOf(b, children[0]))
			refs = append(refs, "quay.io/team/app:"+tag, "quay.io/team/app:amd-"+tag)
		}
	})
	far := ocitest.StartRegistry(t)
	c := client(t, near.Host, far.Host)
	b := export(t, c, inventory(t, plan(t, c, bundle.Request{Images: references(t, refs...)}), 0)).open(t)
	for i := range 4 {
		results, err := b.Import(t.Context(), c, bundle.ImportOptions{Placement: to(t, fmt.Sprint(far.Host, "/", i)), Jobs: 16})
		if err != nil || len(results) != len(refs) {
			t.Fatalf("%d of %d images: %v", len(results), len(refs), err)
		}
	}
}

func manifestOf(b *ocitest.Builder, d ocispec.Descriptor) []byte {
	_, raw := b.Manifest("team/app", d.Digest.String())
	return raw
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
