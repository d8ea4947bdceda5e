package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"airlift/bundle"
)

// With --manifests - nothing is written: stdout has what oc apply takes and
// nothing else, so that it can be piped there; what it would have otherwise goes to
// stderr. So a host works that lets nobody write.

// resultsAside gives stdout, and sends results to stderr if stdout is for objects.
func resultsAside(c *cli.Context) io.Writer {
	stdout := c.App.Writer
	if c.String("manifests") == bundle.Printed {
		c.App.Writer = &saidLines{}
	}
	return stdout
}

// printStream prints the objects, if that is wanted.
func printStream(stdout io.Writer, r *bundle.Report, dir string, o *bundle.Objects) error {
	if dir != bundle.Printed {
		return nil
	}
	_, err := stdout.Write(o.Stream())
	return err
}

// explainStream says what to do with what is printed, and what is not.
func explainStream(w io.Writer, o *bundle.Objects) error {
	printChanges(w, o)
	fmt.Fprintf(w, "printed on stdout, for oc apply -f -  %s\n", drains(o.Drains))
	var others []string
	for _, file := range o.Files() {
		switch object := patched[file]; {
		case object != "":
			patch, err := o.Patch(file)
			if err != nil {
				return err
			}
			reasons := map[string][]string{bundle.ImageConfigFile: o.ConfigDrains}[file]
			fmt.Fprintf(w, "  oc patch %s --type=merge --patch %s  %s\n", object, quote(patch), drains(reasons))
		case !strings.HasPrefix(file, "apply/"):
			others = append(others, file)
		}
	}
	_, err := fmt.Fprintf(w, "not printed: %s; --manifests DIR writes them\n", strings.Join(others, ", "))
	return err
}
