package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/opencontainers/go-digest"
	"github.com/urfave/cli/v2"

	"airlift/bundle"
	"airlift/verify"
)

func sinceFlags() []cli.Flag {
	return slices.Concat([]cli.Flag{
		&cli.StringSliceFlag{Name: "since", Usage: "leave out the blobs that the far side has since it imported `BUNDLE`: a bundle.json, a bundle's directory, or the receipt.json of an import (may be repeated)"},
		&cli.StringSliceFlag{Name: "trusted-receipt-key", Usage: "believe the receipt that the key in `NAME.pub` signed (may be repeated)"},
		&cli.StringFlag{Name: "series", Usage: "`NAME` of the series that the bundle is of: import takes the bundles of a series in the order in which they were made; \"\" is the one without a name (default: that of --since, else the one without a name)"},
	}, trustFlags())
}

// readSince reads what the far side has. Of bundles, the key that signs now is
// believed too.
func readSince(c *cli.Context, key *verify.PublicKey) ([]*bundle.Since, error) {
	names := c.StringSlice("since")
	if len(names) == 0 {
		for _, flag := range []string{"trusted-key", "trusted-receipt-key", "allow-unsigned", "require-signatures", "signature"} {
			if c.IsSet(flag) {
				return nil, usagef("--%s needs --since, whose signature it is about", flag)
			}
		}
		return nil, nil
	}
	trust, err := trustGiven(c)
	if err != nil {
		return nil, err
	}
	if key != nil {
		trust.Keys = append(trust.Keys, *key)
	}
	receipts, err := openPublicKeys(c.StringSlice("trusted-receipt-key"))
	if err != nil {
		return nil, err
	}
	var since []*bundle.Since
	for _, name := range names {
		s, err := bundle.OpenSince(name, trust, receipts)
		if err != nil {
			err = fmt.Errorf("--since: %w", err)
			if errors.Is(err, bundle.ErrUnfinished) {
				return nil, withHint(err, "finish that export first, the same command as then goes on with it; or name another bundle with --since")
			}
			return nil, withHint(err, "--trusted-key NAME.pub believes a bundle.json that this key signed, --trusted-receipt-key NAME.pub a receipt; --allow-unsigned takes either if nobody signed it")
		}
		since = append(since, s)
	}
	return since, nil
}

// planned is the time that a bundle is of, in seconds: now, or what
// SOURCE_DATE_EPOCH says, for who wants the same file again.
func planned() (int64, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Now().Unix(), nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, usagef("SOURCE_DATE_EPOCH=%s: must be seconds since 1970", text)
	}
	return n, nil
}

// leftOutWords says of an increment what it leaves out, and what brought that; ""
// of a complete bundle.
func leftOutWords(inv *bundle.Inventory) string {
	n := len(inv.Storage.LeftOut)
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%s, %s", count(n, "blob"), humanize.IBytes(uint64(inv.LeftOut())))
}

// printLeftOut says what an increment builds upon.
func printLeftOut(w io.Writer, inv *bundle.Inventory) {
	if words := leftOutWords(inv); words != "" {
		fmt.Fprintf(w, "left out: %s, of the base %s\n", words, bundle.BaseWords(inv.About.Base))
	}
}

func bundleWords(content, series string, sequence int64) string {
	return bundle.Base{Content: digest.Digest(content), Series: series, Sequence: sequence}.String()
}
