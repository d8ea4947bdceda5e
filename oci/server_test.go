package oci_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci"
	"airlift/oci/ocitest"
)

// server is a registry that does what a test says.
type server struct {
	*httptest.Server
	host string

	mu       sync.Mutex
	requests []*http.Request
}

// serve answers /v2/ with 200, and hands everything else to the handler,
// remembering it.
func serve(t *testing.T, handler http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		s.mu.Lock()
		s.requests = append(s.requests, r)
		s.mu.Unlock()
		handler(w, r)
	}))
	t.Cleanup(s.Close)
	s.host = s.Listener.Addr().String()
	return s
}

// seen gives the requests so far but for /v2/.
func (s *server) seen() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*http.Request{}, s.requests...)
}

// client speaks to registries over plain HTTP, and does not wait long.
func client(t *testing.T, hosts ...string) *oci.Client {
	t.Helper()
	return newClient(t, oci.Options{Insecure: hosts})
}

func newClient(t *testing.T, o oci.Options) *oci.Client {
	t.Helper()
	if o.Authfile == "" {
		t.Setenv("REGISTRY_AUTH_FILE", "")
		t.Setenv("HOME", t.TempDir()) // no credentials of whoever runs the tests
		t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
		t.Setenv("XDG_CONFIG_HOME", "")
		t.Setenv("DOCKER_CONFIG", "")
	}
	o.Backoff = time.Millisecond
	c, err := oci.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func parse(t *testing.T, s string) oci.Reference {
	t.Helper()
	r, err := oci.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func blobOf(data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: "application/octet-stream", Digest: digest.FromBytes(data), Size: int64(len(data))}
}

// bytesOf gives n bytes that differ from their neighbours.
func bytesOf(n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i>>8) ^ byte(i*7)
	}
	return data
}

func wantError(t *testing.T, err error, part string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), part) {
		t.Fatalf("got the error %v, want one with %q", err, part)
	}
}

func built(t *testing.T, b *ocitest.Builder) {
	t.Helper()
	if err := b.Err(); err != nil {
		t.Fatal(err)
	}
}

var background = context.Background()
