package bundle

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"slices"

	"airlift/oci"
	"airlift/verify"
)

// ExportOptions say how a planned content is written. The zero value writes one
// unsigned bundle.
type ExportOptions struct {
	Key        *ecdsa.PrivateKey // signs; nil = an unsigned bundle
	Recheck    bool              // hash what is on the medium before going on, whatever its checkpoint says
	Reuse      []string          // directories of other bundles, finished or not, whose blobs are taken if they have the right digest
	Volumes    VolumeRange       // that the medium gets beside the first; the zero value: all that fit
	After      *NextMediumError  // go on where the medium before was full
	More       bool              // another medium is at hand: a volume that was begun here and does not fit goes there
	Seal       bool              // complete the medium with the whole volumes that it has
	Checkpoint int64             // bytes between two checkpoints; 0 = DefaultCheckpoint
	Jobs       int               // requests at once; 0 = 8
	Progress   Progress
}

// VolumeRange is volumes by the numbers in their names, the last one included. With
// Last 0 it goes to the end.
type VolumeRange struct{ First, Last int }

// Of are the volumes of a bundle that a medium gets, the first among them, which every
// medium has.
func (r VolumeRange) Of(inv *Inventory) []Volume {
	all := inv.Storage.Volumes
	p, err := ExportOptions{Volumes: r}.wanted(len(all))
	if err != nil {
		return nil // no export came of it
	}
	return append(slices.Clone(all[:1]), all[p.from:p.to]...)
}

// NextMediumError: the medium is complete, with as many volumes as fit. The
// bundle is not: the others belong on further media.
type NextMediumError struct {
	Dir    string
	Volume int   // the number of the next volume
	Last   int   // the number of the last one that is wanted
	Bytes  int64 // that are still to be written, with what every medium has
	// Begun: the next volume was begun on this medium. It is there to be copied,
	// until the medium is sealed (ExportOptions.Seal).
	Begun bool
}

func (e *NextMediumError) Error() string {
	if e.Begun {
		return fmt.Sprintf("%s is full; volumes %d to %d of the bundle belong on further media", e.Dir, e.Volume, e.Last)
	}
	return fmt.Sprintf("%s is complete and full; volumes %d to %d of the bundle belong on further media", e.Dir, e.Volume, e.Last)
}

func (e *NextMediumError) Unwrap() error { return ErrNoSpace }

const defaultJobs = 8

func jobs(n int) int {
	if n <= 0 {
		return defaultJobs
	}
	return n
}

// Export writes the bundle of an inventory into a directory, as OpenOutput and
// Output.Export do.
func Export(ctx context.Context, client *oci.Client, inv *Inventory, dir string, o ExportOptions) (err error) {
	out, err := OpenOutput(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	data, err := inv.Bytes()
	if err != nil {
		return err
	}
	if _, err := out.Held(o.Key, func(held *Inventory) bool { return held.is(data) }); err != nil {
		return err
	}
	return out.Export(ctx, client, inv, o)
}

// Export writes the bundle of an inventory into the directory, which holds
// nothing of another one (Held says so). What an earlier run for the same
// inventory wrote is kept: at most one checkpoint and the segments in flight are
// fetched again. The directory is complete once Export returns nil; until then it
// holds bundle.checkpoint. A medium that cannot take all volumes is completed
// with those that fit: *NextMediumError. One that is too small for any is refused
// before the first byte is written: ErrNoSpace.
//
// What a source gives is hashed before it counts. Bytes that are wrong twice end
// the export; they do not stay on the medium.
func (o *Output) Export(ctx context.Context, client *oci.Client, inv *Inventory, options ExportOptions) (err error) {
	x, err := newExport(client, inv, options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.sources.reuse.close()) }()
	return x.onto(ctx, o.medium)
}

// export is one run of Export.
type export struct {
	inv     *Inventory
	layout  *Layout
	bytes   []byte // bundle.json
	readme  []byte
	sources *sources
	options ExportOptions
	wanted  part
}

func newExport(client *oci.Client, inv *Inventory, o ExportOptions) (*export, error) {
	x := &export{inv: inv, readme: readme(inv), options: o}
	var err error
	if x.layout, err = inv.layout(); err != nil {
		return nil, err
	}
	if x.bytes, err = inv.Bytes(); err != nil {
		return nil, err
	}
	if x.wanted, err = o.wanted(x.layout.Volumes()); err != nil {
		return nil, err
	}
	reused, err := openReuse(o.Reuse)
	if err != nil {
		return nil, err
	}
	x.sources = newSources(client, &inv.Content, reused)
	return x, nil
}

// wanted is the volumes that were asked for, of n.
func (o ExportOptions) wanted(n int) (part, error) {
	r := o.Volumes
	if o.After != nil {
		r.First = o.After.Volume
	}
	if r.Last == 0 {
		r.Last = n
	}
	if r.First < 0 || r.First > n || r.Last > n || r.Last < r.First {
		return part{}, fmt.Errorf("%w: volumes %d to %d: the bundle has %d", ErrUsage, max(r.First, 1), r.Last, n)
	}
	return part{max(r.First-1, 1), max(r.Last, 1)}, nil
}

// BytesToWrite is the exact number of bytes that exporting an inventory onto one
// medium writes, but for signatures (72 bytes at most, each).
func BytesToWrite(inv *Inventory) (int64, error) {
	size, err := inv.size()
	if err != nil {
		return 0, err
	}
	return inv.Storage.Size + size + int64(len(readme(inv))+sumsSize(inv)), nil
}

// onto writes what fits onto a medium.
func (x *export) onto(ctx context.Context, m medium) error {
	p, err := x.fit(m)
	if err != nil {
		return err
	}
	if x.options.Seal && p.to == p.from {
		return nil // nothing whole to seal
	}
	complete, err := x.complete(m, p)
	if err != nil {
		return err
	}
	if complete {
		if err := m.settleAll(); err != nil { // the run before may have been killed
			return err
		}
		return x.next(m, p)
	}
	if x.begun(m, p.to) && !x.options.Seal {
		return x.noRoom(m, p)
	}
	if err := x.write(ctx, m, p); err != nil {
		return x.filled(ctx, m, p, err)
	}
	return x.next(m, p)
}

// filled: a medium that had less room than it said is one that is full, if there
// is another.
func (x *export) filled(ctx context.Context, m medium, p part, err error) error {
	if !x.options.More || !errors.Is(err, ErrNoSpace) {
		return err
	}
	if less, failed := x.fit(m); failed == nil && less.to == p.to {
		return err
	}
	return x.onto(ctx, m)
}

// next is the error that asks for another medium, nil if none is needed.
func (x *export) next(m medium, p part) error {
	if p.to == x.wanted.to {
		return nil
	}
	return &NextMediumError{Dir: m.dir, Volume: p.to + 1, Last: max(x.wanted.to, 1), Bytes: x.need(part{p.to, x.wanted.to})}
}

// begun says whether a volume was begun on a medium.
func (x *export) begun(m medium, volume int) bool {
	return volume < x.layout.Volumes() && m.has(volumeName(volume, x.layout.Volumes()))
}

// noRoom: a volume was begun that does not fit any more. What there is of it
// stays, for when there is room again, or to be copied to the next medium.
func (x *export) noRoom(m medium, p part) error {
	if x.options.More {
		next := x.next(m, p).(*NextMediumError)
		next.Begun = true
		return next
	}
	return fmt.Errorf("%w: %s was begun in %s and does not fit any more", ErrNoSpace, volumeName(p.to, x.layout.Volumes()), m.dir)
}

// write brings a medium to completion.
func (x *export) write(ctx context.Context, m medium, p part) (err error) {
	ck, err := newCheckpoint(x.bytes, x.options.Key, x.options.Checkpoint)
	if err != nil {
		return err
	}
	files := &volumeFiles{medium: m, layout: x.layout, part: p, checkpoint: ck, notice: x.options.Progress.note}
	defer func() { err = errors.Join(err, ck.close(), files.close()) }()
	s, err := x.begin(ctx, files)
	if err != nil {
		return err
	}
	sums, err := x.archive(ctx, files, s)
	if err != nil {
		return err
	}
	return x.seal(files, sums)
}

// archive writes the volumes, from a state on, and gives their sums. However it
// ends, what was written until then is recorded, if the medium still takes it.
func (x *export) archive(ctx context.Context, files *volumeFiles, s *state) (sums []verify.Sum, err error) {
	total := x.layout.within(files.part, 0, x.layout.Size)
	done := x.options.Progress.resume("fetch", "bytes", x.layout.within(files.part, 0, s.at.offset), total)
	c := &committer{layout: x.layout, part: files.part, out: files, written: done.add, at: s.at, start: s.start, open: files.file != nil}
	defer func() {
		if err != nil && !c.hurt {
			err = errors.Join(err, c.checkpoint())
		}
	}()
	err = x.entries(ctx, c, x.layout.pieces(files.part, s.at.offset, s.blob))
	return c.at.sums, err
}

// entries appends pieces, and the end.
func (x *export) entries(ctx context.Context, c *committer, pieces []piece) error {
	f := newFetcher(ctx, jobs(x.options.Jobs), pieces, x.sources)
	defer f.stop()
	for _, p := range pieces {
		if err := x.entry(ctx, c, p, f); err != nil {
			return err
		}
	}
	return c.finish()
}

// entry appends one file of the archive. One whose first bytes were wrong is
// fetched a second time, from its registry.
func (x *export) entry(ctx context.Context, c *committer, p piece, f *fetcher) error {
	if p.inline != nil {
		return c.entry(p, once(p.contents()[p.from:]))
	}
	taken := int64(0)
	err := c.entry(p, func() (chunk, error) {
		got, err := f.next()
		taken += int64(len(got.bytes))
		return got, err
	})
	if errors.Is(err, errNoWayBack) {
		return x.sources.fetchError(p.Digest, err)
	}
	if c.hurt || !errors.Is(err, errWrongBytes) {
		return err
	}
	for taken < p.Size-p.from { // the rest of what is wrong
		got, err := f.next()
		if len(got.bytes) == 0 {
			return err
		}
		taken += int64(len(got.bytes))
	}
	return x.again(ctx, c, p.Entry)
}

// once gives bytes that are at hand.
func once(contents []byte) chunks {
	return func() (chunk, error) { return chunk{bytes: contents}, nil }
}

// again fetches an entry from its start.
func (x *export) again(ctx context.Context, c *committer, e Entry) error {
	r, err := x.sources.fetch(ctx, e, 0, e.Size)
	if err != nil {
		return err
	}
	defer r.Close()
	buffer := make([]byte, 1<<20)
	err = c.entry(piece{Entry: e}, func() (chunk, error) {
		n, err := r.Read(buffer)
		if n > 0 {
			err = nil
		}
		return chunk{bytes: buffer[:n]}, err
	})
	if errors.Is(err, errWrongBytes) {
		err = x.sources.fetchError(e.Digest, err)
	}
	return err
}
