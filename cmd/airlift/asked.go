package main

import (
	"errors"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/urfave/cli/v2"

	"airlift/bundle"
	"airlift/oci"
)

// asked is what an export was asked for: images to plan, or an inventory to
// follow, and how to cut them.
type asked struct {
	request    bundle.Request
	from       *bundle.Inventory
	volumes    *bundle.VolumeRange // of from itself, as it is
	volumeSize int64               // 0 = not said
}

// newAsked reads the command line, and the files that it names.
func newAsked(c *cli.Context) (a asked, err error) {
	if c.IsSet("volume-size") {
		if a.volumeSize, err = volumeSize(c.String("volume-size")); err != nil {
			return a, err
		}
	}
	if a.volumes, err = volumesFlag(c); err != nil {
		return a, err
	}
	if file := c.String("from"); file != "" {
		a.from, err = readInventory(c, file)
		return a, err
	}
	a.request, err = request(c)
	return a, err
}

// volumesFlag reads --volume: N, N-M or N-.
func volumesFlag(c *cli.Context) (*bundle.VolumeRange, error) {
	text := c.String("volume")
	switch {
	case text == "":
		return nil, nil
	case c.String("from") == "":
		return nil, usagef("--volume needs --from, the bundle.json whose volume is wanted")
	case c.IsSet("volume-size"):
		return nil, usagef("--volume and --volume-size exclude each other: the bundle is cut already")
	}
	first, last, ranged := strings.Cut(text, "-")
	from, err := strconv.Atoi(first)
	to := from
	if ranged && last == "" {
		to = 0
	} else if ranged && err == nil {
		to, err = strconv.Atoi(last)
	}
	if err != nil || from < 1 || to != 0 && to < from {
		return nil, usagef("--volume %s: must be N, N-M or N-", text)
	}
	return &bundle.VolumeRange{First: from, Last: to}, nil
}

// id tells this request from others.
func (a asked) id() digest.Digest {
	if a.from != nil {
		return a.from.RequestAgain(a.volumeSize)
	}
	return a.request.Digest(a.volumeSize)
}

// is says whether an inventory is the one that was asked for.
func (a asked) is(inv *bundle.Inventory) bool {
	if a.volumes != nil {
		return inv.Same(a.from)
	}
	return inv.About.Request == a.id()
}

// plan makes the inventory.
func (a asked) plan(c *cli.Context, client *oci.Client, shown *progress) (*bundle.Inventory, error) {
	if a.volumes != nil {
		return a.from, nil
	}
	size, err := a.cut(c.String("output"))
	if err != nil {
		return nil, err
	}
	inv, err := a.inventory(c, client, size, shown)
	if err == nil {
		inv.About.Request = a.id()
	}
	return inv, err
}

func (a asked) inventory(c *cli.Context, client *oci.Client, size int64, shown *progress) (*bundle.Inventory, error) {
	tool := "airlift " + version
	sequence, err := planned()
	if err != nil {
		return nil, err
	}
	if a.from != nil {
		return a.from.Again(size, tool, sequence)
	}
	series, err := bundle.Follow(a.request.Series, sequence, a.request.Since)
	if err != nil {
		return nil, sinceHint(err)
	}
	a.request.Progress = shown.event
	content, err := bundle.Plan(c.Context, client, a.request)
	shown.close()
	if err != nil {
		return nil, planHint(c, err)
	}
	inv, err := bundle.NewInventory(*content, size, tool, sequence)
	if err != nil {
		return nil, err
	}
	inv.About.Series = series
	if err := inv.LeaveOut(a.request.Since); err != nil {
		return nil, err
	}
	if len(a.request.Since) > 0 && len(inv.Storage.LeftOut) == 0 {
		say(c.App.ErrWriter, "warning: --since saves nothing: none of this is in it; the bundle is a complete one")
	}
	return inv, nil
}

func sinceHint(err error) error {
	if errors.Is(err, bundle.ErrUsage) {
		return withHint(err, "nothing was written; --series NAME says which series the bundle is of (--series \"\": the one without a name), and only its bundles can be its base; the time is this host's clock's, or SOURCE_DATE_EPOCH")
	}
	return err
}

// cut is the size of volumes: as it was asked for, else what the file system of
// the output can hold.
func (a asked) cut(dir string) (int64, error) {
	if a.volumeSize != 0 || dir == "" || dir == "-" {
		return a.volumeSize, nil
	}
	return bundle.MaxFileSize(dir)
}

// planHint says for an error of planning what only its flags can do.
func planHint(c *cli.Context, err error) error {
	switch {
	case oci.IsDenied(err) && (c.Bool("samples") || c.IsSet("imagestreams")) && !c.Bool("skip-denied"):
		return withHint(err, "nothing was written; give an account that may pull it with --authfile; or --skip-denied goes on without samples that are denied and that nothing else asks for, and records them")
	case errors.Is(err, bundle.ErrRelease):
		return withHint(err, "nothing was written; --skip-missing does not cover releases: try another source, with --source-mirror")
	}
	return err
}
