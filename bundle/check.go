package bundle

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"airlift/verify"
)

// CheckOptions say how thoroughly a bundle is checked.
type CheckOptions struct {
	Sums     bool // also hash each volume as a whole and hold it against SHA256SUMS
	Jobs     int  // blobs hashed at once; 0 = one a core
	Progress Progress
}

// Check holds every byte of every volume that was given against the layout,
// after all that Quick does. It reports all damage, sorted by volume and offset.
// The error is of the check itself, never of what it finds; Verdict makes one of
// the findings.
func (b *Bundle) Check(ctx context.Context, o CheckOptions) ([]Finding, error) {
	found, err := b.Quick()
	if err != nil {
		return nil, err
	}
	content := &b.Inventory.Content
	c := &check{
		bundle: b, users: content.users(), nodes: content.nodeByDigest(), said: newNodeCheck(content),
		options: o, parts: map[string]bool{},
	}
	if err := c.run(ctx); err != nil {
		return nil, err
	}
	slices.SortFunc(c.found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Offset, b.Offset))
	})
	return append(found, c.found...), nil
}

// Verdict makes one error of findings: nil for none. It is every class of error
// that is among them: ErrDamaged, ErrAbsent, ErrUntrusted.
func Verdict(findings []Finding) error { return joined(findings) }

// check is one run of Check.
type check struct {
	bundle  *Bundle
	users   map[digest.Digest][]string
	nodes   nodeTable
	said    nodeCheck
	options CheckOptions

	done *tally

	mu    sync.Mutex
	found []Finding
	parts map[string]bool // paths of volumes with a part of a blob whose rest was not given
}

func (c *check) run(ctx context.Context) error {
	total := int64(0)
	for _, v := range c.bundle.volumes {
		total += c.bundle.Inventory.Storage.Volumes[v.index].Size
	}
	if c.allSums() {
		total *= 2 // they are read once more
	}
	c.done = c.options.Progress.begin("verify", "bytes", total)
	for _, volumes := range c.bundle.copies() {
		if err := c.archive(ctx, volumes); err != nil {
			return err
		}
	}
	return c.sums(ctx)
}

// copies gives the sets of files to check: all volumes once, then every further
// copy of a volume by itself.
func (b *Bundle) copies() []map[int]volumeFile {
	first := map[int]volumeFile{}
	sets := []map[int]volumeFile{first}
	for _, v := range b.volumes {
		if _, there := first[v.index]; !there {
			first[v.index] = v
		} else {
			sets = append(sets, map[int]volumeFile{v.index: v})
		}
	}
	return sets
}

// archive checks all entries that lie, with any byte, in a set of volumes.
func (c *check) archive(ctx context.Context, volumes map[int]volumeFile) error {
	v, err := openVolumes(c.bundle.Layout, volumes)
	if err != nil {
		return err
	}
	defer v.close()
	l := c.bundle.Layout
	var entries []Entry
	for _, e := range l.Entries {
		if v.any(e.Offset, e.end()-e.Offset) {
			entries = append(entries, e)
		}
	}
	err = forEach(ctx, c.jobs(), len(entries), func(ctx context.Context, i int) error { return c.entry(ctx, v, entries[i]) })
	if err != nil {
		return err
	}
	c.zeros(v, "end", l.Size-endSize, endSize, Entry{})
	return nil
}

func (c *check) jobs() int {
	if c.options.Jobs > 0 {
		return c.options.Jobs
	}
	return runtime.GOMAXPROCS(0)
}

func (c *check) entry(ctx context.Context, v *volumeSet, e Entry) error {
	c.header(v, e)
	c.zeros(v, "padding", e.dataEnd(), e.end()-e.dataEnd(), e)
	return c.contents(ctx, v, e)
}

func (c *check) header(v *volumeSet, e Entry) {
	if !v.all(e.Offset, block) {
		return
	}
	got := make([]byte, block)
	err := v.read(got, e.Offset)
	c.done.add(block)
	if want := e.header(); err == nil && !bytes.Equal(got, want[:]) {
		err = errors.New("not the header that belongs here")
	}
	c.damage(v, "header", e.Offset, block, e, err)
}

// contents hashes one file of the archive. Of one that lies in part on volumes
// that were not given, only the sums of the others can tell.
func (c *check) contents(ctx context.Context, v *volumeSet, e Entry) error {
	if e.Size == 0 {
		return ctx.Err()
	}
	if !v.all(e.data(), e.Size) {
		c.part(v, e)
		return ctx.Err()
	}
	var raw bytes.Buffer // of a node, to read what it says
	sum := sha256.New()
	into := io.Writer(sum)
	node, isNode := c.nodes[e.Digest]
	if isNode {
		into = io.MultiWriter(sum, &raw)
	}
	_, err := io.Copy(into, &countingReader{&contextReader{ctx, v.section(e.data(), e.Size)}, c.done.add})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	want := e.Digest
	if e.inline != nil {
		want = digest.FromBytes(e.contents())
	}
	if err == nil && digest.NewDigest(digest.SHA256, sum) != want {
		err = errOtherDigest
	}
	if err == nil && isNode {
		err = c.said.check(node, raw.Bytes())
	}
	c.damage(v, "blob", e.data(), e.Size, e, err)
	return nil
}

func (c *check) zeros(v *volumeSet, element string, offset, length int64, e Entry) {
	if length == 0 || !v.all(offset, length) {
		return
	}
	got := make([]byte, length)
	err := v.read(got, offset)
	c.done.add(length)
	if err == nil && !isZero(got) {
		err = errors.New("not zeros")
	}
	c.damage(v, element, offset, length, e, err)
}

// part remembers the volumes with a part of a blob that cannot be hashed.
func (c *check) part(v *volumeSet, e Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, at := range v.layout.spans(e.data(), e.Size) {
		if f := v.files[at.volume]; f != nil {
			c.parts[f.Name()] = true
		}
	}
}

// damage records a problem with a range of the archive, in each volume that it
// lies on: which of them is the damaged one, a digest does not tell.
func (c *check) damage(v *volumeSet, element string, offset, length int64, e Entry, problem error) {
	if problem == nil {
		return
	}
	if e.inline != nil { // it has no digest to know it by
		problem = fmt.Errorf("%s: %w", e.Name(), problem)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, at := range v.layout.spans(offset, length) {
		c.found = append(c.found, Finding{
			File: v.files[at.volume].Name(), Element: element, Offset: at.offset, Length: at.length,
			Digest: e.Digest, Problem: problem.Error(), Images: c.users[e.Digest], kind: ErrDamaged,
		})
	}
}

// allSums says whether the sums of all volumes are held against them: where that
// was asked for, or nobody signed.
func (c *check) allSums() bool { return c.options.Sums || len(c.bundle.Signers) == 0 }

// sums holds whole volumes against the lines of SHA256SUMS, as sha256sum -c
// does: all of them, or those that the layout alone could not judge.
func (c *check) sums(ctx context.Context) error {
	for _, dir := range c.bundle.dirs {
		contents, err := c.bundle.sums(dir)
		if err != nil {
			continue // found already
		}
		sums, err := verify.ParseSums(contents, sumNames(c.bundle.Inventory, contents))
		if err != nil {
			continue // found already
		}
		for _, s := range sums[2:] {
			path := filepath.Join(dir, s.Name)
			if !c.allSums() && !c.parts[path] {
				continue
			}
			if err := c.sum(ctx, path, s); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *check) sum(ctx context.Context, path string, want verify.Sum) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // on another medium
	}
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	read := func(n int64) {
		if c.allSums() {
			c.done.add(n)
		}
	}
	_, err = io.Copy(sum, &countingReader{&contextReader{ctx, f}, read})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil && [sha256.Size]byte(sum.Sum(nil)) != want.SHA256 {
		err = fmt.Errorf("not the bytes of its line in %s", SumsFile)
	}
	if err != nil {
		c.found = append(c.found, Finding{File: path, Element: "sum", Problem: err.Error(), kind: ErrDamaged})
	}
	return nil
}

// countingReader tells how many bytes go by.
type countingReader struct {
	r     io.Reader
	count func(int64)
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.count(int64(n))
	return n, err
}
