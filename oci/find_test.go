package oci_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci"
	"airlift/oci/ocitest"
)

// TestFindFiles: what a pattern finds is what the layers leave, whatever hides it.
func TestFindFiles(t *testing.T) {
	host := embedded(t)
	b := ocitest.NewBuilder(host)
	layer := func(files ...ocitest.File) ocispec.Descriptor { return b.LayerOf("a", files, "gzip") }
	file := func(name, body string) ocitest.File { return ocitest.File{Name: name, Body: body} }
	base := layer(file("o/x/ruby/is/ruby.json", "r"), file("o/x/php/is/php.json", "p"), file("o/x/php/is/extra.json", "e"),
		file("o/x/php/templates/t.json", "no"), file("o/x/top.json", "no"), file("o/x/php/is/deep/d.json", "no"), file("etc/passwd", "no"))
	all := "php/is/extra.json=e php/is/php.json=p ruby/is/ruby.json=r"
	for name, test := range map[string]struct {
		above []ocispec.Descriptor
		want  string
	}{
		"one layer":                 {nil, all},
		"a newer file":              {[]ocispec.Descriptor{layer(file("o/x/php/is/php.json", "new"))}, "php/is/extra.json=e php/is/php.json=new ruby/is/ruby.json=r"},
		"one more":                  {[]ocispec.Descriptor{layer(file("./o/x/go/is/go.json", "g"))}, "go/is/go.json=g " + all},
		"whiteout":                  {[]ocispec.Descriptor{layer(file("o/x/php/is/.wh.extra.json", ""))}, "php/is/php.json=p ruby/is/ruby.json=r"},
		"whiteout of a directory":   {[]ocispec.Descriptor{layer(file("o/x/.wh.php", ""))}, "ruby/is/ruby.json=r"},
		"whiteout of the root":      {[]ocispec.Descriptor{layer(file(".wh.o", ""))}, ""},
		"opaque directory":          {[]ocispec.Descriptor{layer(file("o/x/php/is/.wh..wh..opq", ""))}, "ruby/is/ruby.json=r"},
		"opaque above":              {[]ocispec.Descriptor{layer(file("o/.wh..wh..opq", ""))}, ""},
		"opaque with its own":       {[]ocispec.Descriptor{layer(file("o/x/php/is/php.json", "own"), file("o/x/.wh..wh..opq", ""))}, "php/is/php.json=own"},
		"opaque root":               {[]ocispec.Descriptor{layer(file(".wh..wh..opq", ""))}, ""},
		"whiteout, then new":        {[]ocispec.Descriptor{layer(file("o/.wh.x", "")), layer(file("o/x/php/is/php.json", "new"))}, "php/is/php.json=new"},
		"whiteout of no wanted one": {[]ocispec.Descriptor{layer(file("o/x/php/.wh.templates", ""), file("o/x/php/is/.wh.ph", ""))}, all},
		"a link for a file":         {[]ocispec.Descriptor{layer(ocitest.File{Name: "o/x/php/is/php.json", Link: "x"})}, "php/is/extra.json=e ruby/is/ruby.json=r"},
		"a link for a directory":    {[]ocispec.Descriptor{layer(ocitest.File{Name: "o/x/php", Link: "ruby"})}, "ruby/is/ruby.json=r"},
		"a file for a directory":    {[]ocispec.Descriptor{layer(file("o/x/php", ""))}, "ruby/is/ruby.json=r"},
		"a directory for a file":    {[]ocispec.Descriptor{layer(ocitest.File{Name: "o/x/php/is/php.json/"})}, "php/is/extra.json=e ruby/is/ruby.json=r"},
		"a directory again":         {[]ocispec.Descriptor{layer(ocitest.File{Name: "o/x/php/is/"})}, all},
		"a file, then a link":       {[]ocispec.Descriptor{layer(file("o/x/php/is/z.json", "z"), ocitest.File{Name: "o/x/php", Link: "y"})}, "ruby/is/ruby.json=r"},
	} {
		d := b.Image("a", "x", ocitest.ImageOpts{Layers: append([]ocispec.Descriptor{base}, test.above...)})
		built(t, b)
		c, ref := client(t, host), parse(t, host+"/a@"+string(d.Digest))
		n, err := c.Node(background, ref)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.FindFiles(background, ref, n, []string{"/o/x/*/is/*.json"}, oci.FileLimits{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var words []string
		for _, p := range slices.Sorted(maps.Keys(got)) {
			words = append(words, strings.TrimPrefix(p, "o/x/")+"="+string(got[p]))
		}
		if s := strings.Join(words, " "); s != test.want {
			t.Errorf("%s: got %s, want %s", name, s, test.want)
		}
	}
}

// TestFindFilesStops: what lies below a directory that is emptied is not fetched;
// anything else is.
func TestFindFilesStops(t *testing.T) {
	host := embedded(t)
	b := ocitest.NewBuilder(host)
	absent := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: someDigest, Size: 10}
	top := b.Layer("a", map[string]string{"o/.wh..wh..opq": "", "o/a/x": "1"}, "gzip")
	other := b.Layer("a", map[string]string{"o/a/x": "1"}, "gzip")
	built(t, b)
	c, ref := client(t, host), parse(t, host+"/a")
	got, err := c.FindFiles(background, ref, ofLayers(absent, top), []string{"o/*/x"}, oci.FileLimits{})
	if err != nil || len(got) != 1 || string(got["o/a/x"]) != "1" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := c.FindFiles(background, ref, ofLayers(absent, other), []string{"o/*/x"}, oci.FileLimits{}); !oci.IsMissing(err) {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestFindFilesLimits: each limit is an error one beyond it, and none at it.
func TestFindFilesLimits(t *testing.T) {
	host := embedded(t)
	b := ocitest.NewBuilder(host)
	var files []ocitest.File
	for i := range 5 {
		files = append(files, ocitest.File{Name: fmt.Sprint("d/", i), Body: "0123456789"})
	}
	var twice []ocitest.File
	for range 3 {
		twice = append(twice, ocitest.File{Name: "d/1", Body: "0123456789"})
	}
	n := ofLayers(b.LayerOf("a", files, "gzip"))
	again := ofLayers(b.LayerOf("a", twice, "gzip"))
	marks := ofLayers(b.LayerOf("a", []ocitest.File{{Name: "d/.wh.a"}, {Name: "d/.wh.b"}, {Name: "d/.wh.c"}}, "gzip"))
	built(t, b)
	for _, test := range []struct {
		n      oci.Node
		limits oci.FileLimits
		want   string
	}{
		{n, oci.FileLimits{File: 10, Total: 50, Count: 5}, ""},
		{n, oci.FileLimits{File: 9}, "more than 9 bytes"},
		{n, oci.FileLimits{Total: 49}, "more than 49 bytes in all"},
		{n, oci.FileLimits{Count: 4}, "more than 4 files"},
		{again, oci.FileLimits{Total: 30, Count: 3}, ""},
		{again, oci.FileLimits{Total: 29}, "more than 29 bytes"},
		{again, oci.FileLimits{Count: 2}, "more than 2 files"},
		{marks, oci.FileLimits{Count: 3}, ""},
		{marks, oci.FileLimits{Count: 2}, "more than 2 files"},
	} {
		_, err := client(t, host).FindFiles(background, parse(t, host+"/a"), test.n, []string{"d/*"}, test.limits)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%+v: %v", test.limits, err)
		}
	}
	_, err := client(t, host).FindFiles(background, parse(t, host+"/a"), n, []string{"d/["}, oci.FileLimits{})
	wantError(t, err, "d/[")
}
