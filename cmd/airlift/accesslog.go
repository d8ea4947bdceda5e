package main

import (
	"errors"
	"io"
	"net/http"
	"os"
)

// accessLog prints a line for each request when it has been answered, even if that
// was cut short.
func accessLog(registry http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		counted := &countedAnswer{ResponseWriter: w, status: http.StatusOK}
		defer func() {
			say(os.Stderr, "%s %s %s: %d, %d bytes%s", r.RemoteAddr, r.Method, r.URL.RequestURI(), counted.status, counted.bytes, counted.cut)
		}()
		registry.ServeHTTP(counted, r)
	})
}

// countedAnswer counts what is answered, and stands in nobody's way: files still go
// to the network without passing through the program.
type countedAnswer struct {
	http.ResponseWriter
	status int
	bytes  int64
	cut    string // what is to be said of it, if it was cut off
}

func (a *countedAnswer) count(n int64, err error) {
	a.bytes += n
	if errors.Is(err, errStalled) {
		a.cut = ", " + err.Error()
	}
}

func (a *countedAnswer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

func (a *countedAnswer) Write(p []byte) (int, error) {
	n, err := a.ResponseWriter.Write(p)
	a.count(int64(n), err)
	return n, err
}

func (a *countedAnswer) ReadFrom(src io.Reader) (int64, error) {
	n, err := io.Copy(a.ResponseWriter, src)
	a.count(n, err)
	return n, err
}

// Unwrap is for http.ResponseController.
func (a *countedAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
