package bundle

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// tarReader reads the files of a stream. It knows no tar: each header must be, to
// the byte, the one that belongs to the name and the size in it.
type tarReader struct {
	r      *bufio.Reader
	offset int64  // in the stream
	name   string // of the file under way, or of the next one if ahead
	size   int64
	left   int64
	ahead  bool // the header was read, and nothing behind it
}

// newTarReader reads with a buffer for what is small. Pieces larger than that go by
// it.
func newTarReader(r io.Reader) *tarReader { return &tarReader{r: bufio.NewReaderSize(r, 64<<10)} }

// peek gives the name of the next file, "" at the end.
func (t *tarReader) peek() (string, error) {
	if t.ahead {
		return t.name, nil
	}
	var h [block]byte
	if err := t.fill(h[:], "the header behind "+t.name); err != nil {
		return "", err
	}
	if isZero(h[:]) {
		t.name, t.size, t.ahead = "", 0, true
		return "", nil
	}
	name, _, _ := strings.Cut(string(h[:100]), "\x00")
	size, ok := parseTarSize(h[124:136])
	if canonical := tarHeader(name, size); !ok || name == "" || canonical != h {
		return "", fmt.Errorf("%w: the stream has no header that airlift writes at byte %d", ErrDamaged, t.offset-block)
	}
	t.name, t.size, t.left, t.ahead = name, size, size, true
	return name, nil
}

// parseTarSize reads the two forms of a size; the header shows whether it is
// written as it must be.
func parseTarSize(b []byte) (int64, bool) {
	if b[0]&0x80 != 0 {
		n := int64(0)
		for _, c := range b[4:] {
			n = n<<8 | int64(c)
		}
		return n, n > 0
	}
	n := int64(0)
	for _, c := range b[:11] {
		if c < '0' || c > '7' {
			return 0, false
		}
		n = n<<3 | int64(c-'0')
	}
	return n, true
}

// begin reads the header of a file that must be next, with this size.
func (t *tarReader) begin(name string, size int64) error {
	if err := t.expect(name, size); err != nil {
		return err
	}
	t.ahead = false
	return nil
}

// expect looks at the header of the next file.
func (t *tarReader) expect(name string, size int64) error {
	got, err := t.peek()
	if err != nil {
		return err
	}
	if got != name {
		return fmt.Errorf("%w: the stream has %q where %s belongs", ErrDamaged, got, name)
	}
	if t.size != size {
		return fmt.Errorf("%w: %s has %d bytes in the stream, not %d", ErrDamaged, name, t.size, size)
	}
	return nil
}

// file reads a whole small file that must be next.
func (t *tarReader) file(name string, limit int64) ([]byte, error) {
	got, err := t.peek()
	if err != nil {
		return nil, err
	}
	if got == name && t.size > limit {
		return nil, fmt.Errorf("%w: %s has %d bytes in the stream, the limit is %d", ErrDamaged, name, t.size, limit)
	}
	if err := t.begin(name, t.size); err != nil {
		return nil, err
	}
	contents, err := io.ReadAll(t)
	if err != nil {
		return nil, err
	}
	return contents, t.pad()
}

// Read reads contents of the file under way.
func (t *tarReader) Read(p []byte) (int, error) {
	if t.left == 0 {
		return 0, io.EOF
	}
	n, err := t.r.Read(p[:min(int64(len(p)), t.left)])
	t.offset, t.left = t.offset+int64(n), t.left-int64(n)
	if err != nil {
		return n, t.early(t.name, err)
	}
	return n, nil
}

// pad reads what fills the last block of a file.
func (t *tarReader) pad() error {
	padding := make([]byte, roundUp(t.size)-t.size)
	if err := t.fill(padding, t.name); err != nil {
		return err
	}
	if !isZero(padding) {
		return fmt.Errorf("%w: the stream has no zeros behind %s", ErrDamaged, t.name)
	}
	return nil
}

// end reads the end of the stream: zeros, and nothing else.
func (t *tarReader) end() error {
	if name, err := t.peek(); err != nil {
		return err
	} else if name != "" {
		return fmt.Errorf("%w: the stream has %q behind its last file", ErrDamaged, name)
	}
	rest := make([]byte, endSize-block)
	if err := t.fill(rest, "its end"); err != nil {
		return err
	}
	for more, buffer := 0, make([]byte, 64<<10); ; {
		if !isZero(rest) || more > maxStreamEnd {
			return fmt.Errorf("%w: something follows the end of the stream", ErrDamaged)
		}
		n, err := t.r.Read(buffer)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the stream: %w", err)
		}
		rest, more = buffer[:n], more+n
	}
}

func (t *tarReader) fill(p []byte, within string) error {
	n, err := io.ReadFull(t.r, p)
	t.offset += int64(n)
	if err != nil {
		return t.early(within, err)
	}
	return nil
}

// errStreamEnds: a stream was not written to its end, or not read to it.
var errStreamEnds = errors.New("the stream ends early")

func (t *tarReader) early(within string, err error) error {
	if t.offset == 0 && err == io.EOF {
		return fmt.Errorf("%w: nothing came through it", errStreamEnds)
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%w: in %s, at its byte %d", errStreamEnds, within, t.offset)
	}
	return fmt.Errorf("read the stream: %w", err)
}
