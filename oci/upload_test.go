package oci_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"airlift/oci"
	"airlift/oci/ocitest"
)

// upload sends data in parts that end at the given places, and at its end.
func upload(c *oci.Client, r oci.Reference, data []byte, ends ...int) error {
	u, err := c.BeginUpload(background, r, blobOf(data))
	if err != nil {
		return err
	}
	start := 0
	for _, end := range append(ends, len(data)) {
		if err := u.Append(background, bytes.NewReader(data[start:end]), int64(end-start)); err != nil {
			return err
		}
		start = end
	}
	return u.Commit(background)
}

// registries are real ones: distribution's, and the one that is built in.
func registries(t *testing.T) []string {
	t.Helper()
	embedded, stop, err := ocitest.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return []string{ocitest.StartRegistry(t).Host, embedded}
}

// TestUploadInParts: a blob that is sent in parts is there, byte for byte.
func TestUploadInParts(t *testing.T) {
	for i, host := range registries(t) {
		proxy := ocitest.Misbehave(t, host, nil)
		c, r := client(t, proxy.Host), parse(t, proxy.Host+"/a/b")
		for size, ends := range map[int][]int{0: nil, 1: nil, 200_000: {1, 1, 65_536, 199_999}, 300_000: {65_537, 131_072}, 10 << 20: {9 << 20}} {
			data := append(bytesOf(size), byte(i))[:size]
			if err := upload(c, r, data, ends...); err != nil {
				t.Fatalf("%s: %d bytes: %v", host, size, err)
			}
			body, err := c.Blob(background, r, blobOf(data))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(body)
			body.Close()
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s: %d bytes of %d came back, %v", host, len(got), size, err)
			}
		}
		var ranges []string
		for _, q := range proxy.Log() {
			if q.Method == http.MethodPatch && q.Header.Get("Content-Type") == "application/octet-stream" {
				ranges = append(ranges, q.Header.Get("Content-Range"))
			}
		}
		if all := strings.Join(ranges, " "); !strings.Contains(all, "0-65536 65537-131071 131072-299999") {
			t.Errorf("%s: sent the ranges %s", host, all)
		}
	}
}

// TestUploadRefusals: what cannot become the blob is not said to be it.
func TestUploadRefusals(t *testing.T) {
	data := bytesOf(1000)
	for _, host := range registries(t) {
		c, r := client(t, host), parse(t, host+"/a/b")
		begin := func() *oci.Upload {
			u, err := c.BeginUpload(background, r, blobOf(data))
			if err != nil {
				t.Fatal(err)
			}
			return u
		}
		u := begin()
		wantError(t, u.Append(background, bytes.NewReader(data), -1), "-1 bytes do not follow the first 0 of 1000")
		wantError(t, u.Append(background, bytes.NewReader(data), 1001), "1001 bytes do not follow the first 0 of 1000")
		if err := u.Append(background, bytes.NewReader(data[:999]), 999); err != nil {
			t.Fatal(err)
		}
		wantError(t, u.Commit(background), "only 999 of 1000 bytes were sent")
		wantError(t, u.Append(background, bytes.NewReader(nil), 1), "ends 1 bytes early")
		wantError(t, begin().Append(background, bytes.NewReader(data), 999), "longer than")
		u = begin()
		if err := u.Append(background, bytes.NewReader(append([]byte("x"), data[1:]...)), 1000); err != nil {
			t.Fatal(err)
		}
		wantError(t, u.Commit(background), "DIGEST_INVALID")
		if has, err := c.HasBlob(background, r, blobOf(data)); has || err != nil {
			t.Errorf("%s: has the blob: %v, %v", host, has, err)
		}
	}
}

// TestUploadCancelled: a registry keeps nothing of an upload that is given up.
func TestUploadCancelled(t *testing.T) {
	registry := ocitest.StartRegistry(t)
	c, r := client(t, registry.Host), parse(t, registry.Host+"/a/b")
	left := func() int {
		found, err := filepath.Glob(filepath.Join(registry.Root, "docker/registry/v2/repositories/a/b/_uploads/*/data"))
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	u, err := c.BeginUpload(background, r, blobOf(bytesOf(1000)))
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Append(background, bytes.NewReader(bytesOf(500)), 500); err != nil || left() != 1 {
		t.Fatalf("%d uploads, %v", left(), err)
	}
	u.Cancel(background)
	if left() != 0 {
		t.Error("the upload is still there")
	}
	damaged := errors.New("damaged")
	err = c.PutBlobOnce(background, r, blobOf(bytesOf(1000)), &failing{bytes.NewReader(bytesOf(1000)), damaged})
	if err != damaged || left() != 0 {
		t.Errorf("%d uploads, %v", left(), err)
	}
}

// TestUploadsLeft: whatever ends a push, a registry keeps nothing of it that can be
// removed: of two tries that broke off, when somebody else has pushed the blob meanwhile,
// after an interruption, or when there is no space.
// (distribution 2.8 forgets what it has of a request that broke off.)
func TestUploadsLeft(t *testing.T) {
	data := bytesOf(6 << 20)
	for name, c := range map[string]struct {
		put, kept *ocitest.Fault // of each but the third PUT, and of the question after it how much was kept
		stop      bool           // the context ends in the middle
		other     bool           // somebody else pushes the blob before that question
		want      string
	}{
		"cut, of no use": {&ocitest.Fault{BreakUpload: true, At: 3 << 20}, &ocitest.Fault{Header: http.Header{"Range": {"0-0"}}}, false, false, ""},
		"cut, and there": {&ocitest.Fault{BreakUpload: true, At: 3 << 20}, &ocitest.Fault{Header: http.Header{"Range": {"0-0"}}}, false, true, ""},
		"no space":       {&ocitest.Fault{Status: http.StatusInsufficientStorage}, nil, false, false, "507"},
		"interrupted":    {nil, nil, true, false, "context canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			registry := ocitest.StartRegistryWith(t, ocitest.RegistryOptions{Three: true})
			var puts atomic.Int32
			var asked atomic.Bool
			proxy := ocitest.Misbehave(t, registry.Host, func(r *http.Request) *ocitest.Fault {
				switch {
				case r.Method == http.MethodPut && puts.Add(1) != 3:
					asked.Store(false)
					return c.put
				case r.Method == http.MethodGet && puts.Load() > 0 && !asked.Swap(true):
					if c.other {
						if err := client(t, registry.Host).PutBlob(t.Context(), parse(t, registry.Host+"/a/b"), blobOf(data), opening(data)); err != nil {
							t.Error(err)
						}
					}
					return c.kept
				}
				return nil
			})
			client := client(t, proxy.Host)
			client.SetNotices(nil, 200*time.Millisecond)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := client.PutBlob(ctx, parse(t, proxy.Host+"/a/b"), blobOf(data), func() (io.ReadCloser, error) {
				return io.NopCloser(io.MultiReader(bytes.NewReader(data[:5<<20]), &waitingReader{Reader: bytes.NewReader(data[5<<20:]), wait: func() {
					if c.stop {
						cancel()
					}
				}})), nil
			})
			if c.want != "" {
				wantError(t, err, c.want)
			} else if err != nil {
				t.Fatal(err)
			}
			left, err := filepath.Glob(filepath.Join(registry.Root, "docker/registry/v2/repositories/a/b/_uploads/*/data"))
			if err != nil || len(left) > 0 {
				t.Errorf("%d uploads are left, %v", len(left), err)
			}
		})
	}
}

// TestUploadPartWithheld: a part whose reader finds at its end that its bytes are
// wrong is never sent as a whole.
func TestUploadPartWithheld(t *testing.T) {
	damaged := errors.New("damaged")
	for _, size := range []int{1, 64 << 10, 1_000_000} {
		var got atomic.Int64
		var whole atomic.Bool
		s := uploads(t, func(http.ResponseWriter, *http.Request) { t.Error("it was committed") }, func(w http.ResponseWriter, r *http.Request) {
			n, err := io.Copy(io.Discard, r.Body)
			got.Add(n)
			whole.Store(err == nil)
		})
		u, err := client(t, s.host).BeginUpload(background, parse(t, s.host+"/a"), blobOf(bytesOf(size)))
		if err != nil {
			t.Fatal(err)
		}
		err = u.Append(background, &failing{bytes.NewReader(bytesOf(size)), damaged}, int64(size))
		s.Close() // waits for the handlers
		if err != damaged || whole.Load() || got.Load() >= int64(size) {
			t.Errorf("%d bytes: the registry saw %d, whole %v, %v", size, got.Load(), whole.Load(), err)
		}
	}
}

// TestUploadPartAnsweredEarly: a registry that has not read a part has it not.
func TestUploadPartAnsweredEarly(t *testing.T) {
	s := uploads(t, nil, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", r.URL.String())
		w.WriteHeader(http.StatusAccepted)
	})
	data := bytesOf(20 << 20) // more than the sockets hold
	wantError(t, upload(client(t, s.host), parse(t, s.host+"/a"), data), "")
}

// TestUploadAfterPause: while a person changes a medium, the login runs out and
// the connections die, some without a word. No part suffers from that.
func TestUploadAfterPause(t *testing.T) {
	for name, pause := range map[string]func(s *pausedRegistry){
		"the login runs out":         func(s *pausedRegistry) { s.token.Add(1) },
		"connections are closed":     func(s *pausedRegistry) { s.CloseClientConnections() },
		"connections die in silence": func(s *pausedRegistry) { s.bury() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newPausedRegistry(t)
			c := client(t, s.host)
			c.SetLimits(time.Second, time.Hour)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			data := bytesOf(300_000)
			u, err := c.BeginUpload(ctx, parse(t, s.host+"/a"), blobOf(data))
			if err != nil {
				t.Fatal(err)
			}
			for part := range 3 {
				if err := u.Append(ctx, bytes.NewReader(data[part*100_000:][:100_000]), 100_000); err != nil {
					t.Fatalf("part %d: %v", part, err)
				}
				pause(s)
			}
			if err := u.Commit(ctx); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(s.got.Bytes(), data) || s.patches.Load() != 3 {
				t.Errorf("got %d bytes in %d parts", s.got.Len(), s.patches.Load())
			}
		})
	}
}

// pausedRegistry takes one upload, from those who have the last token.
type pausedRegistry struct {
	*httptest.Server
	host           string
	token, patches atomic.Int32
	got            bytes.Buffer

	mu   sync.Mutex
	dead map[string]bool // connections by their other end; false if they live
}

func newPausedRegistry(t *testing.T) *pausedRegistry {
	s := &pausedRegistry{dead: map[string]bool{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	s.host = s.Listener.Addr().String()
	return s
}

func (s *pausedRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.isDead(r.RemoteAddr) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		return
	}
	token := fmt.Sprintf("token%d", s.token.Load())
	w.Header().Set("Location", "/v2/a/blobs/uploads/1")
	switch {
	case r.URL.Path == "/token":
		fmt.Fprintf(w, `{"token":%q}`, token)
	case r.Header.Get("Authorization") != "Bearer "+token:
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="x"`, r.Host))
		w.WriteHeader(http.StatusUnauthorized)
	case r.Method == http.MethodHead:
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodPut:
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodPatch:
		s.patches.Add(1)
		_, _ = s.got.ReadFrom(r.Body)
		w.WriteHeader(http.StatusAccepted)
	case r.Method == http.MethodPost:
		w.WriteHeader(http.StatusAccepted)
	}
}

// isDead says whether a connection is; it is known from now on.
func (s *pausedRegistry) isDead(remote string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	dead := s.dead[remote]
	s.dead[remote] = dead
	return dead
}

// bury lets nothing come of the connections so far.
func (s *pausedRegistry) bury() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for remote := range s.dead {
		s.dead[remote] = true
	}
}

// TestUploadCommitAnswerLost: the answer that is lost was a good one, and the
// next finds no upload.
func TestUploadCommitAnswerLost(t *testing.T) {
	data := bytesOf(100_000)
	for _, host := range registries(t) {
		var puts atomic.Int32
		proxy := ocitest.Misbehave(t, host, func(r *http.Request) *ocitest.Fault {
			if r.Method == http.MethodPut && puts.Add(1) == 1 {
				return &ocitest.Fault{Lose: true}
			}
			return nil
		})
		c, r := client(t, proxy.Host), parse(t, proxy.Host+"/a/b")
		if err := upload(c, r, data, 50_000); err != nil || puts.Load() != 2 {
			t.Errorf("%s: tried %d times, %v", host, puts.Load(), err)
		}
		if has, err := c.HasBlob(background, r, blobOf(data)); !has || err != nil {
			t.Errorf("%s: has the blob: %v, %v", host, has, err)
		}
	}
}

// TestUploadOnce: what can be read only once is sent once, and nothing is read of
// it afterwards. That the upload can be begun is waited for.
func TestUploadOnce(t *testing.T) {
	data := bytesOf(300_000)
	busy := ocitest.Fault{Status: http.StatusServiceUnavailable}
	for name, c := range map[string]struct {
		begin, send ocitest.Fault // what befalls the first of each
		posts       int
		failure     string
	}{
		"well":          {posts: 1},
		"busy at first": {begin: busy, posts: 2},
		"busy later":    {send: busy, posts: 1, failure: ": 503 "},
		"cut":           {send: ocitest.Fault{CutUpload: true, At: 100_000}, posts: 1, failure: "PUT "},
		"forgotten":     {send: ocitest.Fault{Status: 404, Body: `{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}`}, posts: 1, failure: "BLOB_UPLOAD_UNKNOWN"},
	} {
		t.Run(name, func(t *testing.T) {
			var posts, puts atomic.Int32
			proxy := ocitest.Misbehave(t, registries(t)[0], func(r *http.Request) *ocitest.Fault {
				switch {
				case r.Method == http.MethodPost && posts.Add(1) == 1:
					return &c.begin
				case r.Method == http.MethodPut && puts.Add(1) == 1:
					return &c.send
				}
				return nil
			})
			registry, r := client(t, proxy.Host), parse(t, proxy.Host+"/a/b")
			source := bytes.NewReader(data)
			err := registry.PutBlobOnce(background, r, blobOf(data), source)
			left := source.Len()
			has, asked := registry.HasBlob(background, r, blobOf(data))
			if asked != nil || has != (err == nil) || puts.Load() != 1 || int(posts.Load()) != c.posts {
				t.Errorf("begun %d times, sent %d times, has it: %v, %v, %v", posts.Load(), puts.Load(), has, asked, err)
			}
			if (err == nil) != (c.failure == "") || err != nil && (!strings.Contains(err.Error(), c.failure) || strings.Contains(err.Error(), "tried")) {
				t.Errorf("got the error %v, want one with %q", err, c.failure)
			}
			if source.Len() != left {
				t.Error("it was read on")
			}
		})
	}
}
