package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"airlift/bundle"
	"airlift/oci"
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
	done    []string // media that are complete
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
	if x.asked.volumes != nil {
		x.options.Volumes = *x.asked.volumes
	}
	x.client, err = exportClient(c, x.shown)
	return x, err
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
	inv, err := x.onto(x.c.String("output"), nil)
	for {
		var full *bundle.NextMediumError
		if !errors.As(err, &full) {
			return inv, err
		}
		named, written := len(x.next) > 0, x.options
		dir, stop := x.nextMedium(full)
		if stop != nil {
			return inv, stop
		}
		_, failed := x.onto(dir, inv)
		if !named && isOfMedium(failed) {
			printError(x.c.App.ErrWriter, failed)
			continue
		}
		if err = failed; full.Begun && (err == nil || errors.As(err, new(*bundle.NextMediumError))) {
			err = errors.Join(x.seal(full.Dir, inv, written), err)
		}
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
	if len(withoutLeave(x.c, inv.Content.Missing)) > 0 {
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
	return held, outputHint(err, dir)
}

// write does the work.
func (x *exporting) write(out *bundle.Output, dir string, inv *bundle.Inventory) error {
	o := x.options
	o.Progress, o.More = x.shown.event, len(x.next) > 0 || canAsk()
	err := out.Export(x.c.Context, x.client, inv, o)
	var full *bundle.NextMediumError
	complete := err == nil || errors.As(err, &full) && !full.Begun
	if complete && x.c.Bool("read-back") {
		err = errors.Join(readBackHint(out.ReadBack(x.c.Context, o.Key, x.shown.event), dir), err)
	}
	x.shown.close()
	switch {
	case complete:
		x.done = append(x.done, dir)
	case errors.Is(err, context.Canceled):
		return withHint(err, "go on with: "+x.again())
	case errors.Is(err, bundle.ErrNoSpace) && !errors.As(err, &full) && isBegun(dir):
		return withHint(err, "make room in "+quote(dir)+" and run the same command again: it goes on where it was")
	}
	return err
}

// again is the line that goes on with the medium that is being written.
func (x *exporting) again() string {
	if x.options.After != nil { // the command line names the first one
		return x.onward(x.options.After)
	}
	return rerun()
}

// isBegun says whether a directory holds some of a bundle.
func isBegun(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, bundle.InventoryFile))
	return err == nil
}

// seal completes a medium whose last volume went to the next one, with the options
// that it was written with.
func (x *exporting) seal(dir string, inv *bundle.Inventory, o bundle.ExportOptions) error {
	out, err := bundle.OpenOutput(dir)
	if err != nil {
		return err
	}
	o.Seal, o.Reuse = true, nil // what it was copied from is the medium itself
	err = out.Export(x.c.Context, x.client, inv, o)
	if errors.As(err, new(*bundle.NextMediumError)) {
		err = nil
	}
	return errors.Join(err, out.Close())
}

// nextMedium gives the directory to go on in, or the error to stop with.
func (x *exporting) nextMedium(full *bundle.NextMediumError) (string, error) {
	x.options.After = full
	dir, err := x.nextDir(full)
	x.options.Reuse = x.c.StringSlice("reuse")
	if isBegun(full.Dir) && dir != full.Dir {
		x.options.Reuse = append(x.options.Reuse, full.Dir) // it is still there: what it has is not fetched
	}
	switch {
	case err != nil:
		return "", withHint(err, "go on with: "+x.onward(full))
	case dir != "":
		return dir, nil
	case len(x.done) > 1: // the command line names the first one only
		return "", withHint(full, fmt.Sprintf("%s are still to be written; with a copy of %s go on with: %s",
			humanize.Bytes(uint64(full.Bytes)), quote(filepath.Join(full.Dir, bundle.InventoryFile)), x.onward(full)))
	}
	return "", withHint(full, fmt.Sprintf("%s are still to be written; with %s still there go on with: %s; or keep a copy of %s, take the medium out, and go on with: %s",
		humanize.Bytes(uint64(full.Bytes)), quote(full.Dir), rerun("--continue-on", "NEXT"), quote(filepath.Join(full.Dir, bundle.InventoryFile)), x.onward(full)))
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
		if !full.Begun || dir != full.Dir {
			return dir, nil
		}
		what = full.Dir + " has to stay until the volume that was begun there is copied: another directory is needed"
	}
}

// onward is the line that writes the volumes from one on without the media
// before.
func (x *exporting) onward(full *bundle.NextMediumError) string {
	volumes := fmt.Sprintf("%d-", full.Volume)
	if x.options.Volumes.Last > 0 {
		volumes += fmt.Sprint(full.Last)
	}
	words := []string{"airlift", "export", "--from", bundle.InventoryFile, "--volume", volumes, "--output", "NEXT"}
	for _, name := range []string{"key", "authfile", "checkpoint"} {
		if x.c.IsSet(name) {
			words = append(words, "--"+name, quote(x.c.String(name)))
		}
	}
	for _, name := range []string{"unsigned", "skip-missing", "skip-denied", "read-back", "quiet"} {
		if x.c.Bool(name) {
			words = append(words, "--"+name)
		}
	}
	for _, name := range []string{"source-mirror", "ca-file", "insecure-registry", "reuse"} {
		for _, value := range x.c.StringSlice(name) {
			words = append(words, "--"+name, quote(value))
		}
	}
	return strings.Join(words, " ")
}

// readBackHint says what to make of a medium that gives other bytes than it got.
func readBackHint(err error, dir string) error {
	if errors.Is(err, bundle.ErrDamaged) {
		return withHint(err, "the medium does not keep what is written to it: take another one; or, if that was once, airlift export --repair "+quote(dir))
	}
	return err
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
