package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci/ocitest"
)

// segments is what an export may have asked for and not yet written: 48 segments
// of 1 MiB.
const segments = 48 << 20

// vast is a registry with an image of one layer of so many bytes, team/vast:v1.
func vast(t *testing.T, size int64) (v *ocitest.Vast, layer digest.Digest) {
	t.Helper()
	v = ocitest.NewVast()
	host := served(t, listen(t), &http.Server{Handler: v})
	b, d := ocitest.NewBuilder(host), v.Layer(t.Name(), size)
	b.Image("team/vast", "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{d}})
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	return v, d.Digest
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// served runs a server until the test ends.
func served(t *testing.T, l net.Listener, s *http.Server) (host string) {
	t.Helper()
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(l) }) // until it is closed
	t.Cleanup(func() { _ = s.Close(); serving.Wait() })
	return l.Addr().String()
}

const vastImage = "--image=quay.io/team/vast:v1"

// unsigned is the key of nobody.
const unsigned = ""

// exportFrom is the command line that exports from a host, signed with a key.
func exportFrom(host, key, dir string, what ...string) []string {
	args := []string{"export", "--quiet", "--output", dir, "--insecure-registry", host, "--source-mirror", "quay.io=" + host}
	if key == unsigned {
		return slices.Concat(args, []string{"--unsigned"}, what)
	}
	return slices.Concat(args, []string{"--key", key + ".key"}, what)
}

// killedWhen runs the program until something is so, and kills it then.
func killedWhen(t *testing.T, args []string, so func() bool) {
	t.Helper()
	p := airlift(t, args...)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = p.Wait() }() // airlift has a limit of time
	for !so() {
		select {
		case <-time.After(time.Millisecond):
			continue
		case <-ended:
		}
		break
	}
	_ = p.Process.Kill()
	<-ended
	if status := p.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() {
		t.Fatalf("it was not killed when it should be: %v: %s", p.ProcessState, &p.out)
	}
}

// rangeOf reads the range that a request asks for; it is empty if it asks for none.
func rangeOf(r *http.Request) (start, end int64) {
	if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &start, &end); n != 2 {
		return 0, 0
	}
	return start, end + 1
}

// TestFetchedAgain: killed when 95 % were fetched, an export fetches again at
// most what one checkpoint and the segments in flight hold.
func TestFetchedAgain(t *testing.T) {
	t.Parallel()
	const size, checkpoint = 256 << 20, 16 << 20
	var killed atomic.Bool
	v, _ := vast(t, size)
	host := served(t, listen(t), &http.Server{Handler: v})
	proxy := ocitest.Misbehave(t, host, func(r *http.Request) *ocitest.Fault {
		if start, _ := rangeOf(r); start > size*97/100 && !killed.Load() {
			return &ocitest.Fault{Delay: time.Hour} // the rest comes when it was killed
		}
		return nil
	})
	dir := filepath.Join(room(t, 2*size), "medium")
	args := exportFrom(proxy.Host, unsigned, dir, vastImage, "--checkpoint", fmt.Sprint(checkpoint))
	killedWhen(t, args, func() bool { return proxy.Sent() >= size*95/100 })
	killed.Store(true)
	airlift(t, args...).exits(t, 0)
	again := proxy.Sent() - size
	t.Logf("%d MiB of %d were fetched again", again>>20, size>>20)
	if again > checkpoint+segments {
		t.Errorf("%d bytes were fetched again", again)
	}
	verified(t, unsigned, dir)
}

// TestCorruptedThenKilled: a byte was wrong, a checkpoint came, and the export was
// killed; from a healthy source the bytes are the right ones in the end.
func TestCorruptedThenKilled(t *testing.T) {
	t.Parallel()
	const size, wrong = 256 << 20, 100<<20 + 5
	var killed atomic.Bool
	v, _ := vast(t, size)
	host := served(t, listen(t), &http.Server{Handler: v})
	proxy := ocitest.Misbehave(t, host, func(r *http.Request) *ocitest.Fault {
		start, end := rangeOf(r)
		switch {
		case killed.Load():
			return nil
		case start <= wrong && wrong < end:
			return &ocitest.Fault{Corrupt: true, At: wrong - start}
		case start > size*3/4:
			return &ocitest.Fault{Delay: time.Hour}
		}
		return nil
	})
	at := room(t, 3*size)
	whole, dir := filepath.Join(at, "whole"), filepath.Join(at, "medium")
	airlift(t, exportFrom(host, unsigned, whole, vastImage)...).exits(t, 0)
	args := exportFrom(proxy.Host, unsigned, dir, "--checkpoint", "8MiB", "--from", filepath.Join(whole, "bundle.json"), "--volume", "1-")
	killedWhen(t, args, func() bool { return recorded(t, dir) > wrong+1<<20 })
	killed.Store(true)
	airlift(t, args...).exits(t, 0)
	if names := differ(t, whole, dir); names != nil {
		t.Errorf("not the same: %s", names)
	}
}

// recorded is how far the last checkpoint says that the archive is good.
func recorded(t *testing.T, dir string) int64 {
	contents, _ := os.ReadFile(filepath.Join(dir, "bundle.checkpoint")) // none yet is none
	lines := bytes.Split(contents, []byte("\n"))
	if len(lines) < 2 { // the last one is torn, or empty
		return 0
	}
	_, record, _ := bytes.Cut(lines[len(lines)-2], []byte(" "))
	var says struct{ At struct{ Offset int64 } }
	if err := json.Unmarshal(record, &says); err != nil {
		t.Errorf("%v: %s", err, record)
	}
	return says.At.Offset
}

// TestResetConnections: each connection is reset after 4 MiB, and the export
// completes all the same, with next to nothing fetched twice. In make soak it is
// killed every five seconds beside.
func TestResetConnections(t *testing.T) {
	t.Parallel()
	size := atLength[int64](256<<20, 1<<30)
	source := &thinLine{Listener: listen(t), cut: 4 << 20}
	if soak {
		source.pace = 40 << 20
	}
	v, _ := vast(t, size)
	host := served(t, source, &http.Server{Handler: v})
	dir := filepath.Join(room(t, uint64(2*size)), "medium")
	args, kills := exportFrom(host, unsigned, dir, vastImage, "--checkpoint", "16MiB"), int64(0)
	for soak && killedAfter(t, args, 5*time.Second) {
		kills++
	}
	airliftFor(t, 10*time.Minute, args...).exits(t, 0)
	again := source.sent.Load() - size
	t.Logf("%d MiB of %d were sent twice, with %d connections and %d kills", again>>20, size>>20, source.accepted.Load(), kills)
	if again > size/20+kills*(16<<20+segments) {
		t.Errorf("%d bytes were sent twice", again)
	}
	if source.accepted.Load() < size/(4<<20) {
		t.Errorf("only %d connections", source.accepted.Load())
	}
	verified(t, unsigned, dir)
}

// killedAfter runs the program and kills it after a time; it reports whether that
// ended it.
func killedAfter(t *testing.T, args []string, after time.Duration) bool {
	t.Helper()
	p := airlift(t, args...)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p.killedAfter(t, after)
}

// killedAfter is the same for a program that runs.
func (p *program) killedAfter(t *testing.T, after time.Duration) bool {
	t.Helper()
	kill := time.AfterFunc(after, func() { _ = p.Process.Kill() })
	defer kill.Stop()
	_ = p.Wait() // its state says how it ended
	killed := p.ProcessState.Sys().(syscall.WaitStatus).Signaled()
	if code := p.ProcessState.ExitCode(); !killed && code != 0 {
		t.Errorf("%v: exit code %d: %s", p.Args, code, &p.out)
	}
	return killed
}

// TestSlowWriter: what is written to takes less than the network gives, and the
// server closes connections that are idle, or that nobody reads from, meanwhile.
// The export completes: each byte comes once, what was asked for is read at once,
// and nothing is said to have failed.
//
// What is slow is a pipe here: a disk that takes 5 MB/s cannot be had everywhere.
// airlift writes to both in the same way, one write after the other.
func TestSlowWriter(t *testing.T) {
	t.Parallel()
	// A segment takes longer to write than the server waits.
	size, pace, patience := atLength[int64](64<<20, 256<<20), atLength[int64](2_500_000, 2_000_000), 400*time.Millisecond
	source := &thinLine{Listener: listen(t), patience: patience}
	v, _ := vast(t, size)
	host := served(t, source, &http.Server{Handler: v, IdleTimeout: patience})
	p := airliftFor(t, 10*time.Minute, exportFrom(host, unsigned, "-", vastImage)...)
	p.Args = slices.DeleteFunc(p.Args, func(arg string) bool { return arg == "--quiet" }) // all that it has to say
	p.Stdout = nil
	stream, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	dir := room(t, uint64(2*size))
	untar := exec.Command(ocitest.Program(t, "tar"), "--extract", "--directory", dir)
	untar.Stdin = &paced{Reader: stream, pace: pace}
	out, failed := untar.CombinedOutput()
	if err := errors.Join(failed, p.Wait()); err != nil {
		t.Fatalf("%v: %s%s", err, out, &p.out)
	}
	again, closed := source.sent.Load()-size, source.closed.Load()
	if again > size/100 || closed > 0 {
		t.Errorf("%d bytes were sent twice; %d times nobody read what was asked for", again, closed)
	}
	if said := regexp.MustCompile(`(?i)again|stall|retr|timeout|reset|refused`).FindString(p.out.String()); said != "" {
		t.Errorf("something is said to have failed (%s): %s", said, &p.out)
	}
	verified(t, unsigned, dir)
}

// paced is a reader that gives so many bytes a second.
type paced struct {
	io.Reader
	pace int64
	due  time.Time
}

func (p *paced) Read(b []byte) (int, error) {
	time.Sleep(time.Until(p.due))
	n, err := p.Reader.Read(b[:min(len(b), 64<<10)])
	p.due = later(p.due, n, p.pace)
	return n, err
}

// later is when the next bytes are due, after n of them.
func later(due time.Time, n int, pace int64) time.Time {
	if now := time.Now(); due.Before(now) {
		due = now
	}
	return due.Add(time.Duration(n) * time.Second / time.Duration(pace))
}

// thinLine is a listener whose connections are bad in some ways. It counts what is
// sent over them.
type thinLine struct {
	net.Listener
	cut      int64         // each is reset after so many bytes; 0 = never
	pace     int64         // bytes a second, over all; 0 = as they come
	patience time.Duration // one is closed when nobody takes bytes for so long; 0 = never

	sent, accepted, closed atomic.Int64 // bytes, connections, and those that nobody took bytes from

	mu  sync.Mutex
	due time.Time
}

func (l *thinLine) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.accepted.Add(1)
	if l.cut > 0 { // what waits in the kernel then is lost, and counts as sent
		_ = c.(*net.TCPConn).SetWriteBuffer(16 << 10)
	}
	return &thinConn{Conn: c, line: l, left: l.cut}, nil
}

// wait waits until n bytes may be sent.
func (l *thinLine) wait(n int) {
	if l.pace == 0 {
		return
	}
	l.mu.Lock()
	l.due = later(l.due, n, l.pace)
	due := l.due
	l.mu.Unlock()
	time.Sleep(time.Until(due))
}

type thinConn struct {
	net.Conn
	line *thinLine
	left int64
}

func (c *thinConn) Write(p []byte) (int, error) {
	if c.line.cut > 0 && int64(len(p)) >= c.left {
		n, _ := c.send(p[:c.left])
		_ = c.Conn.(*net.TCPConn).SetLinger(0) // by RST
		return n, errors.Join(errors.New("reset on purpose"), c.Close())
	}
	return c.send(p)
}

func (c *thinConn) send(p []byte) (int, error) {
	c.line.wait(len(p))
	if c.line.patience > 0 {
		_ = c.SetWriteDeadline(time.Now().Add(c.line.patience))
	}
	n, err := c.Conn.Write(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.line.closed.Add(1)
	}
	c.line.sent.Add(int64(n))
	c.left -= int64(n)
	return n, err
}
