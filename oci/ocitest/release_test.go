package ocitest

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestReleaseIsAPayload(t *testing.T) {
	b := StartRegistry(t).Builder()
	r := b.Release(ReleaseOpts{Prefix: "quay", Aliases: map[string]string{"tools": "cli"}})
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	if r.Reference != "quay.io/openshift-release-dev/ocp-release:4.17.3-x86_64" {
		t.Errorf("reference %s", r.Reference)
	}
	n, d := readNode(t, b, "quay/openshift-release-dev/ocp-release", "4.17.3-x86_64")
	same(t, r.Descriptor, d)
	var config ocispec.Image
	if err := json.Unmarshal(b.BlobBytes(r.PayloadRepo, n.Config.Digest), &config); err != nil {
		t.Fatal(err)
	}
	wantLabels := map[string]string{
		"io.openshift.release":                   "4.17.3",
		"io.openshift.release.base-image-digest": r.Components["cluster-version-operator"].String(),
	}
	if diff := cmp.Diff(wantLabels, config.Config.Labels); diff != "" {
		t.Errorf("labels: %s", diff)
	}
	files, names := lastLayer(t, b, r.PayloadRepo, n)
	wantNames := []string{
		"release-manifests/", "release-manifests/image-references", "release-manifests/release-metadata",
		"release-manifests/0000_50_machine-config-operator_images.yaml",
	}
	if diff := cmp.Diff(wantNames, names); diff != "" {
		t.Errorf("entries of the last layer: %s", diff)
	}
	checkReferences(t, r, files["release-manifests/image-references"])
	if r.Images["tools"] != r.Images["cli"] {
		t.Error("an alias has an image of its own")
	}
	for name, dg := range r.Components {
		n, d := readNode(t, b, "quay/openshift-release-dev/ocp-v4.0-art-dev", dg.String())
		if d.MediaType != DockerManifest || len(n.Layers) != 2 {
			t.Errorf("%s: %v", name, n)
		}
	}
}

// checkReferences compares image-references with the form that oc writes,
// which the expected text has word by word for one component.
func checkReferences(t *testing.T, r Release, data string) {
	t.Helper()
	head := `{
  "kind": "ImageStream",
  "apiVersion": "image.openshift.io/v1",
  "metadata": {
    "name": "4.17.3",
    "creationTimestamp": "2024-10-22T07:14:02Z",
`
	tag := `      {
        "name": "hyperkube",
        "annotations": {
          "io.openshift.build.commit.id": "` + commitOf("hyperkube") + `",
          "io.openshift.build.commit.ref": "",
          "io.openshift.build.source-location": "https://github.com/openshift/hyperkube",
          "io.openshift.build.version-display-names": "",
          "io.openshift.build.versions": "kubernetes=1.30.5"
        },
        "from": {
          "kind": "DockerImage",
          "name": "quay.io/openshift-release-dev/ocp-v4.0-art-dev@` + r.Components["hyperkube"].String() + `"
        },
        "generation": null,
        "importPolicy": {},
        "referencePolicy": {
          "type": ""
        }
      },
`
	tail := `
    ]
  },
  "status": {
    "dockerImageRepository": ""
  }
}`
	if !strings.HasPrefix(data, head) || !strings.Contains(data, tag) || !strings.HasSuffix(data, tail) {
		t.Errorf("image-references: %s", data)
	}
	if n := strings.Count(data, `"from"`); n != len(DefaultComponents())+1 {
		t.Errorf("%d tags", n)
	}
}

func TestMultiReleaseIsOfLists(t *testing.T) {
	b := StartRegistry(t).Builder()
	r := b.Release(ReleaseOpts{Multi: true, Signatures: true, Components: []string{"cli", "etcd"}})
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	list, d := readNode(t, b, r.PayloadRepo, "4.17.3-multi")
	same(t, r.Descriptor, d)
	if d.MediaType != DockerList || len(list.Manifests) != 2 || list.Manifests[1].Platform.Architecture != "arm64" {
		t.Fatalf("payload: %v", list)
	}
	amd, _ := readNode(t, b, r.PayloadRepo, list.Manifests[0].Digest.String())
	arm, _ := readNode(t, b, r.PayloadRepo, list.Manifests[1].Digest.String())
	if last := len(amd.Layers) - 1; amd.Layers[last].Digest != arm.Layers[last].Digest {
		t.Error("the added layers of the payloads differ")
	}
	if amd.Layers[1].Digest == arm.Layers[1].Digest {
		t.Error("the components' own layers are the same on two architectures")
	}
	files, _ := lastLayer(t, b, r.PayloadRepo, amd)
	if !strings.Contains(files["release-manifests/release-metadata"], `"release.openshift.io/architecture": "multi"`) {
		t.Error(files["release-manifests/release-metadata"])
	}
	cli, d := readNode(t, b, r.ComponentRepo, r.Components["cli"].String())
	if d.MediaType != DockerList || len(cli.Manifests) != 2 {
		t.Errorf("cli: %v", cli)
	}
	for _, dg := range []digest.Digest{d.Digest, cli.Manifests[0].Digest, cli.Manifests[1].Digest} {
		readNode(t, b, r.ComponentRepo, fallbackTag(dg)+".sig")
	}
	readNode(t, b, r.PayloadRepo, fallbackTag(r.Descriptor.Digest)+".sig")
}

func TestReleasesShareWhatDidNotChange(t *testing.T) {
	b := embedded(t)
	opts := ReleaseOpts{Unchanged: []string{"cli"}}
	old := b.Release(opts)
	if again := embedded(t).Release(opts); again.Descriptor.Digest != old.Descriptor.Digest {
		t.Errorf("the same options gave %s and %s", old.Descriptor.Digest, again.Descriptor.Digest)
	}
	opts.Version = "4.17.4"
	now := b.Release(opts)
	if old.Components["cli"] != now.Components["cli"] || old.Components["etcd"] == now.Components["etcd"] {
		t.Errorf("%v, then %v", old.Components, now.Components)
	}
	layers := map[digest.Digest]int{}
	for _, dg := range now.Components {
		n, _ := readNode(t, b, now.ComponentRepo, dg.String())
		layers[n.Layers[0].Digest]++
	}
	if len(layers) != 2 {
		t.Errorf("base layers, by number of users: %v", layers)
	}
}

func TestFilesOfAComponent(t *testing.T) {
	b := embedded(t)
	samples := SampleFiles("x86_64", ExampleSamples())
	r := b.Release(ReleaseOpts{Files: map[string]map[string]string{"cluster-samples-operator": samples}})
	n, _ := readNode(t, b, r.ComponentRepo, r.Components["cluster-samples-operator"].String())
	files, _ := lastLayer(t, b, r.ComponentRepo, n)
	if diff := cmp.Diff(samples, files); diff != "" {
		t.Error(diff)
	}
}

// lastLayer reads the last layer of an image: contents by name, and the names
// in order.
func lastLayer(t *testing.T, b *Builder, repo string, n node) (map[string]string, []string) {
	t.Helper()
	d := n.Layers[len(n.Layers)-1]
	r := tar.NewReader(bytes.NewReader(unpack(t, d, b.BlobBytes(repo, d.Digest))))
	files, names := map[string]string{}, []string{}
	for {
		h, err := r.Next()
		if err == io.EOF {
			return files, names
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(names, h.Name) {
			t.Errorf("%s stands twice", h.Name)
		}
		files[h.Name], names = string(data), append(names, h.Name)
	}
}
