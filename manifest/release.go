package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// MaxComponents is the largest number of components of a release that is read.
// Releases of 2023 have 183.
const MaxComponents = 10_000

// Release is what a payload's image-references says: a version and its images.
type Release struct {
	Version    string      // of the release, e.g. "4.17.3"
	Components []Component // sorted by name, names unique
}

// Component is one image of a release.
type Component struct {
	Name  string // e.g. "cluster-version-operator"; fits into an image tag
	Image string // name@sha256:<hex>, as written in the payload
}

type imageStreamSpec struct {
	Repository string `json:"dockerImageRepository"`
	Tags       []struct {
		Name string        `json:"name"`
		From *objectSource `json:"from"`
	} `json:"tags"`
}

// objectSource is what a tag, a trigger or a build starts from.
type objectSource struct {
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
}

var (
	releaseVersion = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._+-]{0,127}$`)
	componentName  = regexp.MustCompile(`^[0-9A-Za-z_][0-9A-Za-z._-]{0,127}$`)
	imageDigest    = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// ParseImageReferences reads release-manifests/image-references of a release
// payload: a JSON ImageStream of image.openshift.io/v1 whose name is the version.
//
// Tags that name no DockerImage are left out, and a DockerImage that is not
// named by digest alone is an error, both as `oc adm release mirror` has it. A
// component name that occurs twice and a release without components are errors.
func ParseImageReferences(data []byte) (Release, error) {
	if len(data) > MaxInput {
		return Release{}, fmt.Errorf("it is larger than %d bytes", MaxInput)
	}
	var object struct {
		header
		Spec imageStreamSpec `json:"spec"`
	}
	if err := json.Unmarshal(data, &object.header); err != nil {
		return Release{}, fmt.Errorf("decode JSON: %w", err)
	}
	if object.Kind != "ImageStream" || object.APIVersion != imageAPI {
		return Release{}, fmt.Errorf("it is %s of %.80q, not an ImageStream of %q", article(object.Kind), object.APIVersion, imageAPI)
	}
	if err := json.Unmarshal(data, &object); err != nil {
		return Release{}, fmt.Errorf("decode ImageStream: %w", err)
	}
	if !releaseVersion.MatchString(object.Metadata.Name) {
		return Release{}, fmt.Errorf("its name %.80q is not a release version", object.Metadata.Name)
	}
	components, err := releaseComponents(object.Spec)
	if err != nil {
		return Release{}, err
	}
	return Release{Version: object.Metadata.Name, Components: components}, nil
}

func releaseComponents(spec imageStreamSpec) ([]Component, error) {
	if len(spec.Tags) > MaxComponents {
		return nil, fmt.Errorf("it has more than %d components", MaxComponents)
	}
	var components []Component
	seen := map[string]bool{}
	for _, tag := range spec.Tags {
		if tag.From == nil || tag.From.Kind != dockerImage {
			continue
		}
		if !componentName.MatchString(tag.Name) {
			return nil, fmt.Errorf("component name %.80q cannot be part of an image tag", tag.Name)
		}
		if seen[tag.Name] {
			return nil, fmt.Errorf("component %s is there twice", tag.Name)
		}
		if err := checkByDigest(tag.From.Name); err != nil {
			return nil, fmt.Errorf("component %s: %w", tag.Name, err)
		}
		seen[tag.Name] = true
		components = append(components, Component{Name: tag.Name, Image: tag.From.Name})
	}
	if len(components) == 0 {
		return nil, errors.New("it names no images")
	}
	slices.SortFunc(components, func(a, b Component) int { return strings.Compare(a.Name, b.Name) })
	return components, nil
}

// checkByDigest says why an image is not named by digest alone.
func checkByDigest(image string) error {
	name, digest, found := strings.Cut(image, "@")
	last := name[strings.LastIndexByte(name, '/')+1:]
	switch {
	case !printable(image, maxReference) || name == "":
		return fmt.Errorf("%.80q is not an image reference", image)
	case !found:
		return fmt.Errorf("image %s has no digest", image)
	case !imageDigest.MatchString(digest):
		return fmt.Errorf("image %s has a digest that is not sha256 and 64 lower-case hexadecimal digits", image)
	case strings.Contains(last, ":"):
		return fmt.Errorf("image %s has a tag beside its digest", image)
	}
	return nil
}

// Metadata is what a payload's release-metadata says.
type Metadata struct {
	Version      string // of the release; the same as in image-references
	Architecture string // "multi" for a payload of several architectures, else ""
	URL          string // of the erratum; "" if there is none
}

// ParseReleaseMetadata reads release-manifests/release-metadata of a release
// payload: JSON of kind cincinnati-metadata-v0. An architecture other than
// "multi" is an error, as it is to the cluster version operator.
func ParseReleaseMetadata(data []byte) (Metadata, error) {
	if len(data) > MaxInput {
		return Metadata{}, fmt.Errorf("it is larger than %d bytes", MaxInput)
	}
	var object struct {
		Kind     string         `json:"kind"`
		Version  string         `json:"version"`
		Metadata map[string]any `json:"metadata"`
	}
	if err := json.Unmarshal(data, &object); err != nil {
		return Metadata{}, fmt.Errorf("decode JSON: %w", err)
	}
	if object.Kind != metadataKind {
		return Metadata{}, fmt.Errorf("it is %s, not %s", article(object.Kind), metadataKind)
	}
	if !releaseVersion.MatchString(object.Version) {
		return Metadata{}, fmt.Errorf("its version %.80q is not a release version", object.Version)
	}
	arch, found := object.Metadata[architectureKey]
	if found && arch != multiArch {
		return Metadata{}, fmt.Errorf("its architecture is %.80q, and only %q is known", fmt.Sprint(arch), multiArch)
	}
	m := Metadata{Version: object.Version}
	if found {
		m.Architecture = multiArch
	}
	m.URL, _ = object.Metadata["url"].(string)
	return m, nil
}

const (
	imageAPI        = "image.openshift.io/v1"
	dockerImage     = "DockerImage"
	imageStreamTag  = "ImageStreamTag"
	metadataKind    = "cincinnati-metadata-v0"
	architectureKey = "release.openshift.io/architecture"
	multiArch       = "multi"
	maxReference    = 1024
)

// PayloadArch returns the name that release tags use for an architecture of Go:
// x86_64 for amd64, aarch64 for arm64, and the same name for every other (oc,
// `oc adm release mirror`).
func PayloadArch(goarch string) string {
	switch goarch {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	}
	return goarch
}
