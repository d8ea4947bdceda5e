package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"airlift/bundle"
	"airlift/oci"
	"airlift/verify"
)

// exporting is one run of export, over as many media as it takes.
type exporting struct {
	c       *cli.Context
	asked   asked
	client  *oci.Client
	options bundle.ExportOptions
	shown   *progress
	asker   *asker
	next    []string // directories to go on in
	used    []used   // media that are full, in their order
	done    []string // media that are complete
}

// used is a medium that was written to.
type used struct {
	dir   string
	after *bundle.NextMediumError // that it was to go on from; nil for the first one
	mount string                  // where its file system was mounted
	open  bool                    // it is not complete: its last volume goes to the next one
}

func newExporting(c *cli.Context) (*exporting, error) {
	x := &exporting{c: c, shown: newProgress(c), asker: newAsker(), next: c.StringSlice("continue-on")}
	var err error
	if x.options, err = exportOptions(c); err != nil {
		return nil, err
	}
	if x.asked, err = newAsked(c); err != nil {
		return nil, err
	}
	if x.asked.request.Since, err = x.since(); err != nil {
		return nil, err
	}
	if x.asked.volumes != nil {
		x.options.Volumes = *x.asked.volumes
	}
	x.client, err = exportClient(c, x.shown)
	return x, err
}

// since is what the far side has. What our own key has signed is believed.
func (x *exporting) since() (_ []*bundle.Since, err error) {
	key := x.options.Key
	if key == nil && x.c.IsSet("since") && x.c.IsSet("key") { // in a dry run
		if key, err = openKey(x.c.Context, x.c.String("key")); err != nil {
			return nil, err
		}
	}
	if key == nil {
		return readSince(x.c, nil)
	}
	own := verify.PublicKeyOf(key)
	return readSince(x.c, &own)
}

// stream writes everything to stdout. What people read goes elsewhere.
func (x *exporting) stream() (*bundle.Inventory, error) {
	for _, flag := range []string{"continue-on", "volume", "restart", "recheck", "read-back", "checkpoint"} {
		if x.c.IsSet(flag) {
			return nil, usagef("--output - and --%s exclude each other: a stream is written once, from start to end", flag)
		}
	}
	if term.IsTerminal(int(os.Stdout.Fd())) {
		return nil, usagef("--output - writes an archive to stdout, and that is a terminal: pipe it somewhere")
	}
	inv, err := x.asked.plan(x.c, x.client, x.shown)
	if err == nil && len(withoutLeave(x.c, inv.Content.Missing)) > 0 {
		err = skippedOrNot(x.c, inv.Content.Missing)
	}
	if err != nil {
		return nil, err
	}
	warnNarrowed(x.c, &inv.Content)
	signal.Ignore(syscall.SIGPIPE) // a reader that has gone is an error, and said as such
	o := x.options
	o.Progress = x.shown.event
	err = bundle.ExportStream(x.c.Context, x.client, inv, os.Stdout, o)
	x.shown.close()
	x.done = []string{"stdout"}
	return inv, err
}

// media writes one medium after the other.
func (x *exporting) media() (*bundle.Inventory, error) {
	dir := x.c.String("output")
	inv, err := x.onto(dir, nil)
	for {
		var full *bundle.NextMediumError
		if !errors.As(err, &full) {
			return inv, err
		}
		x.used = append(x.used, used{dir, x.options.After, mountPoint(dir), full.Begun})
		written, stop := x.options, error(nil)
		if dir, err, stop = x.ontoNext(full, inv); stop != nil {
			return inv, stop
		}
		if full.Begun && (err == nil || errors.As(err, new(*bundle.NextMediumError))) {
			if bad := x.seal(full.Dir, inv, written); bad != nil {
				return inv, withHint(bad, "with "+quote(full.Dir)+" there go on with: "+x.again(dir))
			}
			x.used[len(x.used)-1].open = false
		}
	}
}

// ontoNext writes onto the medium after one that is full. A medium that is not taken
// is said, and another one asked for. With stop there is none.
func (x *exporting) ontoNext(full *bundle.NextMediumError, inv *bundle.Inventory) (dir string, err, stop error) {
	for {
		named := len(x.next) > 0
		if dir, stop = x.nextMedium(full); stop != nil {
			return dir, nil, stop
		}
		if _, err = x.onto(dir, inv); !isOfMedium(err) {
			return dir, err, nil
		}
		if named {
			return dir, withHint(err, x.ways(full)), nil
		}
		printError(x.c.App.ErrWriter, outputHint(err, dir))
	}
}

// isOfMedium says whether an error is about a medium that was not taken, so that
// another can be asked for.
func isOfMedium(err error) bool {
	return !errors.As(err, new(*bundle.NextMediumError)) &&
		(errors.Is(err, bundle.ErrUsage) || errors.Is(err, bundle.ErrLocked) || errors.Is(err, bundle.ErrNoSpace))
}

// onto writes what fits onto one medium: of an inventory, or for the first one, of
// the one that it holds or that is planned now.
func (x *exporting) onto(dir string, inv *bundle.Inventory) (_ *bundle.Inventory, err error) {
	out, err := bundle.OpenOutput(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if out.Unlocked {
		say(x.c.App.ErrWriter, "%s has no locks: make sure that no other export writes there", dir)
	}
	held, err := x.held(out, dir, inv)
	if err != nil {
		return nil, err
	}
	if inv == nil {
		inv = held
	}
	if inv == nil {
		if inv, err = x.asked.plan(x.c, x.client, x.shown); err != nil {
			return nil, err
		}
		warnNarrowed(x.c, &inv.Content)
	}
	if not := withoutLeave(x.c, inv.Content.Missing); len(not) > 0 && held != nil {
		return nil, withHint(bundle.MissingErrors(not), "the export in "+quote(dir)+" was begun with leave to skip this; give --skip-missing (or --skip-denied) again")
	} else if len(not) > 0 {
		return nil, skippedOrNot(x.c, inv.Content.Missing)
	}
	return inv, x.write(out, dir, inv)
}

// held is the inventory of what was begun in a directory, nil if it is free.
func (x *exporting) held(out *bundle.Output, dir string, inv *bundle.Inventory) (*bundle.Inventory, error) {
	if x.c.Bool("restart") {
		if err := out.Restart(); err != nil {
			return nil, err
		}
	}
	is := x.asked.is
	if inv != nil {
		is = inv.Same
	}
	held, err := out.Held(x.options.Key, is)
	if inv == nil {
		err = outputHint(err, dir)
		if errors.Is(err, bundle.ErrUnfinished) && x.c.IsSet("since") {
			err = withHint(err, "what an export leaves out is decided when it begins: go on with the --since of then, and the same file; --restart throws away what there is and begins again")
		}
	}
	return held, err
}

// write does the work.
func (x *exporting) write(out *bundle.Output, dir string, inv *bundle.Inventory) error {
	o := x.options
	o.Progress, o.More = x.shown.event, len(x.next) > 0 || canAsk()
	err := out.Export(x.c.Context, x.client, inv, o)
	var full *bundle.NextMediumError
	if err == nil || errors.As(err, &full) && !full.Begun {
		if bad := x.complete(out, dir); bad != nil {
			err = bad // whatever is still to be written
		}
	} else if errors.Is(err, bundle.ErrDamaged) || errors.Is(err, bundle.ErrUntrusted) { // it was complete
		err = withHint(err, x.mending(dir))
	}
	x.shown.close()
	switch {
	case errors.Is(err, context.Canceled):
		return withHint(err, "go on with: "+x.again(dir))
	case errors.Is(err, bundle.ErrNoSpace) && !errors.As(err, &full) && isBegun(dir):
		return withHint(err, "make room in "+quote(dir)+" and go on with: "+x.again(dir))
	case oci.IsMissing(err) || oci.IsDenied(err):
		return withHint(err, x.afterPlan(err, dir))
	}
	return err
}

// afterPlan is what to do where a source does not give what it had when the export was
// planned: the plan stays as it is.
func (x *exporting) afterPlan(err error, dir string) string {
	goOn, without := "another source (--source-mirror)", "with --restart --skip-missing, unless a release needs it"
	skip := "--skip-missing"
	if oci.IsDenied(err) {
		skip += " --skip-denied"
		goOn, without = "an account that may pull it (--authfile)", "with --restart "+skip+", if only samples need it"
	}
	if x.asked.from != nil {
		return "what is carried is what --from says: the same command goes on with " + goOn + ", or with a bundle that has it (--reuse)"
	}
	return "what is carried was settled when this export began: the same command goes on with " + goOn +
		"; it begins again without this " + without + "; with " + skip + " --reuse " + quote(dir) + " another directory takes what was fetched already"
}

// complete counts a medium that is complete, once it was read back if that is
// wanted.
func (x *exporting) complete(out *bundle.Output, dir string) error {
	if x.c.Bool("read-back") {
		err := out.ReadBack(x.c.Context, x.options.Key, x.shown.event)
		if errors.Is(err, bundle.ErrDamaged) {
			return withHint(err, "the medium does not keep what is written to it: take another one; or, if that was once, "+x.mending(dir))
		}
		if err != nil {
			return err
		}
	}
	x.done = append(x.done, dir)
	return nil
}

// isBegun says whether a directory holds some of a bundle.
func isBegun(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, bundle.InventoryFile))
	return err == nil
}

// seal completes a medium whose last volume went to the next one, with the options
// that it was written with.
func (x *exporting) seal(dir string, inv *bundle.Inventory, o bundle.ExportOptions) (err error) {
	if !isBegun(dir) {
		return fmt.Errorf("%s is gone before it was complete: it has to be there again", dir)
	}
	out, err := bundle.OpenOutput(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	o.Seal, o.Reuse = true, nil // what it was copied from is the medium itself
	err = out.Export(x.c.Context, x.client, inv, o)
	if errors.As(err, new(*bundle.NextMediumError)) { // nil: there was nothing whole on it
		err = x.complete(out, dir)
	}
	x.shown.close()
	return err
}

// nextMedium gives the directory to go on in, or the error to stop with.
func (x *exporting) nextMedium(full *bundle.NextMediumError) (string, error) {
	x.options.After = full
	dir, err := x.nextDir(full)
	x.options.Reuse = x.c.StringSlice("reuse")
	if isBegun(full.Dir) && dir != full.Dir {
		x.options.Reuse = append(x.options.Reuse, full.Dir) // it is still there: what it has is not fetched
	}
	if dir != "" {
		return dir, nil
	}
	if err == nil {
		err = full
	}
	return "", withHint(err, x.ways(full))
}

// nextDir takes the next directory that was named, or asks for one.
func (x *exporting) nextDir(full *bundle.NextMediumError) (string, error) {
	if len(x.next) > 0 {
		dir := x.next[0]
		x.next = x.next[1:]
		return dir, nil
	}
	what := full.Error()
	for {
		dir, err := x.asker.medium(x.c.Context, what, full.Dir)
		if err != nil || dir == "" {
			return "", err
		}
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			what = dir + " is not a directory that is there"
			continue
		}
		if at := x.unplugged(dir); at != "" {
			what = "nothing is mounted on " + at + " any more: what is written to " + dir + " would not go to a medium"
			continue
		}
		if !full.Begun || dir != full.Dir {
			return dir, nil
		}
		what = full.Dir + " has to stay until the volume that was begun there is copied: another directory is needed"
	}
}

// outputHint says what to do where the output directory is not free.
func outputHint(err error, dir string) error {
	switch {
	case errors.Is(err, bundle.ErrUnfinished):
		return withHint(err, "it is of another request: the same command as then goes on with it; --restart throws it away and begins again; --reuse "+quote(dir)+" takes its blobs for an export elsewhere")
	case errors.Is(err, bundle.ErrUsage):
		return withHint(err, "write into another directory")
	}
	return err
}
