package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"airlift/oci"
)

// smallBlob is the largest blob, in bytes, of a stream that is held in memory: its
// upload can be tried again, and runs while the stream goes on. Larger ones are
// uploaded while they are read, once.
const smallBlob = 4 << 20

// Import pushes a bundle that comes as a stream, as Bundle.Import does, with no
// space of its own: each blob goes to the first repository that needs it as it
// comes; others mount it from there, or get a copy. An image is tagged as soon as
// all of it has come, a release when the stream has ended well. Of a stream that
// ends early or is damaged only whole images are tagged.
func (s *Stream) Import(ctx context.Context, client *oci.Client, o ImportOptions) ([]ImageResult, error) {
	im, err := s.prepare(o)
	if err != nil {
		return nil, err
	}
	defer im.volumes.close()
	im.client, im.begun, im.raw = client, map[digest.Digest]*begunUpload{}, map[digest.Digest][]byte{}
	if err := im.reach(ctx); err != nil {
		return nil, err
	}
	im.start()
	a := newArrivals(ctx, im)
	err = s.each(ctx, a.visit)
	return a.finish(err)
}

// arrivals imports what comes, in the order in which it comes.
type arrivals struct {
	ctx     context.Context
	im      *importing
	running errgroup.Group                  // uploads of small blobs, and images
	first   map[digest.Digest]oci.Reference // the repository that a blob goes to
	waiting map[digest.Digest][]int         // images that need it
	lacks   []int                           // how much each image still waits for
	ready   []int                           // images of which all has come

	mu     sync.Mutex
	failed []error
}

func newArrivals(ctx context.Context, im *importing) *arrivals {
	a := &arrivals{ctx: ctx, im: im, first: map[digest.Digest]oci.Reference{}, waiting: map[digest.Digest][]int{}, lacks: make([]int, len(im.images))}
	a.running.SetLimit(jobs(im.options.Jobs))
	for i, image := range im.images {
		if _, lacks := im.lacking[image.Reference]; lacks {
			a.ready = append(a.ready, i) // to be said so
			continue
		}
		needs := map[digest.Digest]bool{}
		for _, n := range im.push.below(image.Digest) {
			needs[n.Digest] = true
			for _, b := range n.blobs() {
				needs[b] = true
				if _, there := a.first[b]; !there {
					a.first[b] = im.options.Placement.pushed(image.names[0])
				}
			}
		}
		for d := range needs {
			a.waiting[d] = append(a.waiting[d], i)
		}
		a.lacks[i] = len(needs)
	}
	return a
}

// visit takes one file of the archive. An image begins when nothing of it is still
// to come; uploads that it needs may still be under way, it waits for them.
func (a *arrivals) visit(e Entry, contents io.Reader) error {
	if e.inline != nil {
		return nil
	}
	if _, isNode := a.im.nodes[e.Digest]; isNode {
		raw, err := io.ReadAll(contents)
		if err != nil {
			return err
		}
		a.im.raw[e.Digest] = raw
	} else if to, needed := a.first[e.Digest]; needed {
		if err := a.blob(to, e, contents); err != nil {
			return err
		}
	}
	for _, i := range a.waiting[e.Digest] {
		if a.lacks[i]--; a.lacks[i] == 0 {
			a.ready = append(a.ready, i)
		}
	}
	if len(a.im.raw) == len(a.im.nodes) { // they come first, and are read by all images
		a.begin(false)
	}
	return a.ctx.Err()
}

// begin imports the images that are ready; releases only at the end.
func (a *arrivals) begin(releases bool) {
	var later []int
	for _, i := range a.ready {
		if a.im.vital[a.im.images[i].Digest] != nil && !releases {
			later = append(later, i)
			continue
		}
		a.running.Go(func() error {
			a.fail(a.im.image(a.ctx, a.im.images[i]))
			return nil
		})
	}
	a.ready = later
}

func (a *arrivals) fail(err error) {
	if err != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.failed = append(a.failed, err)
	}
}

// blob brings a blob that comes to its first repository. That it cannot be
// uploaded fails the images that need it; that it is not what it should be, or
// does not come, ends the stream.
func (a *arrivals) blob(to oci.Reference, e Entry, contents io.Reader) error {
	b := a.im.push.blobs[e.Digest]
	if e.Size > smallBlob {
		b.Lock()
		defer b.Unlock()
		source := &failing{r: contents}
		a.sent(b, to, e.Digest, func() error {
			return a.im.client.PutBlobOnce(a.ctx, to, ocispec.Descriptor{Digest: e.Digest, Size: e.Size}, source)
		})
		return source.err
	}
	data, err := io.ReadAll(contents)
	if err != nil {
		return err
	}
	b.Lock() // before its images begin
	a.running.Go(func() error {
		defer b.Unlock()
		a.sent(b, to, e.Digest, func() error {
			return a.im.client.PutBlob(a.ctx, to, ocispec.Descriptor{Digest: e.Digest, Size: e.Size}, func() (io.ReadCloser, error) {
				return io.NopCloser(bytes.NewReader(data)), nil
			})
		})
		return nil
	})
	return nil
}

// sent notes where a blob is, having uploaded it if it was not there.
func (a *arrivals) sent(b *pushedBlob, to oci.Reference, d digest.Digest, upload func() error) {
	there, err := a.im.client.HasBlob(a.ctx, to, d)
	how := wasThere
	if err == nil && !there {
		how, err = wasSent, upload()
	}
	if err != nil {
		b.damaged = fmt.Errorf("upload %s: %w; it has gone by: send the stream again, what is there is not sent again", d, err)
		return
	}
	b.repositories[to.Repository], b.first = how, to.Repository
	a.im.push.count(d)
}

// failing remembers how reading ended, if not well.
type failing struct {
	r   io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

// finish waits for what is under way, and imports releases if all has come well.
func (a *arrivals) finish(ended error) ([]ImageResult, error) {
	_ = a.running.Wait() // images say themselves what failed
	if ended != nil {
		return a.im.list(), errors.Join(append(a.failed, ended)...)
	}
	a.begin(true)
	_ = a.running.Wait()
	return a.im.list(), a.im.verdict(a.failed)
}
