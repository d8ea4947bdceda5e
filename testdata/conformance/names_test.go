package conformance

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/containers/image/v5/docker/reference"

	"airlift/manifest"
)

// crdPatterns are the patterns of the CRDs for sources and for mirrors, which
// are the same for both kinds of mirror set.
func crdPatterns(t *testing.T) (source, mirror *regexp.Regexp) {
	t.Helper()
	var sources, mirrors []string
	for kind, list := range mirrorKinds {
		spec := schemas(t)["config.openshift.io/v1 "+kind].Properties["spec"]
		entry := spec.Properties[list].Items
		sources = append(sources, entry.Properties["source"].ValueValidation.Pattern)
		mirrors = append(mirrors, entry.Properties["mirrors"].Items.ValueValidation.Pattern)
	}
	if sources[0] != sources[1] || mirrors[0] != mirrors[1] || sources[0] == "" || mirrors[0] == "" {
		t.Fatalf("the patterns of the two kinds differ, or are none: %q, %q", sources, mirrors)
	}
	return regexp.MustCompile(sources[0]), regexp.MustCompile(mirrors[0])
}

// names are worth a look each; the test says nothing of which are right, the
// CRDs do.
var names = []string{
	"", "/", "a", "-", "a-", "-a", "a.b", "a..b", "a.", ".a", "A.B", "a_b", "a_b.c", "localhost", "localhost:5000",
	"quay.io", "quay.io/", "quay.io//a", "quay.io/a", "quay.io/a/", "quay.io/a/b/c/d/e", "quay.io/A", "quay.io/aB",
	"quay.io:", "quay.io:443", "quay.io:443/a", "quay.io:443443443/a", "quay.io:https/a", "quay.io:443:443/a", ":443", ":443/a",
	"quay.io/a:v1", "quay.io/a:443/b", "quay.io/a@sha256:00", "quay.io/a" + someDigest, "http://quay.io", "docker://quay.io/a", "//quay.io",
	"10.0.0.7", "10.0.0.7:5000/a", "[::1]", "[::1]:5000/a", "::1", "fd00::7/a", "fd00::7%eth0",
	"*", "*.", "*.quay.io", "*.quay", "*quay.io", "a.*.quay.io", "*.*.quay.io", "*.quay.io:443", "*.quay.io/a", "quay.io/*", "*.QUAY-1.io", "*.-a.io",
	"q/a_b", "q/a__b", "q/a___b", "q/a-b", "q/a--b", "q/a---------b", "q/a.b", "q/a..b", "q/a._b", "q/a-_b", "q/_a", "q/a_", "q/-a", "q/a-", "q/.a", "q/a.",
	"q/a.b_c-d__e", "q/0", "q/a b", "q /a", " q", "q ", "q\n", "q/a\n", "\nq", "q\t/a", "q/a\x00", "q/ä", "ä.example", "xn--4ca.example", "q/a?b", "q/a#b", "q/a%20b",
	"q\\a", "q/a\\b", "q,/a", "q/a,b", "q=a", "q/$(a)", "user@q/a", "user:pass@q/a", strings.Repeat("a", 300), "q/" + strings.Repeat("a/", 200) + "a", strings.Repeat("a.", 200) + "a",
}

// pieces are joined at random into names that are near to right ones.
var pieces = []string{
	"quay.io", "registry", "a", "b1", "10.0.0.7", "localhost", "my-host", "EXAMPLE", "A", "ocp", "v4.0", "art-dev", "0", "80", "5000",
	".", "-", "--", "_", "__", "___", "/", "/", "/", "//", ":", ":5000", ":v1", "@", "*", "*.", "[", "]", " ", "\n", "http://", "é", "sha256:00",
}

// generated is a name of up to seven pieces; often a host and a path are given,
// so that as many are right as wrong.
func generated(r *rand.Rand) string {
	var b strings.Builder
	if r.IntN(2) == 0 {
		b.WriteString([]string{"quay.io", "m.example:5000", "*.example", "A-1.b", "localhost"}[r.IntN(5)])
		if r.IntN(3) > 0 {
			b.WriteString("/ocp")
		}
	}
	for range r.IntN(7) {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.String()
}

// TestNamesAgree compares airlift's checks with the patterns of the CRDs.
func TestNamesAgree(t *testing.T) {
	source, mirror := crdPatterns(t)
	r := rand.New(rand.NewPCG(1, 2))
	all := names
	for range 20_000 {
		all = append(all, generated(r))
	}
	right := 0
	for _, name := range all {
		if got, want := manifest.CheckSource(name) == nil, source.MatchString(name); got != want {
			t.Errorf("source %q: airlift says %v, the CRD %v", name, got, want)
		}
		if got, want := manifest.CheckMirror(name) == nil, mirror.MatchString(name); got != want {
			t.Errorf("mirror %q: airlift says %v, the CRD %v", name, got, want)
		}
		if mirror.MatchString(name) {
			right++
		}
	}
	if right < len(all)/10 || right > len(all)*9/10 {
		t.Errorf("%d of %d names are right: too few of one kind to mean much", right, len(all))
	}
}

// TestNamesInObjects asks the whole schema about the names worth a look.
func TestNamesInObjects(t *testing.T) {
	for _, name := range names {
		for field, check := range map[string]func(string) error{"source": manifest.CheckSource, "mirror": manifest.CheckMirror} {
			entry := map[string]any{"source": "quay.io/a", "mirrors": []any{"m.example"}}
			if field == "source" {
				entry["source"] = name
			} else {
				entry["mirrors"] = []any{name}
			}
			err := schemas(t).checkObject(map[string]any{
				"apiVersion": "config.openshift.io/v1",
				"kind":       manifest.DigestMirrorSet,
				"metadata":   map[string]any{"name": "a"},
				"spec":       map[string]any{"imageDigestMirrors": []any{entry}},
			})
			if got := check(name); (got == nil) != (err == nil) {
				t.Errorf("%s %q: airlift says %v, the CRD %v", field, name, got, err)
			}
		}
	}
}

// TestMirrorsAreReferences: what the CRD takes as a mirror, nodes can write in
// front of a digest, if the host has a dot or a port and the whole is not too
// long.
func TestMirrorsAreReferences(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	tried := 0
	for range 20_000 {
		name := generated(r)
		host, _, _ := strings.Cut(name, "/")
		if manifest.CheckMirror(name) != nil || !strings.ContainsAny(host, ".:") {
			continue
		}
		tried++
		if _, err := reference.ParseNamed(name + "/repository" + someDigest); err != nil {
			t.Errorf("mirror %q: %v", name, err)
		}
	}
	if tried < 1000 {
		t.Errorf("only %d names were tried", tried)
	}
}
