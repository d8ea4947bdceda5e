package bundle_test

import (
	"cmp"
	"crypto/ecdsa"
	"errors"
	"flag"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/bundle"
	"airlift/oci"
	"airlift/oci/ocitest"
	"airlift/verify"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// logicalHosts are the registries that references in these tests name. None of
// them is ever asked: a local one stands for them all.
var logicalHosts = []string{"quay.io", "registry.redhat.io", "registry.access.redhat.com", "docker.io"}

// client fetches what references name from source and talks to all hosts over
// plain HTTP. It waits next to nothing between tries.
func client(t testing.TB, source string, hosts ...string) *oci.Client {
	t.Helper()
	authfile := filepath.Join(t.TempDir(), "auth.json")
	ocitest.WriteAuthfile(t, authfile, nil)
	o := oci.Options{Insecure: append(hosts, source), Authfile: authfile, Backoff: time.Microsecond, Tries: 3}
	for _, host := range logicalHosts {
		o.Mirrors = append(o.Mirrors, oci.SourceMirror{Source: host, Mirror: source})
	}
	c, err := oci.NewClient(o)
	check(t, err)
	return c
}

// source starts a registry and lets build fill it.
func source(t testing.TB, build func(*ocitest.Builder)) *ocitest.Registry {
	t.Helper()
	r := ocitest.StartRegistry(t)
	b := r.Builder()
	build(b)
	check(t, b.Err())
	return r
}

func references(t testing.TB, names ...string) []oci.Reference {
	t.Helper()
	var refs []oci.Reference
	for _, name := range names {
		ref, err := oci.ParseReference(name)
		check(t, err)
		refs = append(refs, ref)
	}
	return refs
}

func plan(t testing.TB, c *oci.Client, r bundle.Request) *bundle.Content {
	t.Helper()
	content, err := bundle.Plan(t.Context(), c, r)
	check(t, err)
	return content
}

func inventory(t testing.TB, c *bundle.Content, volumeSize int64) *bundle.Inventory {
	t.Helper()
	inv, err := bundle.NewInventory(*c, volumeSize, "airlift test", 1)
	check(t, err)
	return inv
}

// medium is a directory with a finished bundle, and the key that signed it.
type medium struct {
	dir string
	inv *bundle.Inventory
	key *ecdsa.PrivateKey
}

// export writes a bundle with a key of its own.
func export(t testing.TB, c *oci.Client, inv *bundle.Inventory) medium {
	t.Helper()
	m := medium{dir: t.TempDir(), inv: inv, key: newKey(t)}
	check(t, bundle.Export(t.Context(), c, inv, m.dir, bundle.ExportOptions{Key: m.key}))
	return m
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := verify.GenerateKey()
	check(t, err)
	return key
}

func (m medium) id() string { return verify.PublicKeyOf(m.key).ID() }

func (m medium) trust() bundle.Trust {
	return bundle.Trust{Keys: []verify.PublicKey{verify.PublicKeyOf(m.key)}}
}

func (m medium) open(t testing.TB) *bundle.Bundle {
	t.Helper()
	b, err := bundle.Open([]string{m.dir}, m.trust())
	check(t, err)
	return b
}

// copied is the same medium in a directory of its own, to be spoilt.
func (m medium) copied(t testing.TB) medium {
	t.Helper()
	dir := t.TempDir()
	check(t, os.CopyFS(dir, os.DirFS(m.dir)))
	m.dir = dir
	return m
}

func (m medium) path(name string) string { return filepath.Join(m.dir, name) }

// volumes are the archive's volumes one after the other.
func (m medium) volumes(t testing.TB) []byte {
	t.Helper()
	var all []byte
	for _, v := range m.inv.Storage.Volumes {
		all = append(all, readFile(t, m.path(v.Name))...)
	}
	return all
}

// flip changes one bit of a file.
func flip(t testing.TB, path string, offset int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	check(t, err)
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], offset)
	check(t, err)
	b[0] ^= 1 << (offset % 8)
	_, err = f.WriteAt(b[:], offset)
	check(t, err)
}

// to is a placement under a path of a registry, which the cluster calls the same.
func to(t testing.TB, host string) bundle.Placement {
	t.Helper()
	l, err := bundle.ParseLocation(host)
	check(t, err)
	return bundle.Placement{To: l, Cluster: l}
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	check(t, err)
	return data
}

func writeFile(t testing.TB, path string, data []byte) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(path), 0o777))
	check(t, os.WriteFile(path, data, 0o666))
}

// fileNames are the names of all files under a directory, sorted.
func fileNames(t testing.TB, dir string) []string {
	t.Helper()
	var names []string
	check(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, _ := filepath.Rel(dir, path)
			names = append(names, name)
		}
		return err
	}))
	return names
}

// golden compares got with a file under testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		writeFile(t, path, got)
	}
	if diff := gocmp.Diff(string(readFile(t, path)), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantError fails unless err is of a class, which may be nil, and says all of the texts.
func wantError(t testing.TB, err, class error, texts ...string) {
	t.Helper()
	if err == nil || class != nil && !errors.Is(err, class) {
		t.Errorf("error is %v, want one of class %v", err, class)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error does not say %q: %v", text, err)
		}
	}
}

// nobody is an address where connections are counted and closed.
func nobody(t testing.TB) (host string, connections *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	connections = new(atomic.Int64)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-ended
	})
	return listener.Addr().String(), connections
}

// contentOf is a content of images that nobody has: each of one config and one
// layer, told apart by its reference or the digest in it.
func contentOf(t testing.TB, names ...string) *bundle.Content {
	t.Helper()
	c := &bundle.Content{}
	var layers []bundle.Blob
	seen := map[digest.Digest]bool{}
	for _, ref := range references(t, names...) {
		d := cmp.Or(ref.Digest, digest.FromString(ref.String()))
		c.Images = append(c.Images, bundle.Image{Reference: ref.String(), Digest: d})
		if seen[d] {
			continue
		}
		seen[d] = true
		config, layer := digest.FromString("config "+string(d)), digest.FromString("layer "+string(d))
		c.Nodes = append(c.Nodes, bundle.Node{Digest: d, Size: 400, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []digest.Digest{layer}})
		c.Blobs = append(c.Blobs, bundle.Blob{Digest: config, Size: 200, Role: bundle.RoleConfig})
		layers = append(layers, bundle.Blob{Digest: layer, Size: 1000, Role: bundle.RoleLayer})
	}
	c.Blobs = append(c.Blobs, layers...)
	slices.SortFunc(c.Images, func(a, b bundle.Image) int { return cmp.Compare(a.Reference, b.Reference) })
	return c
}

// opened is a bundle of a content whose volumes do not exist.
func opened(t testing.TB, c *bundle.Content) *bundle.Bundle {
	t.Helper()
	data, err := inventory(t, c, 0).Bytes()
	check(t, err)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, bundle.InventoryFile), data)
	b, err := bundle.Open([]string{dir}, bundle.Trust{AllowUnsigned: true})
	check(t, err)
	return b
}
