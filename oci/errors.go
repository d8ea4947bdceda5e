package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// StatusError is an answer of a registry, or of its token server, that is not
// what was asked for.
type StatusError struct {
	Method, Host, Path string
	Status             int
	Code, Message      string        // the first error of the body, without control characters; may be empty
	RetryAfter         time.Duration // how long to wait, as the answer says; 0 if it does not
}

func (e *StatusError) Error() string {
	s := fmt.Sprintf("%s %s%s: %d", e.Method, e.Host, e.Path, e.Status)
	if e.Code != "" {
		s += " " + e.Code
	} else {
		s += " " + http.StatusText(e.Status)
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s
}

// IsMissing says whether err is an answer that something is not there.
func IsMissing(err error) bool { return hasStatus(err, http.StatusNotFound, http.StatusGone) }

// IsDenied says whether err is an answer that access is refused.
func IsDenied(err error) bool { return hasStatus(err, http.StatusUnauthorized, http.StatusForbidden) }

func hasStatus(err error, statuses ...int) bool {
	var e *StatusError
	if !errors.As(err, &e) {
		return false
	}
	for _, status := range statuses {
		if e.Status == status {
			return true
		}
	}
	return false
}

// maxErrorBody is what is read of an answer that is an error, in bytes.
const maxErrorBody = 64 << 10

// statusError reads the error out of an answer.
func statusError(resp *http.Response) *StatusError {
	e := &StatusError{Method: resp.Request.Method, Host: resp.Request.URL.Host, Path: resp.Request.URL.Path, Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header)}
	data, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) // a cut body still has its status
	var body struct {
		Errors []struct{ Code, Message string } `json:"errors"`
	}
	if json.Unmarshal(data, &body) == nil && len(body.Errors) > 0 {
		e.Code, e.Message = oneLine(body.Errors[0].Code), oneLine(body.Errors[0].Message)
	}
	return e
}

// oneLine is a text that came from outside, fit to be shown.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "…"
	}
	return strings.TrimSpace(s)
}

// maxRetryAfter is the longest wait that a registry can ask for.
const maxRetryAfter = 5 * time.Minute

// retryAfter reads the header in both its forms.
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	wait := time.Duration(0)
	if seconds, err := strconv.Atoi(text); err == nil {
		wait = time.Duration(min(seconds, int(maxRetryAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		wait = time.Until(at)
	}
	return max(0, min(wait, maxRetryAfter))
}

// fromTransport turns the errors of authentication into those of this package.
func fromTransport(err error) error {
	var answer *transport.Error
	if !errors.As(err, &answer) {
		return err
	}
	e := &StatusError{Method: http.MethodGet, Status: answer.StatusCode}
	if answer.Request != nil {
		e.Method, e.Host, e.Path = answer.Request.Method, answer.Request.URL.Host, answer.Request.URL.Path
	}
	if len(answer.Errors) > 0 {
		e.Code, e.Message = oneLine(string(answer.Errors[0].Code)), oneLine(answer.Errors[0].Message)
	}
	return e
}
