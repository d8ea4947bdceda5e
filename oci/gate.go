package oci

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// gate is the lowest transport: every request of this package passes it, logins
// and redirects too. It refuses plain HTTP where that was not allowed; it has to
// be down here, since the login falls back to it by itself for loopback and
// private addresses. And it notes what those above it do not hand on.
type gate struct {
	insecure   map[string]bool
	verified   *http.Transport
	unverified *http.Transport
	met        sync.Map // hosts that have answered before
}

func newGate(insecure map[string]bool, roots *x509.CertPool, idle int) http.RoundTripper {
	return transport.NewUserAgent(&gate{
		insecure:   insecure,
		verified:   newTransport(&tls.Config{RootCAs: roots}, idle),
		unverified: newTransport(&tls.Config{InsecureSkipVerify: true}, idle), // only to hosts that were named
	}, "airlift")
}

func (g *gate) RoundTrip(r *http.Request) (*http.Response, error) {
	n := noteOf(r.Context())
	n.asks(r.URL.Host)
	insecure := isInsecure(g.insecure, r.URL)
	if r.URL.Scheme == "http" && !insecure {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, errPlainHTTP
	}
	next := g.verified
	if insecure {
		next = g.unverified
	}
	resp, err := next.RoundTrip(r)
	if err != nil {
		err = schemeMismatch(err)
		n.failed(r, err, g.isTransient(r, err))
		return nil, err
	}
	g.met.Store(r.URL.Host, true)
	n.answered(resp)
	return resp, nil
}

// schemeMismatch words what TLS says of an answer in plain HTTP, as
// [http.Client] would.
func schemeMismatch(err error) error {
	var record tls.RecordHeaderError
	if errors.As(err, &record) && string(record.RecordHeader[:]) == "HTTP/" {
		return http.ErrSchemeMismatch
	}
	return err
}

// isInsecure says whether the host was named, with the scheme's own port or
// without it.
func isInsecure(insecure map[string]bool, u *url.URL) bool {
	host := strings.ToLower(u.Host)
	if insecure[host] {
		return true
	}
	usual := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
	short, found := strings.CutSuffix(host, usual)
	return found && insecure[short] || !found && insecure[host+usual]
}

// note is what the gate saw of one try. Logins make several requests, and two
// at once.
type note struct {
	mu         sync.Mutex
	host       string // that was asked last
	err        error  // the last failure to speak HTTPS, in full
	transient  bool   // there was a failure that may go by itself
	retryAfter time.Duration
}

type noteKey struct{}

func withNote(ctx context.Context, host string) (context.Context, *note) {
	n := &note{host: host}
	return context.WithValue(ctx, noteKey{}, n), n
}

// noteOf gives a note in any case; one that nobody reads if there is none.
func noteOf(ctx context.Context) *note {
	if n, ok := ctx.Value(noteKey{}).(*note); ok {
		return n
	}
	return &note{}
}

// isTransient says whether a failure may be gone the next time. A port where
// nobody ever answered is a wrong one; where somebody did, he may come back, and
// a registry that sent us there may send us elsewhere.
func (g *gate) isTransient(r *http.Request, err error) bool {
	_, met := g.met.Load(r.URL.Host)
	return isTransient(err) && (met || r.Response != nil || !errors.Is(err, syscall.ECONNREFUSED))
}

// asks notes whom a request goes to.
func (n *note) asks(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.host = host
}

func (n *note) asked() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.host
}

func (n *note) failed(r *http.Request, err error, transient bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r.URL.Scheme == "https" {
		n.err = requestError(r.Method, r.URL, err)
	}
	n.transient = n.transient || transient
}

func (n *note) answered(resp *http.Response) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.retryAfter = retryAfter(resp.Header)
}

// read gives what was noted.
func (n *note) read() (err error, transient bool, retryAfter time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err, n.transient, n.retryAfter
}

// isTransient says whether a failure to connect, write or read may be gone the
// next time. Those that may not are known; all else counts as the network's.
func isTransient(err error) bool {
	var certificate *tls.CertificateVerificationError
	var plain tls.RecordHeaderError // the host speaks something else than TLS
	var dns *net.DNSError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, errPlainHTTP), errors.Is(err, http.ErrSchemeMismatch),
		errors.As(err, &certificate), errors.As(err, &plain):
		return false
	case errors.As(err, &dns) && dns.IsNotFound:
		return false
	}
	return true
}
