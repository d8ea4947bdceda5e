package main

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/asn1"
	"encoding/pem"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"airlift/verify"
)

// newKeyFile makes a key pair with keygen and gives the path of its NAME.
func newKeyFile(t *testing.T, passphrase string) string {
	t.Helper()
	withEnv(t, passphraseEnv, &passphrase)
	name := filepath.Join(t.TempDir(), "ops")
	if err := keygen(t.Context(), io.Discard, io.Discard, name); err != nil {
		t.Fatal(err)
	}
	return name
}

func openssl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("openssl", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// A message signed with the key that openKey gives is checked by openssl with
// NAME.pub, and openssl derives that same NAME.pub from NAME.key.
func TestOpensslReadsOurKeys(t *testing.T) {
	for _, passphrase := range []string{"", "a b£c"} {
		name := newKeyFile(t, passphrase)
		derived := openssl(t, "pkey", "-in", name+".key", "-passin", "pass:"+passphrase, "-pubout")
		if public, err := os.ReadFile(name + ".pub"); err != nil || derived != string(public) {
			t.Errorf("openssl derives %s, keygen wrote %s, %v", derived, public, err)
		}
		key, err := openKey(t.Context(), name+".key")
		if err != nil {
			t.Fatal(err)
		}
		checkWithOpenssl(t, key, name+".pub")
	}
}

// The encryption is one that a FIPS host takes: a salt of 16 bytes among it.
func TestEncryptionOfOurKeys(t *testing.T) {
	name := newKeyFile(t, "secret")
	text := openssl(t, "asn1parse", "-in", name+".key")
	for _, want := range []string{":PBES2", ":PBKDF2", ":hmacWithSHA256", ":aes-256-cbc", ":0927C0"} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
	if strings.Count(text, "l=  16 prim: OCTET STRING") != 2 {
		t.Errorf("salt and IV are not of 16 bytes each:\n%s", text)
	}
}

// Keys of openssl, plain and in its default encryption, are ours too.
func TestWeReadOpensslKeys(t *testing.T) {
	name := filepath.Join(t.TempDir(), "theirs")
	openssl(t, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", name+".key")
	openssl(t, "pkey", "-in", name+".key", "-pubout", "-out", name+".pub")
	openssl(t, "pkcs8", "-topk8", "-in", name+".key", "-passout", "pass:secret", "-out", name+".enc.key")
	secret := "secret"
	withEnv(t, passphraseEnv, &secret)
	for _, file := range []string{name + ".key", name + ".enc.key"} {
		key, err := openKey(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		checkWithOpenssl(t, key, name+".pub")
	}
}

func checkWithOpenssl(t *testing.T, key *ecdsa.PrivateKey, public string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "SHA256SUMS")
	message := []byte("what is signed\n")
	signature, err := verify.Sign(key, message)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{file: message, file + ".sig": signature} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out := openssl(t, "dgst", "-sha256", "-verify", public, "-signature", file+".sig", file); out != "Verified OK\n" {
		t.Error(out)
	}
}

func TestOpenKeyRefuses(t *testing.T) {
	encrypted := newKeyFile(t, "right") + ".key"
	text, err := os.ReadFile(encrypted)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	rsa := filepath.Join(dir, "rsa.key")
	openssl(t, "genrsa", "-out", rsa, "2048")
	openssl(t, "pkcs8", "-topk8", "-in", rsa, "-passout", "pass:right", "-out", rsa+".enc")

	right, wrong, empty := "right", "wrong", ""
	for _, test := range []struct {
		name, file string
		passphrase *string
		want       string
	}{
		{"wrong passphrase", encrypted, &wrong, "wrong passphrase"},
		{"empty passphrase", encrypted, &empty, "an empty one was given"},
		{"nobody to ask", encrypted, nil, "no terminal to ask"},
		{"no file", filepath.Join(dir, "none.key"), nil, "no such file"},
		{"a directory", dir, nil, "is a directory"},
		{"a public key", strings.TrimSuffix(encrypted, ".key") + ".pub", nil, "PUBLIC KEY"},
		{"no PEM", write("text", []byte("hello")), nil, "not a PEM file"},
		{"too large", write("large", bytes.Repeat([]byte("x"), maxKeyFile+1)), nil, "too large"},
		{"another algorithm", rsa + ".enc", &right, "not an ECDSA P-256 key"},
		{"a cut ciphertext", write("cut", shortenCiphertext(t, text)), &right, "damaged"},
	} {
		t.Run(test.name, func(t *testing.T) {
			withEnv(t, passphraseEnv, test.passphrase)
			_, err := openKey(t.Context(), test.file)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// shortenCiphertext takes the last byte off what is encrypted in a key file.
func shortenCiphertext(t *testing.T, text []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(text)
	var info struct {
		Algorithm asn1.RawValue
		Data      []byte
	}
	if _, err := asn1.Unmarshal(block.Bytes, &info); err != nil {
		t.Fatal(err)
	}
	info.Data = info.Data[:len(info.Data)-1]
	der, err := asn1.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: encryptedKey, Bytes: der})
}

func TestOpenPublicKeys(t *testing.T) {
	name := newKeyFile(t, "")
	keys, err := openPublicKeys([]string{name + ".pub"})
	if err != nil || len(keys) != 1 || len(keys[0].ID()) != verify.IDLength {
		t.Errorf("got %v, %v", keys, err)
	}
	if _, err := openPublicKeys([]string{name + ".pub", name + ".key"}); err == nil || !strings.Contains(err.Error(), name+".key") {
		t.Errorf("a private key was taken for a public one: %v", err)
	}
}
