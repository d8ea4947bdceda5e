package manifest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// lines reads entries, one a line: "source mirror mirror …", with "!" in front for
// NeverContactSource.
func lines(texts ...string) []Mirror {
	var mirrors []Mirror
	for _, text := range texts {
		text, never := strings.CutPrefix(text, "!")
		fields := strings.Fields(text)
		m := Mirror{Source: fields[0], Mirrors: fields[1:]}
		if never {
			m.Policy = NeverContactSource
		}
		mirrors = append(mirrors, m)
	}
	return mirrors
}

func TestWiden(t *testing.T) {
	carried := lines("q.io/a/x m.lan/ocp/a/x", "q.io/a/y/z m.lan/ocp/a/y/z", "q.io/b/x m.lan/ocp/b/x", "r.io/app m.lan/ocp/app")
	for name, test := range map[string]struct {
		in, others []Mirror
		scope      string
		want       []Mirror
		narrowed   string // scope and reason, in lines
	}{
		"repository":       {carried, nil, RepositoryScope, carried, ""},
		"none said":        {carried, nil, "", carried, ""},
		"namespace":        {carried, nil, NamespaceScope, lines("q.io/a m.lan/ocp/a", "q.io/b m.lan/ocp/b", "r.io/app m.lan/ocp/app"), ""},
		"registry":         {carried[:3], nil, RegistryScope, lines("q.io m.lan/ocp"), ""},
		"registries apart": {lines("q.io/a m.lan/q.io/a", "r.io/a m.lan/r.io/a"), nil, RegistryScope, lines("q.io m.lan/q.io", "r.io m.lan/r.io"), ""},
		"registries in one place": {lines("q.io/a m.lan/a", "r.io/b m.lan/b"), nil, RegistryScope, lines("q.io/a m.lan/a", "r.io/b m.lan/b"),
			"q.io: images of r.io/b lie there too, and would answer to its tags\nr.io: images of q.io/a lie there too, and would answer to its tags"},
		"root":                           {lines("q.io/a/x m.lan/a/x"), nil, RegistryScope, lines("q.io m.lan"), ""},
		"several mirrors":                {lines("q.io/a/x m.lan/a/x n.lan/b/a/x"), nil, RegistryScope, lines("q.io m.lan n.lan/b"), ""},
		"a repository inside of another": {lines("q.io/a m.lan/a", "q.io/a/x m.lan/a/x"), nil, NamespaceScope, lines("q.io/a m.lan/a"), ""},
		"wildcards stay":                 {lines("*.io m.lan/w"), nil, RegistryScope, lines("*.io m.lan/w"), ""},

		"mapped apart": {lines("q.io/a/x m.lan/a/x", "q.io/a/y m.lan/other/y", "q.io/b/x m.lan/b/x"), nil, RegistryScope,
			lines("q.io/a/x m.lan/a/x", "q.io/a/y m.lan/other/y", "q.io/b m.lan/b"),
			"q.io: q.io/a/y is at m.lan/other/y, which does not end in the rest of its name\nq.io/a: q.io/a/x and q.io/a/y are not in one place"},
		"folded": {lines("q.io/a/x m.lan/ocp/a/x", "q.io/a/y/z m.lan/ocp/a/y--z", "q.io/b/x m.lan/ocp/b/x"), nil, NamespaceScope,
			lines("q.io/a/x m.lan/ocp/a/x", "q.io/a/y/z m.lan/ocp/a/y--z", "q.io/b m.lan/ocp/b"),
			"q.io/a: q.io/a/y/z is at m.lan/ocp/a/y--z, which does not end in the rest of its name"},
		"folded from elsewhere": {lines("q.io/a/x m.lan/a/x", "r.io/a/x/y m.lan/a/x--y"), nil, NamespaceScope, lines("q.io/a/x m.lan/a/x", "r.io/a/x/y m.lan/a/x--y"),
			"q.io/a: images of r.io/a/x/y lie there too, and would answer to its tags\nr.io/a: r.io/a/x/y is at m.lan/a/x--y, which does not end in the rest of its name"},
		"two into one": {lines("q.io/a/x m.lan/r", "q.io/a/y m.lan/r"), nil, NamespaceScope, lines("q.io/a/x m.lan/r", "q.io/a/y m.lan/r"),
			"q.io/a: q.io/a/x is at m.lan/r, which does not end in the rest of its name"},
		"more mirrors of one": {lines("q.io/a/x m.lan/a/x n.lan/a/x", "q.io/a/y m.lan/a/y"), nil, NamespaceScope, lines("q.io/a/x m.lan/a/x n.lan/a/x", "q.io/a/y m.lan/a/y"),
			"q.io/a: q.io/a/x and q.io/a/y are not in one place"},
		"never": {lines("!q.io/a/x m.lan/a/x", "r.io/b/x m.lan/b/x"), nil, NamespaceScope, lines("!q.io/a/x m.lan/a/x", "r.io/b m.lan/b"),
			"q.io/a: NeverContactSource would cut off what was not carried"},
		"never, and nothing narrower": {lines("!q.io/app m.lan/app"), nil, NamespaceScope, lines("!q.io/app m.lan/app"), ""},
		"a port of the host": {lines("q.io/a/x m.lan/a/x", "q.io:5000/b/x m.lan/5000/b/x"), nil, RegistryScope, lines("q.io/a m.lan/a", "q.io:5000 m.lan/5000"),
			"q.io: it would take all ports of the host, and there is the source q.io:5000/b/x"},

		"the host of its own mirror": {lines("m.lan/a/x m.lan:5000/a/x"), nil, RegistryScope, lines("m.lan/a m.lan:5000/a"),
			"m.lan: it would take all ports of the host, and its mirror is one of them"},
		"another's policy":  {lines("q.io/a/x m.lan/a/x"), lines("!q.io/a m.lan/a"), NamespaceScope, lines("q.io/a/x m.lan/a/x"), "q.io/a: the source q.io/a has another policy"},
		"another's for one": {lines("q.io/a/x m.lan/a/x", "q.io/a/y m.lan/a/y"), lines("q.io/a/x m.lan/a/x"), NamespaceScope, lines("q.io/a/x m.lan/a/x", "q.io/a/y m.lan/a/y"), "q.io/a: the source q.io/a/x hides it from q.io/a/x"},
		"ours around, by hand": {lines("*.io n.lan/w", "q.io/a/x m.lan/a/x"), nil, RegistryScope, lines("*.io n.lan/w", "q.io/a/x m.lan/a/x"),
			"q.io: it would hide the source *.io around it from what was not carried\nq.io/a: it would hide the source *.io around it from what was not carried"},
		"another's source between":        {lines("q.io/a/x m.lan/a/x"), lines("q.io/a/x n.lan/x"), NamespaceScope, lines("q.io/a/x m.lan/a/x"), "q.io/a: the source q.io/a/x hides it from q.io/a/x"},
		"another's around one":            {lines("q.io/a/x/y m.lan/a/x/y"), lines("q.io/a/x n.lan/x"), NamespaceScope, lines("q.io/a/x/y m.lan/a/x/y"), "q.io/a: the source q.io/a/x hides it from q.io/a/x/y"},
		"another's beside":                {lines("q.io/a/x m.lan/a/x"), lines("q.io/a/other n.lan/x", "q.io/b n.lan/b"), NamespaceScope, lines("q.io/a m.lan/a"), ""},
		"another's the same":              {lines("q.io/a/x m.lan/a/x"), lines("q.io/a n.lan/a"), NamespaceScope, lines("q.io/a/x m.lan/a/x"), "q.io/a: another object has other mirrors for it: n.lan/a"},
		"another's the same, and no more": {lines("q.io/a/x m.lan/a/x"), lines("q.io/a m.lan/a"), NamespaceScope, lines("q.io/a m.lan/a"), ""},
		"another's around":                {lines("q.io/a/x m.lan/a/x"), lines("q.io n.lan"), NamespaceScope, lines("q.io/a/x m.lan/a/x"), "q.io/a: it would hide the source q.io around it from what was not carried"},
		"a wildcard around": {lines("q.io/a/x m.lan/a/x"), lines("*.io n.lan"), RegistryScope, lines("q.io/a/x m.lan/a/x"),
			"q.io: it would hide the source *.io around it from what was not carried\nq.io/a: it would hide the source *.io around it from what was not carried"},
		"around, to the same place": {lines("q.io/a/x m.lan/a/x"), lines("q.io m.lan"), NamespaceScope, lines("q.io/a m.lan/a"), ""},
		"void around":               {lines("q.io/a/x m.lan/a/x"), lines("q.io q.io"), NamespaceScope, lines("q.io/a m.lan/a"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, narrowed := Widen(test.in, test.others, test.scope)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			var reasons []string
			for _, n := range narrowed {
				reasons = append(reasons, n.Scope+": "+n.Reason)
			}
			if diff := cmp.Diff(test.narrowed, strings.Join(reasons, "\n")); diff != "" {
				t.Errorf("narrowed (-want +got):\n%s", diff)
			}
		})
	}
}

// TestUnhide: an entry for one way to pull may not take from the other what it
// had around it.
func TestUnhide(t *testing.T) {
	tags := lines("q.io/a m.lan/a", "r.io/x m.lan/x")
	digests := lines("q.io/a m.lan/a", "q.io/a/b m.lan/a/b", "r.io/y m.lan/y", "r.io m.lan")
	want := lines("q.io/a m.lan/a", "q.io/a/b m.lan/a/b", "r.io/x m.lan/x")
	if diff := cmp.Diff(want, Unhide(tags, digests)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestShadows(t *testing.T) {
	idms := func(name string, texts ...string) MirrorSet {
		return MirrorSet{Kind: DigestMirrorSet, Name: name, Mirrors: lines(texts...)}
	}
	itms := func(name string, texts ...string) MirrorSet {
		return MirrorSet{Kind: TagMirrorSet, Name: name, Mirrors: lines(texts...)}
	}
	icsp := MirrorSet{Kind: ContentSourcePolicy, Name: "old", Mirrors: lines("q.io/a/b n.lan/b")}
	for name, test := range map[string]struct {
		ours, others []MirrorSet
		want         []string
	}{
		"the trap": {[]MirrorSet{idms("mine", "quay.io/openshift-release-dev/ocp-release m.lan/ocp/release")}, []MirrorSet{itms("theirs", "quay.io m.lan/quay")},
			[]string{"quay.io of ImageTagMirrorSet theirs, tag-only, by [quay.io/openshift-release-dev/ocp-release] of ImageDigestMirrorSet mine"}},
		"theirs hides ours": {[]MirrorSet{idms("mine", "q.io/a m.lan/a"), itms("mine", "q.io/a m.lan/a")}, []MirrorSet{icsp},
			[]string{"q.io/a of ImageDigestMirrorSet mine, digest-only, by [q.io/a/b] of ImageContentSourcePolicy old", "q.io/a of ImageTagMirrorSet mine, tag-only, by [q.io/a/b] of ImageContentSourcePolicy old"}},
		"several, of both our kinds": {[]MirrorSet{idms("mine", "q.io/b m.lan/b", "q.io/a m.lan/a"), itms("mine", "q.io/a m.lan/a")}, []MirrorSet{idms("theirs", "q.io n.lan"), itms("theirs", "q.io n.lan")},
			[]string{"q.io of ImageDigestMirrorSet theirs, digest-only, by [q.io/a q.io/b] of ImageDigestMirrorSet mine", "q.io of ImageDigestMirrorSet theirs, digest-only, by [q.io/a] of ImageTagMirrorSet mine", "q.io of ImageTagMirrorSet theirs, tag-only, by [q.io/a q.io/b] of ImageDigestMirrorSet mine", "q.io of ImageTagMirrorSet theirs, tag-only, by [q.io/a] of ImageTagMirrorSet mine"}},
		"both to the same place":    {[]MirrorSet{idms("mine", "q.io/a/b n.lan/a/b")}, []MirrorSet{idms("theirs", "q.io/a n.lan/a")}, nil},
		"another has the place too": {[]MirrorSet{idms("mine", "q.io/a/b m.lan/b")}, []MirrorSet{idms("theirs", "q.io/a n.lan/a", "q.io/a/b n.lan/a/b")}, nil},
		"one source":                {[]MirrorSet{idms("mine", "q.io/a m.lan/b")}, []MirrorSet{itms("theirs", "q.io/a n.lan/a")}, nil},
		"void":                      {[]MirrorSet{idms("mine", "q.io/a/b q.io/a/b")}, []MirrorSet{idms("theirs", "q.io/a n.lan/a")}, nil},
		"ours alone":                {[]MirrorSet{idms("mine", "q.io/a/b m.lan/b", "q.io/a n.lan")}, nil, nil},
		"a wildcard":                {[]MirrorSet{idms("mine", "q.io/a m.lan/a")}, []MirrorSet{itms("theirs", "*.io m.lan/w")}, []string{"*.io of ImageTagMirrorSet theirs, tag-only, by [q.io/a] of ImageDigestMirrorSet mine"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, s := range Shadows(test.ours, test.others) {
				got = append(got, fmt.Sprintf("%s of %s, %s, by %s of %s", s.Hidden, s.HiddenFrom, s.Pull, s.Sources, s.Object))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestShadowsProperty: shadows are what the rule says of each pair of entries.
func TestShadowsProperty(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	count := 0
	for range 400 {
		ours, others := randomObjects(r, "mine"), randomObjects(r, "theirs")
		var got []string
		for _, s := range Shadows(ours, others) {
			for _, source := range s.Sources {
				got = append(got, shadowLine(source, s.Object, s.Hidden, s.HiddenFrom, s.Pull))
			}
		}
		want := pairwise(ours, others)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%v\n%v (-want +got):\n%s", ours, others, diff)
		}
		count += len(got)
	}
	if count < 500 {
		t.Errorf("%d shadows: too few to mean much", count)
	}
}

func shadowLine(words ...string) string { return strings.Join(words, " ") }

// pairwise are the shadows, found by comparing all with all.
func pairwise(ours, others []MirrorSet) []string {
	lists := map[string]map[string][][]string{}
	lists[DigestOnly], _ = mirrorLists(slices.Concat(ours, others), DigestOnly)
	lists[TagOnly], _ = mirrorLists(slices.Concat(ours, others), TagOnly)
	var all []string
	for _, pair := range [][2][]MirrorSet{{ours, others}, {others, ours}} {
		for _, hidden := range pair[0] {
			for _, longer := range pair[1] {
				pull := map[bool]string{true: TagOnly, false: DigestOnly}[hidden.Kind == TagMirrorSet]
				for _, h := range hidden.Mirrors {
					for _, l := range longer.Mirrors {
						if l.Source != h.Source && isInside(l.Source, []string{h.Source}) && l.leadsElsewhere() && h.leadsElsewhere() &&
							!contains(slices.Concat(lists[pull][l.Source]...), below(h, l.Source)) {
							all = append(all, shadowLine(l.Source, longer.object(), h.Source, hidden.object(), pull))
						}
					}
				}
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// randomObjects are mirror sets over few names; some objects share a name, and
// some sources an object.
func randomObjects(r *rand.Rand, name string) []MirrorSet {
	sources := []string{"q.lan", "q.lan/a", "q.lan/a/b", "q.lan/ab", "q.lan:5000", "q.lan:5000/a", "a.q.lan", "a.q.lan/b", "*.lan", "*.q.lan", "bare", "bare/a", "x.lan/q.lan/a"}
	sets := make([]MirrorSet, 1+r.IntN(3))
	for i := range sets {
		sets[i] = MirrorSet{Kind: []string{DigestMirrorSet, TagMirrorSet, ContentSourcePolicy}[r.IntN(3)], Name: name}
		for range r.IntN(5) {
			source := sources[r.IntN(len(sources))]
			sets[i].Mirrors = append(sets[i].Mirrors, Mirror{Source: source, Mirrors: []string{[]string{source, "m.lan", "m.lan/b", "m.lan/a/b"}[r.IntN(4)]}})
		}
	}
	return sets
}

// BenchmarkShadows is of a cluster with very many objects.
func BenchmarkShadows(b *testing.B) {
	var ours, others []MirrorSet
	for i := range 2000 {
		set := MirrorSet{Kind: DigestMirrorSet, Name: fmt.Sprint("s", i)}
		for j := range 5 {
			set.Mirrors = append(set.Mirrors, lines(fmt.Sprintf("q%d.io/a/n%d m.lan/n%d", i, j, j))...)
		}
		ours = append(ours, set)
		others = append(others, MirrorSet{Kind: TagMirrorSet, Name: fmt.Sprint("t", i), Mirrors: lines(fmt.Sprintf("q%d.io/a n.lan/%d", i, i), fmt.Sprintf("*.q%d.io n.lan", i))})
	}
	for b.Loop() {
		if got := Shadows(ours, others); len(got) != 2000 {
			b.Fatalf("%d shadows", len(got))
		}
	}
}

func TestCheckReach(t *testing.T) {
	c := confOf(t, MirrorSet{Kind: DigestMirrorSet, Name: "a", Mirrors: lines("!q.io/a m.lan/x")})
	wantError(t, c.CheckReach(lines("r.io/a m.lan/a")), "")
	wantError(t, c.CheckReach(lines("r.io/a q.io/a/copy")), "source r.io/a: its mirror q.io/a/copy lies in q.io/a, which nodes may not contact")
}

func TestChanges(t *testing.T) {
	before := lines("a.b m.b n.b", "b.b m.b", "c.b m.b", "d.b m.b")
	after := append(lines("a.b n.b m.b", "!b.b m.b", "e.b m.b"), Mirror{"d.b", []string{"m.b"}, AllowContactingSource})
	want := []Change{{"a.b", Changed}, {"b.b", Changed}, {"c.b", Removed}, {"e.b", Added}}
	if diff := cmp.Diff(want, Changes(before, after)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestDrains holds the rules by which the operator's daemon drains nodes.
func TestDrains(t *testing.T) {
	idms := func(texts ...string) MirrorSet {
		return MirrorSet{Kind: DigestMirrorSet, Name: "a", Mirrors: lines(texts...)}
	}
	itms := func(texts ...string) MirrorSet {
		return MirrorSet{Kind: TagMirrorSet, Name: "a", Mirrors: lines(texts...)}
	}
	icsp := func(texts ...string) MirrorSet {
		return MirrorSet{Kind: ContentSourcePolicy, Name: "a", Mirrors: lines(texts...)}
	}
	for name, test := range map[string]struct {
		before, after []MirrorSet
		want          []string
	}{
		"nothing":                         {[]MirrorSet{idms("q.io m.lan")}, []MirrorSet{idms("q.io m.lan")}, nil},
		"a source by digest":              {nil, []MirrorSet{idms("q.io m.lan")}, nil},
		"a mirror by digest":              {[]MirrorSet{idms("q.io m.lan")}, []MirrorSet{idms("q.io n.lan m.lan")}, nil},
		"from ICSP to IDMS":               {[]MirrorSet{icsp("q.io m.lan")}, []MirrorSet{idms("q.io m.lan")}, nil},
		"from ICSP to other IDMS":         {[]MirrorSet{icsp("q.io m.lan")}, []MirrorSet{idms("q.io n.lan")}, []string{"q.io loses the mirror m.lan"}},
		"tags":                            {[]MirrorSet{idms("q.io m.lan")}, []MirrorSet{idms("q.io m.lan"), itms("q.io m.lan", "r.io m.lan n.lan")}, []string{"q.io gets mirrors for tags", "r.io gets mirrors for tags"}},
		"never":                           {[]MirrorSet{idms("q.io m.lan")}, []MirrorSet{idms("!q.io m.lan")}, []string{"q.io is blocked"}},
		"a new source, never":             {nil, []MirrorSet{idms("!q.io m.lan")}, []string{"q.io is blocked"}},
		"never no longer":                 {[]MirrorSet{idms("!q.io m.lan")}, []MirrorSet{idms("q.io m.lan")}, []string{"q.io is blocked no longer"}},
		"a source less":                   {[]MirrorSet{idms("q.io m.lan", "r.io m.lan")}, []MirrorSet{idms("q.io m.lan")}, []string{"r.io leaves"}},
		"a mirror less":                   {[]MirrorSet{idms("q.io m.lan n.lan")}, []MirrorSet{idms("q.io m.lan")}, []string{"q.io loses the mirror n.lan"}},
		"tags instead of digests":         {[]MirrorSet{idms("q.io m.lan")}, []MirrorSet{itms("q.io m.lan")}, []string{"q.io gets mirrors for tags"}},
		"a digest mirror beside tags":     {[]MirrorSet{idms("q.io m.lan"), itms("q.io m.lan")}, []MirrorSet{idms("q.io m.lan n.lan"), itms("q.io m.lan")}, []string{"q.io changes beside a mirror for tags"}},
		"another order beside tags":       {[]MirrorSet{idms("q.io m.lan n.lan"), itms("q.io m.lan n.lan")}, []MirrorSet{idms("q.io n.lan m.lan"), itms("q.io n.lan m.lan")}, []string{"q.io changes beside a mirror for tags"}},
		"a wider source for a narrow one": {[]MirrorSet{idms("q.io/a m.lan/a")}, []MirrorSet{idms("q.io m.lan")}, []string{"q.io/a leaves"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, confOf(t, test.after...).Drains(confOf(t, test.before...))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
