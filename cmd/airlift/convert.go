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
		Description: "Does what \"oc adm migrate icsp\" does: writes an ImageDigestMirrorSet for each policy, those of a\n" +
			"file into one, named after its first. The names are the same each time, and a file that is there\n" +
			"with other contents is not replaced. No cluster and no registry is asked.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "dest-dir", Value: ".", Usage: "write into `DIR`"},
			&cli.BoolFlag{Name: "itms", Usage: "write an ImageTagMirrorSet of the same sources too"},
		},
		Action: convert,
	}
}

// converted is one file to be written.
type converted struct {
	path, kind string
	names      []string // of the objects in it
	text       []byte
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
			one, err := convertFile(file, kind, c.String("dest-dir"))
			if err != nil {
				return err
			}
			all = append(all, one)
		}
	}
	if err := writeConverted(c.String("dest-dir"), all); err != nil {
		return err
	}
	return printConverted(c.App.Writer, all)
}

func convertFile(file, kind, dir string) (converted, error) {
	data, err := readLimited(file)
	if err != nil {
		return converted{}, err
	}
	names, text, err := manifest.ConvertPolicies(data, kind)
	if err != nil {
		return converted{}, usagef("%s: %w", file, err)
	}
	path := filepath.Join(dir, strings.ToLower(kind)+"_"+names[0]+".yaml")
	return converted{path, kind, names, text}, nil
}

// writeConverted writes all files, or none if one would replace another.
func writeConverted(dir string, all []converted) error {
	fresh := map[string][]byte{}
	for _, one := range all {
		there, err := os.ReadFile(one.path)
		other, twice := fresh[one.path]
		switch {
		case twice && !bytes.Equal(other, one.text):
			return usagef("two files would be %s, with other contents: their first objects have one name", one.path)
		case twice, err == nil && bytes.Equal(there, one.text):
			continue
		case err == nil:
			return withHint(usagef("%s is there already, with other contents", one.path), "--dest-dir DIR names another directory")
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
		fresh[one.path] = one.text
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	for path, text := range fresh {
		if err := writeNew(path, text, 0o644); err != nil {
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
		policies = append(policies, one.names...)
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
