package manifest

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	idmsText = "apiVersion: config.openshift.io/v1\nkind: ImageDigestMirrorSet\nmetadata: {name: a, labels: {b: c}, uid: d}\nspec: {imageDigestMirrors: [{source: a.b/c, mirrors: [m.b]}]}\nstatus: {}\n"
	icspText = "apiVersion: operator.openshift.io/v1alpha1\nkind: ImageContentSourcePolicy\nmetadata: {name: old, annotations: {e: f, " + lastApplied + ": '{}'}}\nspec: {repositoryDigestMirrors: [{source: z.b/C, mirrors: [m.b, m.b]}, {source: a.b/c}]}\n"
)

func TestParseMirrorSets(t *testing.T) {
	idms := MirrorSet{Kind: DigestMirrorSet, Name: "a", Labels: map[string]string{"b": "c"}, Mirrors: []Mirror{{Source: "a.b/c", Mirrors: []string{"m.b"}}}}
	icsp := MirrorSet{Kind: ContentSourcePolicy, Name: "old", Annotations: map[string]string{"e": "f", lastApplied: "{}"},
		Mirrors: []Mirror{{Source: "a.b/c"}, {Source: "z.b/C", Mirrors: []string{"m.b", "m.b"}}}}
	asItem := func(text string) json.RawMessage {
		item, err := toJSON([]byte(text))
		wantError(t, err, "")
		return item
	}
	list := asYAML(t, object{"apiVersion": "v1", "kind": "List", "items": []any{asItem(idmsText), asItem(icspText)}})
	typed := asJSON(t, object{"kind": "ImageDigestMirrorSetList", "items": []any{object{"metadata": object{"name": "t"}, "spec": object{}}}})
	for name, test := range map[string]struct {
		in   string
		want []MirrorSet
		err  string
	}{
		"one":             {idmsText, []MirrorSet{idms}, ""},
		"documents":       {idmsText + "---\n" + icspText, []MirrorSet{idms, icsp}, ""},
		"List":            {string(list), []MirrorSet{idms, icsp}, ""},
		"typed list":      {string(typed), []MirrorSet{{Kind: DigestMirrorSet, Name: "t"}}, ""},
		"empty List":      {"kind: List\nitems: []\n", nil, ""},
		"key twice":       {"kind: Other\n" + idmsText, []MirrorSet{idms}, ""},
		"none":            {"", nil, "it is empty"},
		"other object":    {idmsText + "---\nkind: Secret\n", nil, "document 2: it is a Secret, not an"},
		"other in a List": {"kind: List\nitems: [{kind: Secret}]\n", nil, "item 1: it is a Secret"},
		"other list":      {"kind: SecretList\nitems: [{}]\n", nil, "item 1: it is a Secret"},
		"no item":         {"kind: ImageDigestMirrorSetList\nitems: [null]\n", nil, "item 1: it is not a Kubernetes object"},
		"policy of an ICSP": {"apiVersion: operator.openshift.io/v1alpha1\nkind: ImageContentSourcePolicy\nmetadata: {name: a}\nspec: {repositoryDigestMirrors: [{source: a.b, mirrors: [m.b], mirrorSourcePolicy: NeverContactSource}]}", nil,
			"which no ImageContentSourcePolicy can have"},
		"field": {"apiVersion: config.openshift.io/v1\nkind: ImageTagMirrorSet\nmetadata: {name: a}\nspec: {imageDigestMirrors: []}", nil, "only imageTagMirrors belongs there"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseMirrorSets([]byte(test.in))
			wantError(t, err, test.err)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTooManySources(t *testing.T) {
	const head = "apiVersion: config.openshift.io/v1\nkind: ImageTagMirrorSet\nmetadata: {name: a}\nspec: {imageTagMirrors: ["
	half := head + strings.Repeat("{source: a.b, mirrors: [m.b]},", MaxSources/2) + "]}\n"
	_, err := ParseMirrorSets([]byte(half + "---\n" + half))
	wantError(t, err, "")
	_, err = ParseMirrorSets([]byte(half + "---\n" + half + "---\n" + head + "{source: a.b}]}"))
	wantError(t, err, "it holds more than 10000 sources")
	_, err = ParseMirrorSet([]byte(head + strings.Repeat("{source: a.b, mirrors: [m.b]},", MaxSources+1) + "]}"))
	wantError(t, err, "it holds more than 10000 sources, or 1000 mirrors of one")
	_, err = ParseMirrorSets([]byte(head + "{source: a.b, mirrors: [" + strings.Repeat("m.b,", MaxMirrors+1) + "]}]}"))
	wantError(t, err, "or 1000 mirrors of one")
}

// TestPayloadWithRepeatedKey: what a payload or a cluster has is read as clusters
// read it, also where a strict parser would refuse it. What airlift wrote, and
// somebody edited, is not.
func TestPayloadWithRepeatedKey(t *testing.T) {
	docs, err := documents(readFile(t, "../testdata/release/cluster-update-keys.yaml"))
	wantError(t, err, "")
	if len(docs) != 1 {
		t.Fatalf("it has %d documents", len(docs))
	}
	text, err := toJSON(docs[0])
	wantError(t, err, "")
	var object struct {
		Metadata struct{ Name, Namespace string }
		Data     map[string]string
	}
	wantError(t, json.Unmarshal(text, &object), "")
	if object.Metadata.Namespace != "openshift-config-managed" || len(object.Data) != 3 {
		t.Errorf("read as %+v", object)
	}
	_, err = single(docs[0])
	wantError(t, err, `key "namespace" already set in map`)
}

func TestConvertPolicies(t *testing.T) {
	const good = "apiVersion: operator.openshift.io/v1alpha1\nkind: ImageContentSourcePolicy\nmetadata: {name: old, resourceVersion: '1', labels: {a: b}, annotations: {e: f, " + lastApplied + ": '{}'}}\n" +
		"spec: {repositoryDigestMirrors: [{source: z.b/c, mirrors: [n.b, m.b, n.b]}, {source: a.b/c}, {source: z.b/c, mirrors: [o.b]}]}\n"
	const empty = "apiVersion: operator.openshift.io/v1alpha1\nkind: ImageContentSourcePolicy\nmetadata: {name: none}\nspec: {}\n"
	made, err := ConvertPolicies([]byte(good+"---\n"+empty), DigestMirrorSet)
	wantError(t, err, "")
	if len(made) != 2 || made[0].Name != "old" || made[1].Name != "none" {
		t.Fatalf("made %v", made)
	}
	golden(t, "convert-idms.yaml", made[0].YAML)
	golden(t, "convert-idms-none.yaml", made[1].YAML)
	made, err = ConvertPolicies([]byte(good), TagMirrorSet)
	wantError(t, err, "")
	text := made[0].YAML
	golden(t, "convert-itms.yaml", text)
	if _, err := ParseMirrorSets(text); err != nil {
		t.Error(err)
	}
	for in, want := range map[string]string{
		idmsText:                  "it holds the ImageDigestMirrorSet a, which is no ImageContentSourcePolicy",
		icspText:                  `ImageContentSourcePolicy old: source "z.b/C": its path has upper-case letters`,
		"kind: List\nitems: []":   "it holds no ImageContentSourcePolicy",
		"kind: ImageStream\na: b": "it is an ImageStream, not an",
	} {
		made, err := ConvertPolicies([]byte(in), DigestMirrorSet)
		wantError(t, err, want)
		if made != nil {
			t.Errorf("made %s", made)
		}
	}
}
