package bundle_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/bundle"
	"airlift/oci"
	"airlift/oci/ocitest"
)

// kind is a way in which a request fails.
type kind struct {
	name   string
	fault  ocitest.Fault
	goesOn bool // with all requests after it, too
	heals  bool // trying again must mend it
	stalls bool // it must be told
	gone   bool // it says that something is not there, which may be so
}

// kinds are those of networks, proxies and registries.
func kinds() []kind {
	coded := func(status int, code string) ocitest.Fault {
		return ocitest.Fault{Status: status, Body: `{"errors":[{"code":"` + code + `","message":"made up"}]}`,
			Header: http.Header{"Content-Type": {"application/json"}}}
	}
	page := ocitest.Fault{Status: 200, Header: http.Header{"Content-Type": {"text/html"}}, Body: "<html>log in here</html>"}
	later := func(header string) ocitest.Fault {
		return ocitest.Fault{Status: 429, Header: http.Header{"Retry-After": {header}}}
	}
	all := []kind{
		{name: "dropped", fault: ocitest.Fault{Drop: true}, heals: true},
		{name: "answer lost", fault: ocitest.Fault{Lose: true}, heals: true},
		{name: "request cut", fault: ocitest.Fault{CutUpload: true, At: 500}, heals: true},
		{name: "request broken off", fault: ocitest.Fault{BreakUpload: true, At: 300}},
		{name: "request corrupt", fault: ocitest.Fault{CorruptUpload: true, At: 10}},
		{name: "408", fault: ocitest.Fault{Status: 408}, heals: true},
		{name: "429", fault: ocitest.Fault{Status: 429}, heals: true},
		{name: "429, later", fault: later("0"), heals: true},
		{name: "429, at a time", fault: later("Wed, 21 Oct 2015 07:28:00 GMT"), heals: true},
		{name: "500", fault: coded(500, "UNKNOWN"), heals: true},
		{name: "502", fault: ocitest.Fault{Status: 502, Header: http.Header{"Content-Type": {"text/html"}}, Body: "<html>Bad Gateway</html>"}, heals: true},
		{name: "503", fault: coded(503, "UNAVAILABLE"), heals: true},
		{name: "504", fault: ocitest.Fault{Status: 504}, heals: true},
		{name: "answer cut", fault: ocitest.Fault{Cut: true}},
		{name: "answer corrupt", fault: ocitest.Fault{Corrupt: true, At: 10}},
		{name: "no answer", fault: ocitest.Fault{Delay: time.Hour}, stalls: true},
		{name: "answer stalls", fault: ocitest.Fault{Stall: true, At: 5}, stalls: true},
		{name: "wrong headers", fault: ocitest.Fault{Header: http.Header{"Docker-Content-Digest": {"sha256:" + strings.Repeat("0", 64)}, "Location": {"/elsewhere"}}}},
		{name: "no headers", fault: ocitest.Fault{Header: http.Header{"Docker-Content-Digest": {}, "Location": {}, "Content-Type": {}}}},
		{name: "a page", fault: page},
		{name: "204", fault: ocitest.Fault{Status: 204}},
		{name: "led nowhere", fault: ocitest.Fault{Status: 307, Header: http.Header{"Location": {"/v2/nowhere"}}}, gone: true},
		{name: "400", fault: coded(400, "NAME_INVALID")},
		{name: "401", fault: coded(401, "UNAUTHORIZED")},
		{name: "403", fault: coded(403, "DENIED")},
		{name: "404", fault: ocitest.Fault{Status: 404}, gone: true},
		{name: "404 of a blob", fault: coded(404, "BLOB_UNKNOWN"), gone: true},
		{name: "404 of an upload", fault: coded(404, "BLOB_UPLOAD_UNKNOWN"), gone: true},
		{name: "405", fault: coded(405, "UNSUPPORTED"), gone: true},
		{name: "409", fault: ocitest.Fault{Status: 409}},
		{name: "413", fault: ocitest.Fault{Status: 413}},
		{name: "416", fault: coded(416, "RANGE_INVALID")},
		{name: "507", fault: ocitest.Fault{Status: 507}},
	}
	for _, k := range all {
		if !k.stalls { // that would take long
			k.name, k.goesOn, k.heals = k.name+" from then on", true, false
			all = append(all, k)
		}
	}
	return all
}

// endpoint is what a request is about.
func endpoint(r *http.Request) string {
	q, path := r.URL.Query(), r.URL.Path
	_, node, isNode := strings.Cut(path, "/manifests/")
	switch {
	case path == "/v2/":
		return "ping"
	case path == "/token":
		return "token"
	case q.Get("storage") != "":
		return "storage " + r.Method
	case strings.Contains(path, "/referrers/"):
		return "referrers"
	case strings.Contains(path, "/blobs/uploads/"):
		return map[bool]string{true: "mount "}[q.Get("mount") != ""] + "upload " + r.Method
	case isNode && strings.HasPrefix(node, "sha256:"):
		return "node by digest " + r.Method
	case isNode && strings.HasPrefix(node, "sha256-"):
		return "attachment " + r.Method
	case isNode:
		return "node by tag " + r.Method
	case r.Header.Get("Range") != "":
		return "part of a blob " + r.Method
	}
	return "blob " + r.Method
}

// cell is one of the matrix: a kind, an endpoint, and which request to it.
type cell struct {
	kind
	endpoint string
	at       int // from 1
}

// cells are three positions of each kind at each endpoint: the first request, the
// one in the middle and the last of an undisturbed run. Where not all of them are
// wanted every one of so many is taken, the same each time.
func cells(log []ocitest.Request, oneOf int) (list []cell, endpoints int) {
	counts := map[string]int{}
	for _, r := range log {
		request, _ := http.NewRequest(r.Method, "http://x"+r.Path+"?"+r.Query, nil)
		request.Header = r.Header
		counts[endpoint(request)]++
	}
	var names []string
	for name := range counts {
		names = append(names, name)
	}
	slices.Sort(names)
	i := 0
	for _, k := range kinds() {
		for _, name := range names {
			for _, at := range []int{1, (counts[name] + 1) / 2, counts[name]} {
				if i++; i%oneOf == 0 {
					list = append(list, cell{k, name, at})
				}
			}
		}
	}
	return list, len(names)
}

// stalled says whether somebody waits: some answers have nothing to wait for.
func (c cell) stalled() bool {
	return c.stalls && (c.fault.Delay > 0 || strings.HasSuffix(c.endpoint, "GET"))
}

// strike is a registry that fails once, or from then on. struck says that it did.
func (c cell) strike(t *testing.T, host string, seen func()) (proxy *ocitest.Proxy, struck func() bool) {
	var mu sync.Mutex
	n, hit := 0, false
	proxy = ocitest.Misbehave(t, host, func(r *http.Request) *ocitest.Fault {
		seen()
		mu.Lock()
		defer mu.Unlock()
		if endpoint(r) == c.endpoint {
			n++
		}
		if endpoint(r) == c.endpoint && (n == c.at || n > c.at && c.goesOn) {
			hit = true
			return &c.fault
		}
		return elaborate(r)
	})
	return proxy, func() bool { mu.Lock(); defer mu.Unlock(); return hit }
}

// elaborate makes a simple registry one that wants tokens, and that keeps half of
// its blobs elsewhere.
func elaborate(r *http.Request) *ocitest.Fault {
	d := r.URL.Path[strings.LastIndex(r.URL.Path, ":")+1:]
	switch {
	case r.URL.Path == "/v2/" && r.Header.Get("Authorization") == "":
		return &ocitest.Fault{Status: 401, Header: http.Header{"WWW-Authenticate": {`Bearer realm="http://` + r.Host + `/token",service="x"`}}}
	case r.URL.Path == "/token":
		return &ocitest.Fault{Status: 200, Body: `{"token":"x","expires_in":3600}`}
	case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/sha256:") && d[len(d)-1]%2 == 0 && r.URL.RawQuery == "":
		return &ocitest.Fault{Status: 307, Header: http.Header{"Location": {r.URL.Path + "?storage=x"}}}
	}
	return nil
}

// heard counts what somebody is told.
type heard struct {
	mu sync.Mutex
	n  int
}

func (h *heard) tell(string) { h.mu.Lock(); h.n++; h.mu.Unlock() }
func (h *heard) any() bool   { h.mu.Lock(); defer h.mu.Unlock(); return h.n > 0 }

// client is one for a cell: stalls are told after a sixth of what it waits, ten
// seconds of a minute.
func (c cell) client(t *testing.T, source string, h *heard, hosts ...string) *oci.Client {
	t.Helper()
	o := oci.Options{Insecure: append(hosts, source), Authfile: emptyAuth(t), Backoff: time.Microsecond, Tries: 4, Notice: h.tell}
	if c.stalls {
		o.Stall = 150 * time.Millisecond
	}
	for _, host := range logicalHosts {
		o.Mirrors = append(o.Mirrors, oci.SourceMirror{Source: host, Mirror: source})
	}
	made, err := oci.NewClient(o)
	check(t, err)
	return made
}

// otherClass are the errors that a network cannot be the cause of: each has an exit
// code of its own.
var otherClass = []error{bundle.ErrDamaged, bundle.ErrUntrusted, bundle.ErrAbsent, bundle.ErrNoSpace, bundle.ErrLocked, bundle.ErrUsage, context.Canceled}

func (c cell) wantFailed(t *testing.T, err error) {
	t.Helper()
	for _, class := range otherClass {
		if errors.Is(err, class) {
			t.Errorf("it is of the class %v: %v", class, err)
		}
	}
}

// TestImportMatrix: whatever fails, at whatever request of an import: what it says of
// each image is so, no tag ever names an incomplete one, what passes is mended by
// trying again, and every stall is told.
func TestImportMatrix(t *testing.T) {
	t.Parallel()
	m, _ := interrupted(t)
	whole, _ := cell{}.strike(t, ocitest.StartRegistry(t).Host, func() {})
	_, err := importInto(t.Context(), t, m, whole.Host, 1)
	check(t, err)
	list, endpoints := cells(whole.Log(), bundle.Rounds(67, 1))
	if endpoints < 8 {
		t.Fatalf("only %d endpoints", endpoints)
	}
	for i, c := range list {
		t.Run(c.name+", "+c.endpoint, func(t *testing.T) {
			host := lenient(t)
			if i%4 == 0 || c.fault.BreakUpload { // the lenient one keeps what is broken off
				host = ocitest.StartRegistry(t).Host
			}
			crawler, told := newCrawler(host), &heard{}
			stop := crawler.poll(t)
			proxy, struck := c.strike(t, host, crawler.nudge)
			results, err := m.open(t).Import(t.Context(), c.client(t, "127.0.0.1:1", told, proxy.Host), bundle.ImportOptions{Placement: to(t, proxy.Host+"/far"), Jobs: 1 + i%4})
			stop()
			c.wantClaims(t, m, host, results, err)
			if c.heals && err != nil {
				t.Errorf("trying again did not mend it: %v", err)
			}
			if c.stalled() && struck() && !told.any() {
				t.Error("nobody was told")
			}
		})
	}
	t.Logf("%d cells: %d kinds, %d endpoints, 3 positions", len(list), len(kinds()), endpoints)
}

// wantClaims holds what an import said against what the registry has.
func (c cell) wantClaims(t *testing.T, m medium, host string, results []bundle.ImageResult, err error) {
	t.Helper()
	c.wantFailed(t, err)
	bad := 0
	for _, r := range results {
		switch r.State {
		case bundle.StateImported, bundle.StatePresent:
			for _, name := range r.Names {
				at := references(t, name)[0] // the proxy's name for it
				got, asked := newCrawler(host).get(http.MethodGet, at.Repository+"/manifests/"+at.Tag)
				if asked != nil || got.status != http.StatusOK || digest.FromBytes(got.body) != r.Digest {
					t.Errorf("%s is said to be %s, but: %d, %v", name, r.State, got.status, asked)
				}
			}
		default:
			if bad++; r.Reason == "" {
				t.Errorf("%s is %s for no reason", r.Reference, r.State)
			}
		}
	}
	if (err == nil) != (bad == 0 && results != nil) {
		t.Errorf("%d of %d images are not there, and it ends with %v", bad, len(results), err)
	}
}

// TestExportMatrix: whatever fails, at whatever request of an export: it ends with
// the bundle that an undisturbed one writes, or with an error and nothing that could be
// taken for a bundle, and the same again completes it.
func TestExportMatrix(t *testing.T) {
	t.Parallel()
	var release ocitest.Release
	var shapes []string
	near := source(t, func(b *ocitest.Builder) {
		shapes = everyShape(b)
		release = b.Release(ocitest.ReleaseOpts{Components: []string{"cli"}, Signatures: true})
		b.Image("shapes/large", "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{b.RandomLayer("shapes/large", "large", 9<<20)}})
		shapes = append(shapes, "quay.io/shapes/large:v1")
	})
	request := bundle.Request{Images: references(t, shapes...), Releases: references(t, release.Reference)}
	log, _ := cell{}.strike(t, near.Host, func() {})
	reference := export(t, client(t, log.Host), inventory(t, plan(t, client(t, log.Host), request), 0))
	list, endpoints := cells(log.Log(), bundle.Rounds(67, 1))
	if endpoints < 8 {
		t.Fatalf("only %d endpoints", endpoints)
	}
	for _, c := range list {
		t.Run(c.name+", "+c.endpoint, func(t *testing.T) {
			told := &heard{}
			proxy, struck := c.strike(t, near.Host, func() {})
			client := c.client(t, proxy.Host, told)
			content, err := bundle.Plan(t.Context(), client, request)
			if err == nil && len(content.Missing) > 0 {
				err = bundle.MissingErrors(content.Missing)
			}
			made := medium{dir: t.TempDir(), key: reference.key}
			if err == nil {
				made.inv = inventory(t, content, 0)
				err = bundle.Export(t.Context(), client, made.inv, made.dir, bundle.ExportOptions{Key: made.key})
			}
			c.wantFailed(t, err)
			if c.heals && err != nil {
				t.Errorf("trying again did not mend it: %v", err)
			}
			if c.stalled() && struck() && !told.any() {
				t.Error("nobody was told")
			}
			if err != nil && made.inv != nil {
				if b, opened := bundle.Open([]string{made.dir}, made.trust()); opened == nil {
					if _, quick := b.Quick(); quick == nil && !c.isFinding(b) {
						t.Errorf("it is taken for a bundle after %v", err)
					}
				}
				err = bundle.Export(t.Context(), c.client(t, near.Host, told), made.inv, made.dir, bundle.ExportOptions{Key: made.key})
				check(t, err)
			}
			if err == nil && !c.gone && made.inv.ContentID() != reference.inv.ContentID() {
				t.Error("it has another content")
			}
			if err == nil {
				verifies(t, made)
			}
		})
	}
	t.Logf("%d cells: %d kinds, %d endpoints, 3 positions", len(list), len(kinds()), endpoints)
}

// isFinding says whether a quick look finds something wrong.
func (c cell) isFinding(b *bundle.Bundle) bool {
	found, err := b.Quick()
	return err != nil || bundle.Verdict(found) != nil
}

func verifies(t *testing.T, m medium) {
	t.Helper()
	found, err := m.open(t).Check(t.Context(), bundle.CheckOptions{})
	check(t, errors.Join(err, bundle.Verdict(found)))
}

func emptyAuth(t *testing.T) string {
	t.Helper()
	file := t.TempDir() + "/auth.json"
	ocitest.WriteAuthfile(t, file, nil)
	return file
}
