package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// journey is something that writes media: the first run of it, which is disturbed,
// and what makes good afterwards.
type journey struct {
	name string
	// begin makes the directory what it is before.
	begin func(dir string) error
	run   func(ctx context.Context, dir string, on storage) error
	// again is the run that goes on; nil = run.
	again func(ctx context.Context, dir string, on storage) error
	want  map[string]string // files, at the end
}

func (j journey) resume(ctx context.Context, dir string, on storage) error {
	if j.again != nil {
		return j.again(ctx, dir, on)
	}
	return j.run(ctx, dir, on)
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
	do := j.run
	for _, f := range faults {
		on := newTape(f)
		err := do(ctx, dir, on)
		if len(on.ops) < f.at { // it ended before
			break
		}
		if err := wantClass(err, f); err != nil {
			return err
		}
		if len(on.sins) > 0 {
			return fmt.Errorf("%q", on.sins)
		}
		if claimed := claim(dir, j.want); claimed != nil {
			return claimed
		}
		do = j.resume
	}
	if err := j.resume(ctx, dir, disk{}); err != nil {
		return fmt.Errorf("the undisturbed run: %w", err)
	}
	return sameFiles(dir, j.want)
}

// claim: the directory does not claim to be complete, or is.
func claim(dir string, want map[string]string) error {
	m := medium{dir, disk{}}
	if m.has(CheckpointFile) || !m.has(SumsFile) {
		return nil
	}
	for name := range want {
		if isSignatureOf(SumsFile, name) && !m.has(name) {
			return nil
		}
	}
	if err := sameFiles(dir, want); err != nil {
		return fmt.Errorf("it claims to be complete: %w", err)
	}
	return nil
}

// wantClass: a full medium is said to be one, and nothing else is.
func wantClass(err error, f fault) error {
	full := errors.Is(f.err, syscall.ENOSPC)
	others := errors.Is(err, ErrUsage) || errors.Is(err, ErrDamaged) || errors.Is(err, ErrUntrusted) || errors.Is(err, ErrAbsent) || errors.Is(err, ErrMissing)
	if !errors.Is(err, f.err) && !(f.half && errors.Is(err, io.ErrShortWrite)) || errors.Is(err, ErrNoSpace) != full || others {
		return fmt.Errorf("the error is %v", err)
	}
	return nil
}

func journeys(t *testing.T) []journey {
	t.Helper()
	many, one := newSmallExport(t, 5120), newSmallExport(t, 0)
	fresh := func(dir string) error { return os.RemoveAll(dir) }
	plain := func(s *smallExport) func(context.Context, string, storage) error {
		return func(ctx context.Context, dir string, on storage) error { return s.run(ctx, dir, on, ExportOptions{}) }
	}
	return []journey{
		{name: "several volumes", begin: fresh, run: plain(many), want: many.whole},
		{name: "one volume", begin: fresh, run: plain(one), want: one.whole},
	}
}
