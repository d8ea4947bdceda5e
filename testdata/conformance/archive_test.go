package conformance

import (
	"path/filepath"
	"testing"

	"github.com/containers/image/v5/oci/archive"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"airlift/bundle"
	"airlift/oci"
)

// TestArchiveIsReadByReference opens every image of an archive as skopeo does
// with oci-archive:bundle.tar:REFERENCE, since 1.19 for images of Docker's kind
// too, of which releases consist.
func TestArchiveIsReadByReference(t *testing.T) {
	n := newNear(t)
	r := bundle.Request{Releases: []oci.Reference{parse(t, n.releases[0].Reference), parse(t, n.releases[1].Reference)}}
	for ref := range n.images {
		r.Images = append(r.Images, parse(t, ref))
	}
	client, dir := n.client(t, n.Registry), t.TempDir()
	content, err := bundle.Plan(t.Context(), client, r)
	if err != nil {
		t.Fatal(err)
	}
	inventory, err := bundle.NewInventory(*content, 0, "conformance", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := bundle.Export(t.Context(), client, inventory, dir, bundle.ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, image := range content.Images {
		got, err := archived(t, filepath.Join(dir, bundle.VolumeFile), image.Reference)
		if err != nil || got != image.Digest {
			t.Errorf("%s: %s, %v; it is %s", image.Reference, got, err, image.Digest)
		}
	}
}

// archived is the digest of the image with this reference.
func archived(t *testing.T, file, reference string) (digest.Digest, error) {
	t.Helper()
	ref, err := archive.NewReference(file, reference)
	if err != nil {
		return "", err
	}
	source, err := ref.NewImageSource(t.Context(), &types.SystemContext{BigFilesTemporaryDir: t.TempDir()})
	if err != nil {
		return "", err
	}
	defer source.Close()
	raw, _, err := source.GetManifest(t.Context(), nil)
	return digest.FromBytes(raw), err
}
