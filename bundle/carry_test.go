package bundle_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"airlift/bundle"
	"airlift/oci"
	"airlift/oci/ocitest"
)

// TestCarriesEveryShape: at the destination every node has the digest, the media
// type and the bytes that the source has, and every blob is there; for every
// shape of image, and for a release of several architectures.
func TestCarriesEveryShape(t *testing.T) {
	t.Parallel()
	var shapes []string
	var release ocitest.Release
	near := source(t, func(b *ocitest.Builder) {
		shapes = everyShape(b)
		release = b.Release(ocitest.ReleaseOpts{Multi: true, Signatures: true, Components: []string{"cli", "etcd"}})
	})
	far := ocitest.StartRegistry(t)
	c := client(t, near.Host, far.Host)
	request := bundle.Request{Images: references(t, shapes...), Releases: references(t, release.Reference)}
	m := export(t, c, inventory(t, plan(t, c, request), 150_000))
	results, err := m.open(t).Import(t.Context(), c, bundle.ImportOptions{Placement: to(t, far.Host+"/far")})
	check(t, err)
	pair := compared{t, near.Builder(), far.Builder()}
	seen := map[string]bool{}
	for _, r := range results {
		ref := references(t, r.Reference)[0]
		seen[ref.Name()] = true
		if r.State != bundle.StateImported {
			t.Errorf("%s: %s, %s", r.Reference, r.State, r.Reason)
			continue
		}
		for _, name := range r.Names {
			place := references(t, name)[0]
			if raw := pair.node(ref.Repository, place.Repository, identifier(ref), place.Tag); digest.FromBytes(raw) != r.Digest {
				t.Errorf("%s: %s does not lead to %s", r.Reference, name, r.Digest)
			}
		}
	}
	for _, shape := range slices.Concat(shapes, []string{release.Reference, release.Images["etcd"]}) {
		if !seen[references(t, shape)[0].Name()] {
			t.Errorf("nothing of %s arrived", shape)
		}
	}
	check(t, pair.near.Err())
	check(t, pair.far.Err())
	wantTags(t, pair.far, "far/openshift-release-dev/ocp-release", "4.17.3-multi", fallback(release.Descriptor.Digest)+".sig")
	wantTags(t, pair.far, "far/openshift-release-dev/ocp-v4.0-art-dev", "4.17.3-multi-cli", "4.17.3-multi-etcd", fallback(release.Components["etcd"])+".sig")
}

// TestDigestOnlyWithReferrer: an image without a tag, on a registry without the
// referrers API, is tagged beside the fallback tag that belongs to its referrers.
func TestDigestOnlyWithReferrer(t *testing.T) {
	t.Parallel()
	var shapes []string
	near := source(t, func(b *ocitest.Builder) { shapes = everyShape(b) })
	far := ocitest.StartRegistry(t)
	c := client(t, near.Host, far.Host)
	name := shapes[len(shapes)-1]
	m := export(t, c, inventory(t, plan(t, c, bundle.Request{Images: references(t, name)}), 0))
	_, err := m.open(t).Import(t.Context(), c, bundle.ImportOptions{Placement: to(t, far.Host)})
	check(t, err)
	image, b := references(t, name)[0], far.Builder()
	wantTags(t, b, image.Repository, "at-"+fallback(image.Digest), fallback(image.Digest))
	if _, raw := b.Manifest(image.Repository, "at-"+fallback(image.Digest)); digest.FromBytes(raw) != image.Digest {
		t.Errorf("the image's tag does not lead to it: %s", raw)
	}
	_, raw := b.Manifest(image.Repository, fallback(image.Digest))
	var index tree
	check(t, json.Unmarshal(raw, &index))
	if len(index.Manifests) != 1 {
		t.Fatalf("the referrers' tag leads to %s", raw)
	}
	if _, referrer := b.Manifest(image.Repository, index.Manifests[0].Digest); !strings.Contains(string(referrer), string(image.Digest)) {
		t.Errorf("the referrer does not name the image: %s", referrer)
	}
	check(t, b.Err())
}

func fallback(d digest.Digest) string { return strings.Replace(string(d), ":", "-", 1) }

func identifier(r oci.Reference) string {
	if r.Digest != "" {
		return string(r.Digest)
	}
	return r.Tag
}

func wantTags(t *testing.T, b *ocitest.Builder, repo string, want ...string) {
	t.Helper()
	got := b.Tags(repo)
	for _, tag := range want {
		if !slices.Contains(got, tag) {
			t.Errorf("%s has not the tag %s: %s", repo, tag, got)
		}
	}
}

// compared are the two ends of a transport.
type compared struct {
	t         *testing.T
	near, far *ocitest.Builder
}

// node compares a node and all below it. It reads what is below out of the
// source's bytes, not out of any inventory.
func (p compared) node(nearRepo, farRepo, nearRef, farRef string) []byte {
	p.t.Helper()
	nearType, nearRaw := p.near.Manifest(nearRepo, nearRef)
	farType, farRaw := p.far.Manifest(farRepo, farRef)
	if nearType != farType || string(nearRaw) != string(farRaw) || len(farRaw) == 0 {
		p.t.Errorf("%s %s: sent %s %q, arrived %s %q (%v)", farRepo, farRef, nearType, nearRaw, farType, farRaw, p.far.Err())
		return farRaw
	}
	var n tree
	check(p.t, json.Unmarshal(nearRaw, &n))
	for _, child := range n.Manifests {
		if raw := p.node(nearRepo, farRepo, child.Digest, child.Digest); digest.FromBytes(raw) != digest.Digest(child.Digest) {
			p.t.Errorf("%s: child %s has other bytes", farRepo, child.Digest)
		}
	}
	for _, blob := range n.blobs() {
		if data := p.far.BlobBytes(farRepo, digest.Digest(blob.Digest)); digest.FromBytes(data) != digest.Digest(blob.Digest) {
			p.t.Errorf("%s: blob %s has other bytes", farRepo, blob.Digest)
		}
	}
	return farRaw
}
