package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"airlift/bundle"
	"airlift/oci"
	"airlift/verify"
)

func exportCommand() *cli.Command {
	return &cli.Command{
		Name:  "export",
		Usage: "write releases and images as a signed bundle into a directory",
		Description: "Resolves everything first, then writes it: the directory of the output is a bundle\n" +
			"that \"airlift verify\" and \"airlift import\" take, and that sha256sum and openssl check.",
		Flags: slices.Concat([]cli.Flag{
			&cli.StringSliceFlag{Name: "release", Usage: "carry the release payload `REF` with all its components (may be repeated)"},
			&cli.StringSliceFlag{Name: "image", Usage: "carry the image `REF` (may be repeated)"},
			&cli.StringSliceFlag{Name: "images-file", Usage: "carry the images in `FILE`, one a line (may be repeated)"},
			&cli.StringSliceFlag{Name: "imagestreams", Usage: "carry the images of the image streams in `FILE`: JSON or YAML, from oc get is -o json or the ConfigMap imagestreamtag-to-image (may be repeated)"},
			&cli.StringFlag{Name: "from", Usage: "carry exactly what the bundle.json `FILE` lists, instead"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write into `DIR`"},
			&cli.StringFlag{Name: "key", Usage: "sign with the key in `NAME.key`"},
			&cli.BoolFlag{Name: "unsigned", Usage: "do not sign: nobody can tell whose the bundle is"},
			&cli.StringFlag{Name: "volume-size", Usage: "cut the archive into volumes of at most `SIZE`: bytes, 4GiB, or fat32, cd, dvd, dvd-dl, bd"},
			&cli.BoolFlag{Name: "skip-missing", Usage: "go on without what the sources do not have, record it, and end with exit code 3"},
			&cli.BoolFlag{Name: "restart", Usage: "throw away the unfinished export that the directory holds"},
			&cli.BoolFlag{Name: "dry-run", Usage: "say what would be written, and write nothing"},
			&cli.StringSliceFlag{Name: "source-mirror", Usage: "fetch `SOURCE=MIRROR`: what lies under a source through a mirror of it; the bundle keeps the names (may be repeated; the longest source wins)"},
		}, clientFlags(), []cli.Flag{quietFlag()}),
		Action: export,
	}
}

func export(c *cli.Context) error {
	o, err := exportOptions(c)
	if err != nil {
		return err
	}
	client, err := exportClient(c)
	if err != nil {
		return err
	}
	inv, err := inventory(c, client)
	if err != nil {
		return err
	}
	missing := inv.Content.Missing
	if c.Bool("dry-run") {
		return errors.Join(printPlan(c.App.Writer, inv), skippedOrNot(c, missing))
	}
	if len(missing) > 0 && !c.Bool("skip-missing") {
		return skippedOrNot(c, missing)
	}
	shown := newProgress(c)
	o.Progress = shown.event
	err = bundle.Export(c.Context, client, inv, c.String("output"), o)
	shown.close()
	if errors.Is(err, context.Canceled) {
		return errors.Join(err, outputHint(bundle.CheckOutput(c.String("output"), false)))
	}
	if err != nil {
		return outputHint(err)
	}
	return errors.Join(printExported(c.App.Writer, c.String("output"), inv), skippedOrNot(c, missing))
}

// exportOptions holds the command line against the rules that need nothing
// else, and opens the key: a passphrase is asked for before long work begins.
func exportOptions(c *cli.Context) (bundle.ExportOptions, error) {
	o := bundle.ExportOptions{Restart: c.Bool("restart")}
	if err := noArguments(c); err != nil {
		return o, err
	}
	if c.Bool("dry-run") {
		return o, nil
	}
	if err := required(c, "output"); err != nil {
		return o, err
	}
	if err := outputHint(bundle.CheckOutput(c.String("output"), o.Restart)); err != nil {
		return o, err
	}
	switch key := c.String("key"); {
	case key == "" && !c.Bool("unsigned"):
		return o, usagef("--key is not given (--unsigned makes a bundle that nobody signs)")
	case key != "" && c.Bool("unsigned"):
		return o, usagef("--key and --unsigned exclude each other")
	case key == "":
		return o, nil
	default:
		var err error
		o.Key, err = openKey(c.Context, key)
		return o, err
	}
}

func exportClient(c *cli.Context) (*oci.Client, error) {
	var mirrors []oci.SourceMirror
	for _, s := range c.StringSlice("source-mirror") {
		mirror, err := oci.ParseSourceMirror(s)
		if err != nil {
			return nil, usagef("--source-mirror: %w", err)
		}
		mirrors = append(mirrors, mirror)
	}
	return newClient(c, mirrors)
}

// inventory plans what was asked for, or takes it from a bundle.json.
func inventory(c *cli.Context, client *oci.Client) (*bundle.Inventory, error) {
	size, err := volumeSizeFlag(c)
	if err != nil {
		return nil, err
	}
	tool, sequence := "airlift "+version, time.Now().Unix()
	if file := c.String("from"); file != "" {
		again, err := readInventory(c, file)
		if err != nil {
			return nil, err
		}
		return again.Again(size, tool, sequence)
	}
	asked, err := request(c)
	if err != nil {
		return nil, err
	}
	shown := newProgress(c)
	asked.Progress = shown.event
	content, err := bundle.Plan(c.Context, client, asked)
	shown.close()
	if err != nil {
		return nil, planHint(err)
	}
	return bundle.NewInventory(*content, size, tool, sequence)
}

// planHint: what planning itself refuses to miss belongs to a release.
func planHint(err error) error {
	var missing *bundle.MissingError
	if errors.As(err, &missing) {
		return withHint(err, "nothing was written; --skip-missing does not cover releases: try another source, with --source-mirror")
	}
	return err
}

func volumeSizeFlag(c *cli.Context) (int64, error) {
	if !c.IsSet("volume-size") {
		return 0, nil
	}
	return volumeSize(c.String("volume-size"))
}

// skippedOrNot says what the sources did not have: with leave to skip it the
// bundle is complete but for that, else it was not made.
func skippedOrNot(c *cli.Context, missing []bundle.Missing) error {
	if len(missing) == 0 {
		return nil
	}
	if !c.Bool("skip-missing") {
		return withHint(bundle.MissingErrors(missing), "nothing was written; --skip-missing goes on without what is listed, and records it")
	}
	var skipped []error
	for _, m := range missing {
		skipped = append(skipped, fmt.Errorf("%w: %s", bundle.ErrMissing, m))
	}
	if c.Bool("dry-run") {
		return errors.Join(skipped...)
	}
	return withHint(errors.Join(skipped...), "the bundle records this as missing; import takes it with --skip-missing")
}

// outputHint says what to do where the output directory is not free.
func outputHint(err error) error {
	switch {
	case errors.Is(err, bundle.ErrUnfinished):
		return withHint(err, "--restart throws it away and begins again")
	case errors.Is(err, bundle.ErrUsage):
		return withHint(err, "write into another directory")
	}
	return err
}

func printPlan(w io.Writer, inv *bundle.Inventory) error {
	bytes, err := bundle.BytesToWrite(inv)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, i := range inv.Content.Images {
		fmt.Fprintf(t, "image\t%s\n", imageLine(i))
	}
	for _, m := range inv.Content.Missing {
		fmt.Fprintf(t, "missing\t%s\n", printable(m.String()))
	}
	for _, v := range inv.Storage.Volumes {
		fmt.Fprintf(t, "volume\t%s  %d bytes\n", v.Name, v.Size)
	}
	fmt.Fprintf(t, "%s: %s, %s\n", count(len(inv.Content.Images), "image"),
		count(len(inv.Content.Nodes), "manifest"), count(len(inv.Content.Blobs), "blob"))
	fmt.Fprintf(t, "%d bytes to write (%s), and at most %d for each signature\n", bytes, humanize.IBytes(uint64(bytes)), verify.MaxSignatureSize)
	return t.Flush()
}

func printExported(w io.Writer, dir string, inv *bundle.Inventory) error {
	_, err := fmt.Fprintf(w, "%s: %s, %s in %s, written and synced\ncontent %s\n",
		dir, count(len(inv.Content.Images), "image"), humanize.IBytes(uint64(inv.Storage.Size)), count(len(inv.Storage.Volumes), "volume"), inv.ContentID())
	return err
}
