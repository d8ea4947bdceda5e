package bundle_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"airlift/bundle"
	"airlift/oci/ocitest"
)

// realSets are the real samples for two architectures: of aarch64 only what
// differs.
func realSets(t testing.TB) []bundle.Samples {
	t.Helper()
	var sets []bundle.Samples
	for arch, table := range map[string]string{"x86_64": "references.tsv", "aarch64": "aarch64.tsv"} {
		pairs := map[string][]string{}
		for _, s := range ocitest.ParseSamples(string(readFile(t, "../testdata/samples/"+table)), "") {
			pairs[s.Stream] = append(pairs[s.Stream], s.Tag, s.Reference)
		}
		set := bundle.Samples{Architecture: arch}
		for name, tags := range pairs {
			set.Streams = append(set.Streams, sampleOf(t, name, tags...))
		}
		slices.SortFunc(set.Streams, func(a, b bundle.ImageStream) int { return strings.Compare(a.Name, b.Name) })
		sets = append(sets, set)
	}
	slices.SortFunc(sets, func(a, b bundle.Samples) int { return strings.Compare(a.Architecture, b.Architecture) })
	return sets
}

// operatorRewrites is the samples operator's own rewrite, written down a second
// time, by the letter of its source (updateDockerPullSpec).
func operatorRewrites(stream, from, registry string) string {
	if stream == "jenkins" || stream == "jenkins-agent-nodejs" || stream == "jenkins-agent-maven" || strings.HasPrefix(from, registry) {
		return from
	}
	if strings.Count(from, "/") == 2 {
		for _, old := range []string{"docker.io", "registry.redhat.io", "registry.access.redhat.com", "quay.io", "registry.svc.ci.openshift.org"} {
			if strings.HasPrefix(from, old) {
				return strings.Replace(from, old, registry, 1)
			}
		}
		parts := strings.Split(from, "/")
		return registry + "/" + parts[1] + "/" + parts[2]
	}
	return registry + "/" + from
}

// TestRewriteOfRealSamples: whatever the placement, the samples operator's own
// rewrite of every real reference, and of the odd forms that there may be, is a
// name of that image, or the reference itself where it is left as it is.
func TestRewriteOfRealSamples(t *testing.T) {
	t.Parallel()
	keep := to(t, "m.example:5000/ocp")
	keep.KeepSourceHost = true
	folded := keep
	folded.MaxNestedPaths = 3 // with the host in front all are deeper, and get second names
	odd := []string{
		"docker.io/library/ruby:3", "ruby:2", "library/python:3", "quay.io/a/b/c:1", "quay.io/tool:1", "registry.example/a/b:1",
		"registry.example/a/b/c/d:1", "quay.io/a/pinned" + at("pinned"), "registry.redhat.io/a/untagged",
	}
	for name, p := range map[string]bundle.Placement{
		"plain": to(t, "m.example:5000"), "prefix": to(t, "m.example:5000/ocp/samples"), "source host": keep, "fold": folded,
		"map":           mapped(t, "m.example:5000", "registry.redhat.io=redhat", "registry.access.redhat.com/ubi8=base/eight"),
		"map to a root": mapped(t, "m.example:5000/ocp", "registry.redhat.io=", "registry.access.redhat.com=access", "docker.io=docker/hub"),
	} {
		odd := slices.DeleteFunc(slices.Clone(odd), func(from string) bool { // where the operator looks is too deep
			return p.MaxNestedPaths > 0 && strings.Count(from, "/") > 2
		})
		n := 0
		for _, set := range realSets(t) {
			for i, from := range odd {
				set.Streams = append(set.Streams, sampleOf(t, "zz-"+string(rune('a'+i)), "1", from))
			}
			var images []string
			for _, s := range set.Streams {
				for _, tag := range s.Tags {
					n++
					if !slices.Contains(images, tag.Image) {
						images = append(images, tag.Image)
					}
				}
			}
			expectRewrites(t, name+" "+set.Architecture, operated(t, "4.17.3", images, set), p)
		}
		if n != 271+5+2*len(odd) {
			t.Errorf("%d tags", n)
		}
	}
}

// expectRewrites holds the names of all samples of a content against what the
// operator asks for.
func expectRewrites(t *testing.T, name string, c *bundle.Content, p bundle.Placement) {
	t.Helper()
	s := toldOf(t, c, p, bundle.SamplesOptions{}, t.TempDir())
	if s.Fault != "" {
		t.Errorf("%s: no samplesRegistry: %s", name, s.Fault)
		return
	}
	r, err := assumed(t, c, p)
	check(t, err)
	all := names(r)
	for i, stream := range c.Samples[0].Streams {
		for _, tag := range stream.Tags {
			got := operatorRewrites(stream.Name, tag.From, p.Cluster.String())
			if stream.Name == "jenkins" {
				if got != tag.From {
					t.Errorf("%s: %s has become %s", name, tag.From, got)
				}
				continue
			}
			if pinned, found := strings.CutSuffix(got, at("pinned")); found {
				got = pinned + ":at-" + fallback(digest.Digest(at("pinned")[1:]))
			} else if !strings.Contains(got[strings.LastIndex(got, "/"):], ":") {
				got += ":latest"
			}
			if !slices.Contains(all[tag.Image], got) {
				t.Errorf("%s: %s:%s: the operator looks for %s at %s, it has the names %s", name, stream.Name, tag.Name, tag.From, got, all[tag.Image])
			}
		}
		if state := s.Streams[i]; state.Skipped || state.Carried != len(stream.Tags) {
			t.Errorf("%s: %+v", name, state)
		}
	}
}

// TestArchitecturesUnderOneName: aarch64 has java images at another host than
// x86_64. They may be others, and then one samplesRegistry cannot stand for both.
func TestArchitecturesUnderOneName(t *testing.T) {
	t.Parallel()
	same := "@" + "sha256:" + strings.Repeat("5", 64)
	for name, test := range map[string]struct {
		suffix string
		fault  bool
	}{"other images": {"", true}, "the same": {same, false}} {
		intel, arm := "registry.redhat.io/ubi8/openjdk-8:latest"+test.suffix, "registry.access.redhat.com/ubi8/openjdk-8:latest"+test.suffix
		c := operated(t, "4.17.3", []string{intel, arm},
			bundle.Samples{Architecture: "aarch64", Streams: []bundle.ImageStream{sampleOf(t, "java", "8", arm)}},
			bundle.Samples{Architecture: "x86_64", Streams: []bundle.ImageStream{sampleOf(t, "java", "8", intel)}})
		p := mapped(t, "m.example", "registry.redhat.io=redhat", "registry.access.redhat.com=access")
		s := toldOf(t, c, p, bundle.SamplesOptions{SamplesArch: "aarch64"}, t.TempDir())
		if (s.Fault != "") != test.fault || s.Streams[0].Skipped {
			t.Errorf("%s: fault %q, %+v", name, s.Fault, s.Streams)
		}
	}
}
