package manifest

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// documentsExample is the example of an ImageDigestMirrorSet in OpenShift's
// documents. Its last entry has the same source as its third.
var documentsExample = []Mirror{
	{"registry.access.redhat.com/ubi9/ubi-minimal", []string{"example.io/example/ubi-minimal", "example.com/example2/ubi-minimal"}, AllowContactingSource},
	{"registry.example.com/redhat", []string{"mirror.example.com/redhat"}, AllowContactingSource},
	{"registry.example.com", []string{"mirror.example.com"}, AllowContactingSource},
	{"registry.example.com/example/myimage", []string{"mirror.example.net/image"}, AllowContactingSource},
	{"registry.example.com/example", []string{"mirror.example.net"}, AllowContactingSource},
	{"registry.example.com", []string{"mirror.example.net/registry-example-com"}, AllowContactingSource},
}

// documentsRelease is their example for a release: two sources, one mirror.
var documentsRelease = []Mirror{
	{Source: "quay.io/openshift-release-dev/ocp-v4.0-art-dev", Mirrors: []string{"mirror.registry.com:443/ocp/release"}},
	{Source: "quay.io/openshift-release-dev/ocp-release", Mirrors: []string{"mirror.registry.com:443/ocp/release"}},
}

// documentsPolicy is their example of an ImageContentSourcePolicy, and documentsTags
// their entry of an ImageTagMirrorSet.
var documentsPolicy = []Mirror{
	{Source: "registry.access.redhat.com/ubi8/ubi-minimal", Mirrors: []string{"example.io/example/ubi-minimal", "example.com/example/ubi-minimal"}},
	{Source: "registry.redhat.io/openshift4", Mirrors: []string{"mirror.example.com/redhat"}},
	{Source: "registry.redhat.io", Mirrors: []string{"mirror.example.com"}},
	{Source: "registry.example.com/example/myimage", Mirrors: []string{"mirror.example.net/image"}},
	{Source: "registry.example.com/example", Mirrors: []string{"mirror.example.net"}},
	{Source: "registry.example.com", Mirrors: []string{"mirror.example.net/registry-example-com"}},
}

var documentsTags = []Mirror{
	{"registry.access.redhat.com/ubi9/ubi-minimal", []string{"example.io/example/ubi-minimal-tag"}, NeverContactSource},
}

func TestMirrorSetGolden(t *testing.T) {
	merged, err := MergeMirrors(documentsExample[:5], documentsExample[5:])
	wantError(t, err, "")
	for file, set := range map[string]MirrorSet{
		"idms-documents.yaml":             {Kind: DigestMirrorSet, Name: "ubi9repo", Mirrors: documentsExample[:5]},
		"idms-documents-same-source.yaml": {Kind: DigestMirrorSet, Name: "ubi9repo", Mirrors: documentsExample},
		"idms-documents-merged.yaml":      {Kind: DigestMirrorSet, Name: "ubi9repo", Mirrors: merged},
		"idms-release.yaml":               {Kind: DigestMirrorSet, Name: "mirror-ocp", Mirrors: documentsRelease, Comment: "Release 4.17.3.\n\nApply once."},
		"itms.yaml": {Kind: TagMirrorSet, Name: "airlift-mirror.example", Mirrors: []Mirror{
			{"*.redhat.io", []string{"mirror.example:5000/redhat"}, NeverContactSource},
			{Source: "10.0.0.1:30", Mirrors: []string{"1:30", "mirror.example/a__b"}},
		}},
	} {
		t.Run(file, func(t *testing.T) {
			before := slices.Clone(set.Mirrors)
			text, err := set.YAML()
			wantError(t, err, "")
			golden(t, file, text)
			if diff := cmp.Diff(before, set.Mirrors); diff != "" {
				t.Errorf("writing changed the entries (-before +after):\n%s", diff)
			}
			got, err := ParseMirrorSet(text)
			wantError(t, err, "")
			want := MirrorSet{Kind: set.Kind, Name: set.Name, Mirrors: sorted(set.Mirrors)}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("read again (-want +got):\n%s", diff)
			}
		})
	}
}

// The bytes depend neither on the order of entries nor on the run.
func TestMirrorSetStable(t *testing.T) {
	set := MirrorSet{Kind: DigestMirrorSet, Name: "a", Mirrors: slices.Clone(documentsExample[:5])}
	want, err := set.YAML()
	wantError(t, err, "")
	for range 5 {
		set.Mirrors = append(set.Mirrors[1:], set.Mirrors[0])
		if got, _ := set.YAML(); string(got) != string(want) {
			t.Fatalf("got\n%s\nwant\n%s", got, want)
		}
	}
}

func TestRealMirrorSet(t *testing.T) {
	got, err := ParseMirrorSet(readFile(t, "../testdata/idms/oc.yaml"))
	wantError(t, err, "")
	want := MirrorSet{Kind: DigestMirrorSet, Name: "example", Mirrors: []Mirror{
		{"quay.io/openshift-release-dev/ocp-v4.0-art-dev", []string{"localhost:5000/openshift-release-dev/ocp-release"}, AllowContactingSource},
		{"quay.io/openshift-release-dev/ocp-v4.0-art-dev", []string{"localhost:5000/target/release"}, AllowContactingSource},
		{"registry.ci.openshift.org/ocp/release", []string{"localhost:5000/ocp/release"}, AllowContactingSource},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestComment(t *testing.T) {
	set := MirrorSet{Kind: DigestMirrorSet, Name: "a", Mirrors: documentsRelease,
		Comment: "one\rkind: Secret\n\u0085two\u2028three\x1b[31m\n"}
	text, err := set.YAML()
	wantError(t, err, "")
	for line := range strings.Lines(string(text)) {
		if line == "apiVersion: config.openshift.io/v1\n" {
			break
		}
		if !strings.HasPrefix(line, "# ") || strings.ContainsAny(line, "\r\u0085\u2028\x1b") {
			t.Errorf("comment line %q", line)
		}
	}
	if _, err := ParseMirrorSet(text); err != nil {
		t.Error(err)
	}
}

func TestCheckMirrors(t *testing.T) {
	one := func(source, policy string, mirrors ...string) Mirror { return Mirror{source, mirrors, policy} }
	for name, test := range map[string]struct {
		in   []Mirror
		want string
	}{
		"none":            {nil, ""},
		"documents":       {documentsExample, ""},
		"unset is allow":  {[]Mirror{one("a.b/c", "", "m.b"), one("a.b/c", AllowContactingSource, "n.b")}, ""},
		"same never":      {[]Mirror{one("a.b/c", NeverContactSource, "m.b"), one("a.b/c", NeverContactSource, "n.b")}, ""},
		"nested sources":  {[]Mirror{one("a.b/c", NeverContactSource, "m.b"), one("a.b", "", "n.b")}, ""},
		"itself allowed":  {[]Mirror{one("a.b/c", "", "a.b/c")}, ""},
		"unset and never": {[]Mirror{one("a.b/c", "", "m.b"), one("a.b/c", NeverContactSource, "n.b")}, `source "a.b/c": one entry says AllowContactingSource, another NeverContactSource`},
		"allow and never": {[]Mirror{one("a.b/c", NeverContactSource, "m.b"), one("a.b/c", AllowContactingSource, "n.b")}, `source "a.b/c": one entry says NeverContactSource, another AllowContactingSource`},
		"never itself":    {[]Mirror{one("a.b/c", NeverContactSource, "m.b", "a.b/c")}, `source "a.b/c": it is among its own mirrors, which NeverContactSource forbids`},
		"mirror twice":    {[]Mirror{one("a.b/c", "", "m.b", "n.b", "m.b")}, `source "a.b/c": mirror "m.b" is there twice`},
		"no mirrors":      {[]Mirror{one("a.b/c", NeverContactSource)}, `source "a.b/c": it has no mirrors`},
		"policy":          {[]Mirror{one("a.b/c", "never", "m.b")}, `source "a.b/c": policy "never" is neither`},
		"source":          {[]Mirror{one("a.b/C", "", "m.b")}, `source "a.b/C": its path has upper-case letters`},
		"mirror":          {[]Mirror{one("a.b/c", "", "m.b:x")}, `mirror "m.b:x": "x" is not a port number`},
		"all faults":      {[]Mirror{one("a.b/C", "", "m.b"), one("a.b/c", "", "m.b/:")}, "upper-case letters\nmirror"},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, CheckMirrors(test.in), test.want) })
	}
}

func TestBadMirrorSet(t *testing.T) {
	good := []Mirror{{Source: "a.b/c", Mirrors: []string{"m.b"}}}
	for name, test := range map[string]struct {
		set  MirrorSet
		want string
	}{
		"kind":       {MirrorSet{Kind: "ImageContentPolicy", Name: "a", Mirrors: good}, "it is an ImageContentPolicy, not"},
		"no name":    {MirrorSet{Kind: TagMirrorSet, Mirrors: good}, "is not a name of an object"},
		"upper name": {MirrorSet{Kind: TagMirrorSet, Name: "A", Mirrors: good}, "is not a name of an object"},
		"port name":  {MirrorSet{Kind: TagMirrorSet, Name: "airlift-host:5000", Mirrors: good}, "is not a name of an object"},
		"dots":       {MirrorSet{Kind: TagMirrorSet, Name: "a..b", Mirrors: good}, "is not a name of an object"},
		"long name":  {MirrorSet{Kind: TagMirrorSet, Name: strings.Repeat("a", 254), Mirrors: good}, "is not a name of an object"},
		"entries":    {MirrorSet{Kind: TagMirrorSet, Name: "a", Mirrors: []Mirror{{Source: "a.b/c"}}}, "it has no mirrors"},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := test.set.YAML()
			wantError(t, err, test.want)
			if text != nil {
				t.Errorf("wrote %q", text)
			}
		})
	}
}

// TestEmptyMirrorSet: an object whose last source has left.
func TestEmptyMirrorSet(t *testing.T) {
	set := MirrorSet{Kind: TagMirrorSet, Name: "a"}
	text, err := set.YAML()
	wantError(t, err, "")
	if want := "apiVersion: config.openshift.io/v1\nkind: ImageTagMirrorSet\nmetadata:\n  name: a\nspec:\n  imageTagMirrors: []\n"; string(text) != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	again, err := ParseMirrorSet(text)
	wantError(t, err, "")
	if len(again.Mirrors) > 0 || again.Name != "a" {
		t.Errorf("read again: %+v", again)
	}
}

func TestParseMirrorSet(t *testing.T) {
	const head = "apiVersion: config.openshift.io/v1\nkind: ImageDigestMirrorSet\nmetadata: {name: a}\n"
	const spec = "spec: {imageDigestMirrors: [{source: a.b/c, mirrors: [m.b]}]}\n"
	for name, test := range map[string]struct{ in, want string }{
		"good":          {head + spec, ""},
		"edited":        {"# mine\n---\n" + strings.Replace(head, "{name: a}", "{name: a, labels: {b: c}, uid: d}", 1) + spec + "status: {}\n", ""},
		"JSON":          {"{\n\t\"apiVersion\": \"config.openshift.io/v1\",\n\t\"kind\": \"ImageDigestMirrorSet\",\n\t\"metadata\": {\"name\": \"a\"},\n\t\"spec\": {\"imageDigestMirrors\": [\n\t\t{\"source\": \"a.b/c\", \"mirrors\": [\"m.b\"]}\n\t]}\n}\n", ""},
		"empty":         {"", "it is empty"},
		"not YAML":      {"{", "decode YAML"},
		"not an object": {"[]", "it is not a Kubernetes object"},
		"two":           {head + spec + "---\n" + head + spec, "it holds 2 objects, not one"},
		"other kind":    {"kind: Deployment", "it is a Deployment, not an ImageDigestMirrorSet, an ImageTagMirrorSet or an ImageContentSourcePolicy"},
		"List":          {"kind: List\nitems: []", "it is a List, not"},
		"other version": {strings.Replace(head, "/v1", "/v2", 1) + spec, `of "config.openshift.io/v2"`},
		"no spec":       {head, "it has no spec"},
		"other's field": {head + "spec: {imageTagMirrors: [{source: a.b/c, mirrors: [m.b]}]}", `a field "imageTagMirrors"; only imageDigestMirrors belongs there`},
		"misspelled":    {head + "spec: {imageDigestMirrors: [{source: a.b/c, mirrors: [m.b], mirrorSourcePolcy: NeverContactSource}]}", "mirrorSourcePolcy"},
		"key twice":     {head + spec + spec, "decode YAML"},
		"bad entry":     {head + "spec: {imageDigestMirrors: [{source: a.b/c, mirrors: ['m.b:x']}]}", "is not a port number"},
		"bad name":      {strings.Replace(head, "name: a", "name: A", 1) + spec, "is not a name of an object"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseMirrorSet([]byte(test.in))
			wantError(t, err, test.want)
			want := MirrorSet{}
			if test.want == "" {
				want = MirrorSet{Kind: DigestMirrorSet, Name: "a", Mirrors: []Mirror{{Source: "a.b/c", Mirrors: []string{"m.b"}}}}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestMergeMirrors(t *testing.T) {
	held := []Mirror{
		{"z.b", []string{"old.b"}, NeverContactSource},
		{"a.b/c", []string{"old.b/1", "both.b", "old.b/2"}, NeverContactSource},
		{"s.b", []string{"old.b/1"}, ""},
		{"s.b", []string{"old.b/2", "old.b/1"}, ""},
	}
	now := []Mirror{
		{"a.b/c", append(make([]string, 0, 9), "new.b", "both.b"), ""},
		{"n.b", []string{"new.b"}, AllowContactingSource},
	}
	got, err := MergeMirrors(held, now)
	wantError(t, err, "")
	want := []Mirror{
		{"a.b/c", []string{"new.b", "both.b", "old.b/1", "old.b/2"}, ""},
		{"n.b", []string{"new.b"}, AllowContactingSource},
		{"s.b", []string{"old.b/1", "old.b/2"}, ""},
		{"z.b", []string{"old.b"}, NeverContactSource},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	again, err := MergeMirrors(got, now)
	wantError(t, err, "")
	if diff := cmp.Diff(got, again); diff != "" {
		t.Errorf("the same import a second time changes the set (-first +second):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"new.b", "both.b", ""}, now[0].Mirrors[:3]); diff != "" {
		t.Errorf("merging changed its argument:\n%s", diff)
	}
}

func TestMergeNothing(t *testing.T) {
	got, err := MergeMirrors(nil, documentsRelease)
	wantError(t, err, "")
	if diff := cmp.Diff(sorted(documentsRelease), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got, err = MergeMirrors(documentsRelease, nil)
	wantError(t, err, "")
	if diff := cmp.Diff(sorted(documentsRelease), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBadMerge(t *testing.T) {
	self := []Mirror{{"a.b/c", []string{"a.b/c"}, ""}}
	never := []Mirror{{"a.b/c", []string{"m.b"}, NeverContactSource}}
	_, err := MergeMirrors(self, never)
	wantError(t, err, "it is among its own mirrors")
	_, err = MergeMirrors(append(never, self...), nil)
	wantError(t, err, "one entry says NeverContactSource, another AllowContactingSource")
	_, err = MergeMirrors(nil, append(never, self...))
	wantError(t, err, "one entry says NeverContactSource, another AllowContactingSource")
}
