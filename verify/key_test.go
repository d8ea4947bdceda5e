package verify_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"airlift/verify"
)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := verify.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func privatePEM(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func publicPEM(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// says fails the test unless err says want.
func says(t testing.TB, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got the error %v, want one that says %q", err, want)
	}
}

func TestKeysComeBack(t *testing.T) {
	key := newKey(t)
	data, err := verify.MarshalPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	again, err := verify.ParsePrivateKey(data)
	if err != nil || !again.Equal(key) {
		t.Errorf("the private key: %v", err)
	}
	public := verify.PublicKeyOf(key)
	parsed, err := verify.ParsePublicKey(public.PEM())
	if err != nil || parsed.ID() != public.ID() || !bytes.Equal(parsed.PEM(), public.PEM()) {
		t.Errorf("the public key %s: %s: %v", public.ID(), parsed.ID(), err)
	}
	if !bytes.Equal(public.PEM(), publicPEM(t, &key.PublicKey)) {
		t.Error("the public key is not in the usual form")
	}
}

func TestGeneratedKeysDiffer(t *testing.T) {
	a, b := newKey(t), newKey(t)
	if a.Equal(b) || verify.PublicKeyOf(a).ID() == verify.PublicKeyOf(b).ID() {
		t.Error("two keys are one")
	}
	if a.Curve != elliptic.P256() {
		t.Errorf("a key on %s", a.Curve.Params().Name)
	}
}

// The id is "as if by" openssl pkey -pubin -outform DER | sha256sum.
func TestKeyID(t *testing.T) {
	key := newKey(t)
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	if got := verify.PublicKeyOf(key).ID(); got != hex.EncodeToString(sum[:8]) || len(got) != verify.IDLength {
		t.Errorf("id %s of a key with the sum %x", got, sum)
	}
}

func TestKeysOfOtherKindsAreRefused(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	edPublic, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string]struct{ private, public any }{
		"P-384": {p384, &p384.PublicKey}, "RSA": {rsaKey, &rsaKey.PublicKey}, "Ed25519": {edKey, edPublic},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := verify.ParsePrivateKey(privatePEM(t, pair.private))
			says(t, err, "not an ECDSA P-256 key")
			_, err = verify.ParsePublicKey(publicPEM(t, pair.public))
			says(t, err, "not an ECDSA P-256 key")
		})
	}
}

func TestFilesThatAreNoKeys(t *testing.T) {
	key := newKey(t)
	private, public := privatePEM(t, key), verify.PublicKeyOf(key).PEM()
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, test := range map[string]struct {
		data                []byte
		asPrivate, asPublic string
	}{
		"nothing":             {nil, "not a PEM file", "not a PEM file"},
		"text":                {[]byte("no key"), "not a PEM file", "not a PEM file"},
		"half a block":        {private[:len(private)/2], "not a PEM file", "not a PEM file"},
		"the other half":      {public, "holds a PUBLIC KEY where a PRIVATE KEY belongs", ""},
		"a private key":       {private, "", "holds a PRIVATE KEY where a PUBLIC KEY belongs"},
		"a certificate":       {block("CERTIFICATE", []byte("x")), "holds a CERTIFICATE", "holds a CERTIFICATE"},
		"an old private key":  {block("EC PRIVATE KEY", []byte("x")), "holds a EC PRIVATE KEY", "holds a EC PRIVATE KEY"},
		"two private keys":    {join(private, private), "more than one PRIVATE KEY", "holds a PRIVATE KEY"},
		"two public keys":     {join(public, public), "holds a PUBLIC KEY", "more than one PUBLIC KEY"},
		"both, private first": {join(private, public), "more than one PRIVATE KEY", "holds a PRIVATE KEY"},
		"text behind":         {join(public, []byte("text")), "holds a PUBLIC KEY", "more than one PUBLIC KEY"},
		"not DER, private":    {block("PRIVATE KEY", []byte("x")), "parse private key", "holds a PRIVATE KEY"},
		"not DER, public":     {block("PUBLIC KEY", []byte("x")), "holds a PUBLIC KEY", "parse public key"},
		"controls":            {block("A\x1b[2JB", []byte("x")), `holds a A\x1b[2JB`, `holds a A\x1b[2JB`},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := verify.ParsePrivateKey(test.data); test.asPrivate != "" || err != nil {
				says(t, err, test.asPrivate)
			}
			if _, err := verify.ParsePublicKey(test.data); test.asPublic != "" || err != nil {
				says(t, err, test.asPublic)
			}
		})
	}
}

// White space around a key is no second key: editors add it.
func TestWhiteSpaceBehindAKey(t *testing.T) {
	public := verify.PublicKeyOf(newKey(t))
	got, err := verify.ParsePublicKey(append(public.PEM(), "\r\n \n"...))
	if err != nil || got.ID() != public.ID() {
		t.Errorf("%s: %v", got.ID(), err)
	}
}

func TestEncryptedKeysAreTold(t *testing.T) {
	data := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")})
	if _, err := verify.ParsePrivateKey(data); !errors.Is(err, verify.ErrEncrypted) {
		t.Errorf("got %v", err)
	}
	if _, err := verify.ParsePublicKey(data); err == nil || errors.Is(err, verify.ErrEncrypted) {
		t.Errorf("as a public key: %v", err)
	}
}

func FuzzParsePublicKey(f *testing.F) {
	f.Add(verify.PublicKeyOf(newKey(f)).PEM())
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := verify.ParsePublicKey(data)
		if err != nil {
			return
		}
		again, err := verify.ParsePublicKey(key.PEM())
		if err != nil || again.ID() != key.ID() {
			t.Errorf("%s is %s when read again: %v", key.ID(), again.ID(), err)
		}
	})
}
