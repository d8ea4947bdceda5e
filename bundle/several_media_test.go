package bundle

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"airlift/oci/ocitest"
)

// exporter runs an export.
type exporter func(ctx context.Context, dir string, on storage, o ExportOptions) error

// fetched counts the bytes of blobs that a run fetches.
func (s *smallExport) fetched(t *testing.T, do func(context.Context, exporter) error) int64 {
	t.Helper()
	proxy := ocitest.Misbehave(t, s.host, func(r *http.Request) *ocitest.Fault { return nil })
	c := smallClient(t, s.host, proxy.Host)
	must(t, do(t.Context(), func(ctx context.Context, dir string, on storage, o ExportOptions) error {
		return s.runWith(ctx, c, dir, on, o)
	}))
	return proxy.Sent()
}

// checkSums checks a medium as somebody does who has only coreutils.
func checkSums(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sha256sum", "--quiet", "--strict", "-c", SumsFile)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("sha256sum: %v: %s", err, out)
	}
}

// together says whether media are the bundle.
func (s *smallExport) together(t *testing.T, dirs ...string) error {
	t.Helper()
	b, err := Open(dirs, trustOf(s.key))
	if err != nil {
		return err
	}
	found, err := b.Check(t.Context(), CheckOptions{Sums: true})
	return errors.Join(err, Verdict(found))
}

// part is the medium that an undisturbed export of some volumes makes.
func (s *smallExport) part(t *testing.T, o ExportOptions) map[string]string {
	t.Helper()
	dir := fastDir(t)
	if err := s.run(t.Context(), dir, disk{}, o); err != nil {
		t.Fatal(err)
	}
	files, err := contentsOf(dir)
	must(t, err)
	return files
}

// TestThreeMedia: a bundle with a blob over all of its volumes goes onto three
// media, one after the other, and every run is interrupted at every few of its
// operations. Each medium is complete by itself, and together they are the bundle.
func TestThreeMedia(t *testing.T) {
	t.Parallel()
	s := newSmallExport(t, 5120)
	last := len(s.inv.Storage.Volumes)
	media := []VolumeRange{{1, 2}, {3, 4}, {5, last}}
	var dirs []string
	for i, volumes := range media {
		options := ExportOptions{Volumes: volumes}
		if i > 0 { // what was asked for at first ends where this medium does
			options = ExportOptions{Volumes: VolumeRange{1, volumes.Last}, After: &NextMediumError{Volume: volumes.First}}
		}
		want := s.part(t, ExportOptions{Volumes: volumes})
		count := newTape(fault{})
		dir := filepath.Join(fastDir(t), "medium")
		must(t, s.run(t.Context(), dir, count, options))
		must(t, sameFiles(dir, want))
		checkSums(t, dir)
		dirs = append(dirs, dir)
		faults := some(everyOp(len(count.ops)), rounds(25, 1000))
		spread(t, len(faults), func(dir string, i int) error {
			if err := fill(dir, nil); err != nil {
				return err
			}
			if err := s.run(t.Context(), dir, newTape(fault{at: faults[i], err: errKilled, onall: true}), options); !errors.Is(err, errKilled) {
				return fmt.Errorf("it was to be killed at %d: %w", faults[i], err)
			}
			if err := s.run(t.Context(), dir, disk{}, options); err != nil {
				return err
			}
			return sameFiles(dir, want)
		})
		if err := s.together(t, dirs...); (err == nil) != (i == 2) || i < 2 && !errors.Is(err, ErrAbsent) {
			t.Errorf("%d media are the bundle: %v", i+1, err)
		}
	}
	for _, name := range []string{VolumeFile + ".001", InventoryFile, ReadmeFile} {
		for _, dir := range dirs {
			files, err := contentsOf(dir)
			must(t, err)
			if files[name] != s.whole[name] {
				t.Errorf("%s differs in %s", name, dir)
			}
		}
	}
	if err := s.run(t.Context(), dirs[1], disk{}, ExportOptions{Volumes: VolumeRange{5, last}}); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), "another part") {
		t.Errorf("another part on a medium that has one: %v", err)
	}
}
