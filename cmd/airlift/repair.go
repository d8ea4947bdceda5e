package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"airlift/bundle"
)

// repair is export --repair: it mends what verify finds.
func repair(c *cli.Context) (err error) {
	dir := c.String("repair")
	for _, flag := range []string{"output", "release", "image", "images-file", "imagestreams", "from", "volume", "volume-size", "continue-on", "restart", "dry-run", "read-back", "recheck", "checkpoint", "skip-missing", "since", "series"} {
		if c.IsSet(flag) {
			return usagef("--repair and --%s exclude each other", flag)
		}
	}
	o, err := exportOptions(c)
	if err != nil {
		return err
	}
	shown := newProgress(c)
	client, err := exportClient(c, shown)
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir); err != nil {
		return err
	}
	out, err := bundle.OpenOutput(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	o.Progress = shown.event
	mended, err := out.Repair(c.Context, client, o)
	shown.close()
	if err != nil {
		return err
	}
	return printRepaired(c, dir, mended)
}

func printRepaired(c *cli.Context, dir string, mended []bundle.Finding) error {
	for _, f := range mended {
		fmt.Fprintf(c.App.Writer, "repaired %s\n", printable(f.Error()))
	}
	what := "nothing was damaged"
	if len(mended) > 0 {
		what = "every byte is as it should be again"
	}
	_, err := fmt.Fprintf(c.App.Writer, "%s: %s\n", dir, what)
	return err
}
