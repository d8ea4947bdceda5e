package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// passphraseEnv holds the passphrase of a signing key where nobody can be
// asked. Set but empty it means none.
const passphraseEnv = "AIRLIFT_KEY_PASSPHRASE"

var errNobodyToAsk = errors.New("the key has a passphrase, and there is no terminal to ask for it")

// askPassphrase takes the passphrase of an existing key from the environment
// or from the terminal.
func askPassphrase(ctx context.Context, in *os.File, out io.Writer, prompt string) ([]byte, error) {
	if value, ok := os.LookupEnv(passphraseEnv); ok {
		return []byte(value), nil
	}
	if !term.IsTerminal(int(in.Fd())) {
		return nil, withHint(errNobodyToAsk, "set "+passphraseEnv)
	}
	return readHidden(ctx, in, out, prompt)
}

// choosePassphrase takes the passphrase of a new key, twice where it is typed.
// Nothing typed, no terminal and an empty environment variable mean none.
func choosePassphrase(ctx context.Context, in *os.File, out io.Writer) ([]byte, error) {
	if value, ok := os.LookupEnv(passphraseEnv); ok {
		return []byte(value), nil
	}
	if !term.IsTerminal(int(in.Fd())) {
		return nil, nil
	}
	first, err := readHidden(ctx, in, out, "Passphrase for the new key (empty for none): ")
	if err != nil || len(first) == 0 {
		return nil, err
	}
	second, err := readHidden(ctx, in, out, "The same passphrase again: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, second) {
		return nil, errors.New("the two passphrases differ")
	}
	return first, nil
}

// readHidden reads a line that the terminal does not echo. Where ctx ends
// first it gives the terminal back as it was; its reader then still waits for
// the line, which only happens to a process that is about to exit.
func readHidden(ctx context.Context, in *os.File, out io.Writer, prompt string) ([]byte, error) {
	fd := int(in.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, fmt.Errorf("read passphrase: %w", err)
	}
	fmt.Fprint(out, prompt)
	defer fmt.Fprintln(out)

	type answer struct {
		line []byte
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		line, err := term.ReadPassword(fd)
		answered <- answer{line, err}
	}()
	select {
	case a := <-answered:
		if a.err != nil {
			return nil, fmt.Errorf("read passphrase: %w", a.err)
		}
		return a.line, nil
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), term.Restore(fd, before))
	}
}
