package oci

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// action is what a login is for.
type action string

const (
	pull = action(transport.PullScope)
	push = action(transport.PushScope) // and pull
)

// sessionKey is what one login is good for.
type sessionKey struct {
	registry, repository string
	action               action
	from                 string // a repository to mount from; usually empty
}

// session is a login that is made once, by the first who needs it; the others
// wait for it.
type session struct {
	turn   chan struct{} // holds one token: whose turn it is
	client *http.Client  // nil until logged in; its transport is a login
}

// session logs in for a key, or finds the login.
func (c *Client) session(ctx context.Context, key sessionKey) (*http.Client, error) {
	c.mu.Lock()
	s := c.sessions[key]
	if s == nil {
		s = &session{turn: make(chan struct{}, 1)}
		c.sessions[key] = s
	}
	c.mu.Unlock()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, ended(ctx)
	}
	if s.client == nil {
		client, err := c.login(ctx, key)
		if err != nil {
			return nil, err
		}
		s.client = client
	}
	return s.client, nil
}

func (c *Client) login(ctx context.Context, key sessionKey) (*http.Client, error) {
	r := Reference{Registry: key.registry, Repository: key.repository}
	account, err := c.account(r)
	if err != nil {
		return nil, err
	}
	registry, err := c.registry(r)
	if err != nil {
		return nil, err
	}
	scopes := []string{registry.Repo(key.repository).Scope(string(key.action))}
	if key.from != "" {
		scopes = append(scopes, registry.Repo(key.from).Scope(string(pull)))
	}
	l, err := retry(ctx, c, key.registry, func() (*login, error) {
		return c.handshake(ctx, registry, r, func(ctx context.Context) (*login, error) {
			return c.enter(ctx, registry, account, scopes)
		})
	})
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: l, CheckRedirect: limitRedirects}, nil
}

// registry is r's registry in the words of go-containerregistry.
func (c *Client) registry(r Reference) (name.Registry, error) {
	if r.Repository == "" {
		return name.Registry{}, fmt.Errorf("ask %s: the mirror leaves no repository's path", r.Registry)
	}
	var options []name.Option
	if c.isInsecure(r.Registry) {
		options = append(options, name.Insecure)
	}
	return name.NewRegistry(r.Registry, options...)
}

func (c *Client) isInsecure(host string) bool {
	return isInsecure(c.insecure, &url.URL{Scheme: "https", Host: host}) || isInsecure(c.insecure, &url.URL{Scheme: "http", Host: host})
}

// handshake does one try of a login and words its failure.
func (c *Client) handshake(ctx context.Context, registry name.Registry, r Reference, do func(context.Context) (*login, error)) (*login, error) {
	try, n := withNote(ctx, registry.RegistryStr())
	w := c.watch(try, c.stall)
	defer w.end()
	l, err := do(w.ctx)
	if err == nil {
		return l, nil
	}
	failure, transient, wait := n.read()
	if answer := loginAnswer(err, wait); answer != nil {
		return nil, c.withLookup(answer, r)
	}
	if failure != nil && !c.isInsecure(registry.RegistryStr()) {
		err = failure // without the fallback to plain HTTP that the gate refused
	}
	return nil, w.judge(fmt.Errorf("log in to %s: %w", registry.RegistryStr(), err), transient)
}

const maxRedirects = 10

var errRedirects = errors.New("too many redirects")

// limitRedirects also takes away what net/http would tell the next host of the
// one before: its address, with the signature in it.
func limitRedirects(r *http.Request, via []*http.Request) error {
	r.Header.Del("Referer")
	if len(via) > maxRedirects {
		return errRedirects
	}
	return nil
}
