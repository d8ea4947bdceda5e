package bundle_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/bundle"
	"airlift/manifest"
	"airlift/oci/ocitest"
)

// writeObjects writes a report's objects into a new directory.
func writeObjects(t testing.TB, r *bundle.Report) string {
	t.Helper()
	dir := t.TempDir()
	files, err := r.WriteObjects(dir)
	check(t, err)
	if got := fileNames(t, dir); !slices.Equal(got, files) {
		t.Errorf("%s were written, %s announced", got, files)
	}
	return dir
}

func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, name := range fileNames(t, dir) {
		files[name] = string(readFile(t, filepath.Join(dir, name)))
	}
	return files
}

// goldenDir compares a directory with one under testdata, file by file.
func goldenDir(t *testing.T, name, dir string) {
	t.Helper()
	got, path := contents(t, dir), filepath.Join("testdata", name)
	if *update {
		check(t, os.RemoveAll(path))
		for file, data := range got {
			writeFile(t, filepath.Join(path, file), []byte(data))
		}
	}
	if diff := gocmp.Diff(contents(t, path), got); diff != "" {
		t.Errorf("%s (-want +got): %s", path, diff)
	}
}

func mirrorSet(t testing.TB, path string) map[string][]string {
	t.Helper()
	set, err := manifest.ParseMirrorSet(readFile(t, path))
	check(t, err)
	mirrors := map[string][]string{}
	for _, m := range set.Mirrors {
		mirrors[m.Source] = m.Mirrors
	}
	return mirrors
}

func skippedStreams(t testing.TB, dir string) []string {
	t.Helper()
	patch, err := manifest.ParseSamplesPatch(readFile(t, filepath.Join(dir, bundle.SamplesFile)))
	check(t, err)
	return patch.Skipped
}

// releaseAndSamples are what most people carry.
func releaseAndSamples(t *testing.T) (*ocitest.Registry, bundle.Request) {
	t.Helper()
	var release ocitest.Release
	samples := ocitest.ExampleSamples()
	near := source(t, func(b *ocitest.Builder) {
		release = b.Release(ocitest.ReleaseOpts{Signatures: true, Components: []string{"cli", "etcd"}})
		b.Samples(samples, nil)
		b.ZstdImage("team/app", "v1")
	})
	streams, err := manifest.ParseImageStreams(ocitest.ImageStreamList(samples, release))
	check(t, err)
	return near, bundle.Request{
		Releases: references(t, release.Reference), Images: references(t, "quay.io/team/app:v1"), Streams: streams,
	}
}

// TestGoldenObjects: what a release and samples give is stable to the byte, and
// the same whether it was imported or is only assumed to be.
func TestGoldenObjects(t *testing.T) {
	t.Parallel()
	near, request := releaseAndSamples(t)
	far := ocitest.StartRegistry(t)
	c := client(t, near.Host, far.Host)
	m := export(t, c, inventory(t, plan(t, c, request), 0))
	p := to(t, "registry.plant.example:8443/ocp")
	r, err := m.open(t).Assume(p, bundle.NewObjectOptions(p, "", ""))
	check(t, err)
	marked := contents(t, writeObjects(t, r))
	r.Assumed = false
	want := writeObjects(t, r)
	goldenDir(t, "objects", want)
	for file, data := range contents(t, want) {
		if comment, rest, _ := strings.Cut(marked[file], "\n"); file != bundle.ReportFile && (!strings.HasPrefix(comment, "# What a complete import would give") || rest != data) {
			t.Errorf("%s is not marked as assumed:\n%s", file, marked[file])
		}
	}

	p.To, err = bundle.ParseLocation(far.Host + "/ocp")
	check(t, err)
	results, err := m.open(t).Import(t.Context(), c, bundle.ImportOptions{Placement: p, SkipMissing: true})
	wantError(t, err, bundle.ErrMissing)
	got := writeObjects(t, m.open(t).Report(results, bundle.NewObjectOptions(p, "", "")))
	check(t, os.Remove(filepath.Join(want, bundle.ReportFile)))
	report, err := bundle.ReadReport(filepath.Join(got, bundle.ReportFile))
	check(t, err)
	check(t, os.Remove(filepath.Join(got, bundle.ReportFile)))
	if diff := gocmp.Diff(contents(t, want), contents(t, got)); diff != "" {
		t.Errorf("an import gives other objects than it is assumed to (-assumed +imported): %s", diff)
	}
	if diff := gocmp.Diff(r.Held, report.Held); diff != "" {
		t.Errorf("the registry holds something else than assumed (-assumed +imported): %s", diff)
	}
}

// TestDocumentsRelease: both repositories of a release go to ocp/release, as in
// OpenShift's documents.
func TestDocumentsRelease(t *testing.T) {
	t.Parallel()
	near, request := releaseAndSamples(t)
	request.Streams, request.Images = manifest.ImageStreams{}, nil
	far := ocitest.StartRegistry(t)
	c := client(t, near.Host, far.Host)
	m := export(t, c, inventory(t, plan(t, c, request), 0))
	maps := []string{"quay.io/openshift-release-dev/ocp-release=ocp/release", "quay.io/openshift-release-dev/ocp-v4.0-art-dev=ocp/release"}
	p := mapped(t, "mirror.registry.com:443", maps...)
	r, err := m.open(t).Assume(p, bundle.NewObjectOptions(p, "", ""))
	check(t, err)
	r.Assumed = false
	dir := writeObjects(t, r)
	golden(t, "documents-release/idms.yaml", readFile(t, filepath.Join(dir, bundle.IDMSFile)))
	golden(t, "documents-release/install-config.fragment.yaml", readFile(t, filepath.Join(dir, bundle.InstallFile)))
	_, err = m.open(t).Import(t.Context(), c, bundle.ImportOptions{Placement: mapped(t, far.Host, maps...)})
	check(t, err)
	wantTags(t, far.Builder(), "ocp/release", "4.17.3-x86_64", "4.17.3-x86_64-cli", "4.17.3-x86_64-etcd")
	newCrawler(far.Host).look(t)
}

// TestDocumentsMirrors: the six forms of the example of an ImageDigestMirrorSet
// in OpenShift's documents come out of maps, each at the repository below it
// that was carried. Its mirrors are three registries, so these are three imports.
func TestDocumentsMirrors(t *testing.T) {
	t.Parallel()
	for name, form := range map[string]struct {
		placement bundle.Placement
		images    []string
		mirrors   []string
	}{
		"example.io": {mapped(t, "example.io/example", "registry.access.redhat.com/ubi9/ubi-minimal=ubi-minimal"),
			[]string{"registry.access.redhat.com/ubi9/ubi-minimal"}, []string{"example.com/example2"}},
		"mirror.example.com": {mapped(t, "mirror.example.com", "registry.example.com/redhat=redhat", "registry.example.com="),
			[]string{"registry.example.com/redhat/tool", "registry.example.com/any/where"}, nil},
		"mirror.example.net": {mapped(t, "mirror.example.net", "registry.example.com/example/myimage=image", "registry.example.com/example=", "registry.example.com=registry-example-com"),
			[]string{"registry.example.com/example/myimage", "registry.example.com/example/other", "registry.example.com/any/where"}, nil},
	} {
		for i, image := range form.images {
			form.images[i] = image + at(image)
		}
		for _, mirror := range form.mirrors {
			form.placement.Mirrors = append(form.placement.Mirrors, to(t, mirror).To)
		}
		r, err := opened(t, contentOf(t, form.images...)).Assume(form.placement, bundle.NewObjectOptions(form.placement, "ubi9repo", manifest.AllowContactingSource))
		check(t, err)
		r.Assumed = false
		golden(t, "documents-mirrors/"+name+".yaml", readFile(t, filepath.Join(writeObjects(t, r), bundle.IDMSFile)))
	}
}

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
	if len(report.Streams) != 1 || report.Streams[0].Name != "python" {
		t.Errorf("the operator's streams have become %+v", report.Streams)
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
		wantError(t, r.Options.CheckDir(dir), class)
		_, err = r.WriteObjects(dir)
		wantError(t, err, class)
		wantError(t, r.Write(dir), class)
		if diff := gocmp.Diff(before, contents(t, dir)); diff != "" {
			t.Errorf("the directory was changed: %s", diff)
		}
	}
	check(t, r.Options.CheckDir(whole))
	check(t, r.Options.CheckDir(filepath.Join(t.TempDir(), "none")))
}

// TestOneStreamOfFifty: of the operator's streams all are skipped but the one
// whose every image was carried; those that it does not own are never named.
func TestOneStreamOfFifty(t *testing.T) {
	t.Parallel()
	samples := allSamples(t)
	var release ocitest.Release
	near := source(t, func(b *ocitest.Builder) {
		release = b.Release(ocitest.ReleaseOpts{Components: []string{"cli"}})
		b.Samples(slices.DeleteFunc(slices.Clone(samples), func(s ocitest.Sample) bool { return s.Stream != "python" }), nil)
	})
	streams, err := manifest.ParseImageStreams(ocitest.ImageStreamList(samples, release))
	check(t, err)
	far := lenient(t)
	c := client(t, near.Host, far)
	m := export(t, c, inventory(t, plan(t, c, bundle.Request{Streams: streams}), 0))
	p := to(t, far)
	b := m.open(t)
	_, err = b.Import(t.Context(), c, bundle.ImportOptions{Placement: p})
	var missing *bundle.MissingError
	if !errors.As(err, &missing) || errors.Is(err, bundle.ErrMissing) {
		t.Errorf("without --skip-missing: %.200v", err)
	}
	if repos := ocitest.NewBuilder(far).Repositories(); len(repos) > 0 {
		t.Errorf("without --skip-missing %s were pushed", repos)
	}
	results, err := b.Import(t.Context(), c, bundle.ImportOptions{Placement: p, SkipMissing: true})
	wantError(t, err, bundle.ErrMissing)
	dir := writeObjects(t, b.Report(results, bundle.NewObjectOptions(p, "", "")))
	skipped := skippedStreams(t, dir)
	if len(skipped) != 49 || slices.Contains(skipped, "python") {
		t.Errorf("%d are skipped: %s", len(skipped), skipped)
	}
	for _, own := range []string{"cli", "installer", "must-gather"} {
		if slices.Contains(skipped, own) {
			t.Errorf("%s is skipped, which the operator does not own", own)
		}
	}
	for source := range mirrorSet(t, filepath.Join(dir, bundle.IDMSFile)) {
		if !strings.Contains(source, "python") && !strings.Contains(source, "ocp-v4.0-art-dev") {
			t.Errorf("a mirror of %s, of which nothing was imported", source)
		}
	}
}

// allSamples is the table of the samples operator's images.
func allSamples(t *testing.T) []ocitest.Sample {
	t.Helper()
	var samples []ocitest.Sample
	streams := map[string]bool{}
	for line := range strings.Lines(string(readFile(t, "../testdata/samples/references.tsv"))) {
		if fields := strings.Split(strings.TrimSpace(line), "\t"); len(fields) == 3 {
			samples = append(samples, ocitest.Sample{Stream: fields[0], Tag: fields[1], Reference: fields[2]})
			streams[fields[0]] = true
		}
	}
	if len(streams) != 50 {
		t.Fatalf("the table has %d streams", len(streams))
	}
	return samples
}

// TestSharedBlobs: two layers that forty images in as many repositories share
// are fetched once, and uploaded once.
func TestSharedBlobs(t *testing.T) {
	t.Parallel()
	const images = 40
	var shared []ocispec.Descriptor
	var refs []string
	near := source(t, func(b *ocitest.Builder) {
		for i := range images {
			repo := fmt.Sprintf("team/app%02d", i)
			shared = []ocispec.Descriptor{b.RandomLayer(repo, "one", 2000), b.RandomLayer(repo, "two", 3000)}
			b.Image(repo, "v1", ocitest.ImageOpts{Layers: shared, Labels: map[string]string{"name": repo}})
			refs = append(refs, "quay.io/"+repo+":v1")
		}
	})
	in, out := ocitest.Misbehave(t, near.Host, nil), ocitest.Misbehave(t, ocitest.StartRegistry(t).Host, nil)
	c := client(t, in.Host, out.Host)
	m := export(t, c, inventory(t, plan(t, c, bundle.Request{Images: references(t, refs...)}), 0))
	results, err := m.open(t).Import(t.Context(), c, bundle.ImportOptions{Placement: to(t, out.Host)})
	check(t, err)
	if len(results) != images {
		t.Errorf("%d images were imported", len(results))
	}
	for _, layer := range shared {
		if n := in.Count(http.MethodGet, string(layer.Digest)); n != 1 {
			t.Errorf("%s was fetched %d times", layer.Digest, n)
		}
		if n := queried(out, http.MethodPut, "digest=", layer); n != 1 {
			t.Errorf("%s was uploaded %d times", layer.Digest, n)
		}
		if n := queried(out, http.MethodPost, "mount=", layer); n != images-1 {
			t.Errorf("%s was mounted %d times", layer.Digest, n)
		}
	}
	for _, name := range refs { // nothing is asked for twice when planning and exporting
		ref := references(t, name)[0]
		if n := in.Count(http.MethodGet, ref.Repository+"/manifests/v1"); n != 1 {
			t.Errorf("the manifest of %s was fetched %d times", name, n)
		}
	}
}

// queried counts requests whose query has a blob's digest.
func queried(p *ocitest.Proxy, method, key string, d ocispec.Descriptor) int {
	n := 0
	for _, r := range p.Log() {
		if query := strings.ReplaceAll(r.Query, "%3A", ":"); r.Method == method && strings.Contains(query, key+string(d.Digest)) {
			n++
		}
	}
	return n
}
