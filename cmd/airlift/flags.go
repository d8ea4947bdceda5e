package main

import (
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"airlift/bundle"
	"airlift/oci"
	"airlift/verify"
)

// Flags that several commands share, and what they mean.

func clientFlags() []cli.Flag {
	return append(credentialFlags(),
		&cli.StringSliceFlag{Name: "insecure-registry", Usage: "speak to `HOST[:PORT]` over plain HTTP or with any certificate (may be repeated)"})
}

func credentialFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "authfile", Aliases: []string{"a", "registry-config"}, Usage: "credentials from `FILE`: a pull secret, or what podman login writes (default: where podman looks)"},
		&cli.StringSliceFlag{Name: "ca-file", Usage: "trust the certificate authorities in `FILE` too (PEM; may be repeated)"},
		&cli.StringFlag{Name: "cert-dir", Usage: "take a host's certificates, *.crt to trust and NAME.cert with NAME.key to show, from `DIR`/HOST[:PORT] (default: ~/.config/containers/certs.d, /etc/containers/certs.d, /etc/docker/certs.d)"},
	}
}

func newClient(c *cli.Context, mirrors []oci.SourceMirror, notice func(string)) (*oci.Client, error) {
	certDirs := oci.UsualCertDirs()
	if dir := c.String("cert-dir"); dir != "" {
		var err error
		if certDirs, err = oci.OwnCertDir(dir); err != nil {
			return nil, ofFlag("cert-dir", err)
		}
	}
	return oci.NewClient(oci.Options{
		Authfile: c.String("authfile"), CAFiles: c.StringSlice("ca-file"), CertDirs: certDirs,
		Insecure: c.StringSlice("insecure-registry"), Mirrors: mirrors, Notice: notice,
	})
}

func trustFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "trusted-key", Usage: "believe what the key in `NAME.pub` signed (may be repeated)"},
		&cli.IntFlag{Name: "require-signatures", Value: 1, Usage: "believe it only if `N` of the trusted keys signed"},
		&cli.StringSliceFlag{Name: "signature", Usage: "look for signatures in `DIR` too, or in one FILE.sig, beside those on the media (may be repeated)"},
		&cli.BoolFlag{Name: "allow-unsigned", Usage: "take a bundle that nobody signed"},
	}
}

// trust is what the trust flags say; they must say whom to believe.
func trust(c *cli.Context) (bundle.Trust, error) {
	t, err := trustGiven(c)
	if err == nil && len(t.Keys) == 0 && !t.AllowUnsigned {
		err = usagef("--trusted-key is not given (--allow-unsigned takes a bundle that nobody signed)")
	}
	return t, err
}

// trustGiven is what the trust flags say, if anything.
func trustGiven(c *cli.Context) (bundle.Trust, error) {
	keys, err := openPublicKeys(c.StringSlice("trusted-key"))
	if err != nil {
		return bundle.Trust{}, err
	}
	n := c.Int("require-signatures")
	if distinct := countKeys(keys); n < 1 || n > max(distinct, 1) {
		return bundle.Trust{}, usagef("--require-signatures %d: must be 1 to the number of trusted keys, %d", n, distinct)
	}
	return bundle.Trust{Keys: keys, Required: n, Signatures: c.StringSlice("signature"), AllowUnsigned: c.Bool("allow-unsigned")}, nil
}

// countKeys counts distinct keys.
func countKeys(keys []verify.PublicKey) int {
	ids := map[string]bool{}
	for _, k := range keys {
		ids[k.ID()] = true
	}
	return len(ids)
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
	return append([]cli.Flag{
		&cli.StringFlag{Name: "to", Usage: "the local registry, `HOST[:PORT][/PREFIX]`"},
		&cli.StringFlag{Name: "cluster-registry", Usage: "the same place as nodes name it, `HOST[:PORT][/PREFIX]` (default: --to)"},
		&cli.StringSliceFlag{Name: "mirror", Usage: "a further `HOST[:PORT][/PREFIX]` that holds the same, listed behind it for each source (may be repeated)"},
	}, pathFlags()...)
}

// pathFlags say where images lie in a registry.
func pathFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "keep-source-host", Usage: "make the source's host the first element of the path"},
		&cli.StringSliceFlag{Name: "map", Usage: "put `SOURCE=DEST`: a registry, namespace or repository at a path of its own (may be repeated; the longest source wins)"},
		&cli.IntFlag{Name: "max-nested-paths", Usage: "for a registry that takes paths of at most `N` components, PREFIX included: join those that are too many with -- (default: as deep as the source)"},
	}
}

func objectFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "manifests", Value: "airlift-manifests", Usage: "write the objects for the cluster under `DIR`; with - print on stdout what oc apply takes, and write nothing"},
		&cli.StringFlag{Name: "name", Usage: "`NAME` of the mirror sets (default: airlift-HOST)"},
		&cli.StringFlag{Name: "mirror-source-policy", Usage: "`POLICY` of the mirror sets: NeverContactSource, which cuts off what lies below a source and was not carried too, or AllowContactingSource (default: as an earlier import chose, else the field is absent)"},
	}, mirrorSetFlags()...)
}

func placement(c *cli.Context) (bundle.Placement, error) {
	p := bundle.Placement{KeepSourceHost: c.Bool("keep-source-host"), MaxNestedPaths: c.Int("max-nested-paths")}
	err := required(c, "to")
	if err == nil {
		p.To, err = bundle.ParseLocation(c.String("to"))
		err = ofFlag("to", err)
	}
	if err != nil {
		return p, err
	}
	if p.Cluster, err = clusterLocation(c); err != nil {
		return p, err
	}
	for _, s := range c.StringSlice("mirror") {
		mirror, err := bundle.ParseClusterLocation(s)
		if err != nil {
			return p, ofFlag("mirror", err)
		}
		p.Mirrors = append(p.Mirrors, mirror)
	}
	if p.Maps, err = parseMaps(c, p.To); err != nil {
		return p, ofFlag("map", err)
	}
	return p, ofFlag("max-nested-paths", p.CheckNesting())
}

func parseMaps(c *cli.Context, to bundle.Location) ([]bundle.Mapping, error) {
	var maps []bundle.Mapping
	for _, s := range c.StringSlice("map") {
		mapping, err := bundle.ParseMapping(s, to)
		if err != nil {
			return nil, err
		}
		maps = append(maps, mapping)
	}
	return maps, nil
}

// clusterHint helps where the name of the registry is no use to a cluster.
const clusterHint = "--cluster-registry HOST[:PORT][/PREFIX] gives the name that nodes know the registry by"

// clusterLocation is the registry as the cluster names it.
func clusterLocation(c *cli.Context) (bundle.Location, error) {
	flag := "cluster-registry"
	if c.String(flag) == "" {
		flag = "to"
	}
	l, err := bundle.ParseClusterLocation(c.String(flag))
	if err != nil {
		err = withHint(ofFlag(flag, err), clusterHint)
	}
	return l, err
}

// ofFlag says whose value an error is about.
func ofFlag(name string, err error) error {
	if err != nil {
		err = fmt.Errorf("--%s: %w", name, err)
	}
	return err
}

func objectOptions(c *cli.Context, p bundle.Placement) (bundle.ObjectOptions, error) {
	policy := c.String("mirror-source-policy")
	if !slices.Contains([]string{"", "NeverContactSource", "AllowContactingSource"}, policy) {
		return bundle.ObjectOptions{}, usagef("--mirror-source-policy %s: must be NeverContactSource or AllowContactingSource", policy)
	}
	o := bundle.NewObjectOptions(p, c.String("name"), policy)
	if err := mirrorSetOptions(c, &o); err != nil {
		return o, err
	}
	var err error
	o.Config, err = clusterConfig(c, p)
	return o, err
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
