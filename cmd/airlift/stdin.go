package main

import (
	"context"
	"io"
	"os"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"airlift/bundle"
)

// isStream says whether a command is to read a bundle from stdin.
func isStream(c *cli.Context) (bool, error) {
	for _, arg := range c.Args().Slice() {
		if arg != "-" {
			continue
		}
		if c.NArg() > 1 {
			return false, usagef("- stands for a whole bundle that comes through a pipe: name it alone")
		}
		if term.IsTerminal(int(os.Stdin.Fd())) {
			return false, usagef("- reads a bundle from stdin, and that is a terminal: pipe one in (airlift export --output -)")
		}
		return true, nil
	}
	return false, nil
}

// openStream opens the bundle that comes through stdin.
func openStream(c *cli.Context) (*bundle.Stream, error) {
	trust, err := trust(c)
	if err != nil {
		return nil, err
	}
	return bundle.OpenStream(untilDone(c.Context, os.Stdin), trust)
}

// untilDone reads ahead, and ends with ctx even where nothing comes: a read of a
// pipe waits for as long as somebody holds its other end. Whatever waits there ends
// with the process.
func untilDone(ctx context.Context, f *os.File) io.Reader {
	r, w := io.Pipe()
	go func() {
		_, err := io.CopyBuffer(w, struct{ io.Reader }{f}, make([]byte, 256<<10))
		w.CloseWithError(err)
	}()
	context.AfterFunc(ctx, func() { w.CloseWithError(ctx.Err()) })
	return r
}
