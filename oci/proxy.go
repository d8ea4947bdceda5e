package oci

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// ProxyError is a failure of a proxy on the way to a host, not of the host.
type ProxyError struct {
	Host     string // whom the proxy was to lead to; "" if the variable is of no use
	Proxy    string // HOST:PORT of the proxy; "" if the variable holds none
	Variable string // that names it: HTTPS_PROXY or the like
	Status   int    // that it answered; 0 if it did not
	Err      error
}

// Error never shows what the variable holds: a password may be in it.
func (e *ProxyError) Error() string {
	if e.Proxy == "" {
		return e.Variable + ": " + e.Err.Error()
	}
	return fmt.Sprintf("the proxy %s (%s): %v", e.Proxy, e.Variable, e.Err)
}

func (e *ProxyError) Unwrap() error { return e.Err }

// checkProxies refuses variables that net/http would pass over in silence, to go
// to hosts without a proxy.
func checkProxies() error {
	for _, variable := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"} {
		proxy := os.Getenv(variable)
		if u, err := url.Parse(proxy); err == nil && (proxy == "" || u.Scheme != "" && u.Host != "") {
			continue
		}
		if _, err := url.Parse("http://" + proxy); err != nil {
			return &ProxyError{Variable: variable, Err: errors.New("it does not hold the URL of a proxy")}
		}
	}
	return nil
}

// behindProxy makes the proxies of a transport say that they are.
func behindProxy(t *http.Transport) {
	t.OnProxyConnectResponse = func(_ context.Context, proxy *url.URL, to *http.Request, resp *http.Response) error {
		if resp.StatusCode == http.StatusOK {
			return nil
		}
		return answerOfProxy(proxy, "https", to.Host, resp)
	}
}

func answerOfProxy(proxy *url.URL, scheme, host string, resp *http.Response) error {
	return &ProxyError{
		Host: host, Proxy: proxy.Host, Variable: proxyVariable(scheme), Status: resp.StatusCode,
		Err: fmt.Errorf("answered %s to a connection with %s", clean(resp.Status), host),
	}
}

// proxyFault words what an attempt through a proxy came to, if it was the
// proxy's fault.
func proxyFault(t *http.Transport, r *http.Request, resp *http.Response, err error) error {
	if t.Proxy == nil {
		return nil
	}
	var op *net.OpError
	refused := errors.As(err, &op) && op.Op == "proxyconnect"
	demands := resp != nil && resp.StatusCode == http.StatusProxyAuthRequired
	if !refused && !demands {
		return nil
	}
	proxy, _ := t.Proxy(r)
	switch {
	case proxy == nil:
		return nil
	case demands:
		return answerOfProxy(proxy, r.URL.Scheme, r.URL.Host, resp)
	}
	return &ProxyError{Host: r.URL.Host, Proxy: proxy.Host, Variable: proxyVariable(r.URL.Scheme), Err: op.Err}
}

// proxyVariable is the variable that names the proxy for a scheme, as net/http
// reads them.
func proxyVariable(scheme string) string {
	variable := strings.ToUpper(scheme) + "_PROXY"
	if os.Getenv(variable) == "" {
		if lower := strings.ToLower(variable); os.Getenv(lower) != "" {
			return lower
		}
	}
	return variable
}

// isTransient: a proxy that does not reach the host may do so later; one that
// wants to know who we are, or forbids it, will not.
func (e *ProxyError) isTransient() bool {
	return e.Proxy != "" && (e.Status == 0 || isRetryableStatus(e.Status))
}
