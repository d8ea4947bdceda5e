package ocitest

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// Fault is what a [Proxy] does to one request. Several may be combined, as far
// as they do not exclude each other; the zero value passes the request on.
type Fault struct {
	// Delay is waited first.
	Delay time.Duration

	// Status, if not 0, is answered with Header and Body, and the target is
	// not asked. With Status 0 the values of Header replace the target's; an
	// empty list of values takes a header away.
	Status int
	Header http.Header
	Body   string

	Drop          bool // close the connection without an answer; the target is not asked
	Lose          bool // let the target act, then close the connection without an answer
	BreakUpload   bool // let the target have At bytes of the request's body, then break the connections to both sides
	CorruptUpload bool // flip all bits of the byte at offset At of the request's body
	CutUpload     bool // read At bytes of the request's body and close the connection; the target is not asked
	IgnoreRange   bool // take Range away, as a registry does that does not know it

	// Of the target's answer:
	Cut     bool // close the connection after At bytes of the body
	Stall   bool // send nothing more after At bytes, until the client has gone or the test ends
	Corrupt bool // flip all bits of the byte at offset At of the body

	At int64 // bytes
}

// Request is one that a proxy has seen.
type Request struct {
	Method, Path, Query string
	Header              http.Header
	Length              int64 // of the body; -1 = it did not say
}

// Proxy is a reverse proxy that misbehaves and remembers what it was asked.
type Proxy struct {
	Host string // 127.0.0.1:port, plain HTTP

	rule func(*http.Request) *Fault
	next *httputil.ReverseProxy
	end  chan struct{} // closed when the test ends

	mu   sync.Mutex
	seen []Request
	sent int64
}

// faultKey is where a request's context carries its *Fault.
type faultKey struct{}

// errLost is an answer that the proxy keeps to itself.
var errLost = errors.New("answer lost on purpose")

// Misbehave serves a reverse proxy to target (HOST:PORT over plain HTTP, or a
// URL, whose certificate is not verified) until the test ends. The rule decides
// on each request; nil from it, or no rule, passes the request on. Rules are
// called concurrently. Upload locations lead back through the proxy only if the
// target speaks plain HTTP.
func Misbehave(t testing.TB, target string, rule func(*http.Request) *Fault) *Proxy {
	t.Helper()
	if !strings.Contains(target, "://") {
		target = "http://" + target
	}
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{rule: rule, end: make(chan struct{})}
	transport := insecureTransport()
	transport.DisableCompression = true // bodies as they are
	p.next = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host // so that upload locations lead back here
		},
		Transport:      transport,
		FlushInterval:  -1,
		ErrorLog:       log.New(io.Discard, "", 0),
		ModifyResponse: p.tamper,
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	server := httptest.NewServer(p)
	t.Cleanup(func() {
		close(p.end)
		server.CloseClientConnections()
		server.Close()
		transport.CloseIdleConnections()
	})
	p.Host = server.Listener.Addr().(*net.TCPAddr).String()
	return p
}

// Requests counts the requests so far by "METHOD /path".
func (p *Proxy) Requests() map[string]int {
	counts := map[string]int{}
	for _, r := range p.Log() {
		counts[r.Method+" "+r.Path]++
	}
	return counts
}

// Count counts the requests so far of a method ("" = any) whose path contains
// part.
func (p *Proxy) Count(method, part string) int {
	n := 0
	for _, r := range p.Log() {
		if (method == "" || r.Method == method) && strings.Contains(r.Path, part) {
			n++
		}
	}
	return n
}

// Log returns the requests so far, in the order of their arrival.
func (p *Proxy) Log() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Request{}, p.seen...)
}

// Sent is the number of bytes of the target's bodies that went to clients so
// far.
func (p *Proxy) Sent() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent
}

func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.remember(r)
	var f Fault
	if p.rule != nil {
		if ruled := p.rule(r); ruled != nil {
			f = *ruled
		}
	}
	if !p.wait(r.Context(), f.Delay) {
		panic(http.ErrAbortHandler)
	}
	switch {
	case f.Drop:
		panic(http.ErrAbortHandler)
	case f.CutUpload:
		_, _ = io.CopyN(io.Discard, r.Body, f.At)
		panic(http.ErrAbortHandler)
	case f.Status != 0:
		f.answer(w)
		return
	case f.BreakUpload:
		r.Body = &brokenBody{r.Body, f.At}
	case f.CorruptUpload:
		r.Body = &corruptBody{r.Body, f.At}
	case f.IgnoreRange:
		r.Header.Del("Range")
	}
	p.next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), faultKey{}, f)))
}

// brokenBody is the body of a request that breaks off.
type brokenBody struct {
	io.ReadCloser
	left int64
}

func (b *brokenBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// corruptBody is a body with a byte that has all its bits flipped.
type corruptBody struct {
	io.ReadCloser
	left int64 // until that
}

func (b *corruptBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left >= 0 && b.left < int64(n) {
		p[b.left] ^= 0xff
	}
	b.left -= int64(n)
	return n, err
}

func (p *Proxy) remember(r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, Request{r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Clone(), r.ContentLength})
}

// wait waits for d and reports whether the client and the test are still
// there.
func (p *Proxy) wait(ctx context.Context, d time.Duration) bool {
	if d == 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-p.end:
	}
	return false
}

// answer answers in the target's place.
func (f Fault) answer(w http.ResponseWriter) {
	for name, values := range f.Header {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	w.WriteHeader(f.Status)
	_, _ = io.WriteString(w, f.Body) // the client may have gone
}

// tamper does to the target's answer what the fault says.
func (p *Proxy) tamper(resp *http.Response) error {
	ctx := resp.Request.Context()
	f, _ := ctx.Value(faultKey{}).(Fault)
	if f.Lose {
		return errLost
	}
	for name, values := range f.Header {
		resp.Header[http.CanonicalHeaderKey(name)] = values
	}
	if f.Corrupt {
		resp.Body = &corruptBody{resp.Body, f.At}
	}
	resp.Body = &tamperedBody{ReadCloser: resp.Body, fault: f, proxy: p, gone: ctx.Done()}
	return nil
}

// tamperedBody is the body of an answer on its way to the client.
type tamperedBody struct {
	io.ReadCloser
	fault Fault
	proxy *Proxy
	gone  <-chan struct{} // closed when the client has gone
	at    int64           // bytes read
}

func (b *tamperedBody) Read(p []byte) (int, error) {
	if b.fault.Cut || b.fault.Stall {
		left := b.fault.At - b.at
		if left <= 0 {
			return 0, b.stop()
		}
		p = p[:min(int64(len(p)), left)]
	}
	n, err := b.ReadCloser.Read(p)
	b.at += int64(n)
	b.proxy.count(n)
	return n, err
}

// stop ends the body before its time.
func (b *tamperedBody) stop() error {
	if b.fault.Stall {
		select {
		case <-b.gone:
		case <-b.proxy.end:
		}
	}
	return io.ErrUnexpectedEOF
}

func (p *Proxy) count(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent += int64(n)
}
