package bundle

import (
	"errors"
	"io"
	"os"
)

// volumeSet reads ranges of the archive from the volumes that are there.
// It may be used by several goroutines at once.
type volumeSet struct {
	layout *Layout
	files  map[int]*os.File
	sizes  map[int]int64 // as found
}

func openVolumes(l *Layout, volumes map[int]volumeFile) (*volumeSet, error) {
	v := &volumeSet{l, map[int]*os.File{}, map[int]int64{}}
	for i, volume := range volumes {
		f, err := os.Open(volume.path)
		if err != nil {
			return nil, errors.Join(err, v.close())
		}
		v.files[i], v.sizes[i] = f, volume.size
	}
	return v, nil
}

func (v *volumeSet) close() error {
	var errs []error
	for _, f := range v.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// all says whether every byte of a range lies in the volumes that are there, and
// before their ends.
func (v *volumeSet) all(offset, length int64) bool {
	for _, s := range v.layout.spans(offset, length) {
		if v.files[s.volume] == nil || s.offset+s.length > v.sizes[s.volume] {
			return false
		}
	}
	return true
}

// from is how many bytes of a range are there, without a gap from its start on.
func (v *volumeSet) from(offset, length int64) int64 {
	n := int64(0)
	for _, s := range v.layout.spans(offset, length) {
		if v.files[s.volume] == nil || s.offset+s.length > v.sizes[s.volume] {
			break
		}
		n += s.length
	}
	return n
}

// any says whether some byte of a range does.
func (v *volumeSet) any(offset, length int64) bool {
	for _, s := range v.layout.spans(offset, length) {
		if v.files[s.volume] != nil {
			return true
		}
	}
	return false
}

// section reads a range, all of whose volumes are there.
func (v *volumeSet) section(offset, length int64) io.Reader {
	var parts []io.Reader
	for _, s := range v.layout.spans(offset, length) {
		parts = append(parts, io.NewSectionReader(v.files[s.volume], s.offset, s.length))
	}
	return &exactReader{io.MultiReader(parts...), length}
}

// read fills p from a range.
func (v *volumeSet) read(p []byte, offset int64) error {
	_, err := io.ReadFull(v.section(offset, int64(len(p))), p)
	return err
}

// exactReader ends in an error if there are fewer bytes than there should be.
type exactReader struct {
	r    io.Reader
	left int64
}

func (r *exactReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.left -= int64(n)
	if err == io.EOF && r.left > 0 {
		err = errors.New("the volume ends before it")
	}
	return n, err
}
