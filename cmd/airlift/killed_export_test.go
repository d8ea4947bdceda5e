package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci/ocitest"
)

// TestKilledExport: the program itself is killed (SIGKILL) at random instants of
// an export, and run again, and now and then killed again, until it ends by
// itself. Then there is, byte for byte, what an undisturbed run writes.
//
// One cycle in ten exports from docker-registry, the others from a registry in
// memory, which is quicker. The kill comes at a time, so no two runs of this test
// are the same; which times are tried is.
func TestKilledExport(t *testing.T) {
	cycles := atLength(100, 5000)
	w := newKilling(t)
	var workers sync.WaitGroup
	for n := range 2 {
		workers.Go(func() {
			for i := n; i < cycles && !t.Failed(); i += 2 {
				w.cycle(t, i)
			}
		})
	}
	workers.Wait()
	t.Logf("%d cycles: %d times the bytes differed, %d times it did not go on", w.count["cycles"], w.count["bytes differ"], w.count["resume fails"])
	t.Logf("%d kills: %v", w.count["kills"], w.count)
	if w.count["with records"] < cycles/20 {
		t.Errorf("only %d of %d kills met an export with a checkpoint", w.count["with records"], w.count["kills"])
	}
}

// killing is what its cycles share.
type killing struct {
	dir, key, whole string
	hosts           [2]string // in memory, and docker-registry
	// How long it takes: in all, and from when the first file is there.
	took, writing time.Duration

	mu    sync.Mutex
	count map[string]int
}

func newKilling(t *testing.T) *killing {
	t.Helper()
	w := &killing{dir: room(t, 1<<30), key: keyPair(t), count: map[string]int{}}
	real := ocitest.StartRegistry(t)
	w.hosts = [2]string{embedded(t), real.Host}
	for _, b := range []*ocitest.Builder{ocitest.NewBuilder(w.hosts[0]), real.Builder()} {
		mixed(b)
		if b.Err() != nil {
			t.Fatal(b.Err())
		}
	}
	w.whole = filepath.Join(w.dir, "whole")
	w.measure(t)
	verified(t, w.key, w.whole)
	return w
}

// measure makes the undisturbed export.
func (w *killing) measure(t *testing.T) {
	p := airlift(t, w.asked(0, w.whole)...)
	began := time.Now()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	appears(w.whole)
	begun := time.Now()
	if err := p.Wait(); err != nil {
		t.Fatalf("%v: %s", err, &p.out)
	}
	w.took, w.writing = time.Since(began), time.Since(begun)
}

// appears waits until an export into a directory has begun, or a second.
func appears(dir string) {
	for end := time.Now().Add(time.Second); time.Now().Before(end); <-time.After(time.Millisecond) {
		if _, err := os.Stat(filepath.Join(dir, "bundle.checkpoint")); err == nil {
			return
		}
	}
}

// mixed pushes layers of all sizes, shared and not, one of them of two requests.
func mixed(b *ocitest.Builder) {
	for i, sizes := range [][]int{{5_000_000, 300}, {700_000, 250_000, 1_200_000}, {64, 2_000_000}} {
		repo := fmt.Sprint("team/app", i)
		layers := []ocispec.Descriptor{b.RandomLayer(repo, "shared", 400_000)}
		for j, size := range sizes {
			layers = append(layers, b.RandomLayer(repo, fmt.Sprint(repo, j), size))
		}
		b.Image(repo, "v1", ocitest.ImageOpts{Docker: i == 0, Layers: layers})
	}
}

// asked is the command line of an export that is planned.
func (w *killing) asked(i int, dir string) []string {
	args := []string{"--volume-size", "3MB"}
	for n := range 3 {
		args = append(args, "--image", fmt.Sprintf("quay.io/team/app%d:v1", n))
	}
	return w.export(i, dir, args...)
}

// same is that of an export of the inventory of the whole one: with it even
// bundle.json is the same, which has a time in it else.
func (w *killing) same(i int, dir string) []string {
	return w.export(i, dir, "--from", filepath.Join(w.whole, "bundle.json"), "--volume", "1-")
}

func (w *killing) export(i int, dir string, what ...string) []string {
	host := w.hosts[0]
	if i%10 == 9 {
		host = w.hosts[1]
	}
	return slices.Concat([]string{"export", "--quiet", "--key", w.key + ".key", "--checkpoint", "64KB", "--output", dir,
		"--insecure-registry", host, "--source-mirror", "quay.io=" + host}, what)
}

// cycle is one export that is killed once or more often.
func (w *killing) cycle(t *testing.T, i int) {
	random := rand.New(rand.NewPCG(1, uint64(i)))
	dir := filepath.Join(w.dir, fmt.Sprint("medium", i))
	defer os.RemoveAll(dir)
	args := w.same(i, dir)
	if i%4 >= 2 {
		args = w.asked(i, dir)
	}
	for part := 1.0; !w.kill(t, args, dir, random, part) && !t.Failed(); part /= 2 {
		_ = os.RemoveAll(dir) // it was too quick: another one
	}
	if random.IntN(2) == 0 {
		w.kill(t, args, dir, random, 1)
	}
	last := airlift(t, args...)
	if err := last.Run(); err != nil {
		w.note("resume fails")
		t.Errorf("cycle %d: %v: %s", i, err, &last.out)
		return
	}
	w.note("cycles")
	if found := w.wrong(t, i, dir); len(found) > 0 {
		w.note("bytes differ")
		t.Errorf("cycle %d: not the same: %s", i, found)
	}
}

// wrong gives the files that are not as the undisturbed run has them.
func (w *killing) wrong(t *testing.T, i int, dir string) []string {
	names := differ(t, w.whole, dir)
	if i%4 < 2 {
		return names
	}
	verified(t, w.key, dir)
	return slices.DeleteFunc(names, func(name string) bool { // those with the time in them, or over it
		return strings.HasPrefix(name, "bundle.json") || strings.HasPrefix(name, "SHA256SUMS")
	})
}

// kill runs the program for some part of the time that it takes; it reports whether
// that ended it. One kill in four comes at any time, the others once something is on
// the medium.
func (w *killing) kill(t *testing.T, args []string, dir string, random *rand.Rand, part float64) bool {
	p := airlift(t, args...)
	if err := p.Start(); err != nil {
		t.Error(err)
		return false
	}
	span := w.took
	if random.IntN(4) > 0 {
		appears(dir)
		span = w.writing
	}
	if !p.killedAfter(t, time.Duration(random.Float64()*part*float64(span))) {
		w.note("too late")
		return false
	}
	w.note("kills")
	w.note(stage(dir))
	return true
}

// stage is how far a killed export has got.
func stage(dir string) string {
	records, err := os.ReadFile(filepath.Join(dir, "bundle.checkpoint"))
	switch {
	case err == nil && bytes.ContainsRune(records, '\n'):
		return "with records"
	case err == nil:
		return "without records"
	}
	if _, err := os.Stat(filepath.Join(dir, "SHA256SUMS")); err == nil {
		return "sealed"
	}
	return "before anything"
}

func (w *killing) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count[what]++
}
