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

// once is what is found out once, by the first who needs it; the others wait for
// it. Where that fails, the next one tries.
type once[T any] struct {
	turn  chan struct{} // holds one token: whose turn it is
	found bool
	value T
}

// onceOf is that of a key. All that has to do with it lies in the client.
func onceOf[K comparable, T any](c *Client, all map[K]*once[T], key K) *once[T] {
	c.mu.Lock()
	defer c.mu.Unlock()
	if all[key] == nil {
		all[key] = &once[T]{turn: make(chan struct{}, 1)}
	}
	return all[key]
}

func (o *once[T]) get(ctx context.Context, find func() (T, error)) (T, error) {
	select {
	case o.turn <- struct{}{}:
		defer func() { <-o.turn }()
	case <-ctx.Done():
		var none T
		return none, ended(ctx)
	}
	if o.found {
		return o.value, nil
	}
	value, err := find()
	if err == nil {
		o.value, o.found = value, true
	}
	return value, err
}

// session logs in for a key, or finds the login: a client whose transport is one.
func (c *Client) session(ctx context.Context, key sessionKey) (*http.Client, error) {
	return onceOf(c, c.sessions, key).get(ctx, func() (*http.Client, error) { return c.login(ctx, key) })
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
	g, err := c.greeting(ctx, registry, r)
	if err != nil {
		return nil, err
	}
	scopes := []string{registry.Repo(key.repository).Scope(string(key.action))}
	if key.from != "" {
		scopes = append(scopes, registry.Repo(key.from).Scope(string(pull)))
	}
	l, err := handshake(ctx, c, registry, r, func(ctx context.Context) (*login, error) {
		return c.enter(ctx, g, account, scopes)
	})
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: l, CheckRedirect: limitRedirects}, nil
}

// greeting is what r's registry says to whoever comes first. It is asked once.
func (c *Client) greeting(ctx context.Context, registry name.Registry, r Reference) (*greeting, error) {
	return onceOf(c, c.greetings, r.Registry).get(ctx, func() (*greeting, error) {
		return handshake(ctx, c, registry, r, func(ctx context.Context) (*greeting, error) { return c.greet(ctx, registry) })
	})
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

// handshake does a step of a login, trying again, and words its failure.
func handshake[T any](ctx context.Context, c *Client, registry name.Registry, r Reference, do func(context.Context) (T, error)) (T, error) {
	return retry(ctx, c, r.Registry, func() (T, error) {
		try, n := withNote(ctx, registry.RegistryStr())
		w := c.watch(try, c.stall)
		defer w.end()
		got, err := do(w.ctx)
		if err == nil {
			return got, nil
		}
		transient, wait := n.read()
		if answer := loginAnswer(err, wait); answer != nil {
			return got, c.withLookup(answer, r)
		}
		err = n.failure(err, c.isInsecure(registry.RegistryStr()))
		return got, w.judge(fmt.Errorf("log in to %s: %w", registry.RegistryStr(), err), transient)
	})
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
