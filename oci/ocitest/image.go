package ocitest

import (
	"encoding/json"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ImageOpts are the parts of an image; the zero value is an OCI image for
// linux/amd64 without layers.
type ImageOpts struct {
	Docker       bool                 // Docker schema 2 instead of OCI; layers are renamed to Docker's media types
	Arch         string               // "" = amd64
	Layers       []ocispec.Descriptor // in the same repository
	Labels       map[string]string    // in the config
	Comment      string               // the config's one history entry; "" = none
	Config       *ocispec.Descriptor  // an own config, in the same repository, instead of one made from Arch and Labels
	Annotations  map[string]string    // OCI only, as are the following
	Subject      *ocispec.Descriptor  // by digest; the platform is left out
	ArtifactType string
}

// manifest has the fields of both kinds of image, in the order that is usual.
type manifest struct {
	specs.Versioned
	MediaType    string               `json:"mediaType"`
	ArtifactType string               `json:"artifactType,omitempty"`
	Config       ocispec.Descriptor   `json:"config"`
	Layers       []ocispec.Descriptor `json:"layers"`
	Subject      *ocispec.Descriptor  `json:"subject,omitempty"`
	Annotations  map[string]string    `json:"annotations,omitempty"`
}

// index has the fields of an index and of a manifest list.
type index struct {
	specs.Versioned
	MediaType   string               `json:"mediaType"`
	Manifests   []ocispec.Descriptor `json:"manifests"`
	Annotations map[string]string    `json:"annotations,omitempty"`
}

// Image pushes an image and returns its descriptor, with the platform; an empty
// tag leaves it without one.
func (b *Builder) Image(repo, tag string, opts ImageOpts) ocispec.Descriptor {
	platform := &ocispec.Platform{OS: "linux", Architecture: orElse(opts.Arch, "amd64")}
	m := manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: opts.ArtifactType,
		Layers:       make([]ocispec.Descriptor, len(opts.Layers)),
		Annotations:  opts.Annotations,
	}
	copy(m.Layers, opts.Layers)
	if opts.Docker {
		m.MediaType = DockerManifest
		renameLayers(m.Layers)
	}
	if opts.Subject != nil {
		subject := *opts.Subject
		subject.Platform = nil
		m.Subject = &subject
	}
	if opts.Config != nil {
		m.Config = *opts.Config
	} else {
		m.Config = b.config(repo, platform, opts)
	}
	d := b.manifest(repo, tag, m.MediaType, m)
	d.Platform = platform
	return d
}

// Index pushes an index, or for Docker a manifest list, of children that are in
// the same repository; their platforms are taken from the descriptors.
func (b *Builder) Index(repo, tag string, docker bool, children ...ocispec.Descriptor) ocispec.Descriptor {
	x := index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: append([]ocispec.Descriptor{}, children...),
	}
	if docker {
		x.MediaType = DockerList
	}
	return b.manifest(repo, tag, x.MediaType, x)
}

// manifest pushes an object as a manifest.
func (b *Builder) manifest(repo, ref, mediaType string, object any) ocispec.Descriptor {
	raw, err := json.Marshal(object)
	if !b.keep("write manifest", err) {
		return ocispec.Descriptor{}
	}
	return b.Raw(repo, ref, mediaType, raw)
}

// config pushes an image's config.
func (b *Builder) config(repo string, platform *ocispec.Platform, opts ImageOpts) ocispec.Descriptor {
	c := ocispec.Image{
		Platform: *platform,
		Config:   ocispec.ImageConfig{Labels: opts.Labels},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: b.diffIDs(opts.Layers)},
	}
	if opts.Comment != "" {
		c.History = []ocispec.History{{Comment: opts.Comment}}
	}
	raw, err := json.Marshal(c)
	if !b.keep("write config", err) {
		return ocispec.Descriptor{}
	}
	if opts.Docker {
		return b.blob(repo, DockerConfig, raw)
	}
	return b.blob(repo, ocispec.MediaTypeImageConfig, raw)
}

// diffIDs returns the digests of the layers unpacked. One that this builder did
// not pack counts as not compressed.
func (b *Builder) diffIDs(layers []ocispec.Descriptor) []digest.Digest {
	b.mu.Lock()
	defer b.mu.Unlock()
	ids := make([]digest.Digest, len(layers))
	for i, d := range layers {
		id, ok := b.unpacked[d.Digest]
		if !ok {
			id = d.Digest
		}
		ids[i] = id
	}
	return ids
}

// renameLayers gives layers Docker's media types; others keep theirs.
func renameLayers(layers []ocispec.Descriptor) {
	for i := range layers {
		switch layers[i].MediaType {
		case ocispec.MediaTypeImageLayerGzip:
			layers[i].MediaType = DockerLayer
		case ocispec.MediaTypeImageLayer:
			layers[i].MediaType = "application/vnd.docker.image.rootfs.diff.tar"
		case ocispec.MediaTypeImageLayerZstd:
			layers[i].MediaType = "application/vnd.docker.image.rootfs.diff.tar.zstd"
		}
	}
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
