package main

import (
	"errors"
	"os"

	"github.com/urfave/cli/v2"

	"airlift/bundle"
)

func shardFlag() cli.Flag {
	return &cli.StringFlag{Name: "shard", Usage: "bring only the images of part `K/N` (K from 1 or from 0), beside other hosts that bring the others, and write a receipt of it; an import without it then tags releases and writes the objects"}
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

// importShard imports a part of the images, and nothing that is said of all. Its receipt
// is as that of any import.
func importShard(c *cli.Context, from source, o bundle.ImportOptions, ledger *ledger) error {
	if err := bundle.Writable(ledger.dir); err != nil {
		return manifestsHint(err)
	}
	if c.Bool("dry-run") {
		return rehearse(c, from, o, nil, nil)
	}
	shown := newProgress(c)
	client, err := newClient(c, nil, shown.tell)
	if err != nil {
		return err
	}
	o.Progress = shown.event
	results, err := from.run(c, client, o, shown)
	shown.close()
	recorded := ledger.close(c, outcome{from.bundle, o.Placement, results, err}, nil)
	if results == nil {
		return errors.Join(recorded, importHint(err))
	}
	recorded = errors.Join(recorded, ledger.tell(c.App.Writer))
	if err == nil {
		say(os.Stderr, "this was part %s; when all parts are there, the same command without --shard proves it, tags releases and writes the objects", c.String("shard"))
	}
	return errors.Join(printResults(c.App.Writer, results), recorded, importHint(err))
}
