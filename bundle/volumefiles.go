package bundle

import (
	"hash"
	"slices"
	"time"

	"airlift/verify"
)

// volumeFiles are the volumes as files of a medium, with its checkpoint.
type volumeFiles struct {
	medium
	layout     *Layout
	part       part
	checkpoint *checkpoint
	notice     func(string) // told when the medium is slow

	file storedFile // of the volume under way
}

func (f *volumeFiles) name(volume int) string { return volumeName(volume, f.layout.Volumes()) }

func (f *volumeFiles) begin(volume int) (err error) {
	f.file, err = f.create(f.name(volume))
	return err
}

func (f *volumeFiles) Write(p []byte) (n int, err error) {
	err = f.patiently(func() error {
		n, err = f.file.Write(p)
		return storageError(err)
	})
	return n, err
}

func (f *volumeFiles) sync() error {
	if f.file == nil {
		return nil // complete volumes are durable
	}
	return f.patiently(func() error { return storageError(f.file.Sync()) })
}

func (f *volumeFiles) end() error {
	file := f.file
	f.file = nil
	return f.patiently(func() error { return f.finish(file) })
}

func (f *volumeFiles) close() error {
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return storageError(err)
}

func (f *volumeFiles) due(at position) bool { return f.checkpoint.due(at) }

func (f *volumeFiles) record(at, start position, blob hash.Hash) error {
	return f.patiently(func() error { return f.checkpoint.append(state{f.part.from, at, start, blob}) })
}

// cut removes what lies behind the first bytes of a volume.
func (f *volumeFiles) cut(volume int, length int64) error {
	if err := f.close(); err != nil {
		return err
	}
	if length == 0 {
		return f.removeFrom(volume)
	}
	if err := f.removeFrom(volume + 1); err != nil {
		return err
	}
	var err error
	f.file, err = f.reopen(f.name(volume), length)
	return err
}

// removeFrom removes a volume and those behind it, the last one first.
func (f *volumeFiles) removeFrom(volume int) error {
	var gone []string
	for v := f.layout.Volumes() - 1; v >= volume; v-- {
		if f.has(f.name(v)) {
			gone = append(gone, f.name(v))
		}
	}
	if gone == nil {
		return nil
	}
	return f.remove(gone...)
}

// holds says whether the files are there that a state speaks of, with at least
// as many bytes.
func (f *volumeFiles) holds(s *state) bool {
	volume, within := f.layout.at(s.at.offset)
	if within > 0 && f.part.has(volume) && f.length(volume) < within {
		return false
	}
	var complete []string
	for _, v := range f.part.volumes() {
		start, end := f.layout.volume(v)
		if end > s.at.offset {
			break
		}
		if f.length(v) != end-start {
			return false
		}
		complete = append(complete, f.name(v))
	}
	return slices.EqualFunc(complete, s.at.sums, func(name string, sum verify.Sum) bool { return name == sum.Name })
}

// complete says whether sums are those of all volumes of the part.
func (f *volumeFiles) complete(sums []verify.Sum) bool {
	return slices.EqualFunc(f.part.volumes(), sums, func(v int, sum verify.Sum) bool { return f.name(v) == sum.Name })
}

// slowMedium is how long a medium may take for one operation before that is said.
const slowMedium = 10 * time.Second

// patiently waits for the medium as long as it takes, and says so. No time
// limit of the network runs meanwhile.
func (f *volumeFiles) patiently(do func() error) error {
	timer := time.AfterFunc(slowMedium, func() {
		f.notice("the medium has taken nothing for " + slowMedium.String() + ": it is slow, or failing; the network waits for it")
	})
	defer timer.Stop()
	return do()
}
