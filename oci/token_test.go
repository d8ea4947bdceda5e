package oci_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"airlift/oci"
	"airlift/oci/ocitest"
)

// issued is a real registry that takes tokens of a second, and a client of it.
func issued(t *testing.T, mute, v3 bool) (*ocitest.Issuer, string, *oci.Client) {
	t.Helper()
	issuer := ocitest.StartIssuer(t, "alice", "s3cret")
	issuer.Life, issuer.Mute = time.Second, mute
	registry := ocitest.StartRegistryWith(t, ocitest.RegistryOptions{Tokens: issuer, Sparse: v3})
	name := filepath.Join(t.TempDir(), "auth.json")
	ocitest.WriteAuthfile(t, name, map[string][2]string{registry.Host: {"alice", "s3cret"}})
	return issuer, registry.Host, newClient(t, oci.Options{Authfile: name, Insecure: []string{registry.Host, issuer.Host()}})
}

// waitingReader reads on only after the tokens so far have run out.
type waitingReader struct {
	io.Reader
	before sync.Once
	wait   func()
}

func (w *waitingReader) Read(p []byte) (int, error) {
	w.before.Do(w.wait)
	return w.Reader.Read(p)
}

// TestTokensRunOutBetweenPieces: a login that runs out after the first pieces of a blob
// costs none of the others, whether they can be read again or not.
func TestTokensRunOutBetweenPieces(t *testing.T) {
	data := bytesOf(3 << 20)
	for name, put := range map[string]func(*oci.Client, oci.Reference, io.Reader) error{
		"once": func(c *oci.Client, r oci.Reference, body io.Reader) error {
			return c.PutBlobOnce(t.Context(), r, blobOf(data), body)
		},
		"again": func(c *oci.Client, r oci.Reference, body io.Reader) error {
			return c.PutBlob(t.Context(), r, blobOf(data), func() (io.ReadCloser, error) {
				defer func() { body = bytes.NewReader(data) }()
				return io.NopCloser(body), nil
			})
		},
		"part": func(c *oci.Client, r oci.Reference, body io.Reader) error {
			if err := c.PutBlob(t.Context(), r, blobOf(data[1:]), opening(data[1:])); err != nil {
				return err // it tells how large pieces may be
			}
			u, err := c.BeginUpload(t.Context(), r, blobOf(data))
			if err == nil {
				err = u.Append(t.Context(), body, int64(len(data)))
			}
			if err == nil {
				err = u.Commit(t.Context())
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			issuer := ocitest.StartIssuer(t, "alice", "s3cret")
			issuer.Life, issuer.Mute = time.Second, true
			registry := ocitest.StartRegistryWith(t, ocitest.RegistryOptions{Tokens: issuer})
			proxy := ocitest.Misbehave(t, registry.Host, refusing(func(r *http.Request) bool { return r.ContentLength > 1<<20 }, tooLarge))
			file := filepath.Join(t.TempDir(), "auth.json")
			ocitest.WriteAuthfile(t, file, map[string][2]string{proxy.Host: {"alice", "s3cret"}})
			c := newClient(t, oci.Options{Authfile: file, Insecure: []string{proxy.Host, issuer.Host()}})
			middle := 1<<20 + 100_000
			err := put(c, parse(t, proxy.Host+"/a/b:1"), io.MultiReader(
				bytes.NewReader(data[:middle]), &waitingReader{Reader: bytes.NewReader(data[middle:]), wait: issuer.AwaitEnd}))
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// Tokens that run out in the middle of an upload, at distribution 2.8 and 3: in
// the middle of a body; and between two parts where the service says how long
// they live, before the end of the upload where it does not.
func TestTokensRunOutDuringUploads(t *testing.T) {
	for _, v3 := range []bool{false, true} {
		for _, mute := range []bool{false, true} {
			t.Run(fmt.Sprintf("v3=%v mute=%v", v3, mute), func(t *testing.T) {
				t.Parallel()
				issuer, host, c := issued(t, mute, v3)
				r := parse(t, host+"/a/b:1")
				data := bytesOf(200_000)
				d := blobOf(data)
				err := c.PutBlobOnce(t.Context(), r, d, io.MultiReader(
					bytes.NewReader(data[:100_000]),
					&waitingReader{Reader: bytes.NewReader(data[100_000:]), wait: issuer.AwaitEnd}))
				if err != nil {
					t.Fatalf("in one piece: %v", err)
				}
				part := bytesOf(150_000)
				u, err := c.BeginUpload(t.Context(), r, blobOf(part))
				if err != nil {
					t.Fatal(err)
				}
				for at := 0; at < len(part); at += 75_000 {
					if err := u.Append(t.Context(), bytes.NewReader(part[at:at+75_000]), 75_000); err != nil {
						t.Fatalf("part at %d: %v", at, err)
					}
					if (at > 0) == mute {
						issuer.AwaitEnd()
					}
				}
				if err := u.Commit(t.Context()); err != nil {
					t.Fatalf("commit: %v", err)
				}
				config := []byte(`{"os":"linux"}`)
				if err := c.PutBlob(t.Context(), r, blobOf(config), opening(config)); err != nil {
					t.Fatal(err)
				}
				raw := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d},{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}]}`,
					image, blobOf(config).Digest, len(config), d.Digest, d.Size, blobOf(part).Digest, len(part))
				if err := c.PutNode(t.Context(), r, image, raw); err != nil {
					t.Fatalf("manifest: %v", err)
				}
				if n, err := c.Node(t.Context(), r); err != nil || !bytes.Equal(n.Raw, raw) {
					t.Errorf("reads back %q: %v", n.Raw, err)
				}
			})
		}
	}
}

// Many images with tokens that live for a second: each repository needs few.
func TestManyImagesWithShortTokens(t *testing.T) {
	t.Parallel()
	issuer, host, c := issued(t, false, false)
	const images, rounds = 30, 3
	for round := range rounds {
		var all sync.WaitGroup
		for i := range images {
			all.Go(func() {
				data := fmt.Appendf(nil, "%d %d", round, i)
				if err := c.PutBlob(t.Context(), parse(t, fmt.Sprintf("%s/team/image%d:1", host, i)), blobOf(data), opening(data)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if round < rounds-1 {
			issuer.AwaitEnd()
		}
	}
	counts := issuer.Issued()
	if len(counts) != images {
		t.Errorf("tokens for %d repositories: %v", len(counts), counts)
	}
	for scopes, n := range counts {
		if n < rounds || n > 2*rounds {
			t.Errorf("%s: %d tokens in %d rounds", scopes, n, rounds)
		}
	}
}

// A service that says how long a token lives is asked for the next before that:
// nothing is refused meanwhile, what can be sent but once least of all.
func TestTokensAreRenewedBeforeTheyRunOut(t *testing.T) {
	var refused, issued atomic.Int32
	var ends atomic.Int64
	host := plainServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token":
			ends.Store(time.Now().Add(time.Second).UnixNano())
			_ = json.NewEncoder(w).Encode(map[string]any{"access_token": fmt.Sprint("token", issued.Add(1)), "expires_in": 1})
		case r.Header.Get("Authorization") != fmt.Sprint("Bearer token", issued.Load()) || time.Now().UnixNano() > ends.Load():
			if r.URL.Path != "/v2/" {
				refused.Add(1)
			}
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token"`, r.Host))
			w.WriteHeader(http.StatusUnauthorized)
		case r.Method == http.MethodPost:
			w.Header().Set("Location", r.URL.Path+"x")
			w.WriteHeader(http.StatusAccepted)
		default:
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusCreated)
		}
	})
	c, data := client(t, host), []byte("data")
	for range 2 {
		if err := c.PutBlobOnce(t.Context(), parse(t, host+"/a/b:t"), blobOf(data), bytes.NewReader(data)); err != nil {
			t.Error(err)
		}
		<-time.After(time.Until(time.Unix(0, ends.Load())))
	}
	if refused.Load() != 0 || issued.Load() != 2 {
		t.Errorf("%d requests were refused, %d tokens issued", refused.Load(), issued.Load())
	}
}

// What can be sent only once is not sent again in pieces: the refusal is what
// the caller gets, and the next try has the new token.
func TestTokenRefusedWithABody(t *testing.T) {
	s := serveTokens(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.Header().Set("Location", r.URL.Path+"x")
			w.WriteHeader(http.StatusAccepted)
			return
		}
		if data, err := io.ReadAll(r.Body); err != nil || string(data) != "data" {
			t.Errorf("sent %q: %v", data, err)
		}
		w.Header().Set("Location", r.URL.Path)
		w.WriteHeader(http.StatusAccepted)
	})
	c, r, d := client(t, s.host), parse(t, s.host+"/a/b:t"), blobOf([]byte("data"))
	for _, want := range []bool{false, true} {
		s.expire()
		u, err := c.BeginUpload(t.Context(), r, d)
		if err != nil {
			t.Fatal(err)
		}
		if !want {
			s.expire()
		}
		err = u.Append(t.Context(), strings.NewReader("data"), 4)
		if want != (err == nil) || err != nil && !oci.IsDenied(err) {
			t.Errorf("want success %v: %v", want, err)
		}
	}
}

// What the answers of token services hold is nobody else's business.
func TestTokenServicesWithoutTokens(t *testing.T) {
	for _, answer := range []string{"", "{", `{"refresh_token":"s3cret"}`, `"s3cret"`, `{"token":["s3cret"]}`, `{"token":""}`, "\x00s3cret"} {
		k := tokenRegistry(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer) }, nil)
		_, err := client(t, k.host).Node(background, parse(t, k.host+"/a"))
		wantError(t, err, "GET "+k.host+"/token: the answer holds no token")
		if strings.Contains(err.Error(), "s3cret") || k.asked.Load() != 1 {
			t.Errorf("%q: asked %d times, %v", answer, k.asked.Load(), err)
		}
	}
}
