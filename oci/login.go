package oci

import (
	"context"
	"encoding/base64"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// login is the transport of one session. It adds what the registry wants to know
// of us to requests to the registry, and to no others: not to another port of
// its host, where net/http would let it go along.
type login struct {
	client *Client
	scheme string  // that the registry speaks
	home   string  // its HOST:PORT
	basic  string  // the Authorization of each request; "" for none
	tokens *tokens // where tokens come from, in place of that; nil = the registry wants none
}

// greeting is what a registry says to whoever comes first, without credentials: it
// holds for all its repositories, and for every account.
type greeting struct {
	scheme string            // that the registry speaks
	home   string            // its HOST:PORT
	led    bool              // the question was led away: it is another who says so
	bearer map[string]string // the challenge for a token; nil if the registry wants none
}

// greet asks a registry how it is spoken to, and what it wants to know.
func (c *Client) greet(ctx context.Context, registry name.Registry) (*greeting, error) {
	first := &firstAnswer{next: c.base}
	challenge, err := transport.Ping(ctx, registry, first)
	if err != nil {
		return nil, err
	}
	g := &greeting{scheme: "https"}
	if challenge.Insecure {
		g.scheme = "http"
	}
	if scheme, led := first.led.Load().(string); led {
		g.scheme, g.led = scheme, true
	}
	g.home = hostPort(&url.URL{Host: registry.RegistryStr()}, g.scheme)
	if strings.EqualFold(challenge.Scheme, "bearer") {
		g.bearer = challenge.Parameters
	}
	return g, nil
}

// enter logs in to where a registry greeted us, and gets the first token if it wants
// one.
func (c *Client) enter(ctx context.Context, g *greeting, a account, scopes []string) (*login, error) {
	l := &login{client: c, scheme: g.scheme, home: g.home}
	if g.led {
		a = account{} // what it asks for was not said by the registry itself
	}
	if g.bearer == nil {
		l.basic = a.basic() // some ask for it only later
		return l, nil
	}
	var err error
	if l.tokens, err = l.tokensOf(g.bearer, a, scopes); err != nil {
		return nil, err
	}
	_, err = l.tokens.fresh(ctx, "")
	return l, err
}

// firstAnswer notes of the first request of a registry whether it led away from
// there: to another's question.
type firstAnswer struct {
	next http.RoundTripper
	led  atomic.Value // the scheme of the request that was led away; nil if none was
}

func (f *firstAnswer) RoundTrip(r *http.Request) (*http.Response, error) {
	if before := r.Response; before != nil && hostPort(before.Request.URL, before.Request.URL.Scheme) != hostPort(r.URL, r.URL.Scheme) {
		f.led.CompareAndSwap(nil, before.Request.URL.Scheme)
	}
	return f.next.RoundTrip(r)
}

// hostPort is the host and the port of a URL, the usual one of the scheme if it
// names none.
func hostPort(u *url.URL, scheme string) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// isHome: a registry that speaks HTTPS may name itself by plain HTTP, if it sits
// behind a proxy that does TLS for it.
func (l *login) isHome(u *url.URL) bool { return hostPort(u, l.scheme) == l.home }

func (l *login) RoundTrip(r *http.Request) (*http.Response, error) {
	if !l.isHome(r.URL) {
		return l.elsewhere(r)
	}
	r = r.Clone(r.Context())
	r.URL.Scheme = l.scheme
	if l.tokens == nil {
		if l.basic != "" {
			r.Header.Set("Authorization", l.basic)
		}
		return l.client.base.RoundTrip(r)
	}
	token, err := l.tokens.fresh(r.Context(), "")
	if err != nil {
		return nil, closeBody(r, err)
	}
	resp, err := l.send(r, token)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	tokens := l.tokens
	if r.Method == http.MethodDelete {
		tokens = tokens.apart()
	}
	tokens.add(bearerChallenge(resp)["scope"])
	token, err = tokens.fresh(r.Context(), token)
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	if !again(r) {
		noteOf(r.Context()).renewed()
		return resp, nil
	}
	drain(resp)
	return l.send(r, token)
}

func (l *login) send(r *http.Request, token string) (*http.Response, error) {
	r.Header.Set("Authorization", "Bearer "+token)
	return l.client.base.RoundTrip(r)
}

// again makes a request ready to be sent a second time, if its body can be.
func again(r *http.Request) bool {
	if r.Body == nil || r.Body == http.NoBody {
		return true
	}
	if r.GetBody == nil {
		return false
	}
	body, err := r.GetBody()
	r.Body = body
	return err == nil
}

func closeBody(r *http.Request, err error) error {
	if r.Body != nil {
		r.Body.Close()
	}
	return err
}

// elsewhere sends a request to where the registry led us. If a token is wanted
// there, it is one for whoever comes along: we have no credentials for the place.
func (l *login) elsewhere(r *http.Request) (*http.Response, error) {
	resp, err := l.client.base.RoundTrip(r)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	wanted := bearerChallenge(resp)
	there := &login{client: l.client, scheme: r.URL.Scheme, home: hostPort(r.URL, r.URL.Scheme)}
	tokens, err := there.tokensOf(wanted, account{}, nil)
	if err != nil {
		return resp, nil
	}
	tokens.add(wanted["scope"])
	r = r.Clone(r.Context())
	token, err := tokens.fresh(r.Context(), "")
	if err != nil || !again(r) {
		return resp, nil
	}
	drain(resp)
	return there.send(r, token)
}

var challengeParameter = regexp.MustCompile(`([a-z_]+)="([^"]*)"`)

// bearerChallenge reads what an answer says of the tokens it wants.
func bearerChallenge(resp *http.Response) map[string]string {
	for _, value := range resp.Header.Values("WWW-Authenticate") {
		scheme, rest, _ := strings.Cut(value, " ")
		if !strings.EqualFold(scheme, "bearer") {
			continue
		}
		found := map[string]string{}
		for _, parameter := range challengeParameter.FindAllStringSubmatch(rest, -1) {
			found[parameter[1]] = parameter[2]
		}
		return found
	}
	return nil
}

// account is whom we log in as; the zero value is nobody.
type account struct {
	user, password string
	identity       string // a token to get others with, in place of both
}

// basic is the account as a request has it in its Authorization.
func (a account) basic() string {
	if a.user == "" || a.password == "" {
		return ""
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(a.user+":"+a.password))
}
