package conformance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"airlift/bundle"
	"airlift/manifest"
	"airlift/oci"
)

// carriedAt are entries for random repositories, most of which lie below one
// place with their whole path, at times with their host or folded, and some where a
// map has put them.
func carriedAt(r *rand.Rand) []manifest.Mirror {
	policy := ""
	if r.IntN(8) == 0 {
		policy = manifest.NeverContactSource
	}
	hosts, folds := r.IntN(2) == 0, r.IntN(3) == 0
	entries := map[string]manifest.Mirror{}
	for range 1 + r.IntN(6) {
		host := []string{"q.io", "q.io:5000", "r.lan"}[r.IntN(3)]
		path := []string{"a", "b"}[r.IntN(2)]
		for range r.IntN(3) {
			path += "/" + []string{"x", "y", "x--y"}[r.IntN(3)]
		}
		m := manifest.Mirror{Source: host + "/" + path, Mirrors: []string{"m.lan/ocp/" + path}, Policy: policy}
		if hosts {
			m.Mirrors[0] = "m.lan/ocp/" + strings.ReplaceAll(host, ":", "-") + "/" + path
		}
		if folds { // two components, below one place
			namespace, rest, deep := strings.Cut(path, "/")
			rest = strings.ReplaceAll(strings.ReplaceAll(rest, "--", "---"), "/", "--")
			if m.Mirrors[0] = "m.lan/ocp/" + namespace; deep {
				m.Mirrors[0] += "/" + rest
			}
		}
		if r.IntN(8) == 0 {
			m.Mirrors[0] = "m.lan/mapped"
		}
		entries[m.Source] = m
	}
	var all []manifest.Mirror
	for _, m := range entries {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b manifest.Mirror) int { return len(a.Source) - len(b.Source) })
	return all
}

// TestWideScopeProperty: with wider sources nodes look for what was carried in the
// places where they looked before, in that order; and for what was not carried at
// least there, and nothing that could be pulled cannot be pulled any more.
func TestWideScopeProperty(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	fewer, narrowed := 0, 0
	for i := range 600 {
		carried := carriedAt(r)
		others := setOf(manifest.DigestMirrorSet, "others", nil)
		for range r.IntN(3) {
			others.Mirrors = append(others.Mirrors, manifest.Mirror{Source: []string{"q.io", "q.io/a", "q.io/b/x", "r.lan/a/x/y", "*.lan"}[r.IntN(5)], Mirrors: []string{"n.lan/other"}})
		}
		if manifest.CheckMirrorSets([]manifest.MirrorSet{{Mirrors: carried}, others}) != nil {
			continue // refused before
		}
		scope := []string{manifest.NamespaceScope, manifest.RegistryScope}[i%2]
		wide, kept := manifest.Widen(carried, others.Mirrors, scope)
		narrowed += len(kept)
		if len(wide) < len(carried) {
			fewer++
		}
		before, after := clusterOf(t, carried, others), clusterOf(t, wide, others)
		for range 12 {
			name := randomScope(r, false)
			if r.IntN(2) == 0 || unknownPort(name, carried) {
				name = carried[r.IntN(len(carried))].Source
			}
			compareScopes(t, name, carried, before, after, fmt.Sprintf("carried %v\nothers %v\nwide %v", carried, others.Mirrors, wide))
		}
	}
	if fewer < 100 || narrowed < 100 {
		t.Errorf("%d sets became smaller and %d sources stayed narrow: too few to mean much", fewer, narrowed)
	}
}

// unknownPort: a registry's other ports are pulled from by its own scope, and by
// no other; airlift can know of one only if it is a source.
func unknownPort(name string, carried []manifest.Mirror) bool {
	return strings.HasPrefix(name, "q.io:5000") && !slices.ContainsFunc(carried, func(m manifest.Mirror) bool { return strings.HasPrefix(m.Source, "q.io:5000") })
}

// clusterOf has entries for both ways to pull, and others.
func clusterOf(t *testing.T, entries []manifest.Mirror, others manifest.MirrorSet) *Cluster {
	t.Helper()
	sets := []manifest.MirrorSet{{Kind: manifest.DigestMirrorSet, Name: "a", Mirrors: entries}, {Kind: manifest.TagMirrorSet, Name: "a", Mirrors: entries}, others}
	c, err := NewCluster(t.TempDir(), nil, objectsOf(t, sets)...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func compareScopes(t *testing.T, name string, carried []manifest.Mirror, before, after *Cluster, what string) {
	t.Helper()
	isCarried := slices.ContainsFunc(carried, func(m manifest.Mirror) bool { return m.Source == name })
	for _, suffix := range []string{":v1", someDigest} {
		was, err := before.Places(name + suffix)
		if err != nil {
			continue // no node could pull it
		}
		is, err := after.Places(name + suffix)
		switch {
		case err != nil:
			t.Fatalf("%s%s: %v\n%s", name, suffix, err, what)
		case isCarried && !slices.Equal(was, is):
			t.Fatalf("%s%s was looked for at %v, and is at %v\n%s", name, suffix, was, is, what)
		}
		for _, place := range was {
			if !slices.Contains(is, place) {
				t.Fatalf("%s%s is not looked for at %v any more, but at %v\n%s", name, suffix, place, is, what)
			}
		}
		for _, place := range is {
			isAnothers := slices.ContainsFunc(carried, func(m manifest.Mirror) bool { return m.Mirrors[0]+suffix == place.Reference })
			if !isCarried && suffix == ":v1" && !slices.Contains(was, place) && isAnothers {
				t.Fatalf("%s%s is looked for at %s, which is another image's\n%s", name, suffix, place.Reference, what)
			}
		}
	}
}

// TestClusterPullsByWideSources carries a release and images, and pulls all of
// them by mirror sets of each form.
func TestClusterPullsByWideSources(t *testing.T) {
	n := newNear(t)
	var refs []oci.Reference
	for ref := range n.images {
		refs = append(refs, parse(t, ref))
	}
	request := bundle.Request{Images: refs, Releases: []oci.Reference{parse(t, n.releases[0].Reference)}}
	for name, f := range map[string]*far{
		"namespaces":            scoped(newFar(t, "/mirror"), manifest.NamespaceScope),
		"registries":            scoped(newFar(t, "/mirror"), manifest.RegistryScope),
		"registries, by hosts":  scoped(keepHosts(newFar(t, "/mirror")), manifest.RegistryScope),
		"registries, with maps": scoped(newFar(t, "/m", "quay.io/example/nested=n", "docker.io/library/tool=deep/er/tool"), manifest.RegistryScope),
		"registries, never":     scoped(never(newFar(t, "/mirror")), manifest.RegistryScope),
	} {
		t.Run(name, func(t *testing.T) {
			carry(t, n, f, request)
			c := f.cluster(t)
			expectPulls(t, c, n.images)
			expectRelease(t, c, n.releases[0])
			expectRelease(t, f.installing(t), n.releases[0])
		})
	}
}

func scoped(f *far, scope string) *far { f.scope = scope; return f }

// TestOldClusterPullsRelease: a cluster before 4.13 pulls a release by its policy.
func TestOldClusterPullsRelease(t *testing.T) {
	n := newNear(t)
	f := newFar(t, "/mirror")
	f.icsp = bundle.ICSPOnly
	carry(t, n, f, bundle.Request{Releases: []oci.Reference{parse(t, n.releases[0].Reference)}})
	for _, name := range []string{bundle.IDMSFile, bundle.ITMSFile} {
		if f.object(t, name) != nil {
			t.Errorf("%s is written too", name)
		}
	}
	policy := f.object(t, bundle.ICSPFile)
	if err := schemas(t).Check(policy); err != nil {
		t.Errorf("%v\n%s", err, policy)
	}
	since, err := NewCluster(t.TempDir(), []string{f.Host}, policy)
	if err != nil {
		t.Fatal(err)
	}
	expectRelease(t, since, n.releases[0])
	old, err := newCluster(t.TempDir(), f.object(t, bundle.RegistriesFile)) // as nodes before 4.13 have it
	if err != nil {
		t.Fatal(err)
	}
	expectRelease(t, old, n.releases[0])
	if places, err := old.Places("quay.io/openshift-release-dev/ocp-release:4.17.3-x86_64"); err != nil || len(places) != 1 {
		t.Errorf("a tag is looked for at %v (%v)", places, err)
	}
}
