package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/opencontainers/go-digest"
	"github.com/urfave/cli/v2"

	"airlift/bundle"
	"airlift/manifest"
	"airlift/oci"
)

func checkCommand() *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "ask the registry for all that a cluster would pull, as the cluster would",
		ArgsUsage: "DIR…|bundle.json",
		Description: "Reads the objects under --manifests as a cluster gets them, finds every image of the bundle\n" +
			"as nodes, the importer of imagestreams and the samples operator would, and asks the registry\n" +
			"for it: with the pull secret that nodes will have, trusting the certificates that they will\n" +
			"trust. No other host is asked. Ends with exit code 3 if a cluster could not pull everything.",
		Flags: slices.Concat(trustFlags(), []cli.Flag{
			&cli.StringFlag{Name: "to", Usage: "the local registry, `HOST[:PORT][/PREFIX]`, as this host reaches it (default: as recorded)"},
			&cli.StringFlag{Name: "cluster-registry", Usage: "the same place as nodes name it, `HOST[:PORT][/PREFIX]` (default: as recorded, else --to)"},
			&cli.StringFlag{Name: "manifests", Value: "airlift-manifests", Usage: "the objects for the cluster lie under `DIR`"},
			reportFlag(),
			&cli.StringFlag{Name: "mirror-sets", Usage: "take the cluster's mirror sets from `FILE`, what \"oc get idms,itms,imagecontentsourcepolicy -o yaml\" prints, instead of those under --manifests"},
			&cli.StringFlag{Name: "image-config", Usage: "the cluster has the image configuration in `FILE`, what \"oc get image.config.openshift.io/cluster -o yaml\" prints; the patch under --manifests goes on top (default: as recorded)"},
			&cli.StringFlag{Name: "registry-ca", Usage: "trust the certificate authorities in `FILE`, beside the system's (default: those of the ConfigMap under --manifests)"},
			&cli.StringFlag{Name: "pull-secret", Usage: "the pull secret of the nodes, `FILE` (default: the one under --manifests, else what --authfile says)"},
			&cli.StringFlag{Name: "authfile", Aliases: []string{"a", "registry-config"}, Usage: "without a pull secret: credentials from `FILE` (default: where podman looks)"},
			&cli.StringSliceFlag{Name: "insecure-registry", Usage: "speak to `HOST[:PORT]` over plain HTTP or with any certificate (may be repeated; the image configuration under --manifests counts too)"},
			&cli.BoolFlag{Name: "full", Usage: "read and hash every blob, instead of asking whether it is there"},
			formatFlag(), quietFlag(),
		}),
		Action: checkCluster,
	}
}

func checkCluster(c *cli.Context) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	b, err := openBundle(c, bundleDirs(c))
	if err != nil {
		return err
	}
	r, err := findRecord(c)
	if err != nil {
		return err
	}
	k := pullCheck{bundle: b, full: c.Bool("full"), secret: c.String("pull-secret")}
	var config bundle.ClusterConfig
	if r != nil {
		var o bundle.ObjectOptions
		k.digests = map[string]digest.Digest{}
		for _, h := range r.Held {
			k.digests[h.Reference] = h.Digest
		}
		k.placement, o, err = r.options(c)
		config, k.arch = o.Config, o.SamplesArch
	} else if k.placement, err = placement(c); err == nil {
		config, err = clusterConfig(c, k.placement)
	}
	if err != nil {
		return err
	}
	k.stated.Image = config.ImageConfig
	err = readFlag(c, "registry-ca", func(data []byte) (err error) {
		k.ca, err = manifest.Certificates(data)
		return err
	})
	if err != nil {
		return err
	}
	if name := c.String("mirror-sets"); name != "" {
		if k.stated.MirrorSets, err = readLimited(name, manifest.MaxInput); err != nil {
			return ofFlag("mirror-sets", err)
		}
	}
	found, err := k.run(c)
	if err != nil {
		return err
	}
	if asJSON {
		err = found.printJSON(c.App.Writer)
	} else {
		err = found.print(c.App.Writer)
	}
	return errors.Join(err, found.verdict())
}

// pullCheck is a check of what a cluster could pull.
type pullCheck struct {
	bundle    *bundle.Bundle
	placement bundle.Placement
	held      func(reference string) bool // nil for all that the bundle has
	digests   map[string]digest.Digest    // what references lead to in the registry, as far as an import said; nil: nobody did
	full      bool
	asked     bool            // an import has just asked for what manifests need
	stated    bundle.Stated   // by the cluster
	arch      string          // of the cluster, as far as an import was told
	objects   *bundle.Objects // that were printed instead of written
	secret    string          // file of the nodes' pull secret; "" for the one under --manifests
	ca        []byte          // PEM; nil for the ConfigMap under --manifests
	caFiles   []string        // where there is no ConfigMap either
}

// run asks the registry.
func (k pullCheck) run(c *cli.Context) (*pullable, error) {
	dir, p := c.String("manifests"), k.placement
	cluster, err := k.cluster(dir)
	if err != nil {
		return nil, err
	}
	found := &pullable{To: p.To.String(), Cluster: p.Cluster.String(), Credentials: pushCredentials}
	if k.secret == "" {
		k.secret = laid(filepath.Join(dir, bundle.PullSecretFile))
	}
	o := oci.Options{Authfile: c.String("authfile"), Insecure: c.StringSlice("insecure-registry")}
	if k.secret != "" {
		found.Credentials = k.secret
		o.Authfile, o.KnownAs = k.secret, p.Known
	}
	if slices.ContainsFunc(cluster.Image.Insecure, func(entry string) bool { return manifest.Covers(entry, p.Cluster.String()) }) {
		o.Insecure = append(o.Insecure, p.To.Host)
	}
	switch {
	case k.ca != nil:
		o.CAs = k.ca
	case cluster.CA != nil:
		o.CAs = cluster.CA
	default:
		o.CAFiles = k.caFiles
	}
	shown := newProgress(c)
	defer shown.close()
	o.Notice = shown.tell
	client, err := oci.NewClient(o)
	if err != nil {
		return nil, err
	}
	pulls := cluster.Pulls(k.standing(c, client).OfArchitecture(k.arch), k.held)
	warnImporter(pulls, p, o.Insecure)
	found.Results, err = k.bundle.CheckPulls(c.Context, client, pulls, bundle.PullOptions{
		Placement: p, Full: k.full, Brief: k.asked, Progress: shown.event,
	})
	return found, err
}

// standing is the content of the bundle as the registry has it.
func (k pullCheck) standing(c *cli.Context, client *oci.Client) *bundle.Content {
	content := &k.bundle.Inventory.Content
	if k.digests != nil {
		return content.Standing(k.digests)
	}
	as := content.Standing(k.bundle.Tags(c.Context, client, k.placement))
	for i, image := range as.Images {
		if image.Digest != content.Images[i].Digest {
			say(os.Stderr, "%s leads to one image of its sparse list, %s: without the report.json of the import nobody knows whether that is the one for the cluster's platform", image.Reference, image.Digest)
		}
	}
	return as
}

// cluster is the cluster that gets the objects.
func (k pullCheck) cluster(dir string) (*bundle.Cluster, error) {
	if dir == bundle.Printed && k.objects != nil {
		return k.objects.Cluster(k.placement.Cluster.Host, k.stated)
	}
	return bundle.ReadCluster(dir, k.placement.Cluster.Host, k.stated)
}

// laid is a file's name, if it is there.
func laid(name string) string {
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return name
}

// warnImporter: the lists of a cluster mean nothing to the importer, which asks
// each tag.
func warnImporter(pulls []bundle.Pull, p bundle.Placement, insecure []string) {
	streams := slices.ContainsFunc(pulls, func(p bundle.Pull) bool { return p.Way != bundle.ByNode })
	if streams && slices.Contains(insecure, p.Cluster.Host) {
		say(os.Stderr, "warning: %s is insecure: imagestreams are imported from there only if their tags say importPolicy.insecure, and samples do not", p.Cluster.Host)
	}
}

const pushCredentials = "push credentials"

// pullable is what a check found.
type pullable struct {
	To          string              `json:"registry"`
	Cluster     string              `json:"clusterRegistry"`
	Credentials string              `json:"credentials"` // the file of the pull secret, or pushCredentials
	References  int                 `json:"references"`
	Pullable    int                 `json:"pullable"`
	Results     []bundle.PullResult `json:"pulls"`
}

// verdict is the error of what cannot be pulled.
func (f *pullable) verdict() error {
	err := bundle.PullVerdict(f.Results)
	if slices.ContainsFunc(f.Results, func(r bundle.PullResult) bool { return strings.Contains(r.Reason, unknownAuthority) }) {
		return withHint(err, "give the authority that nodes are to trust with --registry-ca FILE: they look neither at our certs.d nor at --cert-dir")
	}
	if slices.ContainsFunc(f.Results, func(r bundle.PullResult) bool { return r.Spoilt }) {
		return withHint(err, spoiltHint+"airlift import --force brings them, of a bundle that has them and not of an increment that leaves them out")
	}
	if slices.ContainsFunc(f.Results, func(r bundle.PullResult) bool { return r.Lost }) {
		return withHint(err, "airlift import --force asks for every blob and brings those that are lost")
	}
	return err
}

func (f *pullable) printJSON(w io.Writer) error {
	f.References, f.Pullable = len(f.Results), f.count("")
	if f.Results == nil {
		f.Results = []bundle.PullResult{}
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	return e.Encode(f)
}

// count counts what can be pulled in a way; in any, if that is "".
func (f *pullable) count(way string) int {
	n := 0
	for _, r := range f.Results {
		if r.OK && (way == "" || r.Way == way) {
			n++
		}
	}
	return n
}

// print lists what cannot be pulled, and counts the rest.
func (f *pullable) print(w io.Writer) error {
	f.printLost(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "WAY\tREFERENCES\tPULLABLE\n")
	for _, way := range []string{bundle.ByNode, bundle.ByImporter, bundle.BySamples} {
		all := 0
		for _, r := range f.Results {
			if r.Way == way {
				all++
			}
		}
		if all > 0 {
			fmt.Fprintf(t, "%s\t%d\t%d\n", way, all, f.count(way))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "checked with %s\n", printable(f.credentials()))
	return err
}

func (f *pullable) credentials() string {
	if f.Credentials == pushCredentials {
		return pushCredentials
	}
	return "the pull secret " + f.Credentials
}

// brief is a line if all can be pulled. Of the images that were there before an
// import, which asked for none of their blobs, it says that.
func (f *pullable) brief(w io.Writer, before int) error {
	if f.verdict() != nil {
		return f.print(w)
	}
	aside := ""
	if before > 0 {
		aside = fmt.Sprintf("; of %s that had been there only the manifests were asked for, airlift check asks for all", count(before, "image"))
	}
	_, err := fmt.Fprintf(w, "a cluster can pull it: %s, checked with %s%s\n", count(len(f.Results), "reference"), printable(f.credentials()), aside)
	return err
}

// several is how many references with one reason become one line.
const several = 4

// printLost has a line for each reference that cannot be pulled, but one for all
// of those that have one reason in common.
func (f *pullable) printLost(w io.Writer) {
	reasons := map[string][]string{}
	var order []string
	for _, r := range f.Results {
		if r.OK {
			continue
		}
		if reasons[r.Reason] == nil {
			order = append(order, r.Reason)
		}
		reasons[r.Reason] = append(reasons[r.Reason], lostName(r))
	}
	for _, reason := range order {
		names := reasons[reason]
		if len(names) >= several {
			names = []string{fmt.Sprintf("%d references, among them %s", len(names), names[0])}
		}
		for _, name := range names {
			fmt.Fprintf(w, "cannot pull %s: %s\n", printable(name), printable(reason))
		}
	}
}

func lostName(r bundle.PullResult) string {
	if len(r.Streams) > 0 {
		return fmt.Sprintf("%s (%s, %s)", r.Reference, r.Way, strings.Join(r.Streams, ", "))
	}
	return fmt.Sprintf("%s (%s)", r.Reference, r.Way)
}
