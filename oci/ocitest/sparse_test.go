package ocitest

import (
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestSparseIndexes: who takes an index without one of its children keeps it as it
// is, and who does not says so in the words that were chosen.
func TestSparseIndexes(t *testing.T) {
	t.Parallel()
	refused := SparseRefusals["zot"]
	for name, b := range map[string]*Builder{
		"distribution 2":         StartRegistry(t).Builder(),
		"distribution 3, set so": StartRegistryWith(t, RegistryOptions{Sparse: true}).Builder(),
		"in memory, takes":       NewBuilder(Lists(t, nil)),
		"in memory, refuses":     NewBuilder(Lists(t, &refused)),
	} {
		lost := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("x"), Size: 300}
		index := b.Index("a/b", "v1", false, b.Image("a/b", "", ImageOpts{}), lost)
		err := b.Err()
		if takes := name != "distribution 2" && name != "in memory, refuses"; takes != (err == nil) {
			t.Errorf("%s: %v", name, err)
			continue
		} else if !takes {
			continue
		}
		if kind, raw := b.Manifest("a/b", "v1"); kind != ocispec.MediaTypeImageIndex || digest.FromBytes(raw) != index.Digest {
			t.Errorf("%s: it comes back as %s %s", name, kind, raw)
		}
	}
}
