package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"airlift/verify"
)

func keygenCommand() *cli.Command {
	return &cli.Command{
		Name:  "keygen",
		Usage: "make a key pair to sign bundles or receipts with",
		Description: "Writes NAME.key, which signs (airlift export --key, airlift import --receipt-key), and NAME.pub,\n" +
			"which checks (airlift verify, airlift import --trusted-key, airlift export --trusted-receipt-key).\n" +
			"Existing files are never overwritten.\n" +
			"The passphrase is asked for on a terminal, or taken from " + passphraseEnv + ".",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write `NAME`.key and NAME.pub"},
		},
		Action: func(c *cli.Context) error {
			if err := errors.Join(noArguments(c), required(c, "output")); err != nil {
				return err
			}
			return keygen(c.Context, c.App.Writer, c.App.ErrWriter, c.String("output"))
		},
	}
}

func keygen(ctx context.Context, out, notes io.Writer, name string) error {
	if ext := filepath.Ext(name); ext == ".key" || ext == ".pub" {
		return usagef("--output %s: give the name without %s", name, ext)
	}
	secret, public := name+".key", name+".pub"
	if err := errors.Join(absent(secret), absent(public)); err != nil {
		return err
	}
	passphrase, err := choosePassphrase(ctx, os.Stdin, notes)
	if err != nil {
		return err
	}
	key, err := verify.GenerateKey()
	if err != nil {
		return fmt.Errorf("generate key: %w", err)
	}
	data, err := encodeKey(key, passphrase)
	if err != nil {
		return err
	}
	if err := writePair(secret, data, public, verify.PublicKeyOf(key).PEM()); err != nil {
		return err
	}
	if len(passphrase) == 0 {
		say(notes, "%s has no passphrase: whoever can read the file can sign", secret)
	}
	_, err = fmt.Fprintf(out, strings.TrimLeft(`
key id %s
%s signs: keep it secret, where bundles are made (airlift export --key), or receipts (airlift import --receipt-key)
%s checks: carry it to the other side by another way than what it checks (airlift import --trusted-key, airlift export --trusted-receipt-key)
`, "\n"), verify.PublicKeyOf(key).ID(), secret, public)
	return err
}

// absent is an error if there is a file of that name, or a link to nowhere.
func absent(name string) error {
	_, err := os.Lstat(name)
	switch {
	case err == nil:
		return fmt.Errorf("%s exists: keys are never overwritten", name)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	default:
		return err
	}
}

// writePair writes both files or none.
func writePair(secret string, secretData []byte, public string, publicData []byte) error {
	if err := writeNew(secret, secretData, 0o600); err != nil {
		return err
	}
	if err := writeNew(public, publicData, 0o644); err != nil {
		return errors.Join(err, os.Remove(secret))
	}
	return nil
}

// writeNew makes a file that did not exist; on an error there is none.
func writeNew(name string, data []byte, mode fs.FileMode) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}
