package bundle

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"io/fs"
	"os"
	"time"

	"airlift/verify"
)

// A checkpoint is a line of bundle.checkpoint: a code over the rest, a space,
// and a record as JSON. It is appended when what it speaks of is durable, so it
// may lag behind the medium and never runs ahead of it. The last good line counts; one that was torn off, or
// belongs to another bundle, is not good.
//
// The code is keyed: with it nobody who has the medium between two runs can make
// the second one sign sums of something else.
type checkpoint struct {
	key   []byte
	every int64 // bytes between two checkpoints

	file  storedFile
	sums  int // volumes that were recorded as complete
	last  int64
	since time.Time
}

// DefaultCheckpoint is how many bytes are written between two checkpoints, if
// checkpointInterval does not end before.
const (
	DefaultCheckpoint  = 64 << 20
	checkpointInterval = 5 * time.Second
)

// newCheckpoint makes checkpoints of the bundle with this bundle.json.
func newCheckpoint(inventory []byte, key *ecdsa.PrivateKey, every int64) (*checkpoint, error) {
	secret := []byte("unsigned")
	if key != nil {
		var err error
		if secret, err = key.Bytes(); err != nil {
			return nil, err
		}
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("airlift.checkpoint/1\n"))
	mac.Write(inventory)
	if every <= 0 {
		every = DefaultCheckpoint
	}
	return &checkpoint{key: mac.Sum(nil), every: every}, nil
}

// record is what a checkpoint says.
type record struct {
	From  int        `json:"from"`           // the first volume on this medium behind the one that all have
	At    place      `json:"at"`             // as far as the medium is good
	Start place      `json:"start"`          // of the file of the archive that At lies in
	Blob  []byte     `json:"blob,omitempty"` // state of the hash of its contents up to At; absent between two files
	Sums  []knownSum `json:"sums,omitempty"` // of complete volumes that earlier lines did not have
}

// place is an offset in the archive, the number of volumes on this medium that are
// complete there, and the state of the hash of the volume that it lies in.
type place struct {
	Offset int64  `json:"offset"`
	Known  int    `json:"known"`
	Sum    []byte `json:"sum"`
}

type knownSum struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
}

// state is a record, ready to go on from.
type state struct {
	from      int
	at, start position
	blob      hash.Hash
}

// due says whether it is time for a checkpoint.
func (c *checkpoint) due(at position) bool {
	return at.offset-c.last >= c.every || len(at.sums) != c.sums || time.Since(c.since) >= checkpointInterval
}

// append writes a line and makes it durable.
func (c *checkpoint) append(s state) error {
	r := record{From: s.from}
	var err error
	if r.At, err = newPlace(s.at); err != nil {
		return err
	}
	if r.Start, err = newPlace(s.start); err != nil {
		return err
	}
	if s.blob != nil {
		if r.Blob, err = hashState(s.blob); err != nil {
			return err
		}
	}
	for _, sum := range s.at.sums[min(c.sums, len(s.at.sums)):] {
		r.Sums = append(r.Sums, knownSum{sum.Name, hex.EncodeToString(sum.SHA256[:])})
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err := c.file.Write(c.line(data)); err != nil {
		return storageError(err)
	}
	if err := c.file.Sync(); err != nil {
		return storageError(err)
	}
	c.done(s.at)
	return nil
}

// restart writes the first line. What stood there before was not believed: it
// must not come back once the medium has been written to.
func (c *checkpoint) restart(s state) error {
	c.sums = 0
	return c.append(s)
}

func (c *checkpoint) close() error {
	if c.file == nil {
		return nil
	}
	return storageError(c.file.Close())
}

// done notes that everything up to a position is recorded.
func (c *checkpoint) done(at position) {
	c.sums, c.last, c.since = len(at.sums), at.offset, time.Now()
}

func (c *checkpoint) line(data []byte) []byte {
	return append(append([]byte(c.code(data)+" "), data...), '\n')
}

func (c *checkpoint) code(data []byte) string {
	mac := hmac.New(sha256.New, c.key)
	mac.Write(data)
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

func newPlace(p position) (place, error) {
	if p.sum == nil {
		return place{Offset: p.offset, Known: len(p.sums)}, nil
	}
	sum, err := hashState(p.sum)
	return place{p.offset, len(p.sums), sum}, err
}

func hashState(h hash.Hash) ([]byte, error) { return h.(encoding.BinaryMarshaler).MarshalBinary() }

func hashFrom(state []byte) (hash.Hash, error) {
	h := sha256.New()
	return h, h.(encoding.BinaryUnmarshaler).UnmarshalBinary(state)
}

// maxLine is the longest line, in bytes: all sums at once take 120 KB.
const maxLine = 1 << 20

// read gives what the last good line says, nil if there is none, and the size
// of the file up to its end.
func (c *checkpoint) read(path string) (*state, int64, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	lines := bufio.NewReaderSize(f, maxLine)
	var best *state
	var sums []verify.Sum
	size, offset := int64(0), int64(0)
	for {
		line, err := lines.ReadSlice('\n')
		if offset += int64(len(line)); err != nil { // the end, a torn line, or none of ours
			return best, size, nil
		}
		s := c.parse(line, sums)
		if s == nil {
			continue
		}
		best, sums, size = s, s.at.sums, offset
	}
}

// parse gives the state of a good line, nil of any other.
func (c *checkpoint) parse(line []byte, sums []verify.Sum) *state {
	code, data, found := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
	if !found || !hmac.Equal(code, []byte(c.code(data))) {
		return nil
	}
	var r record
	if json.Unmarshal(data, &r) != nil {
		return nil
	}
	s, err := r.state(sums)
	if err != nil {
		return nil
	}
	return s
}

// state takes the sums of the lines before, as far as they still hold.
func (r record) state(sums []verify.Sum) (*state, error) {
	before := r.At.Known - len(r.Sums)
	if before < 0 || before > len(sums) || r.Start.Known < 0 || r.Start.Known > r.At.Known {
		return nil, errors.New("a line before is lost")
	}
	s := &state{from: r.From, at: position{offset: r.At.Offset}, start: position{offset: r.Start.Offset}}
	s.at.sums = append([]verify.Sum(nil), sums[:before]...)
	for _, known := range r.Sums {
		sum, err := hex.DecodeString(known.SHA256)
		if err != nil || len(sum) != sha256.Size {
			return nil, errors.New("not a sum")
		}
		s.at.sums = append(s.at.sums, verify.Sum{Name: known.Name, SHA256: [sha256.Size]byte(sum)})
	}
	var err error
	if s.at.sum, err = hashFrom(r.At.Sum); err != nil {
		return nil, err
	}
	s.start.sums = s.at.sums[:r.Start.Known:r.Start.Known]
	if s.start.sum, err = hashFrom(r.Start.Sum); err != nil {
		return nil, err
	}
	if r.Blob != nil {
		s.blob, err = hashFrom(r.Blob)
	}
	return s, err
}
