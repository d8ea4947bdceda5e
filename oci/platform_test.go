package oci_test

import (
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci"
)

// TestParsePlatform: one normal form, and nothing that could not stand in an index.
func TestParsePlatform(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{
		"linux/amd64": "linux/amd64", "linux/x86_64": "linux/amd64", "linux/aarch64": "linux/arm64",
		"linux/arm64/v8": "linux/arm64", "linux/arm/v7": "linux/arm/v7", "windows/amd64": "windows/amd64",
	} {
		if got, err := oci.ParsePlatform(written); err != nil || got.String() != want {
			t.Errorf("%s: %v, %v", written, got, err)
		}
	}
	for _, bad := range []string{"", "linux", "linux/", "/amd64", "linux/amd64/", "linux/amd64/v1/x", "Linux/amd64", "linux/a b", "linux/amd64\n"} {
		if got, err := oci.ParsePlatform(bad); err == nil {
			t.Errorf("%q was taken as %v", bad, got)
		}
	}
}

// TestPlatformRuns: a variant counts only if one is wanted.
func TestPlatformRuns(t *testing.T) {
	t.Parallel()
	arm := func(variant string) ocispec.Platform {
		return ocispec.Platform{OS: "linux", Architecture: "arm", Variant: variant}
	}
	for _, test := range []struct {
		want string
		of   ocispec.Platform
		runs bool
	}{
		{"linux/arm", arm(""), true}, {"linux/arm", arm("v7"), true}, {"linux/arm/v7", arm("v7"), true},
		{"linux/arm/v7", arm("v6"), false}, {"linux/arm/v7", arm(""), false}, {"linux/amd64", arm(""), false}, {"windows/arm", arm(""), false},
		{"linux/arm64", ocispec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}, true},
		{"linux/amd64", ocispec.Platform{OS: "unknown", Architecture: "unknown"}, false},
	} {
		p, err := oci.ParsePlatform(test.want)
		if err != nil || p.Runs(test.of) != test.runs {
			t.Errorf("%s, %+v: %v, %v", test.want, test.of, p.Runs(test.of), err)
		}
	}
}
