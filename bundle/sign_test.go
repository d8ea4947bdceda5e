package bundle

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"airlift/verify"
)

// smallSigning is a small export that a second key signs too.
type smallSigning struct {
	*smallExport
	second         *ecdsa.PrivateKey
	inventory, sum string            // names of its signatures
	signed         map[string]string // files of a medium that both have signed
}

func newSmallSigning(t testing.TB, s *smallExport) *smallSigning {
	t.Helper()
	g := &smallSigning{smallExport: s, second: testKey(t)}
	g.inventory, g.sum = signatureFile(InventoryFile, keyID(g.second)), signatureFile(SumsFile, keyID(g.second))
	dir := fastDir(t)
	must(t, fill(dir, s.whole))
	must(t, g.run(t.Context(), dir, disk{}))
	var err error
	g.signed, err = contentsOf(dir)
	must(t, err)
	if len(g.signed) != len(s.whole)+2 || g.signed[g.inventory] == "" || g.signed[g.sum] == "" {
		t.Fatalf("%d files became %d", len(s.whole), len(g.signed))
	}
	return g
}

// run signs a medium. The key is among those that are trusted.
func (g *smallSigning) run(ctx context.Context, dir string, on storage) error {
	return g.sign(ctx, dir, SignOptions{on: on})
}

func (g *smallSigning) sign(ctx context.Context, dir string, o SignOptions) error {
	trust := trustOf(g.key)
	trust.Keys = append(trust.Keys, verify.PublicKeyOf(g.second))
	_, err := Sign(ctx, []string{dir}, g.second, trust, o)
	return err
}

// torn is a medium whose signing was interrupted.
func (g *smallSigning) torn() map[string]string {
	files := maps.Clone(g.whole)
	files[g.inventory] = g.signed[g.inventory][:20]
	return files
}

// filled is a directory with some files.
func filled(t testing.TB, files map[string]string) (dir string) {
	t.Helper()
	dir = filepath.Join(fastDir(t), "medium")
	must(t, fill(dir, files))
	return dir
}

// TestSignFaults fails each operation of signing: only signatures of the key itself
// are touched, one that may not be durable does not stay, and the one that says
// complete is never there without the other.
func TestSignFaults(t *testing.T) {
	t.Parallel()
	g := newSmallSigning(t, newSmallExport(t, 5120))
	for name, before := range map[string]map[string]string{"fresh": g.whole, "torn": g.torn()} {
		on := newTape(fault{})
		must(t, g.run(t.Context(), filled(t, before), on))
		for n, o := range on.ops {
			dir, after := filled(t, before), fmt.Sprintf("%s: %s", name, o)
			if err := g.run(t.Context(), dir, newTape(fault{at: n + 1, err: syscall.EIO})); !errors.Is(err, syscall.EIO) {
				t.Errorf("%s: %v", after, err)
			}
			got, err := contentsOf(dir)
			must(t, err)
			for file := range g.whole {
				if got[file] != g.whole[file] {
					t.Errorf("%s: %s was changed", after, file)
				}
			}
			if _, there := got[o.name]; there && (o.kind == "sync" || o.kind == "write") {
				t.Errorf("%s: it failed, and is there", after)
			}
			if got[g.sum] != "" && got[g.inventory] != g.signed[g.inventory] {
				t.Errorf("%s: there is %s without the other", after, g.sum)
			}
		}
		t.Logf("%s: %d operations", name, len(on.ops))
	}
}

// TestSignKilled: killed at any operation and run again, all is durable, also what
// the second run found there.
func TestSignKilled(t *testing.T) {
	t.Parallel()
	g := newSmallSigning(t, newSmallExport(t, 5120))
	for at := 1; ; at++ {
		dir := filled(t, g.whole)
		on := newTape(fault{at: at, err: errKilled, onall: true})
		if g.run(t.Context(), dir, on) == nil {
			break
		}
		must(t, g.run(t.Context(), dir, on.run(fault{})))
		r := recorded{journey{of: g.smallExport, want: g.signed}, g.whole, on.ops, 2}
		if err := r.lasts(); err != nil {
			t.Errorf("killed at operation %d: %v", at, err)
		}
	}
}

// TestSignElsewhere: what a crash leaves in a directory for signatures is mended,
// and another's files are not replaced.
func TestSignElsewhere(t *testing.T) {
	t.Parallel()
	g := newSmallSigning(t, newSmallExport(t, 5120))
	whole := g.signed[g.sum]
	for what, c := range map[string]struct {
		held string
		want error
	}{
		"nothing": {"", nil}, "the beginning": {whole[:40], nil}, "zeros": {strings.Repeat("\x00", 30), nil}, "all of it": {whole, nil},
		"another's": {g.signed[g.inventory], ErrUsage}, "something": {"something", ErrUsage}, "more": {strings.Repeat("x", 100), ErrDamaged},
	} {
		sigs := filled(t, map[string]string{g.sum: c.held})
		if err := g.sign(t.Context(), filled(t, g.whole), SignOptions{Output: sigs}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
		want := map[string]string{g.inventory: g.signed[g.inventory], g.sum: whole}
		if c.want != nil {
			want = map[string]string{g.sum: c.held}
		}
		if err := sameFiles(sigs, want); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestSignsWhatWasChecked: a medium that gives other sums when they are read again
// gets no signature over those.
func TestSignsWhatWasChecked(t *testing.T) {
	t.Parallel()
	g := newSmallSigning(t, newSmallExport(t, 5120))
	dir, other := filled(t, g.whole), "other sums\n"
	change := func(e Event) {
		if e.Phase == "verify" && e.Done == 0 {
			if err := os.WriteFile(filepath.Join(dir, SumsFile), []byte(other), 0o666); err != nil {
				t.Error(err)
			}
		}
	}
	must(t, g.sign(t.Context(), dir, SignOptions{Progress: change}))
	want := maps.Clone(g.signed)
	want[SumsFile] = other
	if err := sameFiles(dir, want); err != nil {
		t.Error(err)
	}
}

// late changes a medium when a directory is made on another.
type late struct {
	disk
	change func()
}

func (s late) mkdir(path string) error {
	s.change()
	return s.disk.mkdir(path)
}

// TestSignsNoOtherSums: sums that were read before the check are not signed because
// others, read by the check, are true.
func TestSignsNoOtherSums(t *testing.T) {
	t.Parallel()
	g := newSmallSigning(t, newSmallExport(t, 5120))
	files, sig := maps.Clone(g.whole), signatureFile(SumsFile, keyID(g.key))
	sum := strings.Fields(files[SumsFile])[0]
	files[SumsFile] = strings.ReplaceAll(files[SumsFile], sum, strings.Repeat("0", len(sum)))
	files[sig] = string(signedWith(t, g.key, []byte(files[SumsFile])))
	dir, sigs := filled(t, files), filepath.Join(t.TempDir(), "sigs")
	on := late{change: func() { must(t, fill(dir, g.whole)) }}
	if err := g.sign(t.Context(), dir, SignOptions{Output: sigs, on: on}); err == nil {
		t.Error("it was signed")
	}
	must(t, sameFiles(dir, g.whole)) // it was changed on the way
	if _, err := os.Stat(sigs); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was written: %v", err)
	}
}

// TestSignProgress: what is announced is what is read.
func TestSignProgress(t *testing.T) {
	t.Parallel()
	g := newSmallSigning(t, newSmallExport(t, 5120))
	var last Event
	must(t, g.sign(t.Context(), filled(t, g.whole), SignOptions{Progress: func(e Event) { last = e }}))
	if last.Total != 2*g.inv.Storage.Size || last.Done != last.Total {
		t.Errorf("%d of %d bytes, of an archive of %d", last.Done, last.Total, g.inv.Storage.Size)
	}
}

// TestSignLocks: what another run is writing to is not signed, nor may one begin
// while it is; signatures that go elsewhere need no lock on the medium.
func TestSignLocks(t *testing.T) {
	t.Parallel()
	g := newSmallSigning(t, newSmallExport(t, 5120))
	dir := filled(t, g.whole)
	out, err := OpenOutput(dir)
	must(t, err)
	if err := g.run(t.Context(), dir, disk{}); !errors.Is(err, ErrLocked) {
		t.Errorf("signing what is locked: %v", err)
	}
	must(t, sameFiles(dir, g.whole))
	must(t, g.sign(t.Context(), dir, SignOptions{Output: filepath.Join(t.TempDir(), "a", "b")}))
	must(t, out.Close())
	must(t, g.sign(t.Context(), dir, SignOptions{Progress: func(Event) {
		if _, err := OpenOutput(dir); !errors.Is(err, ErrLocked) {
			t.Errorf("another run, while it is signed: %v", err)
		}
	}}))
	must(t, sameFiles(dir, g.signed))
}

// TestSignInTheWay: what has a signature's name, and no signature's size, is nothing
// that an interrupted run leaves. It stays, and nothing is signed.
func TestSignInTheWay(t *testing.T) {
	t.Parallel()
	g := newSmallSigning(t, newSmallExport(t, 5120))
	for what, put := range map[string]func(path string) error{
		"a directory":    func(path string) error { return os.Mkdir(path, 0o777) },
		"something long": func(path string) error { return os.WriteFile(path, make([]byte, verify.MaxSignatureSize+1), 0o666) },
	} {
		dir := filled(t, g.whole)
		must(t, put(filepath.Join(dir, g.sum)))
		if err := g.run(t.Context(), dir, disk{}); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := os.Stat(filepath.Join(dir, g.sum)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := os.Stat(filepath.Join(dir, g.inventory)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the inventory was signed: %v", what, err)
		}
	}
}
