package bundle_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"airlift/bundle"
	"airlift/oci/ocitest"
)

// TestCollectorOfRegistry: docker-registry's own garbage-collect runs again and
// again while an import waits between two requests, and takes blobs that no manifest
// names yet, and manifests without a tag. Its documentation forbids that while
// somebody writes (distribution, docs/content/about/garbage-collection.md: "you should
// ensure that the registry is in read-only mode or not running at all"). What it took
// is pushed again. Manifests without a tag are taken by distribution 3 alone, which
// knows the children of lists, but not those of lists in lists.
func TestCollectorOfRegistry(t *testing.T) {
	t.Parallel()
	nested, _ := interrupted(t)
	flat := multi(t)
	for _, options := range []ocitest.RegistryOptions{{}, {Three: true}} {
		m := nested
		if options.Three {
			m = flat
		}
		starts := bundle.Rounds(2, 24)
		for start := range starts {
			far := ocitest.StartRegistryWith(t, options)
			c, n, runs := newCrawler(far.Host), atomic.Int64{}, atomic.Int64{}
			var only sync.Mutex
			proxy := ocitest.Misbehave(t, far.Host, func(r *http.Request) *ocitest.Fault {
				c.nudge()
				if n.Add(1)%61 == int64(start*61/starts) && runs.Add(1) > 0 {
					only.Lock()
					defer only.Unlock()
					far.Collect(t, options.Three)
				}
				return nil
			})
			stop := c.poll(t)
			results, err := importInto(t.Context(), t, m, proxy.Host, 1) // nobody writes beside it
			stop()
			for _, r := range results {
				if err != nil || r.State != bundle.StateImported {
					t.Errorf("collected %d times: %s: %s, %s: %v", runs.Load(), r.Reference, r.State, r.Reason, err)
				}
			}
			far.Collect(t, options.Three)
			wantHeld(t, m, far.Host)
		}
	}
}

// multi is a release of several architectures.
func multi(t *testing.T) medium {
	t.Helper()
	var release ocitest.Release
	near := source(t, func(b *ocitest.Builder) {
		release = b.Release(ocitest.ReleaseOpts{Multi: true, Components: []string{"cli", "etcd"}})
	})
	c := client(t, near.Host)
	return export(t, c, inventory(t, plan(t, c, bundle.Request{Releases: references(t, release.Reference)}), 0))
}

// wantHeld: an import finds everything, down to the blobs, and changes nothing.
func wantHeld(t *testing.T, m medium, host string) {
	t.Helper()
	results, err := m.open(t).Import(t.Context(), client(t, host, host), bundle.ImportOptions{Placement: to(t, host+"/far"), Force: true})
	for _, r := range results {
		if err != nil || r.State != bundle.StatePresent {
			t.Errorf("%s: %s, %s: %v", r.Reference, r.State, r.Reason, err)
		}
	}
	newCrawler(host).look(t)
}

// TestCollectorBeside: the same beside several writers, at any moment: what an
// import says to have brought is there when it ends; what was taken in the moment
// between is brought by the next.
func TestCollectorBeside(t *testing.T) {
	t.Parallel()
	m, _ := interrupted(t)
	for range bundle.Rounds(1, 20) {
		far := ocitest.StartRegistry(t)
		end, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			for {
				select {
				case <-end:
					return
				default:
					far.Collect(t, false)
				}
			}
		}()
		_, err := importInto(t.Context(), t, m, far.Host, 4)
		close(end)
		<-ended
		if err != nil && !strings.Contains(err.Error(), "could not be imported") && !strings.Contains(err.Error(), "import ") {
			t.Error(err)
		}
		_, err = m.open(t).Import(t.Context(), client(t, far.Host, far.Host), bundle.ImportOptions{Placement: to(t, far.Host+"/far"), Force: true})
		check(t, err)
		far.Collect(t, false)
		wantHeld(t, m, far.Host)
	}
}

// quay collects as Quay does, but by a clock of requests: what no tag names is
// gone when its temporary tag runs out (config.py, PUSH_TEMP_TAG_EXPIRATION_SEC, an
// hour; endpoints/v2/blob.py and manifest.py of quay/quay give one to each blob that
// was uploaded or mounted and to each manifest that was put by its digest).
type quay struct {
	t      *testing.T
	far    *ocitest.Registry
	expiry int

	mu    sync.Mutex
	now   int
	blobs map[[2]string]int // repository and digest, and when it was put there
	nodes map[[2]string]int
	taken int
}

// rule counts a request, and collects.
func (q *quay) rule(r *http.Request) *ocitest.Fault {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.now++
	repo, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/blobs/uploads/")
	name, node, isNode := strings.Cut(repo, "/manifests/")
	d := r.URL.Query().Get("digest") + r.URL.Query().Get("mount")
	switch {
	case isNode && r.Method == http.MethodPut && strings.HasPrefix(node, "sha256:"):
		q.nodes[[2]string{name, node}] = q.now
	case d != "" && (r.Method == http.MethodPut || r.Method == http.MethodPost && rest == ""):
		q.blobs[[2]string{repo, d}] = q.now
	}
	q.collect()
	return nil
}

func (q *quay) collect() {
	var kept map[[2]string]bool
	b := q.far.Builder()
	for put, remove := range map[*map[[2]string]int]func(string, digest.Digest){&q.blobs: b.DeleteBlob, &q.nodes: b.DeleteManifest} {
		for at, since := range *put {
			if q.now-since < q.expiry {
				continue
			}
			if kept == nil {
				kept = q.tagged(b)
			}
			if delete(*put, at); !kept[at] { // what has a tag by now keeps it
				remove(at[0], digest.Digest(at[1]))
				q.taken++
			}
		}
	}
}

// tagged is all that some tag leads to.
func (q *quay) tagged(b *ocitest.Builder) map[[2]string]bool {
	kept := map[[2]string]bool{}
	var follow func(repo, ref string)
	follow = func(repo, ref string) {
		_, raw := b.Manifest(repo, ref)
		var n tree
		if json.Unmarshal(raw, &n) != nil {
			return // written at this moment
		}
		for _, blob := range n.blobs() {
			kept[[2]string{repo, blob.Digest}] = true
		}
		for _, child := range n.Manifests {
			kept[[2]string{repo, child.Digest}] = true
			follow(repo, child.Digest)
		}
		kept[[2]string{repo, string(digest.FromBytes(raw))}] = true
	}
	for _, repo := range b.Repositories() {
		for _, tag := range b.Tags(repo) {
			follow(repo, tag)
		}
	}
	return kept
}

// TestCollectorOfQuay: an import that takes longer than a registry keeps what has no
// tag yet pushes that again.
func TestCollectorOfQuay(t *testing.T) {
	t.Parallel()
	m, _ := interrupted(t)
	taken := 0
	for _, expiry := range []int{14, 20, 30}[:bundle.Rounds(1, 3)] {

		far := ocitest.StartRegistry(t)
		q := &quay{t: t, far: far, expiry: expiry, blobs: map[[2]string]int{}, nodes: map[[2]string]int{}}
		proxy := ocitest.Misbehave(t, far.Host, q.rule)
		results, err := importInto(t.Context(), t, m, proxy.Host, 1)
		states := []string{}
		for _, r := range results {
			states = append(states, r.State)
		}
		if err != nil || slices.ContainsFunc(states, func(s string) bool { return s != bundle.StateImported }) {
			t.Errorf("expiry after %d requests, %d taken: %s, %v", expiry, q.taken, states, err)
		}
		taken += q.taken
		wantHeld(t, m, far.Host)
	}
	if taken == 0 {
		t.Error("nothing was collected")
	}
	t.Log(taken, "collected")
}
