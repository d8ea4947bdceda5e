package oci_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci"
	"airlift/oci/ocitest"
)

func embedded(t *testing.T) string {
	t.Helper()
	host, stop, err := ocitest.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return host
}

func TestReadFiles(t *testing.T) {
	host := embedded(t)
	b := ocitest.NewBuilder(host)
	layer := func(codec string, files ...ocitest.File) ocispec.Descriptor { return b.LayerOf("a", files, codec) }
	file := func(name, body string) ocitest.File { return ocitest.File{Name: name, Body: body} }
	below := layer("gzip", file("d/one", "1"), file("d/two", "2"), file("e/three", "3"), file("four", "4"))
	for name, c := range map[string]struct {
		layers []ocispec.Descriptor
		want   string // of d/one d/two e/three four, in this order, - if absent
	}{
		"one layer":                {[]ocispec.Descriptor{below}, "1 2 3 4"},
		"no layers":                {nil, "- - - -"},
		"zstd above":               {[]ocispec.Descriptor{below, layer("zstd", file("d/one", "new"))}, "new 2 3 4"},
		"plain tar above":          {[]ocispec.Descriptor{below, layer("tar", file("./d/one", "new"), file("/four", "new"))}, "new 2 3 new"},
		"empty layer above":        {[]ocispec.Descriptor{below, layer("tar")}, "1 2 3 4"},
		"whiteout":                 {[]ocispec.Descriptor{below, layer("gzip", file("d/.wh.one", ""))}, "- 2 3 4"},
		"whiteout of a directory":  {[]ocispec.Descriptor{below, layer("gzip", file(".wh.d", ""))}, "- - 3 4"},
		"opaque directory":         {[]ocispec.Descriptor{below, layer("zstd", file("d/.wh..wh..opq", ""), file("d/two", "new"))}, "- new 3 4"},
		"opaque root":              {[]ocispec.Descriptor{below, layer("gzip", file(".wh..wh..opq", ""))}, "- - - -"},
		"whiteout, then new above": {[]ocispec.Descriptor{below, layer("gzip", file(".wh.d", "")), layer("tar", file("d/one", "new"))}, "new - 3 4"},
		"whiteout and file in one": {[]ocispec.Descriptor{below, layer("gzip", file("d/one", "new"), file("d/.wh.one", ""))}, "new 2 3 4"},
		"whiteout of another":      {[]ocispec.Descriptor{below, layer("gzip", file("d/.wh.on", ""), file(".wh.fou", ""), file("x/.wh.four", ""))}, "1 2 3 4"},
		"twice in one layer":       {[]ocispec.Descriptor{layer("gzip", file("four", "old"), file("four", "new"))}, "- - - new"},
		"a link in its place":      {[]ocispec.Descriptor{below, layer("gzip", ocitest.File{Name: "four", Link: "d/one"})}, "1 2 3 -"},
		"a link over a directory":  {[]ocispec.Descriptor{below, layer("gzip", ocitest.File{Name: "d", Link: "e"})}, "- - 3 4"},
		"a directory above it":     {[]ocispec.Descriptor{below, layer("gzip", ocitest.File{Name: "d/"})}, "1 2 3 4"},
		"a directory in its place": {[]ocispec.Descriptor{below, layer("gzip", ocitest.File{Name: "four/"})}, "1 2 3 -"},
		"file, then link, in one":  {[]ocispec.Descriptor{layer("gzip", file("four", "old"), ocitest.File{Name: "four", Link: "x"})}, "- - - -"},
		"the same layer twice":     {[]ocispec.Descriptor{below, below}, "1 2 3 4"},
	} {
		t.Run(name, func(t *testing.T) {
			d := b.Image("a", "x", ocitest.ImageOpts{Layers: c.layers})
			built(t, b)
			client := client(t, host)
			n, err := client.Node(background, parse(t, host+"/a@"+string(d.Digest)))
			if err != nil {
				t.Fatal(err)
			}
			paths := []string{"d/one", "d/two", "e/three", "four"}
			got, err := client.ReadFiles(background, parse(t, host+"/a"), n, paths, 100)
			if err != nil {
				t.Fatal(err)
			}
			var words []string
			for _, p := range paths {
				if body, found := got[p]; found {
					words = append(words, string(body))
				} else {
					words = append(words, "-")
				}
			}
			if s := strings.Join(words, " "); s != c.want {
				t.Errorf("got %s, want %s", s, c.want)
			}
		})
	}
}

// ofLayers is an image with layers that were pushed.
func ofLayers(all ...ocispec.Descriptor) (n oci.Node) {
	for _, d := range all {
		n.Layers = append(n.Layers, oci.Layer{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size})
	}
	return n
}

// Layers below the last that is needed are not fetched.
func TestReadFilesStops(t *testing.T) {
	host := embedded(t)
	b := ocitest.NewBuilder(host)
	absent := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: someDigest, Size: 10}
	top := b.Layer("a", map[string]string{"x": "1", ".wh.y": ""}, "gzip")
	built(t, b)
	c := client(t, host)
	r := parse(t, host+"/a")
	got, err := c.ReadFiles(background, r, ofLayers(absent, top), []string{"/x", "y"}, 10)
	if err != nil || len(got) != 1 || string(got["/x"]) != "1" {
		t.Errorf("got %q, %v", got, err)
	}
	_, err = c.ReadFiles(background, r, ofLayers(absent, top), []string{"z"}, 10)
	if !oci.IsMissing(err) {
		t.Errorf("got %v", err)
	}
}

func TestReadFilesRefuses(t *testing.T) {
	host := embedded(t)
	b := ocitest.NewBuilder(host)
	good := b.Layer("a", map[string]string{"x": "12345"}, "gzip")
	data := b.BlobBytes("a", good.Digest)
	notTar := b.Blob("a", bytesOf(5000))
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write([]byte("no tar, but long enough to be read as one" + strings.Repeat(".", 600)))
	w.Close()
	notTarInside := b.Blob("a", packed.Bytes())
	cut := b.Blob("a", data[:len(data)/2])
	notZstd := b.Blob("a", append([]byte{0x28, 0xb5, 0x2f, 0xfd}, bytesOf(100)...))
	built(t, b)
	for _, c := range []struct {
		layer  ocispec.Descriptor
		limit  int64
		reason string
	}{
		{good, 4, "more than 4 bytes"}, {notTar, 10, "tar"}, {notTarInside, 10, "tar"}, {cut, 10, "EOF"}, {notZstd, 10, ""},
	} {
		got, err := client(t, host).ReadFiles(background, parse(t, host+"/a"), ofLayers(c.layer), []string{"x"}, c.limit)
		if err == nil {
			t.Errorf("read %q", got)
			continue
		}
		wantError(t, err, c.reason)
		wantError(t, err, string(c.layer.Digest))
	}
	if got, err := client(t, host).ReadFiles(background, parse(t, host+"/a"), ofLayers(good), []string{"x"}, 5); err != nil || string(got["x"]) != "12345" {
		t.Errorf("a file of just the limit: %q, %v", got, err)
	}
}

// A layer whose digest is wrong gives no files, wherever the damage is: behind
// the file, in the compression, in what follows the tar.
func TestReadFilesChecksDigest(t *testing.T) {
	host := embedded(t)
	b := ocitest.NewBuilder(host)
	for _, codec := range []string{"tar", "gzip", "zstd"} {
		layer := b.LayerOf("a", []ocitest.File{{Name: "x", Body: "1"}, {Name: "y", Body: string(bytesOf(3000))}}, codec)
		built(t, b)
		for at := int64(0); at < layer.Size; at += 97 {
			proxy := ocitest.Misbehave(t, host, func(r *http.Request) *ocitest.Fault {
				if strings.HasSuffix(r.URL.Path, layer.Digest.Encoded()) {
					return &ocitest.Fault{Corrupt: true, At: at}
				}
				return nil
			})
			got, err := client(t, proxy.Host).ReadFiles(background, parse(t, proxy.Host+"/a"), ofLayers(layer), []string{"x"}, 10)
			if err == nil {
				t.Fatalf("%s, byte %d: read %v", codec, at, slices.Collect(maps.Keys(got)))
			}
			wantError(t, err, "the registry sent sha256:")
		}
	}
}

// What unpacks to too much is an error, not an end.
func TestBoundedReader(t *testing.T) {
	for limit, good := range map[int64]bool{10: true, 11: true, 9: false, 0: false} {
		got, err := io.ReadAll(oci.Bounded(strings.NewReader("0123456789"), limit))
		if good != (err == nil) || good && string(got) != "0123456789" {
			t.Errorf("%d: got %q, %v", limit, got, err)
		}
		if err != nil && errors.Is(err, io.EOF) {
			t.Errorf("%d: %v", limit, err)
		}
	}
}
