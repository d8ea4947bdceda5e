package bundle

import (
	"context"
	"fmt"
	"os"
)

// fileSlack is what a file may take beyond its contents: its last cluster
// (64 KiB on large FAT volumes) and its place in a directory, in bytes.
const fileSlack = 64<<10 + 4<<10

// checkpointSize is what a checkpoint takes, in bytes, about.
const checkpointSize = 1 << 10

// fit gives the part of the wanted volumes that a medium has room for, from the
// first of them on. With all of them there is nothing left to choose; with none
// it is ErrNoSpace.
func (x *export) fit(m medium) (part, error) {
	if x.options.Seal { // they are there, whatever else has taken the room
		return part{x.wanted.from, x.whole(m)}, nil
	}
	names, err := m.bundleFiles()
	if err != nil {
		return part{}, err
	}
	free, err := freeBytes(m.dir)
	if err != nil {
		return part{}, err
	}
	have := free + m.size(names) + int64(len(names))*fileSlack // what is there has its place already
	p := x.wanted
	if err := x.checkFiles(m, p); err != nil {
		return part{}, err
	}
	for p.to > p.from+1 && x.need(p) > have {
		p.to--
	}
	if need := x.need(p); need > have {
		if x.options.More && m.has(InventoryFile) {
			return part{}, &NextMediumError{Dir: m.dir, Volume: min(p.from+1, x.layout.Volumes()), Last: max(x.wanted.to, 1), Bytes: need, Begun: true}
		}
		what := "the bundle"
		if x.layout.Volumes() > 1 {
			what = fmt.Sprintf("%s with the first volume", volumeName(p.from, x.layout.Volumes()))
		}
		return part{}, fmt.Errorf("%w: %s has %d bytes free, %s needs %d", ErrNoSpace, m.dir, have, what, need)
	}
	return p, nil
}

// whole is the first of the wanted volumes that is not on a medium in its full
// length.
func (x *export) whole(m medium) int {
	for v := x.wanted.from; v < x.wanted.to; v++ {
		start, end := x.layout.volume(v)
		if m.size([]string{volumeName(v, x.layout.Volumes())}) != end-start {
			return v
		}
	}
	return x.wanted.to
}

// checkFiles refuses volumes that are larger than a file may be.
func (x *export) checkFiles(m medium, p part) error {
	limit, err := MaxFileSize(m.dir)
	if err != nil || limit == 0 {
		return err
	}
	for _, v := range p.volumes() {
		if start, end := x.layout.volume(v); end-start > limit {
			return fmt.Errorf("%w: %s of %d bytes is larger than a file on %s can be (FAT, %d bytes)",
				ErrUsage, volumeName(v, x.layout.Volumes()), end-start, m.dir, limit)
		}
	}
	return nil
}

// need is the bytes that a medium must have for a part.
func (x *export) need(p part) int64 {
	volumes := x.layout.within(p, 0, x.layout.Size)
	small := int64(len(x.bytes) + len(x.readme) + sumsSize(x.inv))
	return volumes + small + volumes/DefaultCheckpoint*checkpointSize + int64(len(p.volumes())+6)*fileSlack
}

// begin brings a medium to where volumes can be appended, and says how far it is.
func (x *export) begin(ctx context.Context, files *volumeFiles) (*state, error) {
	if !files.has(InventoryFile) {
		if err := x.label(files.medium); err != nil {
			return nil, err
		}
	} else if err := x.resume(files); err != nil {
		return nil, err
	}
	s, size, err := x.found(ctx, files)
	if err != nil {
		return nil, err
	}
	if files.checkpoint.file, err = files.reopen(CheckpointFile, size); err != nil {
		return nil, err
	}
	if files.checkpoint.done(s.at); size == 0 {
		err = files.checkpoint.restart(*s)
	}
	if err != nil {
		return nil, err
	}
	return s, files.continueAt(s.at.offset)
}

// resume makes a medium that holds some of the bundle ready for more.
func (x *export) resume(files *volumeFiles) error {
	if err := files.foreign(); err != nil {
		return err
	}
	if err := x.unseal(files.medium); err != nil {
		return err
	}
	return x.relabel(files.medium)
}

// found is how far a medium is: as its checkpoint says, if that is whole and
// there is what it speaks of; else as reading it shows.
func (x *export) found(ctx context.Context, files *volumeFiles) (*state, int64, error) {
	s, size, err := files.checkpoint.read(files.path(CheckpointFile))
	if err != nil {
		return nil, 0, err
	}
	if s != nil && !x.options.Recheck && files.holds(s) {
		return s, size, nil
	}
	s, err = x.scan(ctx, files)
	return s, 0, err
}

// scan reads what is on a medium.
func (x *export) scan(ctx context.Context, files *volumeFiles) (*state, error) {
	there, bytes := map[int]volumeFile{}, int64(0)
	for _, v := range files.part.volumes() {
		if n := files.length(v); n >= 0 {
			there[v] = volumeFile{v, files.path(files.name(v)), n}
			bytes += n
		}
	}
	volumes, err := openVolumes(x.layout, there)
	if err != nil {
		return nil, err
	}
	defer volumes.close()
	read := func(int64) {}
	if bytes > 0 {
		read = x.options.Progress.begin("recheck", "bytes", bytes).add
	}
	return scan(ctx, x.layout, files.part, volumes, x.layout.pieces(files.part, 0, nil), read)
}

// foreign refuses volumes that do not belong to the part.
func (f *volumeFiles) foreign() error {
	for v := 1; v < f.part.from; v++ {
		if f.has(f.name(v)) {
			return fmt.Errorf("%w: %s holds %s, another part of this bundle", ErrUsage, f.dir, f.name(v))
		}
	}
	s, _, err := f.checkpoint.read(f.path(CheckpointFile))
	switch {
	case err != nil:
		return err
	case s == nil:
		return f.gap()
	case s.from != f.part.from:
		return fmt.Errorf("%w: %s holds another part of this bundle, from volume %d on", ErrUsage, f.dir, s.from+1)
	}
	return nil
}

// gap refuses volumes behind one that is not there: without a checkpoint that says
// otherwise they were written for another part.
func (f *volumeFiles) gap() error {
	first := f.part.from
	for v := first; v < f.layout.Volumes(); v++ {
		if f.has(f.name(v)) && !f.has(f.name(first)) {
			return fmt.Errorf("%w: %s holds %s, another part of this bundle", ErrUsage, f.dir, f.name(v))
		}
	}
	return nil
}

// continueAt cuts the volumes to what is good, and opens the one under way. Those
// that are complete may have been read, and not be durable.
func (f *volumeFiles) continueAt(offset int64) error {
	for _, v := range f.part.volumes() {
		start, end := f.layout.volume(v)
		if end > offset {
			break
		}
		if err := f.trim(f.name(v), end-start); err != nil {
			return err
		}
	}
	volume, within := f.layout.at(offset)
	if !f.part.has(volume) {
		within = 0
	}
	return f.cut(volume, within)
}

// length is the size of a volume's file, -1 if it is not there.
func (f *volumeFiles) length(volume int) int64 {
	info, err := os.Stat(f.path(f.name(volume)))
	if err != nil || !info.Mode().IsRegular() {
		return -1
	}
	return info.Size()
}
