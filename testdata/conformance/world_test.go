package conformance

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	o := oci.Options{Insecure: []string{n.Host, far.Host}, Backoff: 10 * time.Millisecond}
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
	placement           bundle.Placement
	policy, scope, icsp string
	objects             string
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
	o := bundle.NewObjectOptions(f.placement, "", f.policy)
	o.Scope, o.ICSP = f.scope, f.icsp
	report := b.Report(results, o)
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
		if f.scope == "" && !strings.HasPrefix(s.Source, "quay.io/openshift-release-dev/") {
			t.Errorf("%s is no source of the release, but the installer is told of it", s.Source)
		}
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

func parse(t *testing.T, s string) oci.Reference {
	t.Helper()
	ref, err := oci.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}
