package manifest

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

func encoded(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestPullSecretWith(t *testing.T) {
	secret, err := ParsePullSecret([]byte(`{
	"credsStore": "<kept>",
	"auths": {"quay.io": {"auth": "` + encoded("a:b") + `", "email": "me@example"}, "m.lan:5000": {"auth": "b2xkOm9sZA=="}}}`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := secret.With("m.lan:5000", NewAccount("nodes", "p:w"))
	want := `{"auths":{"m.lan:5000":{"auth":"` + encoded("nodes:p:w") + `"},"quay.io":{"auth":"YTpi","email":"me@example"}},"credsStore":"<kept>"}` + "\n"
	if err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
	fragment, err := PullSecretFragment(got)
	if want := "pullSecret: '" + strings.TrimSpace(want) + "'\n"; err != nil || string(fragment) != want {
		t.Errorf("%s, %v", fragment, err)
	}
	again, err := ParsePullSecret(got)
	if at, below := again.Entries("m.lan:5000/x"); err != nil || len(at) != 1 || below != nil {
		t.Errorf("what was written is not read: %v", err)
	}
}

func TestParseAccount(t *testing.T) {
	auths := `{"auths": {"m.lan:5000/ns": {"auth": "` + encoded("in:ns") + `"}, "m.lan:5000": {"auth": "` + encoded("on:host") + `"}, "bad.lan": {"auth": "canary"}, "none.lan": {}}}`
	for _, c := range []struct {
		text string
		want Account
	}{
		{"user:pass", Account{"user", "pass"}}, {"user:pass\n", Account{"user", "pass"}}, {"user:pass\r\n", Account{"user", "pass"}},
		{"user:pa:ss word", Account{"user", "pa:ss word"}}, {"\ufeffuser:pass", Account{"user", "pass"}},
		{auths, Account{"in", "ns"}}, {strings.Replace(auths, "5000/ns", "5000/other", 1), Account{"on", "host"}},
	} {
		got, err := ParseAccount([]byte(c.text), "m.lan:5000/ns", "m.lan:5000")
		if err != nil || got != c.want {
			t.Errorf("%q: another account, %v", c.text, err)
		}
	}
	for reason, text := range map[string]string{
		"neither an auth.json":         "canary",
		"nor a line USER:PASSWORD":     ":canary",
		"neither an auth.json nor a":   "canary:",
		"more than a line":             "user:canary\nuser:canary",
		"it has no entry for m.lan:50": `{"auths": {"quay.io": {"auth": "canary"}}}`,
		"it is not JSON of a pull":     `{"auths": {"canary`,
		`it has no "auths"`:            `{"canary": 1}`,
	} {
		_, err := ParseAccount([]byte(text), "m.lan:5000")
		wantError(t, err, reason)
		wantNoCanary(t, err)
	}
	_, err := ParseAccount([]byte(auths), "bad.lan")
	wantError(t, err, "its auth for bad.lan is not base64")
	wantNoCanary(t, err)
	_, err = ParseAccount([]byte(auths), "none.lan")
	wantError(t, err, "its entry for none.lan has no auth")
}

func wantNoCanary(t *testing.T, err error) {
	t.Helper()
	if err != nil && strings.Contains(err.Error(), "canary") {
		t.Errorf("it tells the secret: %v", err)
	}
}

func TestParsePullSecret(t *testing.T) {
	for reason, text := range map[string]string{
		"byte 1":                  "canary",
		"of a pull secret":        `["canary"]`,
		`it has no "auths"`:       `{"auths": null}`,
		"it is not a pull secret": `{"auths": "canary"}`,
		"larger than":             strings.Repeat(" ", maxSecret) + "{}",
	} {
		_, err := ParsePullSecret([]byte(text))
		wantError(t, err, reason)
		wantNoCanary(t, err)
	}
}

// TestSecretsDoNotPrint takes what a hasty debugging line would.
func TestSecretsDoNotPrint(t *testing.T) {
	secret, err := ParsePullSecret([]byte(`{"auths": {"canary": {"auth": "canary"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	account := NewAccount("canary", "canary")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		text := fmt.Sprintf(verb+verb+verb, secret, account, &account)
		if strings.Contains(text, "canary") || strings.Contains(text, fmt.Sprintf("%x", "canary")) {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}

// TestPullSecretBelowHost: nodes log in with what stands under the longest name,
// so that an account for the host alone could be one that nobody uses.
func TestPullSecretBelowHost(t *testing.T) {
	secret, err := ParsePullSecret([]byte(`{"auths": {"m.lan:5000": {"auth": "1"}, "m.lan:5000/ocp": {"auth": "2"}, "m.lan:5000/ocp/x": {"auth": "3"},
	"m.lan:5000/oc": {"auth": "4"}, "m.lan:5000/team": {"auth": "5"}, "m.lan": {"auth": "6"}, "m.lan/ocp": {"auth": "7"}, "*.lan": {"auth": "8"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for place, want := range map[string]string{
		"m.lan:5000/ocp": "[m.lan:5000 m.lan:5000/ocp] [m.lan:5000/ocp/x]",
		"m.lan:5000":     "[m.lan:5000] [m.lan:5000/oc m.lan:5000/ocp m.lan:5000/ocp/x m.lan:5000/team]",
		"n.lan":          "[] []",
	} {
		at, below := secret.Entries(place)
		if got := fmt.Sprint(at, " ", below); got != want {
			t.Errorf("%s: %s, not %s", place, got, want)
		}
	}
	got, err := secret.With("m.lan:5000/ocp", NewAccount("n", "p"))
	want := `{"auths":{"*.lan":{"auth":"8"},"m.lan":{"auth":"6"},"m.lan/ocp":{"auth":"7"},"m.lan:5000":{"auth":"bjpw"},"m.lan:5000/oc":{"auth":"4"},` +
		`"m.lan:5000/ocp":{"auth":"bjpw"},"m.lan:5000/ocp/x":{"auth":"3"},"m.lan:5000/team":{"auth":"5"}}}` + "\n"
	if err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
}
