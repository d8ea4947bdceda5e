package oci_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci"
	"airlift/oci/ocitest"
)

// TestCanPullBlob: what is asked for is leave to pull, and nothing more; the
// answer of a registry that takes no HEAD is that to a GET.
func TestCanPullBlob(t *testing.T) {
	text := "some bytes"
	blob := ocispec.Descriptor{Digest: digest.FromString(text), Size: int64(len(text))}
	for _, c := range []struct {
		name      string
		head, get int
		size      string
		missing   bool
		reason    string
	}{
		{name: "there", head: 200, size: "10"},
		{name: "there, of no size", head: 200},
		{name: "of another size", head: 200, size: "11", reason: "the registry has 11 bytes"},
		{name: "gone", head: 404, get: 200, missing: true, reason: "404"},
		{name: "no HEAD", head: 405, get: 200, size: "10"},
		{name: "no HEAD, and of another size", head: 405, get: 200, size: "11", reason: "the registry has 11 bytes"},
		{name: "no HEAD, and gone", head: 403, get: 404, missing: true, reason: "404"},
		{name: "denied", head: 403, get: 403, reason: "403"},
	} {
		k := serveTokens(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/a/blobs/"+blob.Digest.String() {
				return // hello
			}
			status := map[string]int{http.MethodHead: c.head, http.MethodGet: c.get}[r.Method]
			if c.size != "" && status == 200 {
				w.Header().Set("Content-Length", c.size)
			}
			w.WriteHeader(status)
			if r.Method == http.MethodGet && status == 200 {
				_, _ = w.Write([]byte(text)) // a client that wants no more may be gone
			}
		})
		err := client(t, k.host).CanPullBlob(background, parse(t, k.host+"/a"), blob)
		if (err == nil) != (c.reason == "") || err != nil && !strings.Contains(err.Error(), c.reason) || oci.IsMissing(err) != c.missing {
			t.Errorf("%s: %v", c.name, err)
		}
		for scopes := range k.issued {
			if scopes != "repository:a:pull" {
				t.Errorf("%s: it logged in for %s", c.name, scopes)
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
