package oci_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Whatever the client is at, it ends with the context.
func TestCancelEndsQuickly(t *testing.T) {
	hang := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}
	busy := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(http.StatusTooManyRequests)
	}
	for name, host := range map[string]string{
		"an answer that does not come": plainServer(t, open(hang)),
		"a login that does not come":   plainServer(t, hang),
		"a wait that was asked for":    plainServer(t, open(busy)),
	} {
		c := client(t, host)
		image := parse(t, host+"/a/b:t")
		data := []byte("data")
		for what, do := range map[string]func(ctx context.Context) error{
			"node":     func(ctx context.Context) error { _, err := c.Node(ctx, image); return err },
			"blob":     func(ctx context.Context) error { _, err := c.Blob(ctx, image, blobOf(data)); return err },
			"head":     func(ctx context.Context) error { _, _, err := c.Head(ctx, image); return err },
			"has blob": func(ctx context.Context) error { _, err := c.HasBlob(ctx, image, someBlob); return err },
			"mount":    func(ctx context.Context) error { _, err := c.Mount(ctx, image, zeroDigest, "c"); return err },
			"put blob": func(ctx context.Context) error { return c.PutBlob(ctx, image, blobOf(data), opening(data)) },
			"range":    func(ctx context.Context) error { _, err := c.BlobRange(ctx, image, blobOf(data), 1, 2); return err },
			"begin":    func(ctx context.Context) error { _, err := c.BeginUpload(ctx, image, blobOf(data)); return err },
			"put once": func(ctx context.Context) error {
				return c.PutBlobOnce(ctx, image, blobOf(data), bytes.NewReader(data))
			},
			"put node": func(ctx context.Context) error { return c.PutNode(ctx, image, "x", []byte("{}")) },
			"referrers": func(ctx context.Context) error {
				_, _, err := c.Referrers(ctx, image.WithDigest(zeroDigest))
				return err
			},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			began := time.Now()
			err := do(ctx)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > time.Second {
				t.Errorf("%s, %s: after %s: %v", name, what, time.Since(began), err)
			}
		}
	}
}

// No goroutine of this package outlives the call that started it, nor a reader
// that was closed.
func TestNothingIsLeftRunning(t *testing.T) {
	data := bytesOf(5000)
	host := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodPost:
			w.Header().Set("Location", r.URL.Path+"x")
			w.WriteHeader(http.StatusAccepted)
		case http.MethodGet:
			w.Header().Set("Content-Length", "5000")
			_, _ = w.Write(data[:2500])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		default: // a refusal, without a look at the bytes
			w.WriteHeader(http.StatusBadRequest)
		}
	}).host
	c := client(t, host)
	r, err := c.Blob(t.Context(), parse(t, host+"/a/b:t"), blobOf(data))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 2000)); err != nil {
		t.Error(err)
	}
	_ = r.Close()
	if _, err := r.Read(make([]byte, 1)); err == nil {
		t.Error("read from a closed reader")
	}
	large := bytesOf(20 << 20)
	if err := c.PutBlob(t.Context(), parse(t, host+"/a/b:t"), blobOf(large), opening(large)); err == nil {
		t.Error("what was refused is pushed")
	}
	if stacks := ours(); len(stacks) > 0 {
		t.Errorf("left running:\n%s", strings.Join(stacks, "\n\n"))
	}
}

// ours are the stacks of goroutines that run this package's code, but for those
// of tests.
func ours() []string {
	all := make([]byte, 1<<20)
	all = all[:runtime.Stack(all, true)]
	var found []string
	for stack := range strings.SplitSeq(string(all), "\n\n") {
		if strings.Contains(stack, "airlift/oci.") && !strings.Contains(stack, "testing.tRunner") {
			found = append(found, stack)
		}
	}
	return found
}
