package ocitest

import (
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
)

// Forward is an HTTP proxy as sites have between them and the world. It is the
// only one who knows where its hosts are: no name of theirs need exist.
type Forward struct {
	Host string // 127.0.0.1:port

	routes  map[string]string // HOST[:PORT] -> HOST:PORT
	account string            // USER:PASSWORD that it demands; "" for none
	status  int               // that it answers instead of leading anywhere; 0 = it leads

	mu   sync.Mutex
	seen []Request
}

// ForwardOptions are the ways to run a proxy; the zero value leads nowhere.
type ForwardOptions struct {
	Routes  map[string]string // where HOST[:PORT], as clients name it, is
	Account string            // demand this USER:PASSWORD
	Status  int               // answer this to everything
}

// StartForward runs an HTTP proxy until the test ends.
func StartForward(t testing.TB, o ForwardOptions) *Forward {
	t.Helper()
	f := &Forward{routes: o.Routes, account: o.Account, status: o.Status}
	server := httptest.NewUnstartedServer(f)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	f.Host = server.Listener.Addr().String()
	return f
}

// Log gives what it was asked so far: "CONNECT host:port" and the like, with
// the headers that were for the proxy or passed through it readably.
func (f *Forward) Log() []Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Request{}, f.seen...)
}

func (f *Forward) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.seen = append(f.seen, Request{Method: r.Method, Path: r.Host, Header: r.Header.Clone()})
	f.mu.Unlock()
	there, known := f.routes[strings.TrimSuffix(r.Host, ":443")]
	switch {
	case f.status != 0:
		http.Error(w, "the proxy says no", f.status)
	case f.account != "" && !f.knows(r):
		w.Header().Set("Proxy-Authenticate", `Basic realm="proxy"`)
		http.Error(w, "who is that?", http.StatusProxyAuthRequired)
	case !known:
		http.Error(w, "there is no such host", http.StatusBadGateway)
	case r.Method == http.MethodConnect:
		connect(w, there)
	default:
		proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(&url.URL{Scheme: "http", Host: there})
			p.Out.Host = p.In.Host
		}}
		proxy.ServeHTTP(w, r)
	}
}

// knows reads Proxy-Authorization, which has the form of Authorization.
func (f *Forward) knows(r *http.Request) bool {
	asked := http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}
	user, password, _ := asked.BasicAuth()
	return user+":"+password == f.account
}

// connect joins a client with a host, until either ends.
func connect(w http.ResponseWriter, host string) {
	there, err := net.Dial("tcp", host)
	if err != nil {
		http.Error(w, "nobody answers", http.StatusBadGateway)
		return
	}
	here, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		there.Close()
		return
	}
	_, _ = io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n") // a client that has gone is noticed below
	go func() {
		_, _ = io.Copy(there, here)
		there.Close()
	}()
	go func() {
		_, _ = io.Copy(here, there)
		here.Close()
	}()
}
