package ocitest

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// What stands in release-manifests/ of a payload. The objects are the ones of
// oc's pkg/cli/admin/release, field by field in their order.

// operatorComponent is the component that brings a manifest along.
const operatorComponent = "machine-config-operator"

// created is the time of everything that must have one.
const created = "2024-10-22T07:14:02Z"

type imageReferences struct {
	Kind       string          `json:"kind"`
	APIVersion string          `json:"apiVersion"`
	Metadata   referencesMeta  `json:"metadata"`
	Spec       referencesSpec  `json:"spec"`
	Status     repositoryState `json:"status"`
}

type referencesMeta struct {
	Name              string            `json:"name"`
	CreationTimestamp string            `json:"creationTimestamp"`
	Annotations       map[string]string `json:"annotations"`
}

type referencesSpec struct {
	LookupPolicy struct {
		Local bool `json:"local"`
	} `json:"lookupPolicy"`
	Tags []referenceTag `json:"tags"`
}

type referenceTag struct {
	Name            string            `json:"name"`
	Annotations     map[string]string `json:"annotations"`
	From            objectReference   `json:"from"`
	Generation      *int64            `json:"generation"`
	ImportPolicy    struct{}          `json:"importPolicy"`
	ReferencePolicy struct {
		Type string `json:"type"`
	} `json:"referencePolicy"`
}

type objectReference struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

type repositoryState struct {
	DockerImageRepository string `json:"dockerImageRepository"`
}

// releaseManifests are the entries of a payload's last layer.
func releaseManifests(r Release, opts ReleaseOpts) []File {
	return []File{
		{Name: "release-manifests/", Mode: 0o777},
		{Name: "release-manifests/image-references", Mode: 0o444, Body: imageReferencesOf(r)},
		{Name: "release-manifests/release-metadata", Mode: 0o444, Body: releaseMetadataOf(opts)},
		{Name: "release-manifests/0000_50_" + operatorComponent + "_images.yaml", Mode: 0o444, Body: operatorManifest(r)},
	}
}

func imageReferencesOf(r Release) string {
	refs := imageReferences{
		Kind:       "ImageStream",
		APIVersion: "image.openshift.io/v1",
		Metadata: referencesMeta{
			Name:              r.Version,
			CreationTimestamp: created,
			Annotations:       map[string]string{"release.openshift.io/from-image-stream": "ocp/art-latest"},
		},
	}
	for _, name := range r.names() {
		refs.Spec.Tags = append(refs.Spec.Tags, referenceTag{
			Name:        name,
			Annotations: buildAnnotations(name, r.Version),
			From:        objectReference{Kind: "DockerImage", Name: r.Images[name]},
		})
	}
	return indented(refs, "  ")
}

// buildAnnotations are what the build left on a component. Two components of a
// release tell versions of what they contain, as in real ones.
func buildAnnotations(name, version string) map[string]string {
	a := map[string]string{
		"io.openshift.build.commit.id":       commitOf(name),
		"io.openshift.build.commit.ref":      "",
		"io.openshift.build.source-location": sourceOf(name),
	}
	switch name {
	case "hyperkube":
		a["io.openshift.build.versions"] = "kubernetes=1.30.5"
		a["io.openshift.build.version-display-names"] = ""
	case "rhel-coreos":
		a["io.openshift.build.versions"] = "machine-os=" + version
		a["io.openshift.build.version-display-names"] = "machine-os=Red Hat Enterprise Linux CoreOS"
	}
	return a
}

type releaseMetadata struct {
	Kind     string            `json:"kind"`
	Version  string            `json:"version"`
	Previous []string          `json:"previous"`
	Metadata map[string]string `json:"metadata"`
}

func releaseMetadataOf(opts ReleaseOpts) string {
	m := releaseMetadata{
		Kind:     "cincinnati-metadata-v0",
		Version:  opts.Version,
		Previous: []string{},
		Metadata: map[string]string{"url": "https://access.redhat.com/errata/RHSA-2024:0000"},
	}
	if opts.Multi {
		m.Metadata["release.openshift.io/architecture"] = "multi"
	}
	return indented(m, "  ")
}

// operatorManifest is the one manifest of the one operator.
func operatorManifest(r Release) string {
	return fmt.Sprintf(`apiVersion: v1
kind: ConfigMap
metadata:
  name: machine-config-operator-images
  namespace: openshift-machine-config-operator
data:
  releaseVersion: %s
`, r.Version)
}

// commitOf makes up a commit for a component.
func commitOf(name string) string {
	sum := sha1.Sum([]byte(name))
	return hex.EncodeToString(sum[:])
}

func sourceOf(name string) string {
	return "https://github.com/openshift/" + name
}

// indented is v as JSON, written as people and oc like it: no escaping of
// what is harmless outside of HTML, and no newline at the end.
func indented(v any, indent string) string {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		panic(err) // only types of this package come here, and they can be written
	}
	return string(bytes.TrimSuffix(out.Bytes(), []byte("\n")))
}
