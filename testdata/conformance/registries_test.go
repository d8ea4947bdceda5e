package conformance

import (
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"cuelabs.dev/go/oci/ociregistry/ocimem"
	"cuelabs.dev/go/oci/ociregistry/ociserver"
	"github.com/opencontainers/go-digest"

	"airlift/bundle"
	"airlift/oci"
	"airlift/oci/ocitest"
)

// destination is a registry as a site has it, set up for what is to come.
type destination struct {
	host  string
	path  string // a prefix, with a slash in front
	depth int    // of paths; 0 for any

	disk *ocitest.Registry // where it keeps things, if something collects there what has no tag
}

// destinations are all kinds of registries that there are here: real ones, and
// some by their rules.
func destinations(t *testing.T, signatures []digest.Digest) map[string]destination {
	t.Helper()
	real := func(o ocitest.RegistryOptions) destination {
		return destination{host: ocitest.StartRegistryWith(t, o).Host}
	}
	ruled := func(d destination, rules []ocitest.Rule) destination {
		d.disk = ocitest.StartRegistry(t)
		d.host = ocitest.Emulate(t, d.disk.Host, rules).Host
		return d
	}
	memory := httptest.NewServer(ociserver.New(ocimem.New(), nil))
	t.Cleanup(memory.Close)
	return map[string]destination{
		"docker-registry": real(ocitest.RegistryOptions{}),
		"distribution 3":  real(ocitest.RegistryOptions{Three: true}),
		"ociregistry":     {host: strings.TrimPrefix(memory.URL, "http://")},
		"zot":             ruled(destination{}, ocitest.Zot(true)),
		"Quay": ruled(destination{path: "/ocp"}, ocitest.Quay(ocitest.QuayOptions{
			Organisations: []string{"ocp"}, Nested: true, Busy: true, Signatures: signatures,
		})),
		"Quay without nested names": ruled(destination{path: "/ocp", depth: 2}, ocitest.Quay(ocitest.QuayOptions{
			Organisations: []string{"ocp"}, Signatures: signatures,
		})),
		"Harbor": ruled(destination{path: "/ocp"}, ocitest.Harbor("ocp")),
		"GitLab": ruled(destination{path: "/group/project", depth: 4}, ocitest.GitLab("group/project")),
		"ECR": ruled(destination{path: "/ocp"}, ocitest.ECR(
			"ocp/openshift-release-dev/ocp-release", "ocp/openshift-release-dev/ocp-v4.0-art-dev", "ocp/library/tool", "ocp/example/attested", "ocp/a/very/deep/repository",
		)),
	}
}

// TestEveryRegistry carries a release and images of several shapes into each kind
// of registry; a cluster finds all of it there, by airlift's own check, by the
// cluster's code and by another program.
func TestEveryRegistry(t *testing.T) {
	n, g := newNear(t), newGap(t)
	wanted := map[string]digest.Digest{}
	var refs []oci.Reference
	for _, name := range []string{"docker.io/library/tool:1", "quay.io/example/attested:v1", "registry.example.com:8443/a/very/deep/repository:v1.0"} {
		wanted[name], refs = n.images[name], append(refs, parse(t, name))
	}
	release := n.releases[1]
	b := export(t, n.client(t, n.Registry), bundle.Request{Images: refs, Releases: []oci.Reference{parse(t, release.Reference)}})
	t.Cleanup(func() {
		if tries := g.tries.Load(); tries > 0 {
			t.Errorf("the internet was asked %d times", tries)
		}
	})
	for name, d := range destinations(t, signaturesOf(b)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &far{Registry: &ocitest.Registry{Host: d.host}, objects: t.TempDir()}
			f.placement.To = bundle.Location{Host: d.host, Path: strings.TrimPrefix(d.path, "/")}
			f.placement.Cluster, f.placement.MaxNestedPaths = f.placement.To, d.depth
			client := n.client(t, f.Registry)
			if places, err := b.Survey(t.Context(), client, bundle.ImportOptions{Placement: f.placement}); err != nil || len(places) != 5 {
				t.Errorf("places are %v, %v", places, err)
			}
			bring(t, client, b, f, bundle.StateImported)
			bring(t, client, b, f, bundle.StatePresent)
			if d.disk != nil {
				if untagged := d.disk.CollectUntagged(t); untagged != 0 {
					t.Errorf("%d manifests had no tag", untagged)
				}
			}
			expectCheck(t, client, b, f)
			c := f.cluster(t)
			expectPulls(t, c, wanted)
			expectRelease(t, c, release)
			for _, name := range append(slices.Collect(maps.Keys(wanted)), release.Images["etcd"]) {
				if _, err := g.skopeo(t, c.Conf, "copy", "--insecure-policy", "--all", "docker://"+name, "dir:"+t.TempDir()); err != nil {
					t.Errorf("copy %s: %v", name, err)
				}
			}
		})
	}
}

// signaturesOf are the digests of the signatures in a bundle.
func signaturesOf(b *bundle.Bundle) []digest.Digest {
	var all []digest.Digest
	for _, image := range b.Inventory.Content.Images {
		if strings.HasSuffix(image.Reference, ".sig") {
			all = append(all, image.Digest)
		}
	}
	return all
}

// bring imports, and writes the objects; all images are to become of a state.
func bring(t *testing.T, client *oci.Client, b *bundle.Bundle, f *far, state string) {
	t.Helper()
	results, err := b.Import(t.Context(), client, bundle.ImportOptions{Placement: f.placement})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.State != state {
			t.Errorf("%s is %s, not %s", r.Reference, r.State, state)
		}
	}
	if _, err := b.Report(results, bundle.NewObjectOptions(f.placement, "", "")).WriteObjects(f.objects); err != nil {
		t.Fatal(err)
	}
}

// expectCheck asks for all that a cluster would pull, in full.
func expectCheck(t *testing.T, client *oci.Client, b *bundle.Bundle, f *far) {
	t.Helper()
	cluster, err := bundle.ReadCluster(f.objects, f.placement.Cluster.Host, bundle.Stated{})
	if err != nil {
		t.Fatal(err)
	}
	pulled, err := b.CheckPulls(t.Context(), client, cluster.Pulls(&b.Inventory.Content, nil), bundle.PullOptions{Placement: f.placement, Full: true})
	if err == nil {
		err = bundle.PullVerdict(pulled)
	}
	if err != nil || len(pulled) < len(b.Inventory.Content.Images) {
		t.Errorf("%d were pulled: %v", len(pulled), err)
	}
}
