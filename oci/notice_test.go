package oci_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"airlift/oci"
)

// listener hears what is told.
type listener struct {
	mu    sync.Mutex
	texts []string
	n     int           // how many are awaited
	heard chan struct{} // closed when so many were told
}

func hearing(n int) *listener { return &listener{n: n, heard: make(chan struct{})} }

func (l *listener) hear(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.texts = append(l.texts, text); len(l.texts) == l.n {
		close(l.heard)
	}
}

func (l *listener) told() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.texts)
}

// silent waits until enough was told, and notes if the client goes first.
func (l *listener) silent(t *testing.T, r *http.Request) {
	select {
	case <-l.heard:
	case <-r.Context().Done():
		t.Error("the client has gone")
	case <-time.After(20 * time.Second): // it is not seen to go while its body is unread
		t.Error("nothing is told")
	}
}

// TestNotices: whatever is waited for is told twice before it is given up, and of
// the host that keeps us waiting.
func TestNotices(t *testing.T) {
	data := bytesOf(20 << 20) // more than the sockets hold
	const limit = 500 * time.Millisecond
	var all sync.WaitGroup
	for name, c := range map[string]struct {
		text   string // of a host and a time
		silent func(w http.ResponseWriter, r *http.Request, wait func())
		do     func(c *oci.Client, r oci.Reference) error
	}{
		"a login": {"%s has not answered for %s", func(_ http.ResponseWriter, r *http.Request, wait func()) {
			if r.URL.Path == "/v2/" {
				wait()
			}
		}, func(c *oci.Client, r oci.Reference) error { return c.Ping(background, r, false) }},
		"an answer": {"%s has not answered for %s", func(_ http.ResponseWriter, r *http.Request, wait func()) {
			if r.Method == http.MethodHead {
				wait()
			}
		}, func(c *oci.Client, r oci.Reference) error {
			_, err := c.HasBlob(background, r, blobOf(nil))
			return err
		}},
		"data": {"no data from %s for %s", func(w http.ResponseWriter, r *http.Request, wait func()) {
			if r.Method == http.MethodGet && r.URL.Path != "/v2/" {
				_, _ = w.Write(data[:1000])
				w.(http.Flusher).Flush()
				wait()
				_, _ = w.Write(data[1000:])
			}
		}, func(c *oci.Client, r oci.Reference) error {
			body, err := c.Blob(background, r, blobOf(data))
			if err != nil {
				return err
			}
			defer body.Close()
			_, err = io.Copy(io.Discard, body)
			return err
		}},
		"an upload to be taken": {"%s has taken no data for %s", func(_ http.ResponseWriter, r *http.Request, wait func()) {
			if r.Method == http.MethodPut {
				wait()
				_, _ = io.Copy(io.Discard, r.Body)
			}
		}, func(c *oci.Client, r oci.Reference) error {
			return c.PutBlob(background, r, blobOf(data), opening(data))
		}},
		"an upload to be kept": {"%s has not answered for %s", func(_ http.ResponseWriter, r *http.Request, wait func()) {
			if r.Method == http.MethodPut {
				_, _ = io.Copy(io.Discard, r.Body)
				wait()
			}
		}, func(c *oci.Client, r oci.Reference) error {
			return c.PutBlobOnce(background, r, blobOf(data), bytes.NewReader(data))
		}},
	} {
		l := hearing(2)
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "/v2/a/blobs/uploads/1")
			c.silent(w, r, func() { l.silent(t, r) })
			if status := map[string]int{http.MethodPost: 202, http.MethodPut: 201}[r.Method]; status > 0 {
				w.WriteHeader(status)
			}
		}))
		t.Cleanup(s.Close)
		host := s.Listener.Addr().String()
		registry := newClient(t, oci.Options{Insecure: []string{host}, Tries: 1, Notice: l.hear})
		registry.SetNotice(limit)
		all.Go(func() { // they wait
			if err := c.do(registry, parse(t, host+"/a")); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			want := []string{fmt.Sprintf(c.text, host, limit), fmt.Sprintf(c.text, host, 3*limit)}
			if got := l.told(); !slices.Equal(got, want) {
				t.Errorf("%s: told %q, want %q", name, got, want)
			}
		})
	}
	all.Wait()
}

// TestNoticesOfStorage: the host that is named is the one that we were sent to.
func TestNoticesOfStorage(t *testing.T) {
	data := bytesOf(1000)
	l := hearing(1)
	storage := serve(t, func(w http.ResponseWriter, r *http.Request) {
		l.silent(t, r)
		_, _ = w.Write(data)
	})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, storage.URL+"/blob?signature=s3cret", http.StatusTemporaryRedirect)
	})
	c := newClient(t, oci.Options{Insecure: []string{s.host, storage.host}, Notice: l.hear})
	c.SetNotice(100 * time.Millisecond)
	if _, err := readBlob(t, c, s, data); err != nil {
		t.Fatal(err)
	}
	if got := l.told()[0]; got != storage.host+" has not answered for 100ms" {
		t.Errorf("told %q", got)
	}
}

// TestNoticesOnce: connections to a host that stall together are one fact.
func TestNoticesOnce(t *testing.T) {
	const connections, limit = 8, 500 * time.Millisecond
	l := hearing(2)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { l.silent(t, r) })
	c := newClient(t, oci.Options{Insecure: []string{s.host}, Notice: l.hear})
	c.SetNotice(limit)
	var all sync.WaitGroup
	for range connections {
		all.Go(func() {
			if _, err := c.HasBlob(background, parse(t, s.host+"/a"), blobOf(nil)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	want := []string{s.host + " has not answered for 500ms", s.host + " has not answered for 1.5s"}
	if got := l.told(); len(s.seen()) != connections || !slices.Equal(got, want) {
		t.Errorf("%d requests, told %q", len(s.seen()), got)
	}
}

// TestNoticesOfTries: a try that is made again is told if people notice the wait,
// without what is secret or for terminals.
func TestNoticesOfTries(t *testing.T) {
	data := bytesOf(1000)
	busy := func(retryAfter func() string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Retry-After", retryAfter())
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, "later\x1b[31m")
		}
	}
	var all sync.WaitGroup
	never := func() string { return "" }
	second := func() string { return "1" }
	date := func() string { return time.Now().Add(2 * time.Second).UTC().Format(http.TimeFormat) }
	for name, c := range map[string]struct {
		answer  http.HandlerFunc
		backoff time.Duration
		told    string
	}{
		"asked for":        {busy(second), time.Millisecond, "503 later [31m; trying again in 1s"},
		"asked for a date": {busy(date), time.Millisecond, "503 later [31m; trying again in "},
		"not asked for":    {busy(never), time.Millisecond, ""},
		"long":             {busy(never), 2 * time.Second, "503 later [31m; trying again in "},
		"by the network":   {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 2 * time.Second, "EOF; trying again in "},
	} {
		l := hearing(0)
		storage := blobServer(t, data, c.answer, nil)
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, storage.URL+"/%1b[31mblob?signature=s3cret", http.StatusTemporaryRedirect)
		})
		registry := client(t, s.host, storage.host)
		registry.SetNotices(l.hear, c.backoff)
		all.Go(func() { // they wait
			if got, err := readBlob(t, registry, s, data); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s: %v", name, err)
			}
			told := strings.Join(l.told(), "\n")
			if c.told == "" && told != "" || c.told != "" && (!strings.HasPrefix(told, "GET "+storage.host+"/ [31mblob: ") || !strings.Contains(told, c.told)) {
				t.Errorf("%s: told %q", name, told)
			}
			if strings.Contains(told, "s3cret") || strings.ContainsAny(told, "\x1b\n") {
				t.Errorf("%s: told %q", name, told)
			}
		})
	}
	all.Wait()
}

// TestNoticesOfUs: what takes its time on our side is not the network's fault.
func TestNoticesOfUs(t *testing.T) {
	data := bytesOf(4 << 20)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Location", "/v2/a/blobs/uploads/1")
		switch r.Method {
		case http.MethodPost, http.MethodPatch:
			w.WriteHeader(http.StatusAccepted)
		case http.MethodPut:
			w.WriteHeader(http.StatusCreated)
		case http.MethodGet:
			_, _ = w.Write(data)
		}
	})
	l := hearing(0)
	c, r := newClient(t, oci.Options{Insecure: []string{s.host}, Notice: l.hear}), parse(t, s.host+"/a")
	c.SetNotice(time.Second)
	c.SetLimits(1200*time.Millisecond, time.Minute)
	pause := 1500 * time.Millisecond
	var all sync.WaitGroup
	all.Go(func() {
		body, err := c.Blob(background, r, blobOf(data))
		if err != nil {
			t.Error(err)
			return
		}
		defer body.Close()
		if got, err := io.ReadAll(&pausing{body, pause}); err != nil || !bytes.Equal(got, data) {
			t.Error(err)
		}
	})
	all.Go(func() {
		if err := c.PutBlobOnce(background, r, blobOf(data), &pausing{bytes.NewReader(data), pause}); err != nil {
			t.Error(err)
		}
	})
	u, err := c.BeginUpload(background, r, blobOf(data))
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Append(background, &pausing{bytes.NewReader(data), pause}, int64(len(data))); err != nil {
		t.Error(err)
	}
	<-time.After(pause) // another medium is put in
	if err := u.Commit(background); err != nil {
		t.Error(err)
	}
	all.Wait()
	if len(l.told()) > 0 {
		t.Errorf("told %q", l.told())
	}
}

// TestNoticesEndWithTry: a registry that answers while the source of an upload is read
// is not waited for any more when that goes on.
func TestNoticesEndWithTry(t *testing.T) {
	ended := make(chan struct{})
	s := uploads(t, func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex()
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusInsufficientStorage)
		_ = control.Flush()
		_, _ = io.Copy(io.Discard, r.Body) // until the connection is closed
		close(ended)
	})
	const limit = 200 * time.Millisecond
	var told atomic.Int32
	c := newClient(t, oci.Options{Insecure: []string{s.host}, Stall: 6 * limit, Notice: func(text string) {
		if strings.Contains(text, "has taken no data") {
			told.Add(1)
		}
	}})
	data := bytesOf(300_000)
	err := c.PutBlob(background, parse(t, s.host+"/a"), blobOf(data), func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(data[:200_000]), &waitingReader{Reader: bytes.NewReader(data[200_000:]), wait: func() { <-ended }})), nil
	})
	<-time.After(3 * limit)
	if err == nil || told.Load() > 0 {
		t.Errorf("somebody was told of it after it had ended: %v", err)
	}
}
