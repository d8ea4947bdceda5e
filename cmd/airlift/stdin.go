package main

import (
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
	return bundle.OpenStream(io.Reader(os.Stdin), trust)
}
