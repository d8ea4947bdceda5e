package bundle_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"airlift/bundle"
	"airlift/verify"
)

// receiptOf is a receipt of an import that brought some images of a content.
func receiptOf(t testing.TB, sequence int64, names ...string) *bundle.Receipt {
	t.Helper()
	b := opened(t, contentOf(t, names...))
	b.Inventory.About.Sequence = sequence
	var results []bundle.ImageResult
	for i := range b.Inventory.Content.Images {
		results = append(results, resultOf(t, &b.Inventory.Content, i, bundle.StateImported))
	}
	return b.Receipt(results, to(t, "reg.example:5000/far"))
}

// resultOf is the result of an image all of whose blobs were sent or asked for.
func resultOf(t testing.TB, c *bundle.Content, image int, state string) bundle.ImageResult {
	t.Helper()
	i := c.Images[image]
	held := []bundle.Holding{{Name: "far/" + references(t, i.Reference)[0].Repository, Blobs: blobsOf(c, image)}}
	return bundle.ImageResult{Reference: i.Reference, Digest: i.Digest, State: state, Blobs: held}
}

// TestReceiptOfWhatIsThere: only what was imported or found, where it was put; of images
// that were there before, what was asked for.
func TestReceiptOfWhatIsThere(t *testing.T) {
	t.Parallel()
	content := contentOf(t, "quay.io/a/b:1", "quay.io/a/b:2", "quay.io/c/d:1", "quay.io/e/f:1", "quay.io/g/h:1")
	b := opened(t, content)
	results := []bundle.ImageResult{
		resultOf(t, content, 0, bundle.StatePresent),
		resultOf(t, content, 1, bundle.StateFailed),
		resultOf(t, content, 2, bundle.StateImported),
		resultOf(t, content, 3, bundle.StateSkipped),
		{Reference: "quay.io/g/h:1", Digest: content.Images[4].Digest, State: bundle.StatePresent},
	}
	r := b.Receipt(results, to(t, "reg.example:5000/far"))
	if n := b.Unlisted(results, r); n != len(blobsOf(content, 4)) {
		t.Errorf("%d blobs were not asked for, want %d", n, len(blobsOf(content, 4)))
	}
	want := []bundle.Holding{{Name: "far/a/b", Blobs: blobsOf(content, 0)}, {Name: "far/c/d", Blobs: blobsOf(content, 2)}}
	if diff := gocmp.Diff(want, r.Repositories); diff != "" {
		t.Error(diff)
	}
	if want := []bundle.Base{{Content: b.Inventory.ContentID(), Sequence: 1}}; !slices.Equal(r.Bundles, want) {
		t.Errorf("bundles are %v", r.Bundles)
	}
	for i := range results {
		results[i].State = bundle.StateFailed
	}
	if r := b.Receipt(results, to(t, "reg.example:5000/far")); len(r.Bundles)+len(r.Repositories) > 0 {
		t.Errorf("nothing was imported, and the receipt is %+v", r)
	}
}

// blobsOf are the blobs of an image, sorted.
func blobsOf(c *bundle.Content, image int) []digest.Digest {
	i := slices.IndexFunc(c.Nodes, func(n bundle.Node) bool { return n.Digest == c.Images[image].Digest })
	return slices.Sorted(slices.Values(append(slices.Clone(c.Nodes[i].Layers), c.Nodes[i].Config)))
}

// TestReceiptsInAnyOrder: the same imports give the same receipt, whatever came
// first, and however often.
func TestReceiptsInAnyOrder(t *testing.T) {
	t.Parallel()
	names := []string{"quay.io/a/b:1", "quay.io/a/b:2", "quay.io/c/d:1", "quay.io/c/d:2"}
	var want []byte
	for round := range 20 {
		random := rand.New(rand.NewPCG(7, uint64(round)))
		var all *bundle.Receipt
		for _, i := range append(random.Perm(len(names)), random.IntN(len(names))) {
			r := receiptOf(t, int64(i), names[i])
			check(t, r.Extend(all))
			all = r
		}
		dir := t.TempDir()
		check(t, all.Write(dir, nil))
		got := readFile(t, filepath.Join(dir, bundle.ReceiptFile))
		if want == nil {
			want = got
		}
		if string(got) != string(want) {
			t.Fatalf("round %d gives another receipt:\n%s\n%s", round, got, want)
		}
		read, err := bundle.ReadReceipt(filepath.Join(dir, bundle.ReceiptFile))
		check(t, err)
		if diff := gocmp.Diff(all, read); diff != "" {
			t.Fatal(diff)
		}
	}
}

// TestReceiptsAtOnce: imports that add to the receipt of one directory at the same time
// all find theirs in it, signed; what is not changed stays as it is.
func TestReceiptsAtOnce(t *testing.T) {
	t.Parallel()
	dir, key := filepath.Join(t.TempDir(), "made", "for it"), newKey(t)
	const runs, each = 4, 8
	add := func(r *bundle.Receipt) error {
		return bundle.Alone(t.Context(), dir, func() error {
			return bundle.UpdateReceipt(dir, key, func(there *bundle.Receipt) (*bundle.Receipt, error) { return r, r.Extend(there) })
		})
	}
	var all sync.WaitGroup
	var want []bundle.Base
	for run := range runs {
		var mine []*bundle.Receipt
		for i := range each {
			r := receiptOf(t, int64(each*run+i), fmt.Sprintf("quay.io/run%d/app:%d", run, i))
			mine, want = append(mine, r), append(want, r.Bundles...)
		}
		all.Go(func() {
			for _, r := range mine {
				if err := add(r); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	file := filepath.Join(dir, bundle.ReceiptFile)
	r, err := bundle.ReadReceipt(file, verify.PublicKeyOf(key))
	check(t, err)
	if diff := gocmp.Diff(want, r.Bundles); diff != "" || len(r.Repositories) != runs {
		t.Errorf("%d repositories: %s", len(r.Repositories), diff)
	}
	if names := fileNames(t, dir); len(names) != 2 {
		t.Errorf("there are %q", names)
	}
	check(t, bundle.UpdateReceipt(dir, key, func(*bundle.Receipt) (*bundle.Receipt, error) { return nil, nil }))
	again, err := bundle.ReadReceipt(file)
	if check(t, err); gocmp.Diff(r, again) != "" {
		t.Error("what was to stay as it is did not")
	}
}

// TestReceiptForgets: what is not there leaves all repositories; an empty one goes. What
// another import brought since they were asked stays.
func TestReceiptForgets(t *testing.T) {
	t.Parallel()
	asked := receiptOf(t, 1, "quay.io/a/b:1", "quay.io/c/d:1")
	r := receiptOf(t, 1, "quay.io/a/b:1", "quay.io/c/d:1")
	gone, kept := r.Repositories[0].Blobs, r.Repositories[1]
	since := bundle.Holding{Name: "far/since", Blobs: gone}
	r.Repositories = append(r.Repositories, since)
	if !r.Forget(gone, asked) || r.Forget(gone, asked) {
		t.Error("it does not say whether anything was forgotten")
	}
	if diff := gocmp.Diff([]bundle.Holding{kept, since}, r.Repositories); diff != "" {
		t.Error(diff)
	}
}

// TestReceiptSignatures: at every instant a signature beside a receipt fits it. One
// that was changed since our key signed it is refused; so are other registries'.
func TestReceiptSignatures(t *testing.T) {
	t.Parallel()
	dir, key, other := t.TempDir(), newKey(t), newKey(t)
	file := filepath.Join(dir, bundle.ReceiptFile)
	ours := verify.PublicKeyOf(key)
	since := func() error {
		_, err := bundle.OpenSince(file, bundle.Trust{}, []verify.PublicKey{ours})
		return err
	}
	r := receiptOf(t, 1, "quay.io/a/b:1")
	check(t, r.Write(dir, key))
	check(t, r.Write(dir, other)) // the same receipt: both have signed
	check(t, since())
	if n := len(fileNames(t, dir)); n != 3 {
		t.Errorf("there are %q", fileNames(t, dir))
	}
	next := receiptOf(t, 2, "quay.io/a/b:2")
	check(t, next.Extend(r))
	check(t, next.Write(dir, nil))
	if names := fileNames(t, dir); !slices.Equal(names, []string{bundle.ReceiptFile}) {
		t.Errorf("after an import without a key there are %q", names)
	}
	wantError(t, since(), bundle.ErrUntrusted, "has no signature")
	check(t, next.Write(dir, key))
	check(t, since())
	data := readFile(t, file)
	for i := range data {
		flip(t, file, int64(i))
		if _, err := bundle.ReadReceipt(file, ours); !errors.Is(err, bundle.ErrUntrusted) {
			t.Fatalf("byte %d is changed: %v", i, err)
		}
		if err := since(); !errors.Is(err, bundle.ErrUntrusted) {
			t.Fatalf("byte %d is changed: %v", i, err)
		}
		flip(t, file, int64(i))
	}
	check(t, since())
	wantError(t, next.Of("reg.example:5000/other"), bundle.ErrUsage, "reg.example:5000/far", "reg.example:5000/other")
	elsewhere := receiptOf(t, 3, "quay.io/a/b:1")
	elsewhere.Registry = "reg.example:5000/other"
	wantError(t, elsewhere.Extend(next), bundle.ErrUsage, "reg.example:5000/far", "reg.example:5000/other")
	if _, err := bundle.ReadReceipt(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none is there: %v", err)
	}
}

// TestReceiptHostile: an unsigned receipt, with leave, can say nothing that harms.
func TestReceiptHostile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, bundle.ReceiptFile)
	r := receiptOf(t, 1, "quay.io/a/b:1", "quay.io/c/d:1")
	check(t, r.Write(dir, nil))
	data := string(readFile(t, file))
	open := func(text string) error {
		check(t, os.WriteFile(file, []byte(text), 0o666))
		_, err := bundle.OpenSince(dir, bundle.Trust{AllowUnsigned: true}, nil)
		return err
	}
	check(t, open(data))
	blobs := r.Repositories[0].Blobs
	for name, change := range map[string][3]string{
		"another format": {"airlift.receipt/1", "airlift.receipt/2", "format"},
		"a registry":     {"reg.example:5000/far", "https://x", "is none"},
		"a path":         {"far/a/b", "../../etc", "no name of one"},
		"order":          {"far/a/b", "far/x/b", "not in order"},
		"a digest":       {string(blobs[0]), "sha256:x", "is not a sha256 one"},
		"blobs in order": {string(blobs[0]), string(blobs[1]), "not in order"},
		"a time":         {"\"sequence\": 1", "\"sequence\": 999999999999", "outside of"},
		"a key twice":    {"\"registry\"", "\"registry\": \"a\", \"registry\"", "registry"},
		"a key in case":  {"\"registry\"", "\"Registry\"", "is written"},
	} {
		changed := strings.Replace(data, change[0], change[1], 1)
		if changed == data {
			t.Errorf("%s: nothing was changed", name)
		}
		wantError(t, open(changed), nil, change[2])
	}
	nobody := receiptOf(t, 1, "quay.io/a/b:1")
	nobody.Bundles = []bundle.Base{}
	check(t, nobody.Write(dir, nil))
	wantError(t, open(string(readFile(t, file))), nil, "without a bundle that brought")
	for n := range len(strings.TrimSpace(data)) {
		if open(data[:n]) == nil {
			t.Fatalf("the first %d bytes are taken", n)
		}
	}
	wantError(t, open(data+"{}"), nil)
}

// TestOrder: the newest bundle of a series counts, and of no other.
func TestOrder(t *testing.T) {
	t.Parallel()
	r := &bundle.Receipt{Bundles: []bundle.Base{{Sequence: 10}, {Sequence: 20}, {Sequence: 30, Series: "other"}}}
	for _, c := range []struct {
		series   string
		sequence int64
		newest   int64 // 0 = it may come
	}{{"", 20, 0}, {"", 21, 0}, {"", 19, 20}, {"", 1, 20}, {"other", 29, 30}, {"other", 30, 0}, {"third", 1, 0}} {
		inv := &bundle.Inventory{About: bundle.About{Series: c.series, Sequence: c.sequence}}
		newest, newer := r.Newer(inv)
		if newer != (c.newest > 0) || newest.Sequence != c.newest {
			t.Errorf("%q at %d: %v, %v", c.series, c.sequence, newest, newer)
		}
	}
	if _, newer := (*bundle.Receipt)(nil).Newer(&bundle.Inventory{}); newer {
		t.Error("no receipt has something newer")
	}
}
