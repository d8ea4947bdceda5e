package bundle

import (
	"bytes"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci"
	"airlift/oci/ocitest"
)

// soak says whether the long runs were asked for.
func soak() bool { return os.Getenv("AIRLIFT_SOAK") != "" }

// op is one operation on a storage.
type op struct {
	kind   string // create, reopen, write, sync, close, remove or syncDir
	name   string // of the file
	offset int64  // of a write
	size   int64  // of a reopen
	data   []byte // of a write
}

func (o op) String() string { return fmt.Sprintf("%s %s", o.kind, o.name) }

// tested is the disk with a look at every operation before it is done: an error
// is its result. With short a write that fails has written half of its bytes.
type tested struct {
	disk
	look  func(op) error
	short bool
}

type testedFile struct {
	storedFile
	on   *tested
	name string
	at   int64
}

func (s *tested) create(path string) (storedFile, error) {
	if err := s.look(op{kind: "create", name: filepath.Base(path)}); err != nil {
		return nil, err
	}
	f, err := s.disk.create(path)
	return &testedFile{f, s, filepath.Base(path), 0}, err
}

func (s *tested) reopen(path string, size int64) (storedFile, error) {
	if err := s.look(op{kind: "reopen", name: filepath.Base(path), size: size}); err != nil {
		return nil, err
	}
	f, err := s.disk.reopen(path, size)
	return &testedFile{f, s, filepath.Base(path), size}, err
}

func (s *tested) remove(path string) error {
	if err := s.look(op{kind: "remove", name: filepath.Base(path)}); err != nil {
		return err
	}
	return s.disk.remove(path)
}

func (s *tested) syncDir(path string) error { return s.look(op{kind: "syncDir"}) }

func (f *testedFile) Write(p []byte) (int, error) {
	if err := f.on.look(op{"write", f.name, f.at, 0, bytes.Clone(p)}); err != nil {
		n := 0
		if f.on.short {
			n, _ = f.storedFile.Write(p[:len(p)/2])
		}
		return n, err
	}
	n, err := f.storedFile.Write(p)
	f.at += int64(n)
	return n, err
}

func (f *testedFile) Sync() error { return f.on.look(op{kind: "sync", name: f.name}) }

func (f *testedFile) Close() error {
	return errors.Join(f.on.look(op{kind: "close", name: f.name}), f.storedFile.Close())
}

// fixture is a bundle that is exported again and again.
type fixture struct {
	*testing.T
	client  *oci.Client
	inv     *Inventory
	key     *ecdsa.PrivateKey
	want    map[string]string // files of an undisturbed export
	options ExportOptions
	corrupt *atomic.Int32 // how many blobs come wrong
}

// newFixture makes one of a few blobs, some of them larger than a volume, with a
// checkpoint every 1000 bytes.
func newFixture(t *testing.T, volumeSize int64) *fixture {
	t.Helper()
	registry := ocitest.StartRegistry(t)
	b := registry.Builder()
	var layers []ocispec.Descriptor
	for i, size := range []int{3000, 15000, 700, 5000} {
		layers = append(layers, b.RandomLayer("team/some", fmt.Sprint(i), size))
	}
	b.Image("team/some", "v1", ocitest.ImageOpts{Layers: layers})
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	f := &fixture{T: t, key: testKey(t), corrupt: new(atomic.Int32)}
	proxy := ocitest.Misbehave(t, registry.Host, f.spoil)
	authfile := filepath.Join(t.TempDir(), "auth.json")
	ocitest.WriteAuthfile(t, authfile, nil)
	var err error
	if f.client, err = oci.NewClient(oci.Options{Insecure: []string{proxy.Host}, Authfile: authfile, Backoff: time.Microsecond}); err != nil {
		t.Fatal(err)
	}
	ref, err := oci.ParseReference(proxy.Host + "/team/some:v1")
	if err != nil {
		t.Fatal(err)
	}
	content, err := Plan(t.Context(), f.client, Request{Images: []oci.Reference{ref}})
	if err != nil {
		t.Fatal(err)
	}
	if f.inv, err = NewInventory(*content, volumeSize, "airlift test", 1); err != nil {
		t.Fatal(err)
	}
	f.options = ExportOptions{Key: f.key, Checkpoint: 1000}
	dir := t.TempDir()
	if err := f.export(dir, disk{}); err != nil {
		t.Fatal(err)
	}
	f.want = readDir(t, dir)
	return f
}

// spoil lets some blobs come wrong.
func (f *fixture) spoil(r *http.Request) *ocitest.Fault {
	if strings.Contains(r.URL.Path, "/blobs/sha256:") && f.corrupt.Add(-1) >= 0 {
		return &ocitest.Fault{Corrupt: true, At: 3}
	}
	return nil
}

// export exports into a directory, through a storage.
func (f *fixture) export(dir string, on storage) (err error) {
	out, err := OpenOutput(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	out.medium.on = on
	if _, err := out.Held(f.key, f.inv.Same); err != nil {
		return fmt.Errorf("look what is there: %w", err)
	}
	return out.Export(f.Context(), f.client, f.inv, f.options)
}

// resumes goes on with an export and holds the result against an undisturbed one.
func (f *fixture) resumes(dir, after string) {
	f.Helper()
	if err := f.export(dir, disk{}); err != nil {
		f.Errorf("%s: it does not go on: %v", after, err)
		return
	}
	got := readDir(f.T, dir)
	for name := range f.want {
		if got[name] != f.want[name] {
			f.Errorf("%s: %s differs", after, name)
		}
	}
	if len(got) != len(f.want) {
		f.Errorf("%s: there are %d files, not %d", after, len(got), len(f.want))
	}
}

// trueOrUnfinished fails if a directory says that it is complete, and is not.
func (f *fixture) trueOrUnfinished(dir, after string) {
	f.Helper()
	got := readDir(f.T, dir)
	_, unfinished := got[CheckpointFile]
	if _, sealed := got[signatureFile(SumsFile, keyID(f.key))]; !sealed || unfinished {
		return
	}
	for name := range f.want {
		if got[name] != f.want[name] {
			f.Errorf("%s: it says that it is complete, and %s differs", after, name)
		}
	}
}

// scratch is a directory that is fast to write.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "airlift")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// failure is a way in which a storage fails.
type failure struct {
	err     error
	forever bool
	short   bool
}

var failures = []failure{
	{err: syscall.EIO}, {err: syscall.EIO, forever: true, short: true},
	{err: syscall.ENOSPC, short: true}, {err: syscall.ENOSPC, forever: true},
}

var moreFailures = []failure{
	{err: syscall.EIO, forever: true}, {err: syscall.EIO, short: true},
	{err: syscall.ENOSPC}, {err: syscall.ENOSPC, forever: true, short: true},
	{err: syscall.EDQUOT, forever: true}, {err: syscall.EFBIG, short: true},
}

// TestEveryStorageFault fails each operation of an export, one after the other:
// the run ends with an error of the right class, nothing says that it is complete
// that is not, no sync is tried again, and the next run ends as if nothing had
// been.
func TestEveryStorageFault(t *testing.T) {
	kinds := failures
	if soak() {
		kinds = append(kinds, moreFailures...)
	}
	for _, volumeSize := range []int64{0, 6000} {
		t.Run(fmt.Sprint(volumeSize), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, volumeSize)
			operations := 0
			if err := f.export(scratch(t), &tested{look: func(op) error { operations++; return nil }}); err != nil {
				t.Fatal(err)
			}
			for n := 1; n <= operations; n++ {
				for _, kind := range kinds {
					f.storageFault(n, kind)
				}
			}
			t.Logf("%d operations, each failed in %d ways", operations, len(kinds))
		})
	}
}

func (f *fixture) storageFault(n int, kind failure) {
	f.Helper()
	dir, after := scratch(f.T), ""
	defer os.RemoveAll(dir)
	count, lost := 0, map[string]bool{}
	err := f.export(dir, &tested{short: kind.short, look: func(o op) error {
		if o.kind == "sync" && lost[o.name] {
			f.Errorf("%s: the sync is tried again", after)
		}
		if count++; count != n && (!kind.forever || count < n) {
			return nil
		}
		if count == n {
			after = fmt.Sprintf("operation %d, %s, %v", n, o, kind)
		}
		lost[o.name] = lost[o.name] || o.kind == "sync"
		return kind.err
	}})
	if err == nil || !errors.Is(err, kind.err) || errors.Is(err, ErrNoSpace) == (kind.err == syscall.EIO) {
		f.Errorf("%s: the error is %v", after, err)
	}
	f.trueOrUnfinished(dir, after)
	f.resumes(dir, after)
}

// trace records the operations of an export; its source gives some blobs wrong at
// first.
func (f *fixture) trace(dir string, wrong int32) []op {
	f.Helper()
	var ops []op
	f.corrupt.Store(wrong)
	if err := f.export(dir, &tested{look: func(o op) error { ops = append(ops, o); return nil }}); err != nil {
		f.Fatal(err)
	}
	return ops
}

// crash is a way in which a system loses what it was not told to keep.
type crash struct {
	prefix int   // operations before it
	vfat   bool  // names are there before their files have a length; what was removed may come back
	keep   []int // of the operations that nothing made durable, those that were
	zeros  bool  // the last of these is a write of which only the length was kept
	tear   int64 // bytes of the last of these, if it is a write; -1 = all
}

// durable says of each operation before a crash whether something has made it durable.
func durable(ops []op, vfat bool) []bool {
	forced := make([]bool, len(ops))
	for i, o := range ops {
		for j := range i {
			switch p := ops[j]; {
			case o.kind == "sync" && p.name == o.name && (p.kind == "write" || p.kind == "reopen" || p.kind == "create"):
				forced[j] = true
			case o.kind == "syncDir" && (p.kind == "create" || p.kind == "remove"):
				forced[j] = true
			}
		}
	}
	return forced
}

// newCrash chooses one of the states that a crash may leave.
func newCrash(ops []op, random *rand.Rand) crash {
	c := crash{prefix: 1 + random.IntN(len(ops)), vfat: random.IntN(2) == 0, tear: -1}
	var open []int
	for i, forced := range durable(ops[:c.prefix], c.vfat) {
		if !forced {
			open = append(open, i)
		}
	}
	switch how := random.IntN(5); {
	case how == 0 || len(open) == 0: // drop all
	case how == 1: // keep all
		c.keep = open
	case how == 2: // drop one
		i := random.IntN(len(open))
		c.keep = slices.Delete(slices.Clone(open), i, i+1)
	case how == 3: // keep some
		for _, i := range open {
			if random.IntN(2) == 0 {
				c.keep = append(c.keep, i)
			}
		}
	default: // tear the last
		c.keep, c.tear = open, 512*int64(random.IntN(8))
		c.zeros = random.IntN(2) == 0
	}
	return c
}

// state is the files that a crash leaves, from those that were there before.
func (c crash) state(before map[string]string, ops []op) map[string][]byte {
	files := map[string][]byte{}
	for name, data := range before {
		files[name] = []byte(data)
	}
	forced := durable(ops[:c.prefix], c.vfat)
	for i, o := range ops[:c.prefix] {
		kept := forced[i] || slices.Contains(c.keep, i)
		last := len(c.keep) > 0 && i == c.keep[len(c.keep)-1]
		if c.vfat && o.kind == "create" {
			kept = true
		}
		if !kept {
			continue
		}
		switch data, there := files[o.name]; o.kind {
		case "create":
			files[o.name] = []byte{}
		case "remove":
			delete(files, o.name)
		case "reopen":
			if there {
				files[o.name] = data[:min(o.size, int64(len(data)))]
			}
		case "write":
			if there {
				files[o.name] = c.written(data, o, last)
			}
		}
	}
	return files
}

func (c crash) written(data []byte, o op, last bool) []byte {
	bytes := o.data
	if last && c.tear >= 0 {
		bytes = bytes[:min(c.tear, int64(len(bytes)))]
	}
	if last && c.zeros {
		bytes = make([]byte, len(bytes))
	}
	for int64(len(data)) < o.offset {
		data = append(data, 0) // a hole
	}
	return append(append([]byte{}, data[:o.offset]...), bytes...)
}

// TestCrashStates: whatever of the unsynced operations a crash keeps, drops, tears or
// empties, on a file system like ext4 or like vfat, the next run ends as if
// nothing had been.
func TestCrashStates(t *testing.T) {
	states := 2000
	if soak() {
		states = 50000
	}
	for i, volumeSize := range []int64{0, 6000} {
		t.Run(fmt.Sprint(volumeSize), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, volumeSize)
			begun := scratch(t)
			stop := &tested{}
			n := 0
			stop.look = func(op) error {
				if n++; n == 60 {
					return io.ErrClosedPipe
				}
				return nil
			}
			if err := f.export(begun, stop); err == nil {
				t.Fatal("it was to be interrupted")
			}
			before := readDir(t, begun)
			scenarios := []struct {
				before map[string]string
				ops    []op
			}{
				{nil, f.trace(scratch(t), 0)},
				{nil, f.trace(scratch(t), 2)}, // with bytes that are taken back
				{before, f.trace(begun, 0)},   // of a run that goes on
			}
			random := rand.New(rand.NewPCG(uint64(i), 7))
			for state := range states / 2 {
				s := scenarios[state%len(scenarios)]
				f.crashes(newCrash(s.ops, random), s.before, s.ops)
				if t.Failed() {
					t.FailNow()
				}
			}
			t.Logf("%d states of %d, %d and %d operations", states/2, len(scenarios[0].ops), len(scenarios[1].ops), len(scenarios[2].ops))
		})
	}
}

func (f *fixture) crashes(c crash, before map[string]string, ops []op) {
	f.Helper()
	dir := scratch(f.T)
	defer os.RemoveAll(dir)
	for name, data := range c.state(before, ops) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
			f.Fatal(err)
		}
	}
	after := fmt.Sprintf("%+v after %s", c, ops[c.prefix-1])
	f.trueOrUnfinished(dir, after)
	f.resumes(dir, after)
}
