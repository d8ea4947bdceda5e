package oci_test

import (
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci"
)

// someBlob is as large as the image that some registries here answer everything with.
var someBlob = ocispec.Descriptor{Digest: someDigest, Size: int64(len(imageJSON("")))}

const someDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestParseReference(t *testing.T) {
	for in, want := range map[string]string{
		"busybox":                                        "docker.io/library/busybox:latest",
		"docker.io/busybox":                              "docker.io/library/busybox:latest",
		"index.docker.io/library/busybox:latest":         "docker.io/library/busybox:latest",
		"registry-1.docker.io/busybox":                   "docker.io/library/busybox:latest",
		"bitnami/nginx:1":                                "docker.io/bitnami/nginx:1",
		"Quay.IO/a/b":                                    "quay.io/a/b:latest",
		"quay.io/a/b:v1":                                 "quay.io/a/b:v1",
		"quay.io/a/b@" + someDigest:                      "quay.io/a/b@" + someDigest,
		"quay.io/a/b:v1@" + someDigest:                   "quay.io/a/b:v1@" + someDigest,
		"quay.io/a/b:latest@" + someDigest:               "quay.io/a/b:latest@" + someDigest,
		"quay.io/latest@" + someDigest:                   "quay.io/latest@" + someDigest,
		"localhost/a":                                    "localhost/a:latest",
		"localhost:5000/a:b":                             "localhost:5000/a:b",
		"10.0.0.1:5000/a/b/c:d":                          "10.0.0.1:5000/a/b/c:d",
		"[::1]:5000/a":                                   "[::1]:5000/a:latest",
		"registry.example/a__b/c-d--e.f_g":               "registry.example/a__b/c-d--e.f_g:latest",
		"quay.io/openshift-release-dev/ocp-release:4.20": "quay.io/openshift-release-dev/ocp-release:4.20",
	} {
		got, err := oci.ParseReference(in)
		if err != nil || got.String() != want {
			t.Errorf("%s: got %s, %v, want %s", in, got, err, want)
		}
	}
}

func TestParseReferenceRefuses(t *testing.T) {
	for in, reason := range map[string]string{
		"":                   "",
		"docker://quay.io/a": "leave out docker://",
		"http://quay.io/a":   "leave out http://",
		"quay.io/a@sha512:" + strings.Repeat("0", 128): "only sha256",
		"quay.io/a@sha256:123":                         "not a sha256 digest",
		"quay.io/a@sha256:" + strings.Repeat("A", 64):  "not a sha256 digest",
		"quay.io/a@latest":                             "not a digest",
		"user@quay.io/a":                               "not a digest",
		"quay.io/A":                                    "",
		"quay.io/a:":                                   "",
		"quay.io/a:b c":                                "",
		"quay.io/a:" + strings.Repeat("t", 129):        "",
		"quay.io/":                                     "",
		"quay.io//a":                                   "path",
		"quay.io/../a":                                 "path",
		"quay.io/a/":                                   "path",
		"quay.io/-a":                                   "path",
		"qu%61y.io/a":                                  "",
		"quay.io:port/a":                               "",
		"quay.io/a\n":                                  "",
	} {
		got, err := oci.ParseReference(in)
		if err == nil {
			t.Errorf("%q: became %s", in, got)
		} else if !strings.Contains(err.Error(), reason) {
			t.Errorf("%q: the error is %v, without %q", in, err, reason)
		}
	}
}

func TestReferenceWith(t *testing.T) {
	r := parse(t, "quay.io/a/b:v1@"+someDigest)
	if got := r.WithTag("v2").String(); got != "quay.io/a/b:v2" {
		t.Error(got)
	}
	if got := r.WithTag("v2").WithDigest(r.Digest).String(); got != "quay.io/a/b@"+someDigest {
		t.Error(got)
	}
}

func TestLocate(t *testing.T) {
	var mirrors []oci.SourceMirror
	for _, s := range []string{
		"quay.io/a/b=Other.example/x", "quay.io=proxy.example:5000/quay", "docker.io=hub.example", "registry.example/whole=elsewhere.example/part/whole",
	} {
		m, err := oci.ParseSourceMirror(s)
		if err != nil {
			t.Fatal(err)
		}
		mirrors = append(mirrors, m)
	}
	c := newClient(t, oci.Options{Mirrors: mirrors})
	for in, want := range map[string]string{
		"quay.io/c:1":                 "proxy.example:5000/quay/c:1",
		"quay.io/a/bc:1":              "proxy.example:5000/quay/a/bc:1",
		"quay.io/a/b:1":               "other.example/x:1",
		"quay.io/a/b/c@" + someDigest: "other.example/x/c@" + someDigest,
		"quay.io.example/a:1":         "quay.io.example/a:1",
		"busybox:1":                   "hub.example/library/busybox:1",
		"registry.example/whole:1":    "elsewhere.example/part/whole:1",
		"registry.example/a:1":        "registry.example/a:1",
	} {
		if got := c.Locate(parse(t, in)).String(); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func TestParseSourceMirrorRefuses(t *testing.T) {
	for _, s := range []string{
		"", "quay.io", "=a.example", "quay.io=", "https://quay.io=a.example", "quay.io=http://a.example",
		"quay.io/=a.example", "quay.io=a.example/", "quay.io/A=a.example", "quay.io=a.example/b:tag", "quay.io=a.example=b",
	} {
		if m, err := oci.ParseSourceMirror(s); err == nil {
			t.Errorf("%q became %v", s, m)
		}
	}
}

// A mirror without a path, of a source that is a repository, leaves no name.
func TestMirrorWithoutPath(t *testing.T) {
	c := newClient(t, oci.Options{Mirrors: []oci.SourceMirror{{Source: "quay.io/a", Mirror: "mirror.example"}}})
	_, err := c.Node(background, parse(t, "quay.io/a:1"))
	wantError(t, err, "leaves no repository's path")
}

func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"a", "quay.io/a/b:v1@" + someDigest, "localhost:1/a", "[::1]:5000/a", "a:b", "docker.io/a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := oci.ParseReference(s)
		if err != nil {
			return
		}
		again, err := oci.ParseReference(r.String())
		if err != nil || again != r {
			t.Fatalf("%q became %q, and that %q, %v", s, r, again, err)
		}
	})
}
