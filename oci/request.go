package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
)

// request is one question to a registry.
type request struct {
	session sessionKey
	method  string
	url     *url.URL
	header  http.Header
	body    io.Reader     // nil for none; fresh for each try
	size    int64         // of the body
	want    []int         // statuses; all others become a StatusError
	limit   time.Duration // to wait for the answer; 0 = as long as for any byte
	aside   bool          // it is not about content: see StatusError
}

// ask starts a request about a repository; path is what follows its name.
func ask(method string, r Reference, as action, path string, want ...int) request {
	return request{
		session: sessionKey{registry: r.Registry, repository: r.Repository, action: as},
		method:  method,
		url:     endpoint(r, path),
		header:  http.Header{},
		want:    want,
	}
}

// endpoint is the URL of something in a repository. The login replaces the
// scheme where a registry speaks plain HTTP.
func endpoint(r Reference, path string) *url.URL {
	host := r.Registry
	if host == dockerHub {
		host = name.DefaultRegistry
	}
	return &url.URL{Scheme: "https", Host: host, Path: "/v2/" + r.Repository + path}
}

// send does one try of a request. The body of the answer must be closed; it
// fails once the network has given nothing for too long.
func (c *Client) send(ctx context.Context, q request) (*http.Response, error) {
	client, err := c.session(ctx, q.session)
	if err != nil {
		return nil, err
	}
	return c.paced(ctx, q, func() (*http.Response, error) { return c.sendNow(ctx, client, q) })
}

// sendNow sends a request to where the client has logged in.
func (c *Client) sendNow(ctx context.Context, client *http.Client, q request) (*http.Response, error) {
	try, n := withNote(ctx, q.url.Host)
	w := c.watch(try, orElse(q.limit, c.stall))
	resp, err := c.exchange(w, client, q)
	if err != nil {
		transient, wait := n.read()
		w.end()
		if answer := loginAnswer(err, wait); answer != nil {
			return nil, c.withLookup(answer, q.reference())
		}
		return nil, w.judge(err, transient)
	}
	w.stop()
	resp.Body = &watchedBody{resp.Body, w}
	if page := pageOf(q, resp); page != nil {
		drain(resp)
		err := requestError(q.method, q.url, page)
		if isRetryableStatus(page.Status) {
			err = transientError{err}
		}
		return nil, err
	}
	if !slices.Contains(q.want, resp.StatusCode) {
		answer := statusError(resp)
		answer.aside = q.aside
		if n.wasRenewed() {
			return nil, transientError{answer}
		}
		return nil, c.withLookup(answer, q.reference())
	}
	return resp, nil
}

// reference is the repository that a request is about.
func (q request) reference() Reference {
	return Reference{Registry: q.session.registry, Repository: q.session.repository}
}

func (c *Client) exchange(w *watchdog, client *http.Client, q request) (*http.Response, error) {
	body := q.body
	if u, ok := body.(*uploadBody); ok {
		u.watch = w
	}
	r, err := http.NewRequestWithContext(w.ctx, q.method, q.url.String(), body)
	if err != nil {
		return nil, withoutQuery(q.method, q.url, err)
	}
	if body != nil {
		r.ContentLength = q.size
	}
	r.Header = q.header.Clone()
	resp, err := client.Do(r)
	if err != nil {
		return nil, withoutQuery(q.method, q.url, err)
	}
	return resp, nil
}

// withoutQuery words a failed request without its query, in which storage
// services put signatures.
func withoutQuery(method string, at *url.URL, err error) error {
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err
		if u, parseErr := url.Parse(failed.URL); parseErr == nil {
			at = u
		}
	}
	var answer *StatusError
	if errors.As(err, &answer) {
		return err
	}
	return requestError(method, at, err)
}

// RequestError is a request that got no answer, or none that is of use.
type RequestError struct {
	Method, Host, Path string // without the query, which may hold a signature
	Err                error
}

func (e *RequestError) Error() string {
	return fmt.Sprintf("%s %s%s: %v", e.Method, e.Host, e.Path, e.Err)
}
func (e *RequestError) Unwrap() error { return e.Err }

func requestError(method string, u *url.URL, err error) error {
	return &RequestError{method, u.Host, u.Path, err}
}

// do sends a request without an own body, trying again, and drains the answer.
func (c *Client) do(ctx context.Context, q request) (*http.Response, error) {
	return retry(ctx, c, q.url.Host, func() (*http.Response, error) {
		resp, err := c.send(ctx, q)
		if err == nil {
			drain(resp)
		}
		return resp, err
	})
}

// drain reads a small body to its end, so that the connection is used again.
func drain(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, maxErrorBody) // what is lost is a connection
	resp.Body.Close()
}

// fetch sends a request, trying again, and reads a body of at most limit bytes.
func (c *Client) fetch(ctx context.Context, q request, limit int64) (*http.Response, []byte, error) {
	var body []byte
	resp, err := retry(ctx, c, q.url.Host, func() (*http.Response, error) {
		resp, err := c.send(ctx, q)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		body, err = io.ReadAll(io.LimitReader(resp.Body, limit+1))
		if err != nil {
			return nil, requestError(q.method, q.url, err)
		}
		return resp, nil
	})
	if err != nil {
		return nil, nil, err
	}
	if int64(len(body)) > limit {
		return nil, nil, requestError(q.method, q.url, fmt.Errorf("the answer is larger than %d bytes", limit))
	}
	return resp, body, nil
}
