package main

import (
	"os"
	"strings"
	"syscall"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci/ocitest"
)

// streamed is a bundle as a stream, of more bytes than a pipe holds.
func streamed(t *testing.T) (stream []byte, key string) {
	t.Helper()
	host := embedded(t)
	b := ocitest.NewBuilder(host)
	b.Image("team/app", "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{b.RandomLayer("team/app", "layer", 1<<20)}})
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	key = keyPair(t)
	p := airlift(t, exportFrom(host, key, "-", "--image", host+"/team/app:v1")...)
	p.Stdout = nil
	stream, err := p.Output()
	if err != nil {
		t.Fatal(err)
	}
	return stream, key
}

// TestStreamWaits: who waits for a stream ends at a signal, though nobody sends
// anything and nobody has closed the pipe.
func TestStreamWaits(t *testing.T) {
	t.Parallel()
	stream, key := streamed(t)
	silent := embedded(t)
	for _, args := range [][]string{{"verify", "--quiet", trusted(key), "-"}, importTo(t, silent, key, "-")} {
		p := airlift(t, args...)
		in, err := p.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := in.Write(stream[:len(stream)-4096]); err != nil { // nearly all of it has been read then
			t.Fatal(err)
		}
		if err := p.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		_ = p.Wait() // the code says it
		if code := p.ProcessState.ExitCode(); code != 143 || !strings.Contains(p.out.String(), "airlift: interrupted\n") {
			t.Errorf("%v: it ended with %v: %s", args, p.ProcessState, &p.out)
		}
		in.Close()
	}
}

// TestStreamOfATerminal: nobody types a bundle.
func TestStreamOfATerminal(t *testing.T) {
	key := keyPair(t)
	for _, args := range [][]string{{"verify", trusted(key), "-"}, importTo(t, "127.0.0.1:1", key, "-")} {
		c := talk(t, t.TempDir(), args...)
		if code := c.end(); code != exitUsage {
			t.Errorf("%v: it ended with %d", args, code)
		}
		c.wantShown("that is a terminal")
	}
}

// TestStreamUnreadable: what cannot be read at all is no stream that ends early.
func TestStreamUnreadable(t *testing.T) {
	t.Parallel()
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	p := airlift(t, "verify", trusted(keyPair(t)), "-")
	p.Stdin = dir
	p.exits(t, exitFailed)
	if text := p.out.String(); !strings.Contains(text, "read the stream: ") || !strings.Contains(text, "is a directory") {
		t.Error(text)
	}
}
