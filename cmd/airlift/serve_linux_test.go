package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
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

// TestServeSlowly: what the other side takes counts, though it is long before the kernel
// takes more for it.
func TestServeSlowly(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	accepted, err := patientListener{listener, time.Minute}.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := accepted.(*patientConn)
	defer c.Close()
	_ = c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	if _, err := c.Write(make([]byte, 64<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	_ = c.SetWriteDeadline(time.Time{})

	tries := 0
	taking := func(int64) (int64, error) {
		if tries++; tries == 4 {
			return 1, nil
		}
		for before, end := untaken(c.TCPConn), time.Now().Add(10*time.Second); untaken(c.TCPConn) >= before && time.Now().Before(end); {
			_ = client.SetReadDeadline(time.Now().Add(time.Second))
			_, _ = io.ReadFull(client, make([]byte, 64<<10))
		}
		return 0, os.ErrDeadlineExceeded
	}
	if n, err := c.send(taking); n != 1 || err != nil {
		t.Errorf("after %d tries: %d, %v", tries, n, err)
	}
	tries = 0
	taken := func(int64) (int64, error) { tries++; return 0, os.ErrDeadlineExceeded }
	if _, err := c.send(taken); !errors.Is(err, errStalled) || tries > 2 {
		t.Errorf("after %d tries: %v", tries, err)
	}
	if _, err := c.Write([]byte("more")); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}
