package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"unique"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Limits of what is taken from a registry.
const (
	MaxNodeSize = 4 << 20 // bytes of a manifest or index; what the distribution spec asks registries to take
	MaxBlobSize = 1 << 40 // bytes; registries stop far below
)

// Media types of Docker's own manifests; layers and configs are of no interest
// here.
const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	schema1        = "application/vnd.docker.distribution.manifest.v1+json"
	schema1Signed  = "application/vnd.docker.distribution.manifest.v1+prettyjws"
)

// errSchema1 is an image in the format that came before digests of content.
var errSchema1 = errors.New("an image of Docker schema 1, which is not supported: have it pushed again by a current tool")

// Node is a manifest or an index, byte for byte, with what it points to.
type Node struct {
	Descriptor   ocispec.Descriptor   // MediaType, Digest of Raw, Size
	Raw          []byte               // as the registry sent it
	Config       *ocispec.Descriptor  // nil for an index
	Layers       []Layer              // in order, repeats kept
	Children     []ocispec.Descriptor // of an index, in order, with Platform
	Subject      *ocispec.Descriptor  // what this is attached to, or nil
	ArtifactType string
}

// Layer is what is kept of an image's word on one of its layers, of which there may be
// very many: its annotations are read where they are wanted.
type Layer struct {
	MediaType string
	Digest    digest.Digest
	Size      int64 // bytes
}

// Descriptor is a layer as content to be fetched.
func (l Layer) Descriptor() ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size}
}

// ParseNode reads a manifest or index of OCI, or of Docker schema 2. The media
// type is the one that it came with; with an empty one the body tells.
//
// It is strict: what has other digests than sha256, sizes outside of
// 0…MaxBlobSize, a key twice, anything after the object, a media type that
// contradicts the one it came with, or the parts of both an image and an index
// is refused, and so is Docker schema 1.
func ParseNode(mediaType string, raw []byte) (Node, error) {
	n, err := parseNode(mediaType, raw)
	if err != nil {
		return Node{}, fmt.Errorf("parse manifest: %w", err)
	}
	return n, nil
}

func parseNode(mediaType string, raw []byte) (Node, error) {
	if len(raw) > MaxNodeSize {
		return Node{}, fmt.Errorf("larger than %d bytes", MaxNodeSize)
	}
	if isSchema1(mediaType) {
		return Node{}, errSchema1
	}
	if err := CheckJSON(raw); err != nil {
		return Node{}, err
	}
	o, err := parseObject(raw)
	if err != nil {
		return Node{}, err
	}
	if err := o.checkSpelling("config", "layers", "manifests"); err != nil {
		return Node{}, err // what is not read of this kind must not be there either
	}
	if mediaType, err = o.mediaType(mediaType); err != nil {
		return Node{}, err
	}
	n := Node{Raw: raw, Descriptor: ocispec.Descriptor{
		MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw)),
	}}
	return n, n.parse(o)
}

// mediaType holds the type that came with an object against its own words.
func (o object) mediaType(came string) (string, error) {
	version, own := 0, ""
	if err := errors.Join(o.read("schemaVersion", &version), o.read("mediaType", &own)); err != nil {
		return "", err
	}
	switch kind, _, err := mime.ParseMediaType(came); {
	case came != "" && err != nil:
		return "", fmt.Errorf("media type %q: not one", clean(came))
	case version == 1 || isSchema1(own):
		return "", errSchema1
	case version != 2:
		return "", fmt.Errorf("schemaVersion is %d, not 2", version)
	case kind != "" && own != "" && kind != own:
		return "", fmt.Errorf("it came as %q and says of itself %q", clean(kind), clean(own))
	case kind != "":
		return kind, nil
	case own != "":
		return own, nil
	case o.has("manifests"):
		return ocispec.MediaTypeImageIndex, nil
	case o.has("config"):
		return ocispec.MediaTypeImageManifest, nil
	}
	return "", errors.New("neither an image nor an index")
}

func isSchema1(mediaType string) bool {
	kind, _, _ := mime.ParseMediaType(mediaType)
	return kind == schema1 || kind == schema1Signed
}

func isIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == dockerList
}

// parse reads what the node points to.
func (n *Node) parse(o object) error {
	if err := o.read("artifactType", &n.ArtifactType); err != nil {
		return err
	}
	var err error
	if n.Subject, err = o.descriptor("subject"); err != nil {
		return err
	}
	switch kind := n.Descriptor.MediaType; {
	case isIndex(kind):
		if o.has("config") || o.has("layers") {
			return errors.New("an index with the config or layers of an image")
		}
		n.Children, err = o.descriptors("manifests")
		return err
	case kind == ocispec.MediaTypeImageManifest || kind == dockerManifest:
		return n.parseImage(o)
	default:
		return fmt.Errorf("media type %q is not supported", clean(kind))
	}
}

func (n *Node) parseImage(o object) error {
	if o.has("manifests") {
		return errors.New("an image with the children of an index")
	}
	var err error
	if n.Config, err = o.descriptor("config"); err != nil {
		return err
	}
	if n.Config == nil {
		return errors.New("an image without a config")
	}
	layers, err := o.descriptors("layers")
	if err != nil {
		return err
	}
	n.Layers = make([]Layer, len(layers))
	for i, d := range layers {
		n.Layers[i] = Layer{unique.Make(d.MediaType).Value(), d.Digest, d.Size} // images have few types
	}
	return nil
}

// descriptors reads a list; none if the key is not there.
func (o object) descriptors(key string) ([]ocispec.Descriptor, error) {
	var list []json.RawMessage
	if err := o.read(key, &list); err != nil {
		return nil, err
	}
	var all []ocispec.Descriptor
	for i, raw := range list {
		d, err := parseDescriptor(raw)
		if err != nil {
			return nil, fmt.Errorf("%s %d: %w", key, i+1, err)
		}
		all = append(all, d)
	}
	return all, nil
}

// descriptor reads one; nil if the key is not there.
func (o object) descriptor(key string) (*ocispec.Descriptor, error) {
	var raw json.RawMessage
	if err := o.read(key, &raw); err != nil || raw == nil {
		return nil, err
	}
	d, err := parseDescriptor(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return &d, nil
}

func parseDescriptor(raw []byte) (d ocispec.Descriptor, err error) {
	o, err := parseObject(raw)
	if err != nil {
		return d, err
	}
	if d.Platform, err = o.platform(); err != nil {
		return d, err
	}
	err = o.readAll([]field{
		{"mediaType", &d.MediaType}, {"digest", &d.Digest}, {"size", &d.Size}, {"urls", &d.URLs},
		{"annotations", &d.Annotations}, {"data", &d.Data}, {"artifactType", &d.ArtifactType},
	})
	if err != nil {
		return d, err
	}
	switch {
	case !o.has("size"):
		return d, errors.New("no size")
	case d.Size < 0 || d.Size > MaxBlobSize:
		return d, fmt.Errorf("size %d is outside of 0…%d", d.Size, int64(MaxBlobSize))
	case clean(d.MediaType) != d.MediaType:
		return d, fmt.Errorf("media type %q: not one", clean(d.MediaType))
	}
	return d, checkDigest(d.Digest)
}

// platform reads a descriptor's platform; nil if it has none.
func (o object) platform() (*ocispec.Platform, error) {
	var raw json.RawMessage
	if err := o.read("platform", &raw); err != nil || raw == nil {
		return nil, err
	}
	inner, err := parseObject(raw)
	if err != nil {
		return nil, fmt.Errorf("platform: %w", err)
	}
	var p ocispec.Platform
	return &p, inner.readAll([]field{
		{"architecture", &p.Architecture}, {"os", &p.OS}, {"os.version", &p.OSVersion},
		{"os.features", &p.OSFeatures}, {"variant", &p.Variant},
	})
}
