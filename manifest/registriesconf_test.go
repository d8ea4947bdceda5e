package manifest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func confOf(t *testing.T, sets ...MirrorSet) RegistriesConf {
	t.Helper()
	c, err := NewRegistriesConf(sets, RegistrySources{})
	wantError(t, err, "")
	return c
}

// TestRegistriesConfGolden: the files that nodes have with the examples in
// OpenShift's documents.
func TestRegistriesConfGolden(t *testing.T) {
	tags := MirrorSet{Kind: TagMirrorSet, Name: "tags", Mirrors: []Mirror{
		{"registry.access.redhat.com/ubi9/ubi-minimal", []string{"example.io/example/ubi-minimal-tag"}, AllowContactingSource},
		{"*.redhat.io", []string{"mirror.example/redhat"}, NeverContactSource},
	}}
	c, err := NewRegistriesConf([]MirrorSet{{Kind: DigestMirrorSet, Name: "ubi9repo", Mirrors: documentsExample}, tags},
		RegistrySources{Insecure: []string{"mirror.example.net"}, Blocked: []string{"docker.io"}})
	wantError(t, err, "")
	golden(t, "registries-documents.conf", c.TOML("As nodes have it."))
	_, err = c.OldTOML("")
	wantError(t, err, "is for tags, which clusters before 4.13 do not have")

	policy := MirrorSet{Kind: ContentSourcePolicy, Name: "mirror-ocp", Mirrors: documentsRelease}
	old, err := confOf(t, policy).OldTOML("")
	wantError(t, err, "")
	golden(t, "registries-documents-old.conf", old)
	text, err := policy.YAML()
	wantError(t, err, "")
	golden(t, "icsp-documents.yaml", text)
	fragment, err := OldInstallConfigFragment(documentsRelease, "")
	wantError(t, err, "")
	golden(t, "install-config-old.fragment.yaml", fragment)
}

// TestDocumentsOnNodes: the documents' own objects, and the file that they show for
// each. Where they show two entries of one source there is one with both mirrors, as
// the operator has it, and the two sets of one source with different policies, which it
// refuses together, stand alone.
func TestDocumentsOnNodes(t *testing.T) {
	policy := MirrorSet{Kind: ContentSourcePolicy, Name: "ubi8repo", Mirrors: documentsPolicy}
	old, err := confOf(t, policy).OldTOML("")
	wantError(t, err, "")
	golden(t, "registries-documents-icsp.conf", old)
	text, err := policy.YAML()
	wantError(t, err, "")
	golden(t, "icsp-documents-ubi8repo.yaml", text)

	digests := MirrorSet{Kind: DigestMirrorSet, Name: "ubi9repo", Mirrors: documentsExample}
	golden(t, "registries-documents-idms.conf", confOf(t, digests).TOML(""))
	tags := MirrorSet{Kind: TagMirrorSet, Name: "ubi9repo", Mirrors: documentsTags}
	golden(t, "registries-documents-itms.conf", confOf(t, tags).TOML(""))
	wantError(t, CheckMirrorSets([]MirrorSet{digests, tags}), `source "registry.access.redhat.com/ubi9/ubi-minimal": ImageDigestMirrorSet ubi9repo says AllowContactingSource, ImageTagMirrorSet ubi9repo says NeverContactSource`)

	made, err := ConvertPolicies(text, DigestMirrorSet)
	wantError(t, err, "")
	golden(t, "convert-documents.yaml", made[0].YAML)
}

func TestOldInstallConfigFragment(t *testing.T) {
	_, err := OldInstallConfigFragment([]Mirror{{"quay.io/a", []string{"m.b"}, NeverContactSource}}, "")
	wantError(t, err, "cannot be said in imageContentSources")
	text, err := OldInstallConfigFragment([]Mirror{{"quay.io/a", []string{"m.b"}, AllowContactingSource}}, "")
	wantError(t, err, "")
	if diff := cmp.Diff("imageContentSources:\n- mirrors:\n  - m.b\n  source: quay.io/a\n", string(text)); diff != "" {
		t.Error(diff)
	}
}

func TestBadRegistriesConf(t *testing.T) {
	never := MirrorSet{Kind: DigestMirrorSet, Name: "mine", Mirrors: []Mirror{{"a.b/c", []string{"m.b"}, NeverContactSource}}}
	for name, test := range map[string]struct {
		sets    []MirrorSet
		special RegistrySources
		want    string
	}{
		"conflict": {[]MirrorSet{never, {Kind: TagMirrorSet, Name: "theirs", Mirrors: []Mirror{{Source: "a.b/c", Mirrors: []string{"n.b"}}}}}, RegistrySources{},
			`source "a.b/c": ImageDigestMirrorSet mine says NeverContactSource, ImageTagMirrorSet theirs says AllowContactingSource`},
		"scope":    {nil, RegistrySources{Blocked: []string{"a.b/c:1"}}, `registry source "a.b/c:1": it has a tag`},
		"wildcard": {[]MirrorSet{{Kind: TagMirrorSet, Mirrors: []Mirror{{Source: "*.b", Mirrors: []string{"m.c"}}}}}, RegistrySources{Insecure: []string{"a.b/c"}}, "a.b/c inside of it has settings but no mirrors"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewRegistriesConf(test.sets, test.special)
			wantError(t, err, test.want)
		})
	}
}

func TestSources(t *testing.T) {
	c := confOf(t, MirrorSet{Kind: DigestMirrorSet, Name: "a", Mirrors: []Mirror{
		{Source: "q.io", Mirrors: []string{"m.lan/x"}}, {Source: "r.io/a", Mirrors: []string{"bare"}}, {Source: "h.io/a", Mirrors: []string{"docker.io"}},
	}})
	got, err := c.Sources("q.io/a/b", true)
	wantError(t, err, "")
	if diff := cmp.Diff([]PullSource{{Name: "m.lan/x/a/b"}, {Name: "q.io/a/b"}}, got); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]string{
		"q.io:5000/a": `"m.lan/x:5000/a", which is no name of a repository`,
		"r.io/a/b":    `"bare/b", which is no name of a repository`,
		"h.io/a/b":    `"docker.io/b", which is no name of a repository`,
	} {
		_, err := c.Sources(name, true)
		wantError(t, err, want)
		_, err = c.Sources(name, false)
		wantError(t, err, "")
	}
}

// TestCheckMirrorSets holds the rules of the operator, over the objects of all
// kinds, the installer's own among them.
func TestCheckMirrorSets(t *testing.T) {
	const release = "quay.io/openshift-release-dev/ocp-release"
	one := func(kind, name, policy, source string, mirrors ...string) MirrorSet {
		return MirrorSet{Kind: kind, Name: name, Mirrors: []Mirror{{source, mirrors, policy}}}
	}
	installer := func(policy string) MirrorSet {
		return one(DigestMirrorSet, "image-digest-mirror", policy, release, "m.lan:5000/ocp/release")
	}
	for name, test := range map[string]struct {
		sets []MirrorSet
		want string
	}{
		"beside the installer's":         {[]MirrorSet{installer(""), one(DigestMirrorSet, "airlift", AllowContactingSource, release, "m.lan:5000/x")}, ""},
		"never beside the installer's":   {[]MirrorSet{installer(""), one(DigestMirrorSet, "airlift", NeverContactSource, release, "m.lan:5000/x")}, "ImageDigestMirrorSet image-digest-mirror says AllowContactingSource, ImageDigestMirrorSet airlift says NeverContactSource"},
		"never, as install-config says":  {[]MirrorSet{installer(NeverContactSource), one(TagMirrorSet, "airlift", NeverContactSource, release, "m.lan:5000/x")}, ""},
		"never beside an ICSP":           {[]MirrorSet{one(ContentSourcePolicy, "old", "", release, "m.lan"), one(DigestMirrorSet, "airlift", NeverContactSource, release, "m.lan")}, "ImageContentSourcePolicy old says AllowContactingSource"},
		"never, and an ITMS does not":    {[]MirrorSet{one(DigestMirrorSet, "a", NeverContactSource, "a.b/c", "m.lan"), one(TagMirrorSet, "a", "", "a.b/c", "m.lan")}, "ImageTagMirrorSet a says AllowContactingSource"},
		"even of a set without mirrors":  {[]MirrorSet{one(DigestMirrorSet, "a", NeverContactSource, "a.b/c"), one(TagMirrorSet, "a", "", "a.b/c", "m.lan")}, "says AllowContactingSource"},
		"never of a source around":       {[]MirrorSet{one(DigestMirrorSet, "a", NeverContactSource, "a.b", "m.lan"), one(TagMirrorSet, "a", "", "a.b/c", "m.lan")}, ""},
		"itself":                         {[]MirrorSet{one(TagMirrorSet, "a", NeverContactSource, "a.b/c", "m.lan", "a.b/c")}, `ImageTagMirrorSet a: source "a.b/c": it is among its own mirrors`},
		"itself, allowed":                {[]MirrorSet{one(TagMirrorSet, "a", "", "a.b/c", "a.b/c")}, ""},
		"a source that no CRD has taken": {[]MirrorSet{one(ContentSourcePolicy, "old", "", "a.b/C", "m.lan")}, `ImageContentSourcePolicy old: source "a.b/C": its path has upper-case`},
		"such a mirror":                  {[]MirrorSet{one(ContentSourcePolicy, "old", "", "a.b/c", "https://m.lan")}, "begins with a scheme"},
		"a mirror twice, of an ICSP":     {[]MirrorSet{one(ContentSourcePolicy, "old", "", "a.b/c", "m.lan", "m.lan")}, ""},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, CheckMirrorSets(test.sets), test.want) })
	}
}
