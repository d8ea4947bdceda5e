package ocitest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestRegistryEndsWithItsTest(t *testing.T) {
	var host, root string
	t.Run("inner", func(t *testing.T) {
		r := StartRegistry(t)
		host, root = r.Host, r.Root
		r.Builder().Image("repo", "it", ImageOpts{})
		if _, err := os.Stat(root + "/docker/registry/v2/repositories/repo"); err != nil {
			t.Error(err)
		}
	})
	if conn, err := net.Dial("tcp", host); err == nil {
		conn.Close()
		t.Error("the registry still listens after its test")
	}
	if _, err := os.Stat(root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its storage is left: %v", err)
	}
}

func TestRegistryDemandsTLSAndUser(t *testing.T) {
	r := StartRegistryWith(t, RegistryOptions{TLS: true, User: "alice", Password: "s3cret"})
	b := r.Builder()
	b.Image("repo", "it", ImageOpts{})
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	if _, err := http.Get(r.URL + "/v2/"); err == nil {
		t.Error("the system trusts a private CA")
	}
	client := trusting(t, r.CAFile)
	for password, want := range map[string]int{"s3cret": http.StatusOK, "wrong": http.StatusUnauthorized} {
		req, err := http.NewRequest(http.MethodGet, r.URL+"/v2/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("alice", password)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("password %q: %s", password, resp.Status)
		}
	}
}

func TestAuthfileHoldsTheUser(t *testing.T) {
	r := StartRegistryWith(t, RegistryOptions{User: "alice", Password: "s3cret"})
	data, err := os.ReadFile(r.Authfile)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Auths map[string]struct{ Auth string }
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if got := file.Auths[r.Host].Auth; got != "YWxpY2U6czNjcmV0" {
		t.Errorf("credentials %q", got)
	}
}

func TestCertificateWithoutSANIsRefused(t *testing.T) {
	r := StartRegistryWith(t, RegistryOptions{TLS: true, NoSAN: true})
	_, err := trusting(t, r.CAFile).Get(r.URL + "/v2/")
	if _, ok := errors.AsType[x509.HostnameError](err); !ok {
		t.Errorf("asking a server whose certificate has no SAN: %v", err)
	}
	b := r.Builder()
	b.Image("repo", "it", ImageOpts{})
	if b.Err() != nil {
		t.Errorf("a builder cannot prepare such a registry: %v", b.Err())
	}
}

func TestCertificatesFromOutside(t *testing.T) {
	c := WriteCertificates(t, false)
	r := StartRegistryWith(t, RegistryOptions{TLS: true, CertFile: c.CertFile, KeyFile: c.KeyFile})
	resp, err := trusting(t, c.CAFile).Get(r.URL + "/v2/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

func TestEmbeddedStops(t *testing.T) {
	host, stop, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	b := NewBuilder(host)
	d := b.Image("repo", "it", ImageOpts{Layers: []ocispec.Descriptor{b.RandomLayer("repo", "x", 100)}})
	walk(t, b, "repo", d)
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	stop()
	if conn, err := net.Dial("tcp", host); err == nil {
		conn.Close()
		t.Error("it still listens")
	}
}

// trusting is a client with one more CA.
func trusting(t *testing.T, ca string) *http.Client {
	t.Helper()
	data, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		t.Fatal("no certificate in the CA's file")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}
