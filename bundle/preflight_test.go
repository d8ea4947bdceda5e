package bundle_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/bundle"
	"airlift/oci"
	"airlift/oci/ocitest"
)

// TestNamesAreAskedForOnce: what the registry said of a name when all were asked for is
// not asked again, though a release be there whose component is not; but each tag once more
// just before it is written.
func TestNamesAreAskedForOnce(t *testing.T) {
	t.Parallel()
	m, _ := interrupted(t)
	far := ocitest.StartRegistry(t)
	for _, want := range []int{len(m.inv.Content.Images), 1} {
		p := ocitest.Misbehave(t, far.Host, nil)
		results, err := importInto(t.Context(), t, m, p.Host, 0)
		check(t, err)
		imported := 0
		for _, r := range results {
			if r.State == bundle.StateImported {
				imported++
			}
		}
		asked, requests := 0, p.Requests()
		for request, n := range requests {
			path, isHead := strings.CutPrefix(request, "HEAD ")
			if !isHead || !strings.Contains(path, "/manifests/") {
				continue
			}
			if asked++; n != 1+requests["PUT "+path] {
				t.Errorf("%s, %d times, and written %d times", request, n, requests["PUT "+path])
			}
		}
		if imported != want || asked < len(results) {
			t.Errorf("%d were imported, not %d, and %d names asked for", imported, want, asked)
		}
		component := references(t, m.inv.Content.Releases[0].Components[0].Image)[0]
		far.Builder().DeleteManifest("far/"+component.Repository, component.Digest)
	}
}

// threeNamespaces is a bundle for repositories in several namespaces, of several
// depths.
func threeNamespaces(t *testing.T) (*ocitest.Registry, *bundle.Bundle) {
	t.Helper()
	near := source(t, func(b *ocitest.Builder) {
		b.ZeroLayerImage("team/app", "v1")
		b.ZstdImage("team/deep/er/app", "v1")
		b.ZeroLayerImage("team/deep/er/still/app", "v1")
		b.Image("other/app", "v1", ocitest.ImageOpts{Docker: true})
		b.ZeroLayerImage("flat", "v1")
	})
	c := client(t, near.Host)
	return near, export(t, c, inventory(t, plan(t, c, bundle.Request{Images: references(t,
		"quay.io/team/app:v1", "quay.io/team/deep/er/app:v1", "quay.io/team/deep/er/still/app:v1", "quay.io/other/app:v1", "quay.io/flat:v1",
	)}), 0)).open(t)
}

// TestLeaveToPush: what a registry does not let be pushed to is said before
// anything is pushed, all of it, by any kind of registry; and where that has been
// mended all of it goes in, and a cluster finds it.
func TestLeaveToPush(t *testing.T) {
	t.Parallel()
	near, b := threeNamespaces(t)
	for name, test := range map[string]struct {
		rules      []ocitest.Rule
		places     map[string]string // repositories that are refused, with a part of the answer
		namespaces []string
		nested     int
		then       []ocitest.Rule // when it has been mended
		how        func(p bundle.Placement) bundle.Placement
	}{
		"Quay without an organisation": {
			ocitest.Quay(ocitest.QuayOptions{Organisations: []string{"team", "flat"}, Nested: true}),
			map[string]string{"other/app": "denied 401 UNAUTHORIZED: access to the requested resource is not authorized"}, []string{"other"}, 0,
			ocitest.Quay(ocitest.QuayOptions{Organisations: []string{"team", "flat", "other"}, Nested: true}), nil,
		},
		"Quay without nested names": {
			ocitest.Quay(ocitest.QuayOptions{Organisations: []string{"team", "flat", "other"}}),
			map[string]string{
				"team/deep/er/app":       "refused 400 NAME_INVALID: Nested repositories are not supported. Found: team/deep/er/app",
				"team/deep/er/still/app": "refused 400 NAME_INVALID: ",
			}, nil, 3,
			ocitest.Quay(ocitest.QuayOptions{Organisations: []string{"team", "flat", "other"}}),
			func(p bundle.Placement) bundle.Placement { p.MaxNestedPaths = 2; return p },
		},
		"Harbor without projects": {
			ocitest.Harbor("team"),
			map[string]string{"other/app": "denied 401 UNAUTHORIZED: project other not found", "flat": "refused 400 BAD_REQUEST: invalid repository name: flat"},
			[]string{"flat", "other"}, 0,
			ocitest.Harbor("team"),
			func(p bundle.Placement) bundle.Placement { p.To.Path = "team"; p.Cluster.Path = "team"; return p },
		},
		"a page to log in": {
			ocitest.Portal(http.MethodPost),
			map[string]string{
				"flat": "refused led to the web page http://PROXY/login (404), which is no answer of a registry", "other/app": "refused led to the web page ",
				"team/app": "refused led to the web page ", "team/deep/er/app": "refused led to the web page ", "team/deep/er/still/app": "refused led to the web page ",
			}, []string{"flat", "other", "team"}, 0, nil, nil,
		},
		"ECR": {
			ocitest.ECR("team/app", "team/deep/er/app", "flat", "other/app"),
			map[string]string{"team/deep/er/still/app": "absent 404 NAME_UNKNOWN: The repository with name 'team/deep/er/still/app' does not exist in the registry"}, nil, 4,
			ocitest.ECR("team/app", "team/deep/er/app", "flat", "other/app", "team/deep/er/still/app"), nil,
		},
		"GitLab, too deep": {
			ocitest.GitLab("team/deep", "team/app", "other/app", "flat"),
			map[string]string{"team/deep/er/still/app": "denied 401 UNAUTHORIZED: authentication required"}, nil, 4,
			ocitest.GitLab("team/deep", "team/app", "other/app", "flat"),
			func(p bundle.Placement) bundle.Placement { p.MaxNestedPaths = 4; return p },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			far := ocitest.StartRegistry(t)
			shut := ocitest.Emulate(t, far.Host, test.rules)
			results, err := b.Import(t.Context(), client(t, near.Host, shut.Host), bundle.ImportOptions{Placement: to(t, shut.Host)})
			var closed *bundle.ClosedError
			if !errors.As(err, &closed) || results != nil {
				t.Fatalf("%v, %v", results, err)
			}
			got := map[string]string{}
			for _, p := range closed.Places {
				got[p.Repository] = p.State + " " + p.Answer
			}
			for repository, want := range test.places {
				if !strings.HasPrefix(strings.ReplaceAll(got[repository], shut.Host, "PROXY"), want) {
					t.Errorf("%s: %q, want %q", repository, got[repository], want)
				}
			}
			if len(got) != len(test.places) || !slices.Equal(closed.Namespaces, test.namespaces) || closed.MaxNestedPaths != test.nested {
				t.Errorf("%v, %v, %d, want %v, %v, %d", got, closed.Namespaces, closed.MaxNestedPaths, test.places, test.namespaces, test.nested)
			}
			for _, method := range []string{http.MethodPut, http.MethodPatch} {
				if n := shut.Count(method, ""); n != 0 {
					t.Errorf("there was %s, %d times", method, n)
				}
			}
			open := ocitest.Emulate(t, far.Host, test.then)
			p := to(t, open.Host)
			if test.how != nil {
				p = test.how(p)
			}
			imports(t, near, b, far, open.Host, p)
		})
	}
}

// imports brings all of a bundle into a registry, has it collect what it would
// collect, and asks for what a cluster would pull.
func imports(t *testing.T, near *ocitest.Registry, b *bundle.Bundle, far *ocitest.Registry, host string, p bundle.Placement) {
	t.Helper()
	c := client(t, near.Host, host)
	results, err := b.Import(t.Context(), c, bundle.ImportOptions{Placement: p})
	check(t, err)
	if n := far.CollectUntagged(t); n != 0 {
		t.Errorf("%d manifests had no tag", n)
	}
	dir := writeObjects(t, b.Report(results, bundle.NewObjectOptions(p, "", "")))
	cluster, err := bundle.ReadCluster(dir, p.Cluster.Host, bundle.Stated{})
	check(t, err)
	pulled, err := b.CheckPulls(t.Context(), c, cluster.Pulls(&b.Inventory.Content, nil), bundle.PullOptions{Placement: p, Full: true})
	check(t, err)
	check(t, bundle.PullVerdict(pulled))
	if len(pulled) < len(results) {
		t.Errorf("%d references were asked for, of %d images", len(pulled), len(results))
	}
}

// TestLeaveIsAskedForOnce: of each repository that needs something, and of no other.
func TestLeaveIsAskedForOnce(t *testing.T) {
	t.Parallel()
	near, b := threeNamespaces(t)
	far := ocitest.StartRegistry(t)
	first := ocitest.Misbehave(t, far.Host, nil)
	_, err := b.Import(t.Context(), client(t, near.Host, first.Host), bundle.ImportOptions{Placement: to(t, first.Host)})
	check(t, err)
	if n := first.Count(http.MethodDelete, "/blobs/uploads/"); n != 5 {
		t.Errorf("%d uploads were given up, for 5 repositories", n)
	}
	again := ocitest.Misbehave(t, far.Host, nil)
	results, err := b.Import(t.Context(), client(t, near.Host, again.Host), bundle.ImportOptions{Placement: to(t, again.Host)})
	check(t, err)
	for _, r := range results {
		if r.State != bundle.StatePresent {
			t.Errorf("%s is %s", r.Reference, r.State)
		}
	}
	counts := map[string]int{}
	for _, r := range again.Log() {
		counts[r.Method]++
	}
	delete(counts, http.MethodGet) // of /v2/, for logins
	if diff := gocmp.Diff(map[string]int{http.MethodHead: 5}, counts); diff != "" {
		t.Errorf("(-want +got): %s", diff)
	}
	far.Builder().DeleteManifest("other/app", b.Inventory.Content.Images[1].Digest)
	third := ocitest.Misbehave(t, far.Host, nil)
	_, err = b.Import(t.Context(), client(t, near.Host, third.Host), bundle.ImportOptions{Placement: to(t, third.Host)})
	check(t, err)
	if n := third.Count(http.MethodPost, ""); n != third.Count(http.MethodPost, "/other/app/") || third.Count(http.MethodDelete, "/other/app/blobs/uploads/") != 1 {
		t.Errorf("of %d uploads some were begun elsewhere, or %d given up", n, third.Count(http.MethodDelete, ""))
	}
}

// TestUnavailable: a registry that cannot be asked is found out once, and said once;
// one that fails here and there, or once each time, keeps nothing from being imported
// but what it fails.
func TestUnavailable(t *testing.T) {
	t.Parallel()
	const images, tries = 24, 3
	var names []string
	near := source(t, func(b *ocitest.Builder) {
		for i := range images {
			repo := fmt.Sprintf("team/app%d", i)
			b.Image(repo, "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{b.RandomLayer(repo, repo, 1000)}})
			names = append(names, "quay.io/"+repo+":v1")
		}
	})
	c := client(t, near.Host)
	b := export(t, c, inventory(t, plan(t, c, bundle.Request{Images: references(t, names...)}), 0)).open(t)
	of := func(method, part string) func(*http.Request, int, int) bool {
		return func(r *http.Request, _, _ int) bool { return r.Method == method && strings.Contains(r.URL.Path, part) }
	}
	since := func(from int) func(*http.Request, int, int) bool {
		return func(_ *http.Request, _, all int) bool { return all >= from }
	}
	for name, test := range map[string]struct {
		fails   func(r *http.Request, before, all int) bool // before: how often it was made; all: requests that were
		counted string                                      // a method
		most    int                                         // requests of it; net/http makes some of them twice
		failed  int                                         // images; -1 = nothing is begun
	}{
		"all of it":            {since(0), "", 2 * tries, -1},
		"all but a few":        {since(7), "", 7 + 2*(8+1)*tries, -1}, // eight at once, and the question whether it is there
		"all but the names":    {since(7 + images), "", 7 + images + 2*(8+1)*tries, -1},
		"names":                {of(http.MethodHead, "/manifests/"), http.MethodHead, 100 * images, images},
		"uploads":              {of(http.MethodPost, ""), http.MethodPost, 100 * images, images},
		"the first name":       {of(http.MethodHead, "/app0/manifests/"), http.MethodHead, 100 * images, 1},
		"the first repository": {of(http.MethodPost, "/app0/"), http.MethodPost, 100 * images, 1},
		"another repository":   {of(http.MethodPost, "/app4/"), http.MethodPost, 100 * images, 1},
		"the last repository":  {of(http.MethodPost, "/app23/"), http.MethodPost, 100 * images, 1},
		"each request once":    {func(_ *http.Request, before, _ int) bool { return before == 0 }, http.MethodPut, 100 * images, 0},
	} {
		for kind, fault := range map[string]ocitest.Fault{"dropped": {Drop: true}, "503": {Status: http.StatusServiceUnavailable}} {
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Parallel()
				var mu sync.Mutex
				made, all := map[string]int{}, 0
				p := ocitest.Misbehave(t, lenient(t), func(r *http.Request) *ocitest.Fault {
					mu.Lock()
					defer mu.Unlock()
					path, _, _ := strings.Cut(r.URL.Path, "/uploads/")
					key := r.Method + " " + path
					made[key]++
					if all++; test.fails(r, made[key]-1, all-1) {
						return &fault
					}
					return nil
				})
				results, err := b.Import(t.Context(), client(t, near.Host, p.Host), bundle.ImportOptions{Placement: to(t, p.Host)})
				var gone *bundle.UnavailableError
				if n := p.Count(test.counted, ""); n > test.most {
					t.Errorf("%d requests, not %d", n, test.most)
				}
				if errors.As(err, &gone) != (test.failed < 0) || (results == nil) != (test.failed < 0) {
					t.Fatalf("%d results, %v", len(results), err)
				}
				failed := 0
				for _, r := range results {
					if r.State != bundle.StateImported {
						failed++
					}
				}
				if test.failed >= 0 && failed != test.failed || (err != nil) != (test.failed != 0) {
					t.Errorf("%d failed: %v", failed, err)
				}
				if gone != nil && (gone.Begun || strings.Count(err.Error(), "tried") != 1 || !strings.Contains(err.Error(), p.Host+" is not available, nothing was pushed: ")) {
					t.Errorf("it says %v", err)
				}
			})
		}
	}
}

// TestUnavailableMeanwhile: a registry that goes away between two blobs is found out by
// those on their way, from a medium and from a stream: none that waits is tried, for
// whatever image.
func TestUnavailableMeanwhile(t *testing.T) {
	t.Parallel()
	const images, layers, alive, jobs = 12, 10, 20, 4
	var names []string
	near := source(t, func(b *ocitest.Builder) {
		for i := range images {
			var own []ocispec.Descriptor
			for j := range layers {
				own = append(own, b.RandomLayer("team/app", fmt.Sprint(i, "-", j), 1000))
			}
			tag := fmt.Sprint("v", i)
			b.Image("team/app", tag, ocitest.ImageOpts{Layers: own})
			names = append(names, "quay.io/team/app:"+tag)
		}
	})
	c := client(t, near.Host)
	request := bundle.Request{Images: references(t, names...)}
	medium := export(t, c, inventory(t, plan(t, c, request), 0)).open(t)
	raw, m := streamOf(t, c, request, 0)
	stream, err := bundle.OpenStream(bytes.NewReader(raw), m.trust())
	check(t, err)
	for name, run := range map[string]func(context.Context, *oci.Client, bundle.ImportOptions) ([]bundle.ImageResult, error){
		"medium": medium.Import, "stream": stream.Import,
	} {
		var uploads atomic.Int64
		var gone sync.Map // blobs that were asked for in vain
		far := ocitest.Misbehave(t, lenient(t), func(r *http.Request) *ocitest.Fault {
			blob, last := strings.Contains(r.URL.Path, "/blobs/"), false
			if blob && r.Method == http.MethodPut {
				last = uploads.Add(1) == alive
			}
			if uploads.Load() < alive {
				return nil
			}
			if blob && r.Method == http.MethodHead {
				gone.Store(r.URL.Path, true)
			}
			if last {
				<-time.After(300 * time.Millisecond) // while it is waited for, the others fail
			}
			return &ocitest.Fault{Status: http.StatusServiceUnavailable}
		})
		_, err := run(t.Context(), client(t, near.Host, far.Host), bundle.ImportOptions{Placement: to(t, far.Host), Jobs: jobs})
		var unavailable *bundle.UnavailableError
		failed := 0
		gone.Range(func(any, any) bool { failed++; return true })
		if !errors.As(err, &unavailable) || !unavailable.Begun || failed == 0 || failed > jobs {
			t.Errorf("%s: %d blobs were asked for in vain, at most %d may be: %v", name, failed, jobs, err)
		}
	}
}

// TestSurvey says what must be at a destination and whether it is, and writes
// nothing.
func TestSurvey(t *testing.T) {
	t.Parallel()
	near, b := threeNamespaces(t)
	far := ocitest.StartRegistry(t)
	far.Builder().ZeroLayerImage("team/app", "old")
	p := ocitest.Emulate(t, far.Host, ocitest.Harbor("team"))
	places, err := b.Survey(t.Context(), client(t, near.Host, p.Host), bundle.ImportOptions{Placement: to(t, p.Host)})
	var closed *bundle.ClosedError
	if !errors.As(err, &closed) || !slices.Equal(closed.Namespaces, []string{"flat", "other"}) {
		t.Errorf("error is %v", err)
	}
	got := map[string]string{}
	for _, place := range places {
		got[place.Namespace+": "+place.Repository] = place.State
	}
	want := map[string]string{
		"flat: flat": bundle.PlaceUnfit, "other: other/app": bundle.PlaceDenied, "team: team/app": bundle.PlaceThere,
		"team: team/deep/er/app": bundle.PlaceAbsent, "team: team/deep/er/still/app": bundle.PlaceAbsent,
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got): %s", diff)
	}
	for _, r := range p.Log() {
		if r.Method != http.MethodGet {
			t.Errorf("there was %s %s", r.Method, r.Path)
		}
	}
}

// TestClusterRegistry: the registry inside of a cluster is refused for what is known
// by digest, and for paths that it does not have; what it can hold it gets.
func TestClusterRegistry(t *testing.T) {
	t.Parallel()
	near := source(t, func(b *ocitest.Builder) {
		b.ZeroLayerImage("team/app", "v1")
		b.ZeroLayerImage("team/deep/app", "v1")
	})
	far := ocitest.StartRegistry(t)
	inside := ocitest.Emulate(t, far.Host, ocitest.OpenShift())
	c := client(t, near.Host, inside.Host)
	app := plan(t, c, bundle.Request{Images: references(t, "quay.io/team/app:v1")}).Images[0].Digest.String()
	for _, test := range []struct {
		reference string
		p         bundle.Placement
		want      string
	}{
		{"quay.io/team/app@" + app, to(t, inside.Host), "it keeps what tags of imagestreams name, and no place for 1 image known by digest: quay.io/team/app@" + app},
		{"quay.io/team/deep/app:v1", to(t, inside.Host), "its paths are PROJECT/IMAGESTREAM, not such as team/deep/app"},
		{"quay.io/team/deep/app:v1", nested(t, inside.Host, 2), ""},
		{"quay.io/team/app@" + app, to(t, "default-route-openshift-image-registry.apps.example"), "is the registry of an OpenShift cluster"},
	} {
		c := client(t, near.Host, inside.Host, test.p.To.Host)
		b := export(t, c, inventory(t, plan(t, c, bundle.Request{Images: references(t, test.reference)}), 0)).open(t)
		places, err := b.Survey(t.Context(), c, bundle.ImportOptions{Placement: test.p})
		wantInside(t, err, test.want)
		if len(places) != 1 {
			t.Errorf("places are %v", places)
		}
		if test.p.To.Host == inside.Host { // the other one is not there to be logged in to
			_, err = b.Import(t.Context(), c, bundle.ImportOptions{Placement: test.p})
			wantInside(t, err, test.want)
		}
	}
	wantTags(t, far.Builder(), "team/deep--app", "v1")
	if all := far.Builder().Repositories(); len(all) != 1 {
		t.Errorf("there are %v", all)
	}
}

func wantInside(t *testing.T, err error, want string) {
	t.Helper()
	var inside *bundle.ClusterRegistryError
	if want == "" && err != nil || want != "" && (!errors.As(err, &inside) || !strings.Contains(err.Error(), want)) {
		t.Errorf("error is %v, want %q", err, want)
	}
}

// TestRefusedTypes: a registry that does not take a manifest for what it is is said
// to, with the type; where it was set to take it, it gets it.
func TestRefusedTypes(t *testing.T) {
	t.Parallel()
	near := source(t, func(b *ocitest.Builder) {
		b.Image("team/docker", "v1", ocitest.ImageOpts{Docker: true})
		image := b.ZeroLayerImage("team/oci", "v1")
		b.CosignSignature("team/oci", image.Digest)
	})
	c := client(t, near.Host)
	content := plan(t, c, bundle.Request{Images: references(t, "quay.io/team/docker:v1", "quay.io/team/oci:v1")})
	b := export(t, c, inventory(t, content, 0)).open(t)
	refuse := func(kind string, f ocitest.Fault) []ocitest.Rule {
		return []ocitest.Rule{{Answer: func(r *http.Request) *ocitest.Fault {
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") && strings.HasPrefix(r.Header.Get("Content-Type"), kind) {
				return &f
			}
			return nil
		}}}
	}
	const docker, oci, signature = "application/vnd.docker.distribution.manifest.v2+json", "application/vnd.oci.image.manifest.v1+json", "application/vnd.dev.cosign.simplesigning.v1+json"
	body := `{"errors":[{"code":"MANIFEST_INVALID","message":"manifest invalid","detail":{}}]}`
	for name, test := range map[string]struct {
		rules               []ocitest.Rule
		failed              int
		mediaType, artifact string
	}{
		"zot":                {ocitest.Zot(false), 1, docker, ""},
		"zot that is set":    {ocitest.Zot(true), 0, "", ""},
		"an old one":         {refuse("application/vnd.oci.", ocitest.Fault{Status: 400, Body: body}), 2, oci, ""},
		"signatures":         {ocitest.Quay(ocitest.QuayOptions{Organisations: []string{"team"}, Signatures: []digest.Digest{}}), 1, oci, signature},
		"for something else": {refuse("application/vnd.oci.", ocitest.Fault{Status: 413}), 2, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := ocitest.Emulate(t, ocitest.StartRegistry(t).Host, test.rules)
			results, err := b.Import(t.Context(), client(t, near.Host, p.Host), bundle.ImportOptions{Placement: to(t, p.Host)})
			failed := 0
			for _, r := range results {
				if r.State == bundle.StateFailed {
					failed++
				}
			}
			var kind *bundle.TypeError
			named := errors.As(err, &kind)
			if failed != test.failed || named != (test.mediaType != "") || named && (kind.MediaType != test.mediaType || kind.Artifact != test.artifact && test.failed == 1) {
				t.Errorf("%d failed, %v", failed, err)
			}
		})
	}
}
