package ocitest

import (
	"io"
	"log"
	"net"
	"net/http"

	"github.com/google/go-containerregistry/pkg/registry"
)

// Embedded serves a registry from memory on a loopback port until stop is
// called; host is 127.0.0.1:port, over plain HTTP. It serves the demo and quick
// tests where no registry process is at hand.
//
// It is not strict: it has one pool of blobs for all repositories, so a mount
// always finds its blob; it takes a manifest whose config or layers are
// missing; it refuses open ranges (bytes=N-) with 416; it knows neither
// credentials nor TLS; and the referrers API is off.
func Embedded() (host string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	silent := log.New(io.Discard, "", 0)
	server := &http.Server{
		Handler:  registry.New(registry.Logger(silent)),
		ErrorLog: silent,
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener) // always ErrServerClosed, after Close
	}()
	stop = func() {
		_ = server.Close()
		<-done
	}
	return listener.Addr().String(), stop, nil
}
