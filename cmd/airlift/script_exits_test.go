package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// exits is a program: "exits CODE PROGRAM ARGUMENT…" runs the program, hands
// signals on to it, and succeeds if it ends with this exit code.
func exits() {
	want, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	cmd := exec.Command(os.Args[2], os.Args[3:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	go func() {
		for caught := range signals {
			_ = cmd.Process.Signal(caught) // an error means that it has ended
		}
	}()
	var ended *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &ended) {
		panic(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != want {
		fmt.Fprintf(os.Stderr, "exits: exit code %d, not %d\n", got, want)
		os.Exit(1)
	}
}

func (w *world) signal(ts *testscript.TestScript, args []string) {
	first, _ := words(ts, args, 1)
	sent, known := map[string]os.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM}[first[0]]
	running := ts.BackgroundCmds()
	if !known || len(running) == 0 {
		ts.Fatalf("usage: signal INT|TERM, with a program in the background")
	}
	ts.Check(running[len(running)-1].Process.Signal(sent))
}
