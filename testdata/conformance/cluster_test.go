package conformance

import (
	"slices"
	"strings"
	"testing"

	"airlift/manifest"
)

const someDigest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// digests and tags are the two kinds of mirror sets, one entry a line:
// "source mirror mirror …", and "!" in front for NeverContactSource.
func digests(t *testing.T, lines ...string) []byte {
	return mirrorSet(t, manifest.DigestMirrorSet, lines)
}
func tags(t *testing.T, lines ...string) []byte { return mirrorSet(t, manifest.TagMirrorSet, lines) }

func mirrorSet(t *testing.T, kind string, lines []string) []byte {
	t.Helper()
	set := manifest.MirrorSet{Kind: kind, Name: "a"}
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
	text, err := set.YAML()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestPlaces holds the rules of nodes that airlift counts on.
func TestPlaces(t *testing.T) {
	for _, c := range []struct {
		name string
		sets [][]byte
		ref  string
		want string // places, "!" in front of one that is blocked
	}{
		{"no mirror set", nil, "quay.io/a/b:v1", "quay.io/a/b:v1"},
		{"digest by a digest mirror", [][]byte{digests(t, "quay.io/a m.lan/x")}, "quay.io/a/b" + someDigest, "m.lan/x/b" + someDigest + " quay.io/a/b" + someDigest},
		{"tag passes a digest mirror by", [][]byte{digests(t, "quay.io/a m.lan/x")}, "quay.io/a/b:v1", "quay.io/a/b:v1"},
		{"tag by a tag mirror", [][]byte{tags(t, "quay.io/a m.lan/x")}, "quay.io/a/b:v1", "m.lan/x/b:v1 quay.io/a/b:v1"},
		{"no tag is latest", [][]byte{tags(t, "quay.io/a m.lan/x")}, "quay.io/a/b", "m.lan/x/b:latest quay.io/a/b:latest"},
		{"digest passes a tag mirror by", [][]byte{tags(t, "quay.io/a m.lan/x")}, "quay.io/a/b" + someDigest, "quay.io/a/b" + someDigest},
		{"tag and digest count as digest", [][]byte{digests(t, "quay.io/a m.lan/x"), tags(t, "quay.io/a m.lan/y")},
			"quay.io/a/b:v1" + someDigest, "m.lan/x/b:v1" + someDigest + " quay.io/a/b:v1" + someDigest},

		{"mirrors in order", [][]byte{digests(t, "quay.io/a m2.lan m1.lan m3.lan/c")}, "quay.io/a/b" + someDigest,
			"m2.lan/b" + someDigest + " m1.lan/b" + someDigest + " m3.lan/c/b" + someDigest + " quay.io/a/b" + someDigest},
		{"two sources, one mirror", [][]byte{digests(t, "quay.io/a/b m.lan/r", "quay.io/a/c m.lan/r")}, "quay.io/a/c" + someDigest, "m.lan/r" + someDigest + " quay.io/a/c" + someDigest},
		{"sets of one source are merged", [][]byte{digests(t, "quay.io/a m1.lan"), digests(t, "quay.io/a m2.lan m1.lan")}, "quay.io/a/b" + someDigest,
			"m2.lan/b" + someDigest + " m1.lan/b" + someDigest + " quay.io/a/b" + someDigest},

		{"a source ends at a slash", [][]byte{digests(t, "quay.io/a m.lan/x")}, "quay.io/ab/c" + someDigest, "quay.io/ab/c" + someDigest},
		{"the longest source alone", [][]byte{digests(t, "quay.io m.lan/all", "quay.io/a/b m.lan/narrow")}, "quay.io/a/b" + someDigest, "m.lan/narrow" + someDigest + " quay.io/a/b" + someDigest},
		{"others by the shorter one", [][]byte{digests(t, "quay.io m.lan/all", "quay.io/a/b m.lan/narrow")}, "quay.io/a/c" + someDigest, "m.lan/all/a/c" + someDigest + " quay.io/a/c" + someDigest},
		{"a narrow digest mirror shadows a broad tag mirror", [][]byte{digests(t, "quay.io/a/b m.lan/narrow"), tags(t, "quay.io m.lan/all")}, "quay.io/a/b:v1", "quay.io/a/b:v1"},
		{"a narrow tag mirror shadows a broad digest mirror", [][]byte{tags(t, "quay.io/a/b m.lan/narrow"), digests(t, "quay.io m.lan/all")}, "quay.io/a/b" + someDigest, "quay.io/a/b" + someDigest},
		{"the same sources in both shadow nothing", [][]byte{digests(t, "quay.io m.lan/all", "quay.io/a/b m.lan/n"), tags(t, "quay.io m.lan/all", "quay.io/a/b m.lan/n")}, "quay.io/a/b:v1", "m.lan/n:v1 quay.io/a/b:v1"},

		{"never the source", [][]byte{digests(t, "!quay.io/a m.lan/x")}, "quay.io/a/b" + someDigest, "m.lan/x/b" + someDigest + " !quay.io/a/b" + someDigest},
		{"never, of a digest mirror, hits tags too", [][]byte{digests(t, "!quay.io/a m.lan/x")}, "quay.io/a/b:v1", "!quay.io/a/b:v1"},
		{"never, of a tag mirror, hits digests too", [][]byte{tags(t, "!quay.io/a m.lan/x")}, "quay.io/a/b" + someDigest, "!quay.io/a/b" + someDigest},
		{"never, with only itself as mirror, is void", [][]byte{[]byte(onlyItself)}, "quay.io/a/b" + someDigest, "quay.io/a/b" + someDigest},
		{"a mirror below a blocked source is blocked", [][]byte{digests(t, "!quay.io/a m.lan/x", "docker.io/a quay.io/a/copy")}, "docker.io/a/b" + someDigest,
			"!quay.io/a/copy/b" + someDigest + " docker.io/a/b" + someDigest},

		{"wildcard", [][]byte{digests(t, "*.redhat.io m.lan/rh")}, "registry.redhat.io/a/b" + someDigest, "m.lan/rh/a/b" + someDigest + " registry.redhat.io/a/b" + someDigest},
		{"a source with a port", [][]byte{digests(t, "h.example:5000/a m.lan/x")}, "h.example:5000/a/b" + someDigest, "m.lan/x/b" + someDigest + " h.example:5000/a/b" + someDigest},
		{"a port is part of the host", [][]byte{digests(t, "h.example:5000/a m.lan/x")}, "h.example/a/b" + someDigest, "h.example/a/b" + someDigest},
	} {
		t.Run(c.name, func(t *testing.T) {
			cluster, err := NewCluster(t.TempDir(), nil, c.sets...)
			if err != nil {
				t.Fatal(err)
			}
			places, err := cluster.Places(c.ref)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range places {
				if p.Blocked {
					p.Reference = "!" + p.Reference
				}
				got = append(got, p.Reference)
			}
			if !slices.Equal(got, strings.Fields(c.want)) {
				t.Errorf("%s is looked for at\n%s\nnot at\n%s", c.ref, strings.Join(got, "\n"), strings.ReplaceAll(c.want, " ", "\n"))
			}
		})
	}
}

// onlyItself is a set that airlift does not write.
const onlyItself = `apiVersion: config.openshift.io/v1
kind: ImageDigestMirrorSet
metadata: {name: a}
spec: {imageDigestMirrors: [{source: quay.io/a, mirrors: [quay.io/a], mirrorSourcePolicy: NeverContactSource}]}
`

// TestSourceWithoutPort shows why a source needs its port: one without it takes
// references that have one, and then no pull of them works.
func TestSourceWithoutPort(t *testing.T) {
	cluster, err := NewCluster(t.TempDir(), nil, digests(t, "h.example m.example/x"))
	if err != nil {
		t.Fatal(err)
	}
	if places, err := cluster.Places("h.example:5000/a" + someDigest); err == nil {
		t.Errorf("it is looked for at %v", places)
	}
}

// TestBareMirrorHost shows why a mirror's host needs a dot or a port, although
// the schema takes it without: no node can pull anything from its source then,
// not even from the source itself.
func TestBareMirrorHost(t *testing.T) {
	for mirror, usable := range map[string]bool{
		"mirror": false, "mirror/x": false, "mirror:5000": true, "mirror.lan/x": true, "localhost/x": true,
	} {
		set := digests(t, "quay.io/a "+mirror)
		if err := schemas(t).Check(set); err != nil {
			t.Errorf("%s: %v", mirror, err)
		}
		cluster, err := NewCluster(t.TempDir(), nil, set)
		if err != nil {
			t.Fatal(err)
		}
		if places, err := cluster.Places("quay.io/a/b" + someDigest); (err == nil) != usable {
			t.Errorf("with the mirror %s, it is looked for at %v (%v)", mirror, places, err)
		}
	}
}

func TestInsecureMirror(t *testing.T) {
	cluster, err := NewCluster(t.TempDir(), []string{"m.example:5000"}, digests(t, "quay.io/a m.example:5000/x"))
	if err != nil {
		t.Fatal(err)
	}
	places, err := cluster.Places("quay.io/a/b" + someDigest)
	if err != nil || len(places) != 2 || !places[0].Insecure || places[1].Insecure {
		t.Errorf("%+v, %v", places, err)
	}
}
