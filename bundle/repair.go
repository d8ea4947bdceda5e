package bundle

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"airlift/oci"
	"airlift/verify"
)

// Repair makes a complete medium again what it was: it checks every byte, and
// writes those anew that are damaged or gone. Headers, padding and the text for
// people follow from the inventory; blobs are fetched, whole, and hashed before
// they count. The sums stay; if they are gone or damaged themselves, they are
// made and signed again, once all else is right. Volumes that lie on other media
// are no concern.
//
// It gives what it found and mended. An inventory that is damaged, and files that
// are no part of the bundle, cannot be mended: that is an error, with nothing
// changed. Options that are about writing a new medium do not count.
func (o *Output) Repair(ctx context.Context, client *oci.Client, options ExportOptions) (mended []Finding, err error) {
	if o.medium.has(CheckpointFile) {
		return nil, fmt.Errorf("%w: %s is not finished: the command that began it goes on with it", ErrUsage, o.medium.dir)
	}
	b, err := Open([]string{o.medium.dir}, trustOf(options.Key))
	if err != nil {
		return nil, err
	}
	x, err := newExport(client, b.Inventory, ExportOptions{Key: options.Key, Reuse: options.Reuse, Jobs: options.Jobs, Progress: options.Progress})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, x.sources.reuse.close()) }()
	found, err := b.Check(ctx, CheckOptions{Progress: options.Progress})
	if err != nil {
		return nil, err
	}
	r := &repair{export: x, medium: o.medium, damaged: map[int]bool{}}
	if err := r.sort(found); err != nil {
		return nil, err
	}
	return r.found, r.run(ctx)
}

// repair is one run of Repair.
type repair struct {
	*export
	medium     medium
	found      []Finding    // what is to be mended
	ranges     []span       // of the volumes, that are damaged
	damaged    map[int]bool // volumes
	readmeHurt bool         // README.txt is damaged
	sumsHurt   bool         // the sums are, or their signature
}

// sort says of each finding what is to be done about it.
func (r *repair) sort(found []Finding) error {
	listed := r.listed()
	var beyond []error
	for _, f := range found {
		switch volume := r.volumeOf(f.File); {
		case f.isElsewhere() && !listed[f.File]:
			continue
		case volume >= 0:
			r.addVolume(volume, f)
		case f.File == r.medium.path(ReadmeFile):
			r.readmeHurt = true
		case f.File == r.medium.path(SumsFile):
			r.sumsHurt = true
		default:
			beyond = append(beyond, f)
		}
		r.found = append(r.found, f)
	}
	return errors.Join(beyond...)
}

// listed are the volumes that belong on the medium, as its sums say, if they can
// be believed.
func (r *repair) listed() map[string]bool {
	listed := map[string]bool{r.inv.Storage.Volumes[0].Name: true} // every medium has it
	sums, err := r.sealed(r.medium)
	if err != nil {
		return listed
	}
	for _, s := range sums {
		listed[s.Name] = true
	}
	return listed
}

// volumeOf is the volume that a finding's file is, -1 if it is none.
func (r *repair) volumeOf(file string) int {
	return slices.IndexFunc(r.inv.Storage.Volumes, func(v Volume) bool { return v.Name == filepath.Base(file) })
}

// addVolume takes the damaged range of a volume, which for a whole volume is what
// it lacks.
func (r *repair) addVolume(volume int, f Finding) {
	r.damaged[volume] = true
	start, end := r.layout.volume(volume)
	length := f.Length
	if length == 0 {
		length = end - start - f.Offset
	}
	r.ranges = append(r.ranges, span{volume, f.Offset, length})
}

func (r *repair) run(ctx context.Context) error {
	if r.readmeHurt || r.sumsHurt { // without the sums nothing says whether it is right
		if err := r.medium.renew(ReadmeFile, r.readme); err != nil {
			return err
		}
	}
	if len(r.damaged) > 0 {
		if err := r.mend(ctx); err != nil {
			return err
		}
	}
	if err := r.medium.settleAll(); err != nil { // a repair before may have been killed
		return err
	}
	if r.sumsHurt {
		return r.reseal(ctx)
	}
	return nil
}

// mend writes what is damaged, in the order of the archive.
func (r *repair) mend(ctx context.Context) (err error) {
	p := &patcher{medium: r.medium, layout: r.layout, files: map[int]storedFile{}}
	defer func() { err = errors.Join(err, p.close()) }()
	for _, volume := range slices.Sorted(maps.Keys(r.damaged)) {
		if err := p.open(volume); err != nil {
			return err
		}
	}
	var lost []piece // whose contents have to be fetched
	total := int64(0)
	for _, e := range r.layout.Entries {
		if r.touches(e.data(), e.Size) {
			lost, total = append(lost, piece{Entry: e}), total+e.Size
		}
	}
	f := newFetcher(ctx, jobs(r.options.Jobs), lost, r.sources)
	defer f.stop()
	c := &committer{layout: r.layout, part: part{1, r.layout.Volumes()}, out: p, written: r.options.Progress.begin("fetch", "bytes", total).add, at: newPosition()}
	for _, e := range r.layout.Entries {
		if err := r.element(ctx, p, c, e, f); err != nil {
			return err
		}
	}
	if end := r.layout.Size - endSize; r.touches(end, endSize) {
		return p.writeAt(make([]byte, endSize), end)
	}
	return nil
}

// element writes what is damaged of one file of the archive.
func (r *repair) element(ctx context.Context, p *patcher, c *committer, e Entry, f *fetcher) error {
	if r.touches(e.data(), e.Size) {
		p.at = e.Offset
		return r.entry(ctx, c, piece{Entry: e}, f)
	}
	if header := e.header(); r.touches(e.Offset, block) {
		if err := p.writeAt(header[:], e.Offset); err != nil {
			return err
		}
	}
	if padding := e.end() - e.dataEnd(); r.touches(e.dataEnd(), padding) {
		return p.writeAt(make([]byte, padding), e.dataEnd())
	}
	return nil
}

// touches says whether a range of the archive is damaged.
func (r *repair) touches(offset, length int64) bool {
	for _, s := range r.layout.spans(offset, length) {
		for _, d := range r.ranges {
			if d.volume == s.volume && d.offset < s.offset+s.length && s.offset < d.offset+d.length {
				return true
			}
		}
	}
	return false
}

// reseal makes and signs the sums of what is on the medium, which is right.
func (r *repair) reseal(ctx context.Context) error {
	var sums []verify.Sum
	for v, volume := range r.inv.Storage.Volumes {
		if !r.medium.has(volume.Name) {
			continue
		}
		sum, err := fileSum(ctx, r.medium.path(volume.Name))
		if err != nil {
			return err
		}
		sums = append(sums, verify.Sum{Name: volumeName(v, r.layout.Volumes()), SHA256: sum})
	}
	if err := r.medium.remove(SumsFile, signatureFile(SumsFile, keyID(r.options.Key))); err != nil {
		return err
	}
	return r.writeSums(r.medium, sums)
}

func fileSum(ctx context.Context, path string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, &contextReader{ctx, f})
	return [sha256.Size]byte(h.Sum(nil)), err
}

// patcher writes into the volumes of a complete medium. It is a volumeWriter for
// the files of the archive that are written anew.
type patcher struct {
	medium medium
	layout *Layout
	files  map[int]storedFile // of the damaged volumes
	at     int64              // where Write goes on in the archive
}

// open opens a volume, cut to its right size, or makes it.
func (p *patcher) open(volume int) (err error) {
	name := volumeName(volume, p.layout.Volumes())
	start, end := p.layout.volume(volume)
	if !p.medium.has(name) {
		p.files[volume], err = p.medium.create(name)
	} else {
		p.files[volume], err = p.medium.reopen(name, min(end-start, p.medium.size([]string{name})))
	}
	return err
}

func (p *patcher) close() error {
	var errs []error
	for _, volume := range slices.Sorted(maps.Keys(p.files)) {
		if f := p.files[volume]; f != nil {
			errs = append(errs, p.medium.finish(f))
		}
	}
	return errors.Join(errs...)
}

// writeAt writes a range of the archive, where it lies in damaged volumes.
func (p *patcher) writeAt(b []byte, offset int64) error {
	for _, s := range p.layout.spans(offset, int64(len(b))) {
		if f := p.files[s.volume]; f != nil {
			if _, err := f.WriteAt(b[:s.length], s.offset); err != nil {
				return fmt.Errorf("write %s: %w", volumeName(s.volume, p.layout.Volumes()), storageError(err))
			}
		}
		b = b[s.length:]
	}
	return nil
}

func (p *patcher) Write(b []byte) (int, error) {
	if err := p.writeAt(b, p.at); err != nil {
		return 0, err
	}
	p.at += int64(len(b))
	return len(b), nil
}

// cut goes back, to write the same place again.
func (p *patcher) cut(volume int, length int64) error {
	start, _ := p.layout.volume(volume)
	p.at = start + length
	return nil
}

func (p *patcher) begin(int) error                            { return nil }
func (p *patcher) end() error                                 { return nil }
func (p *patcher) sync() error                                { return nil }
func (p *patcher) record(position, position, hash.Hash) error { return nil }
func (p *patcher) due(position) bool                          { return false }
