package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/opencontainers/go-digest"
	"github.com/urfave/cli/v2"

	"airlift/bundle"
	"airlift/oci"
)

func importCommand() *cli.Command {
	return &cli.Command{
		Name:      "import",
		Usage:     "push a bundle into the local registry, and write what makes a cluster use it",
		ArgsUsage: "DIR… | -",
		Description: "Takes media in any order, all together or one after the other, or a stream from stdin (-).\n" +
			"Nothing is connected to before a trusted key's signature fits. An image is tagged when all\n" +
			"of it is there. Running it again is safe, and brings what is not there yet. Under --manifests\n" +
			"lie then, for this and earlier imports together: apply/ (mirror sets), patches/ (samples\n" +
			"operator), install/ (install-config fragment), nodes/ (registries.conf, to be read), report.json,\n" +
			"and receipt.json, which lets a later export leave out what is here. Of an increment all that\n" +
			"it leaves out is asked for before anything is pushed.",
		Flags: slices.Concat(trustFlags(), placementFlags(), objectFlags(), samplesFlags(), clusterFlags(), receiptFlags(), []cli.Flag{
			reuseFlag(),
			&cli.BoolFlag{Name: "skip-missing", Usage: "go on without what the bundle records as missing at its sources, and end with exit code 3"},
			&cli.StringFlag{Name: "platform", Usage: "where the registry refuses a list that lacks images, let its tag name the image for `OS/ARCH` (default: what the bundle was narrowed to, or its release's, or linux/amd64)"},
			&cli.BoolFlag{Name: "force", Usage: "ask for every blob of what is there already, and bring those that the registry has lost"},
			shardFlag(),
			&cli.BoolFlag{Name: "no-check", Usage: "do not ask the registry afterwards for what a cluster would pull, as airlift check does"},
			&cli.BoolFlag{Name: "dry-run", Usage: "say what would be pushed where, what must be there for that, and what a cluster would be told; ask the registry for it, and write nothing"},
			formatFlag(),
		}, clientFlags(), []cli.Flag{quietFlag()}),
		Action: importBundle,
	}
}

func importBundle(c *cli.Context) error {
	stdout := resultsAside(c)
	p, err := placement(c)
	if err != nil {
		return err
	}
	if asJSON, err := wantsJSON(c); err != nil || asJSON && !c.Bool("dry-run") {
		return cmp.Or(err, usagef("--format json is for --dry-run; an import writes report.json under --manifests"))
	}
	objects, err := objectOptions(c, p)
	if err == nil {
		err = samplesOptions(c, &objects.SamplesOptions)
	}
	if err != nil {
		return err
	}
	from, err := openSource(c)
	if err != nil {
		return err
	}
	b := from.bundle
	warnLoopback(p)
	warnIdle(p, b)
	if len(b.Unchecked) > 0 {
		say(os.Stderr, "signatures of other keys, not checked: %s", strings.Join(b.Unchecked, ", "))
	}
	o := bundle.ImportOptions{Placement: p, SkipMissing: c.Bool("skip-missing"), Force: c.Bool("force")}
	if o.Shard, err = shard(c); err != nil {
		return err
	}
	if s := c.String("platform"); s != "" {
		if o.Platform, err = oci.ParsePlatform(s); err != nil {
			return usagef("--platform: %w", err)
		}
	}
	if o.Platform == (oci.Platform{}) && objects.SamplesArch != "" { // what stands for a list is for that cluster
		if o.Platform, err = oci.ParsePlatform("linux/" + objects.SamplesArch); err != nil {
			return usagef("--samples-arch: %w", err)
		}
	}
	ledger, err := openLedger(c, &o)
	if err == nil {
		err = ledger.order(c, b.Inventory)
	}
	if err != nil {
		return err
	}
	if o.Shard.Count > 0 {
		return importShard(c, from, o, ledger)
	}
	if c.Bool("dry-run") {
		report, expected, err := checkObjects(c, nil, b, p, objects)
		if err != nil {
			return manifestsHint(err)
		}
		warnAlone(report, c.String("manifests"), ledger.receipt)
		return rehearse(c, from, o, report, expected)
	}
	shown := newProgress(c)
	client, err := newClient(c, nil, shown.tell)
	if err != nil {
		return err
	}
	_, expected, err := checkObjects(c, client, b, p, objects)
	if err != nil {
		return manifestsHint(err)
	}
	secret, err := nodeSecret(c, p, client)
	if err != nil {
		return err
	}
	o.Progress = shown.event
	results, err := from.run(c, client, o, shown)
	shown.close()
	done := outcome{b, p, results, err}
	e := ending{done, ledger, client, objects, stdout, secret, expected.Warnings}
	written, finished := e.finish(c)
	return errors.Join(finished, importHint(err), checkImport(c, b, p, written, results, errors.Join(finished, err)))
}

// checkObjects renders what a complete import would write, and says what may surprise:
// that, and what could not be written, is better known before anything is pushed. Without
// a client nothing is pruned.
func checkObjects(c *cli.Context, client *oci.Client, b *bundle.Bundle, p bundle.Placement, o bundle.ObjectOptions) (*bundle.Report, *bundle.Objects, error) {
	report, err := b.Expect(p, o)
	if err != nil {
		return nil, nil, err
	}
	dir := c.String("manifests")
	if c.Bool("prune-sources") && client != nil {
		if _, err := report.Prune(c.Context, client, dir); err != nil {
			return nil, nil, err
		}
	}
	if err := report.Check(dir); err != nil {
		return nil, nil, err
	}
	objects, err := report.Objects(dir)
	if err == nil {
		warnMirrors(objects.Warnings, nil)
	}
	return report, objects, err
}

// checkImport asks for what a cluster would pull, after an import that brought
// all that it could bring.
func checkImport(c *cli.Context, b *bundle.Bundle, p bundle.Placement, written *bundle.Objects, results []bundle.ImageResult, err error) error {
	if code := exitCode(err); results == nil || c.Bool("no-check") || code != exitComplete && code != exitMissing {
		return nil
	}
	held, before := map[string]digest.Digest{}, 0
	for _, r := range results {
		if r.State == bundle.StatePresent && !c.Bool("force") {
			before++
		}
		if r.State == bundle.StateImported || r.State == bundle.StatePresent {
			held[r.Reference] = r.Digest
		}
	}
	if len(held) == 0 {
		return nil
	}
	k := pullCheck{bundle: b, placement: p, objects: written, asked: true, caFiles: c.StringSlice("ca-file"), digests: held, held: func(reference string) bool { return held[reference] != "" }}
	k.stated.Image, k.arch = written.Options.Config.ImageConfig, written.Options.SamplesArch
	found, err := k.run(c)
	if err != nil {
		return fmt.Errorf("check what a cluster can pull: %w", err)
	}
	return errors.Join(found.brief(c.App.Writer, before), found.verdict())
}

// source is where an import takes a bundle from: media, or a stream.
type source struct {
	bundle *bundle.Bundle
	stream *bundle.Stream // nil for media
}

func openSource(c *cli.Context) (source, error) {
	stream, err := isStream(c)
	if err != nil {
		return source{}, err
	}
	if stream {
		s, err := openStream(c)
		if err != nil {
			return source{}, err
		}
		return source{s.Bundle, s}, nil
	}
	b, err := openBundle(c, c.Args().Slice())
	return source{b, nil}, err
}

func (s source) rehearse(o bundle.ImportOptions) ([]bundle.ImageResult, error) {
	if s.stream != nil {
		return s.stream.Rehearse(o)
	}
	return s.bundle.Rehearse(o)
}

// run imports.
func (s source) run(c *cli.Context, client *oci.Client, o bundle.ImportOptions, shown *progress) ([]bundle.ImageResult, error) {
	switch {
	case s.stream != nil:
		return importStream(c, s.stream, client, o)
	case canAsk():
		return importMedia(c, s.bundle, client, o, shown)
	}
	return s.bundle.Import(c.Context, client, o)
}

// importStream says what to do about a stream that brought less than it should.
func importStream(c *cli.Context, s *bundle.Stream, client *oci.Client, o bundle.ImportOptions) ([]bundle.ImageResult, error) {
	results, err := s.Import(c.Context, client, o)
	if results != nil && (errors.Is(err, bundle.ErrDamaged) || exitCode(err) == exitFailed && hintFor(err) == "") {
		err = withHint(err, "send the stream again: it brings what is not there yet")
	}
	return results, err
}

// importMedia imports the media that were given, and asks for others as long as
// any is still to come. Whoever has no other ends it as if there had been nobody
// to ask.
func importMedia(c *cli.Context, b *bundle.Bundle, client *oci.Client, o bundle.ImportOptions, shown *progress) ([]bundle.ImageResult, error) {
	importer, asker := bundle.NewImporter(client, o), newAsker()
	defer importer.Close(c.Context)
	results, err := importer.Medium(c.Context, b)
	for results != nil && errors.Is(err, bundle.ErrAbsent) && c.Context.Err() == nil {
		shown.close()
		sayDamage(err)
		next := asker.another(c, stillToCome(err))
		if next == nil {
			break
		}
		more, failed := importer.Medium(c.Context, next)
		if more == nil { // nothing was done with this one
			printError(os.Stderr, failed)
			continue
		}
		results, err = more, failed
	}
	return results, err
}

// stillToCome words what an import lacks.
func stillToCome(err error) string {
	var absent *bundle.AbsentError
	if !errors.As(err, &absent) {
		return err.Error()
	}
	text := "still to come: " + strings.Join(absent.Volumes, ", ")
	if len(absent.Cut) > 0 {
		text += "; in this order: " + strings.Join(absent.Cut, ", ")
	}
	return text
}

// outcome is what an import came to.
type outcome struct {
	bundle    *bundle.Bundle
	placement bundle.Placement
	results   []bundle.ImageResult // nil: nothing was begun
	err       error
}

// isUsable says whether a cluster may be told of what the registry has now.
func (o outcome) isUsable() bool {
	code := exitCode(o.err)
	return code == exitComplete || code == exitMissing || code == exitAbsent
}

// ending is what an import leaves.
type ending struct {
	outcome
	ledger  *ledger
	client  *oci.Client
	options bundle.ObjectOptions
	stdout  io.Writer // for the objects, if they are printed
	secret  []byte    // for the nodes; nil for none
	said    []string  // of what may surprise
}

// finish writes the report, the receipt and, after an import that may be used as it is,
// the objects, and gives these; no other run comes between.
func (e ending) finish(c *cli.Context) (*bundle.Objects, error) {
	if e.results == nil {
		return nil, e.ledger.close(c, e.outcome, nil)
	}
	dir := c.String("manifests")
	report := e.bundle.Report(e.results, e.options)
	if !e.isUsable() {
		written := e.ledger.close(c, e.outcome, func() error { return report.Write(dir) })
		return nil, errors.Join(printResults(c.App.Writer, e.results), written, e.ledger.tell(c.App.Writer))
	}
	pruned := prune(c, report, e.client)
	var objects *bundle.Objects
	written := e.ledger.close(c, e.outcome, func() error {
		o, err := report.WriteObjects(dir)
		if err == nil {
			objects = o
		}
		return manifestsHint(err)
	})
	if objects == nil {
		return nil, errors.Join(printResults(c.App.Writer, e.results), pruned, written, e.ledger.tell(c.App.Writer))
	}
	warnAlone(report, dir, e.ledger.receipt)
	warnMirrors(objects.Warnings, e.said)
	warnReplaced(report.Options.Config)
	return objects, errors.Join(printResults(c.App.Writer, e.results), printSamples(c, report, objects), writeSecret(c.App.Writer, dir, e.secret), printObjects(c.App.Writer, dir, objects), pruned, unpruned(objects),
		printStream(e.stdout, report, dir, objects), written, e.ledger.tell(c.App.Writer))
}

// lateHint says what becomes of an import that pushed, and could not write what it leaves.
func lateHint(err error) error {
	if errors.Is(err, bundle.ErrLocked) {
		return withHint(err, "what was pushed stays there; the same command writes the rest, and with --force into the receipt, too, what is there by then")
	}
	return err
}

// warnAlone says of objects that they know nothing of what earlier imports brought:
// those that a receipt lists and the report does not, or all that there may have been
// where none lies.
func warnAlone(report *bundle.Report, dir string, receipt *bundle.Receipt) {
	where, hint := "here", ""
	if dir != bundle.Printed {
		unknown := receipt.Unknown(report)
		if len(unknown) == 0 {
			return
		}
		where = fmt.Sprintf("under %s (%s)", dir, bundle.BaseWords(unknown))
		hint = "--manifests DIR names the directory of those imports, whose report.json knows it; or "
	}
	if report.Options.Others == nil {
		say(os.Stderr, "warning: of earlier imports nothing is known %s: applied, these objects replace what the cluster has under their names", where)
		say(os.Stderr, "hint: %s--merge-with FILE keeps that: what \"oc get idms,itms,imagecontentsourcepolicy -o yaml\" prints", hint)
	}
}

// warnIdle: a map that is mistyped leaves images where they are not looked for.
func warnIdle(p bundle.Placement, b *bundle.Bundle) {
	for _, m := range p.Idle(&b.Inventory.Content) {
		say(os.Stderr, "warning: --map %s=%s: the bundle has nothing from there", m.Source, m.Dest)
	}
}

// warnLoopback: a name that means another machine on every node.
func warnLoopback(p bundle.Placement) {
	host, _, err := net.SplitHostPort(p.Cluster.Host)
	if err != nil {
		host = p.Cluster.Host
	}
	if ip := net.ParseIP(host); host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback() {
		say(os.Stderr, "warning: on a cluster's nodes %s is the node itself", p.Cluster.Host)
		say(os.Stderr, "hint: %s", clusterHint)
	}
}

const sourcesApart = "--map SOURCE=DEST or --keep-source-host keeps the sources apart"

// importHint says for an import's error what only its flags can do.
func importHint(err error) error {
	var missing *bundle.MissingError
	var absent *bundle.AbsentError
	var sparse *bundle.SparseError
	var base *bundle.BaseError
	if hint := placesHint(err); hint != "" {
		return withHint(err, hint)
	}
	switch {
	case errors.As(err, &base):
		return withHint(err, baseHint(base))
	case errors.As(err, &missing):
		return withHint(err, "nothing was pushed; --skip-missing goes on without what is listed")
	case errors.Is(err, bundle.ErrSparseRelease):
		return withHint(err, "export the release without --sparse, or import it into a registry that takes sparse lists: "+sparseHint)
	case errors.As(err, &sparse) && sparse.LeftOut:
		return withHint(err, sparseHint+"; what was left out on purpose comes with an export without --platform")
	case errors.Is(err, bundle.ErrSparse):
		return withHint(err, sparseHint)
	case errors.Is(err, oci.ErrOtherSize):
		return withHint(err, spoiltHint+"import again with --force")
	case errors.As(err, new(*bundle.UnavailableError)):
		return withHint(err, cmp.Or(hintFor(err), "see to the registry, and to what lies before it")+"; the same command goes on with what is not there yet")
	case errors.Is(err, context.Canceled):
		return withHint(err, "the same command goes on with what is not there yet")
	case errors.As(err, &absent) && len(absent.Cut) > 0:
		return withHint(err, "give the media with these in one command, a blob is cut over them: "+strings.Join(absent.Cut, ", "))
	case errors.Is(err, bundle.ErrAbsent) && !errors.Is(err, bundle.ErrUnsealed):
		return withHint(err, "import the other media too, one after the other or all in one command: what is there by then is not sent again")
	case errors.Is(err, bundle.ErrTaken):
		return withHint(err, sourcesApart+"; --prune-sources frees the name, if the registry does not have the earlier image any more")
	case errors.Is(err, bundle.ErrCollision):
		return withHint(err, sourcesApart)
	}
	return err
}

func baseHint(e *bundle.BaseError) string {
	bring := "import the base first, and what that builds upon before it (with --force if that was done: it brings what the registry has lost since); or export this again with --since the receipt.json of an import here, or without --since"
	if e.Alone {
		bring = "if this registry was filled with another --manifests directory, name that, or its receipt.json with --last; else " + bring
	}
	var all []string
	if len(e.Damaged) > 0 {
		all = append(all, "of what is damaged: "+spoiltHint+"import the base with --force, and what that builds upon before it")
	}
	if e.Refusal != nil {
		all = append(all, "of what is denied: "+registryHint(e.Refusal))
	}
	switch {
	case len(all) == 0:
		all = append(all, bring)
	case len(e.Blobs) > 0 || e.Refusal != nil: // what is denied may not be there
		all = append(all, "of what is not there: "+bring)
	}
	return "nothing was pushed; " + strings.Join(all, "; ")
}

// spoiltHint is what to do before a blob is pushed again of which a registry has other
// bytes: distribution, for one, keeps the file of a digest that is there, and takes an
// upload for the same.
const spoiltHint = "the registry's storage is damaged, and it keeps what it has of a digest, whatever is pushed: remove these blobs from its storage (distribution: the directory docker/registry/v2/blobs/sha256/XX/DIGEST), and restart it, since it may remember them; then "

func manifestsHint(err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return withHint(err, "--manifests DIR names a directory that can be written to; --manifests - prints the objects instead")
	}
	if errors.Is(err, bundle.ErrOtherKind) {
		return withHint(err, "--icsp=also writes both kinds, for a cluster that is 4.13 or later; when airlift convert icsp says that the old object may go, delete its file too, and give --icsp=no")
	}
	if errors.Is(err, bundle.ErrPolicyOfICSP) {
		return withHint(err, "what an earlier import chose stays; --mirror-source-policy AllowContactingSource, or --icsp=no, gives it up")
	}
	if errors.Is(err, bundle.ErrSeveralArchitectures) {
		return withHint(err, "--samples-arch ARCH says which one the cluster has; each needs a directory of its own, with --manifests")
	}
	if errors.Is(err, bundle.ErrOccupied) {
		return withHint(err, "--manifests DIR names another directory: one for each registry")
	}
	return importHint(configHint(err))
}

// printResults sums up what became of the images. Those that are skipped have a
// line, and those that others stand for, and in a dry run all; of what failed the error speaks, and report.json
// tells of every image.
func printResults(w io.Writer, results []bundle.ImageResult) error {
	words := map[string]string{bundle.StatePresent: "already there", bundle.StateOpen: "not finished", bundle.StatePlanned: "to import"}
	counts := map[string]int{}
	for _, r := range results {
		counts[cmp.Or(words[r.State], r.State)]++
		if line := resultLine(r); line != "" {
			fmt.Fprintf(w, "%s\n", printable(line))
		}
	}
	states := slices.Sorted(maps.Keys(counts))
	for i, state := range states {
		states[i] = fmt.Sprintf("%d %s", counts[state], state)
	}
	line := count(len(results), "image")
	if len(states) > 0 {
		line += ": " + strings.Join(states, ", ")
	}
	_, err := fmt.Fprintln(w, line)
	return err
}

func resultLine(r bundle.ImageResult) string {
	switch r.State {
	case bundle.StateSkipped:
		return "skipped " + r.Reference + ": " + r.Reason
	case bundle.StatePlanned:
		line := "to import " + r.Reference + " as " + strings.Join(r.Names, " and ")
		if r.Reason != "" {
			line += " (" + r.Reason + ")"
		}
		return line
	}
	if r.Index != "" {
		return "one image of " + r.Reference + ": " + r.Reason
	}
	return ""
}

// patched are the objects of a cluster that files are patches of.
var patched = map[string]string{
	bundle.ImageConfigFile: "image.config.openshift.io/cluster",
	bundle.SamplesFile:     "configs.samples.operator.openshift.io/cluster",
}

// printObjects says what to do with the files, in order.
func printObjects(w io.Writer, dir string, o *bundle.Objects) error {
	if dir == bundle.Printed {
		return explainStream(w, o)
	}
	files := o.Files()
	steps := []struct {
		file, line string
		drains     []string
	}{
		{"apply/", "oc apply -f " + quote(filepath.Join(dir, "apply")) + "/", o.Drains},
		{bundle.ImageConfigFile, "oc patch " + patched[bundle.ImageConfigFile] + " --type=merge --patch-file " + quote(filepath.Join(dir, bundle.ImageConfigFile)), o.ConfigDrains},
		{bundle.SamplesFile, "oc patch " + patched[bundle.SamplesFile] + " --type=merge --patch-file " + quote(filepath.Join(dir, bundle.SamplesFile)), nil},
	}
	fmt.Fprintf(w, "written under %s: %s\n", dir, strings.Join(files, ", "))
	sayChosen(w, dir, o.Chosen)
	printChanges(w, o)
	for _, step := range steps {
		if slices.ContainsFunc(files, func(file string) bool { return strings.HasPrefix(file, step.file) }) {
			fmt.Fprintf(w, "  %s  %s\n", step.line, drains(step.drains))
		}
	}
	if slices.Contains(files, bundle.InstallFile) {
		fmt.Fprintf(w, "for a new cluster, add %s to its install-config.yaml\n", filepath.Join(dir, bundle.InstallFile))
	}
	return nil
}

// quote makes a word for a shell.
func quote(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:@%+,=") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
