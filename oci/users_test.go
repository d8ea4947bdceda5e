package oci_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"airlift/oci"
)

func bcrypted(t *testing.T, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

// TestUsersGuard: who has not both name and password gets an answer of OCI's form,
// and nothing else, however often he tries and whoever was let in before.
func TestUsersGuard(t *testing.T) {
	users, err := oci.ParseUsers([]byte("# comment\n\nann:" + bcrypted(t, "secret") + "\nbob:" + bcrypted(t, "other") + "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	passed := 0
	guarded := users.Guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed++ }))
	for range 2 {
		for login, in := range map[string]bool{
			"ann:secret": true, "bob:other": true, "ann:other": false, "bob:secret": false, "ann:": false, ":secret": false, "": false,
			"eve:secret": false, "# comment:": false, "ann:secret\x00": false, "ann\x00:secret": false, "ann:" + strings.Repeat("x", 100): false,
		} {
			r := httptest.NewRequest(http.MethodGet, "/v2/", nil)
			if name, password, given := strings.Cut(login, ":"); given {
				r.SetBasicAuth(name, password)
			}
			before, w := passed, httptest.NewRecorder()
			guarded.ServeHTTP(w, r)
			if got := passed > before; got != in {
				t.Errorf("%q was let in: %t", login, got)
			}
			if !in && (w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), "UNAUTHORIZED") || w.Header().Get("WWW-Authenticate") != `Basic realm="airlift"`) {
				t.Errorf("%q: %d %v %s", login, w.Code, w.Header(), w.Body)
			}
		}
	}
}

// TestParseUsers: what is no bcrypt hash, no name, or a name again, is refused by its
// line, and no password is shown.
func TestParseUsers(t *testing.T) {
	for file, want := range map[string]string{
		"":                             "there is no user in it",
		"# nobody\n":                   "there is no user in it",
		"ann":                          "line 1: no password of the kind bcrypt",
		"\nann:plain":                  "line 2: no password of the kind bcrypt",
		"ann:$apr1$x$y":                "line 1: no password of the kind bcrypt",
		"ann:{SHA}x\n":                 "line 1: no password of the kind bcrypt",
		strings.Repeat("x", 70_000):    "token too long",
		"a:" + bcrypted(t, "") + "\nb": "line 2: no password of the kind bcrypt",
		"a:" + bcrypted(t, "") + "\n:" + bcrypted(t, "plain"):                "line 2: no name stands before the password",
		" :" + bcrypted(t, ""):                                               "line 1: no name stands before the password",
		"ann:" + bcrypted(t, "") + "\n# of old\nann:" + bcrypted(t, "plain"): "line 3: ann stands in line 1 already",
	} {
		_, err := oci.ParseUsers([]byte(file))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "plain") {
			t.Errorf("%.40q: %v", file, err)
		}
	}
}
