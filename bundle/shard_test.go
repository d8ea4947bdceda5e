package bundle_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"airlift/bundle"
	"airlift/oci/ocitest"
)

func TestParseShard(t *testing.T) {
	for s, want := range map[string]bundle.Shard{
		"1/1": {Index: 0, Count: 1}, "0/1": {Index: 0, Count: 1}, "2/4": {Index: 2, Count: 4},
		"0/4": {Index: 0, Count: 4}, "4/4": {Index: 0, Count: 4}, "999/1000": {Index: 999, Count: 1000},
	} {
		if got, err := bundle.ParseShard(s); err != nil || got != want {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "1", "/", "1/", "/4", "5/4", "0/0", "-1/4", "1/-4", "1/4/4", "a/b", "1/1001", "1 / 4", "70000/80000"} {
		if got, err := bundle.ParseShard(s); err == nil {
			t.Errorf("%q: %+v", s, got)
		}
	}
}

// TestShards: hosts that import their parts at once bring each image once between
// them, and tag no release; an import of all brings then nothing but its tag, and
// asks little.
func TestShards(t *testing.T) {
	t.Parallel()
	var release ocitest.Release
	near := source(t, func(b *ocitest.Builder) {
		var components []string
		for i := range 20 {
			components = append(components, fmt.Sprint("part", i))
		}
		release = b.Release(ocitest.ReleaseOpts{Components: components, LayerSize: 100})
		b.NestedIndex("team/nested", "v1")
		b.ZeroLayerImage("team/zero", "v1")
		b.Image("team/zero", "v2", ocitest.ImageOpts{})
	})
	c := client(t, near.Host)
	zero, _ := c.Node(t.Context(), references(t, "quay.io/team/zero:v1")[0])
	m := export(t, c, inventory(t, plan(t, c, bundle.Request{
		Releases: references(t, release.Reference),
		Images:   references(t, "quay.io/team/nested:v1", "quay.io/team/zero:v1", "quay.io/team/zero:v2", "quay.io/team/zero@"+string(zero.Descriptor.Digest)),
	}), 0))
	const hosts = 4
	far := ocitest.StartRegistry(t)
	var all sync.WaitGroup
	var mu sync.Mutex
	brought, writers := map[string][]int{}, map[string][]int{} // the parts, by image and by name
	for shard := range hosts {
		proxy := ocitest.Misbehave(t, far.Host, nil)
		all.Go(func() {
			results, err := m.open(t).Import(t.Context(), client(t, proxy.Host, proxy.Host), bundle.ImportOptions{
				Placement: to(t, proxy.Host+"/far"), Shard: bundle.Shard{Index: shard, Count: hosts},
			})
			mu.Lock()
			defer mu.Unlock()
			for _, r := range results {
				brought[r.Reference] = append(brought[r.Reference], shard)
				if isRelease := strings.Contains(r.Reference, "ocp-release@"); err != nil || (r.State == bundle.StateImported) == isRelease {
					t.Errorf("%d: %s: %s, %s: %v", shard, r.Reference, r.State, r.Reason, err)
				}
			}
			for _, r := range proxy.Log() {
				if _, tag, is := strings.Cut(r.Path, "/manifests/"); is && r.Method == http.MethodPut && !strings.HasPrefix(tag, "sha256:") {
					writers[r.Path] = append(writers[r.Path], shard)
				}
			}
		})
	}
	all.Wait()
	images := len(m.inv.Content.Images)
	if len(brought) != images || brought["quay.io/team/zero:v1"][0] != brought["quay.io/team/zero@"+string(zero.Descriptor.Digest)][0] {
		t.Errorf("%d images of %d: %v", len(brought), images, brought)
	}
	for name, in := range brought {
		if len(in) != 1 {
			t.Errorf("%s is in the parts %d", name, in)
		}
	}
	for name, parts := range writers { // more than once by one: docker-registry answers 500 now and then
		if len(slices.Compact(parts)) != 1 || strings.Contains(name, "ocp-release/") {
			t.Errorf("%s was written by the parts %d", name, parts)
		}
	}
	newCrawler(far.Host).look(t)

	proxy := ocitest.Misbehave(t, far.Host, nil)
	results, err := m.open(t).Import(t.Context(), client(t, proxy.Host, proxy.Host), bundle.ImportOptions{Placement: to(t, proxy.Host+"/far")})
	check(t, err)
	for _, r := range results {
		if want := map[bool]string{true: bundle.StateImported, false: bundle.StatePresent}[strings.Contains(r.Reference, "ocp-release@")]; r.State != want {
			t.Errorf("%s: %s, %s", r.Reference, r.State, r.Reason)
		}
	}
	if n := proxy.Count(http.MethodPut, "/blobs/uploads/"); n > 0 || len(proxy.Log()) > 3*images {
		t.Errorf("%d uploads, %d requests for %d images", n, len(proxy.Log()), images)
	}
	wantHeld(t, m, far.Host)
}
