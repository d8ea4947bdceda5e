package ocitest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Certificates are the PEM files of a server whose certificate a private CA
// has signed.
type Certificates struct {
	CAFile   string // to be trusted by clients
	CertFile string // the server's
	KeyFile  string // its private key
}

// CertificateOptions are the ways to make certificates; the zero value is for
// 127.0.0.1, ::1 and localhost.
type CertificateOptions struct {
	Names   []string // further names of the server
	NoSAN   bool     // it names localhost in its subject only
	Expired bool     // it was valid until an hour ago
}

// WriteCertificates makes a CA and a server certificate for 127.0.0.1, ::1 and
// localhost, valid for a day. With noSAN the certificate names localhost in
// its subject only, as the ones written by many an old guide do; Go refuses
// such a certificate even if its CA is trusted.
func WriteCertificates(t testing.TB, noSAN bool) Certificates {
	t.Helper()
	return WriteCertificatesWith(t, CertificateOptions{NoSAN: noSAN})
}

// WriteCertificatesWith is [WriteCertificates] with options. The certificate is
// good for a client too.
func WriteCertificatesWith(t testing.TB, o CertificateOptions) Certificates {
	t.Helper()
	ca := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "ocitest private CA"},
		KeyUsage:              x509.KeyUsageCertSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: "localhost"},
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if !o.NoSAN {
		leaf.DNSNames = append([]string{"localhost"}, o.Names...)
		leaf.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	}
	caKey, leafKey := newKey(t), newKey(t)
	dir := t.TempDir()
	c := Certificates{
		CAFile:   filepath.Join(dir, "ca.crt"),
		CertFile: filepath.Join(dir, "server.crt"),
		KeyFile:  filepath.Join(dir, "server.key"),
	}
	now := time.Now()
	for _, cert := range []*x509.Certificate{ca, leaf} {
		cert.NotBefore, cert.NotAfter = now.Add(-3*time.Hour), now.Add(24*time.Hour)
	}
	if o.Expired {
		leaf.NotAfter = now.Add(-time.Hour)
	}
	writePEM(t, c.CAFile, "CERTIFICATE", certify(t, ca, ca, &caKey.PublicKey, caKey))
	writePEM(t, c.CertFile, "CERTIFICATE", certify(t, leaf, ca, &leafKey.PublicKey, caKey))
	der, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, c.KeyFile, "PRIVATE KEY", der)
	return c
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func certify(t testing.TB, cert, parent *x509.Certificate, public *ecdsa.PublicKey, signer *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func writePEM(t testing.TB, name, kind string, der []byte) {
	t.Helper()
	data := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
