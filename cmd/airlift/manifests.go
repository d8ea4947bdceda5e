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
		Description: "With the report of an import of this bundle (--report, or the one under --manifests), the same\n" +
			"files as that import, or a later one into the same directory. Without, what a complete import would give, which the files say of\n" +
			"themselves; that works before the bundle travels.",
		Flags: slices.Concat(trustFlags(), placementFlags(), objectFlags(), samplesFlags(), clusterFlags(), credentialFlags(), []cli.Flag{
			reportFlag(),
			&cli.StringSliceFlag{Name: "insecure-registry", Usage: "have nodes, and --prune-sources, speak to `HOST[:PORT]` over plain HTTP or with any certificate, if it is the registry"},
		}),
		Action: manifests,
	}
}

func manifests(c *cli.Context) error {
	stdout := resultsAside(c)
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
	p, err := report.Options.Placement()
	if err != nil {
		return err
	}
	secret, err := nodeSecret(c, p, nil)
	if err != nil {
		return err
	}
	dir := c.String("manifests")
	if err := prune(c, report, nil); err != nil {
		return manifestsHint(err)
	}
	var objects *bundle.Objects
	err = bundle.Alone(c.Context, dir, func() (err error) {
		objects, err = report.WriteObjects(dir)
		return err
	})
	if err != nil {
		return manifestsHint(err)
	}
	warnAlone(report, dir, nil)
	warnMirrors(objects.Warnings, nil)
	warnReplaced(report.Options.Config)
	return errors.Join(printSamples(c, report, objects), writeSecret(c.App.Writer, dir, secret), printObjects(c.App.Writer, dir, objects), unpruned(objects), printStream(stdout, report, dir, objects))
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

// reportFor is the report of imports, or what one would be: a report that knows
// this bundle is told again, one of other bundles is where the placement comes from.
func reportFor(c *cli.Context, b *bundle.Bundle) (*bundle.Report, error) {
	r, err := findRecord(c)
	if err != nil {
		return nil, err
	}
	p, o, err := placed(c, r)
	switch {
	case err != nil:
		return nil, err
	case r != nil && r.Knows(b.Inventory.ContentID()):
		r.Options = o
		return r.Report, nil
	case r != nil && c.IsSet("report"):
		return nil, usagef("%s is the report of another bundle, with content %s", r.file, r.Content)
	case r != nil && c.Bool("prune-sources"):
		return nil, withHint(usagef("--prune-sources: %s knows no import of this bundle", r.file),
			"give a bundle that was imported; what the others brought is asked for too")
	}
	warnIdle(p, b)
	report, err := b.Assume(p, o)
	return report, importHint(err)
}
