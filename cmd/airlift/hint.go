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
	for _, hint := range []func(error) string{argumentHint, networkHint, certificateHint, registryHint, bundleHint} {
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
	case strings.Contains(text, "x509: certificate signed by unknown authority"):
		return "give the authority's certificate with --ca-file FILE.pem"
	case strings.Contains(text, "x509: certificate has expired or is not yet valid"):
		return "renew the registry's certificate, or set this host's clock"
	case strings.Contains(text, "server gave HTTP response to HTTPS client"),
		strings.Contains(text, "does not look like a TLS handshake"), strings.Contains(text, "plain HTTP"):
		return "the registry speaks plain HTTP: --insecure-registry HOST[:PORT] allows that"
	}
	return ""
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

func registryHint(err error) string {
	var answer *oci.StatusError
	if !errors.As(err, &answer) {
		return ""
	}
	host := cmp.Or(answer.Host, "the registry")
	switch answer.Status {
	case http.StatusUnauthorized:
		return "give credentials for " + host + " with --authfile (a pull secret, or the file that podman login writes)"
	case http.StatusForbidden:
		return "the account in use at " + host + " may not do this: give another with --authfile, or have it granted"
	case http.StatusNotFound, http.StatusGone:
		return "check the name; some registries also say this of what an account may not see (--authfile)"
	case http.StatusRequestEntityTooLarge:
		return "something before the registry limits the size of an upload: raise it there (nginx: client_max_body_size 0)"
	case http.StatusTooManyRequests:
		return "the registry limits requests: try again later, or with an account (--authfile)"
	}
	return ""
}

func bundleHint(err error) string {
	switch {
	case errors.Is(err, bundle.ErrUntrusted):
		return `"airlift inspect DIR" lists the signers; trust one with --trusted-key NAME.pub`
	case errors.Is(err, bundle.ErrDamaged):
		return `"airlift verify --trusted-key NAME.pub DIR" lists all damage; copy what it names again from where it is whole`
	case errors.Is(err, bundle.ErrUnsealed):
		return "finish the export, or make it again: nothing says yet that this medium is complete"
	case errors.Is(err, bundle.ErrAbsent):
		return "give the directories of all media in one command"
	case errors.Is(err, bundle.ErrLocked):
		return "wait until it has ended, or write into another directory"
	case errors.Is(err, bundle.ErrNoSpace):
		return "use a larger medium, or cut the bundle with --volume-size"
	}
	return ""
}
