package bundle

import (
	"context"
	"errors"
	"hash"
	"io"

	"airlift/oci"
)

// ExportStream writes the bundle of an inventory as a stream: a tar of what
// Export would have put into a directory. It needs no seeking and no space of its
// own. What was written cannot be taken back: wrong bytes from a source end it,
// and a stream that ended early is never complete.
func ExportStream(ctx context.Context, client *oci.Client, inv *Inventory, w io.Writer, o ExportOptions) (err error) {
	x, err := newExport(client, inv, ExportOptions{Key: o.Key, Reuse: o.Reuse, Jobs: o.Jobs, Progress: o.Progress})
	if err != nil {
		return err
	}
	x.sources.reuse.proved = true
	defer func() { err = errors.Join(err, x.sources.reuse.close()) }()
	return x.stream(ctx, newTarWriter(w))
}

func (x *export) stream(ctx context.Context, t *tarWriter) error {
	files := []file{{ReadmeFile, x.readme}, {InventoryFile, x.bytes}}
	signed, err := x.signature(InventoryFile, x.bytes)
	if err != nil {
		return err
	}
	if err := t.files(append(files, signed...)); err != nil {
		return err
	}
	c := &committer{
		layout: x.layout, part: part{1, x.layout.Volumes()}, out: &streamedVolumes{t, x.layout},
		written: x.options.Progress.begin("fetch", "bytes", x.layout.Size).add, at: newPosition(),
	}
	if err := x.entries(ctx, c, x.layout.pieces(c.part, 0, nil)); err != nil {
		return err
	}
	sums := x.sums(c.at.sums)
	if signed, err = x.signature(SumsFile, sums); err != nil {
		return err
	}
	if err := t.files(append([]file{{SumsFile, sums}}, signed...)); err != nil {
		return err
	}
	return t.close()
}

// streamedVolumes are the volumes as files of a stream.
type streamedVolumes struct {
	*tarWriter
	layout *Layout
}

func (s *streamedVolumes) begin(volume int) error {
	start, end := s.layout.volume(volume)
	return s.tarWriter.begin(volumeName(volume, s.layout.Volumes()), end-start)
}

func (s *streamedVolumes) cut(int, int64) error                       { return errNoWayBack }
func (s *streamedVolumes) sync() error                                { return nil }
func (s *streamedVolumes) record(position, position, hash.Hash) error { return nil }
func (s *streamedVolumes) due(position) bool                          { return false }
