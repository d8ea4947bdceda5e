package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/urfave/cli/v2"
)

// stubborn is a program that says what happens to its context. Its command
// "polite" then ends, "deaf" waits for ever.
func stubborn() {
	app := &cli.App{ExitErrHandler: func(*cli.Context, error) {}, Action: func(c *cli.Context) error {
		fmt.Println("ready")
		<-c.Context.Done()
		fmt.Println("told")
		if c.Args().First() == "deaf" {
			_, _ = io.ReadAll(os.Stdin)
		}
		return fmt.Errorf("work: %w", errors.Join(c.Context.Err(), errors.New("a temporary file stays")))
	}}
	os.Exit(run(interruptible(), app, os.Args))
}

// start runs the program and waits for its first line.
func start(t *testing.T, args ...string) (cmd *exec.Cmd, lines *bufio.Scanner, stderr *strings.Builder) {
	t.Helper()
	cmd = exec.Command("stubborn", args...)
	stderr = new(strings.Builder)
	cmd.Stderr = stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close() })
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killIfStuck(t, cmd)
	lines = bufio.NewScanner(stdout)
	await(t, lines, "ready")
	return cmd, lines, stderr
}

// killIfStuck ends a process that does not end by itself, and so its test.
func killIfStuck(t *testing.T, cmd *exec.Cmd) {
	watch := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() { watch.Stop(); _ = cmd.Process.Kill() })
}

func await(t *testing.T, lines *bufio.Scanner, want string) {
	t.Helper()
	if !lines.Scan() || lines.Text() != want {
		t.Fatalf("got %q, want %q", lines.Text(), want)
	}
}

func TestFirstSignalEndsCleanly(t *testing.T) {
	for sig, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		cmd, lines, stderr := start(t, "polite")
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		await(t, lines, "told")
		_ = cmd.Wait()
		if got := cmd.ProcessState.ExitCode(); got != code {
			t.Errorf("%v: exit code %d", sig, got)
		}
		if want := "airlift: interrupted\nairlift: work: a temporary file stays\n"; stderr.String() != want {
			t.Errorf("%v: got %q", sig, stderr)
		}
	}
}

func TestSecondSignalKills(t *testing.T) {
	cmd, lines, _ := start(t, "deaf")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await(t, lines, "told")
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGINT {
		t.Errorf("it ended with %v", cmd.ProcessState)
	}
}
