package bundle_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"airlift/bundle"
	"airlift/manifest"
	"airlift/oci/ocitest"
)

// entriesOf are those of a file of a mirror set, as lines.
func entriesOf(t testing.TB, dir, file string) []string {
	t.Helper()
	set, err := manifest.ParseMirrorSet(readFile(t, filepath.Join(dir, file)))
	check(t, err)
	var lines []string
	for _, m := range set.Mirrors {
		lines = append(lines, strings.TrimSpace(m.Source+" "+strings.Join(m.Mirrors, " ")+" "+m.Policy))
	}
	return lines
}

func wantEntries(t *testing.T, dir, file string, want ...string) {
	t.Helper()
	if diff := gocmp.Diff(want, entriesOf(t, dir, file)); diff != "" {
		t.Errorf("%s (-want +got): %s", file, diff)
	}
}

// addEntry adds an entry to a file of a mirror set, as a person would.
func addEntry(t *testing.T, dir, file string, m manifest.Mirror) {
	t.Helper()
	path := filepath.Join(dir, file)
	set, err := manifest.ParseMirrorSet(readFile(t, path))
	check(t, err)
	set.Mirrors = append(set.Mirrors, m)
	text, err := set.YAML()
	check(t, err)
	writeFile(t, path, text)
}

// TestWiderScopeLater: sources that were there give way to the wider one that
// stands for them, and stay where it does not.
func TestWiderScopeLater(t *testing.T) {
	t.Parallel()
	p := to(t, "m.example/ocp")
	r, err := assumed(t, contentOf(t, "quay.io/team/app:v1", "quay.io/team/lib"+at("lib"), "quay.io/else/app:v1"), p)
	check(t, err)
	dir := writeObjects(t, r)
	addEntry(t, dir, bundle.IDMSFile, manifest.Mirror{Source: "quay.io/else/theirs", Mirrors: []string{"other.example/x"}})
	r, err = assumed(t, contentOf(t, "quay.io/team/new:v1"), p)
	check(t, err)
	r.Options.Scope = manifest.NamespaceScope
	o, err := r.Objects(dir)
	check(t, err)
	check(t, o.Write())
	want := []string{"quay.io/else/app m.example/ocp/else/app", "quay.io/else/theirs other.example/x", "quay.io/team m.example/ocp/team"}
	wantEntries(t, dir, bundle.IDMSFile, want...)
	wantEntries(t, dir, bundle.ITMSFile, want...)
	changes := []manifest.Change{{Source: "quay.io/team", What: manifest.Added}, {Source: "quay.io/team/app", What: manifest.Removed}, {Source: "quay.io/team/lib", What: manifest.Removed}}
	if diff := gocmp.Diff(changes, o.Changes[bundle.IDMSFile]); diff != "" {
		t.Errorf("changes (-want +got): %s", diff)
	}
	if !slices.Contains(o.Drains, "quay.io/team/app leaves") {
		t.Errorf("nodes are drained for %q", o.Drains)
	}
	if len(o.Warnings) != 1 || !strings.HasPrefix(o.Warnings[0], "quay.io/else cannot be one source: ") {
		t.Errorf("warned of %q", o.Warnings)
	}
	// It is the scope of later imports, if they do not say another.
	r, err = assumed(t, contentOf(t, "quay.io/team/third"+at("3"), "quay.io/fourth/app:v1"), p)
	check(t, err)
	o, err = r.Objects(dir)
	check(t, err)
	check(t, o.Write())
	if want := (bundle.MirrorOptions{Scope: manifest.NamespaceScope}); o.Chosen != want {
		t.Errorf("an earlier import chose %v", o.Chosen)
	}
	wantEntries(t, dir, bundle.IDMSFile, append([]string{"quay.io/else/app m.example/ocp/else/app", "quay.io/else/theirs other.example/x", "quay.io/fourth m.example/ocp/fourth"}, want[2:]...)...)
	// Of a narrower one the wider source stays, for the earlier ones are in it.
	r, err = assumed(t, contentOf(t, "quay.io/team/fifth"+at("5")), p)
	check(t, err)
	r.Options.Scope = manifest.RepositoryScope
	_, err = r.WriteObjects(dir)
	check(t, err)
	if got := entriesOf(t, dir, bundle.ITMSFile); !slices.Contains(got, "quay.io/team m.example/ocp/team") || !slices.Contains(got, "quay.io/team/fifth m.example/ocp/team/fifth") {
		t.Errorf("tags are looked for by %q: the source of a digest hides the wider one", got)
	}
}

// chosen is the report of an import of images for which mirror sets were chosen so.
func chosen(t *testing.T, p bundle.Placement, o bundle.MirrorOptions, images ...string) *bundle.Report {
	t.Helper()
	r, err := assumed(t, contentOf(t, images...), p)
	check(t, err)
	r.Options.MirrorOptions = o
	return r
}

// TestPolicyStays: what earlier sources got does not change by an import that says
// nothing of it.
func TestPolicyStays(t *testing.T) {
	t.Parallel()
	p := to(t, "m.example/ocp")
	of := func(policy string, images ...string) *bundle.Report {
		return chosen(t, p, bundle.MirrorOptions{Policy: policy}, images...)
	}
	dir := writeObjects(t, of(manifest.NeverContactSource, "quay.io/team/app:v1"))
	for range 2 { // the second time with a report of an import that did not say it
		o, err := of("", "quay.io/team/lib:v1").Objects(dir)
		check(t, err)
		check(t, o.Write())
		if want := (bundle.MirrorOptions{Policy: manifest.NeverContactSource}); o.Chosen != want {
			t.Errorf("an earlier import chose %v", o.Chosen)
		}
		for _, file := range []string{bundle.IDMSFile, bundle.ITMSFile} {
			wantEntries(t, dir, file, "quay.io/team/app m.example/ocp/team/app NeverContactSource", "quay.io/team/lib m.example/ocp/team/lib NeverContactSource")
		}
	}
	old := of("", "quay.io/team/lib:v1")
	old.Options.ICSP = bundle.ICSPAlso
	wantError(t, old.Check(dir), bundle.ErrPolicyOfICSP)
	o, err := of(manifest.AllowContactingSource, "quay.io/team/lib:v1").Objects(dir)
	check(t, err)
	check(t, o.Write())
	if o.Chosen != (bundle.MirrorOptions{}) {
		t.Errorf("an earlier import chose %v", o.Chosen)
	}
	wantEntries(t, dir, bundle.IDMSFile, "quay.io/team/app m.example/ocp/team/app AllowContactingSource", "quay.io/team/lib m.example/ocp/team/lib AllowContactingSource")

	file := filepath.Join(dir, bundle.ReportFile)
	whole := string(readFile(t, file))
	for was, is := range map[string]string{
		`"mirrorSourcePolicy": "AllowContactingSource"`: `"mirrorSourcePolicy": "Never"`,
		`"name": "airlift-m.example"`:                   `"name": "airlift-m.example", "scope": "host"`,
		`"to": "m.example/ocp"`:                         `"to": "m.example/ocp", "icsp": "-only"`,
	} {
		writeFile(t, file, []byte(strings.Replace(whole, was, is, 1)))
		_, err := bundle.ReadReport(file)
		wantError(t, err, nil, file, "options: ", "which is none of")
	}
}

// TestWhatNeverCutsOff: who keeps nodes from a source keeps them from what lies below
// it as well.
func TestWhatNeverCutsOff(t *testing.T) {
	t.Parallel()
	for policy, want := range map[string]int{"": 0, manifest.NeverContactSource: 1} {
		r, err := assumed(t, contentOf(t, "quay.io/team/app:v1", "quay.io/team/app/own:v1"), to(t, "m.example/ocp"))
		check(t, err)
		r.Options.Policy, r.Options.Others = policy, []manifest.MirrorSet{}
		for _, reference := range []string{"quay.io/team/app/sub:v1", "quay.io/team/app:v2", "quay.io/team/apple:v1"} {
			r.Images = append(r.Images, bundle.ImageResult{Reference: reference, State: bundle.StateSkipped})
		}
		o, err := r.Objects(t.TempDir())
		check(t, err)
		if len(o.Warnings) != want || want > 0 && o.Warnings[0] != "nodes may not contact the sources of what was not carried: quay.io/team/app/sub:v1, quay.io/team/app:v2" {
			t.Errorf("%s: warned of %q", policy, o.Warnings)
		}
	}
}

// TestHandWrittenTagMirrorIsNotHidden: a source for digests alone inside of one
// for tags would take its mirrors from it.
func TestHandWrittenTagMirrorIsNotHidden(t *testing.T) {
	t.Parallel()
	p := to(t, "m.example/ocp")
	r, err := assumed(t, contentOf(t, "quay.io/team/app:v1"), p)
	check(t, err)
	dir := writeObjects(t, r)
	addEntry(t, dir, bundle.ITMSFile, manifest.Mirror{Source: "quay.io/o", Mirrors: []string{"m.example/proxy/o"}})
	r, err = assumed(t, contentOf(t, "quay.io/o/art"+at("1"), "example.com/o/art"+at("1")), p)
	check(t, err)
	_, err = r.WriteObjects(dir)
	check(t, err)
	wantEntries(t, dir, bundle.IDMSFile, "example.com/o/art m.example/ocp/o/art", "quay.io/o/art m.example/ocp/o/art", "quay.io/team/app m.example/ocp/team/app")
	wantEntries(t, dir, bundle.ITMSFile, "quay.io/o m.example/proxy/o", "quay.io/o/art m.example/ocp/o/art", "quay.io/team/app m.example/ocp/team/app")
}

// TestPolicyForOldClusters is cumulative as the mirror sets are, and does not mix
// with them unless that was said.
func TestPolicyForOldClusters(t *testing.T) {
	t.Parallel()
	p := to(t, "m.example/ocp")
	of := func(form string, images ...string) *bundle.Report {
		return chosen(t, p, bundle.MirrorOptions{ICSP: form}, images...)
	}
	dir := writeObjects(t, of(bundle.ICSPOnly, "quay.io/team/app:v1"))
	addEntry(t, dir, bundle.ICSPFile, manifest.Mirror{Source: "example.com/theirs", Mirrors: []string{"m.example/theirs"}})
	_, err := of(bundle.ICSPOnly, "quay.io/team/lib"+at("1")).WriteObjects(dir)
	check(t, err)
	both := []string{"example.com/theirs m.example/theirs", "quay.io/team/app m.example/ocp/team/app", "quay.io/team/lib m.example/ocp/team/lib"}
	wantEntries(t, dir, bundle.ICSPFile, both...)
	o, err := of("", "quay.io/team/app:v2").Objects(dir)
	check(t, err)
	if want := []string{bundle.ICSPFile, bundle.RegistriesFile, bundle.ReportFile}; !slices.Equal(o.Files(), want) || o.Chosen.ICSP != bundle.ICSPOnly {
		t.Errorf("an import that says nothing of it writes %q", o.Files())
	}
	if want := []string{"an ImageContentSourcePolicy has no mirrors for tags: nodes look for these at their sources alone, unless they are asked for by digest: quay.io/team/app:v1, quay.io/team/app:v2"}; !slices.Equal(o.Warnings, want) {
		t.Errorf("warned of %q", o.Warnings)
	}
	o, err = of(bundle.ICSPOnly, "quay.io/other/lib"+at("1")).Objects(t.TempDir())
	check(t, err)
	if len(o.Warnings) > 0 {
		t.Errorf("warned of %q, without tags", o.Warnings)
	}
	_, err = of(bundle.ICSPNo, "quay.io/team/lib"+at("1")).WriteObjects(dir)
	wantError(t, err, bundle.ErrOtherKind)
	also, err := of(bundle.ICSPAlso, "quay.io/team/lib"+at("1")).WriteObjects(dir)
	check(t, err)
	wantEntries(t, dir, bundle.IDMSFile, both...)
	wantEntries(t, dir, bundle.ITMSFile, both[1])
	wantEntries(t, dir, bundle.ICSPFile, both...)
	if want := []string{bundle.ICSPFile, bundle.IDMSFile, bundle.ITMSFile, bundle.RegistriesFile, bundle.ReportFile}; !slices.Equal(also.Files(), want) {
		t.Errorf("written are %q", also.Files())
	}
	_, err = of(bundle.ICSPOnly, "quay.io/team/lib"+at("1")).WriteObjects(dir)
	wantError(t, err, bundle.ErrOtherKind)

	allowed := of(bundle.ICSPAlso, "quay.io/team/app:v1")
	allowed.Options.Policy = manifest.AllowContactingSource
	dir = writeObjects(t, allowed)
	wantEntries(t, dir, bundle.IDMSFile, "quay.io/team/app m.example/ocp/team/app AllowContactingSource")
	wantEntries(t, dir, bundle.ICSPFile, "quay.io/team/app m.example/ocp/team/app")
	check(t, os.Remove(filepath.Join(dir, bundle.ICSPFile)))
	_, err = of(bundle.ICSPNo, "quay.io/team/lib"+at("1")).WriteObjects(dir)
	check(t, err)
	if o, err := of("", "quay.io/team/lib"+at("1")).Objects(dir); err != nil || slices.Contains(o.Files(), bundle.ICSPFile) {
		t.Errorf("what is no more is written again: %v, %v", o, err)
	}
	never := of(bundle.ICSPOnly, "quay.io/team/app:v1")
	never.Options.Policy = manifest.NeverContactSource
	wantError(t, never.Check(t.TempDir()), bundle.ErrUsage, "cannot be said in an ImageContentSourcePolicy")
}

// TestConfigDrains: a registry that becomes insecure drains the nodes, one that
// is so already does not. Nodes know that it is.
func TestConfigDrains(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		config bundle.ClusterConfig
		want   []string
	}{
		{bundle.ClusterConfig{}, nil},
		{bundle.ClusterConfig{Insecure: true}, []string{"m.example becomes insecure"}},
		{bundle.ClusterConfig{Insecure: true, ImageConfig: &manifest.ImageConfig{Insecure: []string{"m.example"}}}, nil},
		{bundle.ClusterConfig{Insecure: true, ImageConfig: &manifest.ImageConfig{Insecure: []string{"n.example"}}}, []string{"m.example becomes insecure"}},
	} {
		r, err := assumed(t, contentOf(t, "quay.io/team/app:v1"), to(t, "m.example/ocp"))
		check(t, err)
		r.Options.Config = c.config
		dir := t.TempDir()
		o, err := r.Objects(dir)
		check(t, err)
		check(t, o.Write())
		if diff := gocmp.Diff(c.want, o.ConfigDrains); diff != "" {
			t.Errorf("%+v (-want +got): %s", c.config, diff)
		}
		conf := string(readFile(t, filepath.Join(dir, bundle.RegistriesFile)))
		if got := strings.Contains(conf, "location = \"m.example/ocp/team/app\"\n    insecure = true"); got != c.config.Insecure {
			t.Errorf("%+v: nodes have\n%s", c.config, conf)
		}
	}
}

// TestPrune: what the registry has no more leaves the report and the objects:
// sources, single places of one, and a wide source with the last that it stood for.
func TestPrune(t *testing.T) {
	t.Parallel()
	near := source(t, func(b *ocitest.Builder) {
		for _, name := range []string{"team/gone", "team/moved", "team/stays", "else/gone"} {
			b.ZstdImage(name, "v1")
		}
	})
	far := ocitest.StartRegistry(t)
	c := client(t, near.Host, far.Host)
	content := plan(t, c, bundle.Request{Images: references(t, "quay.io/team/gone:v1", "quay.io/team/moved:v1", "quay.io/team/stays:v1", "quay.io/else/gone:v1")})
	m := export(t, c, inventory(t, content, 0))
	digests := map[string]bundle.Image{}
	for _, image := range content.Images {
		digests[image.Reference] = image
	}
	carried := func(p bundle.Placement, scope, dir string) *bundle.Report {
		cluster, err := bundle.ParseClusterLocation("m.example/ocp")
		check(t, err)
		p.Cluster = cluster
		results, err := m.open(t).Import(t.Context(), c, bundle.ImportOptions{Placement: p})
		check(t, err)
		o := bundle.NewObjectOptions(p, "", "")
		o.Scope = scope
		r := m.open(t).Report(results, o)
		_, err = r.WriteObjects(dir)
		check(t, err)
		return r
	}
	narrow, wide := t.TempDir(), t.TempDir()
	carried(to(t, far.Host+"/ocp"), "", narrow)
	carried(mapped(t, far.Host+"/ocp", "quay.io/team/moved=new/place"), "", narrow)
	carried(to(t, far.Host+"/ocp"), manifest.NamespaceScope, wide)
	for _, dir := range []string{narrow, wide} {
		addEntry(t, dir, bundle.IDMSFile, manifest.Mirror{Source: "example.com/theirs", Mirrors: []string{"m.example/theirs"}})
	}
	addEntry(t, narrow, bundle.IDMSFile, manifest.Mirror{Source: "quay.io/else", Mirrors: []string{"proxy.example/quay"}})
	b := far.Builder()
	for path, reference := range map[string]string{"ocp/team/gone": "quay.io/team/gone:v1", "ocp/team/moved": "quay.io/team/moved:v1", "ocp/else/gone": "quay.io/else/gone:v1"} {
		b.DeleteManifest(path, digests[reference].Digest)
	}
	check(t, b.Err())

	pruned := func(dir string) []string {
		r, err := bundle.ReadReport(filepath.Join(dir, bundle.ReportFile))
		check(t, err)
		gone, err := r.Prune(t.Context(), c, dir)
		check(t, err)
		_, err = r.WriteObjects(dir)
		check(t, err)
		return gone
	}
	if got := pruned(narrow); !slices.Equal(got, []string{"quay.io/else/gone:v1", "quay.io/team/gone:v1"}) {
		t.Errorf("gone are %q", got)
	}
	wantEntries(t, narrow, bundle.IDMSFile, "example.com/theirs m.example/theirs", "quay.io/else proxy.example/quay", "quay.io/team/moved m.example/ocp/new/place", "quay.io/team/stays m.example/ocp/team/stays")
	wantEntries(t, narrow, bundle.ITMSFile, "quay.io/team/moved m.example/ocp/new/place", "quay.io/team/stays m.example/ocp/team/stays")
	if got := pruned(wide); len(got) != 3 {
		t.Errorf("gone are %q", got)
	}
	wantEntries(t, wide, bundle.IDMSFile, "example.com/theirs m.example/theirs", "quay.io/team m.example/ocp/team")
	if got := pruned(wide); len(got) != 0 {
		t.Errorf("gone are, once more, %q", got)
	}
	again, err := bundle.ReadReport(filepath.Join(narrow, bundle.ReportFile))
	check(t, err)
	if len(again.Held) != 2 || len(again.Held[0].Names) != 1 || len(again.Held[0].Mirrors) != 1 {
		t.Errorf("held are %+v", again.Held)
	}
	again.Held[0].Names[0] = "m.example:5000/without/tag"
	check(t, again.Write(wide)) // with what lies there
	_, err = bundle.ReadReport(filepath.Join(wide, bundle.ReportFile))
	wantError(t, err, nil, "m.example:5000/without/tag", "without a tag")
}

// TestPruneByDigest: an image that is pulled by digest is there as long as its
// digest is, whatever became of its tag; one that is pulled by tag is not.
func TestPruneByDigest(t *testing.T) {
	t.Parallel()
	near := source(t, func(b *ocitest.Builder) { b.ZstdImage("team/app", "v1"); b.ZstdImage("team/other", "v1") })
	far := ocitest.StartRegistry(t)
	c := client(t, near.Host, far.Host)
	_, raw := near.Builder().Manifest("team/app", "v1")
	pinned := "quay.io/team/app@" + digest.FromBytes(raw).String()
	content := plan(t, c, bundle.Request{Images: references(t, pinned, "quay.io/team/other:v1")})
	m := export(t, c, inventory(t, content, 0))
	p := to(t, far.Host)
	results, err := m.open(t).Import(t.Context(), c, bundle.ImportOptions{Placement: p})
	check(t, err)
	r := m.open(t).Report(results, bundle.NewObjectOptions(p, "", ""))
	for i, h := range r.Held { // tags that never were
		r.Held[i].Names = []string{h.Mirrors[0] + ":gone"}
	}
	dir := writeObjects(t, r)
	if gone, err := r.Prune(t.Context(), c, dir); err != nil || len(gone) > 0 {
		t.Errorf("what the import brought itself is asked for: %q, %v", gone, err)
	}
	r, err = bundle.ReadReport(filepath.Join(dir, bundle.ReportFile))
	check(t, err)
	gone, err := r.Prune(t.Context(), c, dir)
	check(t, err)
	if !slices.Equal(gone, []string{"quay.io/team/other:v1"}) {
		t.Errorf("gone are %q", gone)
	}
	_, err = r.WriteObjects(dir)
	check(t, err)
	wantEntries(t, dir, bundle.IDMSFile, "quay.io/team/app "+far.Host+"/team/app")
	if _, err := bundle.ReadReport(filepath.Join(dir, bundle.ReportFile)); err != nil {
		t.Error(err)
	}
	wantEntries(t, dir, bundle.ITMSFile) // the cluster may have it, so it stays, empty
}

// TestPruneTag: where a tag is gone and a digest is not, only the mirror for tags
// leaves.
func TestPruneTag(t *testing.T) {
	t.Parallel()
	near := source(t, func(b *ocitest.Builder) { b.ZstdImage("team/app", "v1"); b.ZeroLayerImage("team/app", "v2") })
	far := ocitest.StartRegistry(t)
	c := client(t, near.Host, far.Host)
	_, raw := near.Builder().Manifest("team/app", "v2")
	content := plan(t, c, bundle.Request{Images: references(t, "quay.io/team/app:v1", "quay.io/team/app@"+digest.FromBytes(raw).String())})
	m := export(t, c, inventory(t, content, 0))
	p := to(t, far.Host)
	results, err := m.open(t).Import(t.Context(), c, bundle.ImportOptions{Placement: p})
	check(t, err)
	dir := writeObjects(t, m.open(t).Report(results, bundle.NewObjectOptions(p, "", "")))
	wantEntries(t, dir, bundle.ITMSFile, "quay.io/team/app "+far.Host+"/team/app")
	b := far.Builder()
	for _, image := range content.Images {
		if image.Reference == "quay.io/team/app:v1" {
			b.DeleteManifest("team/app", image.Digest)
		}
	}
	check(t, b.Err())
	r, err := bundle.ReadReport(filepath.Join(dir, bundle.ReportFile))
	check(t, err)
	gone, err := r.Prune(t.Context(), c, dir)
	check(t, err)
	if !slices.Equal(gone, []string{"quay.io/team/app:v1"}) {
		t.Errorf("gone are %q", gone)
	}
	_, err = r.WriteObjects(dir)
	check(t, err)
	wantEntries(t, dir, bundle.IDMSFile, "quay.io/team/app "+far.Host+"/team/app")
	wantEntries(t, dir, bundle.ITMSFile)
}

// TestPruneCuresCollision: a place that another source's image had is free when that
// is gone, and not before; and an import that broke off does not change that.
func TestPruneCuresCollision(t *testing.T) {
	t.Parallel()
	near := source(t, func(b *ocitest.Builder) { b.ZstdImage("team/app", "v1"); b.ZeroLayerImage("other/app", "v1") })
	far := ocitest.StartRegistry(t)
	c := client(t, near.Host, far.Host)
	dir, o := t.TempDir(), bundle.ObjectOptions{}
	carry := func(source string) (medium, bundle.Placement, bundle.Image) {
		content := plan(t, c, bundle.Request{Images: references(t, source+":v1")})
		p := mapped(t, far.Host, source+"=one/place")
		o = bundle.NewObjectOptions(p, "", "")
		return export(t, c, inventory(t, content, 0)), p, content.Images[0]
	}
	pushed := func(m medium, p bundle.Placement) *bundle.Report {
		results, err := m.open(t).Import(t.Context(), c, bundle.ImportOptions{Placement: p})
		check(t, err)
		return m.open(t).Report(results, o)
	}
	m, p, first := carry("quay.io/team/app")
	_, err := pushed(m, p).WriteObjects(dir)
	check(t, err)

	m, p, _ = carry("quay.io/other/app")
	expect := func(prune bool) error {
		r, err := m.open(t).Expect(p, o)
		check(t, err)
		if prune {
			if _, err := r.Prune(t.Context(), c, dir); err != nil {
				return err
			}
		}
		return r.Check(dir)
	}
	for _, prune := range []bool{false, true} {
		wantError(t, expect(prune), bundle.ErrCollision, far.Host+"/one/place:v1", "quay.io/team/app:v1", "quay.io/other/app:v1")
	}
	b := far.Builder()
	b.DeleteManifest("one/place", first.Digest)
	check(t, b.Err())
	wantError(t, expect(false), bundle.ErrCollision)
	check(t, expect(true))
	pushed(m, p) // and nothing more was done
	check(t, expect(true))
	r := pushed(m, p)
	gone, err := r.Prune(t.Context(), c, dir)
	check(t, err)
	if !slices.Equal(gone, []string{"quay.io/team/app:v1"}) {
		t.Errorf("gone are %q", gone)
	}
	written, err := r.WriteObjects(dir)
	check(t, err)
	wantEntries(t, dir, bundle.ITMSFile, "quay.io/other/app "+far.Host+"/one/place")
	if written.Unpruned {
		t.Error("it is said not to be pruned")
	}
}

// TestPruneOfTwo: what another run writes between the questions to the registry and the
// objects is kept, and what was found to be gone before is not taken out then.
func TestPruneOfTwo(t *testing.T) {
	t.Parallel()
	near := source(t, func(b *ocitest.Builder) {
		for _, repo := range []string{"team/gone", "team/stays", "team/other"} {
			b.ZeroLayerImage(repo, "v1")
		}
	})
	far := ocitest.StartRegistry(t)
	c, p := client(t, near.Host, far.Host), to(t, far.Host)
	carried := func(names ...string) (*bundle.Report, bundle.Image) {
		content := plan(t, c, bundle.Request{Images: references(t, names...)})
		m := export(t, c, inventory(t, content, 0))
		results, err := m.open(t).Import(t.Context(), c, bundle.ImportOptions{Placement: p})
		check(t, err)
		return m.open(t).Report(results, bundle.NewObjectOptions(p, "", "")), content.Images[0]
	}
	r, image := carried("quay.io/team/gone:v1", "quay.io/team/stays:v1")
	dir := writeObjects(t, r)
	b := far.Builder()
	b.DeleteManifest("team/gone", image.Digest)
	check(t, b.Err())
	pruned := func(meanwhile func()) *bundle.Objects {
		r, err := bundle.ReadReport(filepath.Join(dir, bundle.ReportFile))
		check(t, err)
		gone, err := r.Prune(t.Context(), c, dir)
		check(t, err)
		if !slices.Equal(gone, []string{"quay.io/team/gone:v1"}) {
			t.Errorf("gone are %q", gone)
		}
		meanwhile()
		o, err := r.WriteObjects(dir)
		check(t, err)
		return o
	}
	entry := func(repo string) string { return "quay.io/" + repo + " " + far.Host + "/" + repo }
	o := pruned(func() {
		other, _ := carried("quay.io/team/other:v1")
		_, err := other.WriteObjects(dir)
		check(t, err)
	})
	wantEntries(t, dir, bundle.ITMSFile, entry("team/gone"), entry("team/other"), entry("team/stays"))
	if !o.Unpruned {
		t.Error("it is not said that nothing was taken out")
	}
	o = pruned(func() {})
	wantEntries(t, dir, bundle.ITMSFile, entry("team/other"), entry("team/stays"))
	if o.Unpruned {
		t.Error("it is said that nothing was taken out")
	}
}
