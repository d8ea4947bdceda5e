package oci

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Options of a client; the zero value works.
type Options struct {
	Authfile string         // pull secret or auth.json; "" = where containers' tools look
	CAFiles  []string       // further certificate authorities, PEM, beside the system's
	Insecure []string       // host[:port]: plain HTTP and unverified certificates allowed
	Mirrors  []SourceMirror // fetch through these; the longest source wins
	Jobs     int            // idle connections kept for a host; 0 = 8
	Backoff  time.Duration  // before the second try of a request; 0 = 500 ms
	Tries    int            // of one request, or of a blob without progress; 0 = 5
}

// Client talks to registries. It may be used by several goroutines at once.
type Client struct {
	options Options
	keys    keychain
	base    http.RoundTripper

	mu         sync.Mutex
	sessions   map[session]*opening
	noReferrer map[string]bool // hosts without the referrers API
}

// NewClient makes a client. A file that was named and cannot be used is an
// error here, not later.
func NewClient(o Options) (*Client, error) {
	if o.Jobs <= 0 {
		o.Jobs = 8
	}
	if o.Backoff <= 0 {
		o.Backoff = 500 * time.Millisecond
	}
	if o.Tries <= 0 {
		o.Tries = 5
	}
	keys, err := newKeychain(o.Authfile)
	if err != nil {
		return nil, err
	}
	roots, err := certificates(o.CAFiles)
	if err != nil {
		return nil, err
	}
	return &Client{
		options: o, keys: keys, base: newBase(o, roots),
		sessions: map[session]*opening{}, noReferrer: map[string]bool{},
	}, nil
}

// certificates are the system's authorities and those of the files.
func certificates(files []string) (*x509.CertPool, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read certificate authorities: %w", err)
		}
		if !roots.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("read certificate authorities: no certificate in %s", file)
		}
	}
	return roots, nil
}

// base is what every request goes through in the end: no plain HTTP but to
// hosts that were named.
type base struct {
	verified, unverified http.RoundTripper
	insecure             []string
}

func newBase(o Options, roots *x509.CertPool) *base {
	verified := http.DefaultTransport.(*http.Transport).Clone() // keeps the proxies of the environment
	verified.DisableCompression = true                          // blobs are wanted as they are
	verified.MaxIdleConnsPerHost = o.Jobs
	verified.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	unverified := verified.Clone()
	unverified.TLSClientConfig.InsecureSkipVerify = true // for hosts that were named
	return &base{verified, unverified, o.Insecure}
}

// errPlainHTTP: a request would have gone out unencrypted without leave.
var errPlainHTTP = errors.New("plain HTTP is not allowed for this host")

func (b *base) RoundTrip(r *http.Request) (*http.Response, error) {
	switch {
	case slices.Contains(b.insecure, r.URL.Host):
		return b.unverified.RoundTrip(r)
	case r.URL.Scheme != "https":
		return nil, fmt.Errorf("%w: %s", errPlainHTTP, r.URL.Host)
	}
	return b.verified.RoundTrip(r)
}

// session is an authenticated way to one repository.
type session struct {
	host, repository string
	push             bool
	from             string // a repository that may be mounted from, or ""
}

// opening is a session that is opened once, however many need it.
type opening struct {
	sync.Mutex
	client *http.Client
}

// open gives the way to a repository; the first to ask authenticates.
func (c *Client) open(ctx context.Context, s session) (*http.Client, error) {
	c.mu.Lock()
	o := c.sessions[s]
	if o == nil {
		o = &opening{}
		c.sessions[s] = o
	}
	c.mu.Unlock()
	o.Lock()
	defer o.Unlock()
	if o.client != nil {
		return o.client, nil
	}
	client, err := c.authenticate(ctx, s)
	if err != nil {
		return nil, err
	}
	o.client = client
	return client, nil
}

func (c *Client) authenticate(ctx context.Context, s session) (*http.Client, error) {
	registry, err := name.NewRegistry(s.host)
	if err != nil {
		return nil, err
	}
	repository := registry.Repo(s.repository)
	action := transport.PullScope
	if s.push {
		action = transport.PushScope
	}
	scopes := []string{repository.Scope(action)}
	if s.from != "" {
		scopes = append(scopes, registry.Repo(s.from).Scope(transport.PullScope))
	}
	auth, err := c.keys.authenticator(s.host, s.repository)
	if err != nil {
		return nil, err
	}
	way, err := transport.NewWithContext(ctx, registry, auth, c.base, scopes)
	if err != nil {
		return nil, fromTransport(err)
	}
	return &http.Client{Transport: way}, nil // at most ten redirects, net/http's own limit
}

// host is where a registry answers.
func host(registry string) string {
	if registry == dockerHub {
		return dockerHubHost
	}
	return registry
}

// request is one request to a repository.
type request struct {
	method string
	at     Reference // whose repository; for pulls already located
	path   string    // below /v2/<repository>/
	url    string    // instead of path, where a registry gave it
	header http.Header
	push   bool
	from   string
	body   io.Reader
	length int64
	want   []int // statuses that are no errors
}

// send sends a request once. The caller closes the body of the answer.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	client, err := c.open(ctx, session{host(r.at.Registry), r.at.Repository, r.push, r.from})
	if err != nil {
		return nil, err
	}
	url := r.url
	if url == "" { // the session knows whether it is https
		url = "https://" + host(r.at.Registry) + "/v2/" + r.at.Repository + "/" + r.path
	}
	req, err := http.NewRequestWithContext(ctx, r.method, url, r.body)
	if err != nil {
		return nil, err
	}
	for key, values := range r.header {
		req.Header[key] = values
	}
	if r.body != nil {
		req.ContentLength = r.length
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fromTransport(err)
	}
	if !slices.Contains(r.want, resp.StatusCode) {
		defer finish(resp)
		return nil, statusError(resp)
	}
	return resp, nil
}

// finish reads what little is left of an answer, so that its connection can be
// used again.
func finish(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, maxErrorBody)
	_ = resp.Body.Close()
}

// retry tries an operation again while it fails in a way that may pass.
func retry[T any](ctx context.Context, c *Client, operation func() (T, error)) (T, error) {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval = c.options.Backoff
	result, err := backoff.Retry(ctx, func() (T, error) {
		result, err := operation()
		var answer *StatusError
		switch {
		case err == nil:
			return result, nil
		case ctx.Err() != nil:
			return result, backoff.Permanent(ctx.Err())
		case !passing(err):
			return result, backoff.Permanent(err)
		case errors.As(err, &answer) && answer.RetryAfter > 0:
			return result, &waiting{err, &backoff.RetryAfterError{Duration: answer.RetryAfter}}
		}
		return result, err
	}, backoff.WithBackOff(wait), backoff.WithMaxTries(uint(c.options.Tries)), backoff.WithMaxElapsedTime(0))
	var permanent *backoff.PermanentError
	if errors.As(err, &permanent) {
		err = permanent.Err
	}
	var asked *waiting
	if errors.As(err, &asked) {
		err = asked.error
	}
	return result, err
}

// waiting is an error with the time that the registry asked to wait.
type waiting struct {
	error
	wait *backoff.RetryAfterError
}

func (w *waiting) Unwrap() error { return w.wait }

// passing says whether the same request may succeed later.
func passing(err error) bool {
	var answer *StatusError
	if errors.As(err, &answer) {
		switch answer.Status {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
			http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, 522:
			return true
		}
		return false
	}
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	var final *finalError
	switch {
	case errors.Is(err, errPlainHTTP), errors.As(err, &certificate), errors.As(err, &final),
		errors.As(err, &dns) && dns.IsNotFound, errors.Is(err, syscall.ECONNREFUSED):
		return false
	}
	return true
}

// finalError is an error that trying again cannot mend.
type finalError struct{ error }

func (e *finalError) Unwrap() error { return e.error }

// final marks an error as one that trying again cannot mend.
func final(format string, args ...any) error { return &finalError{fmt.Errorf(format, args...)} }
