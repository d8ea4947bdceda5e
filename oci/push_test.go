package oci_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci"
	"airlift/oci/ocitest"
)

func opening(data []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}

// A whole image goes to a real registry and comes back byte for byte.
func TestPushToRegistry(t *testing.T) {
	registry := ocitest.StartRegistry(t)
	c := client(t, registry.Host)
	to := parse(t, registry.Host+"/a/b:v1")
	if err := c.Ping(background, to, true); err != nil {
		t.Fatal(err)
	}
	if _, found, err := c.Head(background, to); found || err != nil {
		t.Fatalf("found before it was pushed: %v", err)
	}
	config, layer := []byte(`{}`), bytesOf(300_000)
	for _, data := range [][]byte{config, layer, nil, bytesOf(64 << 10), bytesOf(128 << 10)} {
		d := blobOf(data)
		if has, err := c.HasBlob(background, to, d); has || err != nil {
			t.Fatalf("has %s: %v", d.Digest, err)
		}
		if err := c.PutBlob(background, to, d, opening(data)); err != nil {
			t.Fatal(err)
		}
		if has, err := c.HasBlob(background, to, d); !has || err != nil {
			t.Fatalf("has not %s: %v", d.Digest, err)
		}
		if got := registry.Builder().BlobBytes("a/b", d.Digest); !bytes.Equal(got, data) {
			t.Fatalf("holds %d bytes, not the %d sent", len(got), len(data))
		}
	}
	raw := []byte(fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		image, ocispec.MediaTypeImageConfig, blobOf(config).Digest, ocispec.MediaTypeImageLayerGzip, blobOf(layer).Digest, len(layer)))
	for _, at := range []oci.Reference{to.WithDigest(digest.FromBytes(raw)), to} {
		if err := c.PutNode(background, at, image, raw); err != nil {
			t.Fatal(err)
		}
		d, found, err := c.Head(background, at)
		if err != nil || !found || d.Digest != digest.FromBytes(raw) || d.Size != int64(len(raw)) || d.MediaType != image {
			t.Errorf("%s: %+v, %v, %v", at, d, found, err)
		}
		n, err := c.Node(background, at)
		if err != nil || !bytes.Equal(n.Raw, raw) {
			t.Errorf("%s: %s, %v", at, n.Raw, err)
		}
	}
	got, err := c.Config(background, to, oci.Node{Config: &ocispec.Descriptor{Digest: blobOf(config).Digest, Size: 2}})
	if err != nil || string(got) != "{}" {
		t.Errorf("config: %s, %v", got, err)
	}
	if _, supported, err := c.Referrers(background, to.WithDigest(digest.FromBytes(raw))); supported || err != nil {
		t.Errorf("referrers: %v, %v", supported, err)
	}
	wantError(t, c.PutNode(background, to.WithDigest(someDigest), image, raw), "the manifest has the digest")
	err = c.PutNode(background, to, image, []byte(strings.Replace(string(raw), string(blobOf(layer).Digest), "sha256:"+strings.Repeat("0", 64), 1)))
	wantError(t, err, "MANIFEST_BLOB_UNKNOWN")
}

func TestMount(t *testing.T) {
	registry := ocitest.StartRegistry(t)
	proxy := ocitest.Misbehave(t, registry.Host, nil)
	c := client(t, proxy.Host)
	data := bytesOf(1000)
	d := blobOf(data).Digest
	if err := c.PutBlob(background, parse(t, proxy.Host+"/from/here"), blobOf(data), opening(data)); err != nil {
		t.Fatal(err)
	}
	to := parse(t, proxy.Host+"/to/there")
	if mounted, err := c.Mount(background, to, d, "from/here"); !mounted || err != nil {
		t.Errorf("mounted %v, %v", mounted, err)
	}
	if has, err := c.HasBlob(background, to, blobOf(data)); !has || err != nil {
		t.Errorf("has %v, %v", has, err)
	}
	if n := proxy.Count(http.MethodDelete, "uploads"); n != 0 {
		t.Errorf("%d uploads given up", n)
	}
	if mounted, err := c.Mount(background, to, someDigest, "from/nowhere"); mounted || err != nil {
		t.Errorf("mounted %v, %v", mounted, err)
	}
	if n := proxy.Count(http.MethodDelete, "to/there/blobs/uploads/"); n != 1 {
		t.Errorf("%d uploads given up, want the one that was begun", n)
	}
}

// A registry that will not mount is one to upload to, and so is one that fails at it
// again and again; one that does not answer is not.
func TestMountRefused(t *testing.T) {
	for status, tries := range map[int]int{0: 5, 400: 1, 401: 1, 403: 1, 404: 1, 405: 1, 429: 5, 500: 5, 507: 1} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if status == 0 {
				panic(http.ErrAbortHandler)
			}
			w.WriteHeader(status)
		})
		mounted, err := client(t, s.host).Mount(background, parse(t, s.host+"/a"), someDigest, "b")
		if mounted || (err != nil) != (status == 0) || len(s.seen()) != tries {
			t.Errorf("%d: mounted %v, asked %d times, %v", status, mounted, len(s.seen()), err)
		}
	}
}

// failing reads data and ends in an error.
type failing struct {
	io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err == io.EOF {
		err = f.err
	}
	return n, err
}

// A reader that finds at its end that its bytes are wrong keeps the registry
// from ever seeing them all.
func TestUploadWithheld(t *testing.T) {
	damaged := errors.New("damaged")
	for _, size := range []int{0, 1, 1000, 64<<10 - 1, 64 << 10, 64<<10 + 1, 128 << 10, 1_000_000} {
		for _, bad := range []error{damaged, fmt.Errorf("read volume: %w", damaged), io.ErrUnexpectedEOF, io.ErrClosedPipe} {
			var got atomic.Int64
			var whole atomic.Bool
			s := uploads(t, func(w http.ResponseWriter, r *http.Request) {
				n, err := io.Copy(io.Discard, r.Body)
				got.Add(n)
				whole.Store(err == nil)
				w.WriteHeader(http.StatusCreated)
			})
			data := bytesOf(size)
			opened := 0
			err := client(t, s.host).PutBlob(background, parse(t, s.host+"/a"), blobOf(data), func() (io.ReadCloser, error) {
				opened++
				return io.NopCloser(&failing{bytes.NewReader(data), bad}), nil
			})
			s.Close() // waits for the handlers
			if !errors.Is(err, bad) || opened != 1 {
				t.Errorf("%d bytes: opened %d times, %v", size, opened, err)
			}
			if whole.Load() || got.Load() >= int64(max(size, 1)) {
				t.Errorf("%d bytes: the registry saw %d, whole %v", size, got.Load(), whole.Load())
			}
			if n := countMethod(s, http.MethodDelete); n != 1 {
				t.Errorf("%d bytes: the upload was given up %d times", size, n)
			}
		}
	}
}

// uploads is a registry that begins uploads, and hands the PUTs on, and the PATCHes
// if there is a handler.
func uploads(t *testing.T, put http.HandlerFunc, patch ...http.HandlerFunc) *server {
	t.Helper()
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodPost:
			w.Header().Set("Location", "/v2/a/blobs/uploads/1?_state=x%2By")
			w.WriteHeader(http.StatusAccepted)
		case http.MethodPut:
			put(w, r)
		case http.MethodPatch:
			patch[0](w, r)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})
}

func countMethod(s *server, method string) int {
	n := 0
	for _, r := range s.seen() {
		if r.Method == method {
			n++
		}
	}
	return n
}

func TestUploadOfWrongLength(t *testing.T) {
	for _, size := range []int{0, 1, 64 << 10, 200_000} {
		for _, wrong := range []int{-1, +1, 100_000} {
			if size+wrong < 0 {
				continue
			}
			s := uploads(t, func(w http.ResponseWriter, r *http.Request) {
				if n, err := io.Copy(io.Discard, r.Body); err == nil && n == int64(size) {
					t.Errorf("%d%+d bytes: the registry saw a whole blob", size, wrong)
				}
				w.WriteHeader(http.StatusCreated)
			})
			err := client(t, s.host).PutBlob(background, parse(t, s.host+"/a"), blobOf(bytesOf(size)), opening(bytesOf(size+wrong)))
			s.Close()
			wantError(t, err, "read blob to push")
		}
	}
}

func TestUploadCannotOpen(t *testing.T) {
	absent := errors.New("absent")
	s := uploads(t, func(http.ResponseWriter, *http.Request) { t.Error("something was sent") })
	err := client(t, s.host).PutBlob(background, parse(t, s.host+"/a"), blobOf([]byte("x")), func() (io.ReadCloser, error) { return nil, absent })
	if !errors.Is(err, absent) || countMethod(s, http.MethodPost) != 1 {
		t.Error(err)
	}
}

// Each try begins a new upload and reads the blob from its start; the readers
// are closed.
func TestUploadRetries(t *testing.T) {
	data := bytesOf(500_000)
	var n, open atomic.Int32
	s := uploads(t, func(w http.ResponseWriter, r *http.Request) {
		if q := r.URL.Query(); q.Get("_state") != "x+y" || q.Get("digest") != string(blobOf(data).Digest) {
			t.Errorf("put to %s", r.URL)
		}
		switch n.Add(1) {
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			_, _ = io.CopyN(io.Discard, r.Body, 100_000)
			panic(http.ErrAbortHandler)
		case 3:
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"which upload?"}]}`)
		default:
			got, err := io.ReadAll(r.Body)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
			w.WriteHeader(http.StatusCreated)
		}
	})
	err := client(t, s.host).PutBlob(background, parse(t, s.host+"/a"), blobOf(data), func() (io.ReadCloser, error) {
		open.Add(1)
		return &counted{bytes.NewReader(data), &open}, nil
	})
	if err != nil || n.Load() != 4 || countMethod(s, http.MethodPost) != 4 || open.Load() != 0 {
		t.Errorf("%d uploads, %d readers left open, %v", n.Load(), open.Load(), err)
	}
}

// counted is a reader whose closing is counted.
type counted struct {
	io.Reader
	open *atomic.Int32
}

func (c *counted) Close() error { c.open.Add(-1); return nil }

// What a registry refuses is not sent again and again.
func TestUploadRefused(t *testing.T) {
	for _, status := range []int{400, 401, 403, 409, 413, 507} {
		s := uploads(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(status)
		})
		err := client(t, s.host).PutBlob(background, parse(t, s.host+"/a"), blobOf(bytesOf(10)), opening(bytesOf(10)))
		wantError(t, err, fmt.Sprint("PUT ", s.host, "/v2/a/blobs/uploads/1: ", status))
		if n := countMethod(s, http.MethodPut); n != 1 || oci.IsMissing(err) {
			t.Errorf("%d: %d uploads, missing %v", status, n, oci.IsMissing(err))
		}
	}
}

// A registry that says created before it has everything has not.
func TestUploadAnsweredEarly(t *testing.T) {
	s := uploads(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusCreated) })
	data := bytesOf(20 << 20) // more than the sockets hold
	err := client(t, s.host).PutBlob(background, parse(t, s.host+"/a"), blobOf(data), opening(data))
	wantError(t, err, "")
}

// A slow source is not the network's fault; a registry that takes nothing is.
func TestUploadWatch(t *testing.T) {
	var n atomic.Int32
	end := make(chan struct{})
	s := uploads(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			<-end
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusCreated)
	})
	t.Cleanup(func() { close(end) })
	c := client(t, s.host)
	c.SetLimits(200*time.Millisecond, time.Minute)
	data := bytesOf(20 << 20) // more than the sockets hold
	if err := c.PutBlob(background, parse(t, s.host+"/a"), blobOf(data), opening(data)); err != nil || n.Load() != 2 {
		t.Errorf("%d uploads, %v", n.Load(), err)
	}
	c.SetLimits(100*time.Millisecond, time.Minute)
	slow := func() (io.ReadCloser, error) {
		return io.NopCloser(&pausing{bytes.NewReader(data[:300_000]), 250 * time.Millisecond}), nil
	}
	if err := c.PutBlob(background, parse(t, s.host+"/a"), blobOf(data[:300_000]), slow); err != nil || n.Load() != 3 {
		t.Errorf("%d uploads, %v", n.Load(), err)
	}
}

// pausing is a slow medium: it takes its time once.
type pausing struct {
	io.Reader
	pause time.Duration
}

func (p *pausing) Read(b []byte) (int, error) {
	<-time.After(p.pause)
	p.pause = 0
	return p.Reader.Read(b)
}

func TestPutNodeDigest(t *testing.T) {
	raw := []byte(imageJSON(""))
	for got, reason := range map[string]string{"": "", string(digest.FromBytes(raw)): "", someDigest: "the registry keeps it as"} {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if r.Header.Get("Content-Type") != image || !bytes.Equal(body, raw) {
				t.Errorf("got %s, %s", r.Header.Get("Content-Type"), body)
			}
			if got != "" {
				w.Header().Set("Docker-Content-Digest", got)
			}
			w.WriteHeader(http.StatusCreated)
		})
		err := client(t, s.host).PutNode(background, parse(t, s.host+"/a:1"), image, raw)
		if reason == "" && err != nil {
			t.Error(err)
		}
		if reason != "" {
			wantError(t, err, reason)
		}
	}
}

// TestPutNodeFlipped: what the network has made another manifest of, which has the tag
// now, is pushed again.
func TestPutNodeFlipped(t *testing.T) {
	for _, host := range registries(t) {
		raw := []byte(`{"schemaVersion":2,"mediaType":"` + index + `","manifests":[],"annotations":{"a":"b"}}`)
		puts := 0
		proxy := ocitest.Misbehave(t, host, refusing(func(r *http.Request) bool {
			if r.Method == http.MethodPut {
				puts++
			}
			return puts == 1 && r.Method == http.MethodPut
		}, ocitest.Fault{CorruptUpload: true, At: int64(len(raw)) - 4}))
		c, r := client(t, proxy.Host), parse(t, proxy.Host+"/a:t")
		if err := c.PutNode(background, r, index, raw); err != nil || puts != 2 {
			t.Errorf("%s: put %d times, %v", host, puts, err)
		}
		if d, _, err := c.Head(background, r); d.Digest != digest.FromBytes(raw) || err != nil {
			t.Errorf("%s: the tag names %s, %v", host, d.Digest, err)
		}
	}
}

// Where HEAD is not answered as it should be, GET is.
func TestHeadFallsBack(t *testing.T) {
	raw := imageJSON("")
	sum := digest.FromString(raw)
	for name, head := range map[string]http.HandlerFunc{
		"headers stripped": func(w http.ResponseWriter, _ *http.Request) {},
		"no digest":        func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", image) },
		"bad digest": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", image)
			w.Header().Set("Content-Length", "10")
			w.Header().Set("Docker-Content-Digest", "sha512:1")
		},
		"405": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusMethodNotAllowed) },
		"403": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
	} {
		t.Run(name, func(t *testing.T) {
			var gone atomic.Bool
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == http.MethodHead:
					head(w, r)
				case gone.Load():
					w.WriteHeader(http.StatusNotFound)
				default:
					w.Header().Set("Content-Type", image)
					fmt.Fprint(w, raw)
				}
			})
			c := client(t, s.host)
			d, found, err := c.Head(background, parse(t, s.host+"/a:1"))
			if err != nil || !found || d.Digest != sum || d.Size != int64(len(raw)) || d.MediaType != image {
				t.Errorf("got %+v, %v, %v", d, found, err)
			}
			gone.Store(true)
			if d, found, err := c.Head(background, parse(t, s.host+"/a:1")); found || err != nil || d.Digest != "" {
				t.Errorf("gone: got %+v, %v, %v", d, found, err)
			}
		})
	}
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	if _, found, err := client(t, s.host).Head(background, parse(t, s.host+"/a:1")); found || !oci.IsDenied(err) {
		t.Errorf("denied: %v, %v", found, err)
	}
}

// Pushing and asking about what was pushed know no mirrors.
func TestPushIgnoresMirrors(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {})
	c := newClient(t, oci.Options{Insecure: []string{s.host}, Mirrors: []oci.SourceMirror{{Source: s.host, Mirror: "mirror.invalid/x"}}})
	if has, err := c.HasBlob(background, parse(t, s.host+"/a"), blobOf(nil)); !has || err != nil {
		t.Errorf("has %v, %v", has, err)
	}
}

// TestPutNodeBesideAnother: distribution refuses an index as DIGEST_INVALID while
// somebody else writes the link of a child; a little later it takes it.
func TestPutNodeBesideAnother(t *testing.T) {
	puts := 0
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if puts++; puts < 3 {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match uploaded content"}]}`)
			return
		}
		w.WriteHeader(http.StatusCreated)
	})
	c := newClient(t, oci.Options{Insecure: []string{s.host}, Backoff: time.Microsecond})
	if err := c.PutNode(background, parse(t, s.host+"/a:t"), "application/json", []byte("{}")); err != nil || puts != 3 {
		t.Errorf("put %d times, %v", puts, err)
	}
}
