package conformance

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"sigs.k8s.io/yaml"

	"airlift/bundle"
	airlift "airlift/manifest"
	"airlift/oci"
	"airlift/oci/ocitest"
	"airlift/verify"
)

// near is the registry that stands for the internet, and what a cluster may
// ask for: digests by reference.
type near struct {
	*ocitest.Registry
	images   map[string]digest.Digest // single images
	releases []ocitest.Release
}

// newNear pushes two releases and images of all shapes. Repositories lie inside
// of others, where by tag and by digest are not pulled alike.
func newNear(t *testing.T) *near {
	t.Helper()
	n := &near{Registry: ocitest.StartRegistry(t)}
	b := n.Builder()
	for _, version := range []string{"4.17.3", "4.17.4"} {
		n.releases = append(n.releases, b.Release(ocitest.ReleaseOpts{
			Version: version, Prefix: "quay", Components: []string{"cli", "etcd"}, Signatures: true, Multi: version == "4.17.4",
		}))
	}
	tagged := b.ZeroLayerImage("quay/example/both", "v1")
	lone := b.Image("quay/example/lone", "", ocitest.ImageOpts{})
	inner := b.Image("quay/example/nested/inner", "", ocitest.ImageOpts{})
	b.Referrer("quay/example/lone", lone, "text/plain", "about it")
	n.images = map[string]digest.Digest{
		"docker.io/library/tool:1":                              b.ZstdImage("docker/library/tool", "1").Digest,
		"quay.io/example/nested:v1":                             b.NestedIndex("quay/example/nested", "v1").Digest,
		"quay.io/example/nested/inner@" + inner.Digest.String(): inner.Digest,
		"quay.io/example/attested:v1":                           b.AttestationIndex("quay/example/attested", "v1").Digest,
		"quay.io/example/both:v1@" + tagged.Digest.String():     tagged.Digest,
		"quay.io/example/lone@" + lone.Digest.String():          lone.Digest,
		"quay.io/example/lone/inner:v1":                         b.ZstdImage("quay/example/lone/inner", "v1").Digest,
		"registry.example.com:8443/a/very/deep/repository:v1.0": b.ZstdImage("example/a/very/deep/repository", "v1.0").Digest,
	}
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	return n
}

// paths are where the hosts of references lie on the near registry.
var paths = map[string]string{
	"quay.io": "quay", "docker.io": "docker", "registry.redhat.io": "redhat",
	"registry.access.redhat.com": "access", "registry.example.com:8443": "example",
}

// client is one that finds the hosts of references on the near registry.
func (n *near) client(t *testing.T, far *ocitest.Registry) *oci.Client {
	t.Helper()
	o := oci.Options{Insecure: []string{n.Host, far.Host}}
	for host, path := range paths {
		o.Mirrors = append(o.Mirrors, oci.SourceMirror{Source: host, Mirror: n.Host + "/" + path})
	}
	client, err := oci.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// far is a destination, and the directory of the objects for its cluster.
type far struct {
	*ocitest.Registry
	placement bundle.Placement
	policy    string
	objects   string
}

// newFar starts a registry; prefix is the path below which images go, and maps
// are SOURCE=DEST.
func newFar(t *testing.T, prefix string, maps ...string) *far {
	t.Helper()
	f := &far{Registry: ocitest.StartRegistry(t), objects: t.TempDir()}
	var err error
	if f.placement.To, err = bundle.ParseLocation(f.Host + prefix); err != nil {
		t.Fatal(err)
	}
	if f.placement.Cluster, err = bundle.ParseClusterLocation(f.Host + prefix); err != nil {
		t.Fatal(err)
	}
	for _, m := range maps {
		mapping, err := bundle.ParseMapping(m, f.placement.To)
		if err != nil {
			t.Fatal(err)
		}
		f.placement.Maps = append(f.placement.Maps, mapping)
	}
	return f
}

// carry exports, imports and writes the objects. What the near registry does
// not have is left out.
func carry(t *testing.T, n *near, f *far, r bundle.Request) *bundle.Report {
	t.Helper()
	client := n.client(t, f.Registry)
	b := export(t, client, r)
	results, err := b.Import(t.Context(), client, bundle.ImportOptions{Placement: f.placement, SkipMissing: true})
	if err != nil && !errors.Is(err, bundle.ErrMissing) {
		t.Fatal(err)
	}
	report := b.Report(results, bundle.NewObjectOptions(f.placement, "", f.policy))
	if _, err := report.WriteObjects(f.objects); err != nil {
		t.Fatal(err)
	}
	return report
}

func export(t *testing.T, client *oci.Client, r bundle.Request) *bundle.Bundle {
	t.Helper()
	content, err := bundle.Plan(t.Context(), client, r)
	if err != nil {
		t.Fatal(err)
	}
	inventory, err := bundle.NewInventory(*content, 0, "conformance", 1)
	if err != nil {
		t.Fatal(err)
	}
	key, err := verify.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := bundle.Export(t.Context(), client, inventory, dir, bundle.ExportOptions{Key: key}); err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Open([]string{dir}, bundle.Trust{Keys: []verify.PublicKey{verify.PublicKeyOf(key)}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// object reads one of the objects; nil if there is none.
func (f *far) object(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(f.objects, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return data
}

// cluster is the one to which all objects have been applied, after the API
// server has looked at them.
func (f *far) cluster(t *testing.T) *Cluster {
	t.Helper()
	var sets [][]byte
	for _, name := range []string{bundle.IDMSFile, bundle.ITMSFile} {
		if set := f.object(t, name); set != nil {
			sets = append(sets, set)
		}
	}
	for _, set := range sets {
		if err := schemas(t).Check(set); err != nil {
			t.Errorf("%v\n%s", err, set)
		}
	}
	if patch := f.object(t, bundle.SamplesFile); patch != nil {
		if err := schemas(t).CheckPatch([]byte(samplesConfig), patch); err != nil {
			t.Errorf("%v\n%s", err, patch)
		}
	}
	c, err := NewCluster(t.TempDir(), []string{f.Host}, sets...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// installing is the cluster while it is being installed: the installer makes an
// ImageDigestMirrorSet of imageDigestSources.
func (f *far) installing(t *testing.T) *Cluster {
	t.Helper()
	var fragment struct {
		Sources []struct {
			Source  string   `json:"source"`
			Mirrors []string `json:"mirrors"`
			Policy  string   `json:"sourcePolicy"`
		} `json:"imageDigestSources"`
	}
	if err := yaml.UnmarshalStrict(f.object(t, bundle.InstallFile), &fragment); err != nil {
		t.Fatal(err)
	}
	set := airlift.MirrorSet{Kind: airlift.DigestMirrorSet, Name: "image-digest-mirror"}
	for _, s := range fragment.Sources {
		set.Mirrors = append(set.Mirrors, airlift.Mirror{Source: s.Source, Mirrors: s.Mirrors, Policy: s.Policy})
	}
	text, err := set.YAML()
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCluster(t.TempDir(), []string{f.Host}, text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// expectPulls pulls everything as the cluster does.
func expectPulls(t *testing.T, c *Cluster, wanted map[string]digest.Digest) {
	t.Helper()
	for _, ref := range slices.Sorted(maps.Keys(wanted)) {
		if _, err := c.pull(t, ref, wanted[ref]); err != nil {
			t.Error(err)
		}
	}
}

// expectRelease pulls a release as the cluster does: payload and components by
// digest, and from the repository that served each, its signature.
func expectRelease(t *testing.T, c *Cluster, r ocitest.Release) {
	t.Helper()
	payload, _, _ := strings.Cut(r.Reference, ":")
	images := []string{payload + "@" + r.Descriptor.Digest.String()}
	for _, image := range r.Images {
		images = append(images, image)
	}
	for _, image := range images {
		_, hex, _ := strings.Cut(image, "@sha256:")
		repository, err := c.pull(t, image, digest.NewDigestFromEncoded(digest.SHA256, hex))
		if err != nil {
			t.Error(err)
			continue
		}
		expectTag(t, repository, "sha256-"+hex+".sig")
	}
}

// TestClusterPullsWhatWasCarried runs over the ways to place images.
func TestClusterPullsWhatWasCarried(t *testing.T) {
	n := newNear(t)
	var refs []oci.Reference
	for ref := range n.images {
		refs = append(refs, parse(t, ref))
	}
	request := bundle.Request{Images: refs, Releases: []oci.Reference{parse(t, n.releases[0].Reference)}}
	for name, f := range map[string]*far{
		"at the root":        newFar(t, ""),
		"below a prefix":     newFar(t, "/mirror/of"),
		"with source hosts":  keepHosts(newFar(t, "/mirror")),
		"one for both":       newFar(t, "", "quay.io/openshift-release-dev/ocp-release=ocp/release", "quay.io/openshift-release-dev/ocp-v4.0-art-dev=ocp/release"),
		"mapped to new ones": newFar(t, "/m", "quay.io=q", "quay.io/example/nested=n", "docker.io/library/tool=deep/er/tool"),
		"never the source":   never(newFar(t, "/mirror")),
	} {
		t.Run(name, func(t *testing.T) {
			carry(t, n, f, request)
			c := f.cluster(t)
			expectPulls(t, c, n.images)
			expectRelease(t, c, n.releases[0])
			expectReferrer(t, c, n)
			expectRelease(t, f.installing(t), n.releases[0])
		})
	}
}

func keepHosts(f *far) *far { f.placement.KeepSourceHost = true; return f }
func never(f *far) *far     { f.policy = airlift.NeverContactSource; return f }

// expectReferrer looks for the artifact that refers to an image where clients
// look for it, in the repository that served the image.
func expectReferrer(t *testing.T, c *Cluster, n *near) {
	t.Helper()
	for ref, d := range n.images {
		if strings.HasPrefix(ref, "quay.io/example/lone@") {
			if repository, err := c.pull(t, ref, d); err == nil {
				expectTag(t, repository, strings.Replace(d.String(), ":", "-", 1))
			}
		}
	}
}

func parse(t *testing.T, s string) oci.Reference {
	t.Helper()
	ref, err := oci.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// TestNextReleaseLeavesTheFirst carries twice into one registry.
func TestNextReleaseLeavesTheFirst(t *testing.T) {
	n, f := newNear(t), newFar(t, "/mirror")
	carry(t, n, f, bundle.Request{Releases: []oci.Reference{parse(t, n.releases[0].Reference)}})
	if set := f.object(t, bundle.ITMSFile); set != nil {
		t.Errorf("a release alone has tag mirrors, which drain nodes:\n%s", set)
	}
	carry(t, n, f, bundle.Request{
		Releases: []oci.Reference{parse(t, n.releases[1].Reference)},
		Images:   []oci.Reference{parse(t, "quay.io/example/nested:v1")},
	})
	c := f.cluster(t)
	for _, r := range n.releases {
		expectRelease(t, c, r)
	}
	expectPulls(t, c, map[string]digest.Digest{"quay.io/example/nested:v1": n.images["quay.io/example/nested:v1"]})
}

// TestSamples carries the samples of which the near registry has but some.
func TestSamples(t *testing.T) {
	n, samples := newNear(t), ocitest.ExampleSamples()
	for name, f := range map[string]*far{
		"at the root":       newFar(t, ""),
		"below a prefix":    newFar(t, "/mirror"),
		"with source hosts": keepHosts(newFar(t, "/mirror")),
		"mapped":            newFar(t, "", "registry.redhat.io=redhat", "registry.access.redhat.com=access"),
	} {
		t.Run(name, func(t *testing.T) {
			carrySamples(t, n, f, samples)
			if got := expectSamples(t, n, f, samples); !slices.Equal(got, []string{"nodejs"}) {
				t.Errorf("skipped are %q, of which only nodejs has a tag that is missing", got)
			}
		})
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

// realSamples are the tags of a real samples operator.
func realSamples(t *testing.T) []ocitest.Sample {
	t.Helper()
	table, err := os.ReadFile("../samples/references.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var samples []ocitest.Sample
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); !strings.HasPrefix(line, "#") {
			samples = append(samples, ocitest.Sample{Stream: fields[0], Tag: fields[1], Reference: fields[2]})
		}
	}
	return samples
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
