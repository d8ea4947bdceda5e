package oci_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airlift/oci"
	"airlift/oci/ocitest"
)

// canaryCase is one way to be led astray.
type canaryCase struct {
	name    string
	kind    string   // of the account, and of what the registry asks for: basic, bearer, identity
	entries []string // of the auth.json; nil = the registry's

	// What places answer in place of the usual; they report false for that. The
	// registry is asked only once it has let somebody in.
	home  func(w http.ResponseWriter, r *http.Request) bool
	other func(at string, w http.ResponseWriter, r *http.Request) bool

	do      func(t *testing.T, c *oci.Client) error // nil = pull a manifest
	reaches string                                  // a place that must have been asked, or it proves nothing
	spares  string                                  // one that must not
	locked  bool                                    // the registry lets nobody in
	fails   string                                  // how it ends; "" = well, "*" = in any way
}

func canaryAuthfile(t *testing.T, kind string, entries []string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "auth.json")
	if kind != "identity" {
		users := map[string][2]string{}
		for _, entry := range entries {
			users[entry] = [2]string{"alice", canaryPassword}
		}
		ocitest.WriteAuthfile(t, name, users)
		return name
	}
	auths := map[string]any{}
	for _, entry := range entries {
		auths[entry] = map[string]any{"auth": base64.StdEncoding.EncodeToString([]byte("<token>:")), "identitytoken": canaryIdentity}
	}
	data, err := json.Marshal(map[string]any{"auths": auths})
	if err == nil {
		err = os.WriteFile(name, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// TestCanary leads the client astray in every way there is. Whatever it does
// then: no secret comes to a place that it was not for, and none is printed.
func TestCanary(t *testing.T) {
	c := newCanary(t)
	cases := canaryCases()
	names := map[string]bool{}
	for _, k := range cases {
		if names[k.name] {
			t.Errorf("two cases %s", k.name)
		}
		names[k.name] = true
		t.Run(k.name, func(t *testing.T) { c.sing(t, k) })
	}
	if len(cases) < 60 {
		t.Errorf("only %d cases", len(cases))
	}
}

func (c *canary) sing(t *testing.T, k canaryCase) {
	c.forget()
	admitted := false
	c.answer = func(at string, w http.ResponseWriter, r *http.Request) {
		switch {
		case at == canaryHome && !letsIn(k.kind, r):
			challenge(w, k.kind)
		case at == canaryHome:
			admitted = true
			if r.URL.Path == "/v2/" || k.home == nil || !k.home(w, r) {
				serveCanary(w, r)
			}
		case k.other != nil && k.other(at, w, r):
		case at == canaryRealm:
			giveCanaryToken(w, r, k.kind)
		default:
			serveCanary(w, r)
		}
	}
	do := k.do
	if do == nil {
		do = pullCanary
	}
	err := do(t, c.client(t, k.kind, k.entries...))
	if k.fails == "" && err != nil || k.fails != "" && k.fails != "*" && (err == nil || !strings.Contains(err.Error(), k.fails)) {
		t.Errorf("ended with %v, want %q", err, k.fails)
	}
	for _, leak := range c.leaks(fmt.Sprintf("%v\n%#v", err, err)) {
		t.Error(leak)
	}
	if admitted == k.locked {
		t.Errorf("let in: %v", admitted)
	}
	if k.reaches != "" && c.came(k.reaches) == 0 {
		t.Errorf("%s was not asked", k.reaches)
	}
	if k.spares != "" && c.came(k.spares) != 0 {
		t.Errorf("%s was asked", k.spares)
	}
}

func letsIn(kind string, r *http.Request) bool {
	sent := r.Header.Get("Authorization")
	if kind == "basic" {
		return sent == "Basic "+canaryBasic
	}
	return strings.HasPrefix(sent, "Bearer "+canaryToken)
}

func challenge(w http.ResponseWriter, kind string) {
	w.Header().Set("WWW-Authenticate", map[string]string{
		"basic":    `Basic realm="x"`,
		"bearer":   `Bearer realm="https://auth.example/token",service="s"`,
		"identity": `Bearer realm="https://auth.example/token",service="s"`,
	}[kind])
	w.WriteHeader(http.StatusUnauthorized)
}

// giveCanaryToken gives a token for the first scope.
func giveCanaryToken(w http.ResponseWriter, r *http.Request, kind string) {
	_ = r.ParseForm() // the body was read: what counts is in the query, or is the header
	scopes := r.URL.Query()["scope"]
	switch {
	case kind == "bearer" && r.Header.Get("Authorization") == "Basic "+canaryBasic:
	case kind == "identity" && r.Method == http.MethodPost:
		scopes = []string{"repository:a/b:pull"}
	default:
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	parts := append(strings.Split(strings.Join(scopes[:1], ""), ":"), "", "")
	_ = json.NewEncoder(w).Encode(map[string]any{"token": canaryToken + "-" + strings.ReplaceAll(parts[1], "/", ".") + "-x", "expires_in": 300})
}

// serveCanary is a registry, and any other server, that has everything.
func serveCanary(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodPost:
		w.Header().Set("Location", r.URL.Path+"1?state="+canaryState)
		w.WriteHeader(http.StatusAccepted)
	case r.Method == http.MethodPatch:
		w.Header().Set("Location", r.URL.RequestURI())
		w.WriteHeader(http.StatusAccepted)
	case r.Method == http.MethodPut:
		w.WriteHeader(http.StatusCreated)
	case strings.Contains(r.URL.Path, "/blobs/"), strings.Contains(r.URL.Path, "blob"):
		_, _ = io.WriteString(w, "data")
	case strings.Contains(r.URL.Path, "/referrers/"):
		w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		_, _ = io.WriteString(w, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
	default:
		w.Header().Set("Content-Type", image)
		_, _ = io.WriteString(w, imageJSON(""))
	}
}

func pullCanary(t *testing.T, c *oci.Client) error {
	_, err := c.Node(t.Context(), parse(t, canaryHome+"/a/b:1"))
	return err
}

func pullCanaryBlob(t *testing.T, c *oci.Client) error {
	body, err := c.Blob(t.Context(), parse(t, canaryHome+"/a/b:1"), blobOf([]byte("data")))
	if err == nil {
		_, err = io.ReadAll(body)
		body.Close()
	}
	return err
}

func pushCanary(t *testing.T, c *oci.Client) error {
	return c.PutBlob(t.Context(), parse(t, canaryHome+"/a/b:1"), blobOf([]byte("data")), opening([]byte("data")))
}

func pushCanaryParts(t *testing.T, c *oci.Client) error {
	u, err := c.BeginUpload(t.Context(), parse(t, canaryHome+"/a/b:1"), blobOf([]byte("data")))
	for _, part := range []string{"da", "ta"} {
		if err == nil {
			err = u.Append(t.Context(), strings.NewReader(part), 2)
		}
	}
	if err != nil {
		return err
	}
	return u.Commit(t.Context())
}

// leads answers requests of a method with a place to go.
func leads(method string, status int, location string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != method || r.URL.Path == "/home" {
			return false
		}
		w.Header().Set("Location", location)
		w.WriteHeader(status)
		return true
	}
}

// only answers at one place.
func only(place string, answer func(http.ResponseWriter, *http.Request) bool) func(string, http.ResponseWriter, *http.Request) bool {
	return func(at string, w http.ResponseWriter, r *http.Request) bool { return at == place && answer(w, r) }
}

func canaryCases() []canaryCase {
	var all []canaryCase
	for _, kind := range []string{"basic", "bearer"} {
		for _, list := range [][]canaryCase{redirectCases(), uploadCases(), refusalCases()} {
			for _, k := range list {
				k.name, k.kind = kind+" "+k.name, kind
				all = append(all, k)
			}
		}
	}
	return append(all, append(append(realmCases(), entryCases()...), repositoryCases()...)...)
}

// redirectCases: a registry sends a pull elsewhere.
func redirectCases() []canaryCase {
	cases := []canaryCase{
		{name: "redirect to another port", reaches: "registry.example:5001", home: leads("GET", 307, "https://registry.example:5001/x")},
		{name: "redirect to the usual port", reaches: "registry.example:443", home: leads("GET", 307, "https://registry.example/x")},
		{name: "redirect to another host", reaches: "evil.example:443", home: leads("GET", 307, "https://evil.example/x")},
		{name: "redirect to a subdomain", reaches: "sub.registry.example:5000", home: leads("GET", 307, "https://sub.registry.example:5000/x")},
		{name: "redirect to the parent domain", reaches: "example:5000", home: leads("GET", 307, "https://example:5000/x")},
		{name: "redirect to a host that begins with ours", reaches: "registry.example.evil.example:5000", home: leads("GET", 307, "https://registry.example.evil.example:5000/x")},
		{name: "redirect to a host that ends with ours", reaches: "evilregistry.example:5000", home: leads("GET", 307, "https://evilregistry.example:5000/x")},
		{name: "redirect with our host as the user", reaches: "evil.example:443", home: leads("GET", 307, "https://registry.example:5000@evil.example/x")},
		{name: "redirect with an account in the URL", reaches: "evil.example:443", home: leads("GET", 307, "https://me:other@evil.example/x")},
		{name: "redirect without a scheme", reaches: "evil.example:443", home: leads("GET", 307, "//evil.example/x")},
		{name: "redirect to our host with a dot", reaches: "registry.example.:5000", home: leads("GET", 307, "https://registry.example.:5000/x")},
		{name: "redirect to our address", reaches: "127.0.0.1:5000", home: leads("GET", 307, "https://127.0.0.1:5000/x")},
		{name: "redirect to our host in capitals", home: leads("GET", 307, "https://REGISTRY.EXAMPLE:5000/home")},
		{name: "redirect to our host over plain HTTP", home: leads("GET", 307, "http://registry.example:5000/home")},
		{name: "redirect to another port over plain HTTP", spares: "registry.example:5001", fails: "plain HTTP to this host was not allowed", home: leads("GET", 307, "http://registry.example:5001/x")},
		{name: "redirect to a host that is named as plain", reaches: "plain.example:80", home: leads("GET", 307, "http://plain.example/x")},
		{name: "redirect to a scheme that is none", fails: "unsupported protocol scheme", home: leads("GET", 307, "ftp://evil.example/x?sig="+canarySignature)},
		{name: "redirect to storage with a signature", reaches: "storage.example:443", home: leads("GET", 307, "https://storage.example/x?sig="+canarySignature)},
		{name: "redirect to what is no URL", fails: "the answer leads to what is no URL", home: leads("GET", 307, "https://storage.example/%zz?sig="+canarySignature)},
		{name: "redirect to a host that is none", fails: "*", home: leads("GET", 307, "https://stor age.example/?sig="+canarySignature)},
		{name: "redirect of a blob", do: pullCanaryBlob, reaches: "storage.example:443", home: leads("GET", 307, "https://storage.example/blob?sig="+canarySignature)},
		{name: "redirect of a blob that storage refuses", do: pullCanaryBlob, reaches: "storage.example:443", fails: "GET storage.example/blob: 403",
			home: leads("GET", 307, "https://storage.example/blob?sig="+canarySignature),
			other: only("storage.example:443", func(w http.ResponseWriter, r *http.Request) bool {
				w.WriteHeader(http.StatusForbidden)
				return true
			})},
		{name: "redirect of a blob whose storage breaks off", do: pullCanaryBlob, reaches: "storage.example:443", fails: "*",
			home:  leads("GET", 307, "https://storage.example/blob?sig="+canarySignature),
			other: only("storage.example:443", func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) })},
		{name: "redirect on from storage", reaches: "evil.example:443",
			home:  leads("GET", 307, "https://storage.example/x?sig="+canarySignature),
			other: only("storage.example:443", leads("GET", 302, "https://evil.example/x"))},
		{name: "redirect in a chain of ports", reaches: "registry.example:5002",
			home:  leads("GET", 307, "https://registry.example:5001/x"),
			other: only("registry.example:5001", leads("GET", 301, "https://registry.example:5002/x"))},
		{name: "redirect away and back", reaches: "evil.example:443",
			home:  leads("GET", 307, "https://evil.example/x"),
			other: only("evil.example:443", leads("GET", 307, "https://registry.example:5000/home"))},
		{name: "redirect in a ring", fails: "too many redirects", home: leads("GET", 307, "https://evil.example/x"),
			other: only("evil.example:443", leads("GET", 307, "https://evil.example/y"))},
		{name: "redirect of HEAD", reaches: "registry.example:5001", home: leads("HEAD", 307, "https://registry.example:5001/x"),
			do: func(t *testing.T, c *oci.Client) error {
				_, err := c.HasBlob(t.Context(), parse(t, canaryHome+"/a/b"), someBlob)
				return err
			}},
	}
	for _, status := range []int{301, 302, 303, 308} {
		cases = append(cases, canaryCase{name: fmt.Sprintf("redirect by %d", status), reaches: "registry.example:5001", home: leads("GET", status, "https://registry.example:5001/x")})
	}
	return cases
}

// uploadCases: a registry names another place for what is pushed.
func uploadCases() []canaryCase {
	var cases []canaryCase
	for _, k := range []canaryCase{
		{name: "at another port", reaches: "registry.example:5001", home: leads("POST", 202, "https://registry.example:5001/x")},
		{name: "at another host", reaches: "evil.example:443", home: leads("POST", 202, "https://evil.example/x")},
		{name: "at a subdomain", reaches: "sub.registry.example:5000", home: leads("POST", 202, "https://sub.registry.example:5000/x")},
		{name: "with our host as the user", reaches: "evil.example:443", home: leads("POST", 202, "https://registry.example:5000@evil.example/x")},
		{name: "with a state at another host", reaches: "uploads.example:443", home: leads("POST", 202, "https://uploads.example/x?state="+canaryState)},
		{name: "at our host over plain HTTP", home: leads("POST", 202, "http://registry.example:5000/v2/a/b/blobs/uploads/1?state="+canaryState)},
		{name: "at another port over plain HTTP", spares: "registry.example:5001", fails: "plain HTTP to this host was not allowed", home: leads("POST", 202, "http://registry.example:5001/x?state="+canaryState)},
		{name: "at what is no URL", fails: "the answer leads to what is no URL", home: leads("POST", 202, "https://uploads.example/%zz?state="+canaryState)},
	} {
		one, parts := k, k
		one.name, one.do = "upload "+k.name, pushCanary
		parts.name, parts.do = "upload in parts "+k.name, pushCanaryParts
		cases = append(cases, one, parts)
	}
	return append(cases,
		canaryCase{name: "upload that is redirected", do: pushCanary, spares: "evil.example:443", fails: "307", home: leads("PUT", 307, "https://evil.example/x")},
		canaryCase{name: "upload that moves", do: pushCanaryParts, reaches: "evil.example:443", home: leads("PATCH", 202, "https://evil.example/x")},
		canaryCase{name: "upload given up elsewhere", reaches: "evil.example:443", home: leads("POST", 202, "https://evil.example/x"),
			do: func(t *testing.T, c *oci.Client) error {
				_, err := c.Mount(t.Context(), parse(t, canaryHome+"/a/b"), someDigest, "c/d")
				return err
			}},
		canaryCase{name: "manifest that is redirected", reaches: "evil.example:443", home: leads("PUT", 307, "https://evil.example/x"),
			do: func(t *testing.T, c *oci.Client) error {
				return c.PutNode(t.Context(), parse(t, canaryHome+"/a/b:1"), image, []byte(imageJSON("")))
			}},
	)
}

// refuse answers 401 with a challenge, and repeats what it was sent.
func refuse(challenge string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("WWW-Authenticate", challenge)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, password, _ := r.BasicAuth()
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": []any{map[string]any{
			"code": "UNAUTHORIZED", "message": "not " + r.Header.Get("Authorization") + " (" + password + ")"}}})
		return true
	}
}

// refusalCases: somebody asks who we are.
func refusalCases() []canaryCase {
	away := leads("GET", 307, "https://evil.example/x")
	return []canaryCase{
		{name: "refused where a redirect led, Basic", reaches: "evil.example:443", fails: "GET evil.example/x: 401", home: away, other: only("evil.example:443", refuse(`Basic realm="x"`))},
		{name: "refused where a redirect led, with its own realm", reaches: "realm.evil.example:443", fails: "GET evil.example/x: 401", home: away,
			other: only("evil.example:443", refuse(`Bearer realm="https://realm.evil.example/token",service="s",scope="repository:a/b:pull"`))},
		{name: "refused where a redirect led, with our realm", reaches: "evil.example:443", fails: "GET evil.example/x: 401", home: away,
			other: only("evil.example:443", refuse(`Bearer realm="https://auth.example/token",service="s",scope="repository:a/b:pull"`))},
		{name: "refused where a redirect led, with a private realm", spares: "10.0.0.1:443", fails: "GET evil.example/x: 401", home: away,
			other: only("evil.example:443", refuse(`Bearer realm="https://10.0.0.1/token"`))},
		{name: "refused at another port", reaches: "registry.example:5001", fails: "GET registry.example:5001/x: 401", home: leads("GET", 307, "https://registry.example:5001/x"),
			other: only("registry.example:5001", refuse(`Basic realm="x"`))},
		{name: "refused by the registry, Basic", fails: "401 UNAUTHORIZED: not B", home: refuse(`Basic realm="x"`)},
		{name: "refused by the registry, with another realm", spares: "evil.example:443", fails: "401 UNAUTHORIZED: not B", home: refuse(`Bearer realm="https://evil.example/token",service="s"`)},
		{name: "refused by the registry, pushing", do: pushCanary, fails: "401 UNAUTHORIZED: not B", home: refuse(`Basic realm="x"`)},
	}
}

// namesRealm is a registry that sends for tokens to a realm.
func namesRealm(realm string) func(string, http.ResponseWriter, *http.Request) bool {
	return only("named.example:443", func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s",service="s"`, realm))
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
}

// both are the answers of two places.
func both(a, b func(string, http.ResponseWriter, *http.Request) bool) func(string, http.ResponseWriter, *http.Request) bool {
	return func(at string, w http.ResponseWriter, r *http.Request) bool { return a(at, w, r) || b(at, w, r) }
}

// realmCases: the token service. Here the registry is named.example; what it
// names has the password, if it is at HTTPS.
func realmCases() []canaryCase {
	pull := func(t *testing.T, c *oci.Client) error {
		_, err := c.Node(t.Context(), parse(t, "named.example/a/b:1"))
		return err
	}
	var cases []canaryCase
	for _, kind := range []string{"bearer", "identity"} {
		for _, k := range []canaryCase{
			{name: "at another host", reaches: canaryRealm, fails: "named.example/v2/a/b/manifests/1: 401", other: namesRealm("https://auth.example/token")},
			{name: "over plain HTTP", spares: "auth.example:80", fails: "it must be at https://", other: namesRealm("http://auth.example/token")},
			{name: "over plain HTTP at a host named as plain", spares: "plain.example:80", fails: "it must be at https://", other: namesRealm("http://plain.example/token")},
			{name: "at a private address", spares: "10.0.0.1:443", fails: oci.ErrPrivateRealm.Error(), other: namesRealm("https://10.0.0.1/token")},
			{name: "at the loopback", spares: "127.0.0.1:443", fails: oci.ErrPrivateRealm.Error(), other: namesRealm("https://127.0.0.1/token")},
			{name: "at the address of a cloud's metadata", spares: "169.254.169.254:80", fails: "it must be at https://", other: namesRealm("http://169.254.169.254/latest")},
			{name: "at the metadata in IPv6", spares: "[::ffff:169.254.169.254]:443", fails: oci.ErrPrivateRealm.Error(), other: namesRealm("https://[::ffff:169.254.169.254]/token")},
			{name: "that is no URL", fails: "names no service", other: namesRealm("https://auth.example/%zz")},
			{name: "that is none", fails: "names no service", other: namesRealm("/token")},
			{name: "of a scheme that is none", fails: "it must be at https://", other: namesRealm("file://auth.example/etc/passwd")},
			{name: "with an account in its URL", reaches: canaryRealm, fails: "401", other: namesRealm("https://me:other@auth.example/token")},
			{name: "that redirects to another host", reaches: canaryRealm, fails: "*", other: both(namesRealm("https://auth.example/token"), only(canaryRealm, leadsAll(302, "https://evil.example/token")))},
			{name: "that redirects to another host, whole", reaches: canaryRealm, fails: "*", other: both(namesRealm("https://auth.example/token"), only(canaryRealm, leadsAll(307, "https://evil.example/token")))},
			{name: "that redirects to another port", reaches: canaryRealm, fails: "*", other: both(namesRealm("https://auth.example/token"), only(canaryRealm, leadsAll(308, "https://auth.example:444/token")))},
			{name: "that redirects to plain HTTP", reaches: canaryRealm, spares: "auth.example:80", fails: "*", other: both(namesRealm("https://auth.example/token"), only(canaryRealm, leadsAll(307, "http://auth.example/token")))},
			{name: "that redirects to what is no URL", reaches: canaryRealm, fails: "the answer leads to what is no URL", other: both(namesRealm("https://auth.example/token"), only(canaryRealm, leadsAll(307, "https://auth.example/%zz?"+canarySignature)))},
			{name: "that refuses and repeats", reaches: canaryRealm, fails: "GET auth.example/token: 401", other: both(namesRealm("https://auth.example/token"), only(canaryRealm, refuse(`Basic realm="x"`)))},
			{name: "of a host that the first answer led to", spares: "127.0.0.1:443", fails: "*", other: both(only("named.example:443", leadsAll(307, "https://evil.example/v2/")),
				only("evil.example:443", refuse(`Bearer realm="https://realm.evil.example/token"`)))},
		} {
			k.name, k.kind, k.do, k.locked, k.entries = kind+" realm "+k.name, kind, pull, true, []string{"named.example"}
			if kind == "identity" {
				k.fails = strings.Replace(k.fails, "GET auth", "POST auth", 1)
			}
			cases = append(cases, k)
		}
		k := canaryCase{name: kind + " at home", kind: kind, reaches: canaryRealm}
		cases = append(cases, k)
	}
	return cases
}

func leadsAll(status int, location string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Location", location)
		w.WriteHeader(status)
		return true
	}
}

// entryCases: entries of an auth.json that look as if they were for what is
// asked.
func entryCases() []canaryCase {
	asks := func(reference string) func(*testing.T, *oci.Client) error {
		return func(t *testing.T, c *oci.Client) error {
			_, err := c.Node(t.Context(), parse(t, reference))
			return err
		}
	}
	var cases []canaryCase
	for _, k := range []struct{ entry, asked, place string }{
		{"quay.io/org", "quay.io/other/b:1", "quay.io:443"},
		{"quay.io/org", "quay.io/organisation/b:1", "quay.io:443"},
		{"quay.io/org/b", "quay.io/org/c:1", "quay.io:443"},
		{"quay.io", "quay.io.evil.example/org/b:1", "quay.io.evil.example:443"},
		{"quay.io", "quay.io:444/org/b:1", "quay.io:444"},
		{"quay.io", "cdn.quay.io/org/b:1", "cdn.quay.io:443"},
		{"cdn.quay.io", "quay.io/org/b:1", "quay.io:443"},
		{"quay.io:444", "quay.io/org/b:1", "quay.io:443"},
		{"https://quay.io:444", "quay.io/org/b:1", "quay.io:443"},
		{"quay.io.evil.example", "quay.io/org/b:1", "quay.io:443"},
		{"*.quay.io", "cdn.quay.io/org/b:1", "cdn.quay.io:443"},
		{"registry.example", canaryHome + "/a/b:1", canaryHome},
	} {
		for _, question := range []string{`Basic realm="x"`, `Bearer realm="https://realm.evil.example/token",service="s"`} {
			kind, _, _ := strings.Cut(question, " ")
			cases = append(cases, canaryCase{
				name: fmt.Sprintf("entry %s for %s, %s", k.entry, strings.TrimSuffix(k.asked, ":1"), kind),
				kind: "basic", entries: []string{k.entry}, do: asks(k.asked), reaches: k.place, locked: true, fails: "401",
				other: both(only(k.place, refuse(question)), only("realm.evil.example:443", func(w http.ResponseWriter, r *http.Request) bool {
					_, _ = io.WriteString(w, `{"token":"guest"}`)
					return true
				})),
			})
		}
	}
	return cases
}

// repositoryCases: what is good for one repository is not for another; and pages
// of lists.
func repositoryCases() []canaryCase {
	several := func(t *testing.T, c *oci.Client) error {
		for _, repo := range []string{"/a/b", "/c/d", "/a/b", "/a"} {
			if _, err := c.Node(t.Context(), parse(t, canaryHome+repo+":1")); err != nil {
				return err
			}
		}
		_, err := c.Mount(t.Context(), parse(t, canaryHome+"/e"), someDigest, "a/b")
		return err
	}
	list := func(t *testing.T, c *oci.Client) error {
		_, _, err := c.Referrers(t.Context(), parse(t, canaryHome+"/a/b@"+string(someDigest)))
		return err
	}
	cases := []canaryCase{{name: "token of another repository", kind: "bearer", do: several}}
	for _, kind := range []string{"basic", "bearer"} {
		for _, k := range []canaryCase{
			{name: "page at another host", spares: "evil.example:443", fails: "the next page is at another host", home: nextAt("https://evil.example/x")},
			{name: "page at another port", spares: "registry.example:5001", fails: "the next page is at another host", home: nextAt("https://registry.example:5001/x")},
			{name: "page at our host as the user", spares: "evil.example:443", fails: "the next page is at another host", home: nextAt("https://registry.example:5000@evil.example/x")},
			{name: "page over plain HTTP", home: nextAt("http://registry.example:5000/v2/a/b/referrers/next")},
			{name: "page with a password", home: nextAt("https://evil:" + canaryState + "@registry.example:5000/v2/a/b/referrers/next")},
			{name: "list that is redirected", reaches: "evil.example:443", home: leads("GET", 307, "https://evil.example/referrers/")},
		} {
			k.name, k.kind, k.do = kind+" "+k.name, kind, list
			cases = append(cases, k)
		}
	}
	return cases
}

// nextAt serves a list whose next page is elsewhere.
func nextAt(location string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, string(someDigest)) {
			return false
		}
		w.Header().Set("Link", "<"+location+`>; rel="next"`)
		return false
	}
}

// A proxy is told its own password, and the registry's never; the registry
// never the proxy's.
func TestCanaryBehindAProxy(t *testing.T) {
	for _, k := range []struct {
		name, proxy string
		status      int // of the proxy; 0 = it does its work
		fails       string
	}{
		{"that works", "http://bob:" + canaryProxyPass + "@" + canaryProxy, 0, ""},
		{"that wants to know who", "http://bob:" + canaryProxyPass + "@" + canaryProxy, 407, "the proxy proxy.example:3128 (HTTPS_PROXY): answered 407 Proxy Authentication Required to a connection with registry.example:5000"},
		{"that forbids", "http://bob:" + canaryProxyPass + "@" + canaryProxy, 403, "the proxy proxy.example:3128 (HTTPS_PROXY): answered 403 Forbidden to a connection with registry.example:5000"},
	} {
		t.Run(k.name, func(t *testing.T) {
			t.Setenv("HTTPS_PROXY", k.proxy)
			c := newCanary(t)
			http.DefaultTransport.(*http.Transport).Proxy = proxyOfEnvironment("HTTPS_PROXY")
			for _, kind := range []string{"basic", "bearer"} {
				other := canaryCase{kind: kind, home: leads("GET", 307, "https://storage.example/x?sig="+canarySignature), fails: k.fails, locked: k.fails != "", reaches: "storage.example:443"}
				if k.fails != "" {
					other.reaches, other.spares = "", canaryHome
				}
				c.refuseTunnel = k.status
				c.sing(t, other)
			}
		})
	}
}

// The canary itself: a client as net/http gives it is caught.
func TestCanaryIsAlive(t *testing.T) {
	c := newCanary(t)
	c.answer = func(at string, w http.ResponseWriter, r *http.Request) {
		if at == canaryHome {
			http.Redirect(w, r, "https://registry.example:5001/x", http.StatusTemporaryRedirect)
		}
	}
	r, err := http.NewRequest(http.MethodGet, "https://"+canaryHome+"/x?sig="+canarySignature, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("alice", canaryPassword)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = certificatesOf(t, c.certs.CAFile)
	resp, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	leaks := strings.Join(c.leaks("the password is "+canaryPassword), "\n")
	for _, want := range []string{canaryBasic + " came to registry.example:5001", canarySignature + " came to registry.example:5000", canarySignature + " came to registry.example:5001", canaryPassword + " was printed"} {
		if !strings.Contains(leaks, want) {
			t.Errorf("not noticed: %s, in %s", want, leaks)
		}
	}
}
