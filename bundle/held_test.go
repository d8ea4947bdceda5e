package bundle_test

import (
	"maps"
	"path/filepath"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"airlift/bundle"
	"airlift/manifest"
)

// TestSecondImport: release N+1 into the same directory leaves release N, its
// images and its samples where the cluster finds them.
func TestSecondImport(t *testing.T) {
	t.Parallel()
	one, two, cli, next := "quay.io/o/release"+at("1"), "quay.io/o/release"+at("2"), "quay.io/o/art"+at("cli"), "quay.io/o/next"+at("cli 2")
	python, app := "registry.redhat.io/ubi8/python-39:1-117", "quay.io/team/app:v1"
	p := to(t, "m.example/ocp")
	first := stream(t, released(t, contentOf(t, one, cli, python, app), "4.17.3", one, "cli", cli), "python", "3.9", python)
	second := released(t, contentOf(t, two, next), "4.17.4", two, "cli", next)
	r, err := assumed(t, first, p)
	check(t, err)
	dir := writeObjects(t, r)
	foreign := filepath.Join(dir, "apply", "mine.yaml")
	writeFile(t, foreign, []byte("mine"))
	before := contents(t, dir)
	if r, err = assumed(t, second, p); err != nil {
		t.Fatal(err)
	}
	_, err = r.WriteObjects(dir)
	check(t, err)
	after := contents(t, dir)
	if diff := gocmp.Diff(slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after))); diff != "" || after["apply/mine.yaml"] != "mine" {
		t.Errorf("the files were (-) and are (+): %s", diff)
	}
	for file, sources := range map[string][]string{
		bundle.IDMSFile: {"quay.io/o/art", "quay.io/o/next", "quay.io/o/release", "quay.io/team/app", "registry.redhat.io/ubi8/python-39"},
		bundle.ITMSFile: {"quay.io/team/app", "registry.redhat.io/ubi8/python-39"},
	} {
		if diff := gocmp.Diff(sources, slices.Sorted(maps.Keys(mirrorSet(t, filepath.Join(dir, file))))); diff != "" {
			t.Errorf("%s (-want +got): %s", file, diff)
		}
	}
	if skipped := skippedStreams(t, dir); len(skipped) > 0 {
		t.Errorf("%s are skipped", skipped)
	}
	held := map[string][]string{}
	report, err := bundle.ReadReport(filepath.Join(dir, bundle.ReportFile))
	check(t, err)
	for _, h := range report.Held {
		held[h.Reference] = h.Names
	}
	want := map[string][]string{
		one: {"m.example/ocp/o/release:4.17.3-x86_64"}, two: {"m.example/ocp/o/release:4.17.4-x86_64"},
		cli: {"m.example/ocp/o/art:4.17.3-x86_64-cli"}, next: {"m.example/ocp/o/next:4.17.4-x86_64-cli"},
		python: {"m.example/ocp/ubi8/python-39:1-117"}, app: {"m.example/ocp/team/app:v1"},
	}
	if len(report.Operators) != 1 || report.Operators[0].Samples.Streams[0].Name != "python" {
		t.Errorf("the samples operator's streams have become %+v", report.Operators)
	}
	if diff := gocmp.Diff(want, held); diff != "" {
		t.Errorf("held (-want +got): %s", diff)
	}
}

// TestKeepsHandEdits: what somebody added to the mirror sets stays, and so does
// an older mirror of a source, behind the new one.
func TestKeepsHandEdits(t *testing.T) {
	t.Parallel()
	r, err := assumed(t, contentOf(t, "quay.io/team/app:v1"), to(t, "m.example/ocp"))
	check(t, err)
	dir := writeObjects(t, r)
	path := filepath.Join(dir, bundle.IDMSFile)
	set, err := manifest.ParseMirrorSet(readFile(t, path))
	check(t, err)
	set.Mirrors[0].Mirrors = append(set.Mirrors[0].Mirrors, "other.example/app")
	set.Mirrors = append(set.Mirrors, manifest.Mirror{Source: "example.com/theirs", Mirrors: []string{"m.example/theirs"}})
	edited, err := set.YAML()
	check(t, err)
	writeFile(t, path, edited)
	_, err = r.WriteObjects(dir)
	check(t, err)
	if got := string(readFile(t, path)); got != string(edited) {
		t.Errorf("it was %s\nit is %s", edited, got)
	}
}

// TestReportGivesTheSame: the objects follow from the report alone.
func TestReportGivesTheSame(t *testing.T) {
	t.Parallel()
	one, cli, app := "quay.io/o/release"+at("1"), "quay.io/o/art"+at("cli"), "quay.io/team/app:v1"
	p := to(t, "m.example/ocp")
	p.Mirrors = append(p.Mirrors, to(t, "second.example/x").To)
	dir := t.TempDir()
	for _, c := range []*bundle.Content{
		stream(t, released(t, contentOf(t, one, cli), "4.17.3", one, "cli", cli), "python"),
		contentOf(t, app),
	} {
		r, err := opened(t, c).Assume(p, bundle.NewObjectOptions(p, "chosen", manifest.NeverContactSource))
		check(t, err)
		r.Assumed = false
		_, err = r.WriteObjects(dir)
		check(t, err)
	}
	r, err := bundle.ReadReport(filepath.Join(dir, bundle.ReportFile))
	check(t, err)
	if diff := gocmp.Diff(contents(t, dir), contents(t, writeObjects(t, r))); diff != "" {
		t.Errorf("(-import +report): %s", diff)
	}
}

// TestAnotherRegistrysDirectory is refused, before and when writing, and left as it is.
func TestAnotherRegistrysDirectory(t *testing.T) {
	t.Parallel()
	content := contentOf(t, "quay.io/team/app:v1")
	r, err := assumed(t, content, to(t, "m.example/ocp"))
	check(t, err)
	whole := writeObjects(t, r)
	onlyObjects := t.TempDir()
	writeFile(t, filepath.Join(onlyObjects, bundle.IDMSFile), readFile(t, filepath.Join(whole, bundle.IDMSFile)))
	onlyReport := t.TempDir()
	writeFile(t, filepath.Join(onlyReport, bundle.ReportFile), readFile(t, filepath.Join(whole, bundle.ReportFile)))
	noMirrorSet := t.TempDir()
	writeFile(t, filepath.Join(noMirrorSet, bundle.IDMSFile), []byte("kind: Secret\napiVersion: v1\n"))
	damaged := t.TempDir()
	writeFile(t, filepath.Join(damaged, bundle.ReportFile), []byte(`{"format":"airlift.report/2"}`))
	for dir, class := range map[string]error{whole: bundle.ErrUsage, onlyObjects: bundle.ErrUsage, onlyReport: bundle.ErrUsage, noMirrorSet: nil, damaged: nil} {
		before := contents(t, dir)
		r, err := assumed(t, content, to(t, "other.example/ocp"))
		check(t, err)
		wantError(t, r.Check(dir), class)
		_, err = r.WriteObjects(dir)
		wantError(t, err, class)
		wantError(t, r.Write(dir), class)
		if diff := gocmp.Diff(before, contents(t, dir)); diff != "" {
			t.Errorf("the directory was changed: %s", diff)
		}
	}
	check(t, r.Check(whole))
	check(t, r.Check(filepath.Join(t.TempDir(), "none")))
}
