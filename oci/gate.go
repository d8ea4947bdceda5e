package oci

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
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
	insecure map[string]bool
	certs    certDirs
	roots    *x509.CertPool
	own      *http.Transport // what the others are made from
	met      sync.Map        // hosts that have answered before

	mu         sync.Mutex
	transports map[trust]*http.Transport
}

// trust is what may differ between hosts: they share connections to none where
// it does.
type trust struct {
	unverified bool   // only of hosts that were named
	dir        string // of the host's own certificates; "" if it has none
}

func newGate(insecure map[string]bool, certs certDirs, roots *x509.CertPool, idle int) http.RoundTripper {
	return transport.NewUserAgent(&gate{
		insecure: insecure, certs: certs, roots: roots, own: newTransport(idle), transports: map[trust]*http.Transport{},
	}, "airlift")
}

// transport is how a URL's host is spoken to.
func (g *gate) transport(u *url.URL, insecure bool) (*http.Transport, error) {
	trust := trust{insecure, g.certs.dir(u)}
	g.mu.Lock()
	defer g.mu.Unlock()
	if t := g.transports[trust]; t != nil {
		return t, nil
	}
	config := &tls.Config{RootCAs: g.roots}
	if trust.dir != "" {
		var err error
		if config, err = hostConfig(trust.dir, g.roots); err != nil {
			return nil, err
		}
	}
	config.InsecureSkipVerify = trust.unverified
	t := g.own.Clone()
	t.TLSClientConfig = config
	g.transports[trust] = t
	return t, nil
}

func (g *gate) RoundTrip(r *http.Request) (*http.Response, error) {
	n := noteOf(r.Context())
	n.asks(r.URL.Host)
	insecure := isInsecure(g.insecure, r.URL)
	if r.URL.Scheme == "http" && !insecure {
		return nil, closeBody(r, errPlainHTTP)
	}
	next, err := g.transport(r.URL, insecure)
	if err != nil {
		n.failed(r, err, false)
		return nil, closeBody(r, err)
	}
	resp, err := next.RoundTrip(r)
	if fault := proxyFault(next, r, resp, err); fault != nil {
		if resp != nil {
			resp.Body.Close()
		}
		err = fault
	}
	if err == nil {
		err = checkLocation(resp)
	}
	if err != nil {
		err = certificateWanted(schemeMismatch(err))
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

// errLocation is a redirect that leads nowhere. [http.Client] would show all of
// it, and with it what only storage should see.
var errLocation = errors.New("the answer leads to what is no URL")

func checkLocation(resp *http.Response) error {
	if _, err := resp.Location(); err != nil && !errors.Is(err, http.ErrNoLocation) {
		resp.Body.Close()
		return errLocation
	}
	return nil
}

// ErrCertificateWanted: the host told us by TLS that it does not like our
// certificate, or that we show none.
var ErrCertificateWanted = errors.New("the host wants to be shown a certificate that it trusts")

// certificateWanted: the texts of the alerts are those of crypto/tls.
func certificateWanted(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" && strings.Contains(op.Err.Error(), "certificate") {
		return fmt.Errorf("%w: %w", ErrCertificateWanted, err)
	}
	return err
}

// isInsecure says whether the host was named, with the scheme's own port or
// without it.
func isInsecure(insecure map[string]bool, u *url.URL) bool {
	return slices.ContainsFunc(spellings(u), func(host string) bool { return insecure[host] })
}

// note is what the gate saw of one try. Logins make several requests, and two
// at once.
type note struct {
	mu         sync.Mutex
	host       string // that was asked last
	err        error  // the last failure to speak HTTPS, in full
	plain      error  // the last one to speak plain HTTP, likewise
	transient  bool   // there was a failure that may go by itself
	loggedIn   bool   // anew, while a body was sent that cannot be sent again
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
	} else {
		n.plain = requestError(r.Method, r.URL, err)
	}
	n.transient = n.transient || transient
}

// renewed notes that the login had run out for a request that can only be made
// again by whoever made it.
func (n *note) renewed() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loggedIn = true
}

func (n *note) wasRenewed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.loggedIn
}

func (n *note) answered(resp *http.Response) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.retryAfter = retryAfter(resp.Header)
}

// failure is what is to be told of a login that failed with err: of the two ways that
// were tried at once the one that was allowed, and that the host speaks.
func (n *note) failure(err error, insecure bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.err != nil && !insecure:
		return n.err // without the fallback to plain HTTP that the gate refused
	case n.plain != nil && errors.Is(err, http.ErrSchemeMismatch):
		return n.plain
	}
	return err
}

// read gives what was noted.
func (n *note) read() (transient bool, retryAfter time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.transient, n.retryAfter
}

// isTransient says whether a failure to connect, write or read may be gone the
// next time. Those that may not are known; all else counts as the network's.
func isTransient(err error) bool {
	var certificate *tls.CertificateVerificationError
	var plain tls.RecordHeaderError // the host speaks something else than TLS
	var files *certsError
	var proxy *ProxyError
	var dns *net.DNSError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, errPlainHTTP), errors.Is(err, http.ErrSchemeMismatch), errors.Is(err, errLocation),
		errors.As(err, &certificate), errors.As(err, &plain), errors.As(err, &files), errors.Is(err, ErrCertificateWanted):
		return false
	case errors.As(err, &proxy):
		return proxy.isTransient()
	case errors.As(err, &dns) && dns.IsNotFound:
		return false
	}
	return true
}
