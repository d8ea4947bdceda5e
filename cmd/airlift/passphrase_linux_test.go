package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// conversation is airlift on a terminal, with what it has shown so far.
type conversation struct {
	*testing.T
	cmd      *exec.Cmd
	terminal *os.File
	shown    string
}

func talk(t *testing.T, dir string, args ...string) *conversation {
	t.Helper()
	withEnv(t, passphraseEnv, nil)
	cmd := exec.Command("airlift", args...)
	cmd.Dir = dir
	terminal, err := pty.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	killIfStuck(t, cmd)
	return &conversation{T: t, cmd: cmd, terminal: terminal}
}

// answer waits for a prompt and types after it, once what is typed is hidden.
func (c *conversation) answer(prompt, typed string) {
	c.Helper()
	buffer := make([]byte, 1024)
	for !strings.HasSuffix(c.shown, prompt) {
		n, err := c.terminal.Read(buffer)
		if err != nil {
			c.Fatalf("shown %q, then %v", c.shown, err)
		}
		c.shown += string(buffer[:n])
	}
	for c.echoes() {
		runtime.Gosched()
	}
	if _, err := c.terminal.WriteString(typed); err != nil {
		c.Fatal(err)
	}
}

// echoes says whether what is typed would be shown.
func (c *conversation) echoes() bool {
	state, err := unix.IoctlGetTermios(int(c.terminal.Fd()), unix.TCGETS)
	if err != nil {
		c.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// end waits for the end and gives the exit code.
func (c *conversation) end() int {
	rest, _ := io.ReadAll(c.terminal) // ends with EIO
	c.shown += string(rest)
	_ = c.cmd.Wait()
	return c.cmd.ProcessState.ExitCode()
}

func TestPassphraseIsAskedTwice(t *testing.T) {
	dir := t.TempDir()
	c := talk(t, dir, "keygen", "--output", "ops")
	c.answer("(empty for none): ", "sesame\n")
	c.answer("again: ", "sesame\n")
	if code := c.end(); code != 0 || strings.Contains(c.shown, "sesame") || strings.Contains(c.shown, "no passphrase") {
		t.Errorf("code %d, shown %q", code, c.shown)
	}
	secret := "sesame"
	withEnv(t, passphraseEnv, &secret)
	if _, err := openKey(t.Context(), filepath.Join(dir, "ops.key")); err != nil {
		t.Error(err)
	}
}

func TestPassphrasesThatDiffer(t *testing.T) {
	dir := t.TempDir()
	c := talk(t, dir, "keygen", "--output", "ops")
	c.answer("(empty for none): ", "sesame\n")
	c.answer("again: ", "Sesame\n")
	if code := c.end(); code != exitFailed || !strings.Contains(c.shown, "the two passphrases differ") {
		t.Errorf("code %d, shown %q", code, c.shown)
	}
	expectEmpty(t, dir)
}

func TestNoPassphrase(t *testing.T) {
	c := talk(t, t.TempDir(), "keygen", "--output", "ops")
	c.answer("(empty for none): ", "\n")
	if code := c.end(); code != 0 || !strings.Contains(c.shown, "ops.key has no passphrase") {
		t.Errorf("code %d, shown %q", code, c.shown)
	}
}

// Ctrl-C at the prompt ends the run and leaves the terminal echoing.
func TestInterruptedPrompt(t *testing.T) {
	dir := t.TempDir()
	c := talk(t, dir, "keygen", "--output", "ops")
	c.answer("(empty for none): ", "\x03")
	if code := c.end(); code != 130 || !strings.Contains(c.shown, "airlift: interrupted") {
		t.Errorf("code %d, shown %q", code, c.shown)
	}
	expectEmpty(t, dir)
	if !c.echoes() {
		t.Error("the terminal does not echo")
	}
}

func expectEmpty(t *testing.T, dir string) {
	t.Helper()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}
