package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

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
			"that \"airlift verify\" and \"airlift import\" take, and that sha256sum and openssl check.\n" +
			"The same command again goes on where it was interrupted. A medium that is full is\n" +
			"complete with the volumes on it; the next one is asked for, or named by --continue-on.\n" +
			"With --since the bundle is an increment: what the far side has is listed, and not carried.",
		Flags: slices.Concat([]cli.Flag{
			&cli.StringSliceFlag{Name: "release", Usage: "carry the release payload `REF` with all its components (may be repeated)"},
			&cli.StringSliceFlag{Name: "image", Usage: "carry the image `REF` (may be repeated)"},
			&cli.StringSliceFlag{Name: "images-file", Usage: "carry the images in `FILE`, one a line (may be repeated)"},
			&cli.StringSliceFlag{Name: "imagestreams", Usage: "carry the images of the image streams in `FILE`: JSON or YAML, from oc get is -o json or the ConfigMap imagestreamtag-to-image (may be repeated)"},
			&cli.BoolFlag{Name: "samples", Usage: "carry the images of the samples of each --release, as its samples operator lists them"},
			&cli.StringSliceFlag{Name: "samples-include", Usage: "of the samples, carry the image streams named like `GLOB` (may be repeated; default: all)"},
			&cli.StringSliceFlag{Name: "samples-exclude", Usage: "of the samples, leave out the image streams named like `GLOB` (may be repeated)"},
			&cli.StringSliceFlag{Name: "samples-arch", Usage: "carry the samples for clusters of `ARCH`: x86_64, aarch64, ppc64le, s390x, or all (may be repeated; default: the release's, for a multi release all that --platform carries)"},
			&cli.StringSliceFlag{Name: "platform", Usage: "of images that are named by tag only, carry those for `OS/ARCH` (may be repeated; default: all); lists named by digest stay whole"},
			&cli.BoolFlag{Name: "sparse", Usage: "with --platform: narrow lists named by digest too, those of releases included; few registries take them so"},
			&cli.StringFlag{Name: "from", Usage: "carry exactly what the bundle.json `FILE` lists, instead"},
			&cli.StringFlag{Name: "volume", Usage: "with --from: make the volumes `N`, N-M or N- of that bundle again, bit for bit"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write into `DIR`; - writes a stream to stdout, for a pipe"},
			&cli.StringSliceFlag{Name: "continue-on", Usage: "go on in `DIR` when the medium before it is full (may be repeated)"},
			&cli.StringFlag{Name: "repair", Usage: "fetch again what is damaged of the bundle in `DIR`, and nothing else, instead of exporting"},
			&cli.StringSliceFlag{Name: "reuse", Usage: "take blobs from the bundle in `DIR`, finished or not, rather than fetch them (may be repeated)"},
			&cli.StringFlag{Name: "key", Usage: "sign with the key in `NAME.key`"},
			&cli.BoolFlag{Name: "unsigned", Usage: "do not sign: nobody can tell whose the bundle is"},
			&cli.StringFlag{Name: "volume-size", Usage: "cut the archive into volumes of at most `SIZE`: bytes, 4GiB, or fat32, cd, dvd, dvd-dl, bd (default on FAT: fat32)"},
			&cli.BoolFlag{Name: "skip-missing", Usage: "go on without what the sources do not have, record it, and end with exit code 3; every layer is asked for first"},
			&cli.BoolFlag{Name: "skip-denied", Usage: "go on without the samples that a source denies (401, 403), record them, and end with exit code 3"},
			&cli.BoolFlag{Name: "restart", Usage: "throw away the unfinished export that the directory holds"},
			&cli.BoolFlag{Name: "recheck", Usage: "before going on, read again what an interrupted run has written"},
			&cli.BoolFlag{Name: "read-back", Usage: "when a medium is complete, read it again from the medium and check every byte"},
			&cli.StringFlag{Name: "checkpoint", Value: "64MiB", Usage: "make durable what was written every `SIZE`, or every 5 seconds: what an interruption can cost"},
			&cli.BoolFlag{Name: "dry-run", Usage: "say what would be written, and write nothing"},
			&cli.StringSliceFlag{Name: "source-mirror", Usage: "fetch `SOURCE=MIRROR`: what lies under a source through a mirror of it; the bundle keeps the names (may be repeated; the longest source wins)"},
		}, sinceFlags(), clientFlags(), []cli.Flag{quietFlag()}),
		Action: export,
	}
}

func export(c *cli.Context) (err error) {
	if c.IsSet("repair") {
		return repair(c)
	}
	x, err := newExporting(c)
	if err != nil {
		return err
	}
	if c.Bool("dry-run") {
		inv, err := x.asked.plan(c, x.client, x.shown)
		if err != nil {
			return err
		}
		warnNarrowed(c, &inv.Content)
		return errors.Join(printPlan(c.App.Writer, inv), skippedOrNot(c, inv.Content.Missing))
	}
	write, results := x.media, c.App.Writer
	if c.String("output") == "-" {
		write, results = x.stream, c.App.ErrWriter
	}
	inv, err := write()
	if err != nil {
		return err
	}
	return errors.Join(x.print(results, inv), skippedOrNot(c, inv.Content.Missing))
}

// exportOptions holds the command line against the rules that need nothing
// else, and opens the key: a passphrase is asked for before long work begins.
func exportOptions(c *cli.Context) (o bundle.ExportOptions, err error) {
	o = bundle.ExportOptions{Recheck: c.Bool("recheck"), Reuse: c.StringSlice("reuse")}
	if err := noArguments(c); err != nil {
		return o, err
	}
	if o.Checkpoint, err = sizeFlag("checkpoint", c.String("checkpoint")); err != nil {
		return o, err
	}
	if c.Bool("dry-run") {
		return o, nil
	}
	if !c.IsSet("repair") {
		if err := required(c, "output"); err != nil {
			return o, err
		}
	}
	switch key := c.String("key"); {
	case key == "" && !c.Bool("unsigned"):
		return o, usagef("--key is not given (--unsigned makes a bundle that nobody signs)")
	case key != "" && c.Bool("unsigned"):
		return o, usagef("--key and --unsigned exclude each other")
	case key == "":
		return o, nil
	default:
		o.Key, err = openKey(c.Context, key)
		return o, err
	}
}

func exportClient(c *cli.Context, shown *progress) (*oci.Client, error) {
	var mirrors []oci.SourceMirror
	for _, s := range c.StringSlice("source-mirror") {
		mirror, err := oci.ParseSourceMirror(s)
		if err != nil {
			return nil, usagef("--source-mirror: %w", err)
		}
		mirrors = append(mirrors, mirror)
	}
	return newClient(c, mirrors, shown.tell)
}

// withoutLeave is what the sources did not have and may not be skipped.
func withoutLeave(c *cli.Context, missing []bundle.Missing) []bundle.Missing {
	if c.Bool("skip-missing") {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(missing), func(m bundle.Missing) bool { return c.Bool("skip-denied") && m.Denied() })
}

// skippedOrNot says what the sources did not have: with leave to skip it the
// bundle is complete but for that, else it was not made.
func skippedOrNot(c *cli.Context, missing []bundle.Missing) error {
	if len(missing) == 0 {
		return nil
	}
	if not := withoutLeave(c, missing); len(not) > 0 {
		return withHint(bundle.MissingErrors(not), "nothing was written; --skip-missing goes on without what is listed, and records it")
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
	for _, s := range inv.Content.Sparse() {
		fmt.Fprintf(t, "sparse\t%s\n", s)
	}
	for _, v := range inv.Storage.Volumes {
		fmt.Fprintf(t, "volume\t%s  %d bytes\n", v.Name, v.Size)
	}
	printLeftOut(t, inv)
	fmt.Fprintf(t, "%s: %s, %s\n", count(len(inv.Content.Images), "image"),
		count(len(inv.Content.Nodes), "manifest"), count(len(inv.Content.Blobs), "blob"))
	fmt.Fprintf(t, "%d bytes to write (%s), and at most %d for each signature\n", bytes, humanize.IBytes(uint64(bytes)), verify.MaxSignatureSize)
	return t.Flush()
}

// print sums up what was written.
func (x *exporting) print(w io.Writer, inv *bundle.Inventory) error {
	where := x.done[0]
	if len(x.done) > 1 {
		where = fmt.Sprintf("%d media", len(x.done))
	}
	proved := "written and synced"
	if where == "stdout" {
		proved = "written"
	}
	if x.c.Bool("read-back") {
		proved = "written and read back (only reading it again after it was plugged in anew proves more: airlift verify)"
	}
	printLeftOut(w, inv)
	volumes, size := x.options.Volumes.Of(inv), int64(0)
	for _, v := range volumes {
		size += v.Size
	}
	_, err := fmt.Fprintf(w, "%s: %s, %s in %s, %s\ncontent %s\n",
		where, count(len(inv.Content.Images), "image"), humanize.IBytes(uint64(size)), count(len(volumes), "volume"), proved, inv.ContentID())
	return err
}

// rerun is the command line that goes on with this export.
func rerun(more ...string) string {
	words := []string{"airlift"}
	for _, word := range slices.Concat(os.Args[1:], more) {
		if word != "--restart" { // it would throw away what there is
			words = append(words, quote(word))
		}
	}
	return strings.Join(words, " ")
}
