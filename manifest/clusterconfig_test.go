package manifest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// certificate makes one in PEM, and its key.
func certificate(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	made := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, made, made, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

func TestCertificates(t *testing.T) {
	a, key := certificate(t, "a")
	b, _ := certificate(t, "b")
	got, err := Certificates([]byte("subject=a\n" + string(a) + "\nsubject=b\n" + string(b)))
	if err != nil || string(got) != string(a)+string(b) {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := Certificates([]byte("\ufeff" + strings.ReplaceAll(strings.TrimSpace(string(a)), "\n", "\r\n"))); err != nil || string(got) != string(a) {
		t.Errorf("as Windows writes it: %q, %v", got, err)
	}
	for reason, text := range map[string]string{
		"a private key, which":       string(a) + string(pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS"})) + string(key),
		"holds a private key":        string(a) + string(key),
		"it holds a private key":     string(key) + string(a),
		"a private key, which must":  string(a) + strings.Replace(string(key), "\n", "\n!", 2), // not even whole
		"no certificate in PEM":      "",
		"certificate in PEM":         "not PEM",
		"a block of it is damaged":   string(a) + strings.Replace(string(b), "\n", "\n!", 2),
		"block 2 of it is no cert":   string(a) + string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY"})),
		"block 1 of it is no certif": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("no")})),
	} {
		got, err := Certificates([]byte(text))
		wantError(t, err, reason)
		if got != nil {
			t.Errorf("%s: it returns %q", reason, got)
		}
	}
}

func TestRegistryKey(t *testing.T) {
	for host, want := range map[string]string{"m.example": "m.example", "m.example:5000": "m.example..5000", "10.0.0.7:443": "10.0.0.7..443"} {
		if got := RegistryKey(host); got != want {
			t.Errorf("%s has the key %s, not %s", host, got, want)
		}
	}
}

// TestWithRegistry: what is there is kept, whatever its form, and nothing is
// there twice.
func TestWithRegistry(t *testing.T) {
	a, _ := certificate(t, "a")
	b, _ := certificate(t, "b")
	held := ConfigMap{Name: "user-ca", Data: map[string]string{
		"other.example":          "whatever it is",
		"m.example..5000":        base64.StdEncoding.EncodeToString(a),
		"updateservice-registry": string(b),
	}}
	for range 2 { // the second time there is nothing to add
		with, err := held.WithRegistry("m.example:5000", b)
		if err != nil {
			t.Fatal(err)
		}
		want := ConfigMap{Name: "user-ca", Data: map[string]string{
			"other.example": "whatever it is", "m.example..5000": string(a) + string(b), "updateservice-registry": string(b),
		}}
		if diff := cmp.Diff(want, with); diff != "" {
			t.Fatal(diff)
		}
		if held.Data["m.example..5000"] == string(a)+string(b) {
			break
		}
		if len(held.Data) != 3 || strings.Contains(held.Data["m.example..5000"], "BEGIN") {
			t.Error("the original was changed")
		}
		held = with
	}
	got, err := held.RegistryCertificates("m.example:5000")
	if err != nil || string(got) != string(a)+string(b) {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := held.RegistryCertificates("else.example"); got != nil || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	_, err = ConfigMap{Name: "c", Data: map[string]string{"m.example": "no PEM"}}.WithRegistry("m.example", a)
	wantError(t, err, "key m.example: it holds no certificate in PEM")
}

func TestParseConfigMap(t *testing.T) {
	const head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: user-ca, namespace: openshift-config}\n"
	got, err := ParseConfigMap([]byte(head + "data: {a..1: x}\nimmutable: false\n"))
	if diff := cmp.Diff(ConfigMap{Name: "user-ca", Data: map[string]string{"a..1": "x"}}, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	again, err := got.YAML("why")
	if err != nil || !strings.HasPrefix(string(again), "# why\napiVersion: v1\n") {
		t.Errorf("%s, %v", again, err)
	}
	for reason, text := range map[string]string{
		"it is a Secret of":          strings.Replace(head, "ConfigMap", "Secret", 1),
		`its namespace is "other"`:   strings.Replace(head, "openshift-config", "other", 1),
		"binaryData":                 head + "binaryData: {a: eA==}",
		"is not a name of an object": strings.Replace(head, "user-ca", "User", 1),
		"is not a key":               head + "data: {'a:1': x}",
		"it is not a ConfigMap":      head + "data: [x]",
		"already set":                head + "data: {a: x, a: y}",
		"it is empty":                "",
	} {
		_, err := ParseConfigMap([]byte(text))
		wantError(t, err, reason)
	}
}

func TestParseImageConfig(t *testing.T) {
	got, err := ParseImageConfig([]byte(`apiVersion: config.openshift.io/v1
kind: Image
metadata: {name: cluster, generation: 2}
spec:
  additionalTrustedCA: {name: user-ca}
  externalRegistryHostnames: [x]
  registrySources: {insecureRegistries: [a], blockedRegistries: [b], containerRuntimeSearchRegistries: [c]}
status: {}
`))
	want := ImageConfig{TrustedCA: "user-ca", Insecure: []string{"a"}, Blocked: []string{"b"}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for reason, text := range map[string]string{
		"it is a ConfigMap of": "apiVersion: v1\nkind: ConfigMap\n",
		"not an Image of":      "apiVersion: image.openshift.io/v1\nkind: Image\n",
		"is not an Image conf": "apiVersion: config.openshift.io/v1\nkind: Image\nspec: {registrySources: {blockedRegistries: a}}\n",
		"it holds 2 objects":   "kind: Image\n---\nkind: Image\n",
	} {
		_, err := ParseImageConfig([]byte(text))
		wantError(t, err, reason)
	}
}

// TestImageConfigPatch: a merge patch replaces lists, so that what is there must
// be in it; what is not touched must not.
func TestImageConfigPatch(t *testing.T) {
	for _, c := range []struct {
		name      string
		held, add ImageConfig
		want      string
	}{
		{"nothing", ImageConfig{TrustedCA: "a", Allowed: []string{"x.lan"}}, ImageConfig{}, ""},
		{"the certificates alone", ImageConfig{Allowed: []string{"x.lan"}}, ImageConfig{TrustedCA: "a"},
			"spec:\n  additionalTrustedCA:\n    name: a\n"},
		{"a list that is not touched", ImageConfig{Allowed: []string{"x.lan"}}, ImageConfig{Insecure: []string{"m.lan"}},
			"spec:\n  registrySources:\n    insecureRegistries:\n    - m.lan\n"},
		{"added behind, sorted, once", ImageConfig{Allowed: []string{"z.lan", "b.lan"}}, ImageConfig{Allowed: []string{"m.lan/x", "b.lan", "a.lan"}},
			"spec:\n  registrySources:\n    allowedRegistries:\n    - z.lan\n    - b.lan\n    - a.lan\n    - m.lan/x\n"},
		{"beside blocked ones", ImageConfig{Blocked: []string{"m.lan/y"}}, ImageConfig{Insecure: []string{"m.lan/x"}},
			"spec:\n  registrySources:\n    insecureRegistries:\n    - m.lan/x\n"},
	} {
		got, err := ImageConfigPatch(c.held, c.add, "")
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %v\n%s", c.name, err, got)
		}
		if c.want == "" {
			continue
		}
		read, err := ParseImageConfigPatch(got)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		again, err := ImageConfigPatch(ImageConfig{}, read, "")
		if err != nil || (c.name == "the certificates alone") && string(again) != c.want {
			t.Errorf("%s, read and written again: %v\n%s", c.name, err, again)
		}
	}
	var many []string
	for i := range maxRegistries + 1 {
		many = append(many, fmt.Sprintf("h%d.lan", i))
	}
	for reason, c := range map[string][2]ImageConfig{
		`the cluster's additionalTrustedCA is "b", not "a"`:  {{TrustedCA: "b"}, {TrustedCA: "a"}},
		"exclude allowedRegistries":                          {{Blocked: []string{"x.lan"}}, {Allowed: []string{"m.lan"}}},
		`"m.lan/x" is among the cluster's blockedRegistries`: {{Blocked: []string{"m.lan"}}, {Insecure: []string{"m.lan/x"}}},
		`as "*.lan"`:               {{Blocked: []string{"*.lan"}}, {Insecure: []string{"m.lan"}}},
		"the API takes 1024":       {{}, {Allowed: many}},
		"is longer than 256 bytes": {{}, {Allowed: []string{"m.lan/" + strings.Repeat("a", 256)}}},
		"it begins with a scheme":  {{}, {Allowed: []string{"https://m.lan"}}},
	} {
		_, err := ImageConfigPatch(c[0], c[1], "")
		wantError(t, err, reason)
	}
	_, err := ParseImageConfigPatch([]byte("spec: {registrySource: {}}"))
	wantError(t, err, `unknown field "registrySource"`)
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		entry, name string
		want        bool
	}{
		{"m.lan", "m.lan", true}, {"m.lan", "m.lan/a/b", true}, {"m.lan/a", "m.lan/a/b", true}, {"m.lan:5000", "m.lan:5000/a", true},
		{"m.lan", "m.lan:5000/a", false}, {"m.lan/a", "m.lan/ab", false}, {"m.lan/a/b", "m.lan/a", false}, {"m.la", "m.lan", false},
		{"*.lan", "m.lan/a", true}, {"*.lan", "a.m.lan/a", true}, {"*.lan", "lan/a", false}, {"*.lan", "m.example/x.lan", false}, {"*.lan", "m.lan:5000/a", true}, {"*.lan", "lan:5000/a.lan", false}, {"*", "m.lan", false},
	} {
		if Covers(c.entry, c.name) != c.want {
			t.Errorf("%s covers %s: %v", c.entry, c.name, !c.want)
		}
	}
}

func TestTrustBundleFragment(t *testing.T) {
	got, err := TrustBundleFragment([]byte("-----BEGIN\nx\n"))
	if want := "additionalTrustBundle: |\n  -----BEGIN\n  x\nadditionalTrustBundlePolicy: Always\n"; err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
}

// TestPatched: lists of a merge patch replace lists, empty ones too.
func TestPatched(t *testing.T) {
	held := ImageConfig{TrustedCA: "ca", Insecure: []string{"i"}, Allowed: []string{"a"}, Blocked: []string{"b"}}
	for _, c := range []struct{ patch, want ImageConfig }{
		{ImageConfig{}, held},
		{ImageConfig{TrustedCA: "other", Allowed: []string{"a", "c"}}, ImageConfig{TrustedCA: "other", Insecure: []string{"i"}, Allowed: []string{"a", "c"}, Blocked: []string{"b"}}},
		{ImageConfig{Insecure: []string{}, Blocked: []string{}}, ImageConfig{TrustedCA: "ca", Insecure: []string{}, Allowed: []string{"a"}, Blocked: []string{}}},
	} {
		if got := held.Patched(c.patch); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%+v, not %+v", got, c.want)
		}
	}
}
