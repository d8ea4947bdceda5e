package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"airlift/bundle"
	"airlift/manifest"
)

// What an import recorded of its placement is not typed again: the commands
// that come after it take it from report.json. A flag that says otherwise is
// refused, because one of the two must be wrong.

func reportFlag() cli.Flag {
	return &cli.StringFlag{Name: "report", Usage: "take the placement from the report.json `FILE` of an import (default: the one under --manifests, if there is one)"}
}

// record is the report that a command found, and its file.
type record struct {
	*bundle.Report
	file string
}

// findRecord finds the report of an earlier import: that of --report, else the one
// under --manifests. It is nil if none is there; one that was named must be.
func findRecord(c *cli.Context) (*record, error) {
	file := c.String("report")
	named := file != ""
	if !named && c.String("manifests") == bundle.Printed {
		return nil, nil
	}
	if !named {
		file = filepath.Join(c.String("manifests"), bundle.ReportFile)
	}
	report, err := bundle.ReadReport(file)
	switch {
	case !named && errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &record{report, file}, nil
}

// options are the record's. Flags may repeat them and must not contradict them.
func (r *record) options(c *cli.Context) (bundle.Placement, bundle.ObjectOptions, error) {
	p, err := r.Options.Placement()
	if err != nil {
		return p, r.Options, fmt.Errorf("%s: %w", r.file, err)
	}
	for _, o := range r.said(p) {
		if !c.IsSet(o.flag) {
			continue
		}
		given, err := o.given(c)
		if err != nil {
			return p, r.Options, ofFlag(o.flag, err)
		}
		if given != o.recorded {
			return p, r.Options, withHint(usagef("%s contradicts %s, which says %s", typed(o.flag, given), r.file, o.says()),
				"leave the flag out; or name another report with --report FILE, or another directory with --manifests DIR")
		}
	}
	o := r.Options
	if err := readOthers(c, &o); err != nil {
		return p, o, err
	}
	config, err := clusterConfig(c, p)
	o.Config = config.Over(o.Config)
	return p, o, err
}

// saying is one option as a record and a command line have it, in one form.
type saying struct {
	flag     string
	recorded string
	given    func(*cli.Context) (string, error)
}

// says words what is recorded.
func (s saying) says() string {
	if s.flag == "icsp" {
		return typed(s.flag, s.recorded)
	}
	return cmp.Or(s.recorded, "nothing of it")
}

func (r *record) said(p bundle.Placement) []saying {
	return []saying{
		{"to", r.Options.To, stringFlag("to")},
		{"cluster-registry", r.Options.Cluster, stringFlag("cluster-registry")},
		{"mirror", list(r.Options.Mirrors), func(c *cli.Context) (string, error) { return list(c.StringSlice("mirror")), nil }},
		{"keep-source-host", fmt.Sprint(r.Options.KeepSourceHost), func(c *cli.Context) (string, error) { return fmt.Sprint(c.Bool("keep-source-host")), nil }},
		{"map", mapList(p.Maps), func(c *cli.Context) (string, error) {
			maps, err := parseMaps(c, p.To)
			return mapList(maps), err
		}},
		{"max-nested-paths", fmt.Sprint(r.Options.MaxNestedPaths), func(c *cli.Context) (string, error) { return fmt.Sprint(c.Int("max-nested-paths")), nil }},
		{"name", r.Options.Name, stringFlag("name")},
		{"mirror-source-policy", r.Options.Policy, stringFlag("mirror-source-policy")},
		{"scope", cmp.Or(r.Options.Scope, manifest.RepositoryScope), stringFlag("scope")},
		{"icsp", cmp.Or(r.Options.ICSP, bundle.ICSPNo), stringFlag("icsp")},
	}
}

func stringFlag(name string) func(*cli.Context) (string, error) {
	return func(c *cli.Context) (string, error) { return c.String(name), nil }
}

func mapList(maps []bundle.Mapping) string {
	var all []string
	for _, m := range maps {
		all = append(all, m.Source+"="+m.Dest)
	}
	return list(all)
}

// list words values so that an empty list can be read, too.
func list(values []string) string { return fmt.Sprintf("%v", values) }

// placed is where a command finds its images: as recorded, else as its flags say.
func placed(c *cli.Context, r *record) (bundle.Placement, bundle.ObjectOptions, error) {
	if r != nil {
		return r.options(c)
	}
	p, err := placement(c)
	if err != nil {
		return p, bundle.ObjectOptions{}, err
	}
	o, err := objectOptions(c, p)
	return p, o, err
}
