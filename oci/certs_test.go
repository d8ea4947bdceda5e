package oci_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"airlift/oci"
	"airlift/oci/ocitest"
)

// asking serves over TLS and asks everybody for a certificate, without need. It
// counts those that it is shown.
func asking(t *testing.T, certs ocitest.Certificates, answer http.HandlerFunc) (host string, shown *atomic.Int32) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(certs.CertFile, certs.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	shown = &atomic.Int32{}
	s := httptest.NewUnstartedServer(open(func(w http.ResponseWriter, r *http.Request) {
		shown.Add(int32(len(r.TLS.PeerCertificates)))
		answer(w, r)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert}
	return started(t, s, (*httptest.Server).StartTLS), shown
}

// putCerts makes a host's directory: a CA to trust, and a certificate to show.
func putCerts(t *testing.T, dir, host string, ca, shown *ocitest.Certificates) {
	t.Helper()
	place := filepath.Join(dir, host)
	copied := map[string]string{}
	if ca != nil {
		copied["ca.crt"] = ca.CAFile
	}
	if shown != nil {
		copied["me.cert"], copied["me.key"] = shown.CertFile, shown.KeyFile
	}
	err := os.MkdirAll(place, 0o755)
	for name, from := range copied {
		data, readErr := os.ReadFile(from)
		if err == nil {
			err = readErr
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(place, name), data, 0o600)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A host's certificate is shown to that host and port, and to no other that it
// leads to; its authority is trusted there and nowhere else.
func TestCertificatesOfAHostStayWithIt(t *testing.T) {
	certs, strange := ocitest.WriteCertificates(t, false), ocitest.WriteCertificates(t, false)
	serveNode := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, imageJSON("")) }
	other, shownToOther := asking(t, certs, serveNode)
	untrusted, _ := asking(t, strange, serveNode)
	var target string
	host, shown := asking(t, certs, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://"+target+"/x", http.StatusTemporaryRedirect)
	})
	dir := t.TempDir()
	putCerts(t, dir, host, &certs, &certs)
	putCerts(t, dir, "127.0.0.1", &strange, &certs) // of port 443
	c := newClient(t, oci.Options{CertDirs: []string{dir}, CAFiles: []string{certs.CAFile}})
	target = other
	if _, err := c.Node(t.Context(), parse(t, host+"/a/b:1")); err != nil {
		t.Error(err)
	}
	if shown.Load() != 1 || shownToOther.Load() != 0 {
		t.Errorf("shown %d times to its host, %d times to another", shown.Load(), shownToOther.Load())
	}
	target = untrusted
	_, err := c.Node(t.Context(), parse(t, host+"/a/b:1"))
	wantError(t, err, "GET "+untrusted+"/x: ")
	wantError(t, err, "unknown authority")
}

// The first directory that knows a host counts, and nothing of the others.
func TestOrderOfCertDirs(t *testing.T) {
	certs := ocitest.WriteCertificates(t, false)
	host, shown := asking(t, certs, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, imageJSON("")) })
	first, second, third := t.TempDir(), t.TempDir(), t.TempDir()
	putCerts(t, first, "registry.example", nil, nil)
	putCerts(t, second, host, &certs, nil)
	putCerts(t, third, host, &certs, &certs)
	r := parse(t, host+"/a/b:1")
	for _, test := range []struct {
		dirs  []string
		shown int32
		fails string
	}{
		{nil, 0, "unknown authority"},
		{[]string{first, filepath.Join(first, "absent")}, 0, "unknown authority"},
		{[]string{first, second, third}, 0, ""},
		{[]string{third, second}, 1, ""},
	} {
		shown.Store(0)
		_, err := newClient(t, oci.Options{CertDirs: test.dirs}).Node(t.Context(), r)
		if test.fails != "" {
			wantError(t, err, test.fails)
		} else if err != nil || shown.Load() != test.shown {
			t.Errorf("%v: shown %d times: %v", test.dirs, shown.Load(), err)
		}
	}
}

// The usual port may be named or not; Docker Hub goes by its short name; and no
// host's name leads out of the directory.
func TestNamesOfCertDirs(t *testing.T) {
	certs := ocitest.WriteCertificatesWith(t, ocitest.CertificateOptions{Names: []string{"registry.example", "index.docker.io"}})
	host, _ := asking(t, certs, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/out") {
			http.Redirect(w, r, "https://../x", http.StatusTemporaryRedirect)
			return
		}
		fmt.Fprint(w, imageJSON(""))
	})
	dialTo(t, host)
	dir := filepath.Join(t.TempDir(), "certs.d")
	for name, references := range map[string][]string{
		"registry.example":      {"registry.example/a:1", "registry.example:443/a:1", "Registry.example/a:1"},
		"registry.example:443":  {"registry.example/a:1", "registry.example:443/a:1", "Registry.example/a:1"},
		"registry.example:5000": {"registry.example:5000/a:1"},
		"docker.io":             {"docker.io/library/a:1"},
	} {
		putCerts(t, dir, name, &certs, nil)
		for _, reference := range []string{"registry.example/a:1", "registry.example:443/a:1", "registry.example:5000/a:1", "Registry.example/a:1", "docker.io/library/a:1"} {
			_, err := newClient(t, oci.Options{CertDirs: []string{dir}}).Node(t.Context(), parse(t, reference))
			if want := slices.Contains(references, reference); want != (err == nil) {
				t.Errorf("%s for %s: %v", name, reference, err)
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	putCerts(t, dir, "registry.example", &certs, nil)
	if err := os.WriteFile(filepath.Join(filepath.Dir(dir), "stray.crt"), []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := newClient(t, oci.Options{CertDirs: []string{dir}}).Node(t.Context(), parse(t, "registry.example/a:out"))
	if wantError(t, err, "../x"); strings.Contains(err.Error(), "stray.crt") {
		t.Error(err)
	}
}

// A token service at a private address is one if it is the registry's own, or
// was named.
func TestPrivateRealms(t *testing.T) {
	certs := ocitest.WriteCertificates(t, false)
	var realm string
	service, _ := asking(t, certs, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"token":"t0ken"}`) })
	dir := t.TempDir()
	pair, err := tls.LoadX509KeyPair(certs.CertFile, certs.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer t0ken" {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q", realm))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, imageJSON(""))
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	registry := started(t, s, (*httptest.Server).StartTLS)
	byName := strings.Replace(registry, "127.0.0.1", "localhost", 1)
	realm = "https://" + service + "/token"
	for _, test := range []struct {
		registry string
		named    bool
		fails    bool
	}{{registry, false, false}, {byName, false, true}, {byName, true, false}} {
		if test.named {
			putCerts(t, dir, service, &certs, nil)
		}
		_, err := newClient(t, oci.Options{CAFiles: []string{certs.CAFile}, CertDirs: []string{dir}}).Node(t.Context(), parse(t, test.registry+"/a/b:1"))
		if test.fails {
			wantError(t, err, oci.ErrPrivateRealm.Error()+": "+service)
		} else if err != nil {
			t.Error(err)
		}
	}
}
