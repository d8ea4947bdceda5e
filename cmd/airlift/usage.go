package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"airlift/bundle"
)

// usagef is an error of whoever typed the command line: exit code 2, and a
// hint at the command's help where there is no better one.
func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

type usageError struct{ error }

func (e usageError) Unwrap() []error { return []error{bundle.ErrUsage, e.error} }

// ofCommand gives a usage error without a hint the one at its command's help.
func ofCommand(words string, err error) error {
	if !errors.Is(err, bundle.ErrUsage) || hintFor(err) != "" {
		return err
	}
	return withHint(err, helpOf(words))
}

// helpOf takes the words of a command as they are typed.
func helpOf(words string) string { return `"` + words + ` --help" lists the flags` }

// noArguments refuses arguments where a command takes none.
func noArguments(c *cli.Context) error {
	if c.Args().Present() {
		return usagef("%s takes no arguments, but was given %s", c.Command.Name, c.Args().First())
	}
	return nil
}

// required refuses a command line without these flags. (cli's own Required
// prints the whole help to stdout.)
func required(c *cli.Context, names ...string) error {
	for _, name := range names {
		if !c.IsSet(name) || c.String(name) == "" && len(c.StringSlice(name)) == 0 {
			return usagef("--%s is not given", name)
		}
	}
	return nil
}
