package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"
)

// journey is something that writes a medium. The same run again makes good what
// disturbed the first.
type journey struct {
	name string
	of   *smallExport
	// begin makes the directory what it is before.
	begin  func(dir string) error
	run    func(ctx context.Context, dir string, on storage) error
	want   map[string]string // files, at the end
	every  bool              // fault, not only when soaking
	before map[string]string // files that claimed to be complete, and need not have been
}

// TestEveryFault: whichever operation of the storage fails, and however, the
// error is of its class, nothing claims to be complete that is not, no failed
// sync is tried again, and the same command again gives what an undisturbed run
// would have given.
func TestEveryFault(t *testing.T) {
	t.Parallel()
	for _, j := range journeys(t) {
		t.Run(j.name, func(t *testing.T) {
			t.Parallel()
			ops := operations(t, j)
			faults := everyFault(ops)
			if !j.every {
				faults = some(faults, rounds(150, len(faults)))
			}
			spread(t, len(faults), func(dir string, i int) error {
				if err := j.disturbed(t.Context(), dir, faults[i]); err != nil {
					return fmt.Errorf("%s: %s: %w", j.name, faults[i], err)
				}
				return nil
			})
			t.Logf("%d operations, %d faults", len(ops), len(faults))
		})
	}
}

// everyFault of these operations: each kind that they can have, once and from
// then on.
func everyFault(ops []operation) (faults []fault) {
	for i, o := range ops {
		faults = append(faults, fault{at: i + 1, err: errKilled, onall: true})
		for _, f := range kinds {
			if f.half && o.kind != "write" {
				continue
			}
			f.at = i + 1
			faults = append(faults, f)
			f.onall = true
			faults = append(faults, f)
		}
	}
	return faults
}

// some takes n of a list, evenly.
func some[T any](list []T, n int) []T {
	var taken []T
	for i := range min(n, len(list)) {
		taken = append(taken, list[i*len(list)/min(n, len(list))])
	}
	return taken
}

// operations are those of an undisturbed run.
func operations(t *testing.T, j journey) []operation {
	t.Helper()
	dir := filepath.Join(fastDir(t), "medium")
	must(t, j.begin(dir))
	count := newTape(fault{})
	must(t, j.run(t.Context(), dir, count))
	must(t, sameFiles(dir, j.want))
	return count.ops
}

// disturbed runs into faults, one a run, and then goes on undisturbed.
func (j journey) disturbed(ctx context.Context, dir string, faults ...fault) error {
	if err := j.begin(dir); err != nil {
		return err
	}
	for _, f := range faults {
		on := newTape(f)
		err := j.run(ctx, dir, on)
		if len(on.ops) < f.at { // it ended before
			break
		}
		if err := wantClass(err, f); err != nil {
			return err
		}
		if len(on.sins) > 0 {
			return fmt.Errorf("%q", on.sins)
		}
		if claimed := j.claim(dir); claimed != nil {
			return claimed
		}
	}
	if err := j.run(ctx, dir, disk{}); err != nil {
		return fmt.Errorf("the undisturbed run: %w", err)
	}
	return sameFiles(dir, j.want)
}

// claim: the directory does not claim to be complete, by a good signature over its
// sums and without a checkpoint, or is.
func (j journey) claim(dir string) error {
	m := medium{dir, disk{}}
	sums, err := os.ReadFile(m.path(SumsFile))
	if err != nil || m.has(CheckpointFile) || string(sums) == j.before[SumsFile] {
		return nil
	}
	if _, _, err := trustOf(j.of.key).signatures([]string{dir}, SumsFile, sums); err != nil {
		return nil
	}
	if err := sameFiles(dir, j.want); err != nil {
		return fmt.Errorf("it claims to be complete: %w", err)
	}
	return nil
}

// wantClass: a full medium is said to be one, and nothing else is.
func wantClass(err error, f fault) error {
	if errors.Is(f.err, errKilled) { // nobody is told
		return nil
	}
	full := errors.Is(f.err, syscall.ENOSPC)
	others := errors.Is(err, ErrUsage) || errors.Is(err, ErrDamaged) || errors.Is(err, ErrUntrusted) || errors.Is(err, ErrAbsent) || errors.Is(err, ErrMissing)
	if !errors.Is(err, f.err) && !(f.half && errors.Is(err, io.ErrShortWrite)) || errors.Is(err, ErrNoSpace) != full || others {
		return fmt.Errorf("the error is %v", err)
	}
	return nil
}

// journeys are the ways to write a medium.
func journeys(t *testing.T) []journey {
	t.Helper()
	many, one := newSmallExport(t, 5120), newSmallExport(t, 0)
	last := len(many.inv.Storage.Volumes)
	half := many.interrupted(t, ExportOptions{})
	first := many.files(t, ExportOptions{Volumes: VolumeRange{1, 3}})
	wrong := fastDir(t)
	must(t, fill(wrong, many.damaged(many.large.Digest, 10000)))
	damaged := many.damaged(many.large.Digest, 3000)
	second, less := newSmallSigning(t, many), many.increment(t)
	return []journey{
		{name: "increment", of: less, begin: from(nil), run: less.with(ExportOptions{}), want: less.whole, every: true},
		{name: "increment, repaired", of: less, begin: from(without(less.whole, VolumeFile+".002")), before: without(less.whole, VolumeFile+".002"), run: less.repair, want: less.whole},
		{name: "several volumes", of: many, begin: from(nil), run: many.with(ExportOptions{}), want: many.whole, every: true},
		{name: "one volume", of: one, begin: from(nil), run: one.with(ExportOptions{}), want: one.whole, every: true},
		{name: "going on", of: many, begin: from(half), run: many.with(ExportOptions{}), want: many.whole},
		{name: "wrong bytes first", of: many, begin: from(nil), run: many.with(ExportOptions{Reuse: []string{wrong}}), want: many.whole, every: true},
		{name: "wrong bytes first, one volume", of: one, begin: from(nil), run: one.with(ExportOptions{Reuse: []string{wrong}}), want: one.whole},
		{name: "restart", of: many, begin: from(half), run: many.restart, want: many.whole},
		{name: "recheck", of: many, begin: from(without(half, VolumeFile+".003")), run: many.with(ExportOptions{Recheck: true}), want: many.whole},
		{name: "no checkpoint", of: many, begin: from(without(half, CheckpointFile)), run: many.with(ExportOptions{}), want: many.whole},
		{name: "no text", of: many, begin: from(without(half, ReadmeFile)), run: many.with(ExportOptions{}), want: many.whole},
		{name: "first of two media", of: many, begin: from(nil), run: many.with(ExportOptions{Volumes: VolumeRange{1, 3}}), want: first},
		{name: "second of two media", of: many, begin: from(nil), run: many.with(ExportOptions{After: &NextMediumError{Volume: 4}}),
			want: many.files(t, ExportOptions{Volumes: VolumeRange{4, last}})},
		{name: "more on a complete medium", of: many, begin: from(first), before: first, run: many.with(ExportOptions{}), want: many.whole},
		{name: "seal what is whole", of: many, begin: from(half), run: many.with(ExportOptions{Seal: true}), want: many.files(t, ExportOptions{Volumes: VolumeRange{1, 2}})},
		{name: "repair", of: many, begin: from(damaged), before: damaged, run: many.repair, want: many.whole},
		{name: "repair, and seal", of: many, begin: from(without(damaged, ReadmeFile, SumsFile)), run: many.repair, want: many.whole},
		{name: "sign", of: many, begin: from(many.whole), before: many.whole, run: second.run, want: second.signed},
		{name: "sign over a torn one", of: many, begin: from(second.torn()), before: many.whole, run: second.run, want: second.signed},
		{name: "repair a lost volume", of: many, begin: from(without(many.whole, VolumeFile+".002")), before: without(many.whole, VolumeFile+".002"), run: many.repair, want: many.whole},
	}
}

// from makes a directory what it is before: files, or nothing.
func from(files map[string]string) func(string) error {
	if files == nil {
		return os.RemoveAll
	}
	return func(dir string) error { return fill(dir, files) }
}

func without(files map[string]string, names ...string) map[string]string {
	rest := maps.Clone(files)
	for _, name := range names {
		delete(rest, name)
	}
	return rest
}

// with is a run with options. That the rest belongs on further media is what it
// was to come to.
func (s *smallExport) with(o ExportOptions) func(context.Context, string, storage) error {
	return func(ctx context.Context, dir string, on storage) error {
		err := s.run(ctx, dir, on, o)
		if next := (*NextMediumError)(nil); errors.As(err, &next) {
			err = nil
		}
		return err
	}
}

// files are those of an undisturbed run.
func (s *smallExport) files(t *testing.T, o ExportOptions) map[string]string {
	t.Helper()
	dir := fastDir(t)
	must(t, s.with(o)(t.Context(), dir, disk{}))
	files, err := contentsOf(dir)
	must(t, err)
	return files
}

// interrupted is what a run leaves that was killed in the large blob, in the third
// volume.
func (s *smallExport) interrupted(t *testing.T, o ExportOptions) map[string]string {
	t.Helper()
	dir := filepath.Join(fastDir(t), "medium")
	count := newTape(fault{})
	must(t, s.with(o)(t.Context(), dir, count))
	at := slices.IndexFunc(count.ops, func(o operation) bool { return o.name == VolumeFile+".003" && o.kind == "write" && o.offset > 2000 })
	must(t, os.RemoveAll(dir))
	if err := s.run(t.Context(), dir, newTape(fault{at: at + 2, err: errKilled, onall: true}), o); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	files, err := contentsOf(dir)
	must(t, err)
	if len(files[VolumeFile+".003"]) < 2000 || files[CheckpointFile] == "" {
		t.Fatal("it was not interrupted in the third volume")
	}
	return files
}

// damaged are all files with one wrong byte in a blob.
func (s *smallExport) damaged(d digest.Digest, offset int64) map[string]string {
	l, err := s.inv.layout()
	if err != nil {
		panic(err)
	}
	e, _ := l.Find(d)
	files := maps.Clone(s.whole)
	at := l.spans(e.data()+offset, 1)[0]
	name := volumeName(at.volume, l.Volumes())
	data := []byte(files[name])
	data[at.offset] ^= 0xff
	files[name] = string(data)
	return files
}

func (s *smallExport) repair(ctx context.Context, dir string, on storage) (err error) {
	out, err := openOutput(dir, on)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = out.Repair(ctx, s.client, ExportOptions{Key: s.key, Jobs: 2})
	return err
}

// TestPairsOfFaults: a second fault, of the run that was to make good, changes
// nothing.
func TestPairsOfFaults(t *testing.T) {
	t.Parallel()
	for _, j := range journeys(t) {
		t.Run(j.name, func(t *testing.T) {
			t.Parallel()
			faults := everyFault(operations(t, j))
			n := rounds(20, 5000)
			spread(t, n, func(dir string, i int) error {
				random := rand.New(rand.NewPCG(1, uint64(i)))
				one, two := faults[random.IntN(len(faults))], faults[random.IntN(len(faults))]
				if err := j.disturbed(t.Context(), dir, one, two); err != nil {
					return fmt.Errorf("%s, then %s: %w", one, two, err)
				}
				return nil
			})
			t.Logf("%d pairs", n)
		})
	}
}
