package bundle_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/bundle"
	"airlift/oci"
	"airlift/oci/ocitest"
)

// TestSharedBlobs: two layers that forty images in as many repositories share
// are fetched once, and uploaded once.
func TestSharedBlobs(t *testing.T) {
	t.Parallel()
	const images = 40
	var shared []ocispec.Descriptor
	var refs []string
	near := source(t, func(b *ocitest.Builder) {
		for i := range images {
			repo := fmt.Sprintf("team/app%02d", i)
			shared = []ocispec.Descriptor{b.RandomLayer(repo, "one", 2000), b.RandomLayer(repo, "two", 3000)}
			b.Image(repo, "v1", ocitest.ImageOpts{Layers: shared, Labels: map[string]string{"name": repo}})
			refs = append(refs, "quay.io/"+repo+":v1")
		}
	})
	in, out := ocitest.Misbehave(t, near.Host, nil), ocitest.Misbehave(t, ocitest.StartRegistry(t).Host, nil)
	c := client(t, in.Host, out.Host)
	m := export(t, c, inventory(t, plan(t, c, bundle.Request{Images: references(t, refs...)}), 0))
	results, err := m.open(t).Import(t.Context(), c, bundle.ImportOptions{Placement: to(t, out.Host)})
	check(t, err)
	if len(results) != images {
		t.Errorf("%d images were imported", len(results))
	}
	for _, layer := range shared {
		if n := in.Count(http.MethodGet, string(layer.Digest)); n != 1 {
			t.Errorf("%s was fetched %d times", layer.Digest, n)
		}
		if n := queried(out, http.MethodPut, "digest=", layer); n != 1 {
			t.Errorf("%s was uploaded %d times", layer.Digest, n)
		}
		if n := queried(out, http.MethodPost, "mount=", layer); n != images-1 {
			t.Errorf("%s was mounted %d times", layer.Digest, n)
		}
	}
	for _, name := range refs { // nothing is asked for twice when planning and exporting
		ref := references(t, name)[0]
		if n := in.Count(http.MethodGet, ref.Repository+"/manifests/v1"); n != 1 {
			t.Errorf("the manifest of %s was fetched %d times", name, n)
		}
	}
}

// TestSharedChildren: images that are pushed at once and have children in common
// do not come in each other's way. The registry writes a link in place, and
// refuses an index while that of a child is being written: no index is on its way
// while a child is.
func TestSharedChildren(t *testing.T) {
	t.Parallel()
	var refs []string
	near := source(t, func(b *ocitest.Builder) {
		var children []ocispec.Descriptor
		for _, arch := range []string{"amd64", "arm64"} {
			child := b.Image("team/app", "", ocitest.ImageOpts{Arch: arch})
			children = append(children, child)
			refs = append(refs, "quay.io/team/app@"+child.Digest.String())
		}
		for i := range 12 {
			tag := fmt.Sprint("v", i)
			children[0].Annotations = map[string]string{"for": tag}
			b.Index("team/app", tag, false, children...)
			b.Raw("team/app", "amd-"+tag, ocispec.MediaTypeImageManifest, manifestOf(b, children[0]))
			refs = append(refs, "quay.io/team/app:"+tag, "quay.io/team/app:amd-"+tag)
		}
	})
	var children, indexes, together atomic.Int64
	far := ocitest.Misbehave(t, ocitest.StartRegistry(t).Host, func(r *http.Request) *ocitest.Fault {
		_, name, is := strings.Cut(r.URL.Path, "/manifests/")
		if !is || r.Method != http.MethodPut {
			return nil
		}
		mine, others := &children, &indexes
		if strings.HasPrefix(name, "v") {
			mine, others = others, mine
		}
		mine.Add(1)
		defer mine.Add(-1)
		<-time.After(20 * time.Millisecond) // there is time to meet another
		together.Add(others.Load())
		return nil
	})
	c := client(t, near.Host, far.Host)
	b := export(t, c, inventory(t, plan(t, c, bundle.Request{Images: references(t, refs...)}), 0)).open(t)
	results, err := b.Import(t.Context(), c, bundle.ImportOptions{Placement: to(t, far.Host), Jobs: 16})
	if err != nil || len(results) != len(refs) || together.Load() > 0 {
		t.Errorf("%d of %d images, %d times a child beside an index: %v", len(results), len(refs), together.Load(), err)
	}
}

// TestBlobsSideBySide: blobs of an image are uploaded side by side, as many at once as
// there are jobs and no more for two images, from a medium and from a stream.
func TestBlobsSideBySide(t *testing.T) {
	t.Parallel()
	const most = 3
	near := source(t, func(b *ocitest.Builder) {
		for _, tag := range []string{"v1", "v2"} {
			var layers []ocispec.Descriptor
			for i := range 8 {
				layers = append(layers, b.RandomLayer("team/app", fmt.Sprint(tag, i), 2000))
			}
			b.Image("team/app", tag, ocitest.ImageOpts{Layers: layers})
		}
	})
	request := bundle.Request{Images: references(t, "quay.io/team/app:v1", "quay.io/team/app:v2")}
	c := client(t, near.Host)
	medium := export(t, c, inventory(t, plan(t, c, request), 0)).open(t)
	stream, m := streamOf(t, c, request, 0)
	passing, err := bundle.OpenStream(bytes.NewReader(stream), m.trust())
	check(t, err)
	for name, run := range map[string]func(context.Context, *oci.Client, bundle.ImportOptions) ([]bundle.ImageResult, error){
		"medium": medium.Import, "stream": passing.Import,
	} {
		var now, seen atomic.Int64
		met := make(chan struct{})
		far := ocitest.Misbehave(t, ocitest.StartRegistry(t).Host, func(r *http.Request) *ocitest.Fault {
			if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/blobs/") {
				return nil
			}
			n := now.Add(1)
			defer now.Add(-1)
			if before := seen.Load(); n > before && seen.CompareAndSwap(before, n) && n == most {
				close(met)
			}
			select {
			case <-met:
				<-time.After(20 * time.Millisecond) // there is time for one more
			case <-time.After(5 * time.Second):
			}
			return nil
		})
		_, err := run(t.Context(), client(t, far.Host), bundle.ImportOptions{Placement: to(t, far.Host), Jobs: most})
		if err != nil || seen.Load() != most {
			t.Errorf("%s: %d uploads at once, want %d: %v", name, seen.Load(), most, err)
		}
	}
}

// TestNodesSideBySide: of many images no more manifests and tags are asked for or written
// at once than there are jobs.
func TestNodesSideBySide(t *testing.T) {
	t.Parallel()
	const most = 4
	var names []string
	near := source(t, func(b *ocitest.Builder) {
		for i := range 2 * most * most {
			b.ZeroLayerImage("team/zero", fmt.Sprint("v", i))
			names = append(names, fmt.Sprint("quay.io/team/zero:v", i))
		}
	})
	c := client(t, near.Host)
	m := export(t, c, inventory(t, plan(t, c, bundle.Request{Images: references(t, names...)}), 0))
	var now, seen atomic.Int64
	far := ocitest.Misbehave(t, ocitest.StartRegistry(t).Host, func(r *http.Request) *ocitest.Fault {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return nil
		}
		n := now.Add(1)
		defer now.Add(-1)
		for before := seen.Load(); n > before && !seen.CompareAndSwap(before, n); before = seen.Load() {
		}
		time.Sleep(20 * time.Millisecond) // others meet it
		return nil
	})
	_, err := m.open(t).Import(t.Context(), client(t, far.Host), bundle.ImportOptions{Placement: to(t, far.Host), Jobs: most})
	if err != nil || seen.Load() != most {
		t.Errorf("%d at once, want %d: %v", seen.Load(), most, err)
	}
}

// TestImagesComeOneByOne: of many images the first ones are all there long before the
// last ones are, though the blobs of all of them wait for their turns.
func TestImagesComeOneByOne(t *testing.T) {
	t.Parallel()
	const images, layers, jobs = 16, 8, 4 // as many images as are begun at once
	var names []string
	near := source(t, func(b *ocitest.Builder) {
		for i := range images {
			o := ocitest.ImageOpts{}
			for j := range layers {
				o.Layers = append(o.Layers, b.RandomLayer("team/app", fmt.Sprint(i, j), 500))
			}
			tag := fmt.Sprint("v", i)
			b.Image("team/app", tag, o)
			names = append(names, "quay.io/team/app:"+tag)
		}
	})
	far := ocitest.Misbehave(t, ocitest.StartRegistry(t).Host, func(*http.Request) *ocitest.Fault {
		return &ocitest.Fault{Delay: time.Millisecond} // there is time to wait in
	})
	c := client(t, near.Host, far.Host)
	m := export(t, c, inventory(t, plan(t, c, bundle.Request{Images: references(t, names...)}), 0))
	_, err := m.open(t).Import(t.Context(), c, bundle.ImportOptions{Placement: to(t, far.Host), Jobs: jobs})
	check(t, err)
	blobs, tags := 0, 0
	for _, r := range far.Log() {
		switch {
		case r.Method != http.MethodPut:
		case strings.Contains(r.Path, "/manifests/"):
			tags++
		case tags < images/2:
			blobs++
		}
	}
	if all := images * (layers + 1); blobs > all*3/4 {
		t.Errorf("half of the images were there after %d of %d blobs", blobs, all)
	}
}

// TestSharedBlobHoldsNoJob: while images wait for a layer that they share, as all of a
// release do for its base, the layers of others are brought.
func TestSharedBlobHoldsNoJob(t *testing.T) {
	t.Parallel()
	const jobs, sharing = 4, 15 // but for one as many as are begun at once
	var shared ocispec.Descriptor
	var others []ocispec.Descriptor
	names := []string{"quay.io/team/c:v1"}
	near := source(t, func(b *ocitest.Builder) {
		for i := range sharing {
			repo := fmt.Sprint("team/a", i)
			shared = b.RandomLayer(repo, "shared", 2000)
			b.Image(repo, "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{shared}, Labels: map[string]string{"name": repo}})
			names = append(names, "quay.io/"+repo+":v1")
		}
		for i := range 8 {
			others = append(others, b.RandomLayer("team/c", fmt.Sprint(i), 2000))
		}
		b.Image("team/c", "v1", ocitest.ImageOpts{Layers: others})
	})
	came, allCame := atomic.Int64{}, make(chan struct{})
	far := ocitest.Misbehave(t, ocitest.StartRegistry(t).Host, func(r *http.Request) *ocitest.Fault {
		if r.Method != http.MethodPut {
			return nil
		}
		d := r.URL.Query().Get("digest")
		switch {
		case slices.ContainsFunc(others, func(o ocispec.Descriptor) bool { return string(o.Digest) == d }):
			if came.Add(1) == int64(len(others)) {
				close(allCame)
			}
		case d == string(shared.Digest):
			select {
			case <-allCame:
			case <-time.After(5 * time.Second):
				t.Error("the other layers wait, too")
			}
		}
		return nil
	})
	c := client(t, near.Host, far.Host)
	m := export(t, c, inventory(t, plan(t, c, bundle.Request{Images: references(t, names...)}), 0))
	_, err := m.open(t).Import(t.Context(), c, bundle.ImportOptions{Placement: to(t, far.Host), Jobs: jobs})
	check(t, err)
}

// TestBlobGoesOn: a layer on its way is not given up when another of its image fails:
// images that share it may wait for it.
func TestBlobGoesOn(t *testing.T) {
	t.Parallel()
	var good, bad ocispec.Descriptor
	near := source(t, func(b *ocitest.Builder) {
		good, bad = b.RandomLayer("team/app", "good", 2000), b.RandomLayer("team/app", "bad", 2000)
		b.Image("team/app", "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{good, bad}})
	})
	began, refused := make(chan struct{}), make(chan struct{})
	begin, refuse := sync.OnceFunc(func() { close(began) }), sync.OnceFunc(func() { close(refused) })
	far := ocitest.Misbehave(t, ocitest.StartRegistry(t).Host, func(r *http.Request) *ocitest.Fault {
		if r.Method != http.MethodPut {
			return nil
		}
		switch r.URL.Query().Get("digest") {
		case string(bad.Digest):
			<-began
			refuse()
			return &ocitest.Fault{Status: http.StatusForbidden}
		case string(good.Digest):
			begin()
			<-refused
			<-time.After(100 * time.Millisecond) // there is time to give it up
		}
		return nil
	})
	c := client(t, near.Host, far.Host)
	m := export(t, c, inventory(t, plan(t, c, bundle.Request{Images: references(t, "quay.io/team/app:v1")}), 0))
	results, err := m.open(t).Import(t.Context(), c, bundle.ImportOptions{Placement: to(t, far.Host)})
	if err == nil || len(results) != 1 || results[0].State != bundle.StateFailed {
		t.Errorf("%+v, %v", results, err)
	}
	if there, err := c.HasBlob(t.Context(), references(t, far.Host+"/team/app:v1")[0], good); err != nil || !there {
		t.Errorf("the other layer is there: %v, %v", there, err)
	}
}

// TestBlobIsNotBegun: a layer that an image waits for is not begun for it when another of
// its layers has failed meanwhile.
func TestBlobIsNotBegun(t *testing.T) {
	t.Parallel()
	var bad, shared ocispec.Descriptor
	near := source(t, func(b *ocitest.Builder) {
		shared = b.RandomLayer("team/a", "shared", 2000)
		b.Image("team/a", "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{shared}})
		bad, shared = b.RandomLayer("team/b", "bad", 2000), b.RandomLayer("team/b", "shared", 2000)
		b.Image("team/b", "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{b.RandomLayer("team/b", "1", 2000), b.RandomLayer("team/b", "2", 2000), bad, shared}})
	})
	began, refused := make(chan struct{}), make(chan struct{})
	begin, refuse := sync.OnceFunc(func() { close(began) }), sync.OnceFunc(func() { close(refused) })
	far := ocitest.Misbehave(t, ocitest.StartRegistry(t).Host, func(r *http.Request) *ocitest.Fault {
		if r.Method != http.MethodPut {
			return nil
		}
		switch r.URL.Query().Get("digest") {
		case string(bad.Digest):
			<-began
			<-time.After(100 * time.Millisecond) // there is time to wait for the shared layer
			refuse()
			return &ocitest.Fault{Status: http.StatusForbidden}
		case string(shared.Digest):
			begin()
			<-refused
			<-time.After(100 * time.Millisecond) // there is time for that to be known
			return &ocitest.Fault{Status: http.StatusForbidden}
		}
		return nil
	})
	c := client(t, near.Host, far.Host)
	m := export(t, c, inventory(t, plan(t, c, bundle.Request{Images: references(t, "quay.io/team/a:v1", "quay.io/team/b:v1")}), 0))
	_, err := m.open(t).Import(t.Context(), c, bundle.ImportOptions{Placement: to(t, far.Host), Jobs: 3})
	if n := far.Count(http.MethodHead, "/team/b/blobs/"+string(shared.Digest)); err == nil || n > 0 {
		t.Errorf("it was asked for %d times: %v", n, err)
	}
}

func manifestOf(b *ocitest.Builder, d ocispec.Descriptor) []byte {
	_, raw := b.Manifest("team/app", d.Digest.String())
	return raw
}

// queried counts requests whose query has a blob's digest.
func queried(p *ocitest.Proxy, method, key string, d ocispec.Descriptor) int {
	n := 0
	for _, r := range p.Log() {
		if query := strings.ReplaceAll(r.Query, "%3A", ":"); r.Method == method && strings.Contains(query, key+string(d.Digest)) {
			n++
		}
	}
	return n
}
