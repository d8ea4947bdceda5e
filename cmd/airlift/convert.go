package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"airlift/manifest"
)

func convertCommand() *cli.Command {
	return &cli.Command{
		Name:      "convert",
		Usage:     "make mirror sets of the ImageContentSourcePolicies of older clusters",
		ArgsUsage: "icsp FILE…",
		Description: "Does what \"oc adm migrate icsp\" does: writes an ImageDigestMirrorSet for each policy, into a\n" +
			"file named after it. The names are the same each time, and a file that is there with other\n" +
			"contents is not replaced. No cluster and no registry is asked.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "dest-dir", Value: ".", Usage: "write into `DIR`"},
			&cli.BoolFlag{Name: "itms", Usage: "write an ImageTagMirrorSet of the same sources too"},
		},
		Action: convert,
	}
}

// converted is an object, where it came from, and where it is to be.
type converted struct {
	manifest.Converted
	kind, from, path string
}

func convert(c *cli.Context) error {
	if form := c.Args().First(); form != "icsp" {
		return withHint(usagef("what to convert is not given: icsp is all that there is"), "airlift convert icsp FILE…")
	}
	files := c.Args().Tail()
	if len(files) == 0 {
		return usagef("no file is given")
	}
	kinds := []string{manifest.DigestMirrorSet}
	if c.Bool("itms") {
		kinds = append(kinds, manifest.TagMirrorSet)
	}
	var all []converted
	for _, file := range files {
		for _, kind := range kinds {
			some, err := convertFile(file, kind, c.String("dest-dir"))
			if err != nil {
				return err
			}
			all = append(all, some...)
		}
	}
	all, err := distinct(all)
	if err != nil {
		return err
	}
	if err := writeConverted(c.String("dest-dir"), all); err != nil {
		return err
	}
	return printConverted(c.App.Writer, all)
}

func convertFile(file, kind, dir string) ([]converted, error) {
	data, err := readLimited(file, manifest.MaxInput)
	if err != nil {
		return nil, err
	}
	made, err := manifest.ConvertPolicies(data, kind)
	if err != nil {
		return nil, usagef("%s: %w", file, err)
	}
	var all []converted
	for _, one := range made {
		all = append(all, converted{one, kind, file, filepath.Join(dir, strings.ToLower(kind)+"_"+one.Name+".yaml")})
	}
	return all, nil
}

// distinct leaves out what is there twice. Two policies of one name that differ
// are those of two clusters, or of two days: one would replace the other.
func distinct(all []converted) ([]converted, error) {
	seen := map[string]converted{}
	var left []converted
	for _, one := range all {
		first, twice := seen[one.path]
		switch {
		case !twice:
			seen[one.path] = one
			left = append(left, one)
		case !bytes.Equal(first.YAML, one.YAML):
			return nil, withHint(usagef("two policies of the name %s differ, one in %s, one in %s", one.Name, first.from, one.from),
				"give one of them another name; or, where they are of two clusters, convert them by themselves, each into its own --dest-dir")
		}
	}
	return left, nil
}

// writeConverted writes all files, or none if one would replace another.
func writeConverted(dir string, all []converted) error {
	var fresh []converted
	for _, one := range all {
		there, err := os.ReadFile(one.path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			fresh = append(fresh, one)
		case err != nil:
			return err
		case !bytes.Equal(there, one.YAML):
			return withHint(usagef("%s is there already, with other contents", one.path), "--dest-dir DIR names another directory")
		}
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	for _, one := range fresh {
		if err := writeNew(one.path, one.YAML, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// printConverted says what was written, and what to do with it, in order.
func printConverted(w io.Writer, all []converted) error {
	var policies []string
	for _, one := range all {
		fmt.Fprintf(w, "wrote %s to %s\n", one.kind, one.path)
		policies = append(policies, one.Name)
	}
	for _, one := range all {
		effect := "# drains no node: the mirrors are those of the policy"
		if one.kind == manifest.TagMirrorSet {
			effect = "# drains the nodes: tags get mirrors"
		}
		fmt.Fprintf(w, "  oc apply -f %s  %s\n", quote(one.path), effect)
	}
	slices.Sort(policies)
	_, err := fmt.Fprintf(w, "when every pool is updated (oc get machineconfigpool), and not before:\n"+
		"  oc delete imagecontentsourcepolicy %s  # drains no node: the mirrors stay\n", strings.Join(slices.Compact(policies), " "))
	return err
}
