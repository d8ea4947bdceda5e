package bundle

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"airlift/oci"
	"airlift/verify"
)

// ExportOptions say how a planned content is written. The zero value writes one
// unsigned volume.
type ExportOptions struct {
	Key      *ecdsa.PrivateKey // signs; nil = an unsigned bundle
	Restart  bool              // remove what an unfinished export left in the directory
	Jobs     int               // blobs fetched at once; 0 = 8
	Progress Progress
}

const defaultJobs = 8

func jobs(n int) int {
	if n <= 0 {
		return defaultJobs
	}
	return n
}

// Export writes the bundle of an inventory into a directory that holds no other
// one. The directory is complete once Export returns nil; until then it holds
// bundle.checkpoint. Free space for all of it is checked before the first byte.
//
// What a source gives is hashed before it counts. Bytes that are wrong twice end
// the export; they do not stay on the medium.
func Export(ctx context.Context, client *oci.Client, inv *Inventory, dir string, o ExportOptions) error {
	x, err := newExport(client, inv, o)
	if err != nil {
		return err
	}
	nodes, err := x.nodes(ctx)
	if err != nil {
		return err
	}
	if err := x.take(medium{dir}); err != nil {
		return err
	}
	if err := x.begin(); err != nil {
		return err
	}
	sums, err := x.archive(ctx, nodes)
	if err != nil {
		return err
	}
	return x.seal(sums)
}

// export is one run of Export.
type export struct {
	inv     *Inventory
	layout  *Layout
	bytes   []byte // bundle.json
	readme  []byte
	sources *sources
	medium  medium
	options ExportOptions
}

func newExport(client *oci.Client, inv *Inventory, o ExportOptions) (*export, error) {
	layout, err := newLayout(&inv.Content, inv.Storage.VolumeSize)
	if err != nil {
		return nil, err
	}
	data, err := inv.Bytes()
	if err != nil {
		return nil, err
	}
	return &export{inv: inv, layout: layout, bytes: data, readme: readme(inv), sources: newSources(client, &inv.Content), options: o}, nil
}

// BytesToWrite is the exact number of bytes that exporting an inventory writes,
// but for signatures (72 bytes at most, each).
func BytesToWrite(inv *Inventory) (int64, error) {
	data, err := inv.Bytes()
	if err != nil {
		return 0, err
	}
	return inv.Storage.Size + int64(len(data)+len(readme(inv))+sumsSize(inv)), nil
}

// fileSlack is what a file may take beyond its contents: its last cluster
// (64 KiB on large FAT volumes) and its place in a directory, in bytes.
const fileSlack = 64<<10 + 4<<10

// take takes the directory, if the bundle fits into it.
func (x *export) take(m medium) error {
	leftovers, err := m.leftovers(x.options.Restart)
	if err != nil {
		return err
	}
	need, err := BytesToWrite(x.inv)
	if err != nil {
		return err
	}
	need += int64(len(x.inv.Storage.Volumes)+6) * fileSlack
	free, err := m.free(leftovers)
	if err != nil {
		return err
	}
	if need > free {
		return fmt.Errorf("%w: %s has %d bytes free, the bundle needs %d", ErrNoSpace, m.dir, free, need)
	}
	x.medium = m
	return m.take(leftovers)
}

// begin writes all that comes before the payload: who finds the directory knows
// what it is, and that it is not finished.
func (x *export) begin() error {
	if err := x.medium.write(CheckpointFile, nil); err != nil {
		return err
	}
	if err := x.medium.write(ReadmeFile, x.readme); err != nil {
		return err
	}
	if err := x.medium.write(InventoryFile, x.bytes); err != nil {
		return err
	}
	return x.sign(InventoryFile, x.bytes)
}

func (x *export) sign(file string, contents []byte) error {
	if x.options.Key == nil {
		return nil
	}
	signature, err := verify.Sign(x.options.Key, contents)
	if err != nil {
		return err
	}
	return x.medium.write(signatureFile(file, verify.PublicKeyOf(x.options.Key).ID()), signature)
}

// nodes brings all manifests and indexes, before anything is written: they are
// small, and the first volume begins with them.
func (x *export) nodes(ctx context.Context) (map[digest.Digest][]byte, error) {
	got := make([][]byte, len(x.inv.Content.Nodes))
	err := forEach(ctx, jobs(x.options.Jobs), len(got), func(ctx context.Context, i int) (err error) {
		got[i], err = x.sources.node(ctx, x.inv.Content.Nodes[i])
		return err
	})
	nodes := make(map[digest.Digest][]byte, len(got))
	for i, n := range x.inv.Content.Nodes {
		nodes[n.Digest] = got[i]
	}
	return nodes, err
}

// archive writes the volumes and gives their sums.
func (x *export) archive(ctx context.Context, nodes map[digest.Digest][]byte) (_ []verify.Sum, err error) {
	c, err := newCommitter(x.medium, x.layout, x.options.Progress.begin("fetch", "bytes", x.layout.Size).add)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	blobs := x.blobs(nodes)
	p := prefetch(ctx, jobs(x.options.Jobs), blobs, x.sources.blob)
	defer p.stop()
	for _, e := range x.layout.Entries {
		if err := x.entry(ctx, c, p, e, nodes); err != nil {
			return nil, err
		}
	}
	return c.finish()
}

// blobs are the entries that are fetched: all that is neither inline nor a node.
func (x *export) blobs(nodes map[digest.Digest][]byte) []Entry {
	var blobs []Entry
	for _, e := range x.layout.Entries {
		if _, node := nodes[e.Digest]; e.inline == nil && !node {
			blobs = append(blobs, e)
		}
	}
	return blobs
}

func (x *export) entry(ctx context.Context, c *committer, p *prefetcher, e Entry, nodes map[digest.Digest][]byte) error {
	if e.inline != nil {
		return c.entry(ctx, e, bytes.NewReader(e.inline))
	}
	if raw, node := nodes[e.Digest]; node {
		return c.entry(ctx, e, bytes.NewReader(raw))
	}
	err := c.entry(ctx, e, p.next())
	if errors.Is(err, errWrongBytes) {
		err = x.again(ctx, c, e)
	}
	return err
}

// again fetches a blob a second time, whose first bytes were wrong.
func (x *export) again(ctx context.Context, c *committer, e Entry) error {
	r, err := x.sources.blob(ctx, e)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := c.entry(ctx, e, r); err != nil {
		return x.sources.fetchError(e.Digest, err)
	}
	return nil
}

// seal writes the sums and their signature, and then takes the checkpoint away:
// the medium is complete.
func (x *export) seal(volumes []verify.Sum) error {
	sums := append([]verify.Sum{
		{Name: ReadmeFile, SHA256: sha256.Sum256(x.readme)},
		{Name: InventoryFile, SHA256: sha256.Sum256(x.bytes)},
	}, volumes...)
	contents := verify.FormatSums(sums)
	if err := x.medium.write(SumsFile, contents); err != nil {
		return err
	}
	if err := x.sign(SumsFile, contents); err != nil {
		return err
	}
	return x.medium.remove(CheckpointFile)
}

// sumsSize is the number of bytes of SHA256SUMS.
func sumsSize(inv *Inventory) int {
	names := []string{ReadmeFile, InventoryFile}
	for _, v := range inv.Storage.Volumes {
		names = append(names, v.Name)
	}
	sums := make([]verify.Sum, len(names))
	for i, n := range names {
		sums[i].Name = n
	}
	return len(verify.FormatSums(sums))
}
