package bundle

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// lockedDir names the directory for the process that TestLockDiesWithItsProcess starts.
const lockedDir = "AIRLIFT_TEST_LOCKED_DIR"

// TestLockDiesWithItsProcess: while another process has a directory, nobody else
// gets it, and as soon as that is killed, somebody does.
func TestLockDiesWithItsProcess(t *testing.T) {
	if dir := os.Getenv(lockedDir); dir != "" {
		out, err := OpenOutput(dir)
		must(t, err)
		_, _ = os.Stdout.WriteString("locked\n")
		_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed
		runtime.KeepAlive(out)
	}
	t.Parallel()
	n := rounds(5, 500)
	for range n {
		dir := filepath.Join(fastDir(t), "made", "for it")
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLockDiesWithItsProcess$")
		cmd.Env = append(os.Environ(), lockedDir+"="+dir)
		out, err := cmd.StdoutPipe()
		must(t, err)
		_, err = cmd.StdinPipe() // nothing comes through it
		must(t, err)
		must(t, cmd.Start())
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
			t.Fatalf("%q, %v", line, err)
		}
		if _, err := OpenOutput(dir); !errors.Is(err, ErrLocked) {
			t.Errorf("while another process has it: %v", err)
		}
		must(t, cmd.Process.Kill())
		_ = cmd.Wait()
		again, err := OpenOutput(dir)
		must(t, err)
		must(t, again.Close())
	}
	t.Logf("%d rounds", n)
}

// TestAloneWaits: a directory that another run has is waited for, for a while, or until the
// context ends; one that is free is had even then.
func TestAloneWaits(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "objects")
	for name, c := range map[string]struct {
		free, ends, waits time.Duration // 0 = not
		want              error
	}{
		"free":               {want: nil},
		"free soon":          {free: 20 * time.Second, waits: 20 * time.Second},
		"taken":              {waits: lockTime, want: ErrLocked},
		"taken, and it ends": {ends: 5 * time.Second, waits: 5 * time.Second, want: context.DeadlineExceeded},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.ends > 0 {
				ctx, cancel = context.WithTimeout(ctx, c.ends)
				defer cancel()
			}
			if c.want == nil && c.free == 0 {
				cancel()
			}
			if c.want != nil || c.free > 0 {
				out, err := OpenOutput(dir)
				must(t, err)
				if c.free > 0 {
					time.AfterFunc(c.free, func() { must(t, out.Close()) })
				} else {
					defer out.Close()
				}
			}
			began, done := time.Now(), false
			err := Alone(ctx, dir, func() error { done = true; return nil })
			if !errors.Is(err, c.want) || done != (c.want == nil) {
				t.Errorf("%s: done %v, %v", name, done, err)
			}
			if waited := time.Since(began); waited < c.waits || waited > c.waits+time.Second {
				t.Errorf("%s: waited %s", name, waited)
			}
		})
	}
}

// TestLockOfOne: of several that want a directory, which comes and goes with them,
// one has it at a time.
func TestLockOfOne(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(fastDir(t), "made", "in vain")
	var working sync.WaitGroup
	var one sync.Mutex
	n, had := rounds(300, 10_000), 0
	for range 4 {
		working.Go(func() {
			for range n {
				out, err := OpenOutput(dir)
				if err != nil {
					if !errors.Is(err, ErrLocked) && !errors.Is(err, fs.ErrNotExist) {
						t.Error(err)
					}
					continue
				}
				if !one.TryLock() {
					t.Error("two have it")
				}
				had++
				one.Unlock()
				if err := out.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	working.Wait()
	if had == 0 {
		t.Error("nobody had it")
	}
	t.Logf("%d tries, %d had it", 4*n, had)
}

// TestMadeInVain: only what was made for an output, and is empty, is removed.
func TestMadeInVain(t *testing.T) {
	t.Parallel()
	parent := fastDir(t)
	deep := filepath.Join(parent, "a", "b")
	for _, c := range []struct {
		file string // that is written meanwhile
		left string // what is there afterwards
		gone string // and what is not
	}{
		{"", parent, filepath.Join(parent, "a")},
		{filepath.Join(parent, "a", "x"), filepath.Join(parent, "a", "x"), deep},
		{filepath.Join(deep, "x"), filepath.Join(deep, "x"), filepath.Join(parent, "b")},
	} {
		out, err := OpenOutput(deep)
		must(t, err)
		if c.file != "" {
			must(t, os.WriteFile(c.file, nil, 0o666))
		}
		must(t, out.Close())
		if _, err := os.Stat(c.left); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(c.gone); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", c.gone, err)
		}
	}
}
