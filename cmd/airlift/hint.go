package main

import (
	"cmp"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"strings"
	"syscall"

	"airlift/bundle"
	"airlift/oci"
)

// hinted is an error with the next step that its maker knows best.
type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

// withHint gives err a hint that is printed instead of what hintFor would find.
func withHint(err error, hint string) error { return &hinted{err, hint} }

// hintFor is what to do about an error; empty where nothing useful is known.
func hintFor(err error) string {
	var h *hinted
	if errors.As(err, &h) {
		return h.hint
	}
	for _, hint := range []func(error) string{argumentHint, proxyHint, networkHint, certificateHint, registryHint, bundleHint} {
		if text := hint(err); text != "" {
			return text
		}
	}
	return ""
}

func argumentHint(err error) string {
	if errors.Is(err, bundle.ErrUsage) && strings.Contains(err.Error(), "://") {
		return "registries and images are named without a scheme: HOST[:PORT]/PATH"
	}
	return ""
}

const unknownAuthority = "x509: certificate signed by unknown authority"

// certificateHint: the texts are those of crypto/x509 and net/http, which some
// layers on the way hand on as text only.
func certificateHint(err error) string {
	var host x509.HostnameError
	switch text := err.Error(); {
	case strings.Contains(text, "x509: certificate relies on legacy Common Name field"),
		strings.Contains(text, "because it doesn't contain any IP SANs"),
		errors.As(err, &host) && len(host.Certificate.DNSNames)+len(host.Certificate.IPAddresses) == 0:
		return "the registry's certificate names no host (no subject alternative name): have it issued again, with -addext subjectAltName=DNS:HOST"
	case strings.Contains(text, "x509: certificate is valid for"), errors.As(err, &host):
		return "the registry's certificate is for other names: use one of them, or have it issued again"
	case strings.Contains(text, unknownAuthority):
		return "give the authority's certificate with --ca-file FILE.pem, or as " + certsOf(err) + "/ca.crt"
	case errors.Is(err, oci.ErrCertificateWanted):
		return "put the certificate and its key into " + certsOf(err) + ", as client.cert and client.key"
	case strings.Contains(text, "x509: certificate has expired or is not yet valid"):
		return "renew the registry's certificate, or set this host's clock"
	case errors.Is(err, oci.ErrPrivateRealm):
		return "give the token service a host name in the registry's configuration (realm), or say that you know the address by a directory for it: /etc/containers/certs.d/ADDRESS[:PORT]"
	case strings.Contains(text, "server gave HTTP response to HTTPS client"),
		strings.Contains(text, "does not look like a TLS handshake"), strings.Contains(text, "plain HTTP"):
		return "the registry speaks plain HTTP: --insecure-registry HOST[:PORT] allows that"
	}
	return ""
}

// certsOf is where the certificates of the host are looked for that an error
// speaks of.
func certsOf(err error) string {
	host := "HOST[:PORT]"
	var request *oci.RequestError
	for errors.As(err, &request) { // the innermost: of a token service, say
		host, err = request.Host, request.Err
	}
	return "/etc/containers/certs.d/" + host
}

func proxyHint(err error) string {
	var proxy *oci.ProxyError
	if !errors.As(err, &proxy) {
		return ""
	}
	switch {
	case proxy.Proxy == "":
		return "set " + proxy.Variable + " to http://[USER:PASSWORD@]HOST:PORT"
	case proxy.Status == http.StatusProxyAuthRequired:
		return "give the proxy's account in the variable: " + proxy.Variable + "=http://USER:PASSWORD@" + proxy.Proxy
	case proxy.Status != 0:
		return "have the proxy let " + proxy.Host + " through, or name that in NO_PROXY if it is reached without a proxy"
	}
	return "check what " + proxy.Variable + " names, or name " + proxy.Host + " in NO_PROXY if it is reached without a proxy"
}

func networkHint(err error) string {
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &dns), strings.Contains(err.Error(), "no such host"):
		return "check the registry's name and this host's DNS; behind a proxy set HTTPS_PROXY"
	case errors.Is(err, syscall.ECONNREFUSED), strings.Contains(err.Error(), "connection refused"):
		return "nothing listens there: check the host and the port"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH),
		errors.As(err, &timeout) && timeout.Timeout():
		return "the host does not answer: check the route, the firewall and HTTPS_PROXY"
	}
	return ""
}

// pageHint is for a registry behind what is made for people.
const pageHint = "something before the registry wants people to log in: have it let requests below /v2/ through, or name the registry by an address that does not lead there"

func registryHint(err error) string {
	if errors.As(err, new(*oci.PageError)) {
		return pageHint
	}
	var answer *oci.StatusError
	if !errors.As(err, &answer) {
		return ""
	}
	host := cmp.Or(answer.Host, "the registry")
	switch answer.Status {
	case http.StatusBadRequest:
		if strings.Contains(answer.Message, "HTTP request to an HTTPS server") {
			return host + " speaks HTTPS: somebody led there over plain HTTP, see the registry's own settings of its URL"
		}
	case http.StatusUnauthorized, http.StatusForbidden:
		return deniedHint(host, answer)
	case http.StatusNotFound, http.StatusGone:
		return "check the name; some registries also say this of what an account may not see (--authfile)"
	case http.StatusRequestEntityTooLarge:
		return "something before the registry limits the size of an upload: raise it there (nginx: client_max_body_size 0)"
	case http.StatusTooManyRequests:
		return "the registry limits requests: try again later, or with an account (--authfile)"
	}
	return ""
}

// deniedHint says whether there were no credentials, or which were no good.
func deniedHint(host string, answer *oci.StatusError) string {
	unauthorized := answer.Status == http.StatusUnauthorized
	used := "the account in use"
	switch l := answer.Lookup; {
	case l == nil && unauthorized:
		return "give credentials for " + host + " with --authfile (a pull secret, or the file that podman login writes)"
	case l == nil:
	case l.Entry == "":
		return noCredentials(l)
	default:
		used = "the account of " + l.Entry + " in " + cmp.Or(l.File, "the credential helper")
		if unauthorized {
			return host + " refuses " + used + ": log in again, or give another with --authfile"
		}
	}
	return used + " may not do this at " + host + ": give another with --authfile, or have it granted"
}

func bundleHint(err error) string {
	switch {
	case errors.Is(err, bundle.ErrUntrusted):
		return `"airlift inspect DIR" lists the signers; trust one with --trusted-key NAME.pub`
	case errors.Is(err, bundle.ErrDamaged):
		return `"airlift verify --trusted-key NAME.pub DIR" lists all damage; copy what it names again from where it is whole`
	case errors.Is(err, bundle.ErrUnsealed):
		return "finish the export, or make it again: nothing says yet that this medium is complete"
	case errors.Is(err, bundle.ErrLeftOut):
		return "serve the base by itself, not in one command with this; or import this into the registry that has its base, or export it again without --since"
	case errors.Is(err, bundle.ErrAbsent):
		return "give the directories of all media in one command"
	case errors.Is(err, bundle.ErrLocked):
		return "wait until it has ended, or write into another directory"
	case errors.Is(err, bundle.ErrNoSpace):
		return "use a larger medium, or cut the bundle with --volume-size"
	}
	return ""
}

func noCredentials(l *oci.Lookup) string {
	return "no credentials for " + l.Name + " are in " + strings.Join(l.Files, ", ") + ": give some with --authfile (a pull secret, or the file that podman login writes)"
}
