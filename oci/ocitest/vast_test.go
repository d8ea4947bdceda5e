package ocitest

import (
	"bytes"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestVast(t *testing.T) {
	v := NewVast()
	server := httptest.NewServer(v)
	t.Cleanup(server.Close)
	b := NewBuilder(strings.TrimPrefix(server.URL, "http://"))
	layer := v.Layer("one", 3<<20+5)
	image := b.Image("some/repo", "v1", ImageOpts{Layers: []ocispec.Descriptor{layer}})
	got := b.BlobBytes("some/repo", layer.Digest)
	if digest.FromBytes(got) != layer.Digest || int64(len(got)) != layer.Size {
		t.Errorf("%d bytes of another digest", len(got))
	}
	if _, raw := b.Manifest("some/repo", "v1"); digest.FromBytes(raw) != image.Digest {
		t.Error("the manifest was not kept")
	}
	if v.Layer("two", 3<<20+5).Digest == layer.Digest || v.Layer("one", 3<<20+5).Digest != layer.Digest {
		t.Error("the seed does not decide")
	}
	small, large := b.Blob("some/repo", []byte("kept")), b.Blob("some/repo", make([]byte, 2<<20))
	if string(b.BlobBytes("some/repo", small.Digest)) != "kept" || !v.Pushed(large.Digest) || b.Err() != nil {
		t.Errorf("what was pushed is not there: %v", b.Err())
	}
	wrong := large
	wrong.Digest = digest.FromString("others")
	if b.pushBlob("some/repo", wrong, make([]byte, 2<<20)) == nil || v.Pushed(wrong.Digest) {
		t.Error("wrong bytes were taken")
	}
}

func TestKeystreamFromAnywhere(t *testing.T) {
	blob := newVastBlob("any", 1000)
	whole, err := io.ReadAll(io.NewSectionReader(blob, 0, 1000))
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, 1, 15, 16, 17, 500} {
		part := make([]byte, 100)
		if _, err := blob.ReadAt(part, at); err != nil || !bytes.Equal(part, whole[at:at+100]) {
			t.Errorf("other bytes from %d on: %v", at, err)
		}
	}
}
