package oci_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci"
	"airlift/oci/ocitest"
)

const (
	image = ocispec.MediaTypeImageManifest
	index = ocispec.MediaTypeImageIndex
	empty = `{"mediaType":"application/x","digest":"` + someDigest + `","size":0}`
)

func imageJSON(more string) string {
	return `{"schemaVersion":2,"config":` + empty + `,"layers":[` + empty + `,` + empty + `]` + more + `}`
}

func TestParseNode(t *testing.T) {
	child := `{"mediaType":"` + image + `","digest":"` + someDigest + `","size":7,"platform":{"architecture":"arm64","os":"linux","variant":"v8"}}`
	cases := []struct{ came, body, want string }{
		{image, imageJSON(""), image},
		{image + "; charset=utf-8", imageJSON(`,"mediaType":"` + image + `"`), image},
		{ocitest.DockerManifest, imageJSON(`,"mediaType":"` + ocitest.DockerManifest + `"`), ocitest.DockerManifest},
		{"", imageJSON(""), image},
		{"", imageJSON(`,"mediaType":"` + ocitest.DockerManifest + `"`), ocitest.DockerManifest},
		{"", `{"schemaVersion":2,"manifests":[` + child + `]}`, index},
		{ocitest.DockerList, `{"schemaVersion":2,"manifests":[` + child + `]}`, ocitest.DockerList},
		{image, imageJSON(`,"artifactType":"a/b","subject":` + empty), image},
		{image, imageJSON(`,"annotations":{"Name":"a","name":"b"},"unknown":[{}]`), image},
	}
	for _, c := range cases {
		n, err := oci.ParseNode(c.came, []byte(c.body))
		if err != nil {
			t.Errorf("%s: %v", c.body, err)
			continue
		}
		if n.Descriptor.MediaType != c.want || n.Descriptor.Digest != digest.FromString(c.body) || n.Descriptor.Size != int64(len(c.body)) || string(n.Raw) != c.body {
			t.Errorf("%s: got %+v", c.body, n.Descriptor)
		}
		if c.want == image && (n.Config == nil || len(n.Layers) != 2) {
			t.Errorf("%s: got %+v", c.body, n)
		}
		if len(n.Children) == 1 && (n.Children[0].Platform == nil || n.Children[0].Platform.Variant != "v8" || n.Config != nil) {
			t.Errorf("%s: got %+v", c.body, n)
		}
		if strings.Contains(c.body, "subject") != (n.Subject != nil) || strings.Contains(c.body, "artifactType") != (n.ArtifactType == "a/b") {
			t.Errorf("%s: got %+v", c.body, n)
		}
	}
}

func TestParseNodeRefuses(t *testing.T) {
	layer := func(d string) string { return `{"schemaVersion":2,"config":` + empty + `,"layers":[` + d + `]}` }
	sized := func(size string) string { return layer(`{"digest":"` + someDigest + `","size":` + size + `}`) }
	for _, c := range []struct{ came, body, reason string }{
		{image, "", "not JSON"},
		{image, "[]", "not an object"},
		{image, "null", "not an object"},
		{image, imageJSON("") + "{}", "not JSON"},
		{image, imageJSON("") + "x", "not JSON"},
		{image, imageJSON(`,"layers":[]`), `the key "layers" is there twice`},
		{image, imageJSON(`,"a":{"b":[{"c":1,"c":1}]}`), `the key "c" is there twice`},
		{image, imageJSON(`,"Config":` + empty), "not written so"},
		{image, imageJSON(`,"manifestS":[]`), "not written so"},
		{image, imageJSON(",\"a\":\"\xff\""), "UTF-8"},
		{image, imageJSON(`,"a":` + strings.Repeat("[", 200) + strings.Repeat("]", 200)), "deeper"},
		{image, imageJSON(`,"mediaType":"` + index + `"`), "says of itself"},
		{image, imageJSON(`,"manifests":[]`), "children of an index"},
		{index, imageJSON(""), "config or layers of an image"},
		{index, `{"schemaVersion":2,"manifests":[],"layers":[]}`, "config or layers of an image"},
		{image, `{"schemaVersion":2,"layers":[]}`, "without a config"},
		{"", `{"schemaVersion":2}`, "neither"},
		{"text/html", imageJSON(""), "not supported"},
		{"a b c", imageJSON(""), "media type"},
		{image, `{"config":` + empty + `}`, "schemaVersion"},
		{image, `{"schemaVersion":1,"fsLayers":[]}`, "schema 1"},
		{"application/vnd.docker.distribution.manifest.v1+prettyjws", "whatever", "schema 1"},
		{"application/vnd.docker.distribution.manifest.v1+json; charset=utf-8", "whatever", "schema 1"},
		{image, layer(`{"digest":"sha512:` + strings.Repeat("0", 128) + `","size":1}`), "only sha256"},
		{image, layer(`{"digest":"sha256:zz","size":1}`), "sha256 digest"},
		{image, layer(`{"digest":"x","size":1}`), "not a digest"},
		{image, layer(`{"size":1}`), "not a digest"},
		{image, layer(`{"digest":"` + someDigest + `"}`), "no size"},
		{image, layer(`{"digest":"` + someDigest + `","Size":1}`), "not written so"},
		{image, layer(`null`), "null"},
		{image, layer(`"a"`), "not an object"},
		{image, sized("-1"), "size -1"},
		{image, sized(fmt.Sprint(int64(oci.MaxBlobSize) + 1)), "outside"},
		{image, sized("99999999999999999999"), "size"},
		{image, sized("1.5"), "size"},
		{image, sized(`"1"`), "size"},
		{image, sized("1,\"mediaType\":\"a\u001bb\""), ""},
		{image, imageJSON(`,"subject":{"digest":"sha256:1","size":1}`), "subject"},
		{index, `{"schemaVersion":2,"manifests":[{"digest":"` + someDigest + `","size":1,"platform":{"os":"a","OS":"b"}}]}`, "not written so"},
		{image, `{"schemaVersion":2,"a":"` + strings.Repeat("x", oci.MaxNodeSize) + `"}`, "larger than"},
	} {
		n, err := oci.ParseNode(c.came, []byte(c.body))
		if err == nil {
			t.Errorf("%.200s became %+v", c.body, n.Descriptor)
		} else if !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%.200s: the error is %v, without %q", c.body, err, c.reason)
		}
	}
}

func TestCheckJSONAllows(t *testing.T) {
	for _, s := range []string{`{}`, ` [1, "a", {"a":{"a":null}}, {"a":1}] `, `"a"`, `{"a":1,"A":2}`, `1e400`} {
		if err := oci.CheckJSON([]byte(s)); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func FuzzParseNode(f *testing.F) {
	f.Add("", []byte(imageJSON("")))
	f.Add(index, []byte(`{"schemaVersion":2,"manifests":[`+empty+`]}`))
	f.Add("application/vnd.docker.distribution.manifest.v1+json", []byte("{}"))
	f.Fuzz(func(t *testing.T, came string, raw []byte) {
		n, err := oci.ParseNode(came, raw)
		if err != nil {
			return
		}
		if !bytes.Equal(n.Raw, raw) || n.Descriptor.Digest != digest.FromBytes(raw) {
			t.Fatal("not the bytes that were given")
		}
		all := n.Children
		for _, layer := range n.Layers {
			all = append(all, layer.Descriptor())
		}
		for _, d := range all {
			if d.Size < 0 || d.Size > oci.MaxBlobSize || d.Digest.Validate() != nil {
				t.Fatalf("let through %+v", d)
			}
		}
		again, err := oci.ParseNode(n.Descriptor.MediaType, raw)
		if err != nil || again.Descriptor.MediaType != n.Descriptor.MediaType {
			t.Fatalf("read otherwise by its own media type: %v", err)
		}
	})
}
