package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"airlift/bundle"
	"airlift/manifest"
	"airlift/oci"
)

// What mirror sets say, and what they do to a cluster.

func mirrorSetFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "scope", Usage: "name each `SCOPE` once in the mirror sets: repository, namespace or registry; a wider one only where it changes nothing for other images (--keep-source-host helps; default: as an earlier import chose, else repository)"},
		&optionalFlag{&cli.StringFlag{Name: "icsp", Usage: "for clusters before 4.13: write an ImageContentSourcePolicy instead of the mirror sets; --icsp=also: beside them; --icsp=no: no more, after imports with it"},
			bundle.ICSPOnly, []string{bundle.ICSPAlso, bundle.ICSPNo}},
		&cli.StringSliceFlag{Name: "merge-with", Usage: "the cluster has the mirror sets in `FILE`, from \"oc get idms,itms,imagecontentsourcepolicy -o yaml\": keep what it has of ours, refuse what conflicts with the others, warn of what hides what (may be repeated; before 4.13 there is only the last kind)"},
		&cli.BoolFlag{Name: "prune-sources", Usage: "ask the registry for all that earlier imports brought, and drop the sources of what is gone"},
	}
}

// optionalFlag is one whose value may be left out: it takes none from the next
// word, only from --flag=value.
type optionalFlag struct {
	*cli.StringFlag
	alone  string   // the value that it has by itself
	values []string // that it may have otherwise
}

// String is the flag's line in the help.
func (f *optionalFlag) String() string {
	return fmt.Sprintf("--%s[=%s]\t%s", f.Name, strings.Join(f.values, "|"), f.Usage)
}

// mirrorSetOptions are what the flags say of mirror sets; what they do not say is
// left to earlier imports.
func mirrorSetOptions(c *cli.Context, o *bundle.ObjectOptions) error {
	o.Scope = c.String("scope")
	if scopes := []string{manifest.RepositoryScope, manifest.NamespaceScope, manifest.RegistryScope}; c.IsSet("scope") && !slices.Contains(scopes, o.Scope) {
		return usagef("--scope %s: must be %s, %s or %s", o.Scope, scopes[0], scopes[1], scopes[2])
	}
	if o.ICSP = c.String("icsp"); o.ICSP == "" && c.IsSet("icsp") {
		return usagef("--icsp= has no value: must be --icsp, --icsp=%s or --icsp=%s", bundle.ICSPAlso, bundle.ICSPNo)
	}
	switch o.ICSP {
	case "", bundle.ICSPNo:
		return readOthers(c, o)
	case bundle.ICSPOnly, bundle.ICSPAlso:
	default:
		return usagef("--icsp=%s: must be --icsp, --icsp=%s or --icsp=%s", o.ICSP, bundle.ICSPAlso, bundle.ICSPNo)
	}
	if o.Policy == manifest.NeverContactSource {
		return usagef("%s and --mirror-source-policy %s exclude each other: an ImageContentSourcePolicy always allows to contact the source, and all objects with one source must agree", typed("icsp", o.ICSP), o.Policy)
	}
	return readOthers(c, o)
}

// typed is a flag with its value as it stands on a command line.
func typed(flag, value string) string {
	switch {
	case flag == "icsp" && value == bundle.ICSPOnly:
		return "--icsp"
	case flag == "icsp":
		return "--icsp=" + value
	}
	return "--" + flag + " " + value
}

// sayChosen says which choices nobody made this time.
func sayChosen(w io.Writer, dir string, o bundle.MirrorOptions) {
	var flags []string
	for _, f := range [][2]string{{"mirror-source-policy", o.Policy}, {"scope", o.Scope}, {"icsp", o.ICSP}} {
		if f[1] != "" {
			flags = append(flags, typed(f[0], f[1]))
		}
	}
	if len(flags) > 0 {
		fmt.Fprintf(w, "as an earlier import chose, and %s says: %s\n", filepath.Join(dir, bundle.ReportFile), strings.Join(flags, " "))
	}
}

// readOthers reads the mirror sets of the cluster.
func readOthers(c *cli.Context, o *bundle.ObjectOptions) error {
	for _, name := range c.StringSlice("merge-with") {
		data, err := readLimited(name, manifest.MaxInput)
		if err != nil {
			return ofFlag("merge-with", err)
		}
		sets, err := manifest.ParseMirrorSets(data)
		if err != nil {
			return usagef("--merge-with: %s: %w", name, err)
		}
		if o.Others = append(o.Others, sets...); o.Others == nil {
			o.Others = []manifest.MirrorSet{} // it was said that there are none
		}
	}
	return nil
}

// prune takes out of a report what the registry holds no more, if that is wanted.
// The client is made where there is none.
func prune(c *cli.Context, report *bundle.Report, client *oci.Client) error {
	if !c.Bool("prune-sources") {
		return nil
	}
	if client == nil {
		var err error
		if client, err = newClient(c, nil, nil); err != nil {
			return err
		}
	}
	gone, err := report.Prune(c.Context, client, c.String("manifests"))
	for _, reference := range gone {
		fmt.Fprintf(c.App.Writer, "gone from the registry: %s\n", printable(reference))
	}
	return err
}

// unpruned is an error if what was found to be gone was not taken out.
func unpruned(objects *bundle.Objects) error {
	if !objects.Unpruned {
		return nil
	}
	return withHint(errors.New("--prune-sources: another run wrote its report after the registry had been asked, so nothing was taken out"), "run airlift manifests --prune-sources, with what was given here")
}

// printChanges says what is different from the mirror sets that lay there.
func printChanges(w io.Writer, o *bundle.Objects) {
	for _, file := range slices.Sorted(maps.Keys(o.New)) {
		fmt.Fprintf(w, "%s: new, with %s\n", file, count(o.New[file], "source"))
	}
	for _, file := range slices.Sorted(maps.Keys(o.Changes)) {
		if len(o.Changes[file]) == 0 {
			fmt.Fprintf(w, "%s: as it was\n", file)
		}
		for _, change := range o.Changes[file] {
			fmt.Fprintf(w, "%s: %s %s\n", file, change.What, change.Source)
		}
	}
}

// warnMirrors says what may surprise of mirror sets, but for what was said before.
func warnMirrors(warnings, before []string) {
	for _, warning := range warnings {
		if !slices.Contains(before, warning) {
			say(os.Stderr, "warning: %s", warning)
		}
	}
}

// drains words what a step does to the nodes, as a comment for a shell.
func drains(reasons []string) string {
	switch n := len(reasons); {
	case n == 0:
		return "# drains no node"
	case n > 2:
		return fmt.Sprintf("# drains the nodes: %s, and %s", strings.Join(reasons[:2], ", "), count(n-2, "more reason"))
	}
	return "# drains the nodes: " + strings.Join(reasons, ", ")
}
