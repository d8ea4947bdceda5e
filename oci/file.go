package oci

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Limits of unpacking. Nothing is stored but the named files; what a layer may
// unpack to is bounded so that it ends.
const (
	MaxUnpackedLayer = 32 << 30 // bytes read out of one layer
	maxZstdMemory    = 128 << 20
)

// Whiteouts say what of the layers below is gone (image-spec, layer.md).
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// ReadFiles gives the named files out of an image, as its top layers leave
// them: the last layer is read first, then down until all are found or known to
// be gone. Paths have no leading slash; a file that is not there is absent from
// the result; only regular files are files. Each layer that is read is read to
// its end and held against its digest. A file of more than limit bytes is an
// error.
func (c *Client) ReadFiles(ctx context.Context, r Reference, n Node, paths []string, limit int64) (map[string][]byte, error) {
	search := &search{wanted: slices.Clone(paths), found: map[string][]byte{}, limit: limit}
	for i := len(n.Layers) - 1; i >= 0 && len(search.wanted) > 0; i-- {
		if err := c.searchLayer(ctx, r, n.Layers[i], search); err != nil {
			return nil, fmt.Errorf("read layer %s of %s: %w", n.Layers[i].Digest, r, err)
		}
	}
	return search.found, nil
}

func (c *Client) searchLayer(ctx context.Context, r Reference, layer ocispec.Descriptor, s *search) error {
	body, err := c.Blob(ctx, r, layer)
	if err != nil {
		return err
	}
	defer body.Close()
	sum := sha256.New()
	raw := io.TeeReader(body, sum)
	unpacked, done, err := unpack(raw)
	if err != nil {
		return err
	}
	defer done()
	limited := &io.LimitedReader{R: unpacked, N: MaxUnpackedLayer}
	inLayer, err := s.layer(limited)
	if limited.N <= 0 {
		return fmt.Errorf("it unpacks to more than %d bytes", int64(MaxUnpackedLayer))
	}
	if _, drained := io.Copy(io.Discard, raw); drained != nil {
		return drained
	}
	if digest.NewDigest(digest.SHA256, sum) != layer.Digest {
		return errors.New("the registry answered with other bytes")
	}
	if err != nil {
		return err
	}
	s.keep(inLayer)
	return nil
}

// unpack reads through the compression that the first bytes show.
func unpack(r io.Reader) (unpacked io.Reader, done func(), err error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	magic, err := buffered.Peek(4)
	if err != nil && err != io.EOF {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(buffered)
		return z, func() {}, err
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxZstdMemory), zstd.WithDecoderMaxWindow(maxZstdMemory))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return buffered, func() {}, nil
}

// search looks for files through layers, from the top down.
type search struct {
	wanted []string // neither found nor gone
	found  map[string][]byte
	limit  int64
}

// inLayer is what one layer says about the wanted files.
type inLayer struct {
	found map[string][]byte
	gone  map[string]bool // for the layers below
}

func (s *search) layer(r io.Reader) (inLayer, error) {
	in := inLayer{map[string][]byte{}, map[string]bool{}}
	files := tar.NewReader(r)
	for {
		header, err := files.Next()
		if err == io.EOF {
			return in, nil
		}
		if err != nil {
			return in, fmt.Errorf("read tar: %w", err)
		}
		if err := s.entry(in, header, files); err != nil {
			return in, err
		}
	}
}

func (s *search) entry(in inLayer, header *tar.Header, contents io.Reader) error {
	name := strings.TrimPrefix(path.Clean("/"+header.Name), "/")
	for _, wanted := range s.wanted {
		switch {
		case name == wanted && header.Typeflag == tar.TypeReg:
			data, err := io.ReadAll(io.LimitReader(contents, s.limit+1))
			if err != nil {
				return fmt.Errorf("read %s: %w", wanted, err)
			}
			if int64(len(data)) > s.limit {
				return fmt.Errorf("%s has more than %d bytes", wanted, s.limit)
			}
			in.found[wanted] = data
		case hides(name, header.Typeflag, wanted):
			in.gone[wanted] = true
		}
	}
	return nil
}

// hides says whether an entry makes a file of the layers below go away: by a
// whiteout of it or of a directory above it, or by something else in its place.
func hides(name string, kind byte, wanted string) bool {
	dir, base := path.Split(name)
	switch {
	case base == opaque:
		return dir == "" || strings.HasPrefix(wanted, dir)
	case strings.HasPrefix(base, whiteout):
		hidden := dir + strings.TrimPrefix(base, whiteout)
		return wanted == hidden || strings.HasPrefix(wanted, hidden+"/")
	case kind == tar.TypeDir:
		return name == wanted
	}
	return name == wanted || strings.HasPrefix(wanted, name+"/")
}

// keep takes over what a layer said.
func (s *search) keep(in inLayer) {
	s.wanted = slices.DeleteFunc(s.wanted, func(wanted string) bool {
		data, found := in.found[wanted]
		if found {
			s.found[wanted] = data
		}
		return found || in.gone[wanted]
	})
}
