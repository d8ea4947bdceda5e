package ocitest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TokenUser is an account of a registry with tokens.
type TokenUser struct {
	Password string
	Actions  []string // "pull", "push", "delete": what any token may be for
}

// StartTokens serves a registry (HOST:PORT over plain HTTP) with the login of
// distribution's token specification, at the returned HOST:PORT, until the test
// ends. A token is for the actions of its scopes that the user has, as token
// servers give it: a login never fails for asking too much. Nobody is served
// without a token for the repository and the action.
func StartTokens(t testing.TB, target string, users map[string]TokenUser) (host string) {
	t.Helper()
	to := &url.URL{Scheme: "http", Host: target}
	next := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host // upload locations lead back here
		r.Out.Header.Del("Authorization")
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			giveToken(w, r, users)
			return
		}
		needed := scopeOf(r)
		if token, sent := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); sent && slices.Contains(scopesOf(token), needed) {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="ocitest",scope=%q`, r.Host, needed))
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

var ofRepository = regexp.MustCompile(`^/v2/(.+)/(manifests|blobs|tags|referrers)/`)

// scopeOf is what a request needs; "" for the request that only says hello
// (distribution/distribution, registry/handlers/app.go, appendAccessRecords).
func scopeOf(r *http.Request) string {
	found := ofRepository.FindStringSubmatch(r.URL.Path)
	switch {
	case found == nil:
		return ""
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		return "repository:" + found[1] + ":pull"
	case r.Method == http.MethodDelete:
		return "repository:" + found[1] + ":delete"
	}
	return "repository:" + found[1] + ":push"
}

// scopesOf reads a token: one scope for each action, and "" for any token.
func scopesOf(token string) []string {
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return nil
	}
	return append(strings.Fields(string(text)), "")
}

func giveToken(w http.ResponseWriter, r *http.Request, users map[string]TokenUser) {
	name, password, _ := r.BasicAuth()
	user, known := users[name]
	if !known || user.Password != password {
		http.Error(w, "who is that?", http.StatusUnauthorized)
		return
	}
	var granted []string
	for _, scope := range r.URL.Query()["scope"] {
		cut := strings.LastIndex(scope, ":")
		for action := range strings.SplitSeq(scope[cut+1:], ",") {
			if slices.Contains(user.Actions, action) {
				granted = append(granted, scope[:cut]+":"+action)
			}
		}
	}
	token := base64.RawURLEncoding.EncodeToString([]byte(strings.Join(granted, " ")))
	if token == "" {
		token = base64.RawURLEncoding.EncodeToString([]byte(" "))
	}
	_ = json.NewEncoder(w).Encode(map[string]string{"token": token}) // a client that has gone asks again
}
