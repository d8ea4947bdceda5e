// Command airlift carries OpenShift releases and imagestream images over an
// air gap: export on the one side, verify and import on the other.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	os.Exit(run(interruptible(), newApp(), os.Args))
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
