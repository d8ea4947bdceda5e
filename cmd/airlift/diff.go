package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"airlift/bundle"
)

func diffCommand() *cli.Command {
	return &cli.Command{
		Name:      "diff",
		Usage:     "say what is new in one bundle and gone since another, and how many bytes",
		ArgsUsage: "A B",
		Description: "A and B are bundles in their directories, or each a bundle.json alone. What an increment\n" +
			"leaves out counts as its own. Without --trusted-key nothing is checked, and the output\n" +
			"says so. It ends with 0 whether they differ or not.",
		Flags:  slices.Concat(trustFlags(), []cli.Flag{formatFlag()}),
		Action: diff,
	}
}

// difference is what diff prints as JSON.
type difference struct {
	A compared `json:"a"`
	B compared `json:"b"`
	bundle.Diff
}

// compared is one of the two bundles.
type compared struct {
	Content  string   `json:"content"`
	Series   string   `json:"series,omitempty"`
	Sequence int64    `json:"sequence"`
	Verified bool     `json:"verified"`
	Signers  []string `json:"signers"`
}

func diff(c *cli.Context) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	if c.Args().Len() != 2 {
		return usagef("two bundles are compared: name a directory or a bundle.json for each")
	}
	trust, err := trustToLook(c)
	if err != nil {
		return err
	}
	var sides [2]compared
	var invs [2]*bundle.Inventory
	for i, name := range c.Args().Slice() {
		inv, signers, err := bundle.OpenInventory(name, trust)
		if err != nil {
			return err
		}
		invs[i] = inv
		sides[i] = compared{string(inv.ContentID()), inv.About.Series, inv.About.Sequence, len(signers) > 0, append([]string{}, signers...)}
	}
	d := difference{sides[0], sides[1], bundle.Compare(invs[0], invs[1])}
	if asJSON {
		e := json.NewEncoder(c.App.Writer)
		e.SetEscapeHTML(false)
		e.SetIndent("", " ")
		return e.Encode(d)
	}
	return d.print(c.App.Writer)
}

func (d difference) print(w io.Writer) error {
	fmt.Fprintf(w, "A %s\nB %s\n", d.A.line(), d.B.line())
	for _, kind := range []struct {
		name string
		bundle.Changes
	}{{"release", d.Releases}, {"imagestream", d.Streams}, {"image", d.Images}} {
		printNames(w, "new", kind.name, kind.New)
		printNames(w, "gone", kind.name, kind.Gone)
		printNames(w, "changed", kind.name, kind.Changed)
	}
	printAmounts(w, "manifest", d.Nodes)
	return printAmounts(w, "blob", d.Blobs)
}

func (s compared) line() string {
	trust := "NOT VERIFIED"
	if s.Verified {
		trust = "signed by " + strings.Join(s.Signers, ", ")
	}
	return fmt.Sprintf("%s, %s", bundleWords(s.Content, s.Series, s.Sequence), trust)
}

func printNames(w io.Writer, change, kind string, names []string) {
	for _, name := range names {
		fmt.Fprintf(w, "%s %s %s\n", change, kind, printable(name))
	}
}

func printAmounts(w io.Writer, what string, a bundle.Amounts) error {
	words := func(n bundle.Amount) string {
		return fmt.Sprintf("%s (%s)", count(n.Count, what), humanize.IBytes(uint64(n.Bytes)))
	}
	_, err := fmt.Fprintf(w, "%s new, %s gone, %s in both\n", words(a.New), words(a.Gone), words(a.Same))
	return err
}
