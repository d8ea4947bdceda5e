package oci_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"airlift/oci"
	"airlift/oci/ocitest"
)

// blobServer serves one blob, as http.ServeContent does, but for the faults: the
// nth request is given to the nth, and all others to the last; nil is none.
func blobServer(t *testing.T, data []byte, faults ...http.HandlerFunc) *server {
	t.Helper()
	var n atomic.Int32
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		i := min(int(n.Add(1)), len(faults)) - 1
		if i >= 0 && faults[i] != nil {
			faults[i](w, r)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	})
}

// cutAfter sends n bytes of a whole answer and drops the connection.
func cutAfter(data []byte, n int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		_, _ = w.Write(data[:n])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

func readBlob(t *testing.T, c *oci.Client, s *server, data []byte) ([]byte, error) {
	t.Helper()
	r, err := c.Blob(background, parse(t, s.host+"/a/b"), blobOf(data))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestBlobResumes(t *testing.T) {
	data := bytesOf(200_000)
	answer := func(status int, contentRange string, body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if contentRange != "" {
				w.Header().Set("Content-Range", contentRange)
			}
			w.WriteHeader(status)
			_, _ = w.Write(body)
		}
	}
	rest := fmt.Sprintf("bytes=%d-%d", 150_000, len(data)-1)
	for name, c := range map[string]struct {
		faults []http.HandlerFunc
		ranges []string // of the requests
	}{
		"undisturbed":         {nil, []string{""}},
		"206 after a cut":     {[]http.HandlerFunc{cutAfter(data, 150_000), nil}, []string{"", rest}},
		"200 to a range":      {[]http.HandlerFunc{cutAfter(data, 150_000), answer(200, "", data)}, []string{"", rest}},
		"416 to a range":      {[]http.HandlerFunc{cutAfter(data, 150_000), answer(416, "", nil), answer(200, "", data)}, []string{"", rest, ""}},
		"another range":       {[]http.HandlerFunc{cutAfter(data, 150_000), answer(206, "bytes 0-199999/200000", data), answer(200, "", data)}, []string{"", rest, ""}},
		"no Content-Range":    {[]http.HandlerFunc{cutAfter(data, 150_000), answer(206, "", data[150_000:]), answer(200, "", data)}, []string{"", rest, ""}},
		"a range too long":    {[]http.HandlerFunc{cutAfter(data, 150_000), answer(206, "bytes 150000-200000/200000", data[150_000:]), answer(200, "", data)}, []string{"", rest, ""}},
		"total unknown":       {[]http.HandlerFunc{cutAfter(data, 150_000), answer(206, "bytes 150000-199999/*", data[150_000:])}, []string{"", rest}},
		"a part of the range": {[]http.HandlerFunc{cutAfter(data, 150_000), answer(206, "bytes 150000-159999/200000", data[150_000:160_000]), nil}, []string{"", rest, "bytes=160000-199999"}},
		"503 to a range":      {[]http.HandlerFunc{cutAfter(data, 150_000), answer(503, "", nil), nil}, []string{"", rest, rest}},
		"a clean early end": {[]http.HandlerFunc{func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush() // so that no length is told
			_, _ = w.Write(data[:150_000])
		}, nil}, []string{"", rest}},
		"500 at first": {[]http.HandlerFunc{answer(500, "", nil), nil}, []string{"", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			s := blobServer(t, data, c.faults...)
			got, err := readBlob(t, client(t, s.host), s, data)
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("got %d bytes, the right ones: %v, %v", len(got), bytes.Equal(got, data), err)
			}
			var ranges []string
			for _, r := range s.seen() {
				ranges = append(ranges, r.Header.Get("Range"))
			}
			if strings.Join(ranges, ";") != strings.Join(c.ranges, ";") {
				t.Errorf("asked for %q, want %q", ranges, c.ranges)
			}
		})
	}
}

func TestBlobOfWrongSize(t *testing.T) {
	data := bytesOf(10_000)
	told := func(body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			_, _ = w.Write(body)
		}
	}
	untold := func(body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = w.Write(body)
		}
	}
	for name, c := range map[string]struct {
		text    string
		handler http.HandlerFunc
		second  http.HandlerFunc
	}{
		"longer, as it says":  {"10001 bytes of blob sha256:", told(append(data[:10_000:10_000], 1)), nil},
		"shorter, as it says": {"9999 bytes of blob sha256:", told(data[:9_999]), nil},
		"longer, untold":      {"more than was asked for: the bytes up to 10000 of 10000", untold(append(data[:10_000:10_000], 1)), nil},
		"shorter, untold":     {"unexpected EOF", untold(data[:9_999]), nil},
		"total differs": {"10001 bytes of blob sha256:", cutAfter(data, 5_000), func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 5000-9999/10001")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(data[5_000:])
		}},
	} {
		t.Run(name, func(t *testing.T) {
			faults := []http.HandlerFunc{c.handler}
			if c.second != nil {
				faults = append(faults, c.second)
			}
			s := blobServer(t, data, faults...)
			_, err := readBlob(t, client(t, s.host), s, data)
			wantError(t, err, c.text)
			if n := len(s.seen()); n > 10 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

func TestEmptyBlob(t *testing.T) {
	s := blobServer(t, nil)
	got, err := readBlob(t, client(t, s.host), s, nil)
	if err != nil || len(got) != 0 || len(s.seen()) != 1 || s.seen()[0].Header.Get("Range") != "" {
		t.Errorf("got %q, %v", got, err)
	}
	s = serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "x") })
	_, err = readBlob(t, client(t, s.host), s, nil)
	wantError(t, err, " has 1 bytes of blob sha256:")
}

// Tries are counted while nothing comes; each byte makes them count anew.
func TestBlobTries(t *testing.T) {
	data := bytesOf(100)
	var n atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var from int
		_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
		if n.Add(1)%4 == 2 && from > 0 { // one of four fails at once, the others give some bytes
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(data)-from))
		if from > 0 {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-99/100", from))
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = w.Write(data[from:min(from+3, len(data))])
		if from+3 < len(data) {
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	})
	got, err := readBlob(t, client(t, s.host), s, data)
	if err != nil || !bytes.Equal(got, data) || n.Load() < 34 { // three bytes each
		t.Errorf("%d requests, %d bytes, %v", n.Load(), len(got), err)
	}

	s = blobServer(t, data, cutAfter(data, 50), func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	_, err = readBlob(t, client(t, s.host), s, data)
	wantError(t, err, "at byte 50 of 100")
	wantError(t, err, "tried 5 times")
}

// What vanishes while it is read ends the reading at once.
func TestBlobVanishes(t *testing.T) {
	data := bytesOf(100_000)
	s := blobServer(t, data, cutAfter(data, 50_000), http.NotFound)
	_, err := readBlob(t, client(t, s.host), s, data)
	if !oci.IsMissing(err) || len(s.seen()) != 2 {
		t.Errorf("%d requests, %v", len(s.seen()), err)
	}
	s = blobServer(t, data, http.NotFound)
	if _, err := client(t, s.host).Blob(background, parse(t, s.host+"/a"), blobOf(data)); !oci.IsMissing(err) {
		t.Errorf("opened: %v", err)
	}
}

// A connection that stalls is left for another.
func TestBlobStalls(t *testing.T) {
	data := bytesOf(100_000)
	s := blobServer(t, data, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		_, _ = w.Write(data[:60_000])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}, nil)
	c := client(t, s.host)
	c.SetLimits(200*time.Millisecond, time.Minute)
	got, err := readBlob(t, c, s, data)
	if err != nil || !bytes.Equal(got, data) || len(s.seen()) != 2 {
		t.Errorf("%d requests, %d bytes, %v", len(s.seen()), len(got), err)
	}
}

// The watch is on the network: a reader may take its time.
func TestBlobOfSlowReader(t *testing.T) {
	data := bytesOf(4 << 20) // more than the sockets hold
	s := blobServer(t, data)
	c := client(t, s.host)
	c.SetLimits(50*time.Millisecond, time.Minute)
	r, err := c.Blob(background, parse(t, s.host+"/a"), blobOf(data))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	<-time.After(150 * time.Millisecond)
	got := make([]byte, 1000)
	if _, err := io.ReadFull(r, got); err != nil {
		t.Fatal(err)
	}
	<-time.After(150 * time.Millisecond) // the medium is slow
	rest, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(append(got, rest...), data) || len(s.seen()) != 1 {
		t.Errorf("%d requests, %v", len(s.seen()), err)
	}
}

// A connection that was lost while the medium was slow costs no try; one that
// is lost again at once does.
func TestBlobOfIdleReader(t *testing.T) {
	data := bytesOf(100_000)
	for name, c := range map[string]struct {
		idle     time.Duration
		faults   []http.HandlerFunc
		requests int
		fails    bool
	}{
		"lost while idle":  {0, []http.HandlerFunc{cutAfter(data, 50_000), nil}, 2, false},
		"lost again":       {0, []http.HandlerFunc{cutAfter(data, 50_000), func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }}, 2, true},
		"lost, never idle": {time.Hour, []http.HandlerFunc{cutAfter(data, 50_000), nil}, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := blobServer(t, data, c.faults...)
			client := newClient(t, oci.Options{Insecure: []string{s.host}, Tries: 1})
			client.SetIdle(c.idle)
			got, err := readBlob(t, client, s, data)
			if c.fails != (err != nil) || err == nil && !bytes.Equal(got, data) || len(s.seen()) != c.requests {
				t.Errorf("%d requests, %v", len(s.seen()), err)
			}
		})
	}
}

func TestBlobClosed(t *testing.T) {
	data := bytesOf(1000)
	s := blobServer(t, data)
	r, err := client(t, s.host).Blob(background, parse(t, s.host+"/a"), blobOf(data))
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	if _, err := r.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("read from a closed blob: %v", err)
	}
}

// Redirects to storage: every continuation is sent there anew, and neither the
// query nor the credentials go where they should not.
func TestBlobRedirects(t *testing.T) {
	data := bytesOf(100_000)
	var n atomic.Int32
	storage := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the credentials went along")
		}
		if want := fmt.Sprint("signature=", n.Load()); r.URL.RawQuery != want {
			t.Errorf("came with %s, want %s", r.URL.RawQuery, want)
		}
		switch n.Load() {
		case 1:
			cutAfter(data, 70_000)(w, r)
		case 2:
			w.WriteHeader(http.StatusForbidden)
		}
	})
	registry := blobServer(t, data, func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != "s3cret" {
			t.Error("the registry got no credentials")
		}
		http.Redirect(w, r, fmt.Sprintf("http://%s/stored?signature=%d", storage.host, n.Add(1)), http.StatusTemporaryRedirect)
	})
	authfile := t.TempDir() + "/auth.json"
	ocitest.WriteAuthfile(t, authfile, map[string][2]string{registry.host: {"alice", "s3cret"}})
	c := newClient(t, oci.Options{Authfile: authfile, Insecure: []string{registry.host, storage.host}})
	_, err := readBlob(t, c, registry, data)
	wantError(t, err, storage.host+"/stored: 403")
	if strings.Contains(err.Error(), "signature") || n.Load() != 2 {
		t.Errorf("%d redirects: %v", n.Load(), err)
	}
}

func TestTooManyRedirects(t *testing.T) {
	data := bytesOf(10)
	var n atomic.Int32
	s := blobServer(t, data, func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		http.Redirect(w, r, r.URL.Path, http.StatusFound)
	})
	_, err := readBlob(t, client(t, s.host), s, data)
	wantError(t, err, "too many redirects")
	if n.Load() != 11 {
		t.Errorf("%d requests, want the first and ten redirects", n.Load())
	}
}
