package oci_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"airlift/oci"
	"airlift/oci/ocitest"
)

// authfile writes credentials for one key.
func authfile(t *testing.T, key, user, password string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "auth.json")
	ocitest.WriteAuthfile(t, name, map[string][2]string{key: {user, password}})
	return name
}

// users is a registry that wants a name of everyone, takes any, and remembers
// who asked for what.
type users struct {
	host string

	mu  sync.Mutex
	who map[string]string // "METHOD /path" -> user
}

func serveUsers(t *testing.T, answer http.HandlerFunc) *users {
	t.Helper()
	u := &users{who: map[string]string{}}
	u.host = plainServer(t, func(w http.ResponseWriter, r *http.Request) {
		user, _, known := r.BasicAuth()
		if !known {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		u.mu.Lock()
		u.who[r.Method+" "+r.URL.Path] = user
		u.mu.Unlock()
		open(answer)(w, r)
	})
	return u
}

// Docker Hub goes by many names. Its HTTPS is that of the test: connections that
// are said to be TLS are plain.
func TestCredentialsOfDockerHub(t *testing.T) {
	raw := []byte(imageJSON(""))
	u := serveUsers(t, func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(raw) })
	dialTo(t, u.host)
	transport := http.DefaultTransport.(*http.Transport)
	transport.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr != "index.docker.io:443" {
			t.Errorf("went to %s", addr)
		}
		return transport.DialContext(ctx, network, addr)
	}
	r, err := oci.ParseReference("busybox:1")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"docker.io", "https://index.docker.io/v1/", "index.docker.io", "docker.io/library"} {
		clear(u.who)
		c := newClient(t, oci.Options{Authfile: authfile(t, key, "me", "secret")})
		if _, err := c.Node(t.Context(), r); err != nil || u.who["GET /v2/library/busybox/manifests/1"] != "me" {
			t.Errorf("%s: asked by %q: %v", key, u.who, err)
		}
	}
}

// What was named must be usable; and nothing of it may be shown.
func TestAuthfilesMustBeUsable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "auth.json")
	for name, text := range map[string]string{
		"not JSON":             "user:s3cret",
		"cut off":              `{"auths":{"quay.io":{"auth":"s3cret`,
		"another kind of JSON": `["s3cret"]`,
		"a Secret":             `{"kind":"Secret","data":{".dockerconfigjson":"s3cret"}}`,
		"auths of text":        `{"auths":"s3cret"}`,
		"an entry of text":     `{"auths":{"quay.io":"s3cret"}}`,
		"not base64":           `{"auths":{"quay.io":{"auth":"s3cret!"}}}`,
		"nothing":              "",
		"null":                 "null",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, named := oci.NewClient(oci.Options{Authfile: file})
		t.Setenv("REGISTRY_AUTH_FILE", file)
		_, found := oci.NewClient(oci.Options{})
		t.Setenv("REGISTRY_AUTH_FILE", "")
		for _, err := range []error{named, found} {
			wantError(t, err, "read credentials: "+file)
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%s: shows a secret: %v", name, err)
			}
		}
	}
	_, err := oci.NewClient(oci.Options{Authfile: filepath.Dir(file)})
	wantError(t, err, "read credentials")
	if err := os.WriteFile(file, []byte(`{"auths":{},"credsStore":"x","future":[1]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := oci.NewClient(oci.Options{Authfile: file}); err != nil {
		t.Error(err)
	}
}

// Another port of the same host is another server: neither redirects nor the
// places that a registry names for uploads take credentials there.
func TestCredentialsStayWithTheirHost(t *testing.T) {
	data := []byte("data")
	storage := plainServer(t, func(w http.ResponseWriter, r *http.Request) {
		for name, values := range r.Header {
			if strings.Contains(strings.ToLower(name), "auth") || name == "Cookie" {
				t.Errorf("%s %s was sent %s %q", r.Method, r.URL, name, values)
			}
		}
		if r.Method == http.MethodPut {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusCreated)
			return
		}
		_, _ = w.Write(data)
	})
	away := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "http://"+storage+"/x")
		w.WriteHeader(map[string]int{http.MethodGet: http.StatusTemporaryRedirect, http.MethodPost: http.StatusAccepted}[r.Method])
	}
	basic, bearer := serveUsers(t, away), serveTokens(t, away)
	for _, host := range []string{basic.host, bearer.host} {
		c := newClient(t, oci.Options{Insecure: []string{host, storage}, Authfile: authfile(t, host, "me", "s3cret")})
		if got, err := readAll(t, c, host, blobOf(data)); err != nil || string(got) != "data" {
			t.Errorf("read %q: %v", got, err)
		}
		if err := c.PutBlob(t.Context(), parse(t, host+"/a/b:t"), blobOf(data), opening(data)); err != nil {
			t.Error(err)
		}
	}
	if basic.who["POST /v2/a/b/blobs/uploads/"] != "me" || bearer.issued["repository:a/b:push,pull"] != 1 {
		t.Errorf("the registries themselves were asked by %q, %v", basic.who, bearer.issued)
	}
}

// Signatures stand in the queries of storage's addresses.
func TestErrorsDoNotShowQueries(t *testing.T) {
	host := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" {
			panic(http.ErrAbortHandler)
		}
		http.Redirect(w, r, "/storage?signature=s3cret", http.StatusTemporaryRedirect)
	}).host
	_, err := client(t, host).Node(t.Context(), parse(t, host+"/a/b:t"))
	wantError(t, err, "GET "+host+"/storage: ")
	if strings.Contains(err.Error(), "s3cret") {
		t.Errorf("shows a signature: %v", err)
	}
}

// tokenServer is a registry that wants bearer tokens and issues them itself.
type tokenServer struct {
	host string

	mu     sync.Mutex
	issued map[string]int // scopes -> times
	valid  map[string]bool
}

func serveTokens(t *testing.T, answer http.HandlerFunc) *tokenServer {
	t.Helper()
	s := &tokenServer{issued: map[string]int{}, valid: map[string]bool{}}
	s.host = plainServer(t, func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		switch {
		case r.URL.Path == "/token":
			s.issue(w, r)
		case !s.admits(token):
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test"`, r.Host))
			w.WriteHeader(http.StatusUnauthorized)
		default:
			open(answer)(w, r)
		}
	})
	return s
}

func (s *tokenServer) issue(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	scopes := strings.Join(r.URL.Query()["scope"], " ")
	s.issued[scopes]++
	token := fmt.Sprintf("%s %d", scopes, s.issued[scopes])
	s.valid[token] = true
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "expires_in": 60})
}

func (s *tokenServer) admits(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.valid[token]
}

// expire makes all tokens so far useless.
func (s *tokenServer) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.valid)
}

// A token that expires between the beginning of an upload and its bytes: what
// the registry takes in the end is all of them.
func TestTokenExpiresDuringAnUpload(t *testing.T) {
	var taken []string
	s := serveTokens(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.Header().Set("Location", r.URL.Path+"x")
			w.WriteHeader(http.StatusAccepted)
			return
		}
		if data, err := io.ReadAll(r.Body); err == nil && r.Method == http.MethodPut {
			taken = append(taken, string(data))
		}
		w.WriteHeader(http.StatusCreated)
	})
	for _, size := range []int{1, 300_000, 20 << 20} { // the last is more than the sockets hold
		data := bytesOf(size)
		taken = nil
		opened := 0
		err := client(t, s.host).PutBlob(t.Context(), parse(t, s.host+"/a/b:t"), blobOf(data), func() (io.ReadCloser, error) {
			if opened++; opened == 1 {
				s.expire()
			}
			return opening(data)()
		})
		if err != nil || len(taken) != 1 || taken[0] != string(data) {
			t.Errorf("%d bytes: opened %d times, %d bodies taken: %v", size, opened, len(taken), err)
		}
	}
}
