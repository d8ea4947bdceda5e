package bundle_test

import (
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"airlift/bundle"
)

// assumed is what a complete import of a content would have as its report.
func assumed(t testing.TB, c *bundle.Content, p bundle.Placement) (*bundle.Report, error) {
	t.Helper()
	r, err := opened(t, c).Assume(p, bundle.NewObjectOptions(p, "", ""))
	if r != nil {
		r.Assumed = false
	}
	return r, err
}

// names are the names of all images by reference.
func names(r *bundle.Report) map[string][]string {
	all := map[string][]string{}
	for _, image := range r.Images {
		all[image.Reference] = image.Names
	}
	return all
}

// mapped is a placement with maps, written as they are on the command line.
func mapped(t testing.TB, host string, maps ...string) bundle.Placement {
	t.Helper()
	p := to(t, host)
	for _, s := range maps {
		m, err := bundle.ParseMapping(s, p.To)
		check(t, err)
		p.Maps = append(p.Maps, m)
	}
	return p
}

// released gives a content a release of the image payload, with components by name.
func released(t testing.TB, c *bundle.Content, version, payload string, components ...string) *bundle.Content {
	t.Helper()
	r := bundle.Release{Version: version, Architecture: "x86_64", Image: payload}
	for i := 0; i < len(components); i += 2 {
		r.Components = append(r.Components, bundle.Component{Name: components[i], Image: components[i+1]})
	}
	c.Releases = append(c.Releases, r)
	return c
}

// stream gives a content a stream of the samples operator.
func stream(t testing.TB, c *bundle.Content, name string, tags ...string) *bundle.Content {
	t.Helper()
	s := bundle.ImageStream{Name: name, Samples: true}
	for i := 0; i < len(tags); i += 2 {
		s.Tags = append(s.Tags, bundle.StreamTag{Name: tags[i], From: tags[i+1], Image: references(t, tags[i+1])[0].String()})
	}
	c.Streams = append(c.Streams, s)
	c.SamplesComplete = true
	return c
}

func at(s string) string { return "@" + digest.FromString(s).String() }

// TestPlacement of references, by all ways to choose it.
func TestPlacement(t *testing.T) {
	t.Parallel()
	images := contentOf(t, "quay.io/team/app:v1", "quay.io/teams/app:v2", "quay.io/team/deep/app"+at("x"), "example.com:5000/app:v1")
	plain := map[string][]string{
		"quay.io/team/app:v1":             {"m.example/ocp/team/app:v1"},
		"quay.io/teams/app:v2":            {"m.example/ocp/teams/app:v2"},
		"quay.io/team/deep/app" + at("x"): {"m.example/ocp/team/deep/app:at-" + fallback(digest.FromString("x"))},
		"example.com:5000/app:v1":         {"m.example/ocp/app:v1"},
	}
	keep := to(t, "m.example/ocp")
	keep.KeepSourceHost = true
	for name, test := range map[string]struct {
		p    bundle.Placement
		want map[string]string // of the names, what differs from plain
	}{
		"plain": {to(t, "m.example/ocp"), nil},
		"host kept": {keep, map[string]string{
			"quay.io/team/app:v1": "m.example/ocp/quay.io/team/app:v1", "quay.io/teams/app:v2": "m.example/ocp/quay.io/teams/app:v2",
			"quay.io/team/deep/app" + at("x"): "m.example/ocp/quay.io/team/deep/app:at-" + fallback(digest.FromString("x")),
			"example.com:5000/app:v1":         "m.example/ocp/example.com-5000/app:v1",
		}},
		"repository mapped": {mapped(t, "m.example/ocp", "quay.io/team/app=other"), map[string]string{"quay.io/team/app:v1": "m.example/ocp/other:v1"}},
		"namespace mapped, at a slash": {mapped(t, "m.example/ocp", "quay.io/team=x/y"), map[string]string{
			"quay.io/team/app:v1": "m.example/ocp/x/y/app:v1", "quay.io/team/deep/app" + at("x"): "m.example/ocp/x/y/deep/app:at-" + fallback(digest.FromString("x")),
		}},
		"registry mapped to the root": {mapped(t, "m.example/ocp", "example.com:5000=m.example/ocp"), nil},
		"longest first": {mapped(t, "m.example/ocp", "quay.io=all", "quay.io/team/deep=deep", "quay.io/team=team"), map[string]string{
			"quay.io/team/app:v1": "m.example/ocp/team/app:v1", "quay.io/teams/app:v2": "m.example/ocp/all/teams/app:v2",
			"quay.io/team/deep/app" + at("x"): "m.example/ocp/deep/app:at-" + fallback(digest.FromString("x")),
		}},
	} {
		r, err := assumed(t, images, test.p)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := map[string][]string{}
		for ref, names := range plain {
			want[ref] = names
			if other := test.want[ref]; other != "" {
				want[ref] = []string{other}
			}
		}
		if diff := gocmp.Diff(want, names(r)); diff != "" {
			t.Errorf("%s (-want +got): %s", name, diff)
		}
	}
}

// TestTagsOfReleases: in their own repositories, by version, architecture and
// component; what two releases share has both tags.
func TestTagsOfReleases(t *testing.T) {
	t.Parallel()
	one, two, cli, etcd := "quay.io/o/release"+at("1"), "quay.io/o/release"+at("2"), "quay.io/o/art"+at("cli"), "quay.io/o/art"+at("etcd")
	c := contentOf(t, one, two, cli, etcd)
	released(t, c, "4.17.3", one, "cli", cli, "etcd", etcd)
	released(t, c, "4.17.4+x", two, "cli", cli, "tools", cli)
	r, err := assumed(t, c, mapped(t, "m.example", "quay.io/o=ocp/release", "quay.io/o/release=ocp/release", "quay.io/o/art=ocp/release"))
	check(t, err)
	want := map[string][]string{
		one:  {"m.example/ocp/release:4.17.3-x86_64"},
		two:  {"m.example/ocp/release:4.17.4_x-x86_64"},
		cli:  {"m.example/ocp/release:4.17.3-x86_64-cli", "m.example/ocp/release:4.17.4_x-x86_64-cli", "m.example/ocp/release:4.17.4_x-x86_64-tools"},
		etcd: {"m.example/ocp/release:4.17.3-x86_64-etcd"},
	}
	if diff := gocmp.Diff(want, names(r)); diff != "" {
		t.Errorf("(-want +got): %s", diff)
	}
}

// TestCollisions: one repository:tag for two digests is refused, every one of
// them; one for the same digest is none.
func TestCollisions(t *testing.T) {
	t.Parallel()
	same := "@" + digest.FromString("same").String()
	apart := contentOf(t, "docker.io/team/app:v1", "quay.io/team/app:v1", "docker.io/team/b:v1", "quay.io/team/b:v1")
	_, err := assumed(t, apart, to(t, "m.example"))
	wantError(t, err, bundle.ErrCollision, "docker.io/team/app:v1 and quay.io/team/app:v1 would both be m.example/team/app:v1", "quay.io/team/b:v1")
	wantError(t, err, bundle.ErrUsage)
	keep := to(t, "m.example")
	keep.KeepSourceHost = true
	for name, p := range map[string]bundle.Placement{"host kept": keep, "mapped": mapped(t, "m.example", "quay.io=quay")} {
		if _, err := assumed(t, apart, p); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := assumed(t, contentOf(t, "docker.io/team/app:v1"+same, "quay.io/team/app:v1"+same), to(t, "m.example")); err != nil {
		t.Errorf("two names of one image: %v", err)
	}
	_, err = assumed(t, contentOf(t, "quay.io/a/x:v1", "quay.io/b/x:v1"), mapped(t, "m.example", "quay.io/a=one", "quay.io/b=one"))
	wantError(t, err, bundle.ErrCollision, "m.example/one/x:v1")
}

// TestUnfitNames are refused when planning, not by the registry halfway.
func TestUnfitNames(t *testing.T) {
	t.Parallel()
	_, err := assumed(t, contentOf(t, "example.com/app:v1"), mapped(t, "m.example", "example.com/app="))
	wantError(t, err, bundle.ErrUsage, "root", "example.com/app")
	image := "quay.io/o/release" + at("1")
	long := released(t, contentOf(t, image), strings.Repeat("4", 100), image, strings.Repeat("c", 100), image)
	_, err = assumed(t, long, to(t, "m.example"))
	wantError(t, err, bundle.ErrUsage, image)
	deep := contentOf(t, "quay.io/"+strings.Repeat("a/", 110)+"b:v1")
	_, err = assumed(t, deep, to(t, "m.example/"+strings.Repeat("p/", 20)+"q"))
	wantError(t, err, bundle.ErrUsage, deep.Images[0].Reference)
	for _, p := range []bundle.Placement{
		{To: bundle.Location{Host: "m.example"}, Cluster: bundle.Location{Host: "[fd00::1]:5000"}},
		{To: bundle.Location{Host: "m.example"}, Cluster: bundle.Location{Host: "m.example"}, Mirrors: []bundle.Location{{Host: "[fd00::1]:5000"}}},
	} {
		_, err := assumed(t, contentOf(t, "quay.io/a/b:v1"), p)
		wantError(t, err, bundle.ErrUsage, "[fd00::1]:5000")
	}
}

// TestParseLocations and maps: what is refused says why.
func TestParseLocations(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"https://m.example/ocp", "docker://m.example", "", "m.example/UPPER", "m.example/ocp:tag", "m.example/a//b", "noport:/a", "m.example/a@sha256:0"} {
		if l, err := bundle.ParseLocation(s); err == nil {
			t.Errorf("%q was taken as %+v", s, l)
		}
	}
	for _, s := range []string{"m.example", "m.example:5000/a/b", "127.0.0.1:5000", "localhost:5000/x", "[fd00::1]:5000/x"} {
		if l, err := bundle.ParseLocation(s); err != nil || l.String() != s {
			t.Errorf("%q: %+v, %v", s, l, err)
		}
	}
	for _, s := range []string{"[fd00::1]:5000/x", "https://m.example", "M.example"} {
		if l, err := bundle.ParseClusterLocation(s); err == nil {
			t.Errorf("a cluster cannot name %+v", l)
		}
	}
	for _, s := range []string{"quay.io", "=x", "quay.io=UPPER", "https://quay.io=x", "quay.io=x:tag"} {
		if m, err := bundle.ParseMapping(s, to(t, "m.example/ocp").To); err == nil {
			t.Errorf("%q was taken as %+v", s, m)
		}
	}
	for s, want := range map[string]bundle.Mapping{
		"quay.io=":                           {Source: "quay.io"},
		"quay.io=m.example/ocp":              {Source: "quay.io"},
		"quay.io/a=b/c":                      {Source: "quay.io/a", Dest: "b/c"},
		"quay.io/a=m.example/ocp/b":          {Source: "quay.io/a", Dest: "b"},
		"registry.example.com:8443/a/b/c=/d": {Source: "registry.example.com:8443/a/b/c", Dest: "d"},
	} {
		if got, err := bundle.ParseMapping(s, to(t, "m.example/ocp").To); err != nil || got != want {
			t.Errorf("%q: %+v, %v", s, got, err)
		}
	}
}

// TestSecondNames: where the samples operator's rewrite would not hit the place
// of an image, it gets that name too, and its stream is not skipped.
func TestSecondNames(t *testing.T) {
	t.Parallel()
	python, java, jenkins := "registry.redhat.io/ubi8/python-39:1-117", "registry.access.redhat.com/openjdk", "registry.redhat.io/ocp-tools-4/jenkins-rhel8:v4"
	custom := "quay.io/team/app:v1"
	c := contentOf(t, python, java, jenkins, custom)
	stream(t, c, "java", "8", java)
	stream(t, c, "jenkins", "2", jenkins)
	stream(t, c, "python", "3.9", python, "latest", python)
	c.Streams = slices.Insert(c.Streams, 0, bundle.ImageStream{Name: "custom", Tags: []bundle.StreamTag{{Name: "v1", From: custom, Image: custom}}})
	keep := to(t, "m.example:5000/ocp")
	keep.KeepSourceHost = true
	for name, test := range map[string]struct {
		p    bundle.Placement
		want map[string][]string
	}{
		"plain": {to(t, "m.example:5000/ocp"), map[string][]string{
			python: {"ubi8/python-39:1-117"},
			// Two slashes are the rule, so the whole of a shorter reference is kept behind the registry.
			java + ":latest": {"openjdk:latest", "registry.access.redhat.com/openjdk:latest"},
			jenkins:          {"ocp-tools-4/jenkins-rhel8:v4"}, custom: {"team/app:v1"},
		}},
		"host kept": {keep, map[string][]string{
			python:           {"registry.redhat.io/ubi8/python-39:1-117", "ubi8/python-39:1-117"},
			java + ":latest": {"registry.access.redhat.com/openjdk:latest"},
			jenkins:          {"registry.redhat.io/ocp-tools-4/jenkins-rhel8:v4"}, custom: {"quay.io/team/app:v1"},
		}},
		"mapped": {mapped(t, "m.example:5000/ocp", "registry.redhat.io/ubi8=base"), map[string][]string{
			python:           {"base/python-39:1-117", "ubi8/python-39:1-117"},
			java + ":latest": {"openjdk:latest", "registry.access.redhat.com/openjdk:latest"},
			jenkins:          {"ocp-tools-4/jenkins-rhel8:v4"}, custom: {"team/app:v1"},
		}},
	} {
		for _, all := range test.want {
			for i := range all {
				all[i] = "m.example:5000/ocp/" + all[i]
			}
		}
		r, err := assumed(t, c, test.p)
		check(t, err)
		if diff := gocmp.Diff(test.want, names(r)); diff != "" {
			t.Errorf("%s (-want +got): %s", name, diff)
		}
		if skipped := skippedStreams(t, writeObjects(t, r)); len(skipped) > 0 {
			t.Errorf("%s: %s are skipped", name, skipped)
		}
	}
}
