package bundle

import (
	"crypto/sha256"
	"hash"

	"airlift/verify"
)

// position is how far an archive has come on a medium, with the hashes of what
// is there.
type position struct {
	offset int64        // in the archive: all before it that belongs on the medium is there
	sum    hash.Hash    // of the volume that offset lies in, up to it
	sums   []verify.Sum // of the volumes that are complete, in order
}

func newPosition() position { return position{sum: sha256.New()} }

// clone is a position that stays where it is when the other goes on.
func (p position) clone() position {
	if p.sum != nil {
		p.sum = cloneHash(p.sum)
	}
	return p
}

// cloneHash is a hash that goes on by itself.
func cloneHash(h hash.Hash) hash.Hash {
	clone, err := h.(hash.Cloner).Clone()
	if err != nil { // SHA-256 can be cloned; a build in which it cannot has no use
		panic(err)
	}
	return clone
}

// part is the volumes that one medium gets, counted from 0: the first, which
// every medium has, and those from one up to another.
type part struct{ from, to int }

func (p part) has(volume int) bool { return volume == 0 || p.from <= volume && volume < p.to }

// volumes lists the volumes of a part.
func (p part) volumes() []int {
	list := []int{0}
	for v := p.from; v < p.to; v++ {
		list = append(list, v)
	}
	return list
}

// piece is one file of the archive that is still to be written, or its rest.
type piece struct {
	Entry
	from int64     // bytes of the contents that are written already
	blob hash.Hash // of these bytes; nil if the header is not written either
}

// sum is a hash of the contents that are written already, to go on with.
func (p piece) sum() hash.Hash {
	if p.blob == nil {
		return sha256.New()
	}
	return cloneHash(p.blob)
}

// pieces are what a part holds behind a position, in archive order. A file that
// begins in a volume of another medium is among them from its first byte: its
// digest is that of the whole. blob is the hash of the one that was under way.
func (l *Layout) pieces(p part, offset int64, blob hash.Hash) []piece {
	var list []piece
	for _, e := range l.Entries {
		switch {
		case e.end() <= offset || l.within(p, e.Offset, e.end()) == 0:
		case e.Offset < offset:
			list = append(list, piece{e, offset - e.data(), blob})
		default:
			list = append(list, piece{Entry: e})
		}
	}
	return list
}

// within is how many of the bytes between two offsets lie in a part.
func (l *Layout) within(p part, start, end int64) int64 {
	total := int64(0)
	for _, s := range l.spans(start, end-start) {
		if p.has(s.volume) {
			total += s.length
		}
	}
	return total
}

// at says in which volume an offset lies, and how far from its start. The end of
// the archive is the start of a volume that does not exist.
func (l *Layout) at(offset int64) (volume int, within int64) {
	if offset == l.Size {
		return len(l.cuts), 0
	}
	s := l.spans(offset, 1)[0]
	return s.volume, s.offset
}
