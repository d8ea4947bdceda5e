package ocitest

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	issuerName    = "ocitest issuer"
	issuerService = "ocitest registry"

	// registryLeeway is what docker-registry adds to the life of a token
	// (distribution, registry/auth/token/token.go, Leeway).
	registryLeeway = 60 * time.Second
)

// Issuer is a token server for registries that take its tokens: signed ones, as
// the JWT section of distribution's token specification has them.
type Issuer struct {
	Realm string        // its URL, over plain HTTP
	Life  time.Duration // of a token, for the registry too; 0 = an hour
	Mute  bool          // it does not say how long a token lives

	user, password string
	key            *ecdsa.PrivateKey
	cert           []byte // DER
	bundle         string // PEM file of it

	mu     sync.Mutex
	issued map[string]int // scopes, in order -> tokens
	last   time.Time      // when the last of all ends
}

// StartIssuer runs a token server with one account until the test ends.
func StartIssuer(t testing.TB, user, password string) *Issuer {
	t.Helper()
	i := &Issuer{user: user, password: password, key: newKey(t), issued: map[string]int{}}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: issuerName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
	}
	i.cert = certify(t, cert, cert, &i.key.PublicKey, i.key)
	i.bundle = filepath.Join(t.TempDir(), "issuer.crt")
	writePEM(t, i.bundle, "CERTIFICATE", i.cert)
	server := httptest.NewServer(i)
	t.Cleanup(server.Close)
	i.Realm = server.URL + "/token"
	return i
}

// Host is where the server listens.
func (i *Issuer) Host() string {
	return strings.TrimSuffix(strings.TrimPrefix(i.Realm, "http://"), "/token")
}

// Issued counts the tokens for each list of scopes so far.
func (i *Issuer) Issued() map[string]int {
	i.mu.Lock()
	defer i.mu.Unlock()
	counts := map[string]int{}
	for scopes, n := range i.issued {
		counts[scopes] = n
	}
	return counts
}

func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	if user != i.user || password != i.password {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"errors":[{"code":"UNAUTHORIZED","message":"who is that?"}]}`))
		return
	}
	scopes := r.URL.Query()["scope"]
	now := time.Now()
	i.mu.Lock()
	i.issued[strings.Join(scopes, " ")]++
	i.last = i.end(now)
	i.mu.Unlock()
	answer := map[string]any{"token": i.token(now, scopes)}
	if !i.Mute {
		answer["expires_in"] = i.life() / time.Second
	}
	_ = json.NewEncoder(w).Encode(answer) // a client that has gone asks again
}

func (i *Issuer) life() time.Duration {
	if i.Life == 0 {
		return time.Hour
	}
	return i.Life
}

// end is when a token of now is good for nothing: in whole seconds, which is
// what tokens know, and no earlier than is said.
func (i *Issuer) end(now time.Time) time.Time {
	return now.Add(i.life() + time.Second - 1).Truncate(time.Second)
}

// AwaitEnd waits until no token that was issued so far is good for anything.
func (i *Issuer) AwaitEnd() {
	i.mu.Lock()
	last := i.last
	i.mu.Unlock()
	<-time.After(time.Until(last) + time.Millisecond)
}

// access is what a token grants in one repository.
type access struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// token grants all that is asked for.
func (i *Issuer) token(now time.Time, scopes []string) string {
	granted := []access{}
	for _, scope := range scopes {
		if parts := strings.SplitN(scope, ":", 3); len(parts) == 3 {
			granted = append(granted, access{parts[0], parts[1], strings.Split(parts[2], ",")})
		}
	}
	text := part(map[string]any{"typ": "JWT", "alg": "ES256", "x5c": [][]byte{i.cert}}) + "." + part(map[string]any{
		"iss": issuerName, "sub": i.user, "aud": issuerService, "jti": rand.Text(),
		"iat": now.Unix(), "nbf": now.Add(-time.Hour).Unix(), "exp": i.end(now).Add(-registryLeeway).Unix(),
		"access": granted,
	})
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, i.key, sum[:])
	if err != nil {
		panic(err) // there is no randomness
	}
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// part is one of the dotted parts of a token.
func part(fields map[string]any) string {
	data, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

// tokenLogin lets a builder do what it likes.
type tokenLogin struct {
	issuer *Issuer
	next   http.RoundTripper
}

func (l tokenLogin) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	scopes := []string{"registry:catalog:*"}
	if found := ofRepository.FindStringSubmatch(r.URL.Path); found != nil {
		scopes = []string{"repository:" + found[1] + ":pull,push,delete"}
	}
	r.Header.Set("Authorization", "Bearer "+l.issuer.token(time.Now(), scopes))
	return l.next.RoundTrip(r)
}
