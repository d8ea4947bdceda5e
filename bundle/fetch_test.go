package bundle

import (
	"cmp"
	"net/http"
	"slices"
	"testing"
	"time"

	"airlift/oci/ocitest"
)

// TestRuns: a source that is slower than the medium is asked for short ranges, for all
// connections to work on what is needed next; one that is faster for fewer and long ones.
func TestRuns(t *testing.T) {
	t.Parallel()
	s := newSmallExport(t, 0)
	s.push(t, 0, 500_000)
	layer := slices.MaxFunc(s.inv.Content.Blobs, func(a, b Blob) int { return cmp.Compare(a.Size, b.Size) })
	runs := func(segments int64) int { return int((layer.Size-1)/(segments*s.segment) + 1) }
	for _, test := range []struct {
		name              string
		source, medium    time.Duration // that a request, and a write, take
		fewest, mostAsked int           // requests
	}{
		{"slow source", 5 * time.Millisecond, 0, runs(shortRun), runs(shortRun)},
		{"slow medium", 0, time.Millisecond, runs(longRun), runs(shortRun) / 2},
	} {
		proxy := ocitest.Misbehave(t, s.host, func(*http.Request) *ocitest.Fault { return &ocitest.Fault{Delay: test.source} })
		err := s.runWith(t.Context(), smallClient(t, s.host, proxy.Host), fastDir(t), disk{}, ExportOptions{
			Progress: func(Event) { time.Sleep(test.medium) },
		})
		asked := proxy.Count(http.MethodGet, layer.Digest.String())
		if err != nil || asked < test.fewest || asked > test.mostAsked {
			t.Errorf("%s: %d requests, %d to %d were to be: %v", test.name, asked, test.fewest, test.mostAsked, err)
		}
	}
}
