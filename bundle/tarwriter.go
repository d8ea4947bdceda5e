package bundle

import (
	"fmt"
	"io"
)

// tarWriter writes a bundle as a stream: its files as a tar, with the same fixed
// headers as in the archive.
type tarWriter struct {
	w    io.Writer
	name string // of the file under way
	left int64  // bytes of it still to come
	size int64
}

func newTarWriter(w io.Writer) *tarWriter { return &tarWriter{w: w} }

// begin writes the header of the next file.
func (t *tarWriter) begin(name string, size int64) error {
	t.name, t.size, t.left = name, size, size
	h := tarHeader(name, size)
	return t.write(h[:])
}

// Write writes contents of the file under way, at most as many as it was begun with.
func (t *tarWriter) Write(p []byte) (int, error) {
	if int64(len(p)) > t.left {
		return 0, fmt.Errorf("write %s: more than its %d bytes", t.name, t.size)
	}
	t.left -= int64(len(p))
	return len(p), t.write(p)
}

// end pads the file under way, all of which must have been written.
func (t *tarWriter) end() error {
	if t.left > 0 {
		return fmt.Errorf("write %s: it lacks %d bytes", t.name, t.left)
	}
	return t.write(make([]byte, roundUp(t.size)-t.size))
}

// files writes whole small files.
func (t *tarWriter) files(files []file) error {
	for _, f := range files {
		if err := t.file(f.name, f.contents); err != nil {
			return err
		}
	}
	return nil
}

func (t *tarWriter) file(name string, contents []byte) error {
	if err := t.begin(name, int64(len(contents))); err != nil {
		return err
	}
	if _, err := t.Write(contents); err != nil {
		return err
	}
	return t.end()
}

// close writes the end of the stream.
func (t *tarWriter) close() error { return t.write(make([]byte, endSize)) }

func (t *tarWriter) write(p []byte) error {
	if _, err := t.w.Write(p); err != nil {
		return fmt.Errorf("write the stream: %w", err)
	}
	return nil
}
