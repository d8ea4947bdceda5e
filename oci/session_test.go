package oci_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"airlift/oci"
	"airlift/oci/ocitest"
)

// A registry over plain HTTP is refused unless it was named, on loopback too,
// where the login would fall back to it by itself.
func TestPlainHTTPRefused(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, imageJSON("")) })
	for _, insecure := range [][]string{nil, {"127.0.0.1"}, {"127.0.0.1:1"}, {"localhost"}} {
		_, err := client(t, insecure...).Node(background, parse(t, s.host+"/a"))
		wantError(t, err, "server gave HTTP response to HTTPS client")
		if !errors.Is(err, http.ErrSchemeMismatch) || len(s.seen()) != 0 || strings.Contains(err.Error(), "tried") {
			t.Errorf("%v: %d requests, %v", insecure, len(s.seen()), err)
		}
	}
	if _, err := client(t, s.host).Node(background, parse(t, s.host+"/a")); err != nil {
		t.Error(err)
	}
}

// Nor does a redirect lead to plain HTTP, or past the verification of
// certificates, somewhere else.
func TestRedirectToUnnamedHost(t *testing.T) {
	plain := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("reached over plain HTTP") })
	unverified := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached without verification") }))
	unverified.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer unverified.Close()
	for target, reason := range map[string]string{plain.URL: "plain HTTP to this host was not allowed", unverified.URL: "certificate"} {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target+"/x", http.StatusFound) })
		_, err := client(t, s.host).Node(background, parse(t, s.host+"/a"))
		wantError(t, err, reason)
		if len(s.seen()) != 1 {
			t.Errorf("tried %d times", len(s.seen()))
		}
	}
}

// TestHTTP1: also to a registry that would take all requests on one connection, by HTTP/2.
func TestHTTP1(t *testing.T) {
	s := httptest.NewUnstartedServer(open(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 {
			t.Errorf("%s was spoken", r.Proto)
		}
		fmt.Fprint(w, imageJSON(""))
	}))
	s.EnableHTTP2 = true
	host := started(t, s, (*httptest.Server).StartTLS)
	if _, err := client(t, host).Node(background, parse(t, host+"/a")); err != nil {
		t.Error(err)
	}
}

func TestCertificates(t *testing.T) {
	registry := ocitest.StartRegistryWith(t, ocitest.RegistryOptions{TLS: true})
	r := parse(t, registry.Host+"/a")
	_, err := newClient(t, oci.Options{}).HasBlob(background, r, someBlob)
	if unknown := (*tls.CertificateVerificationError)(nil); !errors.As(err, &unknown) {
		t.Errorf("got %v", err)
	}
	wantError(t, err, "unknown authority")
	if strings.Contains(err.Error(), "plain HTTP") {
		t.Errorf("the fallback that was refused hides the reason: %v", err)
	}
	for _, o := range []oci.Options{{CAFiles: []string{registry.CAFile}}, {Insecure: []string{registry.Host}}} {
		if _, err := newClient(t, o).HasBlob(background, r, someBlob); err != nil {
			t.Error(err)
		}
	}
}

func TestNewClientRefuses(t *testing.T) {
	dir := t.TempDir()
	file := func(name, contents string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(contents), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for _, o := range []oci.Options{
		{Authfile: filepath.Join(dir, "absent")},
		{Authfile: file("text", "s3cret-that-is-no-JSON")},
		{Authfile: file("other", `{"kind":"Secret"}`)},
		{Authfile: file("list", `[]`)},
		{Authfile: file("number", `{"auths":{"a.example":{"auth":987654}}}`)},
		{Authfile: file("auth", `{"auths":{"a.example":{"auth":"s3cret!"}}}`)},
		{CAFiles: []string{filepath.Join(dir, "absent")}},
		{CAFiles: []string{file("ca", "no PEM")}},
		{Insecure: []string{"http://a.example"}},
		{Insecure: []string{"a.example/b"}},
	} {
		c, err := oci.NewClient(o)
		if err == nil {
			t.Errorf("%+v: made %v", o, c)
		} else if strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "987654") {
			t.Errorf("the error shows contents: %v", err)
		}
	}
	for _, variable := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"} {
		for value, good := range map[string]bool{"": true, "proxy.example:3128": true, "http://bob:s3cret@proxy.example": true, "http://bob:s3cret%zz@proxy.example": false} {
			t.Setenv(variable, value)
			if _, err := oci.NewClient(oci.Options{}); good != (err == nil) || err != nil && (strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), variable)) {
				t.Errorf("%s=%s: %v", variable, value, err)
			}
		}
		t.Setenv(variable, "")
	}
	t.Setenv("REGISTRY_AUTH_FILE", filepath.Join(dir, "absent"))
	if _, err := oci.NewClient(oci.Options{}); err == nil {
		t.Error("a file that REGISTRY_AUTH_FILE names is not missed")
	}
}

// The credentials of the longest matching name are used: of a repository, a
// namespace, the registry. Those of a mirror are the mirror's.
func TestCredentials(t *testing.T) {
	var mu sync.Mutex
	used := map[string]string{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _, ok := r.BasicAuth()
		if !ok {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		used[strings.TrimPrefix(r.URL.Path, "/v2/")] = user
		w.Header().Set("Content-Type", image)
		fmt.Fprint(w, imageJSON(""))
	}))
	defer s.Close()
	host := s.Listener.Addr().String()
	name := filepath.Join(t.TempDir(), "auth.json")
	ocitest.WriteAuthfile(t, name, map[string][2]string{
		host: {"host", "x"}, host + "/ns": {"namespace", "x"}, host + "/ns/deep/image": {"repository", "x"}, "quay.io": {"source", "x"},
	})
	mirror := oci.SourceMirror{Source: "quay.io", Mirror: host + "/ns"}
	for _, o := range []oci.Options{{Authfile: name}, {}} {
		o.Insecure, o.Mirrors = []string{host}, []oci.SourceMirror{mirror}
		c := newClient(t, o)
		if o.Authfile == "" { // by the environment
			t.Setenv("REGISTRY_AUTH_FILE", name)
			var err error
			if c, err = oci.NewClient(o); err != nil {
				t.Fatal(err)
			}
		}
		clear(used)
		for _, path := range []string{host + "/other:1", host + "/ns/image:1", host + "/ns/deep/image:1", host + "/nsx:1", "quay.io/mirrored:1"} {
			if _, err := c.Node(background, parse(t, path)); err != nil {
				t.Error(err)
			}
		}
		for path, want := range map[string]string{"other": "host", "ns/image": "namespace", "ns/deep/image": "repository", "nsx": "host", "ns/mirrored": "namespace"} {
			if got := used[path+"/manifests/1"]; got != want {
				t.Errorf("%s: used those of %q, want %q", path, got, want)
			}
		}
	}
}

func TestNoCredentials(t *testing.T) {
	registry := ocitest.StartRegistryWith(t, ocitest.RegistryOptions{User: "alice", Password: "s3cret"})
	r := parse(t, registry.Host+"/a:1")
	if _, err := client(t, registry.Host).Node(background, r); !oci.IsDenied(err) || oci.IsMissing(err) {
		t.Errorf("without credentials: %v", err)
	}
	c := newClient(t, oci.Options{Authfile: registry.Authfile, Insecure: []string{registry.Host}})
	if _, err := c.Node(background, r); !oci.IsMissing(err) {
		t.Errorf("with credentials: %v", err)
	}
	if err := c.Ping(background, r, true); err != nil {
		t.Error(err)
	}
	if err := client(t, registry.Host).Ping(background, r, true); !oci.IsDenied(err) {
		t.Errorf("ping without credentials: %v", err)
	}
}

// Credentials do not follow a redirect to another port of the same host.
func TestCredentialsStayAtThePort(t *testing.T) {
	other := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", image)
		fmt.Fprint(w, imageJSON(""))
	})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+"/stored", http.StatusFound)
	})
	name := filepath.Join(t.TempDir(), "auth.json")
	ocitest.WriteAuthfile(t, name, map[string][2]string{s.host: {"alice", "s3cret"}})
	c := newClient(t, oci.Options{Authfile: name, Insecure: []string{s.host, other.host}})
	if _, err := c.Node(background, parse(t, s.host+"/a")); err != nil {
		t.Fatal(err)
	}
	if s.seen()[0].Header.Get("Authorization") == "" {
		t.Error("the registry got no credentials")
	}
	if got := other.seen()[0].Header.Get("Authorization"); got != "" {
		t.Errorf("the other port got %q", got)
	}
}

// tokens is a registry with a token service at the same address.
type tokens struct {
	host   string
	asked  atomic.Int32
	scopes func() []string
}

// tokenRegistry lets the token service answer by a handler; nil gives tokens.
func tokenRegistry(t *testing.T, service http.HandlerFunc, handler http.HandlerFunc) *tokens {
	t.Helper()
	k := &tokens{}
	var mu sync.Mutex
	var scopes []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token":
			k.asked.Add(1)
			mu.Lock()
			scopes = append(scopes, r.URL.Query()["scope"]...)
			mu.Unlock()
			if service != nil {
				service(w, r)
				return
			}
			fmt.Fprint(w, `{"token":"t0ken"}`)
		case r.Header.Get("Authorization") != "Bearer t0ken":
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="x"`, r.Host))
			w.WriteHeader(http.StatusUnauthorized)
		default:
			handler(w, r)
		}
	}))
	t.Cleanup(s.Close)
	k.host = s.Listener.Addr().String()
	k.scopes = func() []string {
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(scopes)
		return slices.Compact(scopes)
	}
	return k
}

// However many ask at once, there is one login for what one login is good for.
func TestOneLogin(t *testing.T) {
	k := tokenRegistry(t, nil, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", image)
		fmt.Fprint(w, imageJSON(""))
	})
	c := client(t, k.host)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if _, err := c.Node(background, parse(t, k.host+"/a/b:1")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := k.asked.Load(); n != 1 {
		t.Errorf("%d logins to pull", n)
	}
	if _, err := c.HasBlob(background, parse(t, k.host+"/a/b"), someBlob); err != nil {
		t.Error(err)
	}
	if mounted, err := c.Mount(background, parse(t, k.host+"/a/b"), someDigest, "c/d"); mounted || err != nil {
		t.Error("mounted by 200")
	}
	want := []string{"repository:a/b:pull", "repository:a/b:push,pull", "repository:c/d:pull"}
	if got := k.scopes(); !slices.Equal(got, want) {
		t.Errorf("asked for %q, want %q", got, want)
	}
}

// What a registry wants to know it is asked once, for all its repositories; each
// has a token of its own.
func TestOneGreeting(t *testing.T) {
	const repositories = 12
	for kind, challenge := range map[string]string{"Basic": `Basic realm="x"`, "Bearer": `Bearer realm="http://%s/token",service="x"`} {
		var greeted, issued, served atomic.Int32
		host := plainServer(t, func(w http.ResponseWriter, r *http.Request) {
			switch sent, _, _ := strings.Cut(r.Header.Get("Authorization"), " "); {
			case r.URL.Path == "/token":
				issued.Add(1)
				fmt.Fprint(w, `{"token":"t0ken"}`)
			case r.URL.Path == "/v2/":
				greeted.Add(1)
				w.Header().Set("WWW-Authenticate", strings.ReplaceAll(challenge, "%s", r.Host))
				w.WriteHeader(http.StatusUnauthorized)
			case sent != kind:
				w.WriteHeader(http.StatusForbidden)
			default:
				served.Add(1)
				w.Header().Set("Content-Type", image)
				fmt.Fprint(w, imageJSON(""))
			}
		})
		name := filepath.Join(t.TempDir(), "auth.json")
		ocitest.WriteAuthfile(t, name, map[string][2]string{host: {"alice", "s3cret"}})
		c := newClient(t, oci.Options{Authfile: name, Insecure: []string{host}})
		var all sync.WaitGroup
		for i := range 2 * repositories {
			all.Go(func() {
				if _, err := c.Node(background, parse(t, fmt.Sprintf("%s/a/b%d:1", host, i/2))); err != nil {
					t.Errorf("%s: %v", kind, err)
				}
			})
		}
		all.Wait()
		if _, err := c.TokenRealm(background, parse(t, host+"/other")); err != nil {
			t.Error(err)
		}
		tokens := map[string]int32{"Basic": 0, "Bearer": repositories}[kind]
		if greeted.Load() != 1 || issued.Load() != tokens || served.Load() != 2*repositories {
			t.Errorf("%s: asked %d times what it wants to know, %d tokens, %d manifests", kind, greeted.Load(), issued.Load(), served.Load())
		}
	}
}

// What cannot be found out is tried once for all who wait for it, but for what its finder
// alone is to blame for: that he went away.
func TestSharedError(t *testing.T) {
	const waiting = 8
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		leaves bool // the first finder does
		err    error
		tries  int
	}{
		"an error":             {false, broken, 1},
		"a finder that leaves": {true, nil, 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			var s oci.Shared
			tries := 0
			first, leave := context.WithCancel(t.Context())
			find := func() (int, error) {
				tries++
				time.Sleep(time.Second)
				switch {
				case tries > 1:
					return 7, nil
				case test.leaves:
					leave()
					return 0, first.Err()
				}
				return 0, broken
			}
			var all sync.WaitGroup
			all.Go(func() {
				if _, err := oci.Find(first, &s, find); err == nil {
					t.Errorf("%s: the first has no error", name)
				}
			})
			synctest.Wait()
			for range waiting {
				all.Go(func() {
					if _, err := oci.Find(t.Context(), &s, find); err != test.err {
						t.Errorf("%s: one who waited has %v", name, err)
					}
				})
			}
			gone, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			if _, err := oci.Find(gone, &s, find); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: one who does not wait has %v", name, err)
			}
			all.Wait()
			if tries != test.tries {
				t.Errorf("%s: tried %d times", name, tries)
			}
			for range 2 { // whoever comes later
				if got, err := oci.Find(t.Context(), &s, find); got != 7 || err != nil {
					t.Errorf("%s: later there is %d, %v", name, got, err)
				}
			}
			if tries != 2 {
				t.Errorf("%s: tried %d times in all", name, tries)
			}
			leave()
		})
	}
}

// What a token service answers is about the login: nothing is missing.
func TestTokenService(t *testing.T) {
	for _, c := range []struct {
		status int
		denied bool
		tries  int32
	}{{401, true, 1}, {403, true, 1}, {404, false, 1}, {410, false, 1}, {429, false, 5}, {503, false, 5}} {
		k := tokenRegistry(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			fmt.Fprint(w, `{"errors":[{"code":"X","message":"because"}]}`)
		}, nil)
		_, err := client(t, k.host).Node(background, parse(t, k.host+"/a"))
		if oci.IsMissing(err) || oci.IsDenied(err) != c.denied || k.asked.Load() != c.tries {
			t.Errorf("%d: %d tries, missing %v, %v", c.status, k.asked.Load(), oci.IsMissing(err), err)
		}
		wantError(t, err, fmt.Sprintf("GET %s/token: %d X: because", k.host, c.status))
	}
}

// The token service's wait counts too.
func TestTokenServiceRetryAfter(t *testing.T) {
	k := tokenRegistry(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	}, nil)
	_, err := client(t, k.host).Node(background, parse(t, k.host+"/a"))
	var answer *oci.StatusError
	if !errors.As(err, &answer) || answer.RetryAfter.Hours() != 1 || k.asked.Load() != 1 {
		t.Errorf("%d tries, %v", k.asked.Load(), err)
	}
}

// A host without a registry misses no image.
func TestNoRegistry(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	host := s.Listener.Addr().String()
	_, err := client(t, host).Node(background, parse(t, host+"/a"))
	if err == nil || oci.IsMissing(err) {
		t.Errorf("missing: %v", err)
	}
	if err := client(t, host).Ping(background, parse(t, host+"/a"), false); err == nil || oci.IsMissing(err) {
		t.Errorf("ping: %v", err)
	}
}

// A token that has expired is renewed, once, in the middle of the work.
func TestExpiredToken(t *testing.T) {
	var expired atomic.Bool
	k := tokenRegistry(t, nil, func(w http.ResponseWriter, r *http.Request) {
		if expired.CompareAndSwap(true, false) {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="x"`, r.Host))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodPut {
			w.WriteHeader(http.StatusCreated)
			return
		}
		w.Header().Set("Content-Type", image)
		fmt.Fprint(w, imageJSON(""))
	})
	c := client(t, k.host)
	r := parse(t, k.host+"/a:1")
	for range 2 {
		if _, err := c.Node(background, r); err != nil {
			t.Fatal(err)
		}
		if err := c.PutNode(background, r, image, []byte(imageJSON(""))); err != nil {
			t.Fatal(err)
		}
		expired.Store(true)
	}
	expired.Store(true)
	if err := c.PutNode(background, r, image, []byte(imageJSON(""))); err != nil {
		t.Error(err)
	}
}

// A failed connection is tried again at login too.
func TestLoginRetries(t *testing.T) {
	var n atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) <= 2 {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", image)
		if r.URL.Path != "/v2/" {
			fmt.Fprint(w, imageJSON(""))
		}
	}))
	defer s.Close()
	host := s.Listener.Addr().String()
	if _, err := client(t, host).Node(background, parse(t, host+"/a")); err != nil {
		t.Error(err)
	}
}
