package conformance

import (
	"os"
	"strings"
	"sync"
	"testing"

	"airlift/manifest"
)

var loadSchemas = sync.OnceValues(LoadSchemas)

func schemas(t *testing.T) Schemas {
	t.Helper()
	s, err := loadSchemas()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var mirrorKinds = map[string]string{
	manifest.DigestMirrorSet: "imageDigestMirrors",
	manifest.TagMirrorSet:    "imageTagMirrors",
}

// TestWrittenMirrorSets takes all forms that a mirror set can have.
func TestWrittenMirrorSets(t *testing.T) {
	for kind := range mirrorKinds {
		set := manifest.MirrorSet{Kind: kind, Name: "airlift-mirror.example", Comment: "two\nlines", Mirrors: []manifest.Mirror{
			{Source: "quay.io/openshift-release-dev/ocp-release", Mirrors: []string{"mirror.example:5000/ocp/release"}},
			{Source: "quay.io/openshift-release-dev/ocp-v4.0-art-dev", Mirrors: []string{"mirror.example:5000/ocp/release", "10.0.0.7:8443/a__b/c--d.e"}},
			{Source: "registry.redhat.io", Mirrors: []string{"mirror.example"}, Policy: manifest.AllowContactingSource},
			{Source: "*.example.com", Mirrors: []string{"mirror.example/wild"}, Policy: manifest.NeverContactSource},
		}}
		for _, set := range []manifest.MirrorSet{set, {Kind: kind, Name: "emptied"}} {
			text, err := set.YAML()
			if err != nil {
				t.Fatal(err)
			}
			if err := schemas(t).Check(text); err != nil {
				t.Errorf("%s: %v\n%s", kind, err, text)
			}
		}
	}
}

// TestWrittenPolicy takes what clusters before 4.13 are told, and what is made of
// it for later ones.
func TestWrittenPolicy(t *testing.T) {
	policy := manifest.MirrorSet{Kind: manifest.ContentSourcePolicy, Name: "airlift-mirror.example", Mirrors: []manifest.Mirror{
		{Source: "quay.io/openshift-release-dev/ocp-release", Mirrors: []string{"mirror.example:5000/ocp/release", "10.0.0.7:8443/a__b"}},
		{Source: "*.example.com", Mirrors: []string{"mirror.example/wild"}},
	}}
	text, err := policy.YAML()
	if err != nil {
		t.Fatal(err)
	}
	if err := schemas(t).Check(text); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
	for kind := range mirrorKinds {
		made, err := manifest.ConvertPolicies(text, kind)
		if err != nil {
			t.Fatal(err)
		}
		if err := schemas(t).Check(made[0].YAML); err != nil {
			t.Errorf("%v\n%s", err, made[0].YAML)
		}
	}
}

// TestExampleOfOc reads an object of oc's own tests and writes it again.
func TestExampleOfOc(t *testing.T) {
	example, err := os.ReadFile("../idms/oc.yaml")
	if err != nil {
		t.Fatal(err)
	}
	set, err := manifest.ParseMirrorSet(example)
	if err != nil {
		t.Fatal(err)
	}
	text, err := set.YAML()
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range [][]byte{example, text} {
		if err := schemas(t).Check(object); err != nil {
			t.Errorf("%v\n%s", err, object)
		}
		cluster, err := NewCluster(t.TempDir(), nil, object)
		if err != nil {
			t.Fatal(err)
		}
		places, err := cluster.Places("quay.io/openshift-release-dev/ocp-v4.0-art-dev" + someDigest)
		if err != nil || len(places) != 3 || places[1].Reference != "localhost:5000/target/release"+someDigest {
			t.Errorf("%v, %v", places, err)
		}
	}
}

// wrongMirrorSets break one rule each. FIELD stands for the list of entries.
var wrongMirrorSets = map[string]struct {
	from, to string // what is changed in rightMirrorSet
	reason   string // part of the server's words
	metadata bool   // the fault is in metadata, which manifest drops
}{
	"misspelt field":        {"mirrorSourcePolicy", "mirrorSourcePolcy", "unknown field spec.FIELD[0].mirrorSourcePolcy", false},
	"field of the spec":     {"spec:", "spec:\n  mirrors: []", "unknown field spec.mirrors", false},
	"field of the object":   {"spec:", "status: {}\nspeck: {}\nspec:", "unknown field speck", true},
	"field of metadata":     {"  name: a", "  name: a\n  label: {}", "label", true},
	"repeated field":        {"  name: a", "  name: a\n  name: a", "already set", false},
	"another kind's field":  {"FIELD", "repositoryDigestMirrors", "unknown field spec.repositoryDigestMirrors", false},
	"no spec":               {"spec:", "annotations:", "spec in body is required", false},
	"no source":             {"  - source: quay.io/a/b\n    mirrors", "  - mirrors", "source in body is required", false},
	"source with a tag":     {"quay.io/a/b", "quay.io/a/b:v1", "should match", false},
	"source with a digest":  {"quay.io/a/b", "quay.io/a/b@sha256:0123", "should match", false},
	"source with a scheme":  {"quay.io/a/b", "https://quay.io/a/b", "should match", false},
	"wildcard with a path":  {"quay.io/a/b", "'*.quay.io/a'", "should match", false},
	"mirror with a scheme":  {"m.example:5000/a/b", "http://m.example:5000/a/b", "should match", false},
	"mirror with a tag":     {"m.example:5000/a/b", "m.example:5000/a/b:v1", "should match", false},
	"mirror with a digest":  {"m.example:5000/a/b", "m.example:5000/a/b@sha256:0123", "should match", false},
	"mirror with wildcard":  {"m.example:5000/a/b", "'*.example'", "should match", false},
	"mirror IPv6":           {"m.example:5000/a/b", "'[fd00::7]:5000/a/b'", "should match", false},
	"mirror upper case":     {"m.example:5000/a/b", "m.example:5000/A/b", "should match", false},
	"mirror underscore":     {"m.example:5000/a/b", "m_1.example:5000/a/b", "should match", false},
	"mirror final slash":    {"m.example:5000/a/b", "m.example:5000/a/b/", "should match", false},
	"mirror twice":          {"- m.example:5000/a/b", "- m.example:5000/a/b\n    - m.example:5000/a/b", "Duplicate value", false},
	"mirrors as a string":   {"\n    - m.example:5000/a/b", " m.example:5000/a/b", "must be of type array", false},
	"bad policy":            {"NeverContactSource", "Never", "should be one of", false},
	"policy of another age": {"NeverContactSource", "neverContactSource", "should be one of", false},
	"name in upper case":    {"name: a", "name: Airlift", "metadata.name", false},
	"name with a slash":     {"name: a", "name: a/b", "metadata.name", false},
	"in a namespace":        {"name: a", "name: a\n  namespace: openshift", "not allowed on this type", true},
	"another version":       {"config.openshift.io/v1", "config.openshift.io/v1alpha1", "no CRD has", false},
	"two documents":         {"spec:", "---\nspec:", "more than one document", false},
}

const rightMirrorSet = `apiVersion: config.openshift.io/v1
kind: KIND
metadata:
  name: a
spec:
  FIELD:
  - source: quay.io/a/b
    mirrors:
    - m.example:5000/a/b
    mirrorSourcePolicy: NeverContactSource
`

// TestWrongMirrorSets shows that the schemas bite, and that what they refuse
// is refused by airlift too when it reads an object that somebody edited.
func TestWrongMirrorSets(t *testing.T) {
	for kind, list := range mirrorKinds {
		named := strings.NewReplacer("KIND", kind, "FIELD", list)
		right := named.Replace(rightMirrorSet)
		if err := schemas(t).Check([]byte(right)); err != nil {
			t.Fatal(err)
		}
		if _, err := manifest.ParseMirrorSet([]byte(right)); err != nil {
			t.Fatal(err)
		}
		for name, c := range wrongMirrorSets {
			wrong := strings.Replace(right, named.Replace(c.from), named.Replace(c.to), 1)
			err := schemas(t).Check([]byte(wrong))
			if err == nil || !strings.Contains(err.Error(), named.Replace(c.reason)) {
				t.Errorf("%s, %s: the schema says %v", kind, name, err)
			}
			if _, err := manifest.ParseMirrorSet([]byte(wrong)); err == nil && !c.metadata {
				t.Errorf("%s, %s: airlift reads it", kind, name)
			}
		}
	}
}

// samplesConfig is what the samples operator leaves on a cluster that cannot
// reach registry.redhat.io.
const samplesConfig = `apiVersion: samples.operator.openshift.io/v1
kind: Config
metadata:
  name: cluster
  finalizers: [samples.operator.openshift.io/finalizer]
  uid: 5f0c5bd2-6a2e-4d6c-9f5a-0d0f0f6c6a11
  generation: 2
spec:
  architectures: [x86_64]
  managementState: Removed
  skippedImagestreams: [long, gone]
status:
  managementState: Removed
  version: 4.17.3
  conditions:
  - type: ConfigurationValid
    status: "True"
    lastUpdateTime: "2026-01-02T03:04:05Z"
`

func TestWrittenSamplesPatch(t *testing.T) {
	for _, p := range []manifest.SamplesPatch{
		{Registry: "mirror.example"},
		{Registry: "mirror.example:5000/samples", Skipped: []string{"ruby", "jboss-eap74-openjdk11-openshift"}, Comment: "why"},
	} {
		patch, err := p.YAML()
		if err != nil {
			t.Fatal(err)
		}
		if err := schemas(t).CheckPatch([]byte(samplesConfig), patch); err != nil {
			t.Errorf("%v\n%s", err, patch)
		}
		patched, err := ApplyPatch([]byte(samplesConfig), patch)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"managementState: Managed", "samplesRegistry: " + p.Registry, "x86_64"} {
			if !strings.Contains(string(patched), want) {
				t.Errorf("the patched object has no %q:\n%s", want, patched)
			}
		}
		if strings.Contains(string(patched), "- gone") {
			t.Errorf("a stream that was skipped before is skipped still:\n%s", patched)
		}
	}
}

func TestWrongSamplesPatches(t *testing.T) {
	for patch, reason := range map[string]string{
		"spec: {managementState: managed}":            "should match",
		"spec: {samplesRegistry: 5000}":               "must be of type string",
		"spec: {skippedImagestreams: ruby}":           "must be of type array",
		"spec: {skippedImageStreams: [ruby]}":         "unknown field spec.skippedImageStreams",
		"spec: {skippedImagestreams: [{name: ruby}]}": "must be of type string",
		"spec: {skippedHelmCharts: [a]}":              "rules in CEL",
		"spec: {skippedHelmCharts: [a, a]}":           "Duplicate value",
		"spec: null":                                  "spec in body is required",
	} {
		err := schemas(t).CheckPatch([]byte(samplesConfig), []byte(patch))
		if err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: the schema says %v", patch, err)
		}
	}
}
