package oci

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
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
	s := newSearch(FileLimits{File: limit})
	for _, p := range paths {
		s.wanted = append(s.wanted, wanted{parts: strings.Split(cleanPath(p), "/"), literal: true})
	}
	if err := c.search(ctx, r, n, s); err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, p := range paths {
		if data, found := s.found[cleanPath(p)]; found {
			files[p] = data
		}
	}
	return files, nil
}

// FileLimits bound what [Client.FindFiles] keeps. 0 is no limit.
type FileLimits struct {
	File  int64 // bytes of one file
	Total int64 // bytes of all files of all layers that were read
	Count int   // files, and marks that something is gone
}

// FindFiles reads all files out of an image, as its layers leave them, whose
// paths match one of some patterns (path.Match; * stands for no slash). It reads
// all layers, but for those below a directory that an upper one empties. What
// ReadFiles says of layers and paths is true here too. What is beyond a limit is
// an error.
func (c *Client) FindFiles(ctx context.Context, r Reference, n Node, patterns []string, limits FileLimits) (map[string][]byte, error) {
	s := newSearch(limits)
	for _, p := range patterns {
		if _, err := path.Match(p, ""); err != nil {
			return nil, fmt.Errorf("pattern %q: %w", p, err)
		}
		s.wanted = append(s.wanted, wanted{parts: strings.Split(cleanPath(p), "/")})
	}
	err := c.search(ctx, r, n, s)
	return s.found, err
}

// search goes through the layers, from the top down.
func (c *Client) search(ctx context.Context, r Reference, n Node, s *search) error {
	for _, layer := range slices.Backward(n.Layers) {
		if s.settled() {
			return nil
		}
		seen, err := c.searchLayer(ctx, r, layer.Descriptor(), s)
		if err != nil {
			return fmt.Errorf("read layer %s of %s: %w", layer.Digest, r, err)
		}
		s.keep(seen)
	}
	return nil
}

// cleanPath gives one form to a/b, ./a/b and /a/b.
func cleanPath(p string) string { return strings.TrimPrefix(path.Clean("/"+p), "/") }

// wanted is a path, or a pattern of paths.
type wanted struct {
	parts   []string
	literal bool // no pattern
}

// covers says whether the beginning of a path of so many parts, or all of it, is
// that of a wanted one.
func (w wanted) covers(parts []string) bool {
	if len(parts) > len(w.parts) {
		return false
	}
	for i, part := range parts {
		if w.literal && part != w.parts[i] {
			return false
		}
		if matched, _ := path.Match(w.parts[i], part); !w.literal && !matched {
			return false
		}
	}
	return true
}

// hiding is what a layer hides of those below it at a path.
type hiding int

const (
	itself hiding = 1 << iota
	below         // everything under it
)

// search is what the layers so far have said about the wanted files.
type search struct {
	wanted []wanted
	limits FileLimits
	found  map[string][]byte // by clean path
	hidden map[string]hiding // likewise; "" is the root
	total  int64             // bytes of files that were read
	count  int               // of files that were read, and marks
}

// seen is what one layer says.
type seen struct {
	found  map[string][]byte
	hidden map[string]hiding // in the layers below
}

func newSearch(limits FileLimits) *search {
	return &search{limits: limits, found: map[string][]byte{}, hidden: map[string]hiding{}}
}

// keep takes over what a layer said, once its digest was right.
func (s *search) keep(layer seen) {
	for p, data := range layer.found {
		s.found[p] = data
	}
	for p, h := range layer.hidden {
		s.hidden[p] |= h
	}
}

// settled says whether no layer below can add anything.
func (s *search) settled() bool {
	return !slices.ContainsFunc(s.wanted, func(w wanted) bool {
		if w.literal {
			p := strings.Join(w.parts, "/")
			return s.found[p] == nil && !s.isHidden(p)
		}
		fixed := slices.IndexFunc(w.parts, func(part string) bool { return strings.ContainsAny(part, `*?[\`) })
		return fixed < 0 || !s.isHidden(strings.Join(w.parts[:fixed+1], "/"))
	})
}

// isHidden says whether an upper layer hides a path of those below.
func (s *search) isHidden(p string) bool {
	if s.hidden[p]&itself != 0 {
		return true
	}
	for p != "" {
		p = parent(p)
		if s.hidden[p]&below != 0 {
			return true
		}
	}
	return false
}

// parent is the directory of a clean path; "" is the root.
func parent(p string) string { return p[:max(strings.LastIndexByte(p, '/'), 0)] }

// Whiteouts say what of the layers below is gone (image-spec, layer.md).
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// layer reads a layer's tar.
func (s *search) layer(r io.Reader) (seen, error) {
	layer := seen{map[string][]byte{}, map[string]hiding{}}
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

// entry reads one entry of a layer. Of two entries at one place the later one
// counts; what a layer whites out is in those below it, never in itself.
func (s *search) entry(layer seen, header *tar.Header, contents io.Reader) error {
	name := cleanPath(header.Name)
	dir, base := path.Split(name)
	if base == opaque {
		return s.hide(layer, strings.TrimSuffix(dir, "/"), below)
	}
	if gone, found := strings.CutPrefix(base, whiteout); found {
		return s.hide(layer, cleanPath(dir+gone), itself|below)
	}
	isFile, isAbove := s.concerns(name)
	switch {
	case isFile && header.Typeflag == tar.TypeReg:
		layer.clear(name, isAbove)
		return errors.Join(s.hide(layer, name, below), s.file(layer, name, contents))
	case isFile && header.Typeflag == tar.TypeDir: // what is under it stays
		delete(layer.found, name)
		return s.hide(layer, name, itself)
	case header.Typeflag != tar.TypeDir && (isFile || isAbove):
		layer.clear(name, isAbove)
		return s.hide(layer, name, itself|below)
	}
	return nil
}

// concerns says whether a path is that of a wanted file, and whether a wanted
// file may lie under it.
func (s *search) concerns(name string) (isFile, isAbove bool) {
	parts := strings.Split(name, "/")
	for _, w := range s.wanted {
		if name == "" || w.covers(parts) {
			isFile = isFile || name != "" && len(parts) == len(w.parts)
			isAbove = isAbove || name == "" || len(parts) < len(w.parts)
		}
	}
	return isFile, isAbove
}

// hide notes what a layer hides, if anything wanted may be there.
func (s *search) hide(layer seen, p string, h hiding) error {
	if isFile, isAbove := s.concerns(p); !isFile && !isAbove {
		return nil
	}
	layer.hidden[p] |= h
	if s.count++; s.limits.Count > 0 && s.count > s.limits.Count {
		return fmt.Errorf("more than %d files, with marks of what is gone", s.limits.Count)
	}
	return nil
}

// clear forgets what the layer had at a path, and under it if anything may be.
func (l seen) clear(p string, above bool) {
	delete(l.found, p)
	if above {
		maps.DeleteFunc(l.found, func(name string, _ []byte) bool { return strings.HasPrefix(name, p+"/") })
	}
}

// file reads a wanted file, unless an upper layer has it or hides it.
func (s *search) file(layer seen, name string, contents io.Reader) error {
	if s.found[name] != nil || s.isHidden(name) {
		return nil
	}
	data, err := readLimited(contents, s.limits.File)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if s.total += int64(len(data)); s.limits.Total > 0 && s.total > s.limits.Total {
		return fmt.Errorf("read %s: more than %d bytes in all files", name, s.limits.Total)
	}
	layer.found[name] = data
	return nil
}

func readLimited(r io.Reader, limit int64) ([]byte, error) {
	if limit <= 0 {
		return io.ReadAll(r)
	}
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("it has more than %d bytes", limit)
	}
	return data, err
}
