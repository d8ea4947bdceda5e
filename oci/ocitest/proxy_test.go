package ocitest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const text = "0123456789"

// behind serves text behind a proxy with one fault and returns the address and
// the number of requests that reached the target.
func behind(t *testing.T, f *Fault) (p *Proxy, reached func() int) {
	t.Helper()
	var mu sync.Mutex
	n := 0
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n++
		mu.Unlock()
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Docker-Content-Digest", "right")
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
	}))
	t.Cleanup(target.Close)
	p = Misbehave(t, strings.TrimPrefix(target.URL, "http://"), func(*http.Request) *Fault { return f })
	return p, func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

func TestFaults(t *testing.T) {
	cases := map[string]struct {
		fault   *Fault
		status  int // 0: no answer
		body    string
		broken  bool // the body ends in an error
		reached int
		header  string // Docker-Content-Digest
	}{
		"none":         {nil, 206, "234", false, 1, "right"},
		"status":       {&Fault{Status: 429, Body: "slow", Header: http.Header{"Docker-Content-Digest": {"x"}}}, 429, "slow", false, 0, "x"},
		"header":       {&Fault{Header: http.Header{"docker-content-digest": {"wrong"}}}, 206, "234", false, 1, "wrong"},
		"no header":    {&Fault{Header: http.Header{"Docker-Content-Digest": {}}}, 206, "234", false, 1, ""},
		"drop":         {&Fault{Drop: true}, 0, "", true, 0, ""},
		"lose":         {&Fault{Lose: true}, 0, "", true, 1, ""},
		"ignore range": {&Fault{IgnoreRange: true}, 200, text, false, 1, "right"},
		"cut":          {&Fault{Cut: true, At: 2}, 206, "23", true, 1, "right"},
		"cut beyond":   {&Fault{Cut: true, At: 3}, 206, "234", false, 1, "right"},
		"corrupt":      {&Fault{Corrupt: true, At: 1}, 206, "2\xcc4", false, 1, "right"},
		"delay":        {&Fault{Delay: time.Millisecond}, 206, "234", false, 1, "right"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p, reached := behind(t, c.fault)
			resp, body, err := get(t, t.Context(), p)
			if (err != nil) != c.broken {
				t.Errorf("error %v", err)
			}
			if resp == nil {
				resp = &http.Response{}
			}
			if resp.StatusCode != c.status || body != c.body || resp.Header.Get("Docker-Content-Digest") != c.header {
				t.Errorf("%d %q, digest %q", resp.StatusCode, body, resp.Header.Get("Docker-Content-Digest"))
			}
			if c.status != 0 && reached() != c.reached {
				t.Errorf("the target was asked %d times", reached())
			}
		})
	}
}

// get asks for three bytes without the transport's own retries.
func get(t *testing.T, ctx context.Context, p *Proxy) (*http.Response, string, error) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Host+"/a/b?c=d", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Range", "bytes=2-4")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

func TestStallLastsUntilTheClientGoes(t *testing.T) {
	p, _ := behind(t, &Fault{Stall: true, At: 1})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	resp, body, err := get(t, ctx, p)
	if resp == nil || body != "2" || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v %q %v", resp, body, err)
	}
}

func TestStallEndsWithTheTest(t *testing.T) {
	done := make(chan error, 1)
	t.Run("inner", func(t *testing.T) {
		p, _ := behind(t, &Fault{Stall: true, At: 1})
		resp, err := http.Get("http://" + p.Host)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			defer resp.Body.Close()
			_, err := io.ReadAll(resp.Body)
			done <- err
		}()
	})
	if err := <-done; err == nil {
		t.Error("a stalled body came to a good end")
	}
}

func TestCutUpload(t *testing.T) {
	p, reached := behind(t, &Fault{CutUpload: true, At: 100})
	body := bytes.NewReader(make([]byte, 1<<20))
	resp, err := http.Post("http://"+p.Host+"/upload", "application/octet-stream", body)
	if err == nil {
		resp.Body.Close()
		t.Error("a cut upload was answered")
	}
	if reached() != 0 {
		t.Error("a cut upload reached the target")
	}
}

func TestCorruptUpload(t *testing.T) {
	got := make(chan string, 1)
	target := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- string(body)
	}))
	t.Cleanup(target.Close)
	p := Misbehave(t, target.URL, func(*http.Request) *Fault { return &Fault{CorruptUpload: true, At: 3} })
	resp, err := http.Post("http://"+p.Host, "text/plain", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if body := <-got; body != "012\xcc456789" {
		t.Errorf("%q arrived", body)
	}
}

func TestProxyRemembers(t *testing.T) {
	p, _ := behind(t, nil)
	for range 2 {
		if _, _, err := get(t, t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(map[string]int{"GET /a/b": 2}, p.Requests()); diff != "" {
		t.Error(diff)
	}
	if p.Count("GET", "/b") != 2 || p.Count("", "/a/") != 2 || p.Count("PUT", "/b") != 0 || p.Count("GET", "/c") != 0 {
		t.Error("counted wrongly")
	}
	if r := p.Log()[0]; r.Query != "c=d" || r.Header.Get("Range") != "bytes=2-4" {
		t.Errorf("remembered %v", r)
	}
	if p.Sent() != 6 {
		t.Errorf("%d bytes sent", p.Sent())
	}
}

func TestPushThroughProxy(t *testing.T) {
	r := StartRegistry(t)
	p := Misbehave(t, r.Host, nil)
	b := NewBuilder(p.Host)
	b.ZeroLayerImage("repo", "it")
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	if p.Count("POST", "/blobs/uploads/") != 3 || p.Count("PUT", "/blobs/uploads/") != 3 || p.Count("PUT", "/manifests/it") != 1 {
		t.Errorf("not all went through the proxy: %v", p.Requests())
	}
}
