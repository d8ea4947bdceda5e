package bundle_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"airlift/bundle"
	"airlift/manifest"
	"airlift/oci/ocitest"
)

// writeObjects writes a report's objects into a new directory.
func writeObjects(t testing.TB, r *bundle.Report) string {
	t.Helper()
	dir := t.TempDir()
	o, err := r.WriteObjects(dir)
	check(t, err)
	if got := fileNames(t, dir); !slices.Equal(got, o.Files()) {
		t.Errorf("%s were written, %s announced", got, o.Files())
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
