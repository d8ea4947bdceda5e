package bundle_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/bundle"
	"airlift/oci/ocitest"
)

// interrupted is a bundle in which everything is shared with something: layers
// between repositories, children between lists.
func interrupted(t *testing.T) (medium, *ocitest.Registry) {
	t.Helper()
	var release ocitest.Release
	near := source(t, func(b *ocitest.Builder) {
		release = b.Release(ocitest.ReleaseOpts{Components: []string{"cli"}})
		for i := range 3 {
			repo := fmt.Sprintf("team/app%d", i)
			layers := []ocispec.Descriptor{b.RandomLayer(repo, "shared", 100_000), b.RandomLayer(repo, repo, 1000)}
			b.Image(repo, "v1", ocitest.ImageOpts{Layers: layers})
		}
		b.NestedIndex("team/nested", "v1")
		b.ZeroLayerImage("team/zero", "v1")
	})
	c := client(t, near.Host)
	return export(t, c, inventory(t, plan(t, c, bundle.Request{
		Releases: references(t, release.Reference),
		Images:   references(t, "quay.io/team/app0:v1", "quay.io/team/app1:v1", "quay.io/team/app2:v1", "quay.io/team/nested:v1", "quay.io/team/zero:v1"),
	}), 0)), near
}

// lenient starts a registry that takes a manifest before its blobs, so that
// only the order of pushes keeps its tags whole.
func lenient(t *testing.T) string {
	t.Helper()
	host, stop, err := ocitest.Embedded()
	check(t, err)
	t.Cleanup(stop)
	return host
}

// importInto imports into a registry under the name that host gives it.
func importInto(ctx context.Context, t *testing.T, m medium, host string, jobs int) ([]bundle.ImageResult, error) {
	t.Helper()
	return m.open(t).Import(ctx, client(t, host, host), bundle.ImportOptions{Placement: to(t, host+"/far"), Jobs: jobs})
}

// wantComplete imports without any disturbance: all is there then.
func wantComplete(t *testing.T, m medium, host string) {
	t.Helper()
	results, err := importInto(t.Context(), t, m, host, 0)
	if err != nil {
		t.Errorf("the last, undisturbed import: %v", err)
	}
	c, names := newCrawler(host), 0
	c.look(t)
	for _, r := range results {
		names += len(r.Names)
		if r.State != bundle.StateImported && r.State != bundle.StatePresent {
			t.Errorf("%s: %s, %s", r.Reference, r.State, r.Reason)
		}
	}
	if names == 0 || c.tags < names {
		t.Errorf("%d tags for %d names", c.tags, names)
	}
	results, err = importInto(t.Context(), t, m, host, 0)
	for _, r := range results {
		if err != nil || r.State != bundle.StatePresent {
			t.Errorf("one import later: %s: %s, %v", r.Reference, r.State, err)
		}
	}
}

// TestKilledImport: wherever an import is killed, no tag names an incomplete
// image. The destination is crawled at every request, and another import goes on
// from what is there.
func TestKilledImport(t *testing.T) {
	t.Parallel()
	m, _ := interrupted(t)
	whole := ocitest.Misbehave(t, lenient(t), nil)
	wantComplete(t, m, whole.Host)
	requests := len(whole.Log())
	if requests < 60 {
		t.Fatalf("an import takes only %d requests", requests)
	}
	for at := 1; at < requests; at += 2 {
		host := lenient(t)
		c, n := newCrawler(host), atomic.Int64{}
		ctx, kill := context.WithCancel(t.Context())
		proxy := ocitest.Misbehave(t, host, func(*http.Request) *ocitest.Fault {
			c.look(t)
			if n.Add(1) == int64(at) {
				kill()
			}
			return nil
		})
		_, err := importInto(ctx, t, m, proxy.Host, 1+at%4)
		if n.Load() >= int64(at) && !errors.Is(err, context.Canceled) {
			t.Errorf("killed at request %d of %d: %v", at, n.Load(), err)
		}
		kill()
		c.look(t)
		if at%9 == 0 {
			wantComplete(t, m, host)
		}
	}
}

// TestRegistryDies: a registry that is not there any more, from whichever request on,
// ends an import of media or of a stream, and is said once; what was not brought is open.
func TestRegistryDies(t *testing.T) {
	t.Parallel()
	m, near := interrupted(t)
	var stream bytes.Buffer
	check(t, bundle.ExportStream(t.Context(), client(t, near.Host), m.inv, &stream, bundle.ExportOptions{Key: m.key}))
	whole := ocitest.Misbehave(t, lenient(t), nil)
	_, err := importInto(t.Context(), t, m, whole.Host, 2)
	check(t, err)
	begun, requests := false, len(whole.Log())
	for at := 3; at < requests; at += 7 {
		fault := ocitest.Fault{Drop: true}
		if at%2 == 0 {
			fault = ocitest.Fault{Status: http.StatusServiceUnavailable}
		}
		host, n := lenient(t), atomic.Int64{}
		proxy := ocitest.Misbehave(t, host, func(*http.Request) *ocitest.Fault {
			if n.Add(1) >= int64(at) {
				return &fault
			}
			return nil
		})
		var results []bundle.ImageResult
		if at%3 == 0 {
			results, err = importStream(t, stream.Bytes(), m, proxy.Host)
		} else {
			results, err = importInto(t.Context(), t, m, proxy.Host, 2)
		}
		if n.Load() < int64(at) {
			continue // two at once take what they need in any order
		}
		var gone *bundle.UnavailableError
		if !errors.As(err, &gone) || gone.Begun != (results != nil) || strings.Count(err.Error(), "tried ") != 1 {
			t.Errorf("from request %d of %d on: %v", at, requests, err)
		}
		if after := n.Load() - int64(at); after > 80 { // eight at once, three tries, and net/http's own
			t.Errorf("from request %d of %d on: asked %d times more", at, requests, after)
		}
		for _, r := range results {
			begun = true
			if r.State == bundle.StateFailed || r.State == bundle.StateOpen && r.Reason == "" {
				t.Errorf("%s is %s: %s", r.Reference, r.State, r.Reason)
			}
		}
		if at%4 == 0 {
			wantComplete(t, m, host)
		}
	}
	if !begun {
		t.Error("no import had begun")
	}
}

// TestFailingRegistry: whichever requests fail, and in whichever way, no tag
// names an incomplete image. A goroutine polls the registry meanwhile.
func TestFailingRegistry(t *testing.T) {
	t.Parallel()
	m, _ := interrupted(t)
	for name, class := range map[string]func(*http.Request) bool{
		"blob HEAD": func(r *http.Request) bool {
			return r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/blobs/")
		},
		"upload POST": func(r *http.Request) bool { return r.Method == http.MethodPost && r.URL.Query().Get("mount") == "" },
		"mount POST":  func(r *http.Request) bool { return r.URL.Query().Get("mount") != "" },
		"upload PUT": func(r *http.Request) bool {
			return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/")
		},
		"manifest PUT": func(r *http.Request) bool {
			return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/")
		},
		"manifest GET": func(r *http.Request) bool {
			return r.Method != http.MethodPut && strings.Contains(r.URL.Path, "/manifests/")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for kind, host := range map[string]string{"lenient": lenient(t), "strict": ocitest.StartRegistry(t).Host} {
				c, failed := newCrawler(host), 0
				stop := c.poll(t)
				for _, fault := range faults {
					for _, every := range []int64{1, 4} { // all, or every fourth of the class
						proxy := disturbed(t, host, c, class, fault, every)
						if _, err := importInto(t.Context(), t, m, proxy, 4); err != nil {
							failed++
						}
					}
				}
				wantComplete(t, m, host)
				stop()
				if failed == 0 && name != "mount POST" {
					t.Errorf("%s: no import failed", kind)
				}
			}
		})
	}
}

var faults = []ocitest.Fault{
	{Drop: true},
	{Lose: true},
	{CutUpload: true, At: 500},
	{Status: http.StatusInternalServerError},
	{Status: http.StatusForbidden},
	{Status: http.StatusNotFound},
	{Header: http.Header{"Docker-Content-Digest": {"sha256:" + strings.Repeat("0", 64)}, "Location": {"/elsewhere"}}},
	{Cut: true},
	{Corrupt: true},
}

// disturbed is a registry that fails in one way at every nth request of a class.
func disturbed(t *testing.T, host string, c *crawler, class func(*http.Request) bool, fault ocitest.Fault, every int64) string {
	var mu sync.Mutex
	n := int64(0)
	return ocitest.Misbehave(t, host, func(r *http.Request) *ocitest.Fault {
		c.nudge()
		if !class(r) {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if n++; n%every == 0 {
			return &fault
		}
		return nil
	}).Host
}
