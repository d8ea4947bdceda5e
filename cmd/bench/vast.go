package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const vastLayers = 25 // of an image, none shared

// vast measures how planning grows. The registry is simulated: it has manifests
// and configs, and says that it has all layers.
func (b *bench) vast() error {
	server := httptest.NewServer(http.HandlerFunc(vastAnswer))
	defer server.Close()
	host := server.Listener.Addr().String()
	b.printf("\n## A vast plan\n\n| images | blobs | seconds | peak MiB |\n|---|---|---|---|\n")
	for _, images := range []int{500, 1000, 2000} {
		var lines []byte
		for i := range images {
			lines = fmt.Appendf(lines, "%s/vast/image:v%d\n", host, i)
		}
		if err := os.WriteFile(b.path("vast.txt"), lines, 0o644); err != nil {
			return err
		}
		results, err := b.contest([]task{{program: "airlift export --dry-run", args: []string{
			b.airlift, "export", "--images-file", b.path("vast.txt"), "--insecure-registry", host, "--unsigned", "--dry-run", "--output", b.path("never"),
		}}})
		if err != nil {
			return err
		}
		b.printf("| %d | %d | %.2f | %.0f |\n", images, images*(vastLayers+1), seconds(results[0]),
			float64(median(results[0], func(f figures) int64 { return f.peak }))/(1<<20))
	}
	return nil
}

// vastAnswer is the simulated registry.
func vastAnswer(w http.ResponseWriter, r *http.Request) {
	path, asked := strings.TrimPrefix(r.URL.Path, "/v2/"), ""
	if at := strings.LastIndexByte(path, '/'); at >= 0 {
		asked = path[at+1:]
	}
	var body []byte
	switch {
	case r.URL.Path == "/v2/":
	case strings.Contains(path, "/manifests/v"):
		body = vastManifest(asked)
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		w.Header().Set("Docker-Content-Digest", digest.FromBytes(body).String())
	case strings.Contains(path, "/blobs/"):
		name, known := vastConfigs[asked]
		if !known {
			return // a layer, of any size
		}
		body = vastConfig(name)
	default:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	_, _ = w.Write(body)
}

// vastConfigs are the configs by digest.
var vastConfigs = map[string]string{}

func init() {
	for i := range 2000 {
		name := fmt.Sprintf("v%d", i)
		vastConfigs[digest.FromBytes(vastConfig(name)).String()] = name
	}
}

func vastConfig(name string) []byte {
	return fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","config":{"Labels":{"name":%q}},"rootfs":{"type":"layers","diff_ids":[]}}`, name)
}

func vastManifest(name string) []byte {
	config := vastConfig(name)
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))},
	}
	for i := range vastLayers {
		d := digest.NewDigestFromBytes(digest.SHA256, sum(fmt.Sprintf("%s %d", name, i)))
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: d, Size: 1 << 20})
	}
	raw, _ := json.Marshal(m) // nothing in it can fail
	return raw
}

func sum(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}
