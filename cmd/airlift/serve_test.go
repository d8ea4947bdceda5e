package main

import (
	"bufio"

	"os/exec"

	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"





)

// serving is airlift serve as a process that answers.
type serving struct {
	*exec.Cmd
	host   string // HOST:PORT
	shown  []string
	errors *strings.Builder
	ended  bool
}

var servingAt = regexp.MustCompile(`^serving .* at https?://(.*), until Ctrl-C$`)

// startServing serves until the test ends, and waits until what is served has been said.
func startServing(t *testing.T, args ...string) *serving {
	t.Helper()
	s := &serving{Cmd: exec.Command("airlift", slices.Concat([]string{"serve", "--listen", "127.0.0.1:0"}, args)...), errors: &strings.Builder{}}
	s.Stderr = s.errors
	out, err := s.StdoutPipe()
	if err == nil {
		err = s.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	killIfStuck(t, s.Cmd)
	t.Cleanup(func() {
		if !s.ended {
			s.end(t, exitComplete)
		}
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		s.shown = append(s.shown, lines.Text())
		if at := servingAt.FindStringSubmatch(s.shown[0]); at != nil {
			s.host = at[1]
		}
		if strings.HasPrefix(lines.Text(), "signed by ") {
			return s
		}
	}
	_ = s.Wait()
	s.ended = true
	t.Fatalf("%v does not serve: %s", s.Args, s.errors)
	return nil
}

// end is Ctrl-C.
func (s *serving) end(t *testing.T, code int) {
	t.Helper()
	s.ended = true
	_ = s.Process.Signal(syscall.SIGINT)
	_ = s.Wait() // the code says it
	if got := s.ProcessState.ExitCode(); got != code {
		t.Errorf("%v ended with %v, want %d: %s", s.Args, s.ProcessState, code, s.errors)
	}
}
