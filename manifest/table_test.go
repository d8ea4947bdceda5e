package manifest

import (
	"encoding/json"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// sample is a line of testdata/samples/references.tsv.
type sample struct{ stream, tag, from string }

func readSamples(t testing.TB) []sample {
	t.Helper()
	var samples []sample
	for line := range strings.Lines(string(readFile(t, "../testdata/samples/references.tsv"))) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) != 3 {
			t.Fatalf("line %q has not three fields", line)
		}
		samples = append(samples, sample{fields[0], fields[1], fields[2]})
	}
	return samples
}

type object = map[string]any

// streamObject is an ImageStream with pairs of tag and reference. labels may be nil.
func streamObject(name string, labels object, pairs ...string) object {
	tags := []object{}
	for i := 0; i < len(pairs); i += 2 {
		tags = append(tags, object{
			"name":            pairs[i],
			"from":            object{"kind": "DockerImage", "name": pairs[i+1]},
			"referencePolicy": object{"type": "Local"},
		})
	}
	return object{
		"apiVersion": "image.openshift.io/v1",
		"kind":       "ImageStream",
		"metadata":   object{"name": name, "namespace": "openshift", "labels": labels},
		"spec":       object{"lookupPolicy": object{"local": false}, "tags": tags},
		"status":     object{"dockerImageRepository": "image-registry.openshift-image-registry.svc:5000/openshift/" + name},
	}
}

func listObject(items ...object) object {
	return object{"apiVersion": "v1", "kind": "List", "metadata": object{"resourceVersion": ""}, "items": items}
}

var managedLabels = object{ManagedLabel: "true"}

// clusterStreams are the streams of a cluster's namespace openshift: the
// samples operator's, and four that others own.
func clusterStreams(t testing.TB) object {
	pairs := map[string][]string{}
	names := []string{}
	for _, s := range readSamples(t) {
		if pairs[s.stream] == nil {
			names = append(names, s.stream)
		}
		pairs[s.stream] = append(pairs[s.stream], s.tag, s.from)
	}
	items := []object{}
	for _, name := range names {
		items = append(items, streamObject(name, managedLabels, pairs[name]...))
	}
	for _, name := range []string{"must-gather", "installer", "cli"} {
		items = append(items, streamObject(name, nil, "latest", "quay.io/openshift-release-dev/ocp-v4.0-art-dev@sha256:"+hex64))
	}
	items = append(items, streamObject("custom", object{"team": "a"}, "1", "registry.example/team/custom:1"))
	return listObject(items...)
}

// samplesConfigMap is the operator's list: all but the jenkins streams.
func samplesConfigMap(t testing.TB) object {
	data := object{}
	for _, s := range readSamples(t) {
		if !strings.HasPrefix(s.stream, "jenkins") {
			data[s.stream+"_"+s.tag] = s.from
		}
	}
	return object{
		"apiVersion": "v1", "kind": "ConfigMap", "data": data,
		"metadata": object{"name": SamplesConfigMap, "namespace": "openshift-cluster-samples-operator"},
	}
}

func asJSON(t testing.TB, o object) []byte {
	t.Helper()
	text, err := json.MarshalIndent(o, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func asYAML(t testing.TB, o object) []byte {
	t.Helper()
	text, err := yaml.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
