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
	skipped := skippedStreams(got.Streams, SkipAny, func(stream string, _ Tag) bool { return stream == "ruby" })
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
	skipped := skippedStreams(got.Streams, SkipAny, func(string, Tag) bool { return true })
	if diff := cmp.Diff([]string{"jenkins", "jenkins-agent-base"}, skipped); diff != "" {
		t.Errorf("all images held (-want +got):\n%s", diff)
	}
	skipped = skippedStreams(got.Streams, SkipAny, func(string, Tag) bool { return false })
	if len(skipped) != 50 {
		t.Errorf("%d skipped of 50 of which nothing is held", len(skipped))
	}
}

// skippedStreams are the names of the managed streams that are skipped.
func skippedStreams(streams []ImageStream, policy string, held func(stream string, t Tag) bool) []string {
	skipped := []string{}
	for _, s := range streams {
		missing := 0
		for _, tag := range s.Tags {
			if !held(s.Name, tag) {
				missing++
			}
		}
		if s.Managed && s.Skips(missing, policy) {
			skipped = append(skipped, s.Name)
		}
	}
	return skipped
}

func TestSkippedByTag(t *testing.T) {
	streams := []ImageStream{
		{Name: "all", Managed: true, Tags: []Tag{{"1", "q/all:1"}, {"2", "q/all:2"}}},
		{Name: "free", Tags: []Tag{{"1", "q/z:2"}}},
		{Name: "gone", Managed: true, Tags: []Tag{{"1", "q/z:2"}, {"2", "q/z:2"}}},
		{Name: "none", Managed: true},
		{Name: "repository", Managed: true, Tags: []Tag{{"1", "q/all:1"}}, Repository: "q/all"},
		{Name: "z", Managed: true, Tags: []Tag{{"1", "q/z:1"}, {"2", "q/z:2"}}},
	}
	for policy, want := range map[string][]string{
		SkipAny: {"gone", "none", "repository", "z"}, SkipAllMissing: {"gone", "none"},
	} {
		skipped := skippedStreams(streams, policy, func(_ string, tag Tag) bool { return tag.From != "q/z:2" })
		if diff := cmp.Diff(want, skipped); diff != "" {
			t.Errorf("%s (-want +got):\n%s", policy, diff)
		}
	}
}

func TestSamplesPatch(t *testing.T) {
	patch := SamplesPatch{Registry: "mirror.example:5000", Skipped: []string{"ruby", "cli", "ruby"}}
	for file, p := range map[string]SamplesPatch{
		"samples.yaml":           patch,
		"samples-none.yaml":      {Registry: "mirror.example:5000", Comment: "Nothing is skipped."},
		"samples-templates.yaml": {Registry: "mirror.example:5000", Skipped: []string{"ruby"}, Templates: []string{"rails", "django"}},
		"samples-plain.yaml":     {Templates: []string{}, Comment: "References stay as they are."},
		"samples-removed.yaml":   {Removed: true},
	} {
		text, err := p.YAML()
		wantError(t, err, "")
		golden(t, file, text)
		got, err := ParseSamplesPatch(text)
		wantError(t, err, "")
		got.Comment = p.Comment
		again, err := got.YAML()
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
		"https://m.b": "it begins with a scheme", "m.b/": "it ends in a slash", "m.b/A": "upper-case", "[::1]:5000": "IPv6",
	} {
		_, err := SamplesPatch{Registry: registry}.YAML()
		wantError(t, err, want)
	}
	_, err := SamplesPatch{Registry: "m.b", Skipped: []string{"a/b"}}.YAML()
	wantError(t, err, "is not a name of an imagestream")
	_, err = SamplesPatch{Registry: "m.b", Templates: []string{"a b"}}.YAML()
	wantError(t, err, "is not a name of a template")
}

func TestParseSamplesPatch(t *testing.T) {
	const spec = "managementState: Managed, samplesRegistry: m.b"
	for name, test := range map[string]struct{ in, want string }{
		"good":          {"spec: {" + spec + ", skippedImagestreams: [b, a]}", ""},
		"config":        {"kind: Config\nmetadata: {name: cluster}\nspec: {" + spec + ", skippedImagestreams: [a, b, b]}", ""},
		"empty":         {"", "it is empty"},
		"no object":     {"[]", "it has no spec"},
		"no spec":       {"kind: Config", "it has no spec"},
		"removed alone": {"spec: {managementState: Removed, skippedTemplates: []}", "its managementState is"},
		"removed":       {"spec: {managementState: Removed, samplesRegistry: m.b}", `its managementState is "Removed", not Managed`},
		"no state":      {"spec: {samplesRegistry: m.b}", "its managementState is"},
		"more":          {"spec: {" + spec + ", architectures: [x86_64]}", "architectures"},
		"registry":      {"spec: {managementState: Managed, samplesRegistry: m.b/}", "it ends in a slash"},
		"stream":        {"spec: {" + spec + ", skippedImagestreams: ['']}", "is not a name of an imagestream"},
		"not a list":    {"spec: {" + spec + ", skippedImagestreams: a}", "decode spec"},
		"two":           {"spec: {" + spec + "}\n---\nspec: {" + spec + "}", "it holds 2 objects"},
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

func TestParseSamplesConfig(t *testing.T) {
	const head = "apiVersion: samples.operator.openshift.io/v1\nkind: Config\nmetadata: {name: cluster, resourceVersion: '1'}\n"
	for name, test := range map[string]struct{ in, want string }{
		"good":           {head + "spec: {managementState: Removed, architectures: [x86_64], samplesRegistry: x, skippedImagestreams: [b, a, b], skippedTemplates: [t], skippedHelmCharts: [h]}\nstatus: {version: 4.17.3}", ""},
		"another kind":   {"apiVersion: v1\nkind: Config", `it is a Config of "v1"`},
		"another object": {"apiVersion: samples.operator.openshift.io/v1\nkind: List\nitems: []", "it is a List"},
		"no object":      {"[]", "it is not a Kubernetes object"},
		"no list":        {head + "spec: {skippedImagestreams: a}", "decode Config"},
		"empty":          {"", "it is empty"},
	} {
		got, err := ParseSamplesConfig([]byte(test.in))
		wantError(t, err, test.want)
		want := SamplesConfig{}
		if test.want == "" {
			want = SamplesConfig{Skipped: []string{"a", "b"}, Templates: []string{"t"}, Architectures: []string{"x86_64"}}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
