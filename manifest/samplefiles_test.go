package manifest

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rails is a template in the form of the operator's: parameters, a build from a
// stream, a deployment with triggers in an annotation and in a list, placeholders.
const rails = `{
 "kind": "Template", "apiVersion": "template.openshift.io/v1",
 "metadata": {"name": "rails", "annotations": {"tags": "quay.io/not/an-image:1"}},
 "objects": [
  {"kind": "ImageStream", "apiVersion": "image.openshift.io/v1", "metadata": {"name": "${NAME}"}},
  {"kind": "BuildConfig", "spec": {"strategy": {"sourceStrategy": {
   "from": {"kind": "ImageStreamTag", "name": "ruby:${RUBY_VERSION}", "namespace": "${NAMESPACE}"},
   "env": [{"name": "BASE", "value": "quay.io/not/this:1"}]}},
   "source": {"images": [{"from": {"kind": "DockerImage", "name": "quay.io/team/assets"}}]},
   "output": {"to": {"kind": "ImageStreamTag", "name": "${NAME}:latest"}}}},
  {"kind": "Deployment", "metadata": {"annotations": {"image.openshift.io/triggers":
    "[{\"from\":{\"kind\":\"ImageStreamTag\",\"name\":\"postgresql:${DB_VERSION}\",\"namespace\":\"openshift\"},\"fieldPath\":\"x\"}]"}},
   "spec": {"template": {"spec": {
    "initContainers": [{"name": "init", "image": "${IMAGE}"}],
    "containers": [
     {"name": "a", "image": " "}, {"name": "b", "image": "${NAME}"}, {"name": "c", "image": "postgresql"},
     {"name": "d", "image": "${UNKNOWN}/a/b:1"}, {"name": "e", "image": "quay.io/a/b:${GENERATED}"},
     {"name": "f", "image": "image-registry.openshift-image-registry.svc:5000/openshift/java:latest"},
     {"name": "g", "image": "image-registry.openshift-image-registry.svc:5000/project/own:latest"}]}},
    "triggers": [{"imageChangeParams": {"from": {"kind": "ImageStreamTag", "name": "${NAME}:latest"}}}]}}
 ],
 "parameters": [
  {"name": "NAME", "value": "rails-app"}, {"name": "NAMESPACE", "value": "openshift"},
  {"name": "RUBY_VERSION", "value": "3.0-ubi8"}, {"name": "DB_VERSION", "value": "12-el8"},
  {"name": "IMAGE", "value": "registry.redhat.io/jboss-datagrid-7/datagrid73-openshift"},
  {"name": "GENERATED", "generate": "expression", "from": "[a-z]{8}"}
 ]
}`

// operatorFile is where a file of the operator stands: x86_64/ruby/imagestreams/ruby.json.
func operatorFile(p string) string { return samplesRoot + p }

func TestParseSamples(t *testing.T) {
	stream := func(name string, pairs ...string) []byte { return asJSON(t, streamObject(name, nil, pairs...)) }
	files := map[string][]byte{
		operatorFile("x86_64/ruby/imagestreams/ruby-rhel.json"):  stream("ruby", "3.0", "registry.redhat.io/ubi8/ruby-30:latest"),
		operatorFile("x86_64/java/imagestreams/java.json"):       stream("java", "8", "registry.redhat.io/ubi8/openjdk-8:latest"),
		operatorFile("x86_64/rails/templates/rails.json"):        []byte(rails),
		operatorFile("aarch64/java/imagestreams/java.json"):      stream("java", "8", "registry.access.redhat.com/ubi8/openjdk-8:latest"),
		operatorFile("s390x/java/imagestreams/broken.json"):      []byte("{"),
		operatorFile("x86_64/other/imagestreams/java.json"):      stream("java", "8", "registry.redhat.io/other/openjdk-8:latest"),
		operatorFile("x86_64/other-a/imagestreams/another.json"): stream("java", "8", "registry.redhat.io/other-a/openjdk-8:latest"),
	}
	for p := range files {
		matched := false
		for _, pattern := range SampleFiles {
			fits, err := path.Match(pattern, p)
			wantError(t, err, "")
			matched = matched || fits
		}
		if !matched {
			t.Errorf("no pattern for %s", p)
		}
	}
	if diff := cmp.Diff([]string{"aarch64", "s390x", "x86_64"}, SampleArchitectures(files)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got, err := ParseSamples(files, "x86_64")
	wantError(t, err, "")
	want := Samples{Architecture: "x86_64",
		Streams: []ImageStream{
			// Of three files with one name the last counts, as directories are listed.
			{Name: "java", Managed: true, Tags: []Tag{{"8", "registry.redhat.io/other-a/openjdk-8:latest"}}},
			{Name: "ruby", Managed: true, Tags: []Tag{{"3.0", "registry.redhat.io/ubi8/ruby-30:latest"}}},
		},
		Templates: []Template{{
			Name:   "rails",
			Images: []string{"quay.io/team/assets", "registry.redhat.io/jboss-datagrid-7/datagrid73-openshift"},
			Tags:   []StreamTag{{"java", "latest"}, {"postgresql", "12-el8"}, {"ruby", "3.0-ubi8"}},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got, err = ParseSamples(files, "aarch64")
	wantError(t, err, "")
	if len(got.Streams) != 1 || got.Streams[0].Tags[0].From != "registry.access.redhat.com/ubi8/openjdk-8:latest" || got.Templates != nil {
		t.Errorf("aarch64 has %+v", got)
	}
	_, err = ParseSamples(files, "ppc64le")
	wantError(t, err, "it has no samples for ppc64le, only for aarch64, s390x, x86_64")
	_, err = ParseSamples(files, "s390x")
	wantError(t, err, "parse opt/openshift/operator/s390x/java/imagestreams/broken.json: it is not a Kubernetes object")
}

func TestBadSamples(t *testing.T) {
	template := func(s string) string { return strings.Replace(rails, `"kind": "Template"`, s, 1) }
	for in, want := range map[string]string{
		`{"kind": "Template"}`: "it is a Template, not an ImageStream",
		`{"kind": "ImageStream", "apiVersion": "image.openshift.io/v1", "metadata": {"name": "a/b"}}`: "is not a name of an imagestream",
		`[]`: "it is not a Kubernetes object",
		`{"kind": "ImageStream", "apiVersion": "image.openshift.io/v1", "metadata": {"name": "a"}, "spec": {"tags": {}}}`: "decode ImageStream",
		strings.Repeat(" ", MaxInput+1): "it is larger than",
	} {
		_, err := ParseSamples(map[string][]byte{operatorFile("x86_64/a/imagestreams/a.json"): []byte(in)}, "x86_64")
		wantError(t, err, want)
	}
	stream := asJSON(t, streamObject("a", nil))
	for in, want := range map[string]string{
		template(`"kind": "ConfigMap"`):                                  "it is a ConfigMap",
		strings.Replace(rails, "template.openshift.io/v1", "v2", 1):      `it is a Template of "v2"`,
		strings.Replace(rails, `"name": "rails"`, `"name": "r s"`, 1):    "is not a name of a template",
		strings.Replace(rails, `"parameters": [`, `"parameters": ["`, 1): "it is not a Kubernetes object",
		strings.Replace(rails, `"value": "openshift"`, `"value": 1`, 1):  "decode Template",
	} {
		_, err := ParseSamples(map[string][]byte{operatorFile("x86_64/a/imagestreams/a.json"): stream, operatorFile("x86_64/a/templates/a.json"): []byte(in)}, "x86_64")
		wantError(t, err, want)
	}
}

// A value that is used a hundred thousand times must not take gigabytes: neither
// long values nor long strings are looked into.
func TestTemplateBomb(t *testing.T) {
	longer := strings.Repeat("x", maxReference+1)
	bomb := fmt.Sprintf(`{"kind": "Template", "apiVersion": "v1", "metadata": {"name": "a"}, "objects": [{"containers": [{"image": "quay.io/${C}/b:1"}, {"image": %q}, {"image": %q}]}],
		"parameters": [{"name": "C", "value": "c"}]}`, "quay.io/a/b"+strings.Repeat("${C}", 300), "quay.io/a/"+strings.Repeat("${C}", maxTemplateText/4))
	got, err := parseTemplate([]byte(bomb))
	wantError(t, err, "")
	if want := []string{"quay.io/a/b" + strings.Repeat("c", 300), "quay.io/c/b:1"}; !slices.Equal(got.Images, want) {
		t.Errorf("%d images: %.300q", len(got.Images), got.Images)
	}
	n := needs{values: values([]parameter{{"A", longer}, {"B", longer[1:]}, {"C", ""}})}
	if text := n.text("${A}${B}${C}"); text != "${A}"+longer[1:]+"${C}" {
		t.Errorf("it has become %q", text)
	}
	if text := n.text(strings.Repeat("${B}", maxTemplateText/4+1)); text != "" {
		t.Errorf("it has become %d bytes", len(text))
	}
}
