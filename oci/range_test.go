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
	"airlift/oci/ocitest"
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
	part := func(said string, body []byte) http.HandlerFunc { // of unknown length, and cut when that is not what was said
		return func(w http.ResponseWriter, _ *http.Request) {
			if said != "" {
				w.Header().Set("Content-Range", said)
			}
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(body)
		}
	}
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
		"another range":   {20_000, 30_000, []http.HandlerFunc{part("bytes 0-29999/100000", data[:30_000]), whole}, "bytes=20000-49999;", true},
		"too long":        {20_000, 30_000, []http.HandlerFunc{part("bytes 20000-50000/100000", data[20_000:50_001]), whole}, "bytes=20000-49999;", true},
		"not told which":  {20_000, 30_000, []http.HandlerFunc{part("", data[20_000:50_000]), whole}, "bytes=20000-49999;", true},
		"total unknown":   {20_000, 30_000, []http.HandlerFunc{part("bytes 20000-49999/*", data[20_000:50_000])}, "bytes=20000-49999", false},
		"a part of it":    {20_000, 30_000, []http.HandlerFunc{part("bytes 20000-29999/100000", data[20_000:30_000]), nil}, "bytes=20000-49999;bytes=30000-49999", false},
		"ignored, cut":    {20_000, 30_000, []http.HandlerFunc{cutAfter(data, 25_000), whole}, "bytes=20000-49999;", true},
		"nothing":         {20_000, 0, nil, "", false},
		"nothing, at 0":   {0, 0, nil, "", false},
		"cut, then on":    {20_000, 30_000, []http.HandlerFunc{part("bytes 20000-49999/100000", data[20_000:25_000]), nil}, "bytes=20000-49999;bytes=25000-49999", false},
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

// TestBlobRangeOfWrongSize: what belies the descriptor is no range to be mended.
func TestBlobRangeOfWrongSize(t *testing.T) {
	data := bytesOf(100_000)
	for said, reason := range map[string]string{
		"bytes 500-999/100001": " has 100001 bytes of blob sha256:",
		"bytes 500-999/100000": "the registry sent more than was asked for: the bytes up to 1000 of 100000",
	} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", said)
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(data[500:1001])
		})
		_, err := readRange(t, client(t, s.host), s, data, 500, 500)
		wantError(t, err, reason)
		if len(s.seen()) != 1 {
			t.Errorf("%s: asked %d times", said, len(s.seen()))
		}
	}
}

// TestBlobRangeOfRegistry: registries as they are know closed ranges.
func TestBlobRangeOfRegistry(t *testing.T) {
	embedded, stop, err := ocitest.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	data := bytesOf(1_000_000)
	for _, host := range []string{ocitest.StartRegistry(t).Host, embedded} {
		proxy := ocitest.Misbehave(t, host, nil)
		c, r := client(t, proxy.Host), parse(t, proxy.Host+"/a/b")
		if err := c.PutBlob(background, r, blobOf(data), opening(data)); err != nil {
			t.Fatal(err)
		}
		asked := int64(0)
		for _, at := range [][2]int64{{0, 1}, {0, 999_999}, {1, 999_999}, {123, 456_789}, {999_999, 1}} {
			body, err := c.BlobRange(background, r, blobOf(data), at[0], at[1])
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(body)
			body.Close()
			if err != nil || !bytes.Equal(got, data[at[0]:at[0]+at[1]]) {
				t.Errorf("%s: %d bytes from %d: %d bytes, %v", host, at[1], at[0], len(got), err)
			}
			asked += at[1]
		}
		if more := proxy.Sent() - asked; c.IgnoresRanges(r) || more > 100 { // the logins have a body
			t.Errorf("%s: %d bytes were sent beside; ranges are ignored: %v", host, more, c.IgnoresRanges(r))
		}
	}
}

// TestIgnoresRangesOfMirror: it is the mirror that is asked.
func TestIgnoresRangesOfMirror(t *testing.T) {
	data := bytesOf(1000)
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) })
	c := newClient(t, oci.Options{Insecure: []string{s.host}, Mirrors: []oci.SourceMirror{{Source: "quay.io", Mirror: s.host + "/quay"}}})
	r := parse(t, "quay.io/a/b")
	body, err := c.BlobRange(background, r, blobOf(data), 10, 20)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, data[10:30]) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	for where, want := range map[string]bool{"quay.io/c": true, s.host + "/d": true, "registry.example/e": false} {
		if c.IgnoresRanges(parse(t, where)) != want {
			t.Errorf("%s: it is not %v that ranges are ignored", where, want)
		}
	}
}

// TestBlobRangeRetryAfter: a registry says when to come back, in seconds or as a
// date; it is not asked before, and then for the same range.
func TestBlobRangeRetryAfter(t *testing.T) {
	data := bytesOf(100_000)
	for _, form := range []string{"seconds", "date"} {
		var due time.Time
		s := blobServer(t, data, func(w http.ResponseWriter, _ *http.Request) {
			now := time.Now()
			due = now.Add(time.Second)
			value := "1"
			if form == "date" {
				due = now.Add(2 * time.Second).Truncate(time.Second)
				value = due.UTC().Format(http.TimeFormat)
			}
			w.Header().Set("Retry-After", value)
			w.WriteHeader(http.StatusTooManyRequests)
		}, func(w http.ResponseWriter, r *http.Request) {
			if early := time.Until(due); early > 0 {
				t.Errorf("%s: asked again %s early", form, early)
			}
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
		})
		got, err := readRange(t, client(t, s.host), s, data, 300, 500)
		if err != nil || !bytes.Equal(got, data[300:800]) || len(s.seen()) != 2 || s.seen()[1].Header.Get("Range") != "bytes=300-799" {
			t.Errorf("%s: %d requests, %d bytes, %v", form, len(s.seen()), len(got), err)
		}
	}
}

// TestBlobRangeFreshRedirect: each try goes back to the registry, for the storage
// that it was sent to may be dead, or dies meanwhile, and another lives.
func TestBlobRangeFreshRedirect(t *testing.T) {
	data := bytesOf(100_000)
	dead, dying, living := serve(t, nil), blobServer(t, data, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Range", "bytes 10-90009/100000")
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(data[10:40_010])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}), blobServer(t, data)
	dead.Close()
	var tries atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n := tries.Add(1)
		storage := []*server{dead, dying, living}[min(n, 3)-1]
		http.Redirect(w, r, fmt.Sprintf("%s/blob?signature=%d", storage.URL, n), http.StatusTemporaryRedirect)
	})
	got, err := readRange(t, client(t, s.host, dead.host, dying.host, living.host), s, data, 10, 90_000)
	if err != nil || !bytes.Equal(got, data[10:90_010]) || tries.Load() != 3 || len(dying.seen()) != 1 {
		t.Fatalf("%d tries, %d bytes, %v", tries.Load(), len(got), err)
	}
	if last := living.seen()[0]; last.Header.Get("Range") != "bytes=40010-90009" || last.URL.RawQuery != "signature=3" {
		t.Errorf("asked for %s at %s", last.Header.Get("Range"), last.URL)
	}
}
