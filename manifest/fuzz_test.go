package manifest

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func FuzzParseImageReferences(f *testing.F) {
	f.Add([]byte(references(referenceTag("cli", "DockerImage", "quay.io/a/b@sha256:"+hex64))))
	f.Add([]byte(references(referenceTag("cli", "DockerImage", "quay.io/a/b:1@sha256:"+hex64))))
	f.Add([]byte(`{"kind":"ImageStream","apiVersion":"image.openshift.io/v1","metadata":null,"spec":{"tags":[null]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		release, err := ParseImageReferences(data)
		if err != nil {
			return
		}
		names := map[string]bool{}
		for _, c := range release.Components {
			name, digest, _ := strings.Cut(c.Image, "@sha256:")
			if name == "" || len(digest) != 64 || names[c.Name] {
				t.Fatalf("accepted %+v", c)
			}
			names[c.Name] = true
		}
		if len(names) == 0 {
			t.Fatal("accepted a release without components")
		}
	})
}

func FuzzParseImageStreams(f *testing.F) {
	f.Add(asJSON(f, listObject(streamObject("ruby", managedLabels, "1", "quay.io/a/ruby:1"), streamObject("cli", nil))))
	f.Add(asYAML(f, streamObject("ruby", managedLabels, "1", "quay.io/a/ruby:1")))
	f.Add([]byte("kind: ConfigMap\nmetadata: {name: imagestreamtag-to-image}\ndata: {ruby_1: quay.io/a/ruby}\n---\nkind: List\nitems: [null]\n"))
	f.Add([]byte("kind: Deployment"))
	f.Add([]byte("{kind: ImageStream, apiVersion: v1, metadata: {name: a}, spec: {dockerImageRepository: q/a, tags: [{name: b, from: {kind: DockerImage, name: q}}, {name: c, from: {kind: ImageStreamTag, name: 'a:d'}}, {name: d, from: {kind: ImageStreamTag, name: b}}]}}"))
	f.Add([]byte(utf16Text("kind: List\n...\n--- x", binary.LittleEndian)))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := ParseImageStreams(data)
		if err != nil {
			return
		}
		skipped := skippedStreams(got.Streams, SkipAny, func(string, Tag) bool { return false })
		if diff := cmp.Diff(streamNames(got.Streams, true), skipped); diff != "" {
			t.Fatalf("streams are not sorted or not unique:\n%s", diff)
		}
		items := []object{}
		for _, s := range slices.Backward(got.Streams) {
			items = append(items, streamOf(s))
		}
		again, err := ParseImageStreams(asYAML(t, listObject(items...)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got.Streams, again.Streams); diff != "" {
			t.Fatalf("written and read again:\n%s", diff)
		}
	})
}

func streamOf(s ImageStream) object {
	var labels object
	if s.Managed {
		labels = managedLabels
	}
	pairs := []string{}
	for _, tag := range s.Tags {
		pairs = append(pairs, tag.Name, tag.From)
	}
	stream := streamObject(s.Name, labels, pairs...)
	spec := stream["spec"].(object)
	for _, alias := range s.Aliases {
		spec["tags"] = append(spec["tags"].([]object), object{"name": alias.Name, "from": object{"kind": "ImageStreamTag", "name": alias.Tag}})
	}
	spec["dockerImageRepository"] = s.Repository
	return stream
}

func FuzzParseMirrorSet(f *testing.F) {
	f.Add(readFile(f, "../testdata/idms/oc.yaml"))
	f.Add(readFile(f, "testdata/idms-documents-same-source.yaml"))
	f.Add(readFile(f, "testdata/itms.yaml"))
	f.Add([]byte("apiVersion: config.openshift.io/v1\nkind: ImageTagMirrorSet\nmetadata: {name: a}\nspec: {imageTagMirrors: [{source: '1:30', mirrors: ['0x1', '~', 'on']}]}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := ParseMirrorSet(data)
		if err != nil || len(set.Mirrors) == 0 {
			return
		}
		text, err := set.YAML()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseMirrorSet(text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(set, again); diff != "" {
			t.Fatalf("written and read again:\n%s", diff)
		}
	})
}

// FuzzParseSamples: what is taken is in order, and nothing panics.
func FuzzParseSamples(f *testing.F) {
	f.Add(asJSON(f, streamObject("ruby", nil, "1", "quay.io/a/ruby:1")), []byte(rails))
	f.Fuzz(func(t *testing.T, stream, template []byte) {
		got, err := ParseSamples(map[string][]byte{
			"opt/openshift/operator/x86_64/a/imagestreams/a.json": stream,
			"opt/openshift/operator/x86_64/a/templates/a.json":    template,
		}, "x86_64")
		if err != nil {
			return
		}
		for _, tmpl := range got.Templates {
			if !slices.IsSorted(tmpl.Images) || len(tmpl.Images) != len(slices.Compact(slices.Clone(tmpl.Images))) {
				t.Fatalf("images %q", tmpl.Images)
			}
		}
	})
}

// FuzzMirrorSetsOfClusters: whatever a cluster's mirror sets are, they are refused,
// or nodes have a file and a place to look for any image.
func FuzzMirrorSetsOfClusters(f *testing.F) {
	f.Add([]byte(idmsText+"---\n"+icspText), "a.b/c/d")
	f.Add([]byte("kind: ImageTagMirrorSetList\nitems: [{metadata: {name: a}, spec: {imageTagMirrors: [{source: '*.b', mirrors: [m.b, '*.b', n.b]}, {source: '*.b', mirrors: [n.b, m.b]}]}}]"), "a.b/c")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		sets, err := ParseMirrorSets(data)
		if err != nil {
			return
		}
		conf, err := NewRegistriesConf(sets, RegistrySources{Insecure: []string{"*.b"}, Blocked: []string{"a.b/c"}})
		if err != nil {
			return
		}
		if again := conf.Drains(conf); len(again) > 0 {
			t.Fatalf("nothing changes, and nodes are drained: %q", again)
		}
		for _, byDigest := range []bool{false, true} {
			sources, err := conf.Sources(name, byDigest)
			if err == nil && sources[len(sources)-1].Name != name {
				t.Fatalf("%q is looked for at %v", name, sources)
			}
		}
		for _, s := range sets {
			wide, _ := Widen(oneOfEach(s.Mirrors), nil, RegistryScope)
			if len(wide) > len(s.Mirrors) {
				t.Fatalf("%v became %v", s.Mirrors, wide)
			}
		}
	})
}

// oneOfEach leaves out the entries of sources that were there before.
func oneOfEach(mirrors []Mirror) []Mirror {
	found := bySource(mirrors)
	var all []Mirror
	for _, source := range sortedKeys(found) {
		all = append(all, found[source])
	}
	return all
}
