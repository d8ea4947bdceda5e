package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"airlift/bundle"
)

func verifyCommand() *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "check a bundle: signatures, inventory, every byte",
		ArgsUsage: "DIR… | -",
		Description: "Reads only, from one directory or one for each medium, or from stdin. Reports all damage:\n" +
			"volume, offset and length of what is damaged, and the images that need it.",
		Flags: slices.Concat(trustFlags(), []cli.Flag{
			&cli.BoolFlag{Name: "quick", Usage: "check signatures, names and sizes only"},
			&cli.BoolFlag{Name: "sums", Usage: "also hold whole volumes against SHA256SUMS, as sha256sum -c does"},
			formatFlag(), quietFlag(),
		}),
		Action: verifyBundle,
	}
}

func verifyBundle(c *cli.Context) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	stream, err := isStream(c)
	if err != nil {
		return err
	}
	if stream {
		return verifyStream(c, asJSON)
	}
	b, err := openBundle(c, c.Args().Slice())
	if err != nil {
		return err
	}
	findings, err := checkMedia(c, b)
	if err != nil {
		return err
	}
	if asJSON {
		return errors.Join(printFindings(c.App.Writer, b, findings), verdict(findings))
	}
	if len(findings) > 0 {
		return verdict(findings)
	}
	return printVerified(c, b)
}

// verifyStream checks what comes through stdin. What is wrong first ends it.
func verifyStream(c *cli.Context, asJSON bool) error {
	for _, flag := range []string{"quick", "sums"} {
		if c.IsSet(flag) {
			return usagef("--%s makes no sense of a stream: it is read once, and wholly", flag)
		}
	}
	s, err := openStream(c)
	if err != nil {
		return err
	}
	shown := newProgress(c)
	err = s.Check(c.Context, shown.event)
	shown.close()
	var found []bundle.Finding
	if f := (bundle.Finding{}); errors.As(err, &f) {
		found = append(found, f)
	}
	if errors.Is(err, bundle.ErrDamaged) {
		err = withHint(err, "send it again; a stream is checked up to what is wrong first")
	}
	switch {
	case asJSON && (err == nil || len(found) > 0):
		return errors.Join(printFindings(c.App.Writer, s.Bundle, found), err)
	case err != nil:
		return err
	}
	return printVerified(c, s.Bundle)
}

// verdict says what to do about damage: verify itself is where others send to.
func verdict(findings []bundle.Finding) error {
	err := bundle.Verdict(findings)
	if errors.Is(err, bundle.ErrDamaged) {
		return withHint(err, "copy what is named again from where it is whole; or, where the sources can be reached: airlift export --repair DIR")
	}
	return err
}

// checkMedia checks the media that were given, and on a terminal those that are
// asked for until all have been seen. What is wrong with one is no end.
func checkMedia(c *cli.Context, b *bundle.Bundle) ([]bundle.Finding, error) {
	var checks bundle.Checks
	asker := newAsker()
	for next := b; next != nil; {
		failed := checks.Medium(next, func() ([]bundle.Finding, error) { return check(c, next) })
		switch {
		case c.Context.Err() != nil:
			return nil, c.Context.Err()
		case failed != nil && next == b:
			return nil, failed
		case failed != nil:
			printError(os.Stderr, failed)
		}
		absent := checks.Absent()
		if len(absent) == 0 || !canAsk() {
			break
		}
		sayDamage(bundle.Verdict(checks.Findings()))
		next = asker.another(c, "still to come: "+strings.Join(absent, ", "))
	}
	return checks.Findings(), nil
}

func check(c *cli.Context, b *bundle.Bundle) ([]bundle.Finding, error) {
	if c.Bool("quick") {
		return b.Quick()
	}
	shown := newProgress(c)
	defer shown.close()
	return b.Check(c.Context, bundle.CheckOptions{Sums: c.Bool("sums"), Progress: shown.event})
}

func printFindings(w io.Writer, b *bundle.Bundle, findings []bundle.Finding) error {
	if findings == nil {
		findings = []bundle.Finding{}
	}
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	all := map[string]any{"findings": findings}
	if base := b.Inventory.About.Base; len(base) > 0 {
		all["base"] = base // complete given that
	}
	return e.Encode(all)
}

func printVerified(c *cli.Context, b *bundle.Bundle) error {
	what := "every byte is as it should be"
	if c.Bool("quick") {
		what = "signatures, names and sizes are as they should be; contents were not read"
	}
	if words := leftOutWords(b.Inventory); words != "" {
		what += fmt.Sprintf("\ncomplete given the base %s, which has what is left out: %s", bundle.BaseWords(b.Inventory.About.Base), words)
	}
	_, err := fmt.Fprintf(c.App.Writer, "%s\n%s\ncontent %s\n", what, signedBy(b), b.Inventory.ContentID())
	return err
}

// signedBy says whose signatures a bundle has.
func signedBy(b *bundle.Bundle) string {
	signed := "signed by nobody"
	if len(b.Signers) > 0 {
		signed = "signed by " + strings.Join(b.Signers, ", ")
	}
	if len(b.Unchecked) > 0 {
		signed += " (not checked: " + strings.Join(b.Unchecked, ", ") + ")"
	}
	return signed
}
