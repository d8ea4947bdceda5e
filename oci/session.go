package oci

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"

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

// shared is what is found out once, by the first who needs it; the others wait for
// it, and share its error too. Who comes after an error tries anew.
type shared[T any] struct {
	mu      sync.Mutex
	current *attempt[T] // under way, or what it found; nil before, and after an error
}

// attempt is one try to find something out, for all who wait for it.
type attempt[T any] struct {
	ended chan struct{} // closed at its end; what follows is of before that
	value T
	err   error
	left  bool // its finder went away: the error is of nobody else
}

// sharedOf is that of a key. All that has to do with it lies in the client.
func sharedOf[K comparable, T any](c *Client, all map[K]*shared[T], key K) *shared[T] {
	c.mu.Lock()
	defer c.mu.Unlock()
	if all[key] == nil {
		all[key] = &shared[T]{}
	}
	return all[key]
}

func (s *shared[T]) get(ctx context.Context, find func() (T, error)) (T, error) {
	for {
		found, mine := s.join()
		if mine {
			found.value, found.err = find()
			found.left = found.err != nil && ctx.Err() != nil
			s.end(found)
			return found.value, found.err
		}
		select {
		case <-found.ended:
			if !found.left {
				return found.value, found.err
			}
		case <-ctx.Done():
			var none T
			return none, ended(ctx)
		}
	}
}

// join gives the attempt at hand, and says whether it is the caller who is to do it.
func (s *shared[T]) join() (found *attempt[T], mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		s.current, mine = &attempt[T]{ended: make(chan struct{})}, true
	}
	return s.current, mine
}

// end tells all who wait what came of an attempt.
func (s *shared[T]) end(found *attempt[T]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found.err != nil {
		s.current = nil
	}
	close(found.ended)
}

// session logs in for a key, or finds the login: a client whose transport is one.
func (c *Client) session(ctx context.Context, key sessionKey) (*http.Client, error) {
	return sharedOf(c, c.sessions, key).get(ctx, func() (*http.Client, error) { return c.login(ctx, key) })
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
	return sharedOf(c, c.greetings, r.Registry).get(ctx, func() (*greeting, error) {
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
