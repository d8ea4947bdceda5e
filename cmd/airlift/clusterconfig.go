package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"airlift/bundle"
	"airlift/manifest"
	"airlift/oci"
)

// The flags for the rest of a cluster's configuration: certificates, the lists
// of registries, and what nodes log in with.

func clusterFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "registry-ca", Usage: "have the cluster trust the certificate authorities in `FILE` (PEM) for the registry"},
		&cli.BoolFlag{Name: "allowed-registries", Usage: "list the registry, all sources and what else is needed as the only registries that the cluster may pull from"},
		&cli.StringFlag{Name: "image-config", Usage: "add to `FILE`, what \"oc get image.config.openshift.io/cluster -o yaml\" prints"},
		&cli.StringFlag{Name: "ca-configmap", Usage: "add to `FILE`, the ConfigMap in openshift-config that the cluster's additionalTrustedCA names, as -o yaml prints it"},
		&cli.StringFlag{Name: "pull-secret", Usage: "write a copy of the pull secret in `FILE` with an account for the registry"},
		&cli.StringFlag{Name: "mirror-auth", Usage: "the account that --pull-secret gets, one that may only pull: an auth.json `FILE`, or one with the line USER:PASSWORD"},
	}
}

// reuseFlag is for commands that push.
func reuseFlag() cli.Flag {
	return &cli.BoolFlag{Name: "reuse-push-credentials", Usage: "let nodes pull with the account that pushes"}
}

// clusterConfig reads what the flags name.
func clusterConfig(c *cli.Context, p bundle.Placement) (bundle.ClusterConfig, error) {
	o := bundle.ClusterConfig{
		Allowed:  c.Bool("allowed-registries"),
		Insecure: slices.Contains(c.StringSlice("insecure-registry"), p.Cluster.Host),
	}
	err := errors.Join(
		readFlag(c, "registry-ca", func(data []byte) error {
			ca, err := manifest.Certificates(data)
			o.RegistryCA = string(ca)
			return err
		}),
		readFlag(c, "image-config", func(data []byte) error {
			held, err := manifest.ParseImageConfig(data)
			o.ImageConfig = &held
			return err
		}),
		readFlag(c, "ca-configmap", func(data []byte) error {
			held, err := manifest.ParseConfigMap(data)
			o.CAConfigMap = &held
			return err
		}),
	)
	if err == nil && o.CAConfigMap != nil && o.RegistryCA == "" {
		err = usagef("--ca-configmap is of use only with --registry-ca")
	}
	return o, err
}

// readFlag reads the file that a flag names, if it was given. What is wrong with
// it is a usage error that says so of the file.
func readFlag(c *cli.Context, flag string, parse func([]byte) error) error {
	name := c.String(flag)
	if name == "" {
		return nil
	}
	data, err := readLimited(name, manifest.MaxInput)
	if err != nil {
		return ofFlag(flag, err)
	}
	if err := parse(data); err != nil {
		return usagef("--%s: %s: %w", flag, name, err)
	}
	return nil
}

// configHint says what to give where a cluster's own configuration is lacking.
func configHint(err error) error {
	if err != nil && strings.Contains(err.Error(), "which would lose them") {
		return withHint(err, "oc get configmap NAME -n openshift-config -o yaml >FILE, and give it with --ca-configmap FILE")
	}
	return err
}

// warnReplaced says which lists of a cluster a patch would replace.
func warnReplaced(o bundle.ClusterConfig) {
	if fields := o.Replaces(); len(fields) > 0 {
		say(os.Stderr, "warning: %s replaces what the cluster has as %s", bundle.ImageConfigFile, strings.Join(fields, ", "))
		say(os.Stderr, "hint: give what \"oc get image.config.openshift.io/cluster -o yaml\" prints with --image-config FILE, to add to it instead")
	}
}

// nodeSecret is the pull secret that nodes are to have; nil without --pull-secret.
// client is the one that pushes, or nil.
func nodeSecret(c *cli.Context, p bundle.Placement, client *oci.Client) ([]byte, error) {
	switch secret, auth, reuse := c.IsSet("pull-secret"), c.IsSet("mirror-auth"), c.Bool("reuse-push-credentials"); {
	case !secret && (auth || reuse):
		return nil, usagef("--mirror-auth and --reuse-push-credentials say what to add to the file of --pull-secret, which is not given")
	case !secret:
		return nil, nil
	case c.String("manifests") == bundle.Printed:
		return nil, usagef("--pull-secret with --manifests -: a secret is written for its owner alone, and never printed")
	case auth && reuse:
		return nil, usagef("--mirror-auth and --reuse-push-credentials exclude each other")
	case !auth && !reuse:
		return nil, usagef("--pull-secret needs --mirror-auth FILE: an account for the registry that may only pull")
	}
	var held manifest.PullSecret
	err := readFlag(c, "pull-secret", func(data []byte) (err error) {
		held, err = manifest.ParsePullSecret(data)
		return err
	})
	if err != nil {
		return nil, err
	}
	account, err := nodeAccount(c, p, client)
	if err != nil {
		return nil, err
	}
	replaced, below := held.Entries(p.Cluster.String())
	for _, name := range replaced {
		say(os.Stderr, "the account for %s in %s is replaced in the copy", printable(name), c.String("pull-secret"))
	}
	if len(below) > 0 {
		say(os.Stderr, "warning: for %s nodes go on with the accounts that %s has", printable(strings.Join(below, ", ")), c.String("pull-secret"))
	}
	return held.With(p.Cluster.String(), account)
}

// nodeAccount is the account that nodes get.
func nodeAccount(c *cli.Context, p bundle.Placement, client *oci.Client) (account manifest.Account, err error) {
	pushing, known, err := pushAccount(p, client)
	if err != nil {
		return account, err
	}
	if c.Bool("reuse-push-credentials") {
		if !known {
			return account, usagef("--reuse-push-credentials: there are no credentials for %s", p.To)
		}
		say(os.Stderr, "warning: every node gets the account that pushes: whoever reads the pull secret of a cluster may change the registry")
		return pushing, nil
	}
	err = readFlag(c, "mirror-auth", func(data []byte) (err error) {
		account, err = manifest.ParseAccount(data, p.Cluster.String(), p.Cluster.Host, p.To.String(), p.To.Host)
		return err
	})
	if err == nil && known && account == pushing {
		err = withHint(usagef("--mirror-auth: it is the account that pushes"),
			"give one that may only pull; or, if nodes are to push: --reuse-push-credentials instead of --mirror-auth")
	}
	return account, err
}

// pushAccount is what the client would push with, if it has a user and password.
func pushAccount(p bundle.Placement, client *oci.Client) (manifest.Account, bool, error) {
	if client == nil {
		return manifest.Account{}, false, nil
	}
	user, password, err := client.Account(oci.Reference{Registry: p.To.Host, Repository: p.To.Path})
	return manifest.NewAccount(user, password), user != "", err
}

// printSecret says what to do with a pull secret that was written. It comes before
// the objects: nodes need it when they are sent to the registry.
func printSecret(w io.Writer, dir string, files []string) error {
	if files == nil {
		return nil
	}
	fmt.Fprintf(w, "written for you alone: %s\n", strings.Join(files, ", "))
	fmt.Fprintf(w, "  oc set data secret/pull-secret -n openshift-config --from-file=.dockerconfigjson=%s  %s\n", quote(filepath.Join(dir, bundle.PullSecretFile)), drains(nil))
	_, err := fmt.Fprintf(w, "for a new cluster, add %s to its install-config.yaml in place of its pullSecret\n", filepath.Join(dir, bundle.SecretInstallFile))
	return err
}

// writeSecret writes the pull secret for nodes, if there is one, and says what to
// do with it.
func writeSecret(w io.Writer, dir string, secret []byte) error {
	if secret == nil {
		return nil
	}
	files, err := bundle.WritePullSecret(dir, secret)
	return errors.Join(err, printSecret(w, dir, files))
}
