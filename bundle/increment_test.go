package bundle_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/bundle"
	"airlift/oci"
	"airlift/oci/ocitest"
	"airlift/verify"
)

// since reads what the far side has, from what it imported of a medium.
func (m medium) since(t testing.TB) *bundle.Since {
	t.Helper()
	s, err := bundle.OpenSince(m.dir, m.trust(), nil)
	check(t, err)
	return s
}

// increment writes what a request asks for since others, cut into volumes or not.
func increment(t testing.TB, c *oci.Client, r bundle.Request, sequence, volumeSize int64, since ...*bundle.Since) medium {
	t.Helper()
	inv, err := bundle.NewInventory(*plan(t, c, r), volumeSize, "airlift test", sequence)
	check(t, err)
	check(t, inv.LeaveOut(since))
	return export(t, c, inv)
}

// into imports a medium under a prefix of a registry, with what earlier imports
// left, and gives the receipt that it leaves.
func (m medium) into(t testing.TB, host string, o bundle.ImportOptions) (*bundle.Receipt, error) {
	t.Helper()
	o.Placement = to(t, host+"/far")
	b := m.open(t)
	results, err := b.Import(t.Context(), client(t, host, host), o)
	if results == nil {
		return nil, err
	}
	r := b.Receipt(results, o.Placement)
	check(t, r.Extend(o.Receipt))
	return r, err
}

// wantRefused: an increment without its base is refused before anything is written,
// and says which blobs of which base are not there.
func wantRefused(t *testing.T, m medium, proxy *ocitest.Proxy, o bundle.ImportOptions, base bundle.Base) *bundle.BaseError {
	t.Helper()
	before := len(proxy.Log())
	receipt, err := m.into(t, proxy.Host, o)
	var lacks *bundle.BaseError
	if receipt != nil || !errors.As(err, &lacks) {
		t.Fatalf("without its base: %v, %v", receipt, err)
	}
	wantError(t, err, nil, string(lacks.All()[0]), base.String())
	for _, r := range proxy.Log()[before:] {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			t.Errorf("without its base: %s %s", r.Method, r.Path)
		}
	}
	return lacks
}

// wantPulled: all images of a medium are at a registry, each blob of the right
// digest.
func wantPulled(t *testing.T, m medium, near, far *ocitest.Builder) {
	t.Helper()
	results, err := m.open(t).Rehearse(bundle.ImportOptions{Placement: to(t, "127.0.0.1:1/far")})
	check(t, err)
	pair := compared{t, near, far}
	for _, r := range results {
		ref := references(t, r.Reference)[0]
		for _, name := range r.Names {
			place := references(t, name)[0]
			pair.node(ref.Repository, place.Repository, identifier(ref), place.Tag)
		}
	}
}

// someImages pushes images that share layers, at random, and gives their references.
func someImages(b *ocitest.Builder, random *rand.Rand, month int) []string {
	var names []string
	for i := range 1 + random.IntN(4) {
		repo := fmt.Sprintf("team/app%d", random.IntN(3))
		var layers []ocispec.Descriptor
		for range random.IntN(5) {
			layers = append(layers, b.RandomLayer(repo, fmt.Sprint("layer", random.IntN(8)), 1000+random.IntN(2)))
		}
		tag := fmt.Sprintf("m%d-%d", month, i)
		b.Image(repo, tag, ocitest.ImageOpts{Layers: layers, Docker: random.IntN(2) == 0, Labels: map[string]string{"n": fmt.Sprint(random.IntN(5))}})
		names = append(names, "quay.io/"+repo+":"+tag)
	}
	return names
}

// TestIncrementPairs: of any two bundles, the first and then what the second has
// beyond it give what both would have given; the second alone gives nothing, and
// writes nothing. What is left out is in no byte of its archive.
func TestIncrementPairs(t *testing.T) {
	t.Parallel()
	nearHost := ocitest.StartRegistry(t)
	near, c := nearHost.Builder(), client(t, nearHost.Host)
	alone := ocitest.Misbehave(t, ocitest.StartRegistry(t).Host, nil)
	far := ocitest.StartRegistry(t)
	increments := 0
	rounds := 5
	if os.Getenv("AIRLIFT_SOAK") != "" {
		rounds = 200
	}
	for round := range rounds {
		random := rand.New(rand.NewPCG(5, uint64(round)))
		a := increment(t, c, bundle.Request{Images: references(t, someImages(near, random, 2*round)...)}, 100, 0)
		wanted := bundle.Request{Images: references(t, someImages(near, random, 2*round+1)...)}
		check(t, near.Err())
		b := increment(t, c, wanted, 200, int64(random.IntN(2)*32768), a.since(t))
		whole := increment(t, c, wanted, 200, 0)
		if b.inv.ContentID() != whole.inv.ContentID() {
			t.Fatal("what is left out changes the content id")
		}
		if b.inv.LeftOut() > 0 {
			increments++
			if b.inv.RequestAgain(0) == whole.inv.RequestAgain(0) {
				t.Error("an export of the whole would go on with one of the increment")
			}
			wantRefused(t, b, alone, bundle.ImportOptions{}, bundle.Base{Content: a.inv.ContentID(), Sequence: 100})
		}
		archive := b.volumes(t)
		if saved := whole.inv.Storage.Size - b.inv.Storage.Size; int64(len(archive)) != b.inv.Storage.Size || saved < b.inv.LeftOut() {
			t.Fatalf("%d bytes are left out, %d saved", b.inv.LeftOut(), saved)
		}
		findings, err := b.open(t).Check(t.Context(), bundle.CheckOptions{})
		check(t, errors.Join(err, bundle.Verdict(findings)))
		receipt, err := a.into(t, far.Host, bundle.ImportOptions{})
		check(t, err)
		_, err = b.into(t, far.Host, bundle.ImportOptions{Receipt: receipt, Prove: round%2 == 0})
		check(t, err)
		wantPulled(t, a, near, far.Builder())
		wantPulled(t, b, near, far.Builder())
	}
	if increments == 0 {
		t.Error("none of the bundles was an increment")
	}
	newCrawler(far.Host).look(t)
}

// TestIncrementElsewhere: what is left out lies in another repository than where it
// is needed: that which the receipt or the report of earlier imports names. It is
// mounted, or where that is refused copied; from a medium, and from a stream.
func TestIncrementElsewhere(t *testing.T) {
	t.Parallel()
	near := source(t, func(b *ocitest.Builder) {
		for repo, own := range map[string]string{"team/one": "one", "team/two": "two", "team/three": "two"} {
			b.Image(repo, "v1", ocitest.ImageOpts{Labels: map[string]string{"name": own}, Layers: []ocispec.Descriptor{
				b.RandomLayer(repo, "small", 3000), b.RandomLayer(repo, "large", 5<<20), b.RandomLayer(repo, own, 700),
			}})
		}
	})
	c := client(t, near.Host)
	one := increment(t, c, bundle.Request{Images: references(t, "quay.io/team/one:v1")}, 1, 0)
	wanted := bundle.Request{Images: references(t, "quay.io/team/two:v1", "quay.io/team/three:v1")}
	two := increment(t, c, wanted, 2, 0, one.since(t))
	var stream bytes.Buffer
	check(t, bundle.ExportStream(t.Context(), c, two.inv, &stream, bundle.ExportOptions{Key: two.key}))
	for way, rule := range mountRefused {
		for _, streamed := range []bool{false, true} {
			far := ocitest.StartRegistry(t)
			dst := ocitest.Misbehave(t, far.Host, rule)
			receipt, err := one.into(t, dst.Host, bundle.ImportOptions{})
			check(t, err)
			wantRefused(t, two, dst, bundle.ImportOptions{}, bundle.Base{Content: one.inv.ContentID(), Sequence: 1})
			o := bundle.ImportOptions{Placement: to(t, dst.Host+"/far"), Receipt: receipt}
			if way == "mounts" { // the report alone
				o.Receipt, o.Held = nil, []bundle.Held{{Names: []string{dst.Host + "/far/team/one:v1"}}}
			}
			if streamed {
				s, err := bundle.OpenStream(bytes.NewReader(stream.Bytes()), two.trust())
				check(t, err)
				results, err := s.Import(t.Context(), client(t, dst.Host, dst.Host), o)
				check(t, err)
				wantStates(t, results, 2, bundle.StateImported)
			} else {
				_, err := two.into(t, dst.Host, o)
				check(t, err)
			}
			wantPulled(t, two, near.Builder(), far.Builder())
			newCrawler(far.Host).look(t)
		}
	}
}

// TestIncrementDenied: a repository that denies to be asked keeps no other one from
// being asked, not even one that needs the blob and is not there before something is pushed.
// Where none has it, the error says who denied, and that is not held for lost.
func TestIncrementDenied(t *testing.T) {
	t.Parallel()
	near := source(t, func(b *ocitest.Builder) {
		for _, repo := range []string{"team/one", "team/two", "team/three"} {
			b.Image(repo, "v1", ocitest.ImageOpts{Labels: map[string]string{"name": repo}, Layers: []ocispec.Descriptor{b.RandomLayer(repo, "a", 3000)}})
		}
	})
	c := client(t, near.Host)
	one := increment(t, c, bundle.Request{Images: references(t, "quay.io/team/one:v1")}, 1, 0)
	two := increment(t, c, bundle.Request{Images: references(t, "quay.io/team/two:v1", "quay.io/team/three:v1")}, 2, 0, one.since(t))
	left := two.inv.Storage.LeftOut
	far := ocitest.StartRegistry(t)
	_, err := one.into(t, far.Host, bundle.ImportOptions{})
	check(t, err)
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		var made atomic.Bool
		dst := ocitest.Misbehave(t, far.Host, func(r *http.Request) *ocitest.Fault {
			made.CompareAndSwap(false, r.Method == http.MethodPost)
			if !made.Load() && strings.Contains(r.URL.Path, "/team/two/blobs/") {
				return &ocitest.Fault{Status: status}
			}
			return nil
		})
		b, o := two.open(t), bundle.ImportOptions{Placement: to(t, dst.Host+"/far")}
		lacks := wantRefused(t, two, dst, o, bundle.Base{Content: one.inv.ContentID(), Sequence: 1})
		if len(lacks.Blobs) > 0 || !slices.Equal(lacks.Denied, left) || !oci.IsDenied(lacks.Refusal) {
			t.Errorf("%q lack, %q are denied: %v", lacks.Blobs, lacks.Denied, lacks.Refusal)
		}
		wantError(t, lacks, nil, "lacks or hides 1 of", dst.Host+"/far/team/two does not say: HEAD "+dst.Host+"/v2/far/team/two/blobs/"+string(left[0])+": "+fmt.Sprint(status))
		o.Held = []bundle.Held{{Names: []string{dst.Host + "/far/team/one:v1"}}}
		check(t, b.AskBase(t.Context(), client(t, dst.Host, dst.Host), o))
		for _, r := range dst.Log() {
			if r.Method != http.MethodGet && r.Method != http.MethodHead {
				t.Errorf("when only asked: %s %s", r.Method, r.Path)
			}
		}
		results, err := b.Import(t.Context(), client(t, dst.Host, dst.Host), o)
		check(t, err)
		wantStates(t, results, 2, bundle.StateImported)
		wantPulled(t, two, near.Builder(), far.Builder())
		for _, repo := range []string{"far/team/two", "far/team/three"} {
			_, raw := far.Builder().Manifest(repo, "v1")
			far.Builder().DeleteManifest(repo, digest.FromBytes(raw))
			far.Builder().DeleteBlob(repo, left[0])
		}
	}
}

// TestReceiptClaimsWhatWasAskedFor: an import of images that are there asks for none of
// their blobs and claims none, for one may be lost; with Force it asks, brings that, and
// claims all. What earlier imports claimed stays.
func TestReceiptClaimsWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	m, _ := interrupted(t)
	far := ocitest.StartRegistry(t)
	first, err := m.into(t, far.Host, bundle.ImportOptions{})
	check(t, err)
	listed := map[digest.Digest]bool{}
	for _, h := range first.Repositories {
		for _, d := range h.Blobs {
			listed[d] = true
		}
	}
	if blobs := m.inv.Content.Blobs; len(listed) != len(blobs) {
		t.Errorf("%d blobs are listed after an import of %d", len(listed), len(blobs))
	}
	lost := first.Repositories[0]
	far.Builder().DeleteBlob(lost.Name, lost.Blobs[0])
	check(t, far.Builder().Err())
	for name, c := range map[string]struct {
		options bundle.ImportOptions
		want    []bundle.Holding
	}{
		"by itself": {bundle.ImportOptions{}, []bundle.Holding{}},
		"extended":  {bundle.ImportOptions{Receipt: first}, first.Repositories},
		"by force":  {bundle.ImportOptions{Force: true}, first.Repositories},
	} {
		dst := ocitest.Misbehave(t, far.Host, nil)
		again := *first
		if again.Registry = dst.Host + "/far"; c.options.Receipt != nil {
			c.options.Receipt = &again
		}
		r, err := m.into(t, dst.Host, c.options)
		check(t, err)
		if diff := gocmp.Diff(c.want, r.Repositories); diff != "" || !slices.Equal(r.Bundles, first.Bundles) {
			t.Errorf("%s: %v, %s", name, r.Bundles, diff)
		}
		if n := dst.Count(http.MethodHead, "/blobs/"); (n > 0) != c.options.Force {
			t.Errorf("%s: %d blobs were asked for", name, n)
		}
	}
}

// TestIncrementShards: each shard of an increment asks for what its own images need of
// the base; without the base it writes nothing. The receipts of all shards list
// together what that of one import does.
func TestIncrementShards(t *testing.T) {
	t.Parallel()
	var names []string
	near := source(t, func(b *ocitest.Builder) {
		for i := range 12 {
			repo := fmt.Sprintf("team/app%d", i)
			layer := b.RandomLayer(repo, repo, 3000)
			for _, tag := range []string{"v1", "v2"} {
				b.Image(repo, tag, ocitest.ImageOpts{Labels: map[string]string{"tag": tag}, Layers: []ocispec.Descriptor{layer}})
			}
			names = append(names, "quay.io/"+repo+":v")
		}
	})
	version := func(n string) bundle.Request {
		var all []string
		for _, name := range names {
			all = append(all, name+n)
		}
		return bundle.Request{Images: references(t, all...)}
	}
	c := client(t, near.Host)
	one := increment(t, c, version("1"), 1, 0)
	two := increment(t, c, version("2"), 2, 0, one.since(t))
	far := ocitest.StartRegistry(t)
	dst := ocitest.Misbehave(t, far.Host, nil)
	const shards = 3
	for i := range shards {
		wantRefused(t, two, dst, bundle.ImportOptions{Shard: bundle.Shard{Index: i, Count: shards}}, bundle.Base{Content: one.inv.ContentID(), Sequence: 1})
	}
	_, err := one.into(t, far.Host, bundle.ImportOptions{})
	check(t, err)
	var receipt *bundle.Receipt
	for i := range shards {
		receipt, err = two.into(t, dst.Host, bundle.ImportOptions{Receipt: receipt, Shard: bundle.Shard{Index: i, Count: shards}})
		check(t, err)
	}
	whole, err := two.into(t, dst.Host, bundle.ImportOptions{Force: true})
	check(t, err)
	if diff := gocmp.Diff(whole, receipt); diff != "" || len(whole.Repositories) != len(names) {
		t.Errorf("%d repositories: %s", len(whole.Repositories), diff)
	}
	wantPulled(t, two, near.Builder(), far.Builder())
}

// TestIncrementOfNothingNew: where the far side has every blob, nodes alone are
// carried, and tags are written.
func TestIncrementOfNothingNew(t *testing.T) {
	t.Parallel()
	near := source(t, func(b *ocitest.Builder) {
		layer := b.RandomLayer("team/one", "a", 3000)
		d := b.Image("team/one", "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{layer}})
		mediaType, raw := b.Manifest("team/one", "v1")
		b.Raw("team/one", "v2", mediaType, raw)
		b.Index("team/one", "list", false, d)
	})
	c := client(t, near.Host)
	one := increment(t, c, bundle.Request{Images: references(t, "quay.io/team/one:v1")}, 1, 0)
	two := increment(t, c, bundle.Request{Images: references(t, "quay.io/team/one:v2", "quay.io/team/one:list")}, 2, 0, one.since(t))
	if n := len(two.inv.Storage.LeftOut); n != 2 || len(two.inv.Content.Blobs) != n {
		t.Fatalf("%d blobs are left out of %d", n, len(two.inv.Content.Blobs))
	}
	var stream bytes.Buffer
	check(t, bundle.ExportStream(t.Context(), c, two.inv, &stream, bundle.ExportOptions{Key: two.key}))
	far := ocitest.StartRegistry(t)
	_, err := one.into(t, far.Host, bundle.ImportOptions{})
	check(t, err)
	results, err := importStream(t, stream.Bytes(), two, far.Host)
	check(t, err)
	wantStates(t, results, 2, bundle.StateImported)
	wantPulled(t, two, near.Builder(), far.Builder())
}

// TestIncrementProved: what a registry says to have is read. Other bytes and none are
// not there, which is said apart, and so is what is denied; whatever else goes wrong says
// nothing of the blob. By asking alone the registry is believed.
func TestIncrementProved(t *testing.T) {
	t.Parallel()
	near := source(t, func(b *ocitest.Builder) {
		layer := b.RandomLayer("team/one", "a", 3000)
		b.Image("team/one", "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{layer}})
		b.Image("team/one", "v2", ocitest.ImageOpts{Layers: []ocispec.Descriptor{layer, b.RandomLayer("team/one", "b", 3000)}})
	})
	c := client(t, near.Host)
	one := increment(t, c, bundle.Request{Images: references(t, "quay.io/team/one:v1")}, 1, 0)
	two := increment(t, c, bundle.Request{Images: references(t, "quay.io/team/one:v2")}, 2, 0, one.since(t))
	left := two.inv.Storage.LeftOut[:1]
	for name, answer := range map[string]struct {
		method string
		fault  ocitest.Fault
		lacks  *bundle.BaseError // nil = another error, of which it says
		says   string
	}{
		"other bytes":  {"GET", ocitest.Fault{Corrupt: true, At: 100}, &bundle.BaseError{Damaged: left}, "far/team/one: the contents have another digest: the registry sent sha256:"},
		"another size": {"HEAD", ocitest.Fault{Header: http.Header{"Content-Length": {"7"}}}, &bundle.BaseError{Damaged: left}, "has 7 bytes of blob"},
		"none":         {"GET", ocitest.Fault{Status: http.StatusNotFound}, &bundle.BaseError{Blobs: left}, "far/team/one says that it has it: check blob"},
		"denied":       {"GET", ocitest.Fault{Status: http.StatusForbidden}, &bundle.BaseError{Denied: left}, "far/team/one does not say"},
		"an error":     {"GET", ocitest.Fault{Status: http.StatusInternalServerError}, nil, "500"},
		"no answer":    {"GET", ocitest.Fault{Drop: true}, nil, "far/team/one"},
		"broken off":   {"GET", ocitest.Fault{Cut: true}, nil, "check blob " + string(left[0])},
	} {
		dst := ocitest.Misbehave(t, ocitest.StartRegistry(t).Host, nil)
		_, err := one.into(t, dst.Host, bundle.ImportOptions{})
		check(t, err)
		dst = ocitest.Misbehave(t, dst.Host, func(r *http.Request) *ocitest.Fault {
			if r.Method == answer.method && strings.HasSuffix(r.URL.Path, string(left[0])) {
				return &answer.fault
			}
			return nil
		})
		if answer.lacks == nil {
			var lacks *bundle.BaseError
			receipt, err := two.into(t, dst.Host, bundle.ImportOptions{Prove: true})
			if receipt != nil || errors.As(err, &lacks) {
				t.Errorf("%s: %v, %v", name, receipt, err)
			}
			wantError(t, err, nil, answer.says)
			continue
		}
		lacks := wantRefused(t, two, dst, bundle.ImportOptions{Prove: true}, bundle.Base{Content: one.inv.ContentID(), Sequence: 1})
		if !slices.Equal(lacks.Blobs, answer.lacks.Blobs) || !slices.Equal(lacks.Damaged, answer.lacks.Damaged) || !slices.Equal(lacks.Denied, answer.lacks.Denied) || !lacks.Alone {
			t.Errorf("%s: it lacks %+v", name, lacks)
		}
		wantError(t, lacks, nil, answer.says)
		if answer.method == "GET" {
			_, err = two.into(t, dst.Host, bundle.ImportOptions{Receipt: &bundle.Receipt{Registry: dst.Host + "/far"}})
			check(t, err)
		}
	}
}

// TestIncrementAsksLittle: a repository of earlier imports that is not there is asked
// for once, and not for each blob that could be there.
func TestIncrementAsksLittle(t *testing.T) {
	t.Parallel()
	const repos = 8
	var names [2][]string
	near := source(t, func(b *ocitest.Builder) {
		for i := range repos {
			repo := fmt.Sprintf("team/app%d", i)
			layer := b.RandomLayer(repo, repo, 3000)
			for n, tag := range []string{"v1", "v2"} {
				b.Image(repo, tag, ocitest.ImageOpts{Labels: map[string]string{"tag": tag}, Layers: []ocispec.Descriptor{layer}})
				names[n] = append(names[n], "quay.io/"+repo+":"+tag)
			}
		}
	})
	c := client(t, near.Host)
	one := increment(t, c, bundle.Request{Images: references(t, names[0]...)}, 1, 0)
	two := increment(t, c, bundle.Request{Images: references(t, names[1]...)}, 2, 0, one.since(t))
	full, err := one.into(t, ocitest.StartRegistry(t).Host, bundle.ImportOptions{})
	check(t, err)
	wiped := ocitest.Misbehave(t, ocitest.StartRegistry(t).Host, nil)
	full.Registry = wiped.Host + "/far"
	o := bundle.ImportOptions{Receipt: full}
	for _, h := range full.Repositories {
		o.Held = append(o.Held, bundle.Held{Names: []string{wiped.Host + "/" + h.Name + ":v1"}})
	}
	wantRefused(t, two, wiped, o, bundle.Base{Content: one.inv.ContentID(), Sequence: 1})
	if blobs, others := wiped.Count(http.MethodHead, "/blobs/"), wiped.Count(http.MethodGet, "/tags/list"); blobs != repos || others != repos {
		t.Errorf("for %d blobs of %d repositories there were %d questions, and %d for repositories", repos, repos, blobs, others)
	}
}

// TestIncrementOfLostSource: nobody asks the source for what the far side has, and an
// image is whole though the source has lost that.
func TestIncrementOfLostSource(t *testing.T) {
	t.Parallel()
	var layer ocispec.Descriptor
	near := source(t, func(b *ocitest.Builder) {
		layer = b.RandomLayer("team/one", "a", 3000)
		b.Image("team/one", "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{layer}})
		b.Image("team/one", "v2", ocitest.ImageOpts{Labels: map[string]string{"n": "2"}, Layers: []ocispec.Descriptor{layer}})
	})
	src := ocitest.Misbehave(t, near.Host, nil)
	c := client(t, src.Host)
	one := increment(t, c, bundle.Request{Images: references(t, "quay.io/team/one:v1")}, 1, 0)
	far := ocitest.StartRegistry(t)
	_, err := one.into(t, far.Host, bundle.ImportOptions{})
	check(t, err)
	whole := near.Builder()
	near.Builder().DeleteBlob("team/one", layer.Digest)
	r := bundle.Request{Images: references(t, "quay.io/team/one:v2"), SkipMissing: true, Since: []*bundle.Since{one.since(t)}}
	two := increment(t, c, r, 2, 0, r.Since...)
	if m := two.inv.Content.Missing; len(m) > 0 || len(two.inv.Content.Images) != 1 {
		t.Fatalf("missing are %v", m)
	}
	if n := src.Count(http.MethodHead, "/blobs/"); n != 1 { // its config
		t.Errorf("%d blobs were asked for", n)
	}
	_, err = two.into(t, far.Host, bundle.ImportOptions{})
	check(t, err)
	whole.RandomLayer("team/one", "a", 3000)
	check(t, whole.Err())
	wantPulled(t, two, whole, far.Builder())
}

// TestUnfinishedBase: what an export has not finished is no base; a medium of several
// is one, and so is a copy of a bundle.json.
func TestUnfinishedBase(t *testing.T) {
	t.Parallel()
	near := source(t, func(b *ocitest.Builder) {
		b.Image("team/one", "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{b.RandomLayer("team/one", "a", 3000)}})
	})
	c := client(t, near.Host)
	m := increment(t, c, bundle.Request{Images: references(t, "quay.io/team/one:v1")}, 1, 4096)
	volume := m.inv.Storage.Volumes[len(m.inv.Storage.Volumes)-1].Name
	for name, change := range map[string]struct {
		remove     []string
		unfinished bool
	}{
		"finished":            {nil, false},
		"a medium of several": {[]string{volume}, false},
		"a checkpoint": {slices.DeleteFunc(fileNames(t, m.dir), func(name string) bool { // no volume was begun
			return strings.HasPrefix(name, bundle.InventoryFile) || name == bundle.ReadmeFile
		}), true},
		"without its sums": {[]string{bundle.SumsFile}, true},
		"a copy": {slices.DeleteFunc(fileNames(t, m.dir), func(name string) bool {
			return strings.HasPrefix(name, bundle.InventoryFile)
		}), false},
	} {
		base := m.copied(t)
		for _, file := range change.remove {
			check(t, os.Remove(base.path(file)))
		}
		if name == "a checkpoint" {
			writeFile(t, base.path(bundle.CheckpointFile), nil)
		}
		for _, named := range []string{base.dir, base.path(bundle.InventoryFile)} {
			_, err := bundle.OpenSince(named, m.trust(), nil)
			if errors.Is(err, bundle.ErrUnfinished) != change.unfinished || !change.unfinished && err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestIncrementMisremembered: a registry that says to have a blob in a repository, and
// refuses the manifest there for lacking it, gets it from another repository; where
// there is none, the image fails by name and gets no tag.
func TestIncrementMisremembered(t *testing.T) {
	t.Parallel()
	near := source(t, func(b *ocitest.Builder) {
		for _, repo := range []string{"team/one", "team/two"} {
			b.Image(repo, "v1", ocitest.ImageOpts{Labels: map[string]string{"name": repo}, Layers: []ocispec.Descriptor{b.RandomLayer(repo, "a", 3000)}})
		}
	})
	c := client(t, near.Host)
	one := increment(t, c, bundle.Request{Images: references(t, "quay.io/team/one:v1")}, 1, 0)
	two := increment(t, c, bundle.Request{Images: references(t, "quay.io/team/two:v1")}, 2, 0, one.since(t))
	far := ocitest.StartRegistry(t)
	dst := ocitest.Misbehave(t, far.Host, claiming(&two.inv.Content, "/team/two/blobs/"))
	receipt, err := one.into(t, dst.Host, bundle.ImportOptions{})
	check(t, err)
	_, err = two.into(t, dst.Host, bundle.ImportOptions{})
	wantError(t, err, nil, "quay.io/team/two:v1", "was left out of this bundle, and no other repository gives it")
	newCrawler(far.Host).look(t)
	_, err = two.into(t, dst.Host, bundle.ImportOptions{Receipt: receipt})
	check(t, err)
	wantPulled(t, two, near.Builder(), far.Builder())
}

// TestIncrementChain: ten increments, of which one is lost on the way. What builds
// upon that is refused; the next one made since the last receipt comes, and all that
// follow.
func TestIncrementChain(t *testing.T) {
	t.Parallel()
	nearHost, far := ocitest.StartRegistry(t), ocitest.StartRegistry(t)
	near, c := nearHost.Builder(), client(t, nearHost.Host)
	dst := ocitest.Misbehave(t, far.Host, nil)
	receiptKey, receipts := newKey(t), t.TempDir()
	var receipt *bundle.Receipt
	var media []medium
	month := func(i int64, since ...*bundle.Since) medium {
		var layers []ocispec.Descriptor
		for n := range i { // a month has what all before it had
			layers = append(layers, near.RandomLayer("team/app", fmt.Sprint("layer", n), 2000))
		}
		tag := fmt.Sprintf("month%d", i)
		near.Image("team/app", tag, ocitest.ImageOpts{Layers: layers})
		check(t, near.Err())
		return increment(t, c, bundle.Request{Images: references(t, "quay.io/team/app:"+tag)}, i, 0, since...)
	}
	for i := range int64(10) {
		var since []*bundle.Since
		if i > 0 {
			since = append(since, media[i-1].since(t))
		}
		media = append(media, month(i+1, since...))
		if n := len(media[i].inv.Storage.LeftOut); n != int(i) {
			t.Fatalf("month %d leaves out %d blobs", i+1, n)
		}
		var base []bundle.Base // each month before brought one of these
		for n, m := range media[:i] {
			base = append(base, bundle.Base{Content: m.inv.ContentID(), Sequence: int64(n + 1)})
		}
		if diff := gocmp.Diff(base, media[i].inv.About.Base); diff != "" {
			t.Fatalf("month %d: %s", i+1, diff)
		}
	}
	take := func(m medium) {
		t.Helper()
		var err error
		receipt, err = m.into(t, dst.Host, bundle.ImportOptions{Receipt: receipt})
		check(t, err)
		check(t, receipt.Write(receipts, receiptKey))
	}
	for i, m := range media {
		switch {
		case i < 5:
			take(m)
		case i > 5: // the sixth was lost
			base := bundle.Base{Content: media[i-1].inv.ContentID(), Sequence: int64(i)}
			wantRefused(t, m, dst, bundle.ImportOptions{Receipt: receipt}, base)
		}
	}
	read, err := bundle.OpenSince(receipts, bundle.Trust{}, []verify.PublicKey{verify.PublicKeyOf(receiptKey)})
	check(t, err)
	next := month(11, read)
	if n := len(next.inv.Storage.LeftOut); n != 5 {
		t.Errorf("since the receipt %d blobs are left out, want 5", n)
	}
	take(next)
	for _, m := range media[6:] {
		take(m)
	}
	wantPulled(t, next, near, far.Builder())
	for _, m := range media[6:] {
		wantPulled(t, m, near, far.Builder())
	}
	newCrawler(far.Host).look(t)
}

// TestIncrementFlipped: no byte of an increment's bundle.json can be changed.
func TestIncrementFlipped(t *testing.T) {
	t.Parallel()
	near := source(t, func(b *ocitest.Builder) {
		b.Image("team/one", "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{b.RandomLayer("team/one", "a", 3000)}})
	})
	c := client(t, near.Host)
	r := bundle.Request{Images: references(t, "quay.io/team/one:v1")}
	m := increment(t, c, r, 2, 0, increment(t, c, r, 1, 0).since(t)).copied(t)
	if m.inv.LeftOut() == 0 {
		t.Fatal("it is no increment")
	}
	whole := readFile(t, m.path(bundle.InventoryFile))
	for i := range whole {
		flipped := bytes.Clone(whole)
		flipped[i] ^= 1 << (i % 8)
		check(t, os.WriteFile(m.path(bundle.InventoryFile), flipped, 0o666))
		if _, err := bundle.Open([]string{m.dir}, m.trust()); !errors.Is(err, bundle.ErrUntrusted) {
			t.Fatalf("with byte %d flipped: %v", i, err)
		}
		if _, err := bundle.OpenSince(m.dir, m.trust(), nil); !errors.Is(err, bundle.ErrUntrusted) {
			t.Fatalf("as a base, with byte %d flipped: %v", i, err)
		}
	}
}

// TestIncrementKeepsNodes: a blob that is a node, too, is never left out, and an
// inventory that leaves it out is refused.
func TestIncrementKeepsNodes(t *testing.T) {
	t.Parallel()
	content := contentOf(t, "quay.io/a/b:1", "quay.io/a/b:2")
	node := content.Nodes[0]
	content.Nodes[1].Layers = append(content.Nodes[1].Layers, node.Digest)
	content.Blobs = append(content.Blobs, bundle.Blob{Digest: node.Digest, Size: node.Size, Role: bundle.RoleLayer})
	inv := inventory(t, content, 0)
	data, err := inv.Bytes()
	check(t, err)
	base := filepath.Join(t.TempDir(), bundle.InventoryFile)
	writeFile(t, base, data)
	since, err := bundle.OpenSince(base, bundle.Trust{AllowUnsigned: true}, nil)
	check(t, err)
	check(t, inv.LeaveOut([]*bundle.Since{since}))
	if left := inv.Storage.LeftOut; len(left) != 4 || slices.Contains(left, node.Digest) {
		t.Fatalf("left out are %q", left)
	}
	if data, err = inv.Bytes(); err == nil {
		last := "   \"" + string(inv.Storage.LeftOut[3]) + "\""
		_, err = bundle.ParseInventory([]byte(strings.Replace(string(data), last, last+",\n   \""+string(node.Digest)+"\"", 1)))
	}
	wantError(t, err, nil, "it is a node, which is never left out")
}

// TestIncrementRefused: what an inventory may not say of what it leaves out, even if
// a trusted key signed it.
func TestIncrementRefused(t *testing.T) {
	t.Parallel()
	content := contentOf(t, "quay.io/a/b:1", "quay.io/a/b:2")
	inv := inventory(t, content, 0)
	base := filepath.Join(t.TempDir(), bundle.InventoryFile)
	data, err := inventory(t, contentOf(t, "quay.io/a/b:1"), 0).Bytes()
	check(t, err)
	writeFile(t, base, data)
	since, err := bundle.OpenSince(base, bundle.Trust{AllowUnsigned: true}, nil)
	check(t, err)
	check(t, inv.LeaveOut([]*bundle.Since{since}))
	data, err = inv.Bytes()
	check(t, err)
	if _, err := bundle.ParseInventory(data); err != nil {
		t.Fatal(err)
	}
	left := inv.Storage.LeftOut
	quoted := func(d digest.Digest) string { return "   \"" + string(d) + "\"" }
	all := quoted(left[0]) + ",\n" + quoted(left[1])
	node := content.Nodes[0].Digest
	for name, change := range map[string][3]string{
		"in another order":  {all, quoted(left[1]) + ",\n" + quoted(left[0]), "not in its order"},
		"twice":             {all, all + ",\n" + quoted(left[1]), "not in its order"},
		"a node":            {all, quoted(node), "it is no blob of the content"},
		"no digest":         {all, "\"x\"", "it is no blob of the content"},
		"less":              {all, quoted(left[0]), "storage does not follow from content"},
		"not required":      {"\"increment\"", "", "2 blobs are left out, which needs a base"},
		"required twice":    {"\"increment\"", "\"increment\", \"increment\"", "2 blobs are left out, which needs a base"},
		"of another kind":   {"\"increment\"", "\"increment\", \"delta\"", "requires \"delta\", which this version does not have; \"airlift test\" wrote it and reads it"},
		"no base":           {"\"base\"", "\"bass\"", "2 blobs are left out, which needs a base"},
		"nothing left out":  {"\"leftOut\"", "\"rightOut\"", "0 blobs are left out"},
		"base of no digest": {string(inv.About.Base[0].Content), "sha256:x", "about: base: digest"},
		"base of no time":   {"\"sequence\": 1\n   }", "\"sequence\": -1\n   }", "about: base: sequence -1 is outside of"},
	} {
		changed := strings.Replace(string(data), change[0], change[1], 1)
		if changed == string(data) {
			t.Errorf("%s: nothing was changed", name)
			continue
		}
		_, err := bundle.ParseInventory([]byte(changed))
		if wantError(t, err, nil, change[2]); t.Failed() {
			t.Fatalf("%s: %v", name, err)
		}
	}
}
