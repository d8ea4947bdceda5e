package bundle_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"airlift/bundle"
	"airlift/oci"
	"airlift/oci/ocitest"
)

const (
	httpdImage  = "registry.redhat.io/ubi9/httpd-24:latest"
	openjdk     = "registry.redhat.io/ubi8/openjdk-8:latest"
	openjdkARM  = "registry.access.redhat.com/ubi8/openjdk-8:latest"
	nodeImage   = "registry.access.redhat.com/ubi8/nodejs-18:latest"
	nodeGone    = "registry.access.redhat.com/ubi8/nodejs-16:latest"
	cacheImage  = "registry.redhat.io/jboss-datagrid-7/datagrid73-openshift"
	otherImage  = "quay.io/other/tool:1"
	goneImage   = "quay.io/other/gone:1"
	operatorDir = "opt/openshift/operator/"
)

// armSamples are those of ExampleSamples that a small architecture has, one of
// them elsewhere.
func armSamples() []ocitest.Sample {
	return []ocitest.Sample{
		{Stream: "httpd", Tag: "2.4-ubi9", Reference: httpdImage},
		{Stream: "httpd", Tag: "latest", Alias: "2.4-ubi9"},
		{Stream: "java", Tag: "8", Reference: openjdkARM},
	}
}

func x86Samples() []ocitest.Sample {
	return []ocitest.Sample{
		{Stream: "httpd", Tag: "2.4-ubi9", Reference: httpdImage},
		{Stream: "httpd", Tag: "latest", Alias: "2.4-ubi9"},
		{Stream: "java", Tag: "8", Reference: openjdk},
		{Stream: "nodejs", Tag: "18-ubi8", Reference: nodeImage},
		{Stream: "nodejs", Tag: "16-ubi8", Reference: nodeGone, Missing: true},
	}
}

// operatorFiles are those of a samples operator, with templates.
func operatorFiles(samples map[string][]ocitest.Sample) map[string]string {
	files := map[string]string{}
	for arch, list := range samples {
		maps.Copy(files, ocitest.SampleFiles(arch, list))
		for _, t := range []struct {
			name   string
			tags   []string
			images []string
		}{
			{"cache-service", nil, []string{cacheImage}}, {"httpd-example", []string{"httpd:latest"}, nil},
			{"node-and-java", []string{"nodejs:18-ubi8", "java:8"}, []string{otherImage}},
			{"empty", nil, nil}, {"gone", []string{"cli:latest"}, []string{goneImage}},
		} {
			path, content := ocitest.TemplateFile(arch, t.name, t.tags, t.images...)
			files[path] = content
		}
	}
	return files
}

// sampled is a registry with a release that has samples, and with their images.
func sampled(t testing.TB, files map[string]string, opts ocitest.ReleaseOpts) (*ocitest.Registry, ocitest.Release) {
	t.Helper()
	var release ocitest.Release
	near := source(t, func(b *ocitest.Builder) {
		release = b.Release(sampledOpts(files, opts))
		b.Samples(slices.Concat(x86Samples(), armSamples(), []ocitest.Sample{{Reference: cacheImage}, {Reference: otherImage}}), nil)
	})
	return near, release
}

func sampledOpts(files map[string]string, opts ocitest.ReleaseOpts) ocitest.ReleaseOpts {
	if opts.Components == nil {
		opts.Components = []string{"cli", "cluster-samples-operator"}
	}
	opts.Files = map[string]map[string]string{"cluster-samples-operator": files}
	return opts
}

var twoArchitectures = map[string][]ocitest.Sample{"x86_64": x86Samples(), "aarch64": armSamples()}

// outline is what a content says of samples, in short: a line for each set, with
// streams and templates, those that are left out in parentheses.
func outline(c *bundle.Content) []string {
	var lines []string
	word := func(name string, out bool, needs ...string) string {
		if len(needs) > 0 {
			name += "[" + strings.Join(needs, " ") + "]"
		}
		if out {
			return "(" + name + ")"
		}
		return name
	}
	for _, s := range c.Samples {
		words := []string{s.Architecture}
		for _, stream := range s.Streams {
			var tags []string
			for _, tag := range stream.Tags {
				tags = append(tags, tag.Name)
			}
			for _, a := range stream.Aliases {
				tags = append(tags, a.Name+"="+a.Tag)
			}
			words = append(words, word(stream.Name, stream.LeftOut, tags...))
		}
		words = append(words, "+")
		for _, t := range s.Templates {
			words = append(words, word(t.Name, t.LeftOut))
		}
		lines = append(lines, strings.Join(words, " "))
	}
	return lines
}

// samplesCarried are the references of a content that are no release's, carried
// or missing.
func samplesCarried(c *bundle.Content) []string {
	var all []string
	for _, i := range c.Images {
		if !strings.Contains(i.Reference, "openshift-release-dev") {
			all = append(all, strings.TrimSuffix(i.Reference, ":latest"))
		}
	}
	for _, m := range c.Missing {
		all = append(all, "-"+strings.TrimSuffix(m.Reference, ":latest"))
	}
	slices.Sort(all)
	return all
}

// TestSamplesOfRelease: what the release's own samples operator has decides what
// is carried; what is left out by choice is listed all the same.
func TestSamplesOfRelease(t *testing.T) {
	t.Parallel()
	near, release := sampled(t, operatorFiles(twoArchitectures), ocitest.ReleaseOpts{})
	c := client(t, near.Host)
	short := func(s string) string { return strings.TrimSuffix(s, ":latest") }
	httpd, java, javaARM, node, gone16 := short(httpdImage), short(openjdk), short(openjdkARM), short(nodeImage), "-"+short(nodeGone)
	gone := "-" + goneImage
	const streams = "x86_64 httpd[2.4-ubi9 latest=2.4-ubi9] java[8] nodejs[16-ubi8 18-ubi8] + cache-service empty gone httpd-example node-and-java"
	const arm = "aarch64 httpd[2.4-ubi9 latest=2.4-ubi9] java[8] + cache-service empty gone httpd-example node-and-java"
	for name, test := range map[string]struct {
		request bundle.SamplesRequest
		lines   []string
		images  []string
	}{
		"the release's own": {bundle.SamplesRequest{}, []string{streams}, []string{gone, gone16, otherImage, node, cacheImage, java, httpd}},
		"another":           {bundle.SamplesRequest{Architectures: []string{"aarch64"}}, []string{arm}, []string{gone, otherImage, javaARM, cacheImage, httpd}},
		"all":               {bundle.SamplesRequest{All: true}, []string{arm, streams}, []string{gone, gone16, otherImage, node, javaARM, cacheImage, java, httpd}},
		"one included": {bundle.SamplesRequest{Include: []string{"htt*"}},
			[]string{"x86_64 httpd[2.4-ubi9 latest=2.4-ubi9] (java[8]) (nodejs[16-ubi8 18-ubi8]) + (cache-service) (empty) (gone) httpd-example (node-and-java)"}, []string{httpd}},
		"two excluded": {bundle.SamplesRequest{Exclude: []string{"node?s", "gone", "cache-service"}},
			[]string{"x86_64 httpd[2.4-ubi9 latest=2.4-ubi9] java[8] (nodejs[16-ubi8 18-ubi8]) + (cache-service) empty (gone) httpd-example (node-and-java)"}, []string{java, httpd}},
		"included but excluded": {bundle.SamplesRequest{Include: []string{"j*", "nodejs"}, Exclude: []string{"nodejs"}},
			[]string{"x86_64 (httpd[2.4-ubi9 latest=2.4-ubi9]) java[8] (nodejs[16-ubi8 18-ubi8]) + (cache-service) (empty) (gone) (httpd-example) (node-and-java)"}, []string{java}},
		"a template by its name": {bundle.SamplesRequest{Include: []string{"cache-*"}},
			[]string{"x86_64 (httpd[2.4-ubi9 latest=2.4-ubi9]) (java[8]) (nodejs[16-ubi8 18-ubi8]) + cache-service (empty) (gone) (httpd-example) (node-and-java)"}, []string{cacheImage}},
	} {
		got := plan(t, c, bundle.Request{Releases: references(t, release.Reference), Samples: &test.request})
		if diff := gocmp.Diff(test.lines, outline(got)); diff != "" {
			t.Errorf("%s (-want +got): %s", name, diff)
		}
		slices.Sort(test.images)
		if diff := gocmp.Diff(test.images, samplesCarried(got)); diff != "" {
			t.Errorf("%s: images (-want +got): %s", name, diff)
		}
		if got.Samples[0].Release != "quay.io/openshift-release-dev/ocp-release@"+release.Descriptor.Digest.String() {
			t.Errorf("%s: samples of %s", name, got.Samples[0].Release)
		}
		inventory(t, got, 0)
	}
	if got := plan(t, c, bundle.Request{Releases: references(t, release.Reference)}); got.Samples != nil || len(samplesCarried(got)) > 0 {
		t.Errorf("nobody asked for %v", samplesCarried(got))
	}
}

// TestSamplesOfMulti: a release for several architectures has the samples of all,
// of those that were asked for, or none that there are not.
func TestSamplesOfMulti(t *testing.T) {
	t.Parallel()
	near, release := sampled(t, operatorFiles(twoArchitectures), ocitest.ReleaseOpts{Multi: true})
	c := client(t, near.Host)
	amd, arm, power := oci.Platform{OS: "linux", Architecture: "amd64"}, oci.Platform{OS: "linux", Architecture: "arm64"}, oci.Platform{OS: "linux", Architecture: "ppc64le"}
	for _, test := range []struct {
		archs     []string
		platforms []oci.Platform
		want      []string
		refused   string
	}{
		{want: []string{"aarch64", "x86_64"}},
		{archs: []string{"x86_64", "aarch64", "x86_64"}, want: []string{"aarch64", "x86_64"}},
		{archs: []string{"aarch64"}, want: []string{"aarch64"}},
		{platforms: []oci.Platform{amd}, want: []string{"x86_64"}},
		{platforms: []oci.Platform{amd, power}, want: []string{"x86_64"}},
		{archs: []string{"aarch64"}, platforms: []oci.Platform{amd, arm}, want: []string{"aarch64"}},
		{archs: []string{"aarch64"}, platforms: []oci.Platform{amd, power}, refused: "its samples for aarch64 are asked for, and images are carried for linux/amd64 or linux/ppc64le only"},
		{platforms: []oci.Platform{power}, refused: "it has samples for aarch64, x86_64, and images are carried for linux/ppc64le only"},
		{archs: []string{"s390x"}, refused: "it has no samples for s390x, only for aarch64, x86_64"},
	} {
		r := bundle.Request{Releases: references(t, release.Reference), Platforms: test.platforms, Samples: &bundle.SamplesRequest{Architectures: test.archs}}
		if test.refused != "" {
			_, err := bundle.Plan(t.Context(), c, r)
			wantError(t, err, bundle.ErrUsage, "read the samples of release 4.17.3: ", test.refused)
			continue
		}
		var got []string
		for _, s := range plan(t, c, r).Samples {
			got = append(got, s.Architecture)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s, %s: got %s", test.archs, test.platforms, got)
		}
	}
	_, err := bundle.Plan(t.Context(), c, bundle.Request{Releases: references(t, release.Reference), Platforms: []oci.Platform{amd}, Samples: &bundle.SamplesRequest{All: true}})
	wantError(t, err, bundle.ErrUsage, "its samples for aarch64 are asked for")
}

// TestUnnamable: what no image can be named keeps nothing from being carried that was
// not asked for. A stream that is left out is told by its name then, so that it is
// skipped.
func TestUnnamable(t *testing.T) {
	t.Parallel()
	files := operatorFiles(map[string][]ocitest.Sample{"x86_64": x86Samples()})
	maps.Copy(files, ocitest.SampleFiles("x86_64", []ocitest.Sample{{Stream: "odd", Tag: "1", Reference: httpdImage}, {Stream: "odd", Tag: "2", Reference: "https://a"}}))
	path, content := ocitest.TemplateFile("x86_64", "strange", []string{"java:8"}, "quay.io/A/b", cacheImage)
	files[path] = content
	near, release := sampled(t, files, ocitest.ReleaseOpts{})
	r := bundle.Request{Releases: references(t, release.Reference), Samples: &bundle.SamplesRequest{Include: []string{"httpd", "cache-service"}}}
	c := plan(t, client(t, near.Host), r)
	if diff := gocmp.Diff([]string{"x86_64 httpd[2.4-ubi9 latest=2.4-ubi9] (java[8]) (nodejs[16-ubi8 18-ubi8]) (odd) + cache-service (empty) (gone) httpd-example (node-and-java) (strange)"}, outline(c)); diff != "" {
		t.Errorf("(-want +got): %s", diff)
	}
	inventory(t, c, 0)
	for _, asked := range []string{"odd", "java"} {
		r.Samples.Include = []string{asked}
		_, err := bundle.Plan(t.Context(), client(t, near.Host), r)
		wantError(t, err, nil, map[string]string{"odd": "imagestream odd:2", "java": "template strange"}[asked])
	}
}

// TestSamplesOfTwoReleases: each has its own, under whatever name it was asked for.
func TestSamplesOfTwoReleases(t *testing.T) {
	t.Parallel()
	var one, two ocitest.Release
	near := source(t, func(b *ocitest.Builder) {
		one = b.Release(sampledOpts(operatorFiles(map[string][]ocitest.Sample{"x86_64": armSamples()}), ocitest.ReleaseOpts{Version: "4.16.9"}))
		two = b.Release(sampledOpts(operatorFiles(map[string][]ocitest.Sample{"x86_64": x86Samples()}), ocitest.ReleaseOpts{Version: "4.17.3"}))
		b.Samples(slices.Concat(x86Samples(), armSamples()), nil)
	})
	request := bundle.Request{
		Releases: references(t, one.Reference, two.Reference, "quay.io/openshift-release-dev/ocp-release@"+two.Descriptor.Digest.String()),
		Samples:  &bundle.SamplesRequest{},
	}
	c := plan(t, client(t, near.Host), request)
	streams := map[string]int{}
	for _, s := range c.Samples {
		streams[s.Release] = len(s.Streams)
	}
	want := map[string]int{}
	for digest, n := range map[string]int{one.Descriptor.Digest.String(): 2, two.Descriptor.Digest.String(): 3} {
		want["quay.io/openshift-release-dev/ocp-release@"+digest] = n
	}
	if diff := gocmp.Diff(want, streams); diff != "" || len(c.Samples) != 2 {
		t.Errorf("streams by release (-want +got): %s", diff)
	}
	inventory(t, c, 0)
}

// TestHostileSamples: whatever a samples operator's image holds, it is read
// within limits, or refused with the release and the file.
func TestHostileSamples(t *testing.T) {
	t.Parallel()
	good := operatorFiles(map[string][]ocitest.Sample{"x86_64": x86Samples()})
	at := func(product string) string {
		return operatorDir + "x86_64/" + product + "/imagestreams/" + product + ".json"
	}
	with := func(path, content string) map[string]string {
		files := maps.Clone(good)
		files[path] = content
		return files
	}
	many := map[string]string{}
	for i := range 20_001 {
		many[at(fmt.Sprint("a", i))] = "{}"
	}
	filler := strings.Repeat(" ", 4<<20-10)
	large := map[string]string{}
	for i := range 17 {
		large[at(fmt.Sprint("a", i))] = "{}" + filler
	}
	near := source(t, func(*ocitest.Builder) {})
	b, c := near.Builder(), client(t, near.Host)
	refuse := func(name string, opts ocitest.ReleaseOpts, r bundle.SamplesRequest, class error, says ...string) {
		opts.Version = "4.17." + fmt.Sprint(len(name)) // of the release's tag
		release := b.Release(opts)
		check(t, b.Err())
		_, err := bundle.Plan(t.Context(), c, bundle.Request{Releases: references(t, release.Reference), Samples: &r})
		if err == nil {
			t.Errorf("%s: was taken", name)
			return
		}
		wantError(t, err, class, says...)
	}
	for name, test := range map[string]struct {
		files map[string]string
		says  string
	}{
		"a huge file":      {with(at("big"), "{}"+filler+filler), "x86_64/big/imagestreams/big.json: it has more than 4194304 bytes"},
		"too much":         {large, "more than 67108864 bytes in all files"},
		"too many":         {many, "more than 20000 files"},
		"no JSON":          {with(at("bad"), "kind: ImageStream"), "bad.json: not JSON"},
		"a key twice":      {with(at("twice"), `{"kind": "ImageStream", "kind": "ImageStream"}`), "twice.json: "},
		"nested deep":      {with(at("deep"), strings.Repeat("[", 200)+strings.Repeat("]", 200)), "deep.json: nested deeper"},
		"another kind":     {with(at("other"), `{"kind": "Pod", "apiVersion": "v1"}`), "it is a Pod"},
		"a name with /":    {with(at("a"), `{"kind": "ImageStream", "apiVersion": "v1", "metadata": {"name": "../a"}}`), "is not a name of an imagestream"},
		"a bad reference":  {with(at("a"), `{"kind": "ImageStream", "apiVersion": "v1", "metadata": {"name": "a"}, "spec": {"tags": [{"name": "x", "from": {"kind": "DockerImage", "name": "https://a"}}]}}`), "imagestream a:x"},
		"nothing in it":    {map[string]string{"etc/passwd": "x"}, "has no samples in it"},
		"another place":    {map[string]string{"opt/openshift/operator/x86_64/imagestreams/a.json": "{}"}, "has no samples in it"},
		"a bad template":   {with(operatorDir+"x86_64/a/templates/a.json", `{"kind": "Template", "apiVersion": "v1", "metadata": {"name": "a b"}}`), "is not a name of a template"},
		"a bad image":      {with(operatorDir+"x86_64/a/templates/a.json", `{"kind": "Template", "apiVersion": "v1", "metadata": {"name": "a"}, "objects": [{"containers": [{"image": "quay.io/A/b"}]}]}`), "template a"},
		"bad architecture": {map[string]string{"opt/openshift/operator/s390x/a/imagestreams/a.json": "{}"}, "no samples for x86_64, only for s390x"},
	} {
		refuse(name, sampledOpts(test.files, ocitest.ReleaseOpts{}), bundle.SamplesRequest{}, nil, "read the samples of release 4.17.", test.says)
	}
	refuse("without operator", ocitest.ReleaseOpts{Components: []string{"cli"}}, bundle.SamplesRequest{}, nil, "it has no component cluster-samples-operator")
	refuse("a typing error", sampledOpts(good, ocitest.ReleaseOpts{}), bundle.SamplesRequest{Include: []string{"httpd", "pyton*"}}, bundle.ErrUsage, `no sample is named "pyton*"`)
	refuse("a typing  error", sampledOpts(good, ocitest.ReleaseOpts{}), bundle.SamplesRequest{Exclude: []string{"pyton"}}, bundle.ErrUsage, `no sample is named "pyton"`)
}

// TestSamplesTwiceInOperator: of two files with one stream the one of the later
// product counts, as in the operator.
func TestSamplesTwiceInOperator(t *testing.T) {
	t.Parallel()
	files := operatorFiles(map[string][]ocitest.Sample{"x86_64": x86Samples()})
	other := ocitest.SampleFiles("x86_64", []ocitest.Sample{{Stream: "httpd", Tag: "other", Reference: nodeImage}})
	files[operatorDir+"x86_64/zzz/imagestreams/httpd.json"] = other[operatorDir+"x86_64/httpd/imagestreams/httpd.json"]
	near, release := sampled(t, files, ocitest.ReleaseOpts{})
	c := plan(t, client(t, near.Host), bundle.Request{Releases: references(t, release.Reference), Samples: &bundle.SamplesRequest{Include: []string{"httpd"}}})
	if got := samplesCarried(c); !slices.Equal(got, []string{strings.TrimSuffix(nodeImage, ":latest")}) {
		t.Errorf("carried are %s", got)
	}
}

// TestRequestOfSamples: whoever asks for other samples asks for something else;
// the order does not count.
func TestRequestOfSamples(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for name, r := range map[string]*bundle.SamplesRequest{
		"none": nil, "all": {}, "some": {Include: []string{"a", "b"}}, "but some": {Exclude: []string{"a", "b"}},
		"an architecture": {Architectures: []string{"x86_64"}}, "two": {Architectures: []string{"x86_64", "aarch64"}}, "united": {All: true},
	} {
		d := bundle.Request{Samples: r}.Digest(0).String()
		if other := seen[d]; other != "" {
			t.Errorf("%s and %s are the same request", name, other)
		}
		seen[d] = name
	}
	again := bundle.Request{Samples: &bundle.SamplesRequest{Include: []string{"b", "a", "b"}}}
	if seen[again.Digest(0).String()] != "some" {
		t.Error("another order is another request")
	}
}
