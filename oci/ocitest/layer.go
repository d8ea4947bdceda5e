package ocitest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// File is one entry of a layer.
type File struct {
	Name string // as it stands in the tar; a directory ends with a slash
	Body string
	Mode int64  // 0 = 0644, for a directory 0755
	Link string // if not empty the entry is a symbolic link to this
}

// Layer pushes a layer of regular files, path to content, sorted by path. The
// codec is "gzip", "zstd" or "tar" (not compressed).
func (b *Builder) Layer(repo string, files map[string]string, codec string) ocispec.Descriptor {
	var entries []File
	for _, name := range slices.Sorted(maps.Keys(files)) {
		entries = append(entries, File{Name: name, Body: files[name]})
	}
	return b.LayerOf(repo, entries, codec)
}

// LayerOf pushes a layer of entries in the order given; see [Builder.Layer].
func (b *Builder) LayerOf(repo string, entries []File, codec string) ocispec.Descriptor {
	packed, err := pack(entries)
	if !b.keep("pack layer", err) {
		return ocispec.Descriptor{}
	}
	return b.layer(repo, packed, codec)
}

// RandomLayer pushes a gzip layer of one file of size bytes that do not
// compress. The seed decides the bytes: the same seed and size, the same
// layer. One that this builder has pushed to the repository before is not made
// again.
func (b *Builder) RandomLayer(repo, seed string, size int) ocispec.Descriptor {
	key := randomKey{repo, seed, size}
	if d, ok := b.madeBefore(key); ok {
		return d
	}
	body := make([]byte, size)
	source := rand.NewChaCha8(sha256.Sum256([]byte(seed)))
	_, _ = source.Read(body) // never fails
	d := b.LayerOf(repo, []File{{Name: "usr/share/content", Body: string(body)}}, "gzip")
	if b.Err() == nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.made[key] = d
	}
	return d
}

// randomKey is what decides a random layer.
type randomKey struct {
	repo, seed string
	size       int
}

func (b *Builder) madeBefore(key randomKey) (ocispec.Descriptor, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d, ok := b.made[key]
	return d, ok
}

// layer compresses and pushes a tar, and remembers its diff id for the configs
// of images.
func (b *Builder) layer(repo string, packed []byte, codec string) ocispec.Descriptor {
	mediaType, data, err := compress(packed, codec)
	if !b.keep("compress layer", err) {
		return ocispec.Descriptor{}
	}
	d := b.blob(repo, mediaType, data)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unpacked[d.Digest] = digest.FromBytes(packed)
	return d
}

// pack writes a tar with nothing in it that differs from run to run.
func pack(entries []File) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range entries {
		if err := w.WriteHeader(f.header()); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(w, f.Body); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func (f File) header() *tar.Header {
	h := &tar.Header{
		Typeflag: tar.TypeReg, Name: f.Name, Mode: 0o644, Size: int64(len(f.Body)),
		ModTime: time.Unix(0, 0), Format: tar.FormatPAX,
	}
	switch {
	case f.Link != "":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.Link, 0o777
	case strings.HasSuffix(f.Name, "/"):
		h.Typeflag, h.Mode = tar.TypeDir, 0o755
	}
	if f.Mode != 0 {
		h.Mode = f.Mode
	}
	return h
}

func compress(packed []byte, codec string) (mediaType string, data []byte, err error) {
	var out bytes.Buffer
	var w io.WriteCloser
	switch codec {
	case "tar":
		return ocispec.MediaTypeImageLayer, packed, nil
	case "gzip":
		mediaType = ocispec.MediaTypeImageLayerGzip
		w, err = gzip.NewWriterLevel(&out, gzip.BestSpeed)
	case "zstd":
		mediaType = ocispec.MediaTypeImageLayerZstd
		w, err = zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
	default:
		err = fmt.Errorf("there is no codec %q", codec)
	}
	if err != nil {
		return "", nil, err
	}
	if _, err := w.Write(packed); err != nil {
		return "", nil, err
	}
	if err := w.Close(); err != nil {
		return "", nil, err
	}
	return mediaType, out.Bytes(), nil
}
