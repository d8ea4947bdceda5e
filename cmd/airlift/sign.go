package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"airlift/bundle"
)

func signCommand() *cli.Command {
	return &cli.Command{
		Name:      "sign",
		Usage:     "check a bundle, and add a signature",
		ArgsUsage: "DIR…",
		Description: "Checks every byte first, and signs only what is whole: bundle.json, and SHA256SUMS of each\n" +
			"medium, which must have the volumes that it names; others may lie elsewhere. Signatures of\n" +
			"others stay. Media that cannot be written to keep theirs elsewhere: --output here,\n" +
			"--signature in the other commands.",
		Flags: slices.Concat([]cli.Flag{
			&cli.StringFlag{Name: "key", Usage: "sign with the key in `NAME.key`"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write the signatures into `DIR`, not onto the medium (one for each medium)"},
		}, trustFlags(), []cli.Flag{quietFlag()}),
		Action: sign,
	}
}

func sign(c *cli.Context) error {
	if err := required(c, "key"); err != nil {
		return err
	}
	if !c.Args().Present() {
		return usagef("no directory is given")
	}
	trust, err := trust(c)
	if err != nil {
		return err
	}
	key, err := openKey(c.Context, c.String("key"))
	if err != nil {
		return err
	}
	shown := newProgress(c)
	signed, err := bundle.Sign(c.Context, c.Args().Slice(), key, trust, bundle.SignOptions{Output: c.String("output"), Progress: shown.event})
	shown.close()
	if err != nil {
		return signHint(c, err)
	}
	for _, path := range signed.Replaced {
		say(os.Stderr, "%s did not fit, and was replaced", path)
	}
	return printSigned(c, signed)
}

func signHint(c *cli.Context, err error) error {
	switch {
	case errors.Is(err, bundle.ErrDamaged), errors.Is(err, bundle.ErrAbsent):
		return withHint(err, "nothing was signed: what is not whole is not to be vouched for")
	case !c.IsSet("output") && (errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission)):
		return withHint(err, "if the medium cannot be written to, --output DIR puts the signatures elsewhere")
	}
	return err
}

func printSigned(c *cli.Context, s *bundle.Signed) error {
	media := strings.Join(c.Args().Slice(), ", ")
	done := "signed by " + s.ID + " already: nothing to do"
	if len(s.Written) > 0 {
		done = "signed by " + s.ID + ": " + strings.Join(s.Written, ", ")
	}
	ids := s.Vouching()
	vouching := count(len(ids), "trusted signature") + " now: " + strings.Join(ids, ", ")
	if len(s.Unchecked) > 0 {
		vouching += " (not checked: " + strings.Join(s.Unchecked, ", ") + ")"
	}
	_, err := fmt.Fprintf(c.App.Writer, "every byte of %s is as it should be\ncontent %s\n%s\n%s\n",
		printable(media), s.Inventory.ContentID(), printable(done), vouching)
	return err
}
