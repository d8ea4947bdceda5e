package bundle_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/bundle"
	"airlift/oci"
	"airlift/oci/ocitest"
)

// TestReleaseByItsTag: a release whose component cannot be brought is tagged
// under no name, not under one it was asked for by itself either.
func TestReleaseByItsTag(t *testing.T) {
	t.Parallel()
	src, dst := ocitest.StartRegistry(t), ocitest.StartRegistry(t)
	b := src.Builder()
	release := b.Release(ocitest.ReleaseOpts{Components: []string{"etcd"}})
	check(t, b.Err())
	c := client(t, src.Host, dst.Host)
	refs := references(t, release.Reference)
	m := export(t, c, inventory(t, plan(t, c, bundle.Request{Releases: refs, Images: refs}), 0))
	opened := m.open(t)
	flipLayerOf(t, m, opened, release.Images["etcd"])
	_, err := opened.Import(t.Context(), c, bundle.ImportOptions{Placement: to(t, dst.Host)})
	wantError(t, err, bundle.ErrDamaged)
	if repos := dst.Builder().Repositories(); slices.Contains(repos, release.PayloadRepo) {
		t.Errorf("the release is tagged %s", dst.Builder().Tags(release.PayloadRepo))
	}
}

// flipLayerOf damages the last layer of an image on the medium.
func flipLayerOf(t *testing.T, m medium, b *bundle.Bundle, reference string) {
	t.Helper()
	ref, err := oci.ParseReference(reference)
	check(t, err)
	for _, n := range b.Inventory.Content.Nodes {
		if n.Digest == ref.Digest {
			e, _ := b.Layout.Find(n.Layers[len(n.Layers)-1])
			flip(t, m.path(bundle.VolumeFile), e.Offset+512)
		}
	}
}

// TestOneMediumAtATime: an image whose layers lie on two media is complete
// after both were imported, each by itself.
func TestOneMediumAtATime(t *testing.T) {
	t.Parallel()
	src, dst := ocitest.StartRegistry(t), ocitest.StartRegistry(t)
	b := src.Builder()
	layers := []ocispec.Descriptor{b.RandomLayer("team/two", "a", 6000), b.RandomLayer("team/two", "b", 6000)}
	b.Image("team/two", "v1", ocitest.ImageOpts{Layers: layers})
	check(t, b.Err())
	c := client(t, src.Host, dst.Host)
	m := export(t, c, inventory(t, plan(t, c, bundle.Request{Images: references(t, "quay.io/team/two:v1")}), 8192))
	for i, other := range []string{"bundle.tar.002", "bundle.tar.003"} {
		one := m.copied(t)
		check(t, os.Remove(one.path(other)))
		_, err := one.open(t).Import(t.Context(), c, bundle.ImportOptions{Placement: to(t, dst.Host)})
		if i == 0 {
			wantError(t, err, bundle.ErrAbsent, other)
		} else {
			check(t, err)
		}
	}
	if tags := dst.Builder().Tags("team/two"); !slices.Contains(tags, "v1") {
		t.Error("both media were imported, and the image is not there")
	}
}

// TestSourcesDoNotMixOverTime: a name that is one source's image since an
// earlier import does not become another's, and that is known beforehand.
func TestSourcesDoNotMixOverTime(t *testing.T) {
	t.Parallel()
	p, dir := to(t, "registry.example"), t.TempDir()
	first, err := assumed(t, contentOf(t, "a.example/x/app:1"), p)
	check(t, err)
	_, err = first.WriteObjects(dir)
	check(t, err)
	other := opened(t, contentOf(t, "b.example/x/app:1"))
	wantError(t, checkObjects(t, other, p, bundle.NewObjectOptions(p, "", ""), dir), bundle.ErrCollision, "a.example/x/app:1", "b.example/x/app:1")
	moved := contentOf(t, "a.example/x/app:1@"+string(digest.FromString("it moved on")))
	check(t, checkObjects(t, opened(t, moved), p, bundle.NewObjectOptions(p, "", ""), dir))
}

// checkObjects says what of an import's objects could not be written.
func checkObjects(t *testing.T, b *bundle.Bundle, p bundle.Placement, o bundle.ObjectOptions, dir string) error {
	t.Helper()
	r, err := b.Expect(p, o)
	check(t, err)
	return r.Check(dir)
}

// TestObjectsAreCheckedBefore: what no cluster would take is known without a
// connection.
func TestObjectsAreCheckedBefore(t *testing.T) {
	t.Parallel()
	p, dir := to(t, "quay.io"), t.TempDir()
	b := opened(t, contentOf(t, "quay.io/x/app:1"))
	for _, o := range []bundle.ObjectOptions{
		bundle.NewObjectOptions(p, "No_Name", ""),
		bundle.NewObjectOptions(p, "", "NeverContactSource"), // of its own mirror
	} {
		wantError(t, checkObjects(t, b, p, o, dir), bundle.ErrUsage)
	}
	check(t, checkObjects(t, b, p, bundle.NewObjectOptions(p, "name", ""), dir))
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, nil)
	wantError(t, checkObjects(t, b, p, bundle.NewObjectOptions(p, "name", ""), filepath.Join(file, "objects")), nil, "not a directory")
	if names := fileNames(t, dir); len(names) > 0 {
		t.Errorf("the check left %s", names)
	}
}

// TestOnePolicy: a source has one policy in both mirror sets, whatever an
// earlier one says; a cluster takes none of them otherwise.
func TestOnePolicy(t *testing.T) {
	t.Parallel()
	p, dir := to(t, "registry.example"), t.TempDir()
	write := func(policy, name string) {
		r, err := assumed(t, contentOf(t, name), p)
		check(t, err)
		r.Options.Policy = policy
		_, err = r.WriteObjects(dir)
		check(t, err)
	}
	write("", "quay.io/x/app:1")
	check(t, os.Remove(filepath.Join(dir, bundle.ReportFile)))
	write("NeverContactSource", "quay.io/x/app@"+string(digest.FromString("pinned")))
	for _, file := range []string{bundle.IDMSFile, bundle.ITMSFile} {
		if !strings.Contains(string(readFile(t, filepath.Join(dir, file))), "mirrorSourcePolicy: NeverContactSource") {
			t.Errorf("%s has another policy", file)
		}
	}
}

// TestReportKnowsEveryMirror: after a change of places the report alone gives
// the same objects, the earlier place among them.
func TestReportKnowsEveryMirror(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, dest := range []string{"one", "two"} {
		p := to(t, "registry.example")
		p.Maps = []bundle.Mapping{{Source: "quay.io", Dest: dest}}
		r, err := assumed(t, contentOf(t, "quay.io/x/app:1"), p)
		check(t, err)
		_, err = r.WriteObjects(dir)
		check(t, err)
	}
	recorded, err := bundle.ReadReport(filepath.Join(dir, bundle.ReportFile))
	check(t, err)
	again := writeObjects(t, recorded)
	for _, file := range []string{bundle.IDMSFile, bundle.ITMSFile} {
		got := string(readFile(t, filepath.Join(again, file)))
		if got != string(readFile(t, filepath.Join(dir, file))) || !strings.Contains(got, "registry.example/one/x/app") {
			t.Errorf("%s differs, or forgets the earlier place:\n%s", file, got)
		}
	}
}
