package manifest

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What the operator does is string work: the names that come out may be odd.
func TestRewriteSample(t *testing.T) {
	const m = "mirror.example:5000"
	for _, test := range []struct{ from, registry, want string }{
		// exactly two slashes, one of the five hosts
		{"docker.io/library/ruby:3", m, m + "/library/ruby:3"},
		{"registry.redhat.io/ubi8/ruby-31:latest", m, m + "/ubi8/ruby-31:latest"},
		{"registry.access.redhat.com/ubi9/dotnet-100-aspnet", m, m + "/ubi9/dotnet-100-aspnet"},
		{"quay.io/a/b:1", m, m + "/a/b:1"},
		{"registry.svc.ci.openshift.org/ocp/cli:1", m, m + "/ocp/cli:1"},
		{"quay.io/a/b@sha256:" + hex64, m, m + "/a/b@sha256:" + hex64},
		// a host that merely begins like one of the five
		{"docker.io.example/a/b:1", m, m + ".example/a/b:1"},
		{"quay.io:443/a/b:1", m, m + ":443/a/b:1"},
		{"registry.redhat.io:443/a/b:1", m, m + ":443/a/b:1"},
		{"registry.access.redhat.com.example/a/b:1", m, m + ".example/a/b:1"},
		{"registry.svc.ci.openshift.org:443/a/b:1", m, m + ":443/a/b:1"},
		// only the beginning counts
		{"other.example/quay.io/b:1", m, m + "/quay.io/b:1"},
		{"quay.io/quay.io/b:1", m, m + "/quay.io/b:1"},
		// exactly two slashes, another host
		{"registry.example/a/b:1", m, m + "/a/b:1"},
		{"registry.redhat.com/a/b", m, m + "/a/b"},
		{"a/b/c", m, m + "/b/c"},
		// none, one, three and more slashes
		{"ruby", m, m + "/ruby"},
		{"library/ruby:3", m, m + "/library/ruby:3"},
		{"quay.io/ruby:3", m, m + "/quay.io/ruby:3"},
		{"quay.io/a/b/c:1", m, m + "/quay.io/a/b/c:1"},
		{"registry.example/a/b/c/d", m, m + "/registry.example/a/b/c/d"},
		// a path in samplesRegistry
		{"registry.redhat.io/ubi8/ruby-31:latest", m + "/samples", m + "/samples/ubi8/ruby-31:latest"},
		{"registry.example/a/b:1", m + "/samples", m + "/samples/a/b:1"},
		{"ruby", m + "/samples", m + "/samples/ruby"},
		// there already, by plain prefix
		{m + "/a/b:1", m, m + "/a/b:1"},
		{m + "0/a/b:1", m, m + "0/a/b:1"},
		{m + "/samples/a/b:1", m + "/samples", m + "/samples/a/b:1"},
		{"quay.io/a/b:1", "quay.io", "quay.io/a/b:1"},
		// no samplesRegistry
		{"quay.io/a/b:1", "", "quay.io/a/b:1"},
		{"ruby", "", "ruby"},
	} {
		if got := RewriteSample(test.from, test.registry); got != test.want {
			t.Errorf("RewriteSample(%q, %q) = %q, want %q", test.from, test.registry, got, test.want)
		}
	}
}

// All real samples keep their path and lose their host.
func TestRewriteRealSamples(t *testing.T) {
	for _, s := range readSamples(t) {
		path, found := cutAny(s.from, "registry.redhat.io", "registry.access.redhat.com")
		if !found {
			t.Errorf("%s:%s is at %s", s.stream, s.tag, s.from)
		}
		if got := RewriteSample(s.from, "m:5000/samples"); got != "m:5000/samples"+path {
			t.Errorf("%s becomes %s", s.from, got)
		}
	}
}

func cutAny(s string, prefixes ...string) (string, bool) {
	for _, prefix := range prefixes {
		if len(s) > len(prefix) && s[:len(prefix)] == prefix {
			return s[len(prefix):], true
		}
	}
	return "", false
}

func TestKeepsReferences(t *testing.T) {
	for stream, want := range map[string]bool{
		"jenkins": true, "jenkins-agent-nodejs": true, "jenkins-agent-maven": true,
		"jenkins-agent-base": false, "ruby": false, "": false,
	} {
		if got := KeepsReferences(stream); got != want {
			t.Errorf("KeepsReferences(%q) = %v", stream, got)
		}
	}
}

func TestOneOfFifty(t *testing.T) {
	got := parseStreams(t, asJSON(t, clusterStreams(t)))
	skipped := SkippedStreams(got.Streams, func(stream string, _ Tag) bool { return stream == "ruby" })
	if len(skipped) != 49 || slices.Contains(skipped, "ruby") || !slices.IsSorted(skipped) {
		t.Errorf("%d skipped: %v", len(skipped), skipped)
	}
	for _, name := range []string{"cli", "installer", "must-gather", "custom"} {
		if slices.Contains(skipped, name) {
			t.Errorf("%s is skipped, and the samples operator does not own it", name)
		}
	}
	text, err := SamplesPatch{Registry: "mirror.example:5000/samples", Skipped: skipped, Comment: "One stream of fifty."}.YAML()
	wantError(t, err, "")
	golden(t, "samples-one-of-fifty.yaml", text)
}

func TestSkippedOfConfigMap(t *testing.T) {
	got := parseStreams(t, asJSON(t, samplesConfigMap(t)))
	skipped := SkippedStreams(got.Streams, func(string, Tag) bool { return true })
	if diff := cmp.Diff([]string{"jenkins", "jenkins-agent-base"}, skipped); diff != "" {
		t.Errorf("all images held (-want +got):\n%s", diff)
	}
	skipped = SkippedStreams(got.Streams, func(string, Tag) bool { return false })
	if len(skipped) != 50 {
		t.Errorf("%d skipped of 50 of which nothing is held", len(skipped))
	}
}

func TestSkippedByTag(t *testing.T) {
	streams := []ImageStream{
		{Name: "z", Managed: true, Tags: []Tag{{"1", "q/z:1"}, {"2", "q/z:2"}}},
		{Name: "all", Managed: true, Tags: []Tag{{"1", "q/all:1"}, {"2", "q/all:2"}}},
		{Name: "none", Managed: true},
		{Name: "free", Tags: []Tag{{"1", "q/z:2"}}},
		{Name: "free-none"},
	}
	skipped := SkippedStreams(streams, func(_ string, tag Tag) bool { return tag.From != "q/z:2" })
	if diff := cmp.Diff([]string{"none", "z"}, skipped); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if skipped := SkippedStreams(nil, nil); skipped == nil || len(skipped) != 0 {
		t.Errorf("no streams give %#v, want an empty list", skipped)
	}
}

func TestSamplesPatch(t *testing.T) {
	patch := SamplesPatch{Registry: "mirror.example:5000", Skipped: []string{"ruby", "cli", "ruby"}}
	for file, p := range map[string]SamplesPatch{
		"samples.yaml":      patch,
		"samples-none.yaml": {Registry: "mirror.example:5000", Comment: "Nothing is skipped."},
	} {
		text, err := p.YAML()
		wantError(t, err, "")
		golden(t, file, text)
		got, err := ParseSamplesPatch(text)
		wantError(t, err, "")
		again, err := SamplesPatch{Registry: got.Registry, Skipped: got.Skipped, Comment: p.Comment}.YAML()
		wantError(t, err, "")
		if string(again) != string(text) {
			t.Errorf("read and written again:\n%s\nwant\n%s", again, text)
		}
	}
	if diff := cmp.Diff([]string{"ruby", "cli", "ruby"}, patch.Skipped); diff != "" {
		t.Errorf("writing changed the list:\n%s", diff)
	}
}

func TestBadSamplesPatch(t *testing.T) {
	for registry, want := range map[string]string{
		"": "it is empty", "https://m.b": "it begins with a scheme", "m.b/": "it ends in a slash", "m.b/A": "upper-case", "[::1]:5000": "IPv6",
	} {
		_, err := SamplesPatch{Registry: registry}.YAML()
		wantError(t, err, want)
	}
	_, err := SamplesPatch{Registry: "m.b", Skipped: []string{"a/b"}}.YAML()
	wantError(t, err, "is not a name of an imagestream")
}

func TestParseSamplesPatch(t *testing.T) {
	const spec = "managementState: Managed, samplesRegistry: m.b"
	for name, test := range map[string]struct{ in, want string }{
		"good":       {"spec: {" + spec + ", skippedImagestreams: [b, a]}", ""},
		"config":     {"kind: Config\nmetadata: {name: cluster}\nspec: {" + spec + ", skippedImagestreams: [a, b, b]}", ""},
		"empty":      {"", "it is empty"},
		"no object":  {"[]", "it has no spec"},
		"no spec":    {"kind: Config", "it has no spec"},
		"removed":    {"spec: {managementState: Removed, samplesRegistry: m.b}", `its managementState is "Removed", not Managed`},
		"no state":   {"spec: {samplesRegistry: m.b}", "its managementState is"},
		"more":       {"spec: {" + spec + ", architectures: [x86_64]}", "architectures"},
		"registry":   {"spec: {managementState: Managed, samplesRegistry: m.b/}", "it ends in a slash"},
		"stream":     {"spec: {" + spec + ", skippedImagestreams: ['']}", "is not a name of an imagestream"},
		"not a list": {"spec: {" + spec + ", skippedImagestreams: a}", "decode spec"},
		"two":        {"spec: {" + spec + "}\n---\nspec: {" + spec + "}", "it holds 2 objects"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseSamplesPatch([]byte(test.in))
			wantError(t, err, test.want)
			want := SamplesPatch{}
			if test.want == "" {
				want = SamplesPatch{Registry: "m.b", Skipped: []string{"a", "b"}}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
