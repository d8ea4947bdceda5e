package conformance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/containers/image/v5/pkg/sysregistriesv2"
	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"airlift/manifest"
)

// objectsOf are mirror sets in YAML, with entries too that airlift would not write.
func objectsOf(t *testing.T, sets []manifest.MirrorSet) [][]byte {
	t.Helper()
	fields := map[string][2]string{
		manifest.DigestMirrorSet:     {"config.openshift.io/v1", "imageDigestMirrors"},
		manifest.TagMirrorSet:        {"config.openshift.io/v1", "imageTagMirrors"},
		manifest.ContentSourcePolicy: {"operator.openshift.io/v1alpha1", "repositoryDigestMirrors"},
	}
	var texts [][]byte
	for _, s := range sets {
		f := fields[s.Kind]
		text, err := yaml.Marshal(map[string]any{
			"apiVersion": f[0], "kind": s.Kind, "metadata": map[string]string{"name": s.Name}, "spec": map[string]any{f[1]: s.Mirrors},
		})
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text)
	}
	return texts
}

// expectSameConf compares what airlift makes of mirror sets with what the
// operator does: the entries, and the file as nodes read it. It gives both.
func expectSameConf(t *testing.T, sets []manifest.MirrorSet, special manifest.RegistrySources) (manifest.RegistriesConf, *Cluster) {
	t.Helper()
	texts := objectsOf(t, sets)
	got, err := manifest.NewRegistriesConf(sets, special)
	want, wantErr := registriesConf(special.Insecure, special.Blocked, texts)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("airlift says %v, the operator %v:\n%s", err, wantErr, slices.Concat(texts...))
	}
	if err != nil {
		return manifest.RegistriesConf{}, nil
	}
	var read sysregistriesv2.V2RegistriesConf
	meta, err := toml.Decode(string(got.TOML("as nodes have it")), &read)
	if err != nil || len(meta.Undecoded()) > 0 {
		t.Fatalf("%v, not understood: %v\n%s", err, meta.Undecoded(), got.TOML(""))
	}
	if diff := cmp.Diff(want.Registries, read.Registries); diff != "" {
		t.Fatalf("%s(-operator +airlift):\n%s", slices.Concat(texts...), diff)
	}
	if !slices.Equal(want.UnqualifiedSearchRegistries, read.UnqualifiedSearchRegistries) {
		t.Errorf("searched are %q", read.UnqualifiedSearchRegistries)
	}
	cluster, err := newCluster(t.TempDir(), got.TOML(""))
	if err != nil {
		t.Fatalf("nodes do not take it: %v\n%s", err, got.TOML(""))
	}
	return got, cluster
}

// expectSamePlaces compares where airlift says that a node looks with where it
// does.
func expectSamePlaces(t *testing.T, conf manifest.RegistriesConf, c *Cluster, name string) (places int) {
	t.Helper()
	for _, suffix := range []string{":v1", someDigest, ":v1" + someDigest} {
		want, wantErr := c.Places(name + suffix)
		got, err := conf.Sources(name, strings.Contains(suffix, "@"))
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%s%s: airlift says %v, the node %v\n%s", name, suffix, err, wantErr, conf.TOML(""))
		}
		var places []Place
		for _, s := range got {
			places = append(places, Place{s.Name + suffix, s.Insecure, s.Blocked})
		}
		if diff := cmp.Diff(want, places); diff != "" {
			t.Fatalf("%s%s (-node +airlift):\n%s%s", name, suffix, diff, conf.TOML(""))
		}
	}
	sources, _ := conf.Sources(name, true)
	return len(sources)
}

// TestRegistriesConfTruth: the rules of mirror sets, each by an example that
// airlift and the cluster's own code see alike. What the cluster makes of them
// stands in TestPlaces.
func TestRegistriesConfTruth(t *testing.T) {
	const release = "quay.io/openshift-release-dev/ocp-release"
	set := func(kind string, lines ...string) manifest.MirrorSet { return setOf(kind, "a", lines) }
	idms := func(lines ...string) manifest.MirrorSet { return set(manifest.DigestMirrorSet, lines...) }
	itms := func(lines ...string) manifest.MirrorSet { return set(manifest.TagMirrorSet, lines...) }
	icsp := func(lines ...string) manifest.MirrorSet { return set(manifest.ContentSourcePolicy, lines...) }
	for name, c := range map[string]struct {
		sets    []manifest.MirrorSet
		special manifest.RegistrySources
		names   []string
		want    string // by tag and by digest, of the first name
	}{
		"none":                          {nil, manifest.RegistrySources{}, []string{release}, release + " | " + release},
		"shadowed by the longer prefix": {[]manifest.MirrorSet{idms(release + " m.lan/ocp/release"), itms("quay.io m.lan/quay")}, manifest.RegistrySources{}, []string{release, "quay.io/foo/bar"}, release + " | m.lan/ocp/release " + release},
		"no longer, over the same sources": {[]manifest.MirrorSet{idms(release+" m.lan/ocp/release", "quay.io m.lan/quay"), itms(release+" m.lan/ocp/release", "quay.io m.lan/quay")}, manifest.RegistrySources{},
			[]string{release, "quay.io/foo/bar"}, "m.lan/ocp/release " + release + " | m.lan/ocp/release " + release},
		"never, by one kind for both":           {[]manifest.MirrorSet{idms("!quay.io/a m.lan/x"), itms("!quay.io/a m.lan/x")}, manifest.RegistrySources{}, []string{"quay.io/a/b"}, "m.lan/x/b !quay.io/a/b | m.lan/x/b !quay.io/a/b"},
		"never, of digests alone, for tags too": {[]manifest.MirrorSet{idms("!quay.io/a m.lan/x")}, manifest.RegistrySources{}, []string{"quay.io/a/b"}, "!quay.io/a/b | m.lan/x/b !quay.io/a/b"},
		"never, of tags alone, for digests too": {[]manifest.MirrorSet{itms("!quay.io/a m.lan/x")}, manifest.RegistrySources{}, []string{"quay.io/a/b"}, "m.lan/x/b !quay.io/a/b | !quay.io/a/b"},
		"never, and what lies below":            {[]manifest.MirrorSet{idms("!quay.io/a m.lan/x", "quay.io/a/b m.lan/y"), itms("!quay.io/a m.lan/x")}, manifest.RegistrySources{}, []string{"quay.io/a/c/d", "quay.io/a/b/c"}, "m.lan/x/c/d !quay.io/a/c/d | m.lan/x/c/d !quay.io/a/c/d"},
		"allowed is nothing said": {[]manifest.MirrorSet{{Kind: manifest.DigestMirrorSet, Name: "a", Mirrors: []manifest.Mirror{{Source: "quay.io/a", Mirrors: []string{"m.lan"}, Policy: manifest.AllowContactingSource}}}, itms("quay.io/a m.lan"), icsp("quay.io/a n.lan")},
			manifest.RegistrySources{}, []string{"quay.io/a/b"}, "m.lan/b quay.io/a/b | m.lan/b n.lan/b quay.io/a/b"},
		"shadowed by a longer one for tags": {[]manifest.MirrorSet{itms(release + " m.lan/ocp/release"), idms("quay.io m.lan/quay")}, manifest.RegistrySources{}, []string{release, "quay.io/foo/bar"}, "m.lan/ocp/release " + release + " | " + release},
		"shadowed by a policy":              {[]manifest.MirrorSet{icsp(release + " m.lan/ocp/release"), itms("quay.io m.lan/quay")}, manifest.RegistrySources{}, []string{release}, release + " | m.lan/ocp/release " + release},
		"digests have no tag's mirror":      {[]manifest.MirrorSet{itms("quay.io m.lan/quay")}, manifest.RegistrySources{}, []string{"quay.io/foo/bar"}, "m.lan/quay/foo/bar quay.io/foo/bar | quay.io/foo/bar"},
		"tags have no policy's mirror":      {[]manifest.MirrorSet{icsp("quay.io m.lan/quay")}, manifest.RegistrySources{}, []string{"quay.io/foo/bar"}, "quay.io/foo/bar | m.lan/quay/foo/bar quay.io/foo/bar"},
		"settings inside, beside mirrors of its own": {[]manifest.MirrorSet{idms("quay.io/a m.lan/x", "quay.io/a/b n.lan/y")}, manifest.RegistrySources{Insecure: []string{"quay.io/a/b"}, Blocked: []string{"quay.io/a/b/c"}},
			[]string{"quay.io/a/b/d", "quay.io/a/b/c", "quay.io/a/c"}, "quay.io/a/b/d | n.lan/y/d quay.io/a/b/d"},
		"empty and self-only sets":   {[]manifest.MirrorSet{idms("quay.io/a", "quay.io/b quay.io/b", "quay.io/b m.lan/b")}, manifest.RegistrySources{}, []string{"quay.io/b/c", "quay.io/a/c"}, "quay.io/b/c | m.lan/b/c quay.io/b/c"},
		"an empty set's policy":      {[]manifest.MirrorSet{idms("!quay.io/a")}, manifest.RegistrySources{}, []string{"quay.io/a/b"}, "quay.io/a/b | quay.io/a/b"},
		"policies count as digests":  {[]manifest.MirrorSet{icsp("quay.io/a m2.lan"), idms("quay.io/a m1.lan m2.lan")}, manifest.RegistrySources{}, []string{"quay.io/a/b"}, "quay.io/a/b | m1.lan/b m2.lan/b quay.io/a/b"},
		"orders that agree":          {[]manifest.MirrorSet{idms("q.io b.lan c.lan"), idms("q.io a.lan b.lan")}, manifest.RegistrySources{}, []string{"q.io/x"}, "q.io/x | a.lan/x b.lan/x c.lan/x q.io/x"},
		"orders that do not":         {[]manifest.MirrorSet{idms("q.io b.lan c.lan"), idms("q.io c.lan b.lan a.lan")}, manifest.RegistrySources{}, []string{"q.io/x"}, "q.io/x | a.lan/x b.lan/x c.lan/x q.io/x"},
		"the source before a mirror": {[]manifest.MirrorSet{idms("q.io/a q.io/a m.lan")}, manifest.RegistrySources{}, []string{"q.io/a/x"}, "q.io/a/x | q.io/a/x m.lan/x q.io/a/x"},
		"wildcard":                   {[]manifest.MirrorSet{itms("*.redhat.io m.lan/rh")}, manifest.RegistrySources{}, []string{"registry.redhat.io/a/b", "redhat.io/a/b", "x.redhat.io:5000/a", "q.io/x.redhat.io/a", "a.redhat.io.redhat.io/b"}, "m.lan/rh/a/b registry.redhat.io/a/b | registry.redhat.io/a/b"},
		"the release beside ours": {[]manifest.MirrorSet{setOf(manifest.DigestMirrorSet, "image-digest-mirror", []string{release + " m.lan:5000/ocp/release"}),
			idms(release + " m.lan:5000/ocp/release n.lan/ocp/release")}, manifest.RegistrySources{}, []string{release}, release + " | m.lan:5000/ocp/release n.lan/ocp/release " + release},
		"the installer's policy beside ours": {[]manifest.MirrorSet{setOf(manifest.DigestMirrorSet, "image-digest-mirror", []string{"!" + release + " m.lan:5000/ocp/release"}),
			idms("!" + release + " n.lan/ocp/release"), itms("!" + release + " n.lan/ocp/release")}, manifest.RegistrySources{}, []string{release}, "n.lan/ocp/release !" + release + " | m.lan:5000/ocp/release n.lan/ocp/release !" + release},
		"insecure mirror": {[]manifest.MirrorSet{idms("quay.io/a m.lan:5000/x")}, manifest.RegistrySources{Insecure: []string{"m.lan:5000"}}, []string{"quay.io/a/b", "m.lan:5000/x/b"}, "quay.io/a/b | m.lan:5000/x/b quay.io/a/b"},
		"blocked inside": {[]manifest.MirrorSet{idms("quay.io/a m.lan/x"), itms("quay.io/a n.lan/x")}, manifest.RegistrySources{Blocked: []string{"quay.io/a/b"}, Insecure: []string{"*.lan"}},
			[]string{"quay.io/a/b/c", "quay.io/a/c"}, "n.lan/x/b/c !quay.io/a/b/c | m.lan/x/b/c !quay.io/a/b/c"},
		"a mirror that is blocked": {[]manifest.MirrorSet{idms("!quay.io/a m.lan/x", "docker.io/a quay.io/a/copy")}, manifest.RegistrySources{}, []string{"docker.io/a/b"}, "docker.io/a/b | !quay.io/a/copy/b docker.io/a/b"},
		"a port is no scope":       {[]manifest.MirrorSet{idms("h.lan m.lan/x")}, manifest.RegistrySources{}, []string{"h.lan/a", "h.lan:5000/a"}, "h.lan/a | m.lan/x/a h.lan/a"},
	} {
		t.Run(name, func(t *testing.T) {
			conf, cluster := expectSameConf(t, c.sets, c.special)
			for _, name := range c.names {
				expectSamePlaces(t, conf, cluster, name)
			}
			var got []string
			for _, byDigest := range []bool{false, true} {
				sources, err := conf.Sources(c.names[0], byDigest)
				if err != nil {
					t.Fatal(err)
				}
				var words []string
				for _, s := range sources {
					if s.Blocked {
						s.Name = "!" + s.Name
					}
					words = append(words, s.Name)
				}
				got = append(got, strings.Join(words, " "))
			}
			if got := strings.Join(got, " | "); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestPolicyConflicts: what the operator refuses before it renders anything is
// refused by airlift, whichever two kinds of objects it is in. The operator's library
// does not check; it shows what would be at stake: one of them blocks the source for
// both ways to pull.
func TestPolicyConflicts(t *testing.T) {
	kinds := []string{manifest.DigestMirrorSet, manifest.TagMirrorSet, manifest.ContentSourcePolicy}
	for _, theirs := range kinds {
		for _, ours := range kinds[:2] { // the third has no policy
			for name, line := range map[string]string{"another": "quay.io/a n.lan/y", "itself": "!quay.io/a quay.io/a m.lan/x", "void": "quay.io/a"} {
				never := setOf(ours, "ours", []string{"!quay.io/a m.lan/x"})
				other := setOf(theirs, "image-digest-mirror", []string{line})
				if name == "itself" && theirs == manifest.ContentSourcePolicy {
					continue
				}
				sets := []manifest.MirrorSet{other, never}
				if _, err := manifest.NewRegistriesConf(sets, manifest.RegistrySources{}); err == nil {
					t.Errorf("%s beside %s, %s: airlift renders what the operator refuses", ours, theirs, name)
				}
				cluster, err := NewCluster(t.TempDir(), nil, objectsOf(t, sets)...)
				if err != nil {
					t.Fatal(err)
				}
				for _, suffix := range []string{":v1", someDigest} {
					places, err := cluster.Places("quay.io/a/b" + suffix)
					if err != nil || !places[len(places)-1].Blocked {
						t.Errorf("%s beside %s, %s: %v, %v", ours, theirs, name, places, err)
					}
				}
			}
		}
	}
}

// TestShadowsAreThere: what airlift says of sources that hide others is so on a node,
// and what it does not say is not.
func TestShadowsAreThere(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	hidden, open := 0, 0
	for range 300 {
		sets := nestedSets(r)
		cut := r.IntN(len(sets) + 1)
		cluster, err := NewCluster(t.TempDir(), nil, objectsOf(t, sets)...)
		if err != nil {
			t.Fatal(err)
		}
		ours, others := sets[:cut], sets[cut:]
		told := map[string]bool{}
		for _, s := range manifest.Shadows(ours, others) {
			for _, source := range s.Sources {
				told[fmt.Sprint(s.Object, source, s.HiddenFrom, s.Hidden)] = true
			}
		}
		for _, pair := range [][2][]manifest.MirrorSet{{ours, others}, {others, ours}} {
			for _, h := range entriesOf(pair[0]) {
				for _, l := range entriesOf(pair[1]) {
					rest, inside := strings.CutPrefix(l.Source, h.Source+"/")
					if !inside || l.isVoid() || h.isVoid() {
						continue
					}
					suffix := map[bool]string{true: ":v1", false: someDigest}[h.kind == manifest.TagMirrorSet]
					places, err := cluster.Places(l.Source + "/some/image" + suffix)
					if err != nil {
						continue // no node could pull it
					}
					reached := !slices.ContainsFunc(h.Mirrors, func(m string) bool {
						return !slices.ContainsFunc(places, func(p Place) bool { return p.Reference == m+"/"+rest+"/some/image"+suffix })
					})
					is := told[fmt.Sprint(l.object, l.Source, h.object, h.Source)]
					if is == reached {
						t.Fatalf("%s of %s by %s of %s: airlift says that it is hidden: %v; nodes look at %v\n%s", h.Source, h.object, l.Source, l.object, is, places, slices.Concat(objectsOf(t, sets)...))
					}
					if is {
						hidden++
					} else {
						open++
					}
				}
			}
		}
	}
	if hidden < 100 || open < 100 {
		t.Errorf("%d are hidden, %d are not: too few to mean much", hidden, open)
	}
}

// nestedSets are mirror sets with sources inside of others, many of which lead to
// the same places.
func nestedSets(r *rand.Rand) []manifest.MirrorSet {
	sets := make([]manifest.MirrorSet, 2+r.IntN(3))
	for i := range sets {
		sets[i] = manifest.MirrorSet{Kind: []string{manifest.DigestMirrorSet, manifest.TagMirrorSet, manifest.ContentSourcePolicy}[r.IntN(3)], Name: fmt.Sprint("s", i)}
		for _, path := range []string{"", "/a", "/a/b", "/a/b/c"} {
			if r.IntN(2) == 0 {
				continue
			}
			m := manifest.Mirror{Source: "q.io" + path, Mirrors: []string{"m.lan" + path}}
			if r.IntN(4) == 0 {
				m.Mirrors = append(m.Mirrors, "n.lan/x")
			}
			sets[i].Mirrors = append(sets[i].Mirrors, m)
		}
	}
	return sets
}

// entry is one of an object.
type entry struct {
	manifest.Mirror
	kind, object string
}

func entriesOf(sets []manifest.MirrorSet) []entry {
	var all []entry
	for _, s := range sets {
		for _, m := range s.Mirrors {
			all = append(all, entry{m, s.Kind, s.Kind + " " + s.Name})
		}
	}
	return all
}

// isVoid: clusters ignore an entry without mirrors but its source.
func (e entry) isVoid() bool {
	return !slices.ContainsFunc(e.Mirrors, func(m string) bool { return m != e.Source })
}

// TestInsideOfWildcard: the operator cannot give mirrors of a wildcard to what
// lies inside of it.
func TestInsideOfWildcard(t *testing.T) {
	sets := []manifest.MirrorSet{setOf(manifest.DigestMirrorSet, "a", []string{"*.redhat.io m.lan"})}
	if _, err := manifest.NewRegistriesConf(sets, manifest.RegistrySources{Blocked: []string{"registry.redhat.io/a"}}); err == nil {
		t.Error("airlift renders what the operator does not")
	}
	expectSameConf(t, sets, manifest.RegistrySources{Blocked: []string{"registry.redhat.io/a"}})
}

// setOf reads lines as mirrorSet does, entries too that airlift does not write.
func setOf(kind, name string, lines []string) manifest.MirrorSet {
	set := manifest.MirrorSet{Kind: kind, Name: name}
	for _, line := range lines {
		var m manifest.Mirror
		line, never := strings.CutPrefix(line, "!")
		if never {
			m.Policy = manifest.NeverContactSource
		}
		fields := strings.Fields(line)
		m.Source, m.Mirrors = fields[0], fields[1:]
		set.Mirrors = append(set.Mirrors, m)
	}
	return set
}

// randomSets are mirror sets over few names, so that they meet: several of a
// source, some inside of others, wildcards, mirrors that are sources.
func randomSets(r *rand.Rand) []manifest.MirrorSet {
	kinds := []string{manifest.DigestMirrorSet, manifest.TagMirrorSet, manifest.ContentSourcePolicy}
	policies := map[string]string{}
	sets := make([]manifest.MirrorSet, r.IntN(5))
	for i := range sets {
		sets[i] = manifest.MirrorSet{Kind: kinds[r.IntN(3)], Name: fmt.Sprint("s", i)}
		for range r.IntN(6) {
			m := manifest.Mirror{Source: randomScope(r, true)}
			for range r.IntN(4) {
				if mirror := randomScope(r, false); !slices.Contains(m.Mirrors, mirror) {
					m.Mirrors = append(m.Mirrors, mirror)
				}
			}
			if _, there := policies[m.Source]; !there && r.IntN(4) == 0 && sets[i].Kind != manifest.ContentSourcePolicy {
				policies[m.Source] = manifest.NeverContactSource
			} else if !there {
				policies[m.Source] = ""
			}
			if m.Policy = policies[m.Source]; m.Policy != "" && (sets[i].Kind == manifest.ContentSourcePolicy || slices.Contains(m.Mirrors, m.Source)) {
				continue // refused, which TestCheckMirrorSets is about
			}
			sets[i].Mirrors = append(sets[i].Mirrors, m)
		}
	}
	return sets
}

func randomScope(r *rand.Rand, wild bool) string {
	hosts := []string{"q.io", "q.io:5000", "a.b.lan", "b.lan", "docker.io", "bare", "localhost"}
	if wild && r.IntN(6) == 0 {
		return []string{"*.lan", "*.b.lan", "*.io"}[r.IntN(3)]
	}
	name := hosts[r.IntN(len(hosts))]
	for range r.IntN(4) {
		name += "/" + []string{"a", "b", "library"}[r.IntN(3)]
	}
	return name
}

// TestRegistriesConfProperty: whatever the mirror sets are, airlift and the
// cluster's own code make the same of them, and look for images in the same places.
func TestRegistriesConfProperty(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	mirrored, refused := 0, 0
	for range 1500 {
		sets := randomSets(r)
		var special manifest.RegistrySources
		for range r.IntN(3) {
			special.Insecure = append(special.Insecure, randomScope(r, true))
		}
		for range r.IntN(2) {
			special.Blocked = append(special.Blocked, randomScope(r, true))
		}
		conf, cluster := expectSameConf(t, sets, special)
		if cluster == nil {
			refused++
			continue
		}
		for range 8 {
			name := randomScope(r, false)
			if host, _, _ := strings.Cut(name, "/"); name == host || host == "bare" || strings.Count(name, "/") == 1 && host == "docker.io" {
				continue // no full name of a repository
			}
			if expectSamePlaces(t, conf, cluster, name) > 1 {
				mirrored++
			}
		}
	}
	if mirrored < 500 || refused > 500 {
		t.Errorf("%d names had mirrors and %d clusters were refused: too little to mean much", mirrored, refused)
	}
}
