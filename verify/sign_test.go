package verify_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"airlift/verify"

	"airlift/oci/ocitest"
)

func sign(t testing.TB, key *ecdsa.PrivateKey, message []byte) []byte {
	t.Helper()
	signature, err := verify.Sign(key, message)
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

func TestSignaturesFit(t *testing.T) {
	key := newKey(t)
	public := verify.PublicKeyOf(key)
	parsed, err := verify.ParsePublicKey(public.PEM())
	if err != nil {
		t.Fatal(err)
	}
	for _, message := range [][]byte{nil, []byte("m"), bytes.Repeat([]byte("long"), 100_000)} {
		signature := sign(t, key, message)
		if public.Check(message, signature) != nil || parsed.Check(message, signature) != nil {
			t.Errorf("a signature of %d bytes does not fit", len(message))
		}
		if len(signature) > verify.MaxSignatureSize {
			t.Errorf("a signature of %d bytes", len(signature))
		}
	}
}

func TestSignaturesThatDoNotFit(t *testing.T) {
	key, message := newKey(t), []byte("message")
	signature := sign(t, key, message)
	var pair struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(signature, &pair); err != nil {
		t.Fatal(err)
	}
	encode := func(r, s *big.Int) []byte {
		der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	zero, order := big.NewInt(0), elliptic.P256().Params().N
	public := verify.PublicKeyOf(key)
	for name, test := range map[string]struct {
		key                verify.PublicKey
		message, signature []byte
	}{
		"another key":        {verify.PublicKeyOf(newKey(t)), message, signature},
		"no key":             {verify.PublicKey{}, message, signature},
		"another message":    {public, []byte("massage"), signature},
		"a longer message":   {public, append(message, 0), signature},
		"no signature":       {public, message, nil},
		"half a signature":   {public, message, signature[:len(signature)/2]},
		"a byte behind":      {public, message, append(bytes.Clone(signature), 0)},
		"many bytes behind":  {public, message, append(bytes.Clone(signature), make([]byte, 1<<20)...)},
		"base64":             {public, message, []byte("MEUCIQ==")},
		"zeros":              {public, message, encode(zero, zero)},
		"r is zero":          {public, message, encode(zero, pair.S)},
		"negative s":         {public, message, encode(pair.R, new(big.Int).Neg(pair.S))},
		"s beyond the order": {public, message, encode(pair.R, new(big.Int).Add(pair.S, order))},
		"swapped":            {public, message, encode(pair.S, pair.R)},
	} {
		if err := test.key.Check(test.message, test.signature); !errors.Is(err, verify.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range signature {
		changed := bytes.Clone(signature)
		changed[i] ^= 1
		if public.Check(message, changed) == nil {
			t.Errorf("a signature with the bit flipped in byte %d fits", i)
		}
	}
}

// A signature that is longer than any can be is refused before it is parsed,
// though it be well formed but for leading zeros.
func TestOversizedSignature(t *testing.T) {
	key, message := newKey(t), []byte("message")
	signature := sign(t, key, message)
	long := append([]byte{0x30, 0x81, byte(len(signature) - 2)}, signature[2:]...)
	if err := verify.PublicKeyOf(key).Check(message, long); !errors.Is(err, verify.ErrSignature) {
		t.Errorf("a length written in the long form: %v", err)
	}
	if got := verify.MaxSignatureSize; got != 2+2*(2+33) {
		t.Errorf("the limit is %d", got)
	}
}

func TestSigningIsDeterministic(t *testing.T) {
	key := newKey(t)
	one, two := sign(t, key, []byte("message")), sign(t, key, []byte("message"))
	if !bytes.Equal(one, two) {
		t.Error("two signatures of one message differ")
	}
	if bytes.Equal(one, sign(t, key, []byte("massage"))) || bytes.Equal(one, sign(t, newKey(t), []byte("message"))) {
		t.Error("another message or key gives the same signature")
	}
}

// RFC 6979, A.2.5: ECDSA, 256 bits, SHA-256.
func TestSigningIsThatOfRFC6979(t *testing.T) {
	raw, err := hex.DecodeString("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721")
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw)
	if err != nil {
		t.Fatal(err)
	}
	for message, want := range map[string][2]string{
		"sample": {"EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716", "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"},
		"test":   {"F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367", "019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083"},
	} {
		var got struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(sign(t, key, []byte(message)), &got); err != nil {
			t.Fatal(err)
		}
		for i, n := range []*big.Int{got.R, got.S} {
			if w, _ := new(big.Int).SetString(want[i], 16); n.Cmp(w) != 0 {
				t.Errorf("%s: got %X, want %s", message, n, want[i])
			}
		}
	}
}

// openssl runs the program in a directory.
func openssl(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	program := ocitest.Program(t, "openssl")
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func write(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The command is the one in the package's comment.
func TestOpenSSLChecksOurSignatures(t *testing.T) {
	dir, key, message := t.TempDir(), newKey(t), []byte("message\n")
	write(t, dir, "k.pub", verify.PublicKeyOf(key).PEM())
	write(t, dir, "f.sig", sign(t, key, message))
	write(t, dir, "f", message)
	check := []string{"dgst", "-sha256", "-verify", "k.pub", "-signature", "f.sig", "f"}
	if out, err := openssl(t, dir, check...); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	write(t, dir, "f", []byte("massage\n"))
	if out, err := openssl(t, dir, check...); err == nil {
		t.Errorf("a changed file is verified: %s", out)
	}
}

func TestOpenSSLSignsForUs(t *testing.T) {
	dir, message := t.TempDir(), []byte("message\n")
	write(t, dir, "f", message)
	for _, args := range [][]string{
		{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "k.pem"},
		{"pkey", "-in", "k.pem", "-pubout", "-out", "k.pub"},
		{"pkey", "-in", "k.pem", "-pubout", "-outform", "DER", "-out", "k.der"},
		{"dgst", "-sha256", "-sign", "k.pem", "-out", "f.sig", "f"},
		{"pkcs8", "-topk8", "-in", "k.pem", "-passout", "pass:x", "-out", "k.enc"},
	} {
		if out, err := openssl(t, dir, args...); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	public, err := verify.ParsePublicKey(read(t, dir, "k.pub"))
	if err != nil {
		t.Fatal(err)
	}
	if err := public.Check(message, read(t, dir, "f.sig")); err != nil {
		t.Error(err)
	}
	if sum := sha256.Sum256(read(t, dir, "k.der")); public.ID() != hex.EncodeToString(sum[:8]) {
		t.Errorf("id %s of a key whose DER has the sum %x", public.ID(), sum)
	}
	key, err := verify.ParsePrivateKey(read(t, dir, "k.pem"))
	if err != nil || verify.PublicKeyOf(key).ID() != public.ID() {
		t.Errorf("the private key: %v", err)
	}
	if _, err := verify.ParsePrivateKey(read(t, dir, "k.enc")); !errors.Is(err, verify.ErrEncrypted) {
		t.Errorf("an encrypted key: %v", err)
	}
}

// What openssl makes of our private key is the same key.
func TestOpenSSLReadsOurPrivateKey(t *testing.T) {
	dir, key := t.TempDir(), newKey(t)
	data, err := verify.MarshalPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "k.pem", data)
	out, err := openssl(t, dir, "pkey", "-in", "k.pem", "-pubout")
	if err != nil || out != string(verify.PublicKeyOf(key).PEM()) {
		t.Errorf("%v: %s", err, out)
	}
}

// openssl can write a key with its curve spelled out, or its point compressed.
// Whatever is taken has the one id.
func TestOtherEncodingsOfAKey(t *testing.T) {
	dir, key := t.TempDir(), newKey(t)
	write(t, dir, "k.pub", verify.PublicKeyOf(key).PEM())
	for _, args := range [][]string{
		{"ec", "-pubin", "-in", "k.pub", "-conv_form", "compressed", "-out", "other.pub"},
		{"ec", "-pubin", "-in", "k.pub", "-param_enc", "explicit", "-out", "other.pub"},
	} {
		if out, err := openssl(t, dir, args...); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		got, err := verify.ParsePublicKey(read(t, dir, "other.pub"))
		if err == nil && got.ID() != verify.PublicKeyOf(key).ID() {
			t.Errorf("%s: taken as %s", args[4:6], got.ID())
		}
	}
}
