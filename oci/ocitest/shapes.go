package ocitest

import (
	"encoding/json"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The shapes of images that are rare and legal.

// CosignLayer is the media type of cosign's simple signing payloads.
const CosignLayer = "application/vnd.dev.cosign.simplesigning.v1+json"

// ZstdImage pushes an OCI image of one zstd layer.
func (b *Builder) ZstdImage(repo, tag string) ocispec.Descriptor {
	layer := b.Layer(repo, map[string]string{"etc/motd": strings.Repeat("zstd\n", 100)}, "zstd")
	return b.Image(repo, tag, ImageOpts{Layers: []ocispec.Descriptor{layer}})
}

// ZeroLayerImage pushes an OCI image whose first layer is a blob of no bytes.
func (b *Builder) ZeroLayerImage(repo, tag string) ocispec.Descriptor {
	empty := b.blob(repo, ocispec.MediaTypeImageLayer, nil)
	layer := b.Layer(repo, map[string]string{"etc/motd": "after nothing\n"}, "gzip")
	return b.Image(repo, tag, ImageOpts{Layers: []ocispec.Descriptor{empty, layer}})
}

// NestedIndex pushes an index of an index of two images, and a third image.
func (b *Builder) NestedIndex(repo, tag string) ocispec.Descriptor {
	inner := b.Index(repo, "", false, b.tiny(repo, "amd64"), b.tiny(repo, "arm64"))
	return b.Index(repo, tag, false, inner, b.tiny(repo, "s390x"))
}

// AttestationIndex pushes an index of one image and its attestation, as
// buildkit writes it: a child of platform unknown/unknown that annotations tie
// to the image.
func (b *Builder) AttestationIndex(repo, tag string) ocispec.Descriptor {
	image := b.tiny(repo, "amd64")
	statement := b.blob(repo, "application/vnd.in-toto+json",
		[]byte(`{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://slsa.dev/provenance/v0.2"}`))
	attestation := b.Image(repo, "", ImageOpts{Arch: "unknown", Layers: []ocispec.Descriptor{statement}})
	attestation.Platform = &ocispec.Platform{OS: "unknown", Architecture: "unknown"}
	attestation.Annotations = map[string]string{
		"vnd.docker.reference.type":   "attestation-manifest",
		"vnd.docker.reference.digest": image.Digest.String(),
	}
	return b.Index(repo, tag, false, image, attestation)
}

// CosignSignature pushes what `cosign sign` leaves beside an image: the tag
// sha256-<hex>.sig on an OCI image of simple signing payloads. Two signatures
// are over the same payload, so that one layer's digest stands there twice.
// The signatures are made up.
func (b *Builder) CosignSignature(repo string, image digest.Digest) ocispec.Descriptor {
	payload := b.blob(repo, CosignLayer, []byte(`{"critical":{"identity":{"docker-reference":""},`+
		`"image":{"docker-manifest-digest":"`+image.String()+`"},"type":"cosign container image signature"},"optional":null}`))
	var layers []ocispec.Descriptor
	for _, signature := range []string{"Zmlyc3Q=", "c2Vjb25k"} {
		payload.Annotations = map[string]string{"dev.cosignproject.cosign/signature": signature}
		layers = append(layers, payload)
	}
	return b.Image(repo, fallbackTag(image)+".sig", ImageOpts{Layers: layers})
}

// Referrer pushes an artifact that refers to subject, which is in the same
// repository, and enters it in the index under the fallback tag sha256-<hex>,
// where clients look for referrers if the registry has no API for them. It
// returns the artifact.
func (b *Builder) Referrer(repo string, subject ocispec.Descriptor, artifactType, body string) ocispec.Descriptor {
	config := b.blob(repo, ocispec.MediaTypeEmptyJSON, []byte("{}"))
	d := b.Image(repo, "", ImageOpts{
		Config:       &config,
		Layers:       []ocispec.Descriptor{b.blob(repo, "text/plain", []byte(body))},
		Subject:      &subject,
		ArtifactType: artifactType,
	})
	d.Platform, d.ArtifactType = nil, artifactType
	b.enter(repo, fallbackTag(subject.Digest), d)
	return d
}

// enter adds a descriptor to the index at a tag, which it may have to begin.
func (b *Builder) enter(repo, tag string, d ocispec.Descriptor) {
	if b.Err() != nil {
		return
	}
	x := index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	_, raw, err := b.do("GET", b.at(repo, "manifests", tag), map[string][]string{"Accept": {acceptManifests}}, nil)
	switch {
	case missing(err):
	case err != nil:
		b.keep("read index "+repo+":"+tag, err)
		return
	default:
		if !b.keep("parse index "+repo+":"+tag, json.Unmarshal(raw, &x)) {
			return
		}
	}
	x.Manifests = append(x.Manifests, d)
	b.manifest(repo, tag, x.MediaType, x)
}

// tiny pushes an untagged image that tells its architecture.
func (b *Builder) tiny(repo, arch string) ocispec.Descriptor {
	layer := b.Layer(repo, map[string]string{"etc/arch": arch + "\n"}, "gzip")
	return b.Image(repo, "", ImageOpts{Arch: arch, Layers: []ocispec.Descriptor{layer}})
}

// fallbackTag is the referrers tag of the distribution spec, and the stem of
// cosign's.
func fallbackTag(dg digest.Digest) string {
	return strings.Replace(dg.String(), ":", "-", 1)
}
