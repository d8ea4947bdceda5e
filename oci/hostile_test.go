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

	"airlift/oci"
	"airlift/oci/ocitest"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const zeroDigest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

// The digest of a signed schema 1 is not of all its bytes. That is not what is
// wrong with it.
func TestSchema1IsRefusedByItsName(t *testing.T) {
	for _, kind := range []string{"prettyjws", "json"} {
		host := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v1+"+kind)
			_, _ = io.WriteString(w, `{"schemaVersion":1,"fsLayers":[]}`)
		}).host
		for _, r := range []oci.Reference{parse(t, host+"/a/b:t"), parse(t, host+"/a/b:t").WithDigest(zeroDigest)} {
			_, err := client(t, host).Node(t.Context(), r)
			wantError(t, err, "schema 1")
		}
	}
}

// Of an answer without an end no more is read than can be of use.
func TestAnswerWithoutEnd(t *testing.T) {
	for status, want := range map[int]string{http.StatusOK: "larger than 4194304 bytes", http.StatusNotFound: "404 Not Found"} {
		sent := 0
		ended := make(chan struct{})
		host := serve(t, func(w http.ResponseWriter, r *http.Request) {
			defer close(ended)
			w.WriteHeader(status)
			for spaces := bytes.Repeat([]byte(" "), 1<<20); sent < 1<<30; sent += len(spaces) {
				if _, err := w.Write(spaces); err != nil {
					return
				}
			}
		}).host
		_, err := client(t, host).Node(t.Context(), parse(t, host+"/a/b:t"))
		wantError(t, err, want)
		if <-ended; sent >= 1<<30 {
			t.Errorf("%d: all of it was taken", status)
		}
	}
}

// A page in place of a registry is called that, whatever was asked for, and is no
// answer: nothing is there, missing, pushed or denied. What a registry says under the
// type of a page is what it says.
func TestPageInPlaceOfARegistry(t *testing.T) {
	data := []byte("data")
	requests := map[string]func(c *oci.Client, r oci.Reference) error{
		"HEAD manifest": func(c *oci.Client, r oci.Reference) error { _, _, err := c.Head(t.Context(), r); return err },
		"HEAD blob": func(c *oci.Client, r oci.Reference) error {
			_, err := c.HasBlob(t.Context(), r, blobOf(data))
			return err
		},
		"GET tags": func(c *oci.Client, r oci.Reference) error { _, err := c.HasRepository(t.Context(), r); return err },
		"POST":     func(c *oci.Client, r oci.Reference) error { return c.CanPush(t.Context(), r) },
		"PUT": func(c *oci.Client, r oci.Reference) error {
			return c.PutNode(t.Context(), r, image, []byte(imageJSON("")))
		},
	}
	for _, status := range []int{http.StatusOK, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound} {
		host := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/login" {
				http.Redirect(w, r, "/login?secret=s3cret", http.StatusFound)
				return
			}
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
		}).host
		for name, do := range requests {
			err := do(client(t, host), parse(t, host+"/a/b:t"))
			var page *oci.PageError
			if !errors.As(err, &page) || page.URL != "http://"+host+"/login" || oci.IsMissing(err) || oci.IsDenied(err) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%s, %d: %v", name, status, err)
			}
		}
	}
	for status, isPage := range map[int]bool{http.StatusOK: true, http.StatusAccepted: false, http.StatusNotFound: false} {
		host := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Location", r.URL.Path+"x")
			w.WriteHeader(status)
		}).host
		if err := client(t, host).CanPush(t.Context(), parse(t, host+"/a/b")); errors.As(err, new(*oci.PageError)) != isPage || oci.IsMissing(err) != (status == http.StatusNotFound) {
			t.Errorf("%d, not led there: %v", status, err)
		}
	}
}

// readAll reads a blob of a/b to its end.
func readAll(t *testing.T, c *oci.Client, host string, d ocispec.Descriptor) ([]byte, error) {
	t.Helper()
	r, err := c.Blob(t.Context(), parse(t, host+"/a/b"), d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// The real registry behind a proxy that cuts each answer after another 100 000
// bytes: every time the rest is asked for as a closed range, and nothing comes
// twice.
func TestBlobGoesOnWhereItBroke(t *testing.T) {
	r := ocitest.StartRegistry(t)
	data := bytesOf(450_000)
	b := r.Builder()
	b.Blob("a/b", data)
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	p := ocitest.Misbehave(t, r.Host, func(r *http.Request) *ocitest.Fault {
		if strings.Contains(r.URL.Path, "/blobs/") {
			return &ocitest.Fault{Cut: true, At: 100_000}
		}
		return nil
	})
	got, err := readAll(t, client(t, p.Host), p.Host, blobOf(data))
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %d bytes: %v", len(got), err)
	}
	var ranges []string
	for _, q := range p.Log() {
		if strings.Contains(q.Path, "/blobs/") {
			ranges = append(ranges, q.Header.Get("Range"))
		}
	}
	want := []string{"", "bytes=100000-449999", "bytes=200000-449999", "bytes=300000-449999", "bytes=400000-449999"}
	if fmt.Sprint(ranges) != fmt.Sprint(want) {
		t.Errorf("asked for %q, want %q", ranges, want)
	}
	if p.Sent() > int64(len(data))+1000 {
		t.Errorf("%d bytes came for %d", p.Sent(), len(data))
	}
}

// A bit that flips on the way is found in a manifest and in a config. In a blob
// it is not: that is for whoever reads it, as Blob says.
func TestCorruptBytes(t *testing.T) {
	r := ocitest.StartRegistry(t)
	b := r.Builder()
	d := b.Image("a/b", "t", ocitest.ImageOpts{})
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	var corrupt atomic.Bool
	p := ocitest.Misbehave(t, r.Host, func(r *http.Request) *ocitest.Fault {
		return &ocitest.Fault{Corrupt: corrupt.Load() && r.URL.Path != "/v2/", At: 20}
	})
	c := client(t, p.Host)
	image := parse(t, p.Host+"/a/b:t").WithDigest(d.Digest)
	n, err := c.Node(t.Context(), image)
	if err != nil {
		t.Fatal(err)
	}
	corrupt.Store(true)
	_, err = c.Node(t.Context(), image)
	wantError(t, err, "the registry sent sha256:")
	_, err = c.Config(t.Context(), image, n)
	wantError(t, err, "the registry sent sha256:")
	data, err := readAll(t, c, p.Host, *n.Config)
	if err != nil || int64(len(data)) != n.Config.Size || digest.FromBytes(data) == n.Config.Digest {
		t.Errorf("%d bytes: %v", len(data), err)
	}
}
