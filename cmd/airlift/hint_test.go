package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"airlift/bundle"
	"airlift/oci"
	"airlift/oci/ocitest"
)

func TestHintForAnAnswer(t *testing.T) {
	for status, want := range map[int]string{
		http.StatusUnauthorized:          "--authfile",
		http.StatusForbidden:             "--authfile",
		http.StatusNotFound:              "check the name",
		http.StatusGone:                  "check the name",
		http.StatusRequestEntityTooLarge: "client_max_body_size",
		http.StatusTooManyRequests:       "later",
	} {
		err := fmt.Errorf("fetch: %w", &oci.StatusError{Host: "quay.io", Status: status})
		if got := hintFor(err); !strings.Contains(got, want) {
			t.Errorf("%d: %q lacks %q", status, got, want)
		}
	}
	if got := hintFor(&oci.RequestError{Method: "GET", Err: &oci.PageError{URL: "https://sso.example/", Status: 200}}); !strings.Contains(got, "log in") {
		t.Errorf("of a page: %q", got)
	}
	if got := hintFor(&oci.StatusError{Status: http.StatusTeapot}); got != "" {
		t.Errorf("a hint for nothing known: %q", got)
	}
}

func TestHintForAClass(t *testing.T) {
	for class, want := range map[error]string{
		bundle.ErrUntrusted: "--trusted-key",
		bundle.ErrDamaged:   "airlift verify",
		bundle.ErrAbsent:    "all media",
		bundle.ErrLeftOut:   "serve the base by itself",
		bundle.ErrNoSpace:   "--volume-size",
		bundle.ErrMissing:   "",
	} {
		if got := hintFor(fmt.Errorf("x: %w", class)); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%v: %q lacks %q", class, got, want)
		}
	}
}

func TestHintForAURL(t *testing.T) {
	err := ofCommand("airlift import", usagef("--to https://quay.example/ocp is a URL"))
	if got := hintFor(err); !strings.Contains(got, "without a scheme") {
		t.Errorf("got %q", got)
	}
}

// The errors are those of real connections, as errors and as bare text.
func TestHintForAConnection(t *testing.T) {
	ca := ocitest.WriteCertificates(t, false)
	noSAN := ocitest.WriteCertificates(t, true)
	none := ""
	for _, test := range []struct{ name, url, ca, want string }{
		{"unknown authority", serve(t, ca, "https"), none, "--ca-file"},
		{"no SAN, by name", strings.Replace(serve(t, noSAN, "https"), "127.0.0.1", "localhost", 1), noSAN.CAFile, "subjectAltName"},
		{"no SAN, by address", serve(t, noSAN, "https"), noSAN.CAFile, "subjectAltName"},
		{"another name", strings.Replace(serve(t, ca, "https"), "127.0.0.1", "127.0.0.2", 1), ca.CAFile, "for other names"},
		{"plain HTTP", strings.Replace(serve(t, ca, "http"), "http:", "https:", 1), none, "--insecure-registry"},
		{"nobody", "https://" + closedPort(t), none, "nothing listens"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := clientTrusting(t, test.ca).Get(test.url)
			if err == nil {
				t.Fatal("connected")
			}
			for _, err := range []error{fmt.Errorf("fetch: %w", err), errors.New(err.Error())} {
				if got := hintFor(err); !strings.Contains(got, test.want) {
					t.Errorf("%v: got %q, want %q", err, got, test.want)
				}
			}
		})
	}
}

func TestHintForAName(t *testing.T) {
	err := &net.DNSError{Err: "no such host", Name: "registry.example"}
	for _, err := range []error{fmt.Errorf("fetch: %w", err), errors.New(err.Error())} {
		if got := hintFor(err); !strings.Contains(got, "DNS") {
			t.Errorf("%v: got %q", err, got)
		}
	}
}

// serve answers on all of loopback, and gives the address at 127.0.0.1.
func serve(t *testing.T, certificates ocitest.Certificates, scheme string) string {
	t.Helper()
	listener, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	server := &http.Server{ErrorLog: log.New(io.Discard, "", 0)}
	if scheme == "https" {
		go server.ServeTLS(listener, certificates.CertFile, certificates.KeyFile)
	} else {
		go server.Serve(listener)
	}
	return fmt.Sprintf("%s://127.0.0.1:%d", scheme, listener.Addr().(*net.TCPAddr).Port)
}

func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func clientTrusting(t *testing.T, caFile string) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	if caFile != "" {
		data, err := os.ReadFile(caFile)
		if err != nil || !roots.AppendCertsFromPEM(data) {
			t.Fatal(err)
		}
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// Where credentials were looked for, or which were no good; never what they are.
func TestHintForADenial(t *testing.T) {
	none := &oci.Lookup{Name: "quay.io/a/b", Files: []string{"one.json", "two.json"}}
	found := &oci.Lookup{Name: "quay.io/a/b", Entry: "quay.io/a", File: "one.json", Files: none.Files}
	helper := &oci.Lookup{Name: "quay.io/a/b", Entry: "quay.io", Files: none.Files}
	for _, test := range []struct {
		status int
		lookup *oci.Lookup
		want   string
	}{
		{401, nil, "give credentials for quay.io with --authfile"},
		{403, nil, "the account in use may not do this at quay.io"},
		{401, none, "no credentials for quay.io/a/b are in one.json, two.json: give some with --authfile"},
		{403, none, "no credentials for quay.io/a/b are in one.json, two.json: give some with --authfile"},
		{401, found, "quay.io refuses the account of quay.io/a in one.json: log in again"},
		{403, found, "the account of quay.io/a in one.json may not do this at quay.io"},
		{401, helper, "quay.io refuses the account of quay.io in the credential helper: log in again"},
	} {
		err := fmt.Errorf("fetch: %w", &oci.StatusError{Host: "quay.io", Status: test.status, Lookup: test.lookup})
		if got := hintFor(err); !strings.HasPrefix(got, test.want) {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

// Of errors within errors the innermost knows whose certificate it is.
func TestHintNamesTheHost(t *testing.T) {
	unknown := errors.New("x509: certificate signed by unknown authority")
	inner := &oci.RequestError{Method: "GET", Host: "auth.example:8443", Path: "/token", Err: unknown}
	for _, test := range []struct {
		err  error
		want string
	}{
		{unknown, "/etc/containers/certs.d/HOST[:PORT]/ca.crt"},
		{inner, "/etc/containers/certs.d/auth.example:8443/ca.crt"},
		{&oci.RequestError{Method: "GET", Host: "quay.example", Err: inner}, "/etc/containers/certs.d/auth.example:8443/ca.crt"},
		{&oci.RequestError{Host: "quay.example", Err: oci.ErrCertificateWanted}, "/etc/containers/certs.d/quay.example, as client.cert"},
		{fmt.Errorf("%w: 10.0.0.1", oci.ErrPrivateRealm), "give the token service a host name"},
		{&oci.StatusError{Host: "quay.example:443", Status: 400, Message: "Client sent an HTTP request to an HTTPS server."}, "quay.example:443 speaks HTTPS"},
	} {
		if got := hintFor(fmt.Errorf("fetch: %w", test.err)); !strings.Contains(got, test.want) {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}
