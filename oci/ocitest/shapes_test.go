package ocitest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// shapes builds one of each, under the tag "it" of a repository of its name.
var shapes = map[string]func(b *Builder, repo string) ocispec.Descriptor{
	"docker": func(b *Builder, repo string) ocispec.Descriptor {
		layers := []ocispec.Descriptor{
			b.Layer(repo, map[string]string{"etc/a": "1", "etc/b": "2"}, "gzip"),
			b.RandomLayer(repo, "docker", 5000),
		}
		return b.Image(repo, "it", ImageOpts{Docker: true, Layers: layers, Labels: map[string]string{"k": "v"}})
	},
	"oci": func(b *Builder, repo string) ocispec.Descriptor {
		layers := []ocispec.Descriptor{
			b.Layer(repo, map[string]string{"etc/a": "1"}, "tar"),
			b.LayerOf(repo, []File{{Name: "etc/"}, {Name: "etc/link", Link: "a"}, {Name: "etc/.wh.a"}}, "gzip"),
		}
		return b.Image(repo, "it", ImageOpts{Arch: "arm64", Layers: layers, Annotations: map[string]string{"k": "v"}})
	},
	"list": func(b *Builder, repo string) ocispec.Descriptor {
		amd := b.Image(repo, "", ImageOpts{Docker: true})
		arm := b.Image(repo, "", ImageOpts{Docker: true, Arch: "arm64"})
		return b.Index(repo, "it", true, amd, arm)
	},
	"zstd":        func(b *Builder, repo string) ocispec.Descriptor { return b.ZstdImage(repo, "it") },
	"zero":        func(b *Builder, repo string) ocispec.Descriptor { return b.ZeroLayerImage(repo, "it") },
	"nested":      func(b *Builder, repo string) ocispec.Descriptor { return b.NestedIndex(repo, "it") },
	"attestation": func(b *Builder, repo string) ocispec.Descriptor { return b.AttestationIndex(repo, "it") },
	"cosign": func(b *Builder, repo string) ocispec.Descriptor {
		d := b.tiny(repo, "amd64")
		return b.CosignSignature(repo, d.Digest)
	},
	"referrer": func(b *Builder, repo string) ocispec.Descriptor {
		d := b.tiny(repo, "amd64")
		b.Referrer(repo, d, "application/x-sbom", "one")
		return b.Referrer(repo, d, "application/x-note", "two")
	},
}

func TestShapesComeBackWithEqualBytes(t *testing.T) {
	b := StartRegistry(t).Builder()
	for name, build := range shapes {
		t.Run(name, func(t *testing.T) {
			d := build(b, name)
			if err := b.Err(); err != nil {
				t.Fatal(err)
			}
			walk(t, b, name, d)
			for _, tag := range b.Tags(name) {
				mediaType, raw := b.Manifest(name, tag)
				walk(t, b, name, describe(mediaType, raw))
			}
			if b.Err() != nil {
				t.Fatal(b.Err())
			}
		})
	}
}

// node has what manifests and indexes point to.
type node struct {
	MediaType string
	Config    *ocispec.Descriptor
	Layers    []ocispec.Descriptor
	Manifests []ocispec.Descriptor
	Subject   *ocispec.Descriptor
}

// walk reads everything below d back and compares media types, sizes and
// digests.
func walk(t *testing.T, b *Builder, repo string, d ocispec.Descriptor) {
	t.Helper()
	n, got := readNode(t, b, repo, d.Digest.String())
	same(t, d, got)
	for _, child := range n.Manifests {
		walk(t, b, repo, child)
	}
	blobs := n.Layers
	if n.Config != nil {
		blobs = append(blobs, *n.Config)
	}
	for _, blob := range blobs {
		same(t, blob, describe(blob.MediaType, b.BlobBytes(repo, blob.Digest)))
	}
}

func same(t *testing.T, want, got ocispec.Descriptor) {
	t.Helper()
	if got.MediaType != want.MediaType || got.Digest != want.Digest || got.Size != want.Size {
		t.Errorf("came back as %s %s of %d bytes, pushed as %s %s of %d",
			got.MediaType, got.Digest, got.Size, want.MediaType, want.Digest, want.Size)
	}
}

func readNode(t *testing.T, b *Builder, repo, ref string) (node, ocispec.Descriptor) {
	t.Helper()
	mediaType, raw := b.Manifest(repo, ref)
	var n node
	if err := json.Unmarshal(raw, &n); err != nil {
		t.Fatalf("%s:%s: %v (%v)", repo, ref, err, b.Err())
	}
	if n.MediaType != mediaType {
		t.Errorf("%s says it is %q, and is served as %q", ref, n.MediaType, mediaType)
	}
	return n, describe(mediaType, raw)
}

func TestShapesAreWhatTheyAreCalled(t *testing.T) {
	b := StartRegistry(t).Builder()
	built := map[string]ocispec.Descriptor{}
	nodes := map[string]node{}
	for name, build := range shapes {
		built[name] = build(b, name)
		nodes[name], _ = readNode(t, b, name, built[name].Digest.String())
	}
	if l := nodes["cosign"].Layers; len(l) != 2 || l[0].Digest != l[1].Digest || l[0].MediaType != CosignLayer {
		t.Errorf("layers of a cosign signature: %v", l)
	}
	if tags := b.Tags("cosign"); len(tags) != 1 || len(tags[0]) != len("sha256-")+64+len(".sig") {
		t.Errorf("tags beside a cosign signature: %v", tags)
	}
	if d := nodes["zero"].Layers[0]; d.Size != 0 || d.Digest != digest.FromString("") {
		t.Errorf("zero-byte layer: %v", d)
	}
	if d := nodes["zstd"].Layers[0]; d.MediaType != ocispec.MediaTypeImageLayerZstd {
		t.Errorf("zstd layer: %v", d)
	}
	if d := nodes["docker"].Layers[0]; d.MediaType != DockerLayer || built["docker"].MediaType != DockerManifest {
		t.Errorf("Docker layer: %v", d)
	}
	if d := nodes["nested"].Manifests[0]; d.MediaType != ocispec.MediaTypeImageIndex || d.Platform != nil {
		t.Errorf("index in an index: %v", d)
	}
	if d := nodes["attestation"].Manifests[1]; d.Platform.OS != "unknown" || d.Annotations["vnd.docker.reference.type"] == "" {
		t.Errorf("attestation: %v", d)
	}
	subject := nodes["referrer"].Subject
	if subject == nil || subject.Platform != nil {
		t.Fatalf("subject of a referrer: %v", subject)
	}
	fallback, _ := readNode(t, b, "referrer", fallbackTag(subject.Digest))
	if l := fallback.Manifests; len(l) != 2 || l[1].Digest != built["referrer"].Digest || l[1].ArtifactType != "application/x-note" {
		t.Errorf("fallback index of referrers: %v", l)
	}
}

func TestBytesAreTheSameEveryTime(t *testing.T) {
	first, second := embedded(t), embedded(t)
	for name, build := range shapes {
		if a, b := build(first, name), build(second, name); a.Digest != b.Digest {
			t.Errorf("%s is %s once and %s then", name, a.Digest, b.Digest)
		}
	}
	// Written down, so that a compressor or an encoder that changes is noticed.
	want := map[string]digest.Digest{
		"docker": "sha256:7e49b04e575f2b085ac2bbb954f614abd77b7fc4cc887e3e1e82244ffa5f4f9e",
		"zstd":   "sha256:c08ed87f7f452f78f54bc91044763037f4117b4c1afc204904445223c1013bdc",
		"nested": "sha256:b8591edf65e6e0401223526cf46ecce39db29b120b75b062503dc7272eea19a5",
	}
	for name, dg := range want {
		if got := shapes[name](first, name).Digest; got != dg {
			t.Errorf("%s is %s, and was %s", name, got, dg)
		}
	}
	if first.RandomLayer("r", "a", 10).Digest == first.RandomLayer("r", "b", 10).Digest {
		t.Error("two seeds gave one layer")
	}
}

// Another implementation must be able to read what is built.
func TestSkopeoReadsImages(t *testing.T) {
	skopeo := Program(t, "skopeo")
	r := StartRegistry(t)
	b := r.Builder()
	for _, name := range []string{"docker", "oci", "zstd", "list"} {
		shapes[name](b, name)
		dir := t.TempDir()
		args := []string{
			"--insecure-policy", "--override-os=linux", "--override-arch=amd64", "copy", "--src-tls-verify=false", "--all",
			"docker://" + r.Host + "/" + name + ":it", "oci:" + dir + ":it",
		}
		if out, err := exec.Command(skopeo, args...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
}

func TestConfigsNameTheUnpackedLayers(t *testing.T) {
	b := embedded(t)
	for _, name := range []string{"docker", "oci", "zstd", "zero"} {
		shapes[name](b, name)
		n, _ := readNode(t, b, name, "it")
		var config ocispec.Image
		if err := json.Unmarshal(b.BlobBytes(name, n.Config.Digest), &config); err != nil {
			t.Fatal(err)
		}
		for i, layer := range n.Layers {
			unpacked := digest.FromBytes(unpack(t, layer, b.BlobBytes(name, layer.Digest)))
			if config.RootFS.DiffIDs[i] != unpacked {
				t.Errorf("%s: layer %d is %s unpacked, its diff id %s", name, i, unpacked, config.RootFS.DiffIDs[i])
			}
		}
	}
}

// unpack takes the compression off a layer, by its media type.
func unpack(t *testing.T, d ocispec.Descriptor, data []byte) []byte {
	t.Helper()
	var r io.Reader = bytes.NewReader(data)
	var err error
	switch {
	case strings.HasSuffix(d.MediaType, "gzip"):
		r, err = gzip.NewReader(r)
	case strings.HasSuffix(d.MediaType, "zstd"):
		var z *zstd.Decoder
		z, err = zstd.NewReader(r)
		t.Cleanup(z.Close)
		r = z
	}
	if err != nil {
		t.Fatal(err)
	}
	data, err = io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestBuilderKeepsTheFirstError(t *testing.T) {
	r := StartRegistry(t)
	b := r.Builder()
	absent := describe(ocispec.MediaTypeImageLayer, []byte("never pushed"))
	b.Image("repo", "it", ImageOpts{Layers: []ocispec.Descriptor{absent}})
	first := b.Err()
	if first == nil {
		t.Fatal("an image without its layer was pushed")
	}
	b.Layer("repo", nil, "lzma")
	b.Blob("later", []byte("later"))
	if b.Err() != first {
		t.Errorf("the error became %v", b.Err())
	}
	if repos := r.Builder().Repositories(); slices.Contains(repos, "later") {
		t.Error("work went on after the error")
	}
}

func TestDeletedLayerIsMadeAgain(t *testing.T) {
	b := StartRegistry(t).Builder()
	d := b.RandomLayer("repo", "seed", 100)
	b.DeleteBlob("repo", d.Digest)
	b.RandomLayer("repo", "seed", 100)
	b.RandomLayer("other", "seed", 100)
	for _, repo := range []string{"repo", "other"} {
		same(t, d, describe(d.MediaType, b.BlobBytes(repo, d.Digest)))
	}
	if b.Err() != nil {
		t.Error(b.Err())
	}
}

func TestDeletedIsGone(t *testing.T) {
	r := StartRegistry(t)
	b := r.Builder()
	blob := b.Blob("repo", []byte("bytes"))
	image := b.Image("repo", "it", ImageOpts{})
	b.DeleteBlob("repo", blob.Digest)
	b.DeleteManifest("repo", image.Digest)
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	if tags := b.Tags("repo"); len(tags) != 0 {
		t.Errorf("tags left: %v", tags)
	}
	b.BlobBytes("repo", blob.Digest)
	if !missing(b.Err()) {
		t.Errorf("reading a deleted blob: %v", b.Err())
	}
}

func embedded(t *testing.T) *Builder {
	t.Helper()
	host, stop, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return NewBuilder(host)
}
