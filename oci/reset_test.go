package oci_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"airlift/oci"
)

// resetting is a listener whose connections are reset after so many bytes. It
// counts what is sent.
type resetting struct {
	net.Listener
	after          int64
	sent, accepted atomic.Int64
}

func (l *resetting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.accepted.Add(1)
	// What the kernel still holds when a connection is reset is lost.
	return &resetConn{c, l, l.after}, c.(*net.TCPConn).SetWriteBuffer(16 << 10)
}

type resetConn struct {
	net.Conn
	from *resetting
	left int64
}

func (c *resetConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	c.from.sent.Add(int64(n))
	if c.left == 0 && err == nil {
		_ = c.Conn.(*net.TCPConn).SetLinger(0) // by RST
		err = errors.Join(errors.New("reset on purpose"), c.Close())
	}
	return n, err
}

// listening serves a blob over a listener of the test's own.
func listening(t *testing.T, data []byte, over func(net.Listener) net.Listener) (host string) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
		}
	}))
	s.Listener = over(s.Listener)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// TestBlobOverResets: a blob comes as a whole and in pieces though every
// connection is reset after 4 MiB, and next to nothing is sent twice.
func TestBlobOverResets(t *testing.T) {
	data := bytesOf(64 << 20)
	d := blobOf(data)
	for name, piece := range map[string]int64{"as a whole": int64(len(data)), "in pieces": 4 << 20} {
		t.Run(name, func(t *testing.T) {
			line := &resetting{after: 4 << 20}
			host := listening(t, data, func(l net.Listener) net.Listener { line.Listener = l; return line })
			c, r := client(t, host), parse(t, host+"/a/b")
			for offset := int64(0); offset < int64(len(data)); offset += piece {
				body, err := c.BlobRange(background, r, d, offset, piece)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(body)
				body.Close()
				if err != nil || !bytes.Equal(got, data[offset:offset+piece]) {
					t.Fatalf("at %d: %d bytes, %v", offset, len(got), err)
				}
			}
			again, connections := line.sent.Load()-int64(len(data)), line.accepted.Load()
			if again > int64(len(data)/20) || connections < int64(len(data)>>22) || c.IgnoresRanges(r) {
				t.Errorf("%d bytes were sent beside the %d, over %d connections", again, len(data), connections)
			}
		})
	}
}

// TestBlobOfImpatientServer: a server closes connections whose reader takes
// nothing for a while. To a reader that pauses often that is no failure: it is
// given one try, is told nothing, and needs no wait.
func TestBlobOfImpatientServer(t *testing.T) {
	data := bytesOf(64 << 20) // more than the sockets hold, some times over
	lost := make(chan struct{}, 100)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		at, end := 0, 0
		_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &at, &end)
		if at > 0 {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", at, end, len(data)))
			w.WriteHeader(http.StatusPartialContent)
		}
		if _, err := w.Write(data[at:]); err != nil {
			lost <- struct{}{}
		}
	}))
	s.Config.WriteTimeout = 300 * time.Millisecond
	s.Start()
	t.Cleanup(s.Close)
	host := s.Listener.Addr().String()
	c := newClient(t, oci.Options{Insecure: []string{host}, Tries: 1, Notice: func(text string) { t.Errorf("told %q", text) }})
	c.SetIdle(0) // every read may have come late
	body, err := c.Blob(background, parse(t, host+"/a"), blobOf(data))
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	var got bytes.Buffer
	for range 3 {
		<-lost // the medium is slow
		if _, err := io.CopyN(&got, body, 10<<20); err != nil {
			t.Fatalf("after %d bytes: %v", got.Len(), err)
		}
	}
	if _, err := io.Copy(&got, body); err != nil || !bytes.Equal(got.Bytes(), data) {
		t.Errorf("%d bytes, %v", got.Len(), err)
	}
}

// TestBlobAfterPause: a connection that was lost while nobody read still gives
// what the kernel holds of it. Its loss is forgiven all the same when it is seen.
func TestBlobAfterPause(t *testing.T) {
	data := bytesOf(100_000)
	s := blobServer(t, data, cutAfter(data, 50_000), nil)
	c := newClient(t, oci.Options{Insecure: []string{s.host}, Tries: 1})
	c.SetIdle(200 * time.Millisecond)
	body, err := c.Blob(background, parse(t, s.host+"/a"), blobOf(data))
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	var first [1]byte
	if _, err := body.Read(first[:]); err != nil {
		t.Fatal(err)
	}
	<-time.After(300 * time.Millisecond) // the medium is slow
	rest, err := io.ReadAll(body)
	if err != nil || !bytes.Equal(append(first[:], rest...), data) || len(s.seen()) != 2 {
		t.Errorf("%d requests, %v", len(s.seen()), err)
	}
}

// TestBlobOfMemory: what reading takes of memory is buffers, whatever the size
// of the blob, and however often it is gone on with.
func TestBlobOfMemory(t *testing.T) {
	buffer := make([]byte, 1<<20)
	const size = 256 << 20
	d := blobOf(nil)
	d.Size = size
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(zeros{}, 0, size))
	})
	c, r := client(t, s.host), parse(t, s.host+"/a")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for offset := int64(0); offset < size; offset += 64 << 20 {
		body, err := c.BlobRange(context.Background(), r, d, offset, 64<<20)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, body, buffer)
		body.Close()
		if err != nil || n != 64<<20 {
			t.Fatalf("%d bytes, %v", n, err)
		}
	}
	runtime.ReadMemStats(&after)
	if taken := after.TotalAlloc - before.TotalAlloc; taken > 8<<20 {
		t.Errorf("%d bytes of memory were taken, in all", taken)
	}
}

// zeros is a file of zeros without an end.
type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }
