package bundle

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci"
	"airlift/oci/ocitest"
)

// soaking: the tests of survival are to take hours.
var soaking = os.Getenv("AIRLIFT_SOAK") != ""

// rounds is how often something is done: in an ordinary run, and in one that soaks.
func rounds(ordinary, soak int) int {
	if soaking {
		return soak
	}
	return ordinary
}

// smallExport is an export of some 30 KB in which everything happens: a blob in
// several segments, one over several volumes, checkpoints in the middle of them.
type smallExport struct {
	host   string // of the registry
	client *oci.Client
	inv    *Inventory
	bytes  []byte // bundle.json
	key    *ecdsa.PrivateKey
	large  ocispec.Descriptor // a layer that is larger than a volume
	whole  map[string]string  // the files of an undisturbed export

	segment, checkpoint int64 // bytes
}

// newSmallExport makes one; with volumeSize 0 it is of one volume.
func newSmallExport(t testing.TB, volumeSize int64) *smallExport {
	t.Helper()
	host, stop, err := ocitest.Embedded()
	must(t, err)
	t.Cleanup(stop)
	b := ocitest.NewBuilder(host)
	s := &smallExport{host: host, key: testKey(t), segment: 1536, checkpoint: 1024}
	layers := []ocispec.Descriptor{b.RandomLayer("team/small", "a", 700), b.RandomLayer("team/small", "b", 2600)}
	s.large = b.RandomLayer("team/small", "large", 11000)
	layers = append(layers, s.large, b.RandomLayer("team/small", "c", 1900))
	b.Image("team/small", "v1", ocitest.ImageOpts{Layers: layers})
	must(t, b.Err())
	s.client = smallClient(t, host, host)
	s.plan(t, volumeSize)
	return s
}

// plan takes the image as it is now, and exports it undisturbed.
func (s *smallExport) plan(t testing.TB, volumeSize int64) {
	t.Helper()
	ref, err := oci.ParseReference(s.host + "/team/small:v1")
	must(t, err)
	content, err := Plan(t.Context(), s.client, Request{Images: []oci.Reference{ref}})
	must(t, err)
	s.inv, err = NewInventory(*content, volumeSize, "airlift test", 1)
	must(t, err)
	s.undisturbed(t)
}

// increment is the same export without the layers that are smaller than a volume.
func (s *smallExport) increment(t testing.TB) *smallExport {
	t.Helper()
	less, inv, blobs := *s, *s.inv, map[digest.Digest]*origin{}
	for _, b := range inv.Content.Blobs {
		if b.Role == RoleLayer && b.Digest != s.large.Digest {
			blobs[b.Digest] = &origin{[]Base{inv.base()}}
		}
	}
	must(t, inv.LeaveOut([]*Since{{blobs: blobs}}))
	less.inv = &inv
	less.undisturbed(t)
	return &less
}

// undisturbed exports the inventory as it is now.
func (s *smallExport) undisturbed(t testing.TB) {
	t.Helper()
	var err error
	s.bytes, err = s.inv.Bytes()
	must(t, err)
	dir := fastDir(t)
	must(t, s.run(t.Context(), dir, disk{}, ExportOptions{}))
	s.whole, err = contentsOf(dir)
	must(t, err)
}

// push puts layers of random bytes, of these sizes, in place of those that there were.
func (s *smallExport) push(t testing.TB, volumeSize int64, sizes ...int) {
	t.Helper()
	b := ocitest.NewBuilder(s.host)
	var layers []ocispec.Descriptor
	for i, size := range sizes {
		layers = append(layers, b.RandomLayer("team/small", fmt.Sprint(i), size))
	}
	b.Image("team/small", "v1", ocitest.ImageOpts{Layers: layers})
	must(t, b.Err())
	s.plan(t, volumeSize)
}

// smallClient fetches what is in one registry from another address.
func smallClient(t testing.TB, host, from string) *oci.Client {
	t.Helper()
	authfile := filepath.Join(t.TempDir(), "auth.json")
	ocitest.WriteAuthfile(t, authfile, nil)
	c, err := oci.NewClient(oci.Options{
		Insecure: []string{host, from}, Authfile: authfile, Backoff: time.Microsecond, Tries: 3,
		Mirrors: []oci.SourceMirror{{Source: host, Mirror: from}},
	})
	must(t, err)
	return c
}

// run exports into a directory through a storage, as the command does.
func (s *smallExport) run(ctx context.Context, dir string, on storage, o ExportOptions) error {
	return s.runWith(ctx, s.client, dir, on, o)
}

func (s *smallExport) runWith(ctx context.Context, c *oci.Client, dir string, on storage, o ExportOptions) (err error) {
	o.Key, o.Checkpoint, o.Jobs = cmp.Or(o.Key, s.key), s.checkpoint, 2
	out, err := openOutput(dir, on)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := out.Held(o.Key, func(held *Inventory) bool { return held.is(s.bytes) }); err != nil {
		return err
	}
	x, err := newExport(c, s.inv, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.sources.reuse.close()) }()
	x.sources.segment = s.segment
	return x.onto(ctx, out.medium)
}

// restart is what --restart does before a run.
func (s *smallExport) restart(ctx context.Context, dir string, on storage) (err error) {
	out, err := openOutput(dir, on)
	if err != nil {
		return err
	}
	if err := errors.Join(out.Restart(), out.Close()); err != nil {
		return err
	}
	return s.run(ctx, dir, on, ExportOptions{})
}

// sameFiles says how a directory differs from what it should hold.
func sameFiles(dir string, want map[string]string) error {
	got, err := contentsOf(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if data, there := got[name]; !there {
			errs = append(errs, fmt.Errorf("%s is not there", name))
		} else if data != want[name] {
			errs = append(errs, fmt.Errorf("%s of %d bytes differs at %d, it should have %d", name, len(data), differAt(data, want[name]), len(want[name])))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, wanted := want[name]; !wanted {
			errs = append(errs, fmt.Errorf("%s should not be there", name))
		}
	}
	return errors.Join(errs...)
}

func differAt(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// fastDir is a directory of this test, in memory where the system has such a place.
func fastDir(t testing.TB) string {
	t.Helper()
	parent := "/dev/shm"
	if _, err := os.Stat(parent); err != nil {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "airlift-test-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// fill makes a directory hold these files and nothing else.
func fill(dir string, files map[string]string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o777); err != nil {
		return err
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o666); err != nil {
			return err
		}
	}
	return nil
}

// spread does n things on all processors. Each worker has a directory of its own.
func spread(t *testing.T, n int, do func(dir string, i int) error) {
	t.Helper()
	var mu sync.Mutex
	var working sync.WaitGroup
	next, failed := 0, 0
	for range 2 {
		dir := filepath.Join(fastDir(t), "medium")
		working.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				stop := i >= n || failed >= 5
				mu.Unlock()
				if stop {
					return
				}
				if err := do(dir, i); err != nil {
					mu.Lock()
					failed++
					mu.Unlock()
					t.Error(err)
				}
			}
		})
	}
	working.Wait()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
