package bundle_test

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"airlift/bundle"
	"airlift/manifest"
	"airlift/oci/ocitest"
)

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
