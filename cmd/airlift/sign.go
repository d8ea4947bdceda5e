package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"airlift/bundle"
	"airlift/verify"
)

func signCommand() *cli.Command {
	return &cli.Command{
		Name:      "sign",
		Usage:     "check a bundle, and add a signature",
		ArgsUsage: "DIR…",
		Description: "Checks every byte first, as verify does, and signs only what is whole: bundle.json and the\n" +
			"SHA256SUMS of each medium. Signatures of others stay. Media that cannot be written to keep\n" +
			"their signatures elsewhere: --output here, --signature in verify and import.",
		Flags: slices.Concat([]cli.Flag{
			&cli.StringFlag{Name: "key", Usage: "sign with the key in `NAME.key`"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write the signatures into `DIR`, not onto the medium"},
		}, trustFlags(), []cli.Flag{quietFlag()}),
		Action: sign,
	}
}

func sign(c *cli.Context) error {
	if err := required(c, "key"); err != nil {
		return err
	}
	key, err := openKey(c.Context, c.String("key"))
	if err != nil {
		return err
	}
	b, err := openBundle(c, c.Args().Slice())
	if err != nil {
		return err
	}
	shown := newProgress(c)
	err = b.Sign(c.Context, key, bundle.SignOptions{Output: c.String("output"), Progress: shown.event})
	shown.close()
	if errors.Is(err, bundle.ErrDamaged) || errors.Is(err, bundle.ErrUnsealed) {
		return withHint(err, "nothing was signed: what is not whole is not to be vouched for")
	}
	if err != nil {
		return err
	}
	return printSigned(c.App.Writer, b, verify.PublicKeyOf(key).ID())
}

func printSigned(w io.Writer, b *bundle.Bundle, id string) error {
	signers := b.Signers
	if !slices.Contains(signers, id) {
		signers = append(signers, id)
	}
	others := ""
	if unchecked := slices.DeleteFunc(slices.Clone(b.Unchecked), func(s string) bool { return s == id }); len(unchecked) > 0 {
		others = " (not checked: " + strings.Join(unchecked, ", ") + ")"
	}
	_, err := fmt.Fprintf(w, "every byte is as it should be\nsigned by %s%s\ncontent %s\n", strings.Join(signers, ", "), others, b.Inventory.ContentID())
	return err
}
