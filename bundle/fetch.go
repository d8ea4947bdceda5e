package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci"
)

// sources knows where each node and blob can be fetched: in the repositories
// of the images that need it, in their order.
type sources struct {
	client *oci.Client
	read   map[digest.Digest][]byte   // nodes that need not be fetched
	users  map[digest.Digest][]string // references of images
	check  nodeCheck
}

func newSources(client *oci.Client, c *Content) *sources {
	return &sources{client, c.read, c.users(), newNodeCheck(c)}
}

// users gives, for each node and blob, the references of the images that need it.
func (c *Content) users() map[digest.Digest][]string {
	nodes := c.nodeByDigest()
	users := map[digest.Digest][]string{}
	for _, i := range c.Images {
		nodes.walk(i.Digest, func(n Node) {
			users[n.Digest] = appendNew(users[n.Digest], i.Reference)
			for _, b := range n.blobs() {
				users[b] = appendNew(users[b], i.Reference)
			}
		})
	}
	return users
}

// Sizes gives the bytes of each image by its reference: of all its nodes and
// blobs, each once. What images share counts for each of them.
func (c *Content) Sizes() map[string]int64 {
	nodes, bytes := c.nodeByDigest(), newNodeCheck(c).sizes
	sizes := make(map[string]int64, len(c.Images))
	for _, i := range c.Images {
		counted := map[digest.Digest]bool{}
		nodes.walk(i.Digest, func(n Node) {
			for _, d := range append(n.blobs(), n.Digest) {
				if !counted[d] {
					counted[d] = true
					sizes[i.Reference] += bytes[d]
				}
			}
		})
	}
	return sizes
}

// appendNew appends what is not the last element already.
func appendNew(list []string, s string) []string {
	if len(list) > 0 && list[len(list)-1] == s {
		return list
	}
	return append(list, s)
}

type nodeTable map[digest.Digest]Node

func (c *Content) nodeByDigest() nodeTable {
	t := make(nodeTable, len(c.Nodes))
	for _, n := range c.Nodes {
		t[n.Digest] = n
	}
	return t
}

// walk visits a node and all below it, children before parents, each once.
func (t nodeTable) walk(d digest.Digest, visit func(Node)) {
	seen := map[digest.Digest]bool{}
	var down func(digest.Digest)
	down = func(d digest.Digest) {
		n, there := t[d]
		if !there || seen[d] {
			return
		}
		seen[d] = true
		for _, child := range n.Children {
			down(child)
		}
		visit(n)
	}
	down(d)
}

// repositories are the distinct places a digest can be fetched from.
func (s *sources) repositories(d digest.Digest) []oci.Reference {
	var found []oci.Reference
	seen := map[string]bool{}
	for _, user := range s.users[d] {
		ref, err := oci.ParseReference(user)
		if err == nil && !seen[ref.Name()] {
			seen[ref.Name()] = true
			found = append(found, ref.WithDigest(d))
		}
	}
	return found
}

// node fetches one node and holds it against what the inventory says of it.
func (s *sources) node(ctx context.Context, want Node) ([]byte, error) {
	if raw, read := s.read[want.Digest]; read {
		return raw, nil
	}
	got, err := fetch(s, want.Digest, func(at oci.Reference) (oci.Node, error) { return s.client.Node(ctx, at) })
	if err != nil {
		return nil, err
	}
	return got.Raw, s.check.check(want, got.Raw)
}

// blob opens one blob. What it reads is not checked yet.
func (s *sources) blob(ctx context.Context, e Entry) (io.ReadCloser, error) {
	d := ocispec.Descriptor{Digest: e.Digest, Size: e.Size}
	return fetch(s, e.Digest, func(at oci.Reference) (io.ReadCloser, error) { return s.client.Blob(ctx, at, d) })
}

// fetch asks the repositories that should have a digest, one after the other
// until one does.
func fetch[T any](s *sources, d digest.Digest, from func(oci.Reference) (T, error)) (T, error) {
	var failed error
	for _, at := range s.repositories(d) {
		got, err := from(at)
		if err == nil {
			return got, nil
		}
		if failed = errors.Join(failed, err); !oci.IsMissing(err) {
			break
		}
	}
	var none T
	return none, s.fetchError(d, failed)
}

// fetchError words the failure to fetch something that was there when planning.
func (s *sources) fetchError(d digest.Digest, err error) error {
	return fmt.Errorf("fetch %s, which %s needs: %w", d, listSome(s.users[d], 3), err)
}

// listSome names the first few of a list.
func listSome(list []string, n int) string {
	if len(list) <= n {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:n], ", "), len(list)-n)
}

// chunk sizes bound the memory of fetching: jobs blobs under way, each with at
// most chunksAhead chunks waiting and one being filled.
const (
	chunkSize   = 1 << 20
	chunksAhead = 3
)

// prefetcher fetches blobs a few at a time, ahead of the one that is being
// read, and gives them in order.
type prefetcher struct {
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	started chan *ahead // in order
	free    sync.Pool
}

// ahead is one blob under way.
type ahead struct {
	chunks chan []byte
	err    error // valid once chunks is closed
}

// prefetch begins to fetch entries, at most jobs at a time.
func prefetch(ctx context.Context, jobs int, entries []Entry, open func(context.Context, Entry) (io.ReadCloser, error)) *prefetcher {
	p := &prefetcher{started: make(chan *ahead, jobs)}
	p.free.New = func() any { return new([chunkSize]byte) }
	p.ctx, p.cancel = context.WithCancel(ctx)
	slots := make(chan struct{}, jobs)
	p.running.Go(func() {
		defer close(p.started)
		for _, e := range entries {
			select {
			case slots <- struct{}{}:
			case <-p.ctx.Done():
				return
			}
			a := &ahead{chunks: make(chan []byte, chunksAhead)}
			p.started <- a // never blocks for long: at most jobs are under way
			p.running.Go(func() {
				a.err = p.fetch(e, a.chunks, open)
				close(a.chunks)
				<-slots
			})
		}
	})
	return p
}

func (p *prefetcher) fetch(e Entry, chunks chan<- []byte, open func(context.Context, Entry) (io.ReadCloser, error)) error {
	r, err := open(p.ctx, e)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		buf := p.free.Get().(*[chunkSize]byte)
		n, err := io.ReadFull(r, buf[:])
		if n > 0 {
			select {
			case chunks <- buf[:n]:
			case <-p.ctx.Done():
				return p.ctx.Err()
			}
		}
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// next gives a reader of the next blob. It must be read to its end before the
// one after it is asked for.
func (p *prefetcher) next() io.Reader {
	a, ok := <-p.started
	if !ok {
		return &chunkReader{p: p, a: closedAhead(context.Cause(p.ctx))}
	}
	return &chunkReader{p: p, a: a}
}

func closedAhead(err error) *ahead {
	a := &ahead{chunks: make(chan []byte), err: err}
	close(a.chunks)
	return a
}

// stop ends all fetching and waits for it.
func (p *prefetcher) stop() {
	p.cancel()
	for range p.started { // what waits to be read is let go
	}
	p.running.Wait()
}

// chunkReader reads the chunks of one blob.
type chunkReader struct {
	p    *prefetcher
	a    *ahead
	held []byte // the whole chunk that rest is the end of
	rest []byte
}

func (r *chunkReader) Read(b []byte) (int, error) {
	for len(r.rest) == 0 {
		r.recycle()
		chunk, ok := <-r.a.chunks
		if !ok && r.a.err != nil {
			return 0, r.a.err
		}
		if !ok {
			return 0, io.EOF
		}
		r.held, r.rest = chunk, chunk
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *chunkReader) recycle() {
	if r.held != nil {
		r.p.free.Put((*[chunkSize]byte)(r.held[:chunkSize]))
		r.held = nil
	}
}
