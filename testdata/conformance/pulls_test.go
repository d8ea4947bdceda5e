package conformance

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containers/image/v5/docker/policyconfiguration"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/pkg/sysregistriesv2"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"airlift/bundle"
	"airlift/manifest"
	"airlift/oci"
)

// importer looks for images as the importer of imagestreams does, which has its
// own way to find an entry (openshift-apiserver, importer.go and rest.go): it
// takes the location for the prefix, compares names and not hosts, and blocks
// nothing.
type importer []sysregistriesv2.Registry

func newImporter(t *testing.T, sets [][]byte) importer {
	t.Helper()
	conf, err := registriesConf(nil, nil, sets)
	if err != nil {
		t.Fatal(err)
	}
	for i := range conf.Registries {
		conf.Registries[i].Prefix = conf.Registries[i].Location
	}
	return conf.Registries
}

// places are the names of repositories, in order.
func (im importer) places(t *testing.T, ref string) []string {
	t.Helper()
	named, err := reference.ParseNamed(ref)
	if err != nil {
		t.Fatal(err)
	}
	var best sysregistriesv2.Registry
	for _, r := range im {
		if r.Prefix != "" && len(r.Prefix) > len(best.Prefix) && (named.Name() == r.Prefix || strings.HasPrefix(named.Name(), r.Prefix+"/")) {
			best = r
		}
	}
	if best.Prefix == "" {
		return []string{named.Name()}
	}
	sources, err := best.PullSourcesFromReference(named)
	if err != nil {
		return []string{named.Name()}
	}
	var names []string
	for _, s := range sources {
		names = append(names, s.Reference.Name())
	}
	return names
}

// rewritten is what the samples operator makes of a name, told once more.
func rewritten(from, registry string) string {
	if strings.HasPrefix(from, registry) {
		return from
	}
	if strings.Count(from, "/") != 2 {
		return registry + "/" + from
	}
	for _, old := range []string{"docker.io", "registry.redhat.io", "registry.access.redhat.com", "quay.io", "registry.svc.ci.openshift.org"} {
		if strings.HasPrefix(from, old) {
			return strings.Replace(from, old, registry, 1)
		}
	}
	parts := strings.Split(from, "/")
	return registry + "/" + parts[1] + "/" + parts[2]
}

// randomContent has images of all kinds of references, streams that name some of
// them, lists that lack a child, and what a registry holds under some names: the
// child that is carried.
func randomContent(r *rand.Rand) (c *bundle.Content, held map[string]digest.Digest) {
	c, held = &bundle.Content{}, map[string]digest.Digest{}
	for i := range 1 + r.IntN(6) {
		from := randomScope(r, false)
		d := digest.FromString(fmt.Sprint(i))
		switch r.IntN(5) {
		case 0:
			from += ":v1"
		case 1:
			from += "@" + d.String()
		case 2:
			from += ":v1@" + d.String()
		case 3:
			from += ":sha256-" + digest.FromString("subject").Encoded() + ".sig"
		}
		ref, err := oci.ParseReference(from)
		if err != nil {
			continue // a host alone
		}
		if slices.ContainsFunc(c.Images, func(i bundle.Image) bool { return i.Reference == ref.String() }) {
			continue
		}
		c.Images = append(c.Images, bundle.Image{Reference: ref.String(), Digest: d})
		child, other := digest.FromString(fmt.Sprint("child ", i)), digest.FromString(fmt.Sprint("other ", i))
		list := bundle.Node{Digest: d, Children: []digest.Digest{child, other}}
		c.Nodes = append(c.Nodes, bundle.Node{Digest: child})
		if r.IntN(2) == 0 {
			list.Absent = []digest.Digest{other}
		} else {
			c.Nodes = append(c.Nodes, bundle.Node{Digest: other})
		}
		c.Nodes = append(c.Nodes, list)
		held[ref.String()] = []digest.Digest{d, child, other}[r.IntN(3)]
		if r.IntN(4) == 0 {
			c.Releases = append(c.Releases, bundle.Release{Image: ref.String()})
		}
		if r.IntN(2) == 0 {
			name := []string{"own", "ruby", "jenkins", "skipped"}[r.IntN(4)]
			c.Streams = append(c.Streams, bundle.ImageStream{
				Name: name, Samples: name != "own", Tags: []bundle.StreamTag{{Name: fmt.Sprint(i), From: from, Image: ref.String()}},
			})
		}
	}
	return c, held
}

// standing are the digests that the cluster asks for, by references as it says
// them: of a sparse list, the child that stands for it under its tag.
func standing(t *testing.T, c *bundle.Content, held map[string]digest.Digest) map[string]digest.Digest {
	t.Helper()
	sparse := map[digest.Digest]digest.Digest{} // the carried children
	for _, n := range c.Nodes {
		if len(n.Absent) > 0 {
			sparse[n.Digest] = n.Children[0]
		}
	}
	asked := map[string]digest.Digest{}
	for _, i := range c.Images {
		d, name := i.Digest, nameOf(t, i.Reference)
		if child, is := sparse[d]; is && held[i.Reference] == child && !strings.Contains(i.Reference, "@") {
			d = child
		}
		asked[i.Reference] = d
		if _, attached := subject(i.Reference); !attached && !strings.Contains(i.Reference, "@") {
			asked[name+"@"+d.String()] = d
		}
	}
	return asked
}

// rejects says whether policy.json, as the operator writes it for blocked
// registries and releases, rejects an image: the most specific scope decides.
func rejects(t *testing.T, ref string, blocked []string, released []bundle.Release) bool {
	t.Helper()
	named, err := reference.ParseNamed(ref)
	if err != nil {
		t.Fatal(err)
	}
	for _, scope := range policyconfiguration.DockerReferenceNamespaces(named) {
		if slices.ContainsFunc(released, func(r bundle.Release) bool { return nameOf(t, r.Image) == scope }) {
			return false
		}
		if slices.Contains(blocked, scope) {
			return true
		}
	}
	return false
}

// subject is what a node asks for before it asks for an attachment.
func subject(ref string) (at string, attached bool) {
	name, _, attached := strings.Cut(ref, ":sha256-")
	if !attached || strings.Contains(ref, "@") {
		return ref, false
	}
	return name + someDigest, true
}

// TestPullsProperty: whatever the inventory and the objects are, check looks for
// images where the cluster's own code does.
func TestPullsProperty(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 22))
	counts := map[string]int{}
	for range 1000 {
		if c := randomPullers(t, r); c != nil {
			content, held := randomContent(r)
			c.expectPulls(t, content, held, counts)
		}
	}
	for way, least := range map[string]int{bundle.ByNode: 2000, bundle.ByImporter: 300, bundle.BySamples: 100, "mirrored " + bundle.ByImporter: 30, "mirrored " + bundle.BySamples: 5, "a child": 50, "rejected": 50} {
		if counts[way] < least {
			t.Errorf("%d pulls were %s: too few to mean much", counts[way], way)
		}
	}
}

// pullers are those of one cluster, as airlift has them and as the cluster's own
// code does.
type pullers struct {
	airlift  *bundle.Cluster
	nodes    *Cluster
	streams  importer
	registry string   // of samples
	blocked  []string // by image.config
	sets     [][]byte
}

// randomPullers makes a cluster; nil if it has no mirror sets, or some that the
// operator refuses, as airlift must too.
func randomPullers(t *testing.T, r *rand.Rand) *pullers {
	t.Helper()
	texts, dir := objectsOf(t, randomSets(r)), t.TempDir()
	c := &pullers{registry: []string{"q.io:5000", "q.io", "b.lan/a", "none"}[r.IntN(4)], sets: texts}
	insecure := writePatches(t, dir, r, c.registry)
	for range r.IntN(2) {
		c.blocked = append(c.blocked, randomScope(r, true))
	}
	stated := bundle.Stated{MirrorSets: append(bytes.Join(texts, []byte("---\n")), "\n"...), Image: &manifest.ImageConfig{Blocked: c.blocked}}
	var err error
	c.airlift, err = bundle.ReadCluster(dir, "m.lan", stated)
	if len(texts) == 0 {
		return nil
	}
	if _, refused := registriesConf(insecure, c.blocked, texts); refused != nil || err != nil {
		if (refused == nil) != (err == nil) {
			t.Fatalf("airlift says %v, the operator %v", err, refused)
		}
		return nil
	}
	if c.nodes, err = blockingCluster(t.TempDir(), insecure, c.blocked, texts); err != nil {
		t.Fatal(err)
	}
	c.streams = newImporter(t, texts)
	return c
}

// expectPulls holds all that check asks for of a content against the cluster.
func (c *pullers) expectPulls(t *testing.T, content *bundle.Content, held map[string]digest.Digest, counts map[string]int) {
	t.Helper()
	asked := standing(t, content, held)
	from := map[string]string{}
	for _, s := range content.Streams {
		for _, tag := range s.Tags {
			from[s.Name+":"+tag.Name] = tag.From
		}
	}
	for _, p := range c.airlift.Pulls(content.Standing(held), nil) {
		counts[p.Way]++
		if p.Way != bundle.ByNode {
			c.expectStreams(t, p, from, counts)
			continue
		}
		if want, is := asked[p.Reference]; !is || p.Digest != want {
			t.Fatalf("a node asks for %s of %s, not %s", p.Digest, p.Reference, want)
		}
		if held[p.Reference] == p.Digest && !hasImage(content, p.Digest) {
			counts["a child"]++
		}
		if !rejects(t, p.Reference, c.blocked, content.Releases) {
			expectNode(t, c.nodes, p)
		} else if counts["rejected"]++; p.Fault == nil {
			t.Fatalf("nodes reject %s with %q blocked", p.Reference, c.blocked)
		}
	}
}

// expectStreams holds what is asked for imagestreams against the importer and the
// samples operator.
func (c *pullers) expectStreams(t *testing.T, p bundle.Pull, from map[string]string, counts map[string]int) {
	t.Helper()
	isBlocked := p.Way == bundle.BySamples && slices.Contains(c.blocked, c.registry)
	for _, stream := range p.Streams {
		if isBlocked && p.Fault == nil {
			t.Fatalf("the samples operator creates %s, with %s blocked", p.Reference, c.registry)
		}
		if !isBlocked {
			c.expectStream(t, p, stream, from[stream])
		}
	}
	if isBlocked {
		return
	}
	if p.Fault != nil {
		if _, err := reference.ParseNormalizedNamed(p.Reference); err == nil {
			t.Fatal(p.Fault)
		}
		return
	}
	var names []string
	for _, s := range p.Sources {
		names = append(names, s.Name)
	}
	if diff := cmp.Diff(c.streams.places(t, p.Reference), names); diff != "" {
		t.Fatalf("%s (-importer +airlift):\n%s\n%s", p.Reference, diff, bytes.Join(c.sets, nil))
	}
	if len(names) > 1 {
		counts["mirrored "+p.Way]++
	}
}

// expectStream: a tag is asked for by the name that the cluster gives it, and the way
// that it comes.
func (c *pullers) expectStream(t *testing.T, p bundle.Pull, stream, want string) {
	t.Helper()
	if p.Way == bundle.BySamples {
		want = rewritten(want, c.registry)
	}
	if _, err := reference.ParseNormalizedNamed(want); err != nil {
		if p.Fault == nil {
			t.Fatalf("%s: airlift asks for %s, which the cluster cannot", stream, p.Reference)
		}
		return
	}
	ref, err := oci.ParseReference(want)
	if err != nil || ref.String() != p.Reference || strings.HasPrefix(stream, "skipped:") && c.registry != "none" {
		t.Fatalf("%s: airlift asks for %s, the cluster for %s (%v)", stream, p.Reference, want, err)
	}
	if (p.Way == bundle.BySamples) != (c.registry != "none" && !strings.HasPrefix(stream, "own:") && !strings.HasPrefix(stream, "jenkins:")) {
		t.Fatalf("%s comes by way of the %s", stream, p.Way)
	}
}

func hasImage(c *bundle.Content, d digest.Digest) bool {
	return slices.ContainsFunc(c.Images, func(i bundle.Image) bool { return i.Digest == d })
}

// writePatches writes what the samples operator and the nodes are told, unless
// the registry is "none". It gives the insecure registries.
func writePatches(t *testing.T, dir string, r *rand.Rand, registry string) (insecure []string) {
	t.Helper()
	files := map[string][]byte{}
	var err error
	if registry != "none" {
		files[bundle.SamplesFile], err = manifest.SamplesPatch{Registry: registry, Skipped: []string{"skipped"}}.YAML()
		if err != nil {
			t.Fatal(err)
		}
	}
	if r.IntN(2) == 0 {
		insecure = []string{randomScope(r, true)}
		files[bundle.ImageConfigFile], err = manifest.ImageConfigPatch(manifest.ImageConfig{}, manifest.ImageConfig{Insecure: insecure}, "")
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return insecure
}

// expectNode compares with where a node looks.
func expectNode(t *testing.T, nodes *Cluster, p bundle.Pull) {
	t.Helper()
	at, attached := subject(p.Reference)
	want, err := nodes.Places(at)
	if (err == nil) != (p.Fault == nil) {
		t.Fatalf("%s: airlift says %v, the node %v", p.Reference, p.Fault, err)
	}
	_, suffix, _ := strings.Cut(at, "@")
	var got []Place
	for _, s := range p.Sources {
		place := s.Name
		if attached {
			place += "@" + suffix
		} else {
			place += strings.TrimPrefix(at, nameOf(t, at))
		}
		got = append(got, Place{place, s.Insecure, s.Blocked})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s (-node +airlift):\n%s", p.Reference, diff)
	}
}

func nameOf(t *testing.T, ref string) string {
	t.Helper()
	named, err := reference.ParseNamed(ref)
	if err != nil {
		t.Fatal(err)
	}
	return named.Name()
}
