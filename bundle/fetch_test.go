package bundle

import (
	"cmp"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"airlift/oci/ocitest"
)

// TestRuns: while segments are waited for, a request brings a few, for all connections to
// work on what is needed next; when they are there before the medium takes them, more.
func TestRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fetcher{from: &sources{segment: 10}, buffers: make(chan []byte, 24), hashed: make(chan *segment, 24)}
		arrive := func(n int) {
			for range n {
				f.hashed <- &segment{bytes: make([]byte, 10)}
			}
		}
		write := func(n int) {
			for range n {
				_, err := f.next()
				must(t, err)
				f.buffers = make(chan []byte, 24) // what is given back is used
			}
		}
		wants := func(when string, offset, want int64) {
			if got := f.runLength(piece{Entry: Entry{Size: 1000}}, offset); got != want {
				t.Errorf("%s: a request for %d bytes, want %d", when, got, want)
			}
		}
		wants("at first", 0, 40)
		arrive(24)
		write(24)
		wants("what waited behind one segment was set free", 0, 40)
		arrive(2)
		write(2)
		wants("more was there in time", 0, 120)
		wants("near the end", 970, 30)
		go write(1)
		synctest.Wait()
		arrive(1)
		synctest.Wait()
		wants("one was waited for", 0, 40)
	})
}

// TestSlowMediumAsksLess: a medium that is slower than the source makes fewer requests.
func TestSlowMediumAsksLess(t *testing.T) {
	t.Parallel()
	s := newSmallExport(t, 0)
	s.push(t, 0, 500_000)
	layer := slices.MaxFunc(s.inv.Content.Blobs, func(a, b Blob) int { return cmp.Compare(a.Size, b.Size) })
	proxy := ocitest.Misbehave(t, s.host, nil)
	dir := fastDir(t)
	must(t, s.runWith(t.Context(), smallClient(t, s.host, proxy.Host), dir, disk{}, ExportOptions{
		Progress: func(Event) { time.Sleep(2 * time.Millisecond) },
	}))
	must(t, sameFiles(dir, s.whole))
	most := int(layer.Size / (shortRun * s.segment))
	if asked := proxy.Count(http.MethodGet, layer.Digest.String()); asked >= most {
		t.Errorf("%d requests, fewer than %d were to be", asked, most)
	}
}
