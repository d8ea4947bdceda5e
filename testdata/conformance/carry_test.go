package conformance

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"airlift/bundle"
	airlift "airlift/manifest"
	"airlift/oci"
	"airlift/oci/ocitest"
)

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
		"folded":             folded(newFar(t, "/mirror"), 2),
		"folded, with hosts": folded(keepHosts(newFar(t, "")), 2),
		"folded to one":      folded(newFar(t, ""), 1),
		"folded, as wide":    folded(wide(newFar(t, "/mirror"), airlift.RegistryScope), 3),
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
func folded(f *far, most int) *far {
	f.placement.MaxNestedPaths = most
	return f
}
func wide(f *far, scope string) *far { f.scope = scope; return f }
func never(f *far) *far              { f.policy = airlift.NeverContactSource; return f }

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

// TestNextReleaseLeavesTheFirst carries twice into one registry; the second
// time the report of the first may be lost.
func TestNextReleaseLeavesTheFirst(t *testing.T) {
	n, samples := newNear(t), ocitest.ExampleSamples()
	const tagged = "quay.io/example/nested:v1"
	for name, lose := range map[string]func(f *far) error{
		"with its report": func(*far) error { return nil },
		"without it":      func(f *far) error { return os.Remove(filepath.Join(f.objects, bundle.ReportFile)) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFar(t, "/mirror")
			carry(t, n, f, bundle.Request{Releases: []oci.Reference{parse(t, n.releases[0].Reference)}})
			if set := f.object(t, bundle.ITMSFile); set != nil {
				t.Errorf("a release alone has tag mirrors, which drain nodes:\n%s", set)
			}
			carrySamples(t, n, f, samples)
			if err := lose(f); err != nil {
				t.Fatal(err)
			}
			carry(t, n, f, bundle.Request{
				Releases: []oci.Reference{parse(t, n.releases[1].Reference)}, Images: []oci.Reference{parse(t, tagged)},
			})
			c := f.cluster(t)
			expectRelease(t, c, n.releases[0])
			expectRelease(t, c, n.releases[1])
			expectPulls(t, c, map[string]digest.Digest{tagged: n.images[tagged]})
			if got := expectSamples(t, n, f, samples); !slices.Equal(got, []string{"nodejs"}) {
				t.Errorf("skipped are %q now", got)
			}
		})
	}
}
