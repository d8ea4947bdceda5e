package main

import (
	"errors"
	"os"

	"github.com/urfave/cli/v2"

	"airlift/bundle"
)

func shardFlag() cli.Flag {
	return &cli.StringFlag{Name: "shard", Usage: "bring only the images of part `K/N` (K from 1 or from 0), beside other hosts that bring the others; an import without it then tags releases and writes the objects"}
}

func shard(c *cli.Context) (bundle.Shard, error) {
	if !c.IsSet("shard") {
		return bundle.Shard{}, nil
	}
	s, err := bundle.ParseShard(c.String("shard"))
	if err != nil {
		return s, usagef("--shard: %w", err)
	}
	return s, nil
}

// importShard imports a part of the images, and nothing that is said of all.
func importShard(c *cli.Context, from source, o bundle.ImportOptions) error {
	if c.Bool("dry-run") {
		results, err := from.rehearse(o)
		if results != nil {
			err = errors.Join(printResults(c.App.Writer, results), err)
		}
		return importHint(err)
	}
	shown := newProgress(c)
	client, err := newClient(c, nil, shown.tell)
	if err != nil {
		return err
	}
	o.Progress = shown.event
	results, err := from.run(c, client, o, shown)
	shown.close()
	if results == nil {
		return importHint(err)
	}
	if err == nil {
		say(os.Stderr, "this was part %s; when all parts are there, the same command without --shard proves it, tags releases and writes the objects", c.String("shard"))
	}
	return errors.Join(printResults(c.App.Writer, results), importHint(err))
}
