package oci

import (
	"fmt"
	"regexp"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Platform is what an image runs on, in Go's words, as indexes have them.
type Platform struct {
	OS, Architecture string
	Variant          string // "" = any
}

var platformPattern = regexp.MustCompile(`^[a-z0-9_.-]{1,32}/[a-z0-9_.-]{1,32}(/[a-z0-9_.-]{1,32})?$`)

// architectures are other words for what Go calls otherwise: those of uname,
// which release payloads use.
var architectures = map[string]string{"x86_64": "amd64", "aarch64": "arm64"}

// ParsePlatform reads OS/ARCH[/VARIANT]. The architecture may be written as uname
// does; linux/arm64/v8 is linux/arm64.
func ParsePlatform(s string) (Platform, error) {
	if !platformPattern.MatchString(s) {
		return Platform{}, fmt.Errorf("parse platform %q: it is not OS/ARCH[/VARIANT], such as linux/amd64", clean(s))
	}
	parts := append(strings.Split(s, "/"), "")
	return normalPlatform(parts[0], parts[1], parts[2]), nil
}

func normalPlatform(os, arch, variant string) Platform {
	if known, is := architectures[arch]; is {
		arch = known
	}
	if arch == "arm64" && variant == "v8" {
		variant = ""
	}
	return Platform{os, arch, variant}
}

// String is OS/ARCH[/VARIANT].
func (p Platform) String() string {
	return strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/")
}

// Runs says whether p is the platform that a descriptor names. One without a
// variant is any variant.
func (p Platform) Runs(of ocispec.Platform) bool {
	q := normalPlatform(of.OS, of.Architecture, of.Variant)
	return p.OS == q.OS && p.Architecture == q.Architecture && (p.Variant == "" || p.Variant == q.Variant)
}
