package conformance

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"sigs.k8s.io/yaml"

	"airlift/bundle"
	airlift "airlift/manifest"
	"airlift/oci"
	"airlift/oci/ocitest"
)

// TestSamples carries the samples of which the near registry has but some.
func TestSamples(t *testing.T) {
	n, samples := newNear(t), ocitest.ExampleSamples()
	for name, f := range map[string]*far{
		"at the root":       newFar(t, ""),
		"below a prefix":    newFar(t, "/mirror"),
		"with source hosts": keepHosts(newFar(t, "/mirror")),
		"mapped":            newFar(t, "", "registry.redhat.io=redhat", "registry.access.redhat.com=access"),
		// Second names where hosts are folded in front of what the operator looks for.
		"folded":          folded(keepHosts(newFar(t, "/mirror")), 3),
		"folded too flat": folded(newFar(t, "/mirror"), 2), // for the operator's own places
	} {
		t.Run(name, func(t *testing.T) {
			carrySamples(t, n, f, samples)
			if got := expectSamples(t, n, f, samples); !slices.Equal(got, []string{"nodejs"}) {
				t.Errorf("skipped are %q, of which only nodejs has a tag that is missing", got)
			}
		})
	}
}

// TestSamplesInTwoImports carries one stream first and the others later: what
// the registry holds counts, not what the last bundle brought.
func TestSamplesInTwoImports(t *testing.T) {
	f, first, second := newFar(t, "/mirror"), newNear(t), newNear(t)
	only, others := ocitest.ExampleSamples(), ocitest.ExampleSamples()
	for i, s := range only {
		only[i].Missing = s.Stream != "httpd"
		others[i].Missing = s.Stream == "httpd" || s.Missing
	}
	carrySamples(t, first, f, only)
	carrySamples(t, second, f, others)
	maps.Copy(second.images, first.images)
	if got := expectSamples(t, second, f, only); !slices.Equal(got, []string{"nodejs"}) {
		t.Errorf("skipped are %q, of which only nodejs has a tag that never came", got)
	}
}

// TestOneStreamOfFifty has all real streams, and the images of one.
func TestOneStreamOfFifty(t *testing.T) {
	n, f := newNear(t), newFar(t, "/mirror")
	samples := realSamples(t)
	for i := range samples {
		samples[i].Missing = samples[i].Stream != "httpd"
	}
	carrySamples(t, n, f, samples)
	if got := expectSamples(t, n, f, samples); len(got) != 49 || slices.Contains(got, "httpd") {
		t.Errorf("skipped are %d: %q", len(got), got)
	}
}

// TestSamplesOfRelease carries all real samples of a release's own operator, of
// which 30 images are gone: exactly the streams that lack one are skipped, and a
// cluster pulls every tag of the others.
func TestSamplesOfRelease(t *testing.T) {
	n, samples := newNear(t), realSamples(t)
	gone, lacking := map[string]bool{}, map[string]bool{}
	for i, s := range samples {
		if i%9 == 0 && len(gone) < 30 && !strings.HasSuffix(s.Reference, "/ubi8/go-toolset:1.18") {
			gone[s.Reference] = true
		}
	}
	for i, s := range samples {
		samples[i].Missing = gone[s.Reference]
		lacking[s.Stream] = lacking[s.Stream] || gone[s.Reference]
	}
	b := n.Builder()
	for ref, d := range b.Samples(samples, paths) {
		n.images[ref] = d
	}
	b.ZstdImage("example/go-toolset", "1.18")
	release := b.Release(ocitest.ReleaseOpts{
		Version: "4.18.0", Prefix: "quay", Components: []string{"cluster-samples-operator"},
		Files: map[string]map[string]string{"cluster-samples-operator": ocitest.SampleFiles("x86_64", samples)},
	})
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	request := bundle.Request{Releases: []oci.Reference{parse(t, release.Reference)}, Samples: &bundle.SamplesRequest{}}
	for name, f := range map[string]*far{
		"below a prefix":    newFar(t, "/mirror"),
		"with source hosts": keepHosts(newFar(t, "")),
		"mapped":            newFar(t, "", "registry.redhat.io=redhat", "registry.access.redhat.com/ubi8=eight"),
		"through mirrors":   newFar(t, "", "registry.redhat.io=redhat", "registry.example.com:8443=ubi8"),
	} {
		t.Run(name, func(t *testing.T) {
			r := request
			if name == "through mirrors" { // another image lies where the operator would look
				r.Images = []oci.Reference{parse(t, clash)}
			}
			carry(t, n, f, r)
			skipped := expectSamples(t, n, f, samples)
			for stream, lacks := range lacking {
				if lacks != slices.Contains(skipped, stream) {
					t.Errorf("%s lacks something: %v, skipped are %q", stream, lacks, skipped)
				}
			}
			if patch := string(f.object(t, bundle.SamplesFile)); strings.Contains(patch, `samplesRegistry: ""`) != (name == "through mirrors") {
				t.Errorf("the patch is %s", patch)
			}
			if len(gone) != 30 || len(skipped) == 0 || len(skipped) == 50 {
				t.Errorf("%d are gone, %d skipped", len(gone), len(skipped))
			}
		})
	}
}

// clash is an image that a map brings to the place where the samples operator
// would look for a sample of another registry.
const clash = "registry.example.com:8443/go-toolset:1.18"

// realSamples are the tags of a real samples operator.
func realSamples(t *testing.T) []ocitest.Sample {
	t.Helper()
	table, err := os.ReadFile("../samples/references.tsv")
	if err != nil {
		t.Fatal(err)
	}
	return ocitest.ParseSamples(string(table), "")
}

func carrySamples(t *testing.T, n *near, f *far, samples []ocitest.Sample) {
	t.Helper()
	b := n.Builder()
	for ref, d := range b.Samples(samples, paths) {
		n.images[ref] = d
	}
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	streams, err := airlift.ParseImageStreams(ocitest.ImageStreamList(samples, n.releases[0]))
	if err != nil {
		t.Fatal(err)
	}
	carry(t, n, f, bundle.Request{Streams: streams})
}

// expectSamples does what the samples operator and the cluster's importer do
// after the patch, and gives the streams that are skipped.
func expectSamples(t *testing.T, n *near, f *far, samples []ocitest.Sample) (skipped []string) {
	t.Helper()
	c := f.cluster(t)
	var config struct {
		Spec struct {
			SamplesRegistry     string
			SkippedImagestreams []string
		}
	}
	patched, err := ApplyPatch([]byte(samplesConfig), f.object(t, bundle.SamplesFile))
	if err == nil {
		err = yaml.Unmarshal(patched, &config)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range samples {
		if slices.Contains(config.Spec.SkippedImagestreams, s.Stream) || s.Alias != "" {
			continue
		}
		ref := s.Reference
		if !airlift.KeepsReferences(s.Stream) {
			ref = airlift.RewriteSample(ref, config.Spec.SamplesRegistry)
		}
		expectImport(t, c, ref, n.images[s.Reference])
	}
	return config.Spec.SkippedImagestreams
}

// expectImport pulls by tag, as an imagestream is imported, and then by digest,
// as pods do.
func expectImport(t *testing.T, c *Cluster, ref string, want digest.Digest) {
	t.Helper()
	expectPulls(t, c, map[string]digest.Digest{ref: want})
	byDigest := parse(t, ref).WithDigest(want).String()
	expectPulls(t, c, map[string]digest.Digest{byDigest: want})
}

// TestSamplesPatches: the API server takes every form of the patch.
func TestSamplesPatches(t *testing.T) {
	for name, p := range map[string]airlift.SamplesPatch{
		"templates":   {Registry: "m.example:5000/ocp", Skipped: []string{"ruby"}, Templates: []string{"django", "rails"}},
		"no registry": {Skipped: []string{}, Templates: []string{}},
		"removed":     {Removed: true},
	} {
		text, err := p.YAML()
		if err == nil {
			err = schemas(t).CheckPatch([]byte(samplesConfig), text)
		}
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
	bad := []byte("spec: {managementState: Managed, skippedTemplate: [a]}")
	if schemas(t).CheckPatch([]byte(samplesConfig), bad) == nil {
		t.Error("a field that is none was taken")
	}
}
