package bundle_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"airlift/bundle"
	"airlift/manifest"
)

// nested is a placement that folds.
func nested(t testing.TB, host string, most int, maps ...string) bundle.Placement {
	t.Helper()
	p := mapped(t, host, maps...)
	p.MaxNestedPaths = most
	return p
}

// TestFold: what of a path is one component too many is joined, and dashes that
// would be taken for slashes become more.
func TestFold(t *testing.T) {
	t.Parallel()
	for source, want := range map[string][4]string{ // by most components: 1, 2, 3, and 3 below a prefix of one
		"app":         {"app", "app", "app", "p/app"},
		"a/b":         {"a--b", "a/b", "a/b", "p/a/b"},
		"a/b/c":       {"a--b--c", "a/b--c", "a/b/c", "p/a/b--c"},
		"a/b/c/d":     {"a--b--c--d", "a/b--c--d", "a/b/c--d", "p/a/b--c--d"},
		"a/b--c":      {"a--b---c", "a/b---c", "a/b--c", "p/a/b---c"},
		"a--b/c":      {"a---b--c", "a--b/c", "a--b/c", "p/a--b/c"},
		"a/b---c/d":   {"a--b----c--d", "a/b----c--d", "a/b---c/d", "p/a/b----c--d"},
		"a/b-c/d_e/f": {"a--b-c--d_e--f", "a/b-c--d_e--f", "a/b-c/d_e--f", "p/a/b-c--d_e--f"},
	} {
		image := contentOf(t, "quay.io/"+source+":v1")
		for i, p := range []bundle.Placement{nested(t, "m.example", 1), nested(t, "m.example", 2), nested(t, "m.example", 3), nested(t, "m.example/p", 3)} {
			r, err := assumed(t, image, p)
			check(t, err)
			if diff := gocmp.Diff([]string{"m.example/" + want[i] + ":v1"}, r.Images[0].Names); diff != "" {
				t.Errorf("%s, case %d (-want +got): %s", source, i, diff)
			}
		}
	}
}

// TestFoldPlacements: folding comes after all that chooses a path.
func TestFoldPlacements(t *testing.T) {
	t.Parallel()
	deep, other := "quay.io/team/deep/app"+at("x"), "example.com:5000/app:v1"
	keep := nested(t, "m.example/ocp", 3)
	keep.KeepSourceHost = true
	cluster := nested(t, "m.example/ocp", 3)
	cluster.Cluster = to(t, "c.example/proxy/of/it").To
	cluster.Mirrors = []bundle.Location{to(t, "further.example").To}
	tag := ":at-" + fallback(digest.FromString("x"))
	for name, test := range map[string]struct {
		p           bundle.Placement
		deep, other string
	}{
		"plain":     {nested(t, "m.example/ocp", 3), "m.example/ocp/team/deep--app", "m.example/ocp/app"},
		"host kept": {keep, "m.example/ocp/quay.io/team--deep--app", "m.example/ocp/example.com-5000/app"},
		"mapped":    {nested(t, "m.example/ocp", 2, "quay.io/team=x/y"), "m.example/ocp/x--y--deep--app", "m.example/ocp/app"},
		// Depth is counted where images are pushed; whatever else holds the same has the same paths.
		"another name": {cluster, "c.example/proxy/of/it/team/deep--app", "c.example/proxy/of/it/app"},
	} {
		r, err := assumed(t, contentOf(t, deep, other), test.p)
		check(t, err)
		want := map[string][]string{deep: {test.deep + tag}, other: {test.other + ":v1"}}
		if diff := gocmp.Diff(want, names(r)); diff != "" {
			t.Errorf("%s (-want +got): %s", name, diff)
		}
		if p, err := r.Options.Placement(); err != nil || p.MaxNestedPaths != test.p.MaxNestedPaths {
			t.Errorf("%s: the report says %d: %v", name, p.MaxNestedPaths, err)
		}
	}
}

var dashes = regexp.MustCompile(`--+`)

// unfolded is the path that was folded into one of at most so many components.
func unfolded(path string, most int) string {
	parts := strings.Split(path, "/")
	if len(parts) < most {
		return path
	}
	last := dashes.ReplaceAllStringFunc(parts[most-1], func(run string) string {
		if run == "--" {
			return "/"
		}
		return run[1:]
	})
	return strings.Join(append(parts[:most-1:most-1], last), "/")
}

// TestFoldProperty: from a folded path follows the one that it was, and so no two
// are one; it is no deeper than it may be, is a repository's, can stand in a
// mirror set; and what was not too deep and has no runs of dashes has stayed.
func TestFoldProperty(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 11))
	component := func() string {
		s := []string{"a", "b"}[r.IntN(2)]
		for range r.IntN(3) {
			s += []string{"-", "--", "---", "----", ".", "_", "__"}[r.IntN(7)] + []string{"a", "b"}[r.IntN(2)]
		}
		return s
	}
	folds := 0
	for most := 1; most <= 5; most++ {
		for _, prefix := range []string{"", "p", "p--q/r"} {
			above := 0
			if prefix != "" {
				above = strings.Count(prefix, "/") + 1
			}
			if most <= above {
				continue
			}
			paths := map[string]bool{}
			for range 300 {
				parts := make([]string, 1+r.IntN(6))
				for i := range parts {
					parts[i] = component()
				}
				paths[strings.Join(parts, "/")] = true
			}
			var references []string
			for path := range paths {
				references = append(references, fmt.Sprintf("q.example/%s:v1", path))
			}
			report, err := assumed(t, contentOf(t, references...), nested(t, strings.TrimSuffix("m.example/"+prefix, "/"), most))
			check(t, err)
			for reference, names := range names(report) {
				path := strings.TrimSuffix(strings.TrimPrefix(reference, "q.example/"), ":v1")
				whole := strings.TrimPrefix(prefix+"/"+path, "/")
				folded := strings.TrimSuffix(strings.TrimPrefix(names[0], "m.example/"), ":v1")
				if got := unfolded(folded, most); got != whole {
					t.Fatalf("%s became %s, which was %s", whole, folded, got)
				}
				if n := strings.Count(folded, "/") + 1; n > most {
					t.Fatalf("%s became %s, which has more than %d components", whole, folded, most)
				}
				if strings.Count(whole, "/") < most && !strings.Contains(path, "--") && folded != whole {
					t.Fatalf("%s became %s for no reason", whole, folded)
				}
				if err := manifest.CheckMirror("m.example/" + folded); err != nil {
					t.Fatal(err)
				}
				if folded != whole {
					folds++
				}
			}
		}
	}
	if folds < 1000 {
		t.Errorf("only %d paths changed: too few to mean much", folds)
	}
}

// TestFoldLimits: a path must have room below the prefix, and a name that becomes
// too long is found out when planning.
func TestFoldLimits(t *testing.T) {
	t.Parallel()
	for _, p := range []bundle.Placement{nested(t, "m.example/a/b", 2), nested(t, "m.example/a/b", 1), nested(t, "m.example", -1)} {
		wantError(t, p.CheckNesting(), bundle.ErrUsage, fmt.Sprintf("at most %d components", p.MaxNestedPaths))
	}
	check(t, nested(t, "m.example/a/b", 3).CheckNesting())
	check(t, nested(t, "m.example", 1).CheckNesting())
	deep := contentOf(t, "quay.io/"+strings.Repeat("a/", 120)+"b:v1") // 241 characters, and one more for each slash
	_, err := assumed(t, deep, nested(t, "m.example", 2))
	wantError(t, err, bundle.ErrUsage, deep.Images[0].Reference)
}

// TestFoldSecondNames: the samples operator does not fold. Where its rewrite is not
// too deep, an image has that name too; where it is, there are none, and the
// operator is to leave references as they are.
func TestFoldSecondNames(t *testing.T) {
	t.Parallel()
	python := "registry.redhat.io/ubi8/python--39:1"
	flat := stream(t, contentOf(t, python), "python", "3.9", python)
	r, err := assumed(t, flat, nested(t, "m.example/ocp", 3))
	check(t, err)
	want := []string{"m.example/ocp/ubi8/python---39:1", "m.example/ocp/ubi8/python--39:1"}
	if diff := gocmp.Diff(want, names(r)[python]); diff != "" || r.SamplesFault != "" {
		t.Errorf("samples fault %q (-want +got): %s", r.SamplesFault, diff)
	}
	r, err = assumed(t, flat, nested(t, "m.example/ocp", 2))
	check(t, err)
	if diff := gocmp.Diff([]string{"m.example/ocp/ubi8--python---39:1"}, names(r)[python]); diff != "" {
		t.Errorf("(-want +got): %s", diff)
	}
	if !strings.Contains(r.SamplesFault, "ocp/ubi8/python--39 has 3 components, and no more than 2 are wanted") {
		t.Errorf("samples fault %q", r.SamplesFault)
	}
	patch, err := manifest.ParseSamplesPatch(readFile(t, filepath.Join(writeObjects(t, r), bundle.SamplesFile)))
	check(t, err)
	if patch.Registry != "" {
		t.Errorf("the patch sends to %s", patch.Registry)
	}
}
