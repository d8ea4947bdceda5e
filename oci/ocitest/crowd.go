package ocitest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// CrowdLayers is how many layers an image of a [Crowd] has, which no other one has.
const CrowdLayers = 25

// Crowd is a registry of as many images as are asked for: whatever tag that begins
// with v names one, in any repository. It keeps nothing, has their manifests alone,
// and lists no tags.
type Crowd struct{}

func (Crowd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest, tag := path.Split(r.URL.Path)
	switch {
	case r.URL.Path == "/v2/":
	case strings.HasSuffix(rest, "/manifests/") && strings.HasPrefix(tag, "v"):
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		_, _ = w.Write(crowdManifest(tag)) // the client may have gone
	default:
		http.NotFound(w, r)
	}
}

func crowdManifest(name string) []byte {
	blob := func(mediaType, seed string) ocispec.Descriptor {
		return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromString(seed), Size: int64(len(seed))}
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: blob(ocispec.MediaTypeImageConfig, name),
	}
	for i := range CrowdLayers {
		m.Layers = append(m.Layers, blob(ocispec.MediaTypeImageLayerGzip, fmt.Sprintf("%s %d", name, i)))
	}
	raw, err := json.Marshal(m)
	if err != nil {
		panic(err) // nothing in it can fail
	}
	return raw
}
