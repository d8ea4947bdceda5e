package manifest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const realRelease = "../testdata/release/4.12.0-x86_64/"

func TestRealRelease(t *testing.T) {
	release, err := ParseImageReferences(readFile(t, realRelease+"image-references"))
	if err != nil {
		t.Fatal(err)
	}
	if release.Version != "4.12.0" || len(release.Components) != 183 {
		t.Errorf("version %s with %d components, want 4.12.0 with 183", release.Version, len(release.Components))
	}
	names, images := []string{}, map[string]bool{}
	for _, c := range release.Components {
		names = append(names, c.Name)
		images[c.Image] = true
		if !strings.HasPrefix(c.Image, "quay.io/openshift-release-dev/ocp-v4.0-art-dev@sha256:") {
			t.Errorf("%s: image %s", c.Name, c.Image)
		}
	}
	if !slices.IsSorted(names) || len(images) != 183 {
		t.Errorf("components are not sorted, or %d images differ, want 183", len(images))
	}
	want := Component{
		Name:  "agent-installer-api-server",
		Image: "quay.io/openshift-release-dev/ocp-v4.0-art-dev@sha256:f30638f60452062aba36a26ee6c036feead2f03b28f2c47f2b0a991e4182331e",
	}
	if release.Components[0] != want {
		t.Errorf("first component %v, want %v", release.Components[0], want)
	}
}

var hex64 = strings.Repeat("0a", 32)

// references is an image-references text with the given tags, each a JSON object.
func references(tags ...string) string {
	return fmt.Sprintf(`{"kind":"ImageStream","apiVersion":"image.openshift.io/v1","metadata":{"name":"4.17.3"},"spec":{"tags":[%s]}}`,
		strings.Join(tags, ","))
}

func referenceTag(name, kind, image string) string {
	return fmt.Sprintf(`{"name":%q,"from":{"kind":%q,"name":%q}}`, name, kind, image)
}

func TestImageReferences(t *testing.T) {
	good := "quay.io/a/b@sha256:" + hex64
	release, err := ParseImageReferences([]byte(references(
		referenceTag("installer", "DockerImage", good),
		referenceTag("alias", "ImageStreamTag", "installer"),
		`{"name":"nothing"}`, `{"name":"null","from":null}`,
		referenceTag("cli", "DockerImage", "registry.example:5000/"+good),
	)))
	if err != nil {
		t.Fatal(err)
	}
	want := Release{Version: "4.17.3", Components: []Component{
		{Name: "cli", Image: "registry.example:5000/" + good},
		{Name: "installer", Image: good},
	}}
	if diff := cmp.Diff(want, release); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBadImageReferences(t *testing.T) {
	good := "quay.io/a/b@sha256:" + hex64
	docker := func(image string) string { return references(referenceTag("cli", "DockerImage", image)) }
	for name, test := range map[string]struct{ in, want string }{
		"empty":          {"", "decode JSON"},
		"no JSON":        {"kind: ImageStream", "decode JSON"},
		"an array":       {"[]", "decode JSON"},
		"trailing data":  {references(referenceTag("cli", "DockerImage", good)) + "{}", "decode JSON"},
		"deployment":     {`{"kind":"Deployment","apiVersion":"apps/v1"}`, "it is a Deployment of"},
		"other group":    {strings.Replace(docker(good), "image.openshift.io/v1", "v1", 1), `not an ImageStream of "image.openshift.io/v1"`},
		"no version":     {strings.Replace(docker(good), "4.17.3", "", 1), "not a release version"},
		"path version":   {strings.Replace(docker(good), "4.17.3", "../4.17", 1), "not a release version"},
		"no components":  {references(), "names no images"},
		"only aliases":   {references(referenceTag("a", "ImageStreamTag", "b")), "names no images"},
		"tags no list":   {strings.Replace(references(), "[]", "3", 1), "decode ImageStream"},
		"by tag":         {docker("quay.io/a/b:1"), "component cli: image quay.io/a/b:1 has no digest"},
		"by nothing":     {docker("quay.io/a/b"), "has no digest"},
		"tag and digest": {docker("quay.io/a/b:1@sha256:" + hex64), "has a tag beside its digest"},
		"short digest":   {docker("quay.io/a/b@sha256:0a"), "has a digest that is not sha256"},
		"sha512":         {docker("quay.io/a/b@sha512:" + hex64 + hex64), "has a digest that is not sha256"},
		"upper digest":   {docker("quay.io/a/b@sha256:" + strings.ToUpper(hex64)), "has a digest that is not sha256"},
		"two digests":    {docker(good + "@sha256:" + hex64), "has a digest that is not sha256"},
		"no name":        {docker("@sha256:" + hex64), "is not an image reference"},
		"space":          {docker("quay.io/a b@sha256:" + hex64), "is not an image reference"},
		"control":        {docker("quay.io/a\x01b@sha256:" + hex64), "is not an image reference"},
		"twice":          {references(referenceTag("cli", "DockerImage", good), referenceTag("cli", "DockerImage", good)), "component cli is there twice"},
		"bad name":       {references(referenceTag("a/b", "DockerImage", good)), "cannot be part of an image tag"},
		"empty name":     {references(referenceTag("", "DockerImage", good)), "cannot be part of an image tag"},
	} {
		t.Run(name, func(t *testing.T) {
			in := strings.ReplaceAll(test.in, `\x`, `\u00`) // %q writes Go's escapes
			release, err := ParseImageReferences([]byte(in))
			wantError(t, err, test.want)
			if len(release.Components) > 0 {
				t.Errorf("returned %v beside the error", release)
			}
		})
	}
}

func TestReferencesLimits(t *testing.T) {
	tags := make([]string, MaxComponents+1)
	for i := range tags {
		tags[i] = referenceTag(fmt.Sprint("c", i), "DockerImage", "quay.io/a/b@sha256:"+hex64)
	}
	_, err := ParseImageReferences([]byte(references(tags...)))
	wantError(t, err, "more than 10000 components")
	_, err = ParseImageReferences([]byte(references(tags[1:]...)))
	wantError(t, err, "")
	large := []byte(references(tags[0]) + strings.Repeat(" ", MaxInput))
	_, err = ParseImageReferences(large)
	wantError(t, err, "larger than")
	_, err = ParseReleaseMetadata(large)
	wantError(t, err, "larger than")
	_, err = ParseImageStreams(large)
	wantError(t, err, "larger than")
	_, err = ParseMirrorSet(large)
	wantError(t, err, "larger than")
}

func TestRealMetadata(t *testing.T) {
	got, err := ParseReleaseMetadata(readFile(t, realRelease+"release-metadata"))
	wantError(t, err, "")
	want := Metadata{Version: "4.12.0", URL: "https://access.redhat.com/errata/RHSA-2022:7399"}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestReleaseMetadata(t *testing.T) {
	const kind = `"kind":"cincinnati-metadata-v0",`
	for name, test := range map[string]struct {
		in   string
		want Metadata
		err  string
	}{
		"multi":         {`{` + kind + `"version":"4.17.3","metadata":{"release.openshift.io/architecture":"multi"}}`, Metadata{Version: "4.17.3", Architecture: "multi"}, ""},
		"no metadata":   {`{` + kind + `"version":"4.17.3","previous":[]}`, Metadata{Version: "4.17.3"}, ""},
		"nightly":       {`{` + kind + `"version":"4.10.0-0.nightly-2021-11-14-184249"}`, Metadata{Version: "4.10.0-0.nightly-2021-11-14-184249"}, ""},
		"other arch":    {`{` + kind + `"version":"4.17.3","metadata":{"release.openshift.io/architecture":"amd64"}}`, Metadata{}, `its architecture is "amd64"`},
		"no arch":       {`{` + kind + `"version":"4.17.3","metadata":{"release.openshift.io/architecture":""}}`, Metadata{}, `its architecture is ""`},
		"arch number":   {`{` + kind + `"version":"4.17.3","metadata":{"release.openshift.io/architecture":[1]}}`, Metadata{}, "its architecture is"},
		"other kind":    {`{"kind":"cincinnati-metadata-v1","version":"4.17.3"}`, Metadata{}, "not cincinnati-metadata-v0"},
		"no kind":       {`{"version":"4.17.3"}`, Metadata{}, "an object without a kind"},
		"no version":    {`{` + kind + `"previous":[]}`, Metadata{}, "not a release version"},
		"bad version":   {`{` + kind + `"version":"4 17"}`, Metadata{}, "not a release version"},
		"not JSON":      {"kind: x", Metadata{}, "decode JSON"},
		"empty":         {"", Metadata{}, "decode JSON"},
		"metadata list": {`{` + kind + `"version":"4.17.3","metadata":[]}`, Metadata{}, "decode JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseReleaseMetadata([]byte(test.in))
			wantError(t, err, test.err)
			if got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestPayloadArch(t *testing.T) {
	for goarch, want := range map[string]string{
		"amd64": "x86_64", "arm64": "aarch64", "s390x": "s390x", "ppc64le": "ppc64le", "multi": "multi",
	} {
		if got := PayloadArch(goarch); got != want {
			t.Errorf("PayloadArch(%q) = %q, want %q", goarch, got, want)
		}
	}
}
