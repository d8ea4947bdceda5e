package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// errPlainHTTP is a request that would have gone over plain HTTP to a host that
// was not named as insecure.
var errPlainHTTP = errors.New("plain HTTP to this host was not allowed")

// ErrOtherSize: a registry has a blob of another size under a digest: what it stores is
// damaged.
var ErrOtherSize = errors.New("it is damaged there")

const (
	maxErrorBody = 64 << 10 // bytes of an error's body that are looked at
	maxMessage   = 200      // bytes of a message that are kept
)

// StatusError is an answer of a registry, or of a host it sends us to, that is
// not what was asked for.
type StatusError struct {
	Method, Host, Path string // without the query, which may hold a signature
	Status             int
	Code, Message      string        // of the first OCI error in the body, without control characters, at most 200 bytes; Message may be a line of plain text instead
	RetryAfter         time.Duration // as the answer said; 0 if it did not
	Lookup             *Lookup       // of a 401 or 403 of the registry or its token service: with which credentials

	aside bool // it is about the login, or an upload: not about content
}

// Error words the answer: "GET quay.io/v2/a/b/manifests/x: 404 MANIFEST_UNKNOWN: manifest unknown".
func (e *StatusError) Error() string {
	s := fmt.Sprintf("%s %s%s: %d", e.Method, e.Host, e.Path, e.Status)
	switch {
	case e.Code != "" && e.Message != "":
		return s + " " + e.Code + ": " + e.Message
	case e.Code != "" || e.Message != "":
		return s + " " + e.Code + e.Message
	}
	return strings.TrimSuffix(s+" "+http.StatusText(e.Status), " ")
}

// IsMissing says whether a registry answered that what was asked for does not
// exist: 404 or 410, whatever the body says, unless it says that access is
// denied. A host that has no registry at all, or no login, misses nothing: that is
// a failure.
func IsMissing(err error) bool {
	var e *StatusError
	return errors.As(err, &e) && !e.aside && e.isGone() && !e.saysDenied()
}

// IsDenied says whether a registry, or the token service of one, refused: 401
// or 403; or 404 with the code of a refusal, by which some hide what there is.
func IsDenied(err error) bool {
	var e *StatusError
	return errors.As(err, &e) && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden || e.isGone() && e.saysDenied())
}

func (e *StatusError) isGone() bool {
	return e.Status == http.StatusNotFound || e.Status == http.StatusGone
}

// saysDenied: the codes of the distribution spec.
func (e *StatusError) saysDenied() bool { return e.Code == "DENIED" || e.Code == "UNAUTHORIZED" }

// isStatus says whether err is an answer with one of the statuses.
func isStatus(err error, statuses ...int) bool {
	var e *StatusError
	return errors.As(err, &e) && slices.Contains(statuses, e.Status)
}

// isCode says whether err is an answer with one of the codes of OCI.
func isCode(err error, codes ...string) bool {
	var e *StatusError
	return errors.As(err, &e) && slices.Contains(codes, e.Code)
}

// IsRefusal says whether err is a 4xx that is about the request itself: neither
// denied nor to be tried later. A manifest that is refused so stays refused.
func IsRefusal(err error) bool {
	var e *StatusError
	return errors.As(err, &e) && e.Status/100 == 4 && !IsDenied(err) && e.Status != http.StatusTooManyRequests && e.Status != http.StatusRequestTimeout
}

// statusError reads what an answer says, and leaves its connection usable.
func statusError(resp *http.Response) *StatusError {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) // what there is of it
	resp.Body.Close()
	e := &StatusError{Method: resp.Request.Method, Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header)}
	e.Host, e.Path = resp.Request.URL.Host, resp.Request.URL.Path
	body = withoutCredentials(body, resp.Request)
	e.Code, e.Message = firstError(body)
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); e.Code == "" && e.Message == "" && kind == "text/plain" {
		line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
		e.Message = clean(line)
	}
	return e
}

// withoutCredentials takes out of an answer what the request told of us: some
// hosts repeat it.
func withoutCredentials(body []byte, r *http.Request) []byte {
	_, sent, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	secrets := []string{sent}
	if user, password, isBasic := r.BasicAuth(); isBasic {
		secrets = append(secrets, user+":"+password, password)
	}
	for _, secret := range secrets {
		if secret != "" {
			body = bytes.ReplaceAll(body, []byte(secret), []byte("[credentials]"))
		}
	}
	return body
}

// firstError finds the first error in a body of OCI's form.
func firstError(body []byte) (code, message string) {
	var doc struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &doc) != nil || len(doc.Errors) == 0 {
		return "", ""
	}
	return clean(doc.Errors[0].Code), clean(doc.Errors[0].Message)
}

// PageError: what answered is made for people, and no registry: a page to log in, as a
// rule. It is no answer about what was asked for.
type PageError struct {
	URL    string // of the page, without the query
	Status int
	led    bool // there, by a redirect
	html   bool
}

func (e *PageError) Error() string {
	words := "answered with "
	if e.led {
		words = "led to "
	}
	if e.html {
		words += "the web page "
	}
	return fmt.Sprintf("%s%s (%d), which is no answer of a registry", words, e.URL, e.Status)
}

// pageOf is the page that answers a request; nil if a registry may have done so. A
// redirect after which another method is used is one for browsers. The type alone says
// nothing: Quay gives that of pages to answers without a body (Flask's default), and
// storage to a blob what it was told.
func pageOf(q request, resp *http.Response) *PageError {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	at := resp.Request.URL
	e := &PageError{Status: resp.StatusCode, led: resp.Request.Response != nil, html: kind == "text/html" || kind == "application/xhtml+xml"}
	e.URL = clean((&url.URL{Scheme: at.Scheme, Host: at.Host, Path: at.Path}).String())
	isBlob := q.method == http.MethodGet && strings.Contains(q.url.Path, "/blobs/")
	switch {
	case e.led && resp.Request.Method != q.method, e.led && e.html && !isBlob:
		return e
	case e.html && resp.StatusCode/100 == 2 && !slices.Contains(q.want, resp.StatusCode):
		return e
	}
	return nil
}

// loginAnswer is the answer in an error of the login, nil if there is none;
// retryAfter is what it said, for that of the first question does not hold it.
func loginAnswer(err error, retryAfter time.Duration) *StatusError {
	var said *StatusError
	if errors.As(err, &said) {
		return said
	}
	var answer *transport.Error
	if !errors.As(err, &answer) {
		return nil
	}
	e := &StatusError{Status: answer.StatusCode, RetryAfter: retryAfter, aside: true}
	if answer.Request != nil {
		e.Method, e.Host, e.Path = answer.Request.Method, answer.Request.URL.Host, answer.Request.URL.Path
	}
	if len(answer.Errors) > 0 {
		e.Code, e.Message = clean(string(answer.Errors[0].Code)), clean(answer.Errors[0].Message)
	}
	return e
}

// printable makes a text fit for a terminal and a line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// clean makes a registry's words fit for a terminal and a line, and short.
func clean(s string) string {
	s = strings.TrimSpace(printable(s))
	if len(s) > maxMessage {
		return strings.ToValidUTF8(s[:maxMessage-len("…")], "") + "…"
	}
	return s
}

// retryAfter reads the header's two forms: seconds, and a date.
func retryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}
