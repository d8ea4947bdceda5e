package bundle_test

import (
	"fmt"
	"net/http/httptest"
	"runtime"
	"testing"

	"airlift/bundle"
	"airlift/oci/ocitest"
)

// TestPlanIsLight: what is kept of a plan are the bytes of its manifests, 160 for each
// blob, its digest, and little else. What planning itself takes is let go.
func TestPlanIsLight(t *testing.T) { // alone: it looks at the memory of all
	const images = 500
	registry := httptest.NewServer(ocitest.Crowd{})
	defer registry.Close()
	host := registry.Listener.Addr().String()
	c := client(t, host)
	var names []string
	for i := range images {
		names = append(names, fmt.Sprintf("%s/a/crowd:v%d", host, i))
	}
	request := bundle.Request{Images: references(t, names...)}
	plan(t, c, bundle.Request{Images: request.Images[:1]}) // what is there once
	before := live()
	content := plan(t, c, request)
	planned := live() - before
	inv := inventory(t, content, 0)
	made := live() - before
	const blobs = images * (ocitest.CrowdLayers + 1)
	for what, bytes := range map[string]int64{"a plan": planned, "an inventory": made} {
		t.Logf("%s keeps %d bytes for each blob", what, bytes/blobs)
		if bytes > 350*blobs {
			t.Errorf("%s keeps %d bytes for each blob", what, bytes/blobs)
		}
	}
	if n := len(inv.Content.Blobs); n != blobs {
		t.Errorf("%d blobs, want %d", n, blobs)
	}
	runtime.KeepAlive(request)
	runtime.KeepAlive(content)
}

// live is how many bytes of the heap are in use.
func live() int64 {
	runtime.GC()
	runtime.GC() // what the first one found in pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
