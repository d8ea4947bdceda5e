package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"airlift/bundle"
)

// canAsk says whether somebody can be asked for the next medium.
func canAsk() bool {
	return term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stderr.Fd()))
}

// asker asks for media on a terminal.
type asker struct {
	usual string      // the directory of the medium before
	lines chan string // what was typed; closed at the end
}

func newAsker() *asker { return &asker{} }

// medium asks for the next medium and gives its directory: what was typed, or usual
// where nothing was, for a stick that was changed at the same place. It is "" if
// there is nobody to ask, or who was asked wants no more; an error if ctx ends.
func (a *asker) medium(ctx context.Context, what, usual string) (string, error) {
	if !canAsk() {
		return "", nil
	}
	if a.lines == nil {
		a.lines = make(chan string)
		go readLines(os.Stdin, a.lines) // it ends with the process
	}
	fmt.Fprintf(os.Stderr, "airlift: %s\nairlift: put in the next medium and press Enter [%s], or type its directory; q ends here: ", printable(what), printable(usual))
	select {
	case <-ctx.Done():
		fmt.Fprintln(os.Stderr)
		return "", ctx.Err()
	case line, more := <-a.lines:
		switch line = strings.TrimSpace(line); {
		case !more, line == "q":
			return "", nil
		case line == "":
			return usual, nil
		}
		return line, nil
	}
}

func readLines(r io.Reader, lines chan<- string) {
	defer close(lines)
	for s := bufio.NewScanner(r); s.Scan(); {
		lines <- s.Text()
	}
}

// another asks for a further medium until one is given that can be
// opened: from scratch, so that its signatures are checked again. It is nil if
// there are no more, or the run was interrupted.
func (a *asker) another(c *cli.Context, what string) *bundle.Bundle {
	if a.usual == "" {
		a.usual = c.Args().Get(c.NArg() - 1)
	}
	for {
		dir, err := a.medium(c.Context, what, a.usual)
		if err != nil || dir == "" {
			return nil
		}
		a.usual = dir
		b, err := openBundle(c, []string{dir})
		if err == nil {
			return b
		}
		printError(os.Stderr, err)
	}
}

// sayDamage says what is wrong so far, but for what is still to come: the medium
// that it is about is at hand now.
func sayDamage(err error) {
	for _, f := range faults(err) {
		if !errors.Is(f.err, bundle.ErrAbsent) && !errors.Is(f.err, bundle.ErrMissing) {
			say(os.Stderr, "%s", f.text)
		}
	}
}
