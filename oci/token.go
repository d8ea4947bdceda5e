package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// ErrPrivateRealm: a registry sends us for tokens to an address of the private
// network that nobody has named. A stranger's registry could have any service
// there asked so.
var ErrPrivateRealm = errors.New("credentials are not sent to a private address that the registry names")

const (
	maxTokenBody = 64 << 10 // bytes of the answer of a token service
	maxTokenLife = 24 * time.Hour
)

// tokens gets the tokens of one session from the service that the registry
// names, as distribution's token specification has it. Credentials go to that
// service and no further.
type tokens struct {
	next    http.RoundTripper
	realm   *url.URL
	service string
	account account

	turn   chan struct{} // holds one token: whose turn it is with what follows
	scopes []string
	text   string    // the token; "" before the first
	until  time.Time // that it is used; zero = until it is refused
}

// tokensOf reads a registry's challenge. The service is another host's than the
// registry as a rule, and has our password: it must speak HTTPS, or may speak
// plain HTTP where the registry does so itself and the host was named.
// go-containerregistry draws the same line (transport/bearer.go,
// validateRealmURL); containers/image sends it anywhere.
func (l *login) tokensOf(challenge map[string]string, a account, scopes []string) (*tokens, error) {
	u, err := url.Parse(challenge["realm"])
	if err != nil || u.Host == "" {
		return nil, errors.New("the registry wants a token, and names no service that gives any")
	}
	u.User = nil
	switch {
	case l.isHome(u):
		u.Scheme = l.scheme
	case u.Scheme != "https" && (u.Scheme != "http" || l.scheme != "http"):
		return nil, fmt.Errorf("the registry names the token service %s://%s: it must be at https://", clean(u.Scheme), clean(u.Host))
	case isPrivate(u.Hostname()) && !l.isNamed(u):
		return nil, fmt.Errorf("%w: %s", ErrPrivateRealm, clean(u.Host))
	}
	return &tokens{
		next: l.client.base, realm: u, service: challenge["service"], account: a,
		turn: make(chan struct{}, 1), scopes: scopes,
	}, nil
}

func isPrivate(host string) bool {
	ip, err := netip.ParseAddr(host)
	ip = ip.Unmap()
	return err == nil && (ip.IsPrivate() || ip.IsLoopback() || ip.IsUnspecified() || ip.IsLinkLocalUnicast())
}

// isNamed: the registry's own address was named, whatever the port; others are
// if their certificate is looked for, or is not.
func (l *login) isNamed(u *url.URL) bool {
	own, _ := url.Parse("//" + l.home)
	return own != nil && u.Hostname() == own.Hostname() || l.client.isInsecure(u.Host) || l.client.certs.dir(u) != ""
}

// fresh gives the token, or a new one: in place of one that was refused, or
// before the one that there is runs out, since the body of an upload can be sent
// only once.
func (t *tokens) fresh(ctx context.Context, refused string) (string, error) {
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if t.text != "" && t.text != refused && (t.until.IsZero() || time.Now().Before(t.until)) {
		return t.text, nil
	}
	var err error
	t.text, t.until, err = t.get(ctx)
	return t.text, err
}

// add asks for one more scope from now on, before the others: some registries
// only look at the first.
func (t *tokens) add(scope string) {
	t.turn <- struct{}{}
	defer func() { <-t.turn }()
	if scope != "" && !slices.Contains(t.scopes, scope) {
		t.scopes = append([]string{scope}, t.scopes...)
	}
}

// apart are tokens of the same account for one request: what it wants more leave for
// is not asked for ever after. To give an upload up distribution wants leave to delete
// (registry/handlers/app.go, appendAccessRecords), which whoever pushes need not have.
func (t *tokens) apart() *tokens {
	t.turn <- struct{}{}
	defer func() { <-t.turn }()
	return &tokens{
		next: t.next, realm: t.realm, service: t.service, account: t.account,
		turn: make(chan struct{}, 1), scopes: slices.Clone(t.scopes),
	}
}

// get asks the service for a token. It says how long that may be used: three
// quarters of what the service says, for nobody knows when the registry looks.
func (t *tokens) get(ctx context.Context) (string, time.Time, error) {
	asked := time.Now()
	body, err := t.ask(ctx)
	if err != nil {
		return "", time.Time{}, err
	}
	var answer struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"` // seconds
	}
	err = json.Unmarshal(body, &answer)
	if answer.AccessToken != "" {
		answer.Token = answer.AccessToken
	}
	if err != nil || answer.Token == "" {
		return "", time.Time{}, requestError(http.MethodGet, t.realm, errors.New("the answer holds no token"))
	}
	if answer.ExpiresIn <= 0 {
		return answer.Token, time.Time{}, nil
	}
	life := maxTokenLife
	if answer.ExpiresIn < int64(life/time.Second) {
		life = time.Duration(answer.ExpiresIn) * time.Second
	}
	return answer.Token, asked.Add(life - life/4), nil
}

func (t *tokens) ask(ctx context.Context) ([]byte, error) {
	r, err := t.request(ctx)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &attached{t.next, hostPort(t.realm, t.realm.Scheme), t.realm.Scheme, t.account.basic()}, CheckRedirect: limitRedirects}
	if r.Body != nil { // it holds the secret: nobody else is sent it
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, withoutQuery(r.Method, t.realm, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		answer := statusError(resp)
		answer.aside = true
		return nil, answer
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxTokenBody))
	if err != nil && isTransient(err) {
		err = transientError{err}
	}
	return body, err
}

// request asks for a token: by distribution's docs/spec/auth/token.md, or with
// an identity token by its oauth.md.
func (t *tokens) request(ctx context.Context) (*http.Request, error) {
	if t.account.identity != "" {
		form := url.Values{
			"grant_type": {"refresh_token"}, "refresh_token": {t.account.identity}, "client_id": {"airlift"},
			"service": {t.service}, "scope": {strings.Join(t.scopes, " ")},
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.realm.String(), strings.NewReader(form.Encode()))
		if err == nil {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return r, err
	}
	at := *t.realm
	query := at.Query()
	query["scope"] = t.scopes
	query.Set("service", t.service)
	at.RawQuery = query.Encode()
	return http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
}

// attached adds an Authorization to requests to one place, and to no others.
type attached struct {
	next         http.RoundTripper
	host, scheme string
	header       string // "" for none
}

func (a *attached) RoundTrip(r *http.Request) (*http.Response, error) {
	if a.header != "" && r.URL.Scheme == a.scheme && hostPort(r.URL, a.scheme) == a.host {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", a.header)
	}
	return a.next.RoundTrip(r)
}
