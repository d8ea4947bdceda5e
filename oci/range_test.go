package oci_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"airlift/oci"
)

func readRange(t *testing.T, c *oci.Client, s *server, data []byte, offset, length int64) ([]byte, error) {
	t.Helper()
	r, err := c.BlobRange(background, parse(t, s.host+"/a/b"), blobOf(data), offset, length)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// TestBlobRange: a range is asked for as a closed one, whatever the registry
// makes of it.
func TestBlobRange(t *testing.T) {
	data := bytesOf(100_000)
	whole := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) }
	refused := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusRequestedRangeNotSatisfiable) }
	for name, c := range map[string]struct {
		offset, length int64
		faults         []http.HandlerFunc
		ranges         string
		ignores        bool
	}{
		"the middle":      {20_000, 30_000, nil, "bytes=20000-49999", false},
		"the start":       {0, 30_000, nil, "bytes=0-29999", false},
		"the end":         {70_000, 30_000, nil, "bytes=70000-99999", false},
		"everything":      {0, 100_000, nil, "", false},
		"one byte":        {99_999, 1, nil, "bytes=99999-99999", false},
		"ignored":         {20_000, 30_000, []http.HandlerFunc{whole}, "bytes=20000-49999", true},
		"ignored at 0":    {0, 30_000, []http.HandlerFunc{whole}, "bytes=0-29999", true},
		"not satisfiable": {20_000, 30_000, []http.HandlerFunc{refused, whole}, "bytes=20000-49999;", true},
		"cut, then on": {20_000, 30_000, []http.HandlerFunc{func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 20000-49999/100000")
			w.Header().Set("Content-Length", "30000")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(data[20_000:25_000])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, nil}, "bytes=20000-49999;bytes=25000-49999", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := blobServer(t, data, c.faults...)
			registry := client(t, s.host)
			got, err := readRange(t, registry, s, data, c.offset, c.length)
			if err != nil || !bytes.Equal(got, data[c.offset:c.offset+c.length]) {
				t.Fatalf("got %d bytes, %v", len(got), err)
			}
			var ranges []string
			for _, r := range s.seen() {
				ranges = append(ranges, r.Header.Get("Range"))
			}
			if got := strings.Join(ranges, ";"); got != c.ranges {
				t.Errorf("asked for %q, want %q", got, c.ranges)
			}
			if got := registry.IgnoresRanges(parse(t, s.host+"/other/repo")); got != c.ignores {
				t.Errorf("the registry ignores ranges: %v", got)
			}
		})
	}
	s := blobServer(t, data)
	for _, bad := range [][2]int64{{-1, 5}, {0, -1}, {0, 100_001}, {100_000, 1}, {1 << 62, 1 << 62}} {
		if _, err := readRange(t, client(t, s.host), s, data, bad[0], bad[1]); err == nil || len(s.seen()) > 0 {
			t.Errorf("%d bytes from %d: %v", bad[1], bad[0], err)
		}
	}
}

// TestBlobRangeReusesConnection: a range that was read to its end leaves the
// connection to the next.
func TestBlobRangeReusesConnection(t *testing.T) {
	data := bytesOf(1 << 20)
	s := blobServer(t, data)
	c := client(t, s.host)
	remotes := map[string]bool{}
	for offset := int64(0); offset < int64(len(data)); offset += 100_000 {
		if _, err := readRange(t, c, s, data, offset, min(100_000, int64(len(data))-offset)); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range s.seen() {
		remotes[r.RemoteAddr] = true
	}
	if len(remotes) != 1 || len(s.seen()) != 11 {
		t.Errorf("%d requests over %d connections", len(s.seen()), len(remotes))
	}
}

// TestBlobRangeFreshRedirect: each try goes back to the registry, for the place
// that it was sent to may be gone.
func TestBlobRangeFreshRedirect(t *testing.T) {
	data := bytesOf(100_000)
	var tries atomic.Int32
	storage := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/place2" {
			panic(http.ErrAbortHandler)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, fmt.Sprintf("http://%s/place%d", storage.host, tries.Add(1)), http.StatusTemporaryRedirect)
	})
	got, err := readRange(t, client(t, s.host, storage.host), s, data, 10, 500)
	if err != nil || !bytes.Equal(got, data[10:510]) || tries.Load() != 2 {
		t.Errorf("%d tries, %d bytes, %v", tries.Load(), len(got), err)
	}
}

// TestNotices: what people wait for is told, once, and without what is secret.
func TestNotices(t *testing.T) {
	data := bytesOf(100_000)
	s := blobServer(t, data, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		_, _ = w.Write(data[:60_000])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	}, nil)
	told := make(chan string, 10)
	c := newClient(t, oci.Options{Insecure: []string{s.host}, Notice: func(text string) { told <- text }})
	c.SetLimits(200*time.Millisecond, time.Minute)
	c.SetNotice(50 * time.Millisecond)
	if got, err := readBlob(t, c, s, data); err != nil || !bytes.Equal(got, data) {
		t.Fatal(err)
	}
	first, second := <-told, <-told
	if want := "no data from " + s.host + " for 50ms"; first != want {
		t.Errorf("told %q, want %q", first, want)
	}
	if !strings.Contains(second, "429 Too Many Requests; trying again in ") {
		t.Errorf("told %q", second)
	}
}

// TestNoticesOfNothing: a reader that takes its time is not the network's fault.
func TestNoticesOfNothing(t *testing.T) {
	data := bytesOf(4 << 20)
	s := blobServer(t, data)
	told := make(chan string, 10)
	c := newClient(t, oci.Options{Insecure: []string{s.host}, Notice: func(text string) { told <- text }})
	c.SetNotice(20 * time.Millisecond)
	r, err := c.Blob(background, parse(t, s.host+"/a"), blobOf(data))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	<-time.After(100 * time.Millisecond)
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
		t.Fatal(err)
	}
	select {
	case text := <-told:
		t.Errorf("told %q", text)
	default:
	}
}
