package bundle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TmpFS is a file system in memory of so many bytes, as a directory.
func TmpFS(t *testing.T, size int64) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("mount a small file system: %v", err)
		}
		t.Skipf("mount a small file system: %v", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
	return dir
}

// enlarge gives a file system more room.
func enlarge(t *testing.T, dir string, size int64) {
	t.Helper()
	must(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, fmt.Sprintf("size=%d", size)))
}

// TestFullAtEverySize: something else takes the room while an export is written.
// It ends for want of space, with nothing that claims to be complete; once there
// is room again, because it is given back or because there is more of it, the same
// command comes to what it would have come to.
func TestFullAtEverySize(t *testing.T) {
	t.Parallel()
	s := newSmallExport(t, 0)
	s.segment, s.checkpoint = 6000, 20_000
	s.push(t, 130_000, 1000, 200_000, 40_000)
	dir, full := TmpFS(t, 4<<20), 0
	n := rounds(20, 200)
	for i := range n {
		room := s.inv.Storage.Size * int64(2*i+1) / int64(2*n)
		if err := s.fills(t, filepath.Join(dir, fmt.Sprint(i)), filepath.Join(dir, "ballast"), room); err == nil {
			full++
		} else if !errors.Is(err, errFitted) {
			t.Errorf("with room for %d bytes of %d: %v", room, s.inv.Storage.Size, err)
		}
		enlarge(t, dir, 4<<20)
	}
	if full < n*3/4 {
		t.Errorf("only %d of %d were full", full, n)
	}
	t.Logf("%d sizes, %d times full", n, full)
}

// errFitted: there was room enough.
var errFitted = errors.New("it fitted")

// fills lets an export run out of room, and go on when there is some again.
func (s *smallExport) fills(t *testing.T, dir, ballast string, room int64) error {
	begun := false
	err := s.run(t.Context(), dir, disk{}, ExportOptions{Progress: func(e Event) {
		if e.Phase != "fetch" || begun {
			return
		}
		begun = true
		free, err := freeBytes(filepath.Dir(dir))
		must(t, err)
		must(t, os.WriteFile(ballast, make([]byte, free-room), 0o666))
	}})
	if err == nil {
		err = errFitted
	} else if !errors.Is(err, ErrNoSpace) {
		return err
	} else if err = nil; medium.has(medium{dir, disk{}}, SumsFile) && !medium.has(medium{dir, disk{}}, CheckpointFile) {
		return errors.New("it claims to be complete")
	}
	if room%2 == 0 {
		must(t, os.Remove(ballast))
	} else {
		enlarge(t, filepath.Dir(dir), 8<<20)
	}
	return errors.Join(err, s.run(t.Context(), dir, disk{}, ExportOptions{}), sameFiles(dir, s.whole), os.RemoveAll(dir), os.RemoveAll(ballast))
}

// TestTooSmallForAll: a medium gets as many whole volumes as fit, and is complete
// with them. When it has become larger, the same call goes on on it to the end.
func TestTooSmallForAll(t *testing.T) {
	t.Parallel()
	s := newSmallExport(t, 0)
	s.segment, s.checkpoint = 50_000, 50_000
	s.push(t, 300_000, 250_000, 700_000, 250_000, 250_000)
	dir := TmpFS(t, 1<<20)
	volumes := len(s.inv.Storage.Volumes)
	for size := int64(1 << 20); ; size += 300_000 {
		enlarge(t, dir, size)
		err := s.run(t.Context(), dir, disk{}, ExportOptions{})
		if err == nil {
			break
		}
		next := (*NextMediumError)(nil)
		if !errors.As(err, &next) {
			t.Fatal(err)
		}
		checkSums(t, dir)
		files, err := contentsOf(dir)
		must(t, err)
		there := 0
		for name := range files {
			if strings.HasPrefix(name, VolumeFile) {
				there++
			}
		}
		if there != next.Volume-1 || next.Last != volumes || next.Begun {
			t.Errorf("%d of %d volumes are there: %+v", there, volumes, next)
		}
		if size > 10<<20 {
			t.Fatal("it is never large enough")
		}
	}
	must(t, sameFiles(dir, s.whole))
}

// TestBegunAndFull: a volume that was begun, and does not fit any more, is begun
// again on the next medium: its good part is copied from the one before, which is
// complete then with what is whole on it.
func TestBegunAndFull(t *testing.T) {
	t.Parallel()
	s := newSmallExport(t, 0)
	s.segment, s.checkpoint = 20_000, 20_000
	s.push(t, 300_000, 250_000, 290_000, 250_000)
	first, second := TmpFS(t, 3<<20), fastDir(t)
	third := VolumeFile + ".003"
	on := newTape(fault{})
	err := s.run(t.Context(), first, on, ExportOptions{Progress: func(e Event) {
		if medium.size(medium{first, disk{}}, []string{third}) > 200_000 {
			on.kill()
		}
	}})
	if !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	free, err := freeBytes(first)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(first, "ballast"), make([]byte, free-80_000), 0o666))
	if err := s.run(t.Context(), first, disk{}, ExportOptions{}); !errors.Is(err, ErrNoSpace) || errors.As(err, new(*NextMediumError)) {
		t.Errorf("without another medium: %v", err)
	}
	next := (*NextMediumError)(nil)
	if err := s.run(t.Context(), first, disk{}, ExportOptions{More: true}); !errors.As(err, &next) || !next.Begun || next.Volume != 3 {
		t.Fatalf("with another medium: %v", err)
	}
	fetched := s.fetched(t, func(ctx context.Context, run exporter) error {
		return run(ctx, second, disk{}, ExportOptions{After: next, Reuse: []string{first}})
	})
	if rest := int64(len(s.whole[VolumeFile+".003"])-200_000) + int64(len(s.whole[VolumeFile+".004"])) + 2*s.segment; fetched > rest {
		t.Errorf("%d bytes were fetched, %d were to be", fetched, rest)
	}
	checkSums(t, second)
	must(t, os.WriteFile(filepath.Join(first, "more ballast"), make([]byte, 60_000), 0o666)) // whole volumes need no room
	if err := s.run(t.Context(), first, disk{}, ExportOptions{Seal: true}); !errors.As(err, new(*NextMediumError)) {
		t.Errorf("seal: %v", err)
	}
	checkSums(t, first)
	must(t, s.together(t, first, second))
}

// TestFilledMeanwhile: a medium whose room something else takes is left for the next
// one by the run that was writing it.
func TestFilledMeanwhile(t *testing.T) {
	t.Parallel()
	s := newSmallExport(t, 0)
	s.segment, s.checkpoint = 20_000, 20_000
	s.push(t, 300_000, 250_000, 290_000, 250_000)
	for _, more := range []bool{true, false} {
		first, second := TmpFS(t, 3<<20), fastDir(t)
		err := s.run(t.Context(), first, disk{}, ExportOptions{More: more, Progress: func(Event) {
			if medium.has(medium{first, disk{}}, "ballast") || medium.size(medium{first, disk{}}, []string{VolumeFile + ".003"}) < 100_000 {
				return
			}
			free, err := freeBytes(first)
			must(t, err)
			must(t, os.WriteFile(filepath.Join(first, "ballast"), make([]byte, free-50_000), 0o666))
		}})
		next := (*NextMediumError)(nil)
		if is := errors.As(err, &next); is != more || !errors.Is(err, ErrNoSpace) {
			t.Fatalf("another medium %v: %v", more, err)
		}
		if !more {
			continue
		}
		if !next.Begun || next.Volume != 3 {
			t.Errorf("%+v", next)
		}
		must(t, s.run(t.Context(), second, disk{}, ExportOptions{After: next, Reuse: []string{first}}))
		if err := s.run(t.Context(), first, disk{}, ExportOptions{Seal: true}); !errors.As(err, new(*NextMediumError)) {
			t.Errorf("seal: %v", err)
		}
		checkSums(t, first)
		must(t, s.together(t, first, second))
	}
}
