package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"airlift/oci/ocitest"
)

// soak makes the tests of survival run at length: make soak.
var soak = os.Getenv("AIRLIFT_SOAK") != ""

// atLength is the second of two sizes of a test in make soak, else the first.
func atLength[T any](short, long T) T {
	if soak {
		return long
	}
	return short
}

// room is a directory with that many bytes free, in memory if there is such a
// place: what the tests write they write once more, and again. A process that is
// killed loses nothing of what it wrote there, as on any file system.
func room(t testing.TB, bytes uint64) string {
	t.Helper()
	const memory = "/dev/shm"
	var s unix.Statfs_t
	if unix.Statfs(memory, &s) != nil || s.Bavail*uint64(s.Bsize) < bytes {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "airlift-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// program is airlift, as a process.
type program struct {
	*exec.Cmd
	out bytes.Buffer
}

// airlift prepares a process, which ends with the test.
func airlift(t testing.TB, args ...string) *program {
	t.Helper()
	return airliftFor(t, time.Minute, args...)
}

// airliftFor is airlift with a limit of time, after which it is stuck.
func airliftFor(t testing.TB, limit time.Duration, args ...string) *program {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	p := &program{Cmd: exec.CommandContext(ctx, "airlift", args...)}
	p.Stdout, p.Stderr = &p.out, &p.out
	return p
}

// exits runs it and wants an exit code.
func (p *program) exits(t testing.TB, code int) {
	t.Helper()
	_ = p.Run() // the code says it
	if got := p.ProcessState.ExitCode(); got != code {
		t.Fatalf("%v: it ended with %v, want %d: %s", p.Args, p.ProcessState, code, &p.out)
	}
}

// keyPair makes one and gives its name, without .key and .pub.
func keyPair(t testing.TB) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "k")
	airlift(t, "keygen", "--output", name).exits(t, 0)
	return name
}

// trusted is the flag that trusts a key, or nobody's.
func trusted(key string) string {
	if key == unsigned {
		return "--allow-unsigned"
	}
	return "--trusted-key=" + key + ".pub"
}

// verified holds a bundle against its signatures and sums, by airlift and by the
// stock tool.
func verified(t testing.TB, key string, dirs ...string) {
	t.Helper()
	airliftFor(t, 10*time.Minute, slices.Concat([]string{"verify", "--quiet", trusted(key)}, dirs)...).exits(t, 0)
	for _, dir := range dirs {
		sums := exec.Command(ocitest.Program(t, "sha256sum"), "--check", "--strict", "--quiet", "SHA256SUMS")
		sums.Dir = dir
		if out, err := sums.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", dir, err, out)
		}
	}
}

// differ gives the names of the files that are not the same in two directories.
func differ(t testing.TB, one, other string) (names []string) {
	t.Helper()
	all := map[string]bool{}
	for _, dir := range []string{one, other} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			all[e.Name()] = true
		}
	}
	for name := range all {
		a, errA := os.ReadFile(filepath.Join(one, name))
		b, errB := os.ReadFile(filepath.Join(other, name))
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			names = append(names, name)
		}
	}
	return names
}
