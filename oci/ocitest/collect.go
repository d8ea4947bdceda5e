package ocitest

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
)

// CollectUntagged deletes every manifest to which no tag leads, and returns how
// many there were: so does Quay when its temporary tags have run out (quay/quay,
// endpoints/v2/manifest.py, create_manifest_with_temp_tag, and config.py,
// PUSH_TEMP_TAG_EXPIRATION_SEC).
func (r *Registry) CollectUntagged(t testing.TB) int {
	t.Helper()
	b, collected := r.Builder(), 0
	for _, repository := range b.Repositories() {
		reached := map[digest.Digest]bool{}
		for _, tag := range b.Tags(repository) {
			b.reach(repository, tag, reached)
		}
		for _, d := range r.manifests(t, repository) {
			if !reached[d] {
				b.DeleteManifest(repository, d)
				collected++
			}
		}
	}
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	return collected
}

// reach adds the manifest of a tag or digest, and all that it lists.
func (b *Builder) reach(repository, reference string, reached map[digest.Digest]bool) {
	_, raw := b.Manifest(repository, reference)
	var node struct {
		Manifests []struct{ Digest digest.Digest }
	}
	b.keep("read "+repository+":"+reference, json.Unmarshal(raw, &node))
	reached[digest.FromBytes(raw)] = true
	for _, child := range node.Manifests {
		if !reached[child.Digest] {
			b.reach(repository, string(child.Digest), reached)
		}
	}
}

// manifests are all of a repository, tagged or not, which no API lists.
func (r *Registry) manifests(t testing.TB, repository string) []digest.Digest {
	t.Helper()
	links, err := filepath.Glob(filepath.Join(r.Root, "docker/registry/v2/repositories", repository, "_manifests/revisions/sha256/*/link"))
	if err != nil {
		t.Fatal(err)
	}
	var all []digest.Digest
	for _, link := range links {
		all = append(all, digest.NewDigestFromEncoded(digest.SHA256, filepath.Base(filepath.Dir(link))))
	}
	return all
}
