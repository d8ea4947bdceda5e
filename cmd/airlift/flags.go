package main

import (
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"airlift/bundle"
	"airlift/oci"
)

// Flags that several commands share, and what they mean.

func clientFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "authfile", Aliases: []string{"a", "registry-config"}, Usage: "credentials from `FILE`: a pull secret, or what podman login writes (default: where podman looks)"},
		&cli.StringSliceFlag{Name: "ca-file", Usage: "trust the certificate authorities in `FILE` too (PEM; may be repeated)"},
		&cli.StringSliceFlag{Name: "insecure-registry", Usage: "speak to `HOST[:PORT]` over plain HTTP or with any certificate (may be repeated)"},
	}
}

func newClient(c *cli.Context, mirrors []oci.SourceMirror) (*oci.Client, error) {
	return oci.NewClient(oci.Options{
		Authfile: c.String("authfile"), CAFiles: c.StringSlice("ca-file"),
		Insecure: c.StringSlice("insecure-registry"), Mirrors: mirrors,
	})
}

func trustFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "trusted-key", Usage: "believe what the key in `NAME.pub` signed (may be repeated)"},
		&cli.BoolFlag{Name: "allow-unsigned", Usage: "take a bundle that nobody signed"},
	}
}

func trust(c *cli.Context) (bundle.Trust, error) {
	keys, err := openPublicKeys(c.StringSlice("trusted-key"))
	if err == nil && len(keys) == 0 && !c.Bool("allow-unsigned") {
		err = usagef("--trusted-key is not given (--allow-unsigned takes a bundle that nobody signed)")
	}
	return bundle.Trust{Keys: keys, AllowUnsigned: c.Bool("allow-unsigned")}, err
}

// openBundle opens a bundle with the keys that a command was given.
func openBundle(c *cli.Context, dirs []string) (*bundle.Bundle, error) {
	if len(dirs) == 0 {
		return nil, usagef("no directory is given")
	}
	trust, err := trust(c)
	if err != nil {
		return nil, err
	}
	return bundle.Open(dirs, trust)
}

func placementFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "to", Usage: "the local registry, `HOST[:PORT][/PREFIX]`"},
		&cli.StringFlag{Name: "cluster-registry", Usage: "the same place as nodes name it, `HOST[:PORT][/PREFIX]` (default: --to)"},
		&cli.StringSliceFlag{Name: "mirror", Usage: "a further `HOST[:PORT][/PREFIX]` that holds the same, listed behind it for each source (may be repeated)"},
		&cli.BoolFlag{Name: "keep-source-host", Usage: "make the source's host the first element of the path"},
		&cli.StringSliceFlag{Name: "map", Usage: "put `SOURCE=DEST`: a registry, namespace or repository at a path below --to (may be repeated; the longest source wins)"},
	}
}

func objectFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "manifests", Value: "airlift-manifests", Usage: "write the objects for the cluster under `DIR`"},
		&cli.StringFlag{Name: "name", Usage: "`NAME` of the mirror sets (default: airlift-HOST)"},
		&cli.StringFlag{Name: "mirror-source-policy", Usage: "`POLICY` of the mirror sets: NeverContactSource or AllowContactingSource (default: the field is absent)"},
	}
}

func placement(c *cli.Context) (bundle.Placement, error) {
	var p bundle.Placement
	if err := required(c, "to"); err != nil {
		return p, err
	}
	to, err := bundle.ParseLocation(c.String("to"))
	if err != nil {
		return p, fmt.Errorf("--to: %w", err)
	}
	p = bundle.Placement{To: to, Cluster: to, KeepSourceHost: c.Bool("keep-source-host")}
	if name := c.String("cluster-registry"); name != "" {
		if p.Cluster, err = bundle.ParseClusterLocation(name); err != nil {
			return p, fmt.Errorf("--cluster-registry: %w", err)
		}
	}
	for _, s := range c.StringSlice("mirror") {
		mirror, err := bundle.ParseClusterLocation(s)
		if err != nil {
			return p, fmt.Errorf("--mirror: %w", err)
		}
		p.Mirrors = append(p.Mirrors, mirror)
	}
	for _, s := range c.StringSlice("map") {
		mapping, err := bundle.ParseMapping(s, to)
		if err != nil {
			return p, fmt.Errorf("--map: %w", err)
		}
		p.Maps = append(p.Maps, mapping)
	}
	return p, nil
}

func objectOptions(c *cli.Context, p bundle.Placement) (bundle.ObjectOptions, error) {
	policy := c.String("mirror-source-policy")
	if !slices.Contains([]string{"", "NeverContactSource", "AllowContactingSource"}, policy) {
		return bundle.ObjectOptions{}, usagef("--mirror-source-policy %s: must be NeverContactSource or AllowContactingSource", policy)
	}
	return bundle.NewObjectOptions(p, c.String("name"), policy), nil
}

func formatFlag() cli.Flag {
	return &cli.StringFlag{Name: "format", Value: "text", Usage: "print as text or json"}
}

func wantsJSON(c *cli.Context) (bool, error) {
	switch format := c.String("format"); format {
	case "text", "json":
		return format == "json", nil
	default:
		return false, usagef("--format %s: must be text or json", format)
	}
}
