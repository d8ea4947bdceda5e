package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"airlift/verify"
)

// streamPiece is how many bytes of a stream are read and hashed at once, if so
// many are there.
const streamPiece = 256 << 10

// Stream is a bundle that comes from start to end, through a pipe. It has no
// volumes that could be opened.
type Stream struct {
	*Bundle
	in     *tarReader
	readme [sha256.Size]byte
}

// OpenStream reads a stream up to its first volume. It is the door to what comes
// through a pipe, as Open is to directories: nothing of bundle.json is parsed
// before a trusted key's signature over it fits.
func OpenStream(r io.Reader, trust Trust) (*Stream, error) {
	s := &Stream{Bundle: &Bundle{trust: trust}, in: newTarReader(r)}
	readme, err := s.in.file(ReadmeFile, maxReadmeSize)
	if err != nil {
		return nil, err
	}
	s.readme = sha256.Sum256(readme)
	if s.bytes, err = s.in.file(InventoryFile, MaxInventorySize); err != nil {
		return nil, err
	}
	if s.Signers, s.Unchecked, err = s.judge(InventoryFile, s.bytes); err != nil {
		return nil, err
	}
	if s.Inventory, err = ParseInventory(s.bytes); err != nil {
		return nil, err
	}
	if s.Layout, err = s.Inventory.layout(); err != nil {
		return nil, err
	}
	first := s.Inventory.Storage.Volumes[0]
	return s, s.in.expect(first.Name, first.Size)
}

// judge reads the signatures that follow a file, and decides whether it is
// trusted.
func (s *Stream) judge(file string, contents []byte) (signers, unchecked []string, err error) {
	found, err := s.signatures(file)
	if err != nil {
		return nil, nil, err
	}
	for _, place := range s.trust.Signatures {
		if err := s.trust.collect(found, place, file, true); err != nil {
			return nil, nil, err
		}
	}
	return s.trust.judge(file, contents, found)
}

// signatures reads those over a file: sorted by id, each once.
func (s *Stream) signatures(file string) (map[string][]signature, error) {
	found, last := map[string][]signature{}, ""
	for {
		name, err := s.in.peek()
		if err != nil {
			return nil, err
		}
		id, is := signatureID(file, name)
		switch {
		case !is:
			return found, nil
		case id <= last:
			return nil, fmt.Errorf("%w: the stream has %s where it does not belong", ErrDamaged, name)
		case len(found) == maxStreamSignatures:
			return nil, fmt.Errorf("%w: the stream has more than %d signatures of %s", ErrDamaged, maxStreamSignatures, file)
		}
		signed, err := s.in.file(name, verify.MaxSignatureSize)
		if err != nil {
			return nil, err
		}
		found[id], last = []signature{{path: name, contents: signed}}, id
	}
}

// each hands every file of the archive, in its order, to visit, which need not
// read all of it; contents end in io.EOF only if their digest is right. Then it
// reads on to the end of the stream, where the sums and their signatures are. The
// first thing wrong ends it, and so does an error of visit.
func (s *Stream) each(ctx context.Context, visit func(e Entry, contents io.Reader) error) error {
	a := &archiveReader{ctx: ctx, stream: s, sum: sha256.New(), scrap: s.scrap()}
	nodes, said := s.Inventory.Content.nodeByDigest(), newNodeCheck(&s.Inventory.Content)
	for _, e := range s.Layout.Entries {
		if err := a.entry(e, nodes, said, visit); err != nil {
			return err
		}
	}
	if err := a.expect(make([]byte, endSize), "end", Entry{}); err != nil {
		return err
	}
	return s.seal(a.sums)
}

// scrap is room for contents that nobody wants.
func (s *Stream) scrap() []byte { return make([]byte, min(streamPiece, s.Layout.Size)) }

// seal reads what follows the volumes.
func (s *Stream) seal(volumes []verify.Sum) error {
	contents, err := s.in.file(SumsFile, maxSumsSize)
	if err != nil {
		return err
	}
	if _, _, err := s.judge(SumsFile, contents); err != nil {
		return err
	}
	want := append([]verify.Sum{{Name: ReadmeFile, SHA256: s.readme}, {Name: InventoryFile, SHA256: sha256.Sum256(s.bytes)}}, volumes...)
	if !bytes.Equal(contents, verify.FormatSums(want)) {
		return fmt.Errorf("%w: %s is not that of the files before it", ErrDamaged, SumsFile)
	}
	return s.in.end()
}

// Check reads the stream to its end. What is wrong first is the only finding: what
// follows cannot be judged by itself.
func (s *Stream) Check(ctx context.Context, progress Progress) error {
	done := progress.begin("verify", "bytes", s.Layout.Size)
	scrap := s.scrap()
	err := s.each(ctx, func(e Entry, contents io.Reader) error {
		if err := discard(&countingReader{contents, done.add}, scrap); err != nil {
			return err
		}
		done.add(e.end() - e.Offset - e.Size) // header and padding
		return nil
	})
	if err == nil {
		done.add(endSize)
	}
	return err
}
