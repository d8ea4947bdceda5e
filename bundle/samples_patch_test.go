package bundle_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"airlift/bundle"
	"airlift/manifest"
)

// sampleOf is a stream of pairs of tag and reference.
func sampleOf(t testing.TB, name string, pairs ...string) bundle.ImageStream {
	t.Helper()
	s := bundle.ImageStream{Name: name}
	for i := 0; i < len(pairs); i += 2 {
		s.Tags = append(s.Tags, bundle.StreamTag{Name: pairs[i], From: pairs[i+1], Image: references(t, pairs[i+1])[0].String()})
	}
	return s
}

// operated is a content with a release, of which the samples are given, and with
// images; what the samples need beside them is missing.
func operated(t testing.TB, version string, images []string, sets ...bundle.Samples) *bundle.Content {
	t.Helper()
	payload := "quay.io/o/release" + at(version)
	c := released(t, contentOf(t, append(slices.Clone(images), payload)...), version, payload)
	carried, missing := map[string]bool{}, map[string]bool{}
	for _, i := range c.Images {
		carried[i.Reference] = true
	}
	for _, s := range sets {
		s.Release = payload
		for _, stream := range s.Streams {
			for _, tag := range stream.Tags {
				missing[tag.Image] = missing[tag.Image] || !stream.LeftOut
			}
		}
		for _, template := range s.Templates {
			for _, image := range template.Images {
				missing[image] = missing[image] || !template.LeftOut
			}
		}
		c.Samples = append(c.Samples, s)
	}
	for ref, is := range missing {
		if is && !carried[ref] {
			c.Missing = append(c.Missing, bundle.Missing{Reference: ref, Reason: "the registry answered 404"})
		}
	}
	slices.SortFunc(c.Missing, byReference)
	return c
}

// patch is the samples patch under a directory; nil if there is none.
func patch(t testing.TB, dir string) *manifest.SamplesPatch {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, bundle.SamplesFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	check(t, err)
	p, err := manifest.ParseSamplesPatch(data)
	check(t, err)
	return &p
}

// toldOf writes the objects of a complete import into a directory, and gives what
// the samples operator is told.
func toldOf(t testing.TB, c *bundle.Content, p bundle.Placement, o bundle.SamplesOptions, dir string) *bundle.SamplesState {
	t.Helper()
	r, err := assumed(t, c, p)
	check(t, err)
	r.Options.SamplesOptions = o
	_, err = r.WriteObjects(dir)
	check(t, err)
	s, err := r.Samples()
	check(t, err)
	return s
}

const (
	ruby30, ruby31 = "registry.redhat.io/ubi8/ruby-30:latest", "registry.redhat.io/ubi8/ruby-31:latest"
	php80, php81   = "registry.access.redhat.com/ubi8/php-80:latest", "registry.access.redhat.com/ubi8/php-81:latest"
	jenkinsImage   = "registry.redhat.io/ocp-tools-4/jenkins-rhel8:v4"
)

// someSamples has a stream of every kind.
func someSamples(t testing.TB) bundle.Samples {
	ruby := sampleOf(t, "ruby", "3.0", ruby30, "3.1", ruby31)
	ruby.Aliases = []bundle.Alias{{Name: "latest", Tag: "3.1"}, {Name: "old", Tag: "3.0"}}
	out := sampleOf(t, "perl", "5", "registry.redhat.io/ubi8/perl:5")
	out.LeftOut = true
	shared := sampleOf(t, "shared", "1", ruby30)
	shared.LeftOut = true
	whole := sampleOf(t, "whole", "1", php80)
	whole.Repository = "registry.redhat.io/a/whole"
	return bundle.Samples{Architecture: "x86_64",
		Streams: []bundle.ImageStream{
			{Name: "bare"}, sampleOf(t, "jenkins", "2", jenkinsImage), out, sampleOf(t, "php", "8.0", php80, "8.1", php81), ruby, shared,
			sampleOf(t, "vanished", "1", "registry.redhat.io/a/gone:1", "2", "registry.redhat.io/a/gone:2"), whole,
		},
		Templates: []bundle.Template{
			{Name: "alias", Streams: []string{"ruby:latest"}},
			{Name: "cli", Streams: []string{"cli:latest"}},
			{Name: "direct", Images: []string{php80}},
			{Name: "gone", Images: []string{"quay.io/a/gone:1", php80}},
			{Name: "perl", LeftOut: true, Streams: []string{"perl:5"}},
			{Name: "php", Streams: []string{"php:8.0"}},
			{Name: "rails", Streams: []string{"ruby:3.0"}},
		}}
}

// TestSampleStates: every stream and every template of the operator, by what of
// it the registry holds, with both policies.
func TestSampleStates(t *testing.T) {
	t.Parallel()
	c := operated(t, "4.17.3", []string{ruby30, php80, php81, jenkinsImage}, someSamples(t))
	const missing = ": missing at the source: the registry answered 404"
	why := map[string]string{
		"bare": "its images are not known", "perl": "left out of the bundle", "ruby": "3.1: " + ruby31 + missing,
		"vanished": "1: registry.redhat.io/a/gone:1" + missing + "; and 1 more", "whole": "it imports whatever registry.redhat.io/a/whole has",
	}
	numbers := map[string][2]int{"jenkins": {1, 0}, "perl": {0, 1}, "php": {2, 0}, "ruby": {1, 1}, "shared": {1, 0}, "vanished": {0, 2}, "whole": {1, 0}}
	for policy, test := range map[string]struct {
		skipped   []string
		templates []bundle.TemplateState
		cost      int
	}{
		"": {[]string{"bare", "perl", "ruby", "vanished", "whole"}, []bundle.TemplateState{
			{Name: "alias", Why: "it needs the imagestream ruby"}, {Name: "gone", Why: "it needs quay.io/a/gone:1"},
			{Name: "perl", Why: "it needs the imagestream perl"}, {Name: "rails", Why: "it needs the imagestream ruby"},
		}, 2},
		manifest.SkipAllMissing: {[]string{"bare", "perl", "vanished"}, []bundle.TemplateState{
			{Name: "alias", Why: "it needs ruby:latest"}, {Name: "gone", Why: "it needs quay.io/a/gone:1"}, {Name: "perl", Why: "it needs the imagestream perl"},
		}, 0},
	} {
		dir := t.TempDir()
		s := toldOf(t, c, to(t, "m.example:5000/ocp"), bundle.SamplesOptions{SkipStreams: policy}, dir)
		var want []bundle.SampleState
		for _, stream := range c.Samples[0].Streams {
			n := numbers[stream.Name]
			want = append(want, bundle.SampleState{Name: stream.Name, Carried: n[0], Missing: n[1], Skipped: slices.Contains(test.skipped, stream.Name), Why: why[stream.Name]})
		}
		if diff := gocmp.Diff(want, s.Streams); diff != "" {
			t.Errorf("%q: streams (-want +got): %s", policy, diff)
		}
		if diff := gocmp.Diff(test.templates, s.Templates); diff != "" {
			t.Errorf("%q: templates (-want +got): %s", policy, diff)
		}
		if got := s.Cost(); got != test.cost {
			t.Errorf("%q: it costs %d", policy, got)
		}
		var templates []string
		for _, one := range test.templates {
			templates = append(templates, one.Name)
		}
		if diff := gocmp.Diff(&manifest.SamplesPatch{Registry: "m.example:5000/ocp", Skipped: test.skipped, Templates: templates}, patch(t, dir)); diff != "" {
			t.Errorf("%q: patch (-want +got): %s", policy, diff)
		}
	}
}

// TestKeptSkips: what the administrator skips stays and what airlift skipped
// leaves, by the report, the earlier patch and the cluster's configuration.
func TestKeptSkips(t *testing.T) {
	t.Parallel()
	set := bundle.Samples{Architecture: "x86_64",
		Streams:   []bundle.ImageStream{sampleOf(t, "jenkins", "2", jenkinsImage), sampleOf(t, "php", "8", php80), sampleOf(t, "ruby", "3", ruby30), sampleOf(t, "zero", "8", php80)},
		Templates: []bundle.Template{{Name: "own", Streams: []string{"jenkins:2"}}, {Name: "php", Images: []string{php80}}, {Name: "rails", Images: []string{ruby30}}},
	}
	some := operated(t, "4.17.3", []string{jenkinsImage, php80}, set) // without ruby
	all := operated(t, "4.17.3", []string{jenkinsImage, php80, ruby30}, set)
	config := func(names ...string) bundle.SamplesOptions {
		return bundle.SamplesOptions{Current: &manifest.SamplesConfig{Skipped: names, Templates: names}}
	}
	p := to(t, "m.example")
	edit := func(t *testing.T, dir string, streams ...string) {
		t.Helper()
		data, err := manifest.SamplesPatch{Registry: "m.example", Skipped: streams, Templates: []string{}}.YAML()
		check(t, err)
		writeFile(t, filepath.Join(dir, bundle.SamplesFile), data)
	}
	want := func(t *testing.T, dir string, streams ...string) {
		t.Helper()
		if got := patch(t, dir).Skipped; !slices.Equal(got, streams) {
			t.Errorf("skipped are %q, want %q", got, streams)
		}
	}
	t.Run("its own leaves", func(t *testing.T) {
		dir := t.TempDir()
		toldOf(t, some, p, bundle.SamplesOptions{}, dir)
		want(t, dir, "ruby")
		toldOf(t, all, p, bundle.SamplesOptions{}, dir)
		want(t, dir)
		if got := patch(t, dir).Templates; len(got) > 0 {
			t.Errorf("skipped are the templates %q", got)
		}
	})
	t.Run("the cluster's stays", func(t *testing.T) {
		dir := t.TempDir()
		s := toldOf(t, some, p, config("jenkins", "ruby", "foreign", "php"), dir)
		want(t, dir, "jenkins", "php", "ruby")
		if got := patch(t, dir).Templates; !slices.Equal(got, []string{"own", "php", "rails"}) {
			t.Errorf("skipped are the templates %q", got)
		}
		if !slices.Contains(s.Foreign, "foreign") || slices.Contains(patch(t, dir).Skipped, "foreign") {
			t.Errorf("foreign are %q", s.Foreign)
		}
		// The administrator's: also the one that airlift would have skipped then.
		toldOf(t, all, p, bundle.SamplesOptions{}, dir)
		want(t, dir, "jenkins", "php", "ruby")
		toldOf(t, all, p, config("php"), dir)
		want(t, dir, "php")
		toldOf(t, all, p, config(), dir)
		want(t, dir)
	})
	t.Run("applied, then read from the cluster", func(t *testing.T) {
		dir := t.TempDir()
		toldOf(t, some, p, config("php"), dir)
		want(t, dir, "php", "ruby")
		toldOf(t, all, p, config("php", "ruby"), dir) // ruby is there by airlift's own patch
		want(t, dir, "php")
	})
	t.Run("written by hand", func(t *testing.T) {
		dir := t.TempDir()
		toldOf(t, some, p, bundle.SamplesOptions{}, dir)
		edit(t, dir, "jenkins", "ruby")
		toldOf(t, all, p, bundle.SamplesOptions{}, dir)
		want(t, dir, "jenkins")
		toldOf(t, all, p, config(), dir) // airlift knows it as kept, and the cluster does not have it
		want(t, dir)
		edit(t, dir, "jenkins")
		toldOf(t, all, p, config("php"), dir)
		want(t, dir, "jenkins", "php")
		edit(t, dir)
		toldOf(t, all, p, bundle.SamplesOptions{}, dir)
		want(t, dir)
	})
	t.Run("without a report", func(t *testing.T) {
		dir := t.TempDir()
		edit(t, dir, "jenkins", "ruby")
		toldOf(t, all, p, bundle.SamplesOptions{}, dir)
		want(t, dir, "jenkins", "ruby")
	})
	t.Run("no patch of ours", func(t *testing.T) {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, bundle.SamplesFile), []byte("spec: {managementState: Unmanaged}"))
		r, err := assumed(t, all, p)
		check(t, err)
		wantError(t, r.Check(dir), nil, bundle.SamplesFile, "Unmanaged")
	})
	t.Run("the report alone", func(t *testing.T) {
		dir := t.TempDir()
		toldOf(t, some, p, config("php"), dir)
		r, err := bundle.ReadReport(filepath.Join(dir, bundle.ReportFile))
		check(t, err)
		if diff := gocmp.Diff(contents(t, dir), contents(t, writeObjects(t, r))); diff != "" {
			t.Errorf("(-import +report): %s", diff)
		}
	})
}

// TestNothingToCreate: where every stream would be skipped there is no patch,
// unless an earlier one has to be replaced.
func TestNothingToCreate(t *testing.T) {
	t.Parallel()
	set := bundle.Samples{Architecture: "x86_64", Streams: []bundle.ImageStream{sampleOf(t, "ruby", "3", ruby30)}}
	next := bundle.Samples{Architecture: "x86_64", Streams: []bundle.ImageStream{sampleOf(t, "ruby", "3", ruby31)}}
	dir := t.TempDir()
	toldOf(t, operated(t, "4.17.3", nil, set), to(t, "m.example"), bundle.SamplesOptions{}, dir)
	if got := patch(t, dir); got != nil {
		t.Errorf("the patch %+v", got)
	}
	toldOf(t, operated(t, "4.17.3", []string{ruby30}, set), to(t, "m.example"), bundle.SamplesOptions{}, dir)
	toldOf(t, operated(t, "4.18.0", nil, next), to(t, "m.example"), bundle.SamplesOptions{}, dir)
	if got := patch(t, dir); got == nil || !slices.Equal(got.Skipped, []string{"ruby"}) {
		t.Errorf("the patch %+v, after one that skipped nothing", got)
	}
	toldOf(t, operated(t, "4.18.0", []string{ruby31}, next), to(t, "m.example"), bundle.SamplesOptions{SamplesState: bundle.SamplesRemoved}, dir)
	if got := patch(t, dir); got == nil || !got.Removed {
		t.Errorf("the patch %+v, where samples are to be removed", got)
	}
	toldOf(t, contentOf(t, "quay.io/a/b:1"), to(t, "m.example"), bundle.SamplesOptions{}, dir)
	if got := patch(t, dir); got == nil || !got.Removed {
		t.Errorf("the patch %+v, after one that said so", got)
	}
	toldOf(t, operated(t, "4.18.0", []string{ruby31}, next), to(t, "m.example"), bundle.SamplesOptions{SamplesState: bundle.SamplesManaged}, dir)
	if got := patch(t, dir); got == nil || got.Removed || len(got.Skipped) > 0 {
		t.Errorf("the patch %+v, where all are there again", got)
	}
	none := t.TempDir()
	toldOf(t, contentOf(t, "quay.io/a/b:1"), to(t, "m.example"), bundle.SamplesOptions{}, none)
	if got := patch(t, none); got != nil {
		t.Errorf("the patch %+v of no samples", got)
	}
	toldOf(t, contentOf(t, "quay.io/a/b:1"), to(t, "m.example"), bundle.SamplesOptions{SamplesState: bundle.SamplesRemoved}, none)
	if got := patch(t, none); got == nil || !got.Removed {
		t.Errorf("the patch %+v, where samples are to be removed", got)
	}
}

// TestOperatorsOfTwoImports: what an import knew the next one knows, with what was
// chosen then.
func TestOperatorsOfTwoImports(t *testing.T) {
	t.Parallel()
	intel := bundle.Samples{Architecture: "x86_64", Streams: []bundle.ImageStream{sampleOf(t, "ruby", "3", ruby30)}}
	arm := bundle.Samples{Architecture: "aarch64", Streams: []bundle.ImageStream{sampleOf(t, "arm", "3", ruby31)}}
	first, second := operated(t, "4.16.9", []string{php80}, intel), operated(t, "4.18.0", []string{ruby31}, arm)
	dir := t.TempDir()
	toldOf(t, first, to(t, "m.example"), bundle.SamplesOptions{}, dir)
	r, err := assumed(t, second, to(t, "m.example"))
	check(t, err)
	_, err = r.WriteObjects(dir)
	wantError(t, err, bundle.ErrSeveralArchitectures, "aarch64, x86_64")
	for _, chosen := range []bundle.SamplesOptions{{SamplesArch: "x86_64", SkipStreams: manifest.SkipAllMissing}, {}} {
		s := toldOf(t, second, to(t, "m.example"), chosen, dir)
		if s.Operator.Version != "4.16.9" || s.Streams[0].Name != "ruby" {
			t.Errorf("%+v: the operator of %s, %+v", chosen, s.Operator.Version, s.Streams)
		}
		if why := "3: " + ruby30 + ": missing at the source: the registry answered 404"; s.Streams[0].Why != why {
			t.Errorf("%+v: ruby is skipped because %s", chosen, s.Streams[0].Why)
		}
	}
	report, err := bundle.ReadReport(filepath.Join(dir, bundle.ReportFile))
	check(t, err)
	if len(report.Operators) != 2 || report.Options.SkipStreams != manifest.SkipAllMissing {
		t.Errorf("%+v, %+v", report.Operators, report.Options)
	}
	s := toldOf(t, operated(t, "4.9.2", nil, intel), to(t, "m.example"), bundle.SamplesOptions{}, dir)
	if s.Operator.Version != "4.16.9" {
		t.Errorf("after an older release the operator of %s", s.Operator.Version)
	}
	toldOf(t, contentOf(t, ruby30), to(t, "m.example"), bundle.SamplesOptions{}, dir)
	if report, err = bundle.ReadReport(filepath.Join(dir, bundle.ReportFile)); err != nil || len(report.Lacking) > 0 {
		t.Errorf("with all of it there, %v are lacking (%v)", report.Lacking, err)
	}
}

// TestOperatorOfCluster: of several releases the newest counts, of several
// architectures the one that was said, or that the cluster says.
func TestOperatorOfCluster(t *testing.T) {
	t.Parallel()
	set := func(arch string, names ...string) bundle.Samples {
		s := bundle.Samples{Architecture: arch}
		for _, name := range names {
			s.Streams = append(s.Streams, sampleOf(t, name, "1", ruby31))
		}
		return s
	}
	c := operated(t, "4.9.20", nil, set("x86_64", "nine", "zero"))
	for version, sets := range map[string][]bundle.Samples{
		"4.17.0-rc.2": {set("x86_64", "candidate", "zero")}, "4.17.0": {set("aarch64", "arm"), set("x86_64", "intel", "zero")},
	} {
		more := operated(t, version, nil, sets...)
		c.Releases, c.Samples = append(c.Releases, more.Releases...), append(c.Samples, more.Samples...)
		c.Images, c.Nodes = append(c.Images, more.Images...), append(c.Nodes, more.Nodes...)
		c.Blobs = append(more.Blobs[:1:1], append(c.Blobs, more.Blobs[1:]...)...)
	}
	slices.SortFunc(c.Releases, func(a, b bundle.Release) int { return strings.Compare(a.Image, b.Image) })
	slices.SortFunc(c.Images, func(a, b bundle.Image) int { return strings.Compare(a.Reference, b.Reference) })
	slices.SortFunc(c.Samples, func(a, b bundle.Samples) int {
		return strings.Compare(a.Release+" "+a.Architecture, b.Release+" "+b.Architecture)
	})
	intel := &manifest.SamplesConfig{Architectures: []string{"x86_64"}}
	for _, test := range []struct {
		o    bundle.SamplesOptions
		want string // the first stream
		says string
	}{
		{bundle.SamplesOptions{SamplesArch: "aarch64"}, "arm", ""},
		{bundle.SamplesOptions{SamplesArch: "x86_64"}, "intel", ""},
		{bundle.SamplesOptions{Current: intel}, "intel", ""},
		{bundle.SamplesOptions{SamplesArch: "aarch64", Current: intel}, "arm", ""},
		{bundle.SamplesOptions{SamplesRelease: "4.17.0-rc.2"}, "candidate", ""},
		{bundle.SamplesOptions{SamplesRelease: "4.9.20"}, "nine", ""},
		{bundle.SamplesOptions{}, "", "samples of several architectures: aarch64, x86_64"},
		{bundle.SamplesOptions{SamplesArch: "s390x"}, "", "no samples for s390x are known, only for aarch64, x86_64"},
		{bundle.SamplesOptions{SamplesRelease: "4.17.0-rc.2", SamplesArch: "aarch64"}, "", "only for x86_64"},
		{bundle.SamplesOptions{SamplesRelease: "4.1.0"}, "", "no samples of release 4.1.0 are known, only of 4.17.0, 4.17.0-rc.2, 4.9.20"},
	} {
		r, err := assumed(t, c, to(t, "m.example"))
		check(t, err)
		r.Options.SamplesOptions = test.o
		s, err := r.Samples()
		if test.says != "" {
			wantError(t, err, bundle.ErrUsage, test.says)
			wantError(t, r.Check(t.TempDir()), bundle.ErrUsage, test.says)
			continue
		}
		check(t, err)
		if s.Streams[0].Name != test.want {
			t.Errorf("%+v: the operator with %s", test.o, s.Streams[0].Name)
		}
	}
}

// TestSamplesWithoutRegistry: where no samplesRegistry can say where samples are,
// there are no second names, references stay, and mirror sets lead to them.
func TestSamplesWithoutRegistry(t *testing.T) {
	t.Parallel()
	long := "registry.redhat.io/" + strings.Repeat("a", 200) + "/b:1"
	three := "registry.example.com:8443/" + strings.Repeat("c", 220) + "/d/e:1"
	cut := "quay.io:443/a/b:1"
	apart := mapped(t, "m.example/"+strings.Repeat("p", 60), "registry.redhat.io/"+strings.Repeat("a", 200)+"/b=short")
	apart.Cluster.Path = ""
	set := func(from string) bundle.Samples {
		return bundle.Samples{Architecture: "x86_64", Streams: []bundle.ImageStream{sampleOf(t, "jenkins", "2", jenkinsImage), sampleOf(t, "s", "1", from)}}
	}
	for name, test := range map[string]struct {
		from  string
		other []string
		p     bundle.Placement
		says  string
	}{
		"another's name":   {"registry.redhat.io/ubi8/python:1", []string{"quay.io/ubi8/python:1"}, mapped(t, "m.example", "registry.redhat.io=redhat"), "would both be m.example/ubi8/python:1"},
		"too long":         {long, nil, mapped(t, "m.example/"+strings.Repeat("p", 60), "registry.redhat.io/"+strings.Repeat("a", 200)+"/b=short"), "which is no name of an image"},
		"three slashes":    {three, nil, to(t, "m.example"), "which is no name of an image"},
		"too long to push": {long, nil, apart, "no name for " + long},
		"another host":     {cut, nil, to(t, "m.example"), "imagestream s:1: the samples operator would look for it at m.example:443/a/b:1, outside of m.example"},
	} {
		for _, version := range []string{"4.14.0", "4.13.9"} {
			dir := t.TempDir()
			s := toldOf(t, operated(t, version, append(test.other, test.from, jenkinsImage), set(test.from)), test.p, bundle.SamplesOptions{}, dir)
			got := patch(t, dir)
			if s.Registry != "" || !strings.Contains(s.Fault, test.says) || strings.Contains(s.Fault, "usage") {
				t.Errorf("%s: samplesRegistry %q, for %q", name, s.Registry, s.Fault)
			}
			switch {
			case version == "4.14.0" && (got == nil || got.Registry != "" || len(got.Skipped) > 0):
				t.Errorf("%s: the patch %+v", name, got)
			case version == "4.13.9" && got != nil:
				t.Errorf("%s: a cluster that imports through no mirrors is told %+v", name, got)
			}
			report, err := bundle.ReadReport(filepath.Join(dir, bundle.ReportFile))
			check(t, err)
			for _, h := range report.Held {
				if len(h.Names) != 1 {
					t.Errorf("%s: %s has the names %s", name, h.Reference, h.Names)
				}
			}
			if sources := mirrorSet(t, filepath.Join(dir, bundle.ITMSFile)); len(sources[strings.TrimSuffix(test.from, ":1")]) != 1 {
				t.Errorf("%s: tags are mirrored from %v", name, sources)
			}
		}
	}
}

// TestOddReferenceThatIsMissing: what is not carried needs no name.
func TestOddReferenceThatIsMissing(t *testing.T) {
	t.Parallel()
	set := bundle.Samples{Architecture: "x86_64", Streams: []bundle.ImageStream{sampleOf(t, "port", "1", "quay.io:443/a/b:1"), sampleOf(t, "ruby", "3", ruby30)}}
	dir := t.TempDir()
	s := toldOf(t, operated(t, "4.17.3", []string{ruby30}, set), to(t, "m.example"), bundle.SamplesOptions{}, dir)
	if got := patch(t, dir); s.Fault != "" || got.Registry != "m.example" || !slices.Equal(got.Skipped, []string{"port"}) {
		t.Errorf("the patch %+v, fault %q", got, s.Fault)
	}
}

// TestSamplesStayWithoutRegistry: what an earlier import left without second
// names is found as before, and what is new with it.
func TestSamplesStayWithoutRegistry(t *testing.T) {
	t.Parallel()
	a := bundle.Samples{Architecture: "x86_64", Streams: []bundle.ImageStream{sampleOf(t, "port", "1", "quay.io:443/a/b:1"), sampleOf(t, "ruby", "3", ruby30)}}
	p, dir := to(t, "m.example"), t.TempDir()
	toldOf(t, operated(t, "4.17.3", []string{"quay.io:443/a/b:1"}, a), p, bundle.SamplesOptions{}, dir)
	s := toldOf(t, operated(t, "4.17.3", []string{ruby30}, a), p, bundle.SamplesOptions{}, dir)
	if got := patch(t, dir); s.Fault == "" || got == nil || got.Registry != "" || len(got.Skipped) > 0 {
		t.Errorf("the patch %+v, fault %q", got, s.Fault)
	}
}

// TestJenkinsBefore414: the operator leaves its references as they are, and only
// a cluster of 4.14 or later imports those through a mirror set.
func TestJenkinsBefore414(t *testing.T) {
	t.Parallel()
	set := bundle.Samples{Architecture: "x86_64",
		Streams:   []bundle.ImageStream{sampleOf(t, "jenkins", "2", jenkinsImage), sampleOf(t, "ruby", "3", ruby30)},
		Templates: []bundle.Template{{Name: "digest", Images: []string{"quay.io/a/b" + at("x")}}, {Name: "tag", Images: []string{php80}}},
	}
	for version, want := range map[string][2][]string{
		"4.14.0-rc.1": {{}, {}}, "4.13.1": {{"jenkins"}, {}}, "4.12.70": {{"jenkins"}, {"tag"}}, "5.0.0": {{}, {}},
	} {
		dir := t.TempDir()
		toldOf(t, operated(t, version, []string{jenkinsImage, ruby30, php80, "quay.io/a/b" + at("x")}, set), to(t, "m.example"), bundle.SamplesOptions{}, dir)
		if got := patch(t, dir); !slices.Equal(got.Skipped, want[0]) || !slices.Equal(got.Templates, want[1]) {
			t.Errorf("%s: skipped are %q and %q", version, got.Skipped, got.Templates)
		}
	}
}

// TestPullsOfSamples: a cluster asks for the tags of a release's samples as its
// patch says, and for none of streams that it skips, or once all are removed.
func TestPullsOfSamples(t *testing.T) {
	t.Parallel()
	c := operated(t, "4.17.3", []string{jenkinsImage, php80, ruby30}, bundle.Samples{Architecture: "x86_64",
		Streams: []bundle.ImageStream{sampleOf(t, "jenkins", "2", jenkinsImage), sampleOf(t, "php", "8.0", php80), sampleOf(t, "ruby", "3.0", ruby30, "3.1", ruby31)}})
	for state, want := range map[string][]string{
		"": {"importer " + jenkinsImage + " jenkins:2", "samples m.example/ocp/ubi8/php-80:latest php:8.0"}, bundle.SamplesRemoved: nil,
	} {
		dir := t.TempDir()
		toldOf(t, c, to(t, "m.example/ocp"), bundle.SamplesOptions{SamplesState: state}, dir)
		cluster, err := bundle.ReadCluster(dir, "m.example", bundle.Stated{})
		check(t, err)
		var got []string
		for _, p := range cluster.Pulls(c, nil) {
			if p.Way != bundle.ByNode {
				got = append(got, p.Way+" "+p.Reference+" "+strings.Join(p.Streams, " "))
			}
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("state %v (-want +got): %s", state, diff)
		}
	}
}
