package bundle_test

import (
	"airlift/oci/ocitest"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// everyShape pushes one image of each shape that registries hold and gives
// their references.
func everyShape(b *ocitest.Builder) []string {
	image := func(repo, tag string, o ocitest.ImageOpts, codec string) ocispec.Descriptor {
		o.Layers = []ocispec.Descriptor{b.RandomLayer(repo, repo, 3000), b.Layer(repo, map[string]string{"etc/name": repo + o.Arch}, codec)}
		return b.Image(repo, tag, o)
	}
	docker := image("shapes/docker", "v1", ocitest.ImageOpts{Docker: true, Labels: map[string]string{"a": "b"}}, "gzip")
	b.CosignSignature("shapes/docker", docker.Digest)
	image("shapes/oci", "v1", ocitest.ImageOpts{Annotations: map[string]string{"a": "b"}}, "tar")
	b.Index("shapes/list", "v1", true,
		image("shapes/list", "", ocitest.ImageOpts{Docker: true, Arch: "amd64"}, "gzip"),
		image("shapes/list", "", ocitest.ImageOpts{Docker: true, Arch: "arm64"}, "gzip"))
	b.Index("shapes/index", "v1", false,
		image("shapes/index", "", ocitest.ImageOpts{Arch: "amd64"}, "zstd"),
		image("shapes/index", "", ocitest.ImageOpts{Arch: "arm64"}, "gzip"))
	b.ZstdImage("shapes/zstd", "v1")
	b.ZeroLayerImage("shapes/zero", "v1")
	b.NestedIndex("shapes/nested", "v1")
	b.AttestationIndex("shapes/attestation", "v1")
	lone := image("shapes/referred", "", ocitest.ImageOpts{}, "gzip")
	b.Referrer("shapes/referred", lone, "application/x-sbom", "what is in it")
	return []string{
		"quay.io/shapes/docker:v1", "quay.io/shapes/oci:v1", "quay.io/shapes/list:v1", "quay.io/shapes/index:v1",
		"quay.io/shapes/zstd:v1", "quay.io/shapes/zero:v1", "quay.io/shapes/nested:v1", "quay.io/shapes/attestation:v1",
		"quay.io/shapes/referred@" + lone.Digest.String(),
	}
}

// tree is what a manifest or an index points to.
type tree struct {
	Config    *pointer
	Layers    []pointer
	Manifests []pointer
}

type pointer struct {
	Digest, MediaType string
	Size              int64
}

// blobs are the config and the layers.
func (n tree) blobs() []pointer {
	if n.Config == nil {
		return n.Layers
	}
	return append([]pointer{*n.Config}, n.Layers...)
}
