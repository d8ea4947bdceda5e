package bundle

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"airlift/verify"
)

// TestJudge: who is believed, for which signatures.
func TestJudge(t *testing.T) {
	contents := []byte("some file")
	a, b, stranger := testKey(t), testKey(t), testKey(t)
	ids := map[string]string{keyID(a): "a", keyID(b): "b", keyID(stranger): "s"}
	fits := func(key *ecdsa.PrivateKey) signature { return signature{contents: signedWith(t, key, contents)} }
	wrong := func(key *ecdsa.PrivateKey) signature {
		return signature{contents: signedWith(t, key, []byte("another"))}
	}
	aside := func(s signature) signature { s.aside = true; return s }
	unread := func(s signature) signature { s.err = fs.ErrPermission; return s }
	for name, c := range map[string]struct {
		trust      string // keys that are trusted, and words of Trust
		file       string
		a, b, s    []signature
		want       string // signers/unchecked, or what the error says
		notTrusted bool
	}{
		"nobody signed":                       {trust: "a", want: "bundle.json has no signature", notTrusted: true},
		"nobody signed, with leave":           {trust: "a unsigned", want: "/"},
		"nobody signed, and nobody is known":  {trust: "unsigned", want: "/"},
		"nobody is trusted":                   {trust: "", a: []signature{fits(a)}, want: "is signed by a only", notTrusted: true},
		"one":                                 {trust: "a", a: []signature{fits(a)}, want: "a/"},
		"one of two":                          {trust: "a b", b: []signature{fits(b)}, want: "b/"},
		"both of two":                         {trust: "a b", a: []signature{fits(a)}, b: []signature{fits(b)}, want: "ab/"},
		"a stranger beside":                   {trust: "a", a: []signature{fits(a)}, s: []signature{wrong(stranger)}, want: "a/s"},
		"a stranger only":                     {trust: "a", s: []signature{fits(stranger)}, want: "is signed by s only", notTrusted: true},
		"a stranger only, unsigned allowed":   {trust: "a unsigned", s: []signature{fits(stranger)}, want: "is signed by s only", notTrusted: true},
		"one that does not fit":               {trust: "a", a: []signature{wrong(a)}, want: "was changed", notTrusted: true},
		"one that does not fit, another does": {trust: "a b", a: []signature{fits(a)}, b: []signature{wrong(b)}, want: "was changed", notTrusted: true},
		"the same key, one that does not fit": {trust: "a", a: []signature{fits(a), wrong(a)}, want: "was changed", notTrusted: true},
		"another's under its name":            {trust: "a", a: []signature{fits(b)}, want: "was changed", notTrusted: true},
		"does not fit, unsigned allowed":      {trust: "a unsigned", a: []signature{wrong(a)}, want: "was changed", notTrusted: true},
		"cannot be read":                      {trust: "a", a: []signature{unread(fits(a))}, want: "permission denied", notTrusted: true},

		"kept aside":                           {trust: "a", a: []signature{aside(fits(a))}, want: "a/"},
		"aside, and does not fit":              {trust: "a b", a: []signature{aside(wrong(a))}, b: []signature{fits(b)}, want: "was changed", notTrusted: true},
		"aside, of other sums":                 {trust: "a b", file: SumsFile, a: []signature{aside(wrong(a))}, b: []signature{fits(b)}, want: "b/"},
		"aside, of other sums, and these":      {trust: "a", file: SumsFile, a: []signature{aside(wrong(a)), aside(fits(a))}, want: "a/"},
		"aside, of other sums, and no more":    {trust: "a", file: SumsFile, a: []signature{aside(wrong(a))}, want: "SHA256SUMS has no signature", notTrusted: true},
		"beside the sums, and does not fit":    {trust: "a b", file: SumsFile, a: []signature{wrong(a)}, b: []signature{fits(b)}, want: "was changed", notTrusted: true},
		"aside, of sums, and cannot be read":   {trust: "a b", file: SumsFile, a: []signature{aside(unread(fits(a)))}, b: []signature{fits(b)}, want: "permission denied", notTrusted: true},
		"two required, both":                   {trust: "a b 2", a: []signature{fits(a)}, b: []signature{aside(fits(b))}, want: "ab/"},
		"two required, one":                    {trust: "a b 2", a: []signature{fits(a)}, want: "by 1 of 2 trusted keys, and 2 are required: not by b", notTrusted: true},
		"two required, one and a stranger":     {trust: "a b 2", a: []signature{fits(a)}, s: []signature{fits(stranger)}, want: "by 1 of 2 trusted keys", notTrusted: true},
		"two required, one of them twice":      {trust: "a b 2", a: []signature{fits(a), fits(a)}, want: "by 1 of 2 trusted keys", notTrusted: true},
		"two required, one key named twice":    {trust: "a a 2", a: []signature{fits(a)}, want: "by 1 of 1 trusted keys", notTrusted: true},
		"two required, none, unsigned allowed": {trust: "a b unsigned 2", want: "by 0 of 2 trusted keys", notTrusted: true},

		"two required, one of two named twice": {trust: "a a b 2", want: "by 0 of 2 trusted keys, and 2 are required: not by a, b", notTrusted: true},

		"anything, to look at it": {trust: "a unverified 2", a: []signature{wrong(a)}, s: []signature{wrong(stranger)}, want: "/as"},

		"its own, half-written":              {trust: "a b signer=b", a: []signature{fits(a)}, b: []signature{wrong(b)}, want: "a/"},
		"its own, half-written, not trusted": {trust: "a signer=b", a: []signature{fits(a)}, b: []signature{wrong(b)}, want: "a/"},
		"its own, half-written, and no more": {trust: "b signer=b", b: []signature{wrong(b)}, want: "has no signature", notTrusted: true},
		"its own, on what nobody signed":     {trust: "unsigned signer=b", b: []signature{fits(b)}, want: "/"},
		"its own, and a stranger's":          {trust: "unsigned signer=b", b: []signature{fits(b)}, s: []signature{fits(stranger)}, want: "is signed by s only", notTrusted: true},
		"another's, half-written":            {trust: "a b signer=b", a: []signature{wrong(a)}, b: []signature{fits(b)}, want: "was changed", notTrusted: true},
	} {
		t.Run(name, func(t *testing.T) {
			found := map[string][]signature{}
			for key, signatures := range map[*ecdsa.PrivateKey][]signature{a: c.a, b: c.b, stranger: c.s} {
				if signatures != nil {
					found[keyID(key)] = signatures
				}
			}
			file := c.file
			if file == "" {
				file = InventoryFile
			}
			signers, unchecked, err := trustInWords(c.trust, a, b).judge(file, contents, found)
			got := lettered(ids, signers) + "/" + lettered(ids, unchecked)
			if err != nil {
				got = err.Error()
				for id, letter := range ids {
					got = strings.ReplaceAll(got, id, letter)
				}
			}
			if errors.Is(err, ErrUntrusted) != c.notTrusted || c.notTrusted == (err == nil) || !c.notTrusted && got != c.want || !strings.Contains(got, c.want) {
				t.Errorf("%s: %v", got, err)
			}
		})
	}
}

func signedWith(t *testing.T, key *ecdsa.PrivateKey, contents []byte) []byte {
	t.Helper()
	signed, err := verify.Sign(key, contents)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// trustInWords makes a Trust of words: a, b, unsigned, unverified, signer=b, 2.
func trustInWords(words string, a, b *ecdsa.PrivateKey) Trust {
	var trust Trust
	for _, word := range strings.Fields(words) {
		switch word {
		case "a":
			trust.Keys = append(trust.Keys, verify.PublicKeyOf(a))
		case "b":
			trust.Keys = append(trust.Keys, verify.PublicKeyOf(b))
		case "unsigned":
			trust.AllowUnsigned = true
		case "unverified":
			trust.Unverified = true
		case "signer=b":
			trust.signer = keyID(b)
		case "2":
			trust.Required = 2
		default:
			panic(word)
		}
	}
	return trust
}

func lettered(ids map[string]string, which []string) string {
	var letters []string
	for _, id := range which {
		letters = append(letters, ids[id])
	}
	slices.Sort(letters)
	return strings.Join(letters, "")
}

// TestSignaturePlaces: signatures are found in directories and as files, by names
// of the right form, and read only if their keys are trusted.
func TestSignaturePlaces(t *testing.T) {
	key, contents, medium, kept := testKey(t), []byte("some file"), t.TempDir(), t.TempDir()
	signed := signedWith(t, key, contents)
	name := signatureFile(InventoryFile, keyID(key))
	for path, data := range map[string][]byte{
		filepath.Join(kept, name):                         signed,
		filepath.Join(kept, "bundle.json.0123.sig"):       signed,
		filepath.Join(kept, strings.ToUpper(name)):        []byte("x"),
		filepath.Join(kept, name+".bak"):                  []byte("x"),
		filepath.Join(kept, "named.sig"):                  signed,
		filepath.Join(kept, signatureFile(SumsFile, "x")): signed,
		// Of a stranger's key only the name counts.
		filepath.Join(medium, "bundle.json.0123456789abcdef.sig"): make([]byte, 1000),
	} {
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for place, want := range map[string]error{
		kept: nil, filepath.Join(kept, name): nil, medium: ErrUntrusted,
		filepath.Join(kept, "named.sig"): ErrUsage, filepath.Join(kept, "bundle.json.0123.sig"): ErrUsage,
		filepath.Join(kept, "nowhere"): fs.ErrNotExist,
	} {
		trust := trustOf(key)
		trust.Signatures = []string{place}
		signers, unchecked, err := trust.signatures([]string{medium}, InventoryFile, contents)
		if !errors.Is(err, want) || want == nil && (err != nil || fmt.Sprint(signers, unchecked) != fmt.Sprintf("[%s] [0123456789abcdef]", keyID(key))) {
			t.Errorf("%s: %s, %s, %v", place, signers, unchecked, err)
		}
	}
}
