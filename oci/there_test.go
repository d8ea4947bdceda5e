package oci_test

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci"
	"airlift/oci/ocitest"
)

// TestBlobThere: both who pulls and who pushes ask with the leave for that and for
// nothing more. Where HEAD says that a blob has no bytes or not how many, or is not taken
// from who pulls, it is a byte that counts; what has another size is not the blob.
func TestBlobThere(t *testing.T) {
	text := "some bytes"
	blob := ocispec.Descriptor{Digest: digest.FromString(text), Size: int64(len(text))}
	for _, c := range []struct {
		name      string
		head, get int
		length    string // that HEAD says
		body      string // of GET
		untold    bool   // GET does not say how long it is
		pulled    bool   // it is for who pulls alone
		missing   bool
		reason    string
		gets      int
	}{
		{name: "there", head: 200, length: "10"},
		{name: "there, of no size", head: 200, get: 200, body: text, gets: 1},
		{name: "there, of size 0", head: 200, length: "0", get: 200, body: text, gets: 1},
		{name: "its bytes are lost", head: 200, length: "0", get: 200, reason: "/a has 0 bytes of blob " + blob.Digest.String() + ", not 10", gets: 1},
		{name: "its bytes are lost, untold", head: 200, length: "0", get: 200, untold: true, reason: "unexpected EOF", gets: 5},
		{name: "of another size", head: 200, length: "11", reason: "/a has 11 bytes"},
		{name: "gone", head: 404, get: 200, missing: true, reason: "404"},
		{name: "gone, and of no size", head: 200, get: 404, missing: true, reason: "404", gets: 1},
		{name: "no HEAD", pulled: true, head: 405, get: 200, body: text, gets: 1},
		{name: "no HEAD, and of another size", pulled: true, head: 405, get: 200, body: text + "!", reason: "/a has 11 bytes", gets: 1},
		{name: "no HEAD, and gone", pulled: true, head: 403, get: 404, missing: true, reason: "404", gets: 1},
		{name: "denied", pulled: true, head: 403, get: 403, reason: "403", gets: 1},
	} {
		for action, ask := range map[string]func(*oci.Client, oci.Reference) error{
			"pull": func(client *oci.Client, r oci.Reference) error { return client.CanPullBlob(background, r, blob) },
			"push,pull": func(client *oci.Client, r oci.Reference) error {
				has, err := client.HasBlob(background, r, blob)
				if has != (c.reason == "") || c.missing && err != nil {
					t.Errorf("%s: has it %v, %v", c.name, has, err)
				}
				return err
			},
		} {
			if c.pulled && action != "pull" {
				continue
			}
			var gets atomic.Int32
			k := serveTokens(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path != "/v2/a/blobs/"+blob.Digest.String(): // hello
				case r.Method == http.MethodHead:
					if c.length != "" {
						w.Header().Set("Content-Length", c.length)
					}
					w.WriteHeader(c.head)
				default:
					gets.Add(1)
					if !c.untold {
						w.Header().Set("Content-Length", strconv.Itoa(len(c.body)))
					}
					w.WriteHeader(c.get)
					_ = http.NewResponseController(w).Flush()
					_, _ = io.WriteString(w, c.body) // a client that wants no more may be gone
				}
			})
			err := ask(client(t, k.host), parse(t, k.host+"/a"))
			if missed := action == "push,pull" && c.missing; !missed && ((err == nil) != (c.reason == "") || err != nil && !strings.Contains(err.Error(), c.reason) || oci.IsMissing(err) != c.missing || errors.Is(err, oci.ErrOtherSize) != strings.Contains(c.reason, "/a has")) {
				t.Errorf("%s, %s: %v", c.name, action, err)
			}
			if int(gets.Load()) != c.gets {
				t.Errorf("%s, %s: %d requests for bytes", c.name, action, gets.Load())
			}
			for scopes := range k.issued {
				if scopes != "repository:a:"+action {
					t.Errorf("%s: it logged in for %s", c.name, scopes)
				}
			}
		}
	}
}

// TestKnownAs: credentials are looked up under the name that they are kept by,
// and sent to where the registry is.
func TestKnownAs(t *testing.T) {
	r := ocitest.StartRegistryWith(t, ocitest.RegistryOptions{TLS: true, User: "u", Password: "p"})
	authfile := filepath.Join(t.TempDir(), "auth.json")
	ocitest.WriteAuthfile(t, authfile, map[string][2]string{"plant.example/mirror": {"u", "p"}})
	ca, err := os.ReadFile(r.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	known := func(name string) string { return strings.Replace(name, r.Host, "plant.example/mirror", 1) }
	for _, c := range []struct {
		name string
		o    oci.Options
		fine bool
	}{
		{"both", oci.Options{Authfile: authfile, CAs: ca, KnownAs: known}, true},
		{"by its own name", oci.Options{Authfile: authfile, CAs: ca}, false},
		{"without the certificate", oci.Options{Authfile: authfile, KnownAs: known}, false},
	} {
		err := newClient(t, c.o).Ping(background, parse(t, r.Host+"/a"), false)
		if (err == nil) != c.fine {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	user, password, err := newClient(t, oci.Options{Authfile: authfile}).Account(parse(t, "plant.example/mirror/a"))
	if user != "u" || password != "p" || err != nil {
		t.Errorf("another account, %v", err)
	}
	if _, err := oci.NewClient(oci.Options{CAs: []byte("no PEM")}); err == nil {
		t.Error("certificates that are none are taken")
	}
}
