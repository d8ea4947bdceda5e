package oci_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/logs"
	"github.com/sirupsen/logrus"

	"airlift/oci"
	"airlift/oci/ocitest"
)

// The hosts of the canary.
const (
	canaryHome  = "registry.example:5000"
	canaryRealm = "auth.example:443"
	canaryProxy = "proxy.example:3128"
)

// The secrets of the canary, and what shows them.
const (
	canaryPassword  = "pa55-of-the-canary"
	canaryIdentity  = "1dentity-of-the-canary"
	canaryToken     = "t0ken-of-the-canary"
	canarySignature = "s1gnature-of-the-canary"
	canaryProxyPass = "pr0xy-of-the-canary"
	canaryState     = "st4te-of-the-canary"
)

var canaryBasic = base64.StdEncoding.EncodeToString([]byte("alice:" + canaryPassword))

// canarySecrets are what may be told to nobody but the places behind them;
// nowhere at all may they be printed.
var canarySecrets = map[string][]string{
	canaryPassword:  nil, // in clear it is nobody's
	canaryBasic:     {canaryHome, canaryRealm},
	canaryIdentity:  {canaryRealm},
	canaryToken:     {canaryHome, "named.example:443"},
	canarySignature: {"storage.example:443"},
	canaryProxyPass: nil,
	base64.StdEncoding.EncodeToString([]byte("bob:" + canaryProxyPass)): {canaryProxy},
	canaryState: {canaryHome, "uploads.example:443"},
}

// arrival is a request as somebody got it.
type arrival struct {
	at   string // HOST:PORT that was dialled
	tls  bool
	path string
	text string // all of it
}

// canary is every host there is: whoever is dialled has a listener of its own,
// which takes TLS and plain HTTP, and writes down all that arrives.
type canary struct {
	t      *testing.T
	certs  ocitest.Certificates
	pair   tls.Certificate
	answer func(at string, w http.ResponseWriter, r *http.Request)

	refuseTunnel int // what a proxy answers; 0 = it does its work

	mu        sync.Mutex
	arrived   []arrival
	listeners map[string]string // HOST:PORT -> where it listens
	printed   lockedBuffer      // what anybody logged or told
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

// newCanary leads all connections of this process to the canary, and all that
// libraries log.
func newCanary(t *testing.T) *canary {
	t.Helper()
	c := &canary{t: t, listeners: map[string]string{}}
	c.certs = ocitest.WriteCertificatesWith(t, ocitest.CertificateOptions{Names: []string{
		"example", "*.example", "*.registry.example", "*.evil.example", "registry.example.evil.example", "quay.io", "*.quay.io", "quay.io.evil.example",
	}})
	var err error
	if c.pair, err = tls.LoadX509KeyPair(c.certs.CertFile, c.certs.KeyFile); err != nil {
		t.Fatal(err)
	}
	before := http.DefaultTransport
	transport := before.(*http.Transport).Clone()
	transport.Proxy = nil
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, c.listen(strings.ToLower(addr)))
	}
	http.DefaultTransport = transport
	for _, l := range []*log.Logger{logs.Warn, logs.Progress, logs.Debug} {
		l.SetOutput(&c.printed)
	}
	logger := logrus.StandardLogger()
	out, level := logger.Out, logger.Level
	logger.SetOutput(&c.printed)
	logger.SetLevel(logrus.TraceLevel)
	t.Cleanup(func() {
		http.DefaultTransport = before
		for _, l := range []*log.Logger{logs.Warn, logs.Progress, logs.Debug} {
			l.SetOutput(io.Discard)
		}
		logger.SetOutput(out)
		logger.SetLevel(level)
	})
	return c
}

// listen is where a host and port listens, from now on.
func (c *canary) listen(at string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if there := c.listeners[at]; there != "" {
		return there
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Error(err)
		return ""
	}
	server := &http.Server{
		ErrorLog: log.New(io.Discard, "", 0),
		Handler:  http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.serve(at, w, r) }),
	}
	go server.Serve(&eitherListener{listener, &tls.Config{Certificates: []tls.Certificate{c.pair}}})
	c.t.Cleanup(func() { server.Close() })
	c.listeners[at] = listener.Addr().String()
	return c.listeners[at]
}

// eitherListener takes TLS and plain HTTP at one port.
type eitherListener struct {
	net.Listener
	config *tls.Config
}

func (l *eitherListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	first := bufio.NewReader(conn)
	conn.SetReadDeadline(time.Now().Add(10 * time.Second)) // who connects also speaks
	b, err := first.Peek(1)
	conn.SetReadDeadline(time.Time{})
	peeked := &peekedConn{conn, first}
	if err == nil && b[0] == 0x16 { // a handshake
		return tls.Server(peeked, l.config), nil
	}
	return peeked, nil
}

type peekedConn struct {
	net.Conn
	first *bufio.Reader
}

func (p *peekedConn) Read(b []byte) (int, error) { return p.first.Read(b) }

func (c *canary) serve(at string, w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	text := fmt.Sprintf("%s %s\n%q\n%q\n%s", r.Method, r.RequestURI, r.Host, r.Header, body)
	if plain, err := url.QueryUnescape(string(body)); err == nil {
		text += "\n" + plain
	}
	c.mu.Lock()
	c.arrived = append(c.arrived, arrival{at, r.TLS != nil, r.URL.Path, text})
	c.mu.Unlock()
	if r.Method == http.MethodConnect {
		c.tunnel(w, r)
		return
	}
	c.answer(at, w, r)
}

// tunnel is what a proxy does that leads where it is asked to.
func (c *canary) tunnel(w http.ResponseWriter, r *http.Request) {
	if c.refuseTunnel != 0 {
		w.WriteHeader(c.refuseTunnel)
		return
	}
	there, err := net.Dial("tcp", c.listen(r.Host))
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	here, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		there.Close()
		return
	}
	fmt.Fprint(here, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { io.Copy(there, here); there.Close() }()
	go func() { io.Copy(here, there); here.Close() }()
}

// leaks are the secrets that came where they must not, and those that anybody
// printed; text is what else was printed, such as an error.
func (c *canary) leaks(text string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []string
	for secret, places := range canarySecrets {
		for _, a := range c.arrived {
			if strings.Contains(a.text, secret) && !(a.tls || a.at == canaryProxy) {
				found = append(found, fmt.Sprintf("%s came to %s over plain HTTP", secret, a.at))
			}
			if strings.Contains(a.text, secret) && !strings.Contains(" "+strings.Join(places, " ")+" ", " "+a.at+" ") {
				found = append(found, fmt.Sprintf("%s came to %s: %s", secret, a.at, a.text))
			}
		}
		if strings.Contains(text, secret) || strings.Contains(c.printed.String(), secret) {
			found = append(found, secret+" was printed")
		}
	}
	for _, a := range c.arrived {
		for _, token := range tokenFor.FindAllStringSubmatch(a.text, -1) {
			if of := ofRepository.FindStringSubmatch(a.path); of != nil && of[1] != strings.ReplaceAll(token[1], ".", "/") {
				found = append(found, "the token for "+token[1]+" came to "+a.path)
			}
		}
	}
	return found
}

var (
	tokenFor     = regexp.MustCompile(canaryToken + `-([a-z.]+)`)
	ofRepository = regexp.MustCompile(`^/v2/([a-z/]+)/(manifests|blobs|referrers)/`)
)

// came counts what arrived at a place.
func (c *canary) came(at string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, a := range c.arrived {
		if a.at == at {
			n++
		}
	}
	return n
}

// forget begins anew.
func (c *canary) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.arrived = nil
	c.printed.Reset()
}

// client logs in with an auth.json for entries, whose values are the kind of
// the account.
func (c *canary) client(t *testing.T, kind string, entries ...string) *oci.Client {
	t.Helper()
	if len(entries) == 0 {
		entries = []string{canaryHome}
	}
	return newClient(t, oci.Options{
		Authfile: canaryAuthfile(t, kind, entries), CAFiles: []string{c.certs.CAFile}, Insecure: []string{"plain.example"}, Tries: 2,
		Notice: func(text string) { fmt.Fprintln(&c.printed, text) },
	})
}

// proxyOfEnvironment reads the variable anew: net/http reads it once for all.
func proxyOfEnvironment(variable string) func(*http.Request) (*url.URL, error) {
	return func(*http.Request) (*url.URL, error) { return url.Parse(os.Getenv(variable)) }
}

// certificatesOf trusts an authority.
func certificatesOf(t *testing.T, caFile string) *tls.Config {
	t.Helper()
	data, err := os.ReadFile(caFile)
	roots := x509.NewCertPool()
	if err != nil || !roots.AppendCertsFromPEM(data) {
		t.Fatal(err)
	}
	return &tls.Config{RootCAs: roots}
}
