package main

import (
	"errors"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"airlift/bundle"
)

func manifestsCommand() *cli.Command {
	return &cli.Command{
		Name:      "manifests",
		Usage:     "write what makes a cluster use the registry, without importing",
		ArgsUsage: "DIR…|bundle.json",
		Description: "With --report, the same files as the import that wrote the report. Without, what a complete\n" +
			"import would give, which the files say of themselves; that works before the bundle travels.",
		Flags: slices.Concat(trustFlags(), placementFlags(), objectFlags(), samplesFlags(), []cli.Flag{
			&cli.StringFlag{Name: "report", Usage: "write what the import with the report.json `FILE` wrote"},
		}),
		Action: manifests,
	}
}

func manifests(c *cli.Context) error {
	b, err := openBundle(c, bundleDirs(c))
	if err != nil {
		return err
	}
	report, err := reportFor(c, b)
	if err == nil {
		err = samplesOptions(c, &report.Options.SamplesOptions)
	}
	if err != nil {
		return err
	}
	dir := c.String("manifests")
	files, err := report.WriteObjects(dir)
	if err != nil {
		return manifestsHint(err)
	}
	return errors.Join(printSamples(c, report, files), printObjects(c.App.Writer, dir, files))
}

// bundleDirs takes a bundle.json for the directory that it lies in: the
// inventory and its signatures are all that is needed.
func bundleDirs(c *cli.Context) []string {
	dirs := c.Args().Slice()
	for i, dir := range dirs {
		if filepath.Base(dir) == bundle.InventoryFile {
			dirs[i] = filepath.Dir(dir)
		}
	}
	return dirs
}

// reportFor is the report of an import, or what it would be.
func reportFor(c *cli.Context, b *bundle.Bundle) (*bundle.Report, error) {
	if file := c.String("report"); file != "" {
		return recordedReport(c, b, file)
	}
	p, err := placement(c)
	if err != nil {
		return nil, err
	}
	o, err := objectOptions(c, p)
	if err != nil {
		return nil, err
	}
	warnIdle(p, b)
	report, err := b.Assume(p, o)
	return report, importHint(err)
}

// recordedReport reads a report of this bundle. It holds the options already:
// others are refused rather than ignored.
func recordedReport(c *cli.Context, b *bundle.Bundle, file string) (*bundle.Report, error) {
	for _, flags := range [][]cli.Flag{placementFlags(), {&cli.StringFlag{Name: "name"}, &cli.StringFlag{Name: "mirror-source-policy"}}} {
		for _, flag := range flags {
			if name := flag.Names()[0]; c.IsSet(name) {
				return nil, usagef("--report and --%s exclude each other: the report says where things are", name)
			}
		}
	}
	report, err := bundle.ReadReport(file)
	if err != nil {
		return nil, err
	}
	if report.Content != b.Inventory.ContentID() {
		return nil, usagef("%s is the report of another bundle, with content %s", file, report.Content)
	}
	return report, nil
}
