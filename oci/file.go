package oci

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// Whiteouts say what of the layers below is gone (image-spec, layer.md).
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// ReadFiles reads the named files out of an image, as its layers leave them. It
// reads the last layer first, then those below it until each file was found or
// is known to be gone. Layers may be gzip, zstd or plain tar, which their bytes
// tell.
//
// Paths are relative to the image's root. A path that is not there, or is no
// regular file, is absent from the result. A file of more than limit bytes is an
// error, and so is a layer whose digest is wrong or that unpacks to more than
// MaxUnpackedLayer: each layer that is read is read to its end.
func (c *Client) ReadFiles(ctx context.Context, r Reference, n Node, paths []string, limit int64) (map[string][]byte, error) {
	s := &search{wanted: map[string]string{}, found: map[string][]byte{}, limit: limit}
	for _, p := range paths {
		s.wanted[cleanPath(p)] = p
	}
	for _, layer := range slices.Backward(n.Layers) {
		if len(s.wanted) == 0 {
			break
		}
		seen, err := c.searchLayer(ctx, r, layer, s)
		if err != nil {
			return nil, fmt.Errorf("read layer %s of %s: %w", layer.Digest, r, err)
		}
		s.keep(seen)
	}
	return s.found, nil
}

// cleanPath gives one form to a/b, ./a/b and /a/b.
func cleanPath(p string) string { return strings.TrimPrefix(path.Clean("/"+p), "/") }

// search looks for files through layers, from the top down.
type search struct {
	wanted map[string]string // clean path -> as it was given; of files neither found nor gone
	found  map[string][]byte // by path as it was given
	limit  int64
}

// seen is what one layer says about the wanted files.
type seen struct {
	found map[string][]byte
	gone  map[string]bool // hidden in the layers below
}

// keep takes over what a layer said, once its digest was right.
func (s *search) keep(layer seen) {
	for p, given := range s.wanted {
		data, found := layer.found[p]
		if found {
			s.found[given] = data
		}
		if found || layer.gone[p] {
			delete(s.wanted, p)
		}
	}
}

// layer reads a layer's tar.
func (s *search) layer(r io.Reader) (seen, error) {
	layer := seen{map[string][]byte{}, map[string]bool{}}
	files := tar.NewReader(r)
	for {
		header, err := files.Next()
		if err == io.EOF {
			return layer, nil
		}
		if err != nil {
			return layer, fmt.Errorf("read tar: %w", err)
		}
		if err := s.entry(layer, header, files); err != nil {
			return layer, err
		}
	}
}

func (s *search) entry(layer seen, header *tar.Header, contents io.Reader) error {
	name := cleanPath(header.Name)
	for p := range s.wanted {
		if name == p && header.Typeflag == tar.TypeReg {
			data, err := readLimited(contents, s.limit)
			if err != nil {
				return fmt.Errorf("read %s: %w", p, err)
			}
			layer.found[p] = data
			continue
		}
		if replaces(name, header.Typeflag, p) {
			delete(layer.found, p) // of two entries in one layer the later one counts
			layer.gone[p] = true
		}
		if whitesOut(name, p) {
			layer.gone[p] = true // below, not in this layer
		}
	}
	return nil
}

func readLimited(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("it has more than %d bytes", limit)
	}
	return data, err
}

// replaces says whether an entry that is not the wanted file stands in its
// place, or in that of a directory above it.
func replaces(name string, kind byte, wanted string) bool {
	if name == wanted {
		return true
	}
	return kind != tar.TypeDir && strings.HasPrefix(wanted, name+"/")
}

// whitesOut says whether an entry hides the wanted file of the layers below.
func whitesOut(name, wanted string) bool {
	dir, base := path.Split(name)
	if base == opaque {
		return strings.HasPrefix(wanted, dir)
	}
	hidden, found := strings.CutPrefix(base, whiteout)
	return found && (wanted == dir+hidden || strings.HasPrefix(wanted, dir+hidden+"/"))
}
