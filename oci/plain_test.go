package oci_test

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"airlift/oci"
	"airlift/oci/ocitest"
)

// dialTo leads all connections of clients made from now on to one address,
// whatever host they are for. No test that uses it may be parallel.
func dialTo(t *testing.T, addr string) {
	t.Helper()
	before := http.DefaultTransport
	t.Cleanup(func() { http.DefaultTransport = before })
	transport := before.(*http.Transport).Clone()
	transport.Proxy = nil
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	http.DefaultTransport = transport
}

// once makes a client that takes so long to try again that the test would end.
func once(t *testing.T, o oci.Options) *oci.Client {
	t.Helper()
	o.Backoff = time.Hour
	c, err := oci.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// plainServer serves over plain HTTP until the test ends, /v2/ too.
func plainServer(t *testing.T, answer http.HandlerFunc) (host string) {
	t.Helper()
	return started(t, httptest.NewUnstartedServer(answer), (*httptest.Server).Start)
}

// tlsServer serves with a certificate of a private CA.
func tlsServer(t *testing.T, answer http.HandlerFunc) (host, caFile string) {
	t.Helper()
	certs := ocitest.WriteCertificates(t, false)
	pair, err := tls.LoadX509KeyPair(certs.CertFile, certs.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(open(answer))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	return started(t, s, (*httptest.Server).StartTLS), certs.CAFile
}

func started(t *testing.T, s *httptest.Server, start func(*httptest.Server)) (host string) {
	t.Helper()
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	start(s)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.Listener.Addr().String()
}

// open answers /v2/ as a registry without users does.
func open(answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			answer(w, r)
		}
	}
}

// counting counts requests.
func counting(n *atomic.Int32) http.HandlerFunc {
	return func(http.ResponseWriter, *http.Request) { n.Add(1) }
}

// Among the hosts are those for which go-containerregistry takes to plain HTTP
// by itself.
var plainHosts = []string{
	"localhost:5000", "127.0.0.1:5000", "[::1]:5000", "10.1.2.3:5000", "172.16.1.2:5000", "192.168.1.2",
	"registry.localhost:5000", "registry.example:5000", "registry.example",
}

func TestPlainHTTPIsRefusedEverywhere(t *testing.T) {
	var asked atomic.Int32
	dialTo(t, plainServer(t, counting(&asked)))
	for _, insecure := range [][]string{nil, {"other.example", "registry", "registry.example:5001"}} {
		c := once(t, oci.Options{Insecure: insecure})
		for _, host := range plainHosts {
			_, err := c.Node(t.Context(), parse(t, host+"/a/b:t"))
			wantError(t, err, host+"/v2/: ")
			wantError(t, err, "server gave HTTP response to HTTPS client")
			if err := c.Ping(t.Context(), parse(t, host+"/a/b:t"), true); err == nil {
				t.Errorf("%s answers a ping", host)
			}
		}
	}
	if asked.Load() != 0 {
		t.Errorf("%d requests went out unencrypted", asked.Load())
	}
}

func TestPlainHTTPWhereItIsAllowed(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if host := strings.ToUpper(r.Host); strings.HasPrefix(r.URL.Path, "/v2/") {
			http.Redirect(w, r, "http://"+host+"/storage", http.StatusTemporaryRedirect)
			return
		}
		_, _ = io.WriteString(w, imageJSON(""))
	})
	dialTo(t, s.host)
	c := newClient(t, oci.Options{Insecure: append([]string{"UPPER.example:5000"}, plainHosts...)})
	for _, host := range append([]string{"upper.example:5000", "Upper.Example:5000"}, plainHosts...) {
		if _, err := c.Node(t.Context(), parse(t, host+"/a/b:t")); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestUploadsElsewhereOverPlainHTTPAreRefused(t *testing.T) {
	var asked atomic.Int32
	elsewhere := plainServer(t, counting(&asked))
	host, ca := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "http://"+elsewhere+"/upload")
		w.WriteHeader(http.StatusAccepted)
	})
	c := once(t, oci.Options{CAFiles: []string{ca}})
	err := c.PutBlob(t.Context(), parse(t, host+"/a/b:t"), blobOf([]byte("data")), opening([]byte("data")))
	wantError(t, err, "PUT "+elsewhere+"/upload: plain HTTP to this host was not allowed")
	if asked.Load() != 0 {
		t.Errorf("%d requests went out unencrypted", asked.Load())
	}
}

// A registry behind a proxy that does TLS for it names itself with plain HTTP.
// What is meant is HTTPS.
func TestUploadsToTheRegistryItselfStayEncrypted(t *testing.T) {
	var got string
	var host string
	host, ca := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.Header().Set("Location", "http://"+host+"/upload?state=x")
			w.WriteHeader(http.StatusAccepted)
			return
		}
		data, _ := io.ReadAll(r.Body)
		got = string(data)
		w.WriteHeader(http.StatusCreated)
	})
	c := newClient(t, oci.Options{CAFiles: []string{ca}})
	if err := c.PutBlob(t.Context(), parse(t, host+"/a/b:t"), blobOf([]byte("data")), opening([]byte("data"))); err != nil || got != "data" {
		t.Errorf("%q: %v", got, err)
	}
}

// The texts are those that the command line gives hints for.
func TestFaultsOfCertificatesAreTold(t *testing.T) {
	good := ocitest.StartRegistryWith(t, ocitest.RegistryOptions{TLS: true})
	noSAN := ocitest.StartRegistryWith(t, ocitest.RegistryOptions{TLS: true, NoSAN: true})
	_, port, _ := net.SplitHostPort(noSAN.Host)
	for name, test := range map[string]struct {
		host string
		o    oci.Options
		want string
	}{
		"a known authority":       {good.Host, oci.Options{CAFiles: []string{noSAN.CAFile, good.CAFile}}, ""},
		"an unknown authority":    {good.Host, oci.Options{}, "x509: certificate signed by unknown authority"},
		"an unknown one, let be":  {good.Host, oci.Options{Insecure: []string{good.Host}}, ""},
		"another's authority":     {good.Host, oci.Options{CAFiles: []string{noSAN.CAFile}}, "x509: certificate signed by unknown authority"},
		"insecure for another":    {good.Host, oci.Options{Insecure: []string{noSAN.Host}}, "x509: certificate signed by unknown authority"},
		"no SAN, by name":         {"localhost:" + port, oci.Options{CAFiles: []string{noSAN.CAFile}}, "x509: certificate relies on legacy Common Name field"},
		"no SAN, by address":      {noSAN.Host, oci.Options{CAFiles: []string{noSAN.CAFile}}, "because it doesn't contain any IP SANs"},
		"no SAN, by name, let be": {"localhost:" + port, oci.Options{Insecure: []string{"localhost:" + port}}, ""},
	} {
		t.Run(name, func(t *testing.T) { certificateFault(t, test.host, test.o, test.want) })
	}
	t.Run("another name", func(t *testing.T) {
		dialTo(t, good.Host)
		certificateFault(t, "registry.example", oci.Options{CAFiles: []string{good.CAFile}}, "x509: certificate is valid for")
	})
}

// certificateFault pings, and expects an error of those words at once; none if
// there are no words.
func certificateFault(t *testing.T, host string, o oci.Options, want string) {
	t.Helper()
	err := once(t, o).Ping(t.Context(), parse(t, host+"/a/b:t"), false)
	if want == "" {
		if err != nil {
			t.Error(err)
		}
		return
	}
	wantError(t, err, want)
	if strings.Contains(err.Error(), "plain HTTP") {
		t.Errorf("misleads: %v", err)
	}
}

// Nobody listens: that is the error, not that plain HTTP was refused.
func TestNobodyListens(t *testing.T) {
	s := httptest.NewServer(nil)
	host := s.Listener.Addr().String()
	s.Close()
	_, err := newClient(t, oci.Options{}).Node(t.Context(), parse(t, host+"/a/b:t"))
	wantError(t, err, "connection refused")
	if strings.Contains(err.Error(), "plain HTTP") || strings.Contains(err.Error(), "tried") {
		t.Errorf("misleads, or took its time: %v", err)
	}
}

// A registry that answered once may come back: it is tried again.
func TestRegistryGoesAway(t *testing.T) {
	s := httptest.NewServer(open(http.NotFound))
	host := s.Listener.Addr().String()
	c := newClient(t, oci.Options{Insecure: []string{host}, Backoff: time.Millisecond})
	if _, err := c.Node(t.Context(), parse(t, host+"/a/b:t")); !oci.IsMissing(err) {
		t.Fatal(err)
	}
	s.Close()
	_, err := c.Node(t.Context(), parse(t, host+"/a/b:t"))
	wantError(t, err, "connection refused")
	wantError(t, err, "tried 5 times")
}
