package oci

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"mime"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Limits of what registries serve.
const (
	MaxNodeSize = 4 << 20 // bytes of a manifest or index; what distribution takes at most
	MaxBlobSize = 1 << 40 // bytes
)

// Docker's media types of what OCI has too.
const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	schema1        = "application/vnd.docker.distribution.manifest.v1+json"
	schema1Signed  = "application/vnd.docker.distribution.manifest.v1+prettyjws"
)

// Node is a manifest or an index, byte for byte, with what it points to.
type Node struct {
	Descriptor   ocispec.Descriptor // its media type, and digest and size of Raw
	Raw          []byte
	Config       *ocispec.Descriptor  // nil for an index
	Layers       []ocispec.Descriptor // in order, repeats kept
	Children     []ocispec.Descriptor // of an index, in order
	Subject      *ocispec.Descriptor  // what it is attached to, or nil
	ArtifactType string
}

// ParseNode reads a manifest or index. mediaType is what the registry called
// it; where that is none of the known types, the body decides.
func ParseNode(mediaType string, raw []byte) (Node, error) {
	if len(raw) > MaxNodeSize {
		return Node{}, fmt.Errorf("manifest of more than %d bytes", MaxNodeSize)
	}
	if err := CheckJSON(raw); err != nil {
		return Node{}, fmt.Errorf("parse manifest: %w", err)
	}
	var body nodeBody
	if err := json.Unmarshal(raw, &body); err != nil {
		return Node{}, fmt.Errorf("parse manifest: %w", err)
	}
	kind, err := body.kind(mediaType)
	if err != nil {
		return Node{}, err
	}
	n := Node{
		Descriptor: ocispec.Descriptor{MediaType: kind, Digest: digest.FromBytes(raw), Size: int64(len(raw))},
		Raw:        raw, Config: body.Config, Layers: body.Layers, Children: body.Manifests, Subject: body.Subject, ArtifactType: body.ArtifactType,
	}
	return n, n.check()
}

// nodeBody is what manifests and indexes of both families say.
type nodeBody struct {
	SchemaVersion int                  `json:"schemaVersion"`
	MediaType     string               `json:"mediaType"`
	ArtifactType  string               `json:"artifactType"`
	Config        *ocispec.Descriptor  `json:"config"`
	Layers        []ocispec.Descriptor `json:"layers"`
	Manifests     []ocispec.Descriptor `json:"manifests"`
	Subject       *ocispec.Descriptor  `json:"subject"`
}

// kind decides the media type. Header and body must not disagree: a digest
// pins the bytes, and not how they are read.
func (b nodeBody) kind(header string) (string, error) {
	if parsed, _, err := mime.ParseMediaType(header); err == nil {
		header = parsed
	}
	if b.SchemaVersion == 1 || header == schema1 || header == schema1Signed {
		return "", errors.New("the image has a manifest of schema 1, which is not supported: no registry of today takes it")
	}
	if !isNode(header) {
		header = ""
	}
	if header != "" && b.MediaType != "" && header != b.MediaType {
		return "", fmt.Errorf("the manifest is %.100q and was served as %.100q", b.MediaType, header)
	}
	kind := cmp.Or(header, b.MediaType)
	switch {
	case kind == "" && b.Manifests != nil:
		return ocispec.MediaTypeImageIndex, nil
	case kind == "" && b.Config != nil:
		return ocispec.MediaTypeImageManifest, nil
	case !isNode(kind):
		return "", fmt.Errorf("media type %.100q is not that of an image or an index", kind)
	}
	return kind, nil
}

func isNode(mediaType string) bool {
	switch mediaType {
	case dockerManifest, dockerList, ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex:
		return true
	}
	return false
}

func (n Node) isIndex() bool {
	return n.Descriptor.MediaType == dockerList || n.Descriptor.MediaType == ocispec.MediaTypeImageIndex
}

// check holds what a node points to against the rules of its kind.
func (n Node) check() error {
	switch {
	case n.isIndex() && (n.Config != nil || n.Layers != nil):
		return errors.New("an index with a config or layers")
	case !n.isIndex() && n.Children != nil:
		return errors.New("an image manifest that lists manifests")
	case !n.isIndex() && n.Config == nil:
		return errors.New("an image manifest without a config")
	}
	if n.Config != nil {
		if err := checkDescriptor(*n.Config, MaxBlobSize); err != nil {
			return fmt.Errorf("config: %w", err)
		}
	}
	for i, layer := range n.Layers {
		if err := checkDescriptor(layer, MaxBlobSize); err != nil {
			return fmt.Errorf("layer %d: %w", i+1, err)
		}
	}
	for i, child := range n.Children {
		if err := checkDescriptor(child, MaxNodeSize); err != nil {
			return fmt.Errorf("manifest %d of the index: %w", i+1, err)
		}
	}
	return nil
}

func checkDescriptor(d ocispec.Descriptor, maxSize int64) error {
	switch {
	case !digestPattern.MatchString(string(d.Digest)):
		return fmt.Errorf("%.100q is not a sha256 digest", string(d.Digest))
	case d.Size < 0 || d.Size > maxSize:
		return fmt.Errorf("size %d of %s is outside of 0…%d", d.Size, d.Digest, maxSize)
	}
	return nil
}
