package bundle_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/bundle"
	"airlift/oci"
	"airlift/oci/ocitest"
)

// claiming is the rule of a registry that says to have all blobs of a content, under
// paths with a part.
func claiming(content *bundle.Content, part string) func(*http.Request) *ocitest.Fault {
	sizes := map[string]string{}
	for _, b := range content.Blobs {
		sizes[string(b.Digest)] = strconv.FormatInt(b.Size, 10)
	}
	return func(r *http.Request) *ocitest.Fault {
		if r.Method == http.MethodHead && strings.Contains(r.URL.Path, part) {
			return &ocitest.Fault{Status: http.StatusOK, Header: http.Header{"Content-Length": {sizes[path.Base(r.URL.Path)]}}}
		}
		return nil
	}
}

// TestRegistryMisremembers: one that says to have what it then refuses as unknown
// is given all of it, once more.
func TestRegistryMisremembers(t *testing.T) {
	t.Parallel()
	m, _ := interrupted(t)
	host := ocitest.StartRegistry(t).Host
	proxy := ocitest.Misbehave(t, host, claiming(&m.inv.Content, "/blobs/"))
	results, err := importInto(t.Context(), t, m, proxy.Host, 0)
	for _, r := range results {
		if err != nil || r.State != bundle.StateImported {
			t.Errorf("%s: %s, %s: %v", r.Reference, r.State, r.Reason, err)
		}
	}
	wantComplete(t, m, host)
}

// TestSpoiledBlob: a blob whose file has lost bytes at the registry is not there, and no
// import says so; when the file is removed, as the error says, the next one mends it.
func TestSpoiledBlob(t *testing.T) {
	t.Parallel()
	m, _ := interrupted(t)
	for size, untagged := range map[int64]bool{0: true, 10: false} {
		far := ocitest.StartRegistry(t)
		wantComplete(t, m, far.Host)
		b := far.Builder()
		_, raw := b.Manifest("far/team/app1", "v1")
		var app tree
		check(t, json.Unmarshal(raw, &app))
		file := dataFile(far, digest.Digest(app.Layers[1].Digest))
		check(t, os.Truncate(file, size))
		if untagged {
			b.DeleteManifest("far/team/app1", digest.FromBytes(raw))
		}
		check(t, b.Err())
		again := func() bundle.ImageResult {
			results, err := m.open(t).Import(t.Context(), client(t, far.Host), bundle.ImportOptions{Placement: to(t, far.Host+"/far"), Force: true})
			i := slices.IndexFunc(results, func(r bundle.ImageResult) bool { return r.Reference == "quay.io/team/app1:v1" })
			if (err == nil) != (results[i].State == bundle.StateImported) || err != nil && !errors.Is(err, oci.ErrOtherSize) {
				t.Errorf("%d bytes, untagged %v: %v", size, untagged, err)
			}
			return results[i]
		}
		if r := again(); r.State != bundle.StateFailed || !strings.Contains(r.Reason, fmt.Sprintf("team/app1 has %d bytes of blob %s, not %d", size, app.Layers[1].Digest, app.Layers[1].Size)) {
			t.Errorf("%d bytes, untagged %v: it is %s, %s", size, untagged, r.State, r.Reason)
		}
		check(t, os.Remove(file))
		if r := again(); r.State != bundle.StateImported {
			t.Errorf("%d bytes, untagged %v, removed: it is %s, %s", size, untagged, r.State, r.Reason)
		}
		newCrawler(far.Host).look(t)
	}
}

// TestCollectedChild: an index whose child the registry has lost is not there,
// whatever its tag says, and made whole again.
func TestCollectedChild(t *testing.T) {
	t.Parallel()
	var inner ocispec.Descriptor
	near := source(t, func(b *ocitest.Builder) {
		inner = b.Index("team/nested", "", false, b.Image("team/nested", "", ocitest.ImageOpts{}))
		b.Index("team/nested", "v1", false, inner)
	})
	far := ocitest.StartRegistry(t)
	c := client(t, near.Host, far.Host)
	b := export(t, c, inventory(t, plan(t, c, bundle.Request{Images: references(t, "quay.io/team/nested:v1")}), 0)).open(t)
	for _, want := range []string{bundle.StateImported, bundle.StatePresent, bundle.StateImported, bundle.StatePresent} {
		results, err := b.Import(t.Context(), c, bundle.ImportOptions{Placement: to(t, far.Host)})
		if err != nil || len(results) != 1 || results[0].State != want {
			t.Errorf("%+v, %v, want it to be %s", results, err, want)
		}
		newCrawler(far.Host).look(t)
		if want == bundle.StatePresent {
			far.Builder().DeleteManifest("team/nested", inner.Digest)
		}
	}
}

// TestMovedTag: what a tag led to before keeps one, for clusters may have pinned
// its digest and registries collect what has none; unless the registry refuses that,
// for it has lost some of it.
func TestMovedTag(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		damaged bool
		status  int // of the old image under its new tag, if the registry is not asked
		note    string
		fails   string
	}{
		"whole":   {},
		"damaged": {damaged: true, note: ", which a tag moves on from, gets no other: PUT "},
		"denied":  {status: http.StatusForbidden, fails: "keep what its tag named before: PUT "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			near := source(t, func(b *ocitest.Builder) { b.ZstdImage("team/app", "v1") })
			far := ocitest.StartRegistry(t)
			proxy := ocitest.Misbehave(t, far.Host, func(r *http.Request) *ocitest.Fault {
				if c.status == 0 || r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/manifests/at-") {
					return nil
				}
				return &ocitest.Fault{Status: c.status}
			})
			client, notes := client(t, near.Host, proxy.Host), ""
			carry := func() (digest.Digest, error) {
				content := plan(t, client, bundle.Request{Images: references(t, "quay.io/team/app:v1")})
				_, err := export(t, client, inventory(t, content, 0)).open(t).Import(t.Context(), client, bundle.ImportOptions{
					Placement: to(t, proxy.Host), Progress: func(e bundle.Event) { notes += e.Note },
				})
				return content.Images[0].Digest, err
			}
			old, err := carry()
			check(t, err)
			if c.damaged {
				far.Builder().DeleteBlob("team/app", digest.Digest(newCrawler(far.Host).blobsOf(t, "team/app", "v1")[0]))
			}
			near.Builder().ZeroLayerImage("team/app", "v1")
			now, err := carry()
			if (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("ended with %v", err)
			}
			if (notes == "") != (c.note == "") || !strings.Contains(notes, c.note) {
				t.Errorf("said %q", notes)
			}
			if c.fails != "" {
				now = old
			}
			want := map[string]digest.Digest{"v1": now}
			if !c.damaged && c.fails == "" {
				want["at-"+fallback(old)] = old
			}
			wantTagged(t, far, "team/app", want)
		})
	}
}

// wantTagged fails unless these are the tags of a repository, and where they lead.
func wantTagged(t *testing.T, far *ocitest.Registry, repo string, want map[string]digest.Digest) {
	t.Helper()
	b, got := far.Builder(), map[string]digest.Digest{}
	for _, tag := range b.Tags(repo) {
		_, raw := b.Manifest(repo, tag)
		got[tag] = digest.FromBytes(raw)
	}
	check(t, b.Err())
	if !maps.Equal(got, want) {
		t.Errorf("the tags of %s are %s, want %s", repo, got, want)
	}
	newCrawler(far.Host).look(t)
}

// TestTagMovedMeanwhile: what somebody else gave the tag during the import is kept
// as well, whether it came before the tag was written or after.
func TestTagMovedMeanwhile(t *testing.T) {
	t.Parallel()
	near := source(t, func(b *ocitest.Builder) { b.ZstdImage("team/app", "v1") })
	c := client(t, near.Host)
	m := export(t, c, inventory(t, plan(t, c, bundle.Request{Images: references(t, "quay.io/team/app:v1")}), 0))
	for name, when := range map[string]func(*http.Request) bool{
		"before": func(r *http.Request) bool {
			return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/")
		},
		"after": func(r *http.Request) bool {
			return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/manifests/v1")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var other digest.Digest
			var once sync.Once
			far := ocitest.StartRegistry(t)
			proxy := ocitest.Misbehave(t, far.Host, func(r *http.Request) *ocitest.Fault {
				if when(r) {
					once.Do(func() {
						b := far.Builder()
						other = b.Image("far/team/app", "v1", ocitest.ImageOpts{Labels: map[string]string{"from": "another"}}).Digest
						check(t, b.Err())
					})
				}
				return nil
			})
			_, err := importInto(t.Context(), t, m, proxy.Host, 0)
			check(t, err)
			wantTagged(t, far, "far/team/app", map[string]digest.Digest{"v1": m.inv.Content.Images[0].Digest, "at-" + fallback(other): other})
		})
	}
}

// TestTagLeftAlone: a tag that leads to its image is not written again, when
// another name of it, a child or a blob below it is brought.
func TestTagLeftAlone(t *testing.T) {
	t.Parallel()
	m, _ := interrupted(t)
	far := ocitest.StartRegistry(t)
	wantComplete(t, m, far.Host)
	b := far.Builder()
	_, raw := b.Manifest("far/team/nested", "v1")
	var index tree
	check(t, json.Unmarshal(raw, &index))
	_, raw = b.Manifest("far/team/app1", "v1")
	var app tree
	check(t, json.Unmarshal(raw, &app))
	b.DeleteManifest("far/team/nested", digest.Digest(index.Manifests[0].Digest))
	b.DeleteBlob("far/team/app1", digest.Digest(app.Layers[1].Digest))
	check(t, b.Err())
	proxy := ocitest.Misbehave(t, far.Host, nil)
	results, err := m.open(t).Import(t.Context(), client(t, proxy.Host, proxy.Host), bundle.ImportOptions{Placement: to(t, proxy.Host+"/far"), Force: true})
	for _, r := range results {
		want := bundle.StatePresent
		if strings.Contains(r.Reference, "nested") || strings.Contains(r.Reference, "app1") {
			want = bundle.StateImported
		}
		if err != nil || r.State != want {
			t.Errorf("%s: %s, %s, want %s: %v", r.Reference, r.State, r.Reason, want, err)
		}
	}
	for _, r := range proxy.Log() {
		if _, tag, is := strings.Cut(r.Path, "/manifests/"); is && r.Method == http.MethodPut && !strings.HasPrefix(tag, "sha256:") {
			t.Errorf("%s was written again", r.Path)
		}
	}
	if n := queried(proxy, http.MethodPut, "digest=", ocispec.Descriptor{Digest: digest.Digest(app.Layers[1].Digest)}); n != 1 {
		t.Errorf("the lost blob was uploaded %d times", n)
	}
	wantHeld(t, m, far.Host)
}

// TestEveryBlobBeforeATag: when a tag is written, each blob of its image was asked
// for in that repository, or came there, and found by this import; afterwards the tag is
// fetched.
func TestEveryBlobBeforeATag(t *testing.T) {
	t.Parallel()
	m, _ := interrupted(t)
	far := ocitest.StartRegistry(t)
	_, err := importInto(t.Context(), t, m, far.Host, 0) // the blobs are there, the tags are not
	check(t, err)
	b := far.Builder()
	for _, repo := range b.Repositories() {
		for _, tag := range b.Tags(repo) {
			_, raw := b.Manifest(repo, tag)
			b.DeleteManifest(repo, digest.FromBytes(raw))
		}
	}
	check(t, b.Err())
	proxy := ocitest.Misbehave(t, far.Host, nil)
	_, err = importInto(t.Context(), t, m, proxy.Host, 3)
	check(t, err)
	log, tags := proxy.Log(), 0
	at := func(from, to int, method, path string) bool {
		return slices.ContainsFunc(log[from:to], func(r ocitest.Request) bool { return r.Method == method && r.Path == path })
	}
	for i, r := range log {
		repo, tag, is := strings.Cut(strings.TrimPrefix(r.Path, "/v2/"), "/manifests/")
		if !is || r.Method != http.MethodPut || strings.HasPrefix(tag, "sha256:") {
			continue
		}
		tags++
		for _, blob := range newCrawler(far.Host).blobsOf(t, repo, tag) {
			if !at(0, i, http.MethodHead, "/v2/"+repo+"/blobs/"+blob) {
				t.Errorf("%s:%s was written before %s was asked for", repo, tag, blob)
			}
		}
		if !at(i, len(log), http.MethodGet, r.Path) {
			t.Errorf("%s:%s was never fetched", repo, tag)
		}
	}
	if tags < 8 {
		t.Errorf("%d tags were written", tags)
	}
}

// TestFinalProof: an import says to have brought only what the registry then
// serves. What it lost once is brought again; what it serves wrongly fails.
func TestFinalProof(t *testing.T) {
	t.Parallel()
	m, _ := interrupted(t)
	lost := &ocitest.Fault{Status: 404, Body: `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`}
	for name, c := range map[string]struct {
		fault *ocitest.Fault // of the tag; nil takes its last layer away instead
		times int64
		fails string
	}{
		"lost once":   {lost, 1, ""},
		"lost":        {lost, 1000, "prove that it is there: GET "},
		"other bytes": {&ocitest.Fault{Corrupt: true, At: 20}, 1000, "prove that it is there: "},
		"lost layer":  {nil, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			far, n := lenient(t), atomic.Int64{}
			proxy := ocitest.Misbehave(t, far, func(r *http.Request) *ocitest.Fault {
				const image, tag = "/v2/far/team/app1", "/manifests/v1"
				if r.Method != http.MethodGet || r.URL.Path != image+tag || n.Add(1) > c.times {
					return nil
				}
				if c.fault == nil {
					layers := newCrawler(far).blobsOf(t, "far/team/app1", "v1")
					remove(t, "http://"+far+image+"/blobs/"+layers[len(layers)-1])
				}
				return c.fault
			})
			results, err := importInto(t.Context(), t, m, proxy.Host, 4)
			if (err != nil) != (c.fails != "") {
				t.Errorf("ended with %v", err)
			}
			for _, r := range results {
				failed := c.fails != "" && strings.Contains(r.Reference, "app1")
				if (r.State == bundle.StateFailed) != failed || failed && !strings.Contains(r.Reason, c.fails) {
					t.Errorf("%s: %s, %s", r.Reference, r.State, r.Reason)
				}
			}
			newCrawler(far).look(t)
		})
	}
}

// remove deletes a blob from a registry.
func remove(t *testing.T, url string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, url, nil)
	check(t, err)
	resp, err := http.DefaultClient.Do(r)
	check(t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Errorf("DELETE %s: %s", url, resp.Status)
	}
}
