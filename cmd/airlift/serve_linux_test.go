package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestServeByTheKernel: a blob that was found right does not pass through the
// program any more. What it reads and writes by itself is in pieces of 32 KiB.
func TestServeByTheKernel(t *testing.T) {
	const size = 24_000_000
	dir, trust, _, layer := toServe(t, size, 0)
	s := startServing(t, trust, "--verbose", dir)
	var reads [2]int
	for i := range reads {
		before := s.reads(t)
		if got, err := all(s.get(t, layer.Digest)); err != nil || got != layer.Digest {
			t.Fatal(got, err)
		}
		reads[i] = s.reads(t) - before
	}
	if pieces := size / (32 << 10); reads[0] < pieces || reads[1] > pieces/4 {
		t.Errorf("%d reads to hash it while it was sent, %d to send it again; the program itself would take %d", reads[0], reads[1], pieces)
	}
}

// reads counts the system calls of the process that read, sendfile among them.
func (s *serving) reads(t *testing.T) (n int) {
	t.Helper()
	counts, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", s.Process.Pid))
	if err == nil {
		_, counted, _ := strings.Cut(string(counts), "syscr: ")
		_, err = fmt.Sscan(counted, &n)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}
