// Command airlift carries OpenShift releases and imagestream images over an
// air gap: export on the one side, verify and import on the other.
package main

import (
	"context"
	"os"
	"os/signal"
	"os/user"
	"strconv"
	"syscall"
)

func main() {
	settle()
	os.Exit(run(interruptible(), newApp(), os.Args))
}

// settle gives a home to whoever has none, neither by HOME nor by /etc/passwd: the
// library that looks for credentials would not even read a file that is named.
func settle() {
	if os.Getenv("HOME") != "" {
		return
	}
	if _, err := user.LookupId(strconv.Itoa(os.Getuid())); err != nil {
		_ = os.Setenv("HOME", "/")
	}
}

// interruptible is a context that the first SIGINT or SIGTERM ends, so that
// work can stop at a clean place. A second signal kills the process at once.
func interruptible() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	signal.Ignore(syscall.SIGXFSZ) // a file that may not grow is a full medium, and said as such
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		caught := <-signals
		signal.Reset(syscall.SIGINT, syscall.SIGTERM)
		cancel(interruption(caught.(syscall.Signal)))
	}()
	return ctx
}

// interruption is the cause of a context that a signal ended.
type interruption syscall.Signal

func (i interruption) Error() string { return "interrupted" }

// code is what a shell gives a process that the signal killed: 130 or 143.
func (i interruption) code() int { return 128 + int(i) }
