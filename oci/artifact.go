package oci

import (
	"cmp"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Artifact is the media type of what a manifest holds that is no image to run: its
// own word for it, else that of its config, else that of a layer, such as a
// signature's. It is "" of an image, and of an index without a word for it.
func (n Node) Artifact() string {
	if n.ArtifactType != "" || n.Config == nil {
		return n.ArtifactType
	}
	if kind := n.Config.MediaType; kind != ocispec.MediaTypeImageConfig && kind != dockerConfig {
		return cmp.Or(kind, "a config without a type")
	}
	for _, layer := range n.Layers {
		if !isLayer(layer.MediaType) {
			return cmp.Or(layer.MediaType, "a layer without a type")
		}
	}
	return ""
}

const dockerConfig = "application/vnd.docker.container.image.v1+json"

// isLayer says whether a media type is that of a file system's layer.
func isLayer(mediaType string) bool {
	return strings.HasPrefix(mediaType, "application/vnd.oci.image.layer.") || strings.HasPrefix(mediaType, "application/vnd.docker.image.rootfs.")
}
