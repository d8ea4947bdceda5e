package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"airlift/bundle"
	"airlift/manifest"
	"airlift/oci"
)

// maxInputFile is the largest file of image streams or references that is read,
// in bytes; `oc get is -A -o json` of a large cluster has some 10 MB.
const maxInputFile = 256 << 20

// request is what export was asked to carry.
func request(c *cli.Context) (bundle.Request, error) {
	r := bundle.Request{Sparse: c.Bool("sparse"), SkipMissing: c.Bool("skip-missing"), SkipDenied: c.Bool("skip-denied")}
	if c.IsSet("series") {
		name := c.String("series")
		r.Series = &name
	}
	var err error
	if r.Platforms, err = platformFlags(c); err != nil {
		return r, err
	}
	if r.Releases, err = references("release", c.StringSlice("release")); err != nil {
		return r, err
	}
	if r.Images, err = references("image", c.StringSlice("image")); err != nil {
		return r, err
	}
	for _, name := range c.StringSlice("images-file") {
		images, err := imagesFile(name)
		if err != nil {
			return r, err
		}
		r.Images = append(r.Images, images...)
	}
	for _, name := range c.StringSlice("imagestreams") {
		if err := addStreams(&r.Streams, name); err != nil {
			return r, err
		}
	}
	if r.Samples, err = samplesRequest(c); err != nil {
		return r, err
	}
	if len(r.Releases)+len(r.Images)+len(r.Streams.Streams) == 0 {
		return r, usagef("nothing to carry: give --release, --image, --images-file, --imagestreams or --from")
	}
	return r, nil
}

func references(flag string, list []string) ([]oci.Reference, error) {
	var refs []oci.Reference
	for _, s := range list {
		ref, err := oci.ParseReference(s)
		if err != nil {
			return nil, usagef("--%s: %w", flag, err)
		}
		refs = append(refs, ref)
	}
	return refs, nil
}

// imagesFile reads references, one a line; blank lines and what follows a # are
// left out.
func imagesFile(name string) ([]oci.Reference, error) {
	data, err := readLimited(name, maxInputFile)
	if err != nil {
		return nil, err
	}
	var refs []oci.Reference
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		ref, err := oci.ParseReference(text)
		if err != nil {
			return nil, usagef("%s: line %d: %w", name, n, err)
		}
		refs = append(refs, ref)
	}
	return refs, lines.Err()
}

// addStreams adds the image streams of a file. All that the samples operator
// owns are known if one file knows them all.
func addStreams(to *manifest.ImageStreams, name string) error {
	data, err := readLimited(name, maxInputFile)
	if err != nil {
		return err
	}
	read, err := manifest.ParseImageStreams(data)
	if err != nil {
		return usagef("%s: %w", name, err)
	}
	if len(to.Streams) > 0 {
		read, err = manifest.MergeImageStreams(*to, read)
	}
	if err != nil {
		return usagef("%s: %w", name, err)
	}
	*to = read
	return nil
}

// readLimited reads a file of at most limit bytes.
func readLimited(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = usagef("%s has more than %d bytes", name, limit)
	}
	return data, err
}

// readInventory reads the bundle.json whose content is to be exported again.
// Nobody's signature is needed for that: every byte is fetched by its digest, and
// whoever signs the new bundle compares the content id, which is printed.
func readInventory(c *cli.Context, name string) (*bundle.Inventory, error) {
	for _, flag := range slices.Concat([]string{"release", "image", "images-file", "imagestreams", "platform", "sparse", "samples", "since", "series"}, samplesChoices) {
		if c.IsSet(flag) {
			return nil, usagef("--from and --%s exclude each other", flag)
		}
	}
	data, err := readLimited(name, maxInputFile)
	if err != nil {
		return nil, err
	}
	inv, err := bundle.ParseInventory(data)
	if err != nil {
		return nil, usagef("%s: %w", name, err)
	}
	return inv, nil
}
