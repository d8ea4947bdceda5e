package bundle_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/bundle"
	"airlift/oci"
	"airlift/oci/ocitest"
)

// shelved is a bundle that is served.
type shelved struct {
	*bundle.Served
	host string

	mu    sync.Mutex
	notes []string // what was said of the media
}

func serve(t *testing.T, b *bundle.Bundle, p bundle.Placement) *shelved {
	t.Helper()
	s := &shelved{}
	served, err := b.Serve(bundle.ServeOptions{Placement: p, Partial: true, Progress: func(e bundle.Event) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.notes = append(s.notes, e.Note)
	}})
	check(t, err)
	server := httptest.NewServer(served)
	t.Cleanup(func() {
		server.Close()
		check(t, served.Close())
	})
	s.Served, s.host = served, server.Listener.Addr().String()
	return s
}

// said are the notes since it was asked last.
func (s *shelved) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := strings.Join(s.notes, "\n")
	s.notes = nil
	return text
}

// inMemory is a source in memory, and what fetches from it.
func inMemory(t *testing.T) (*ocitest.Builder, *oci.Client) {
	t.Helper()
	host, stop, err := ocitest.Embedded()
	check(t, err)
	t.Cleanup(stop)
	return ocitest.NewBuilder(host), client(t, host)
}

// reply is an answer; err is that of reading its body.
type reply struct {
	status int
	header http.Header
	body   string
	err    error
}

// ask asks a registry; headers are "Name: value".
func ask(t *testing.T, method, host, path string, headers ...string) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+host+"/v2/"+path, nil)
	check(t, err)
	for _, h := range headers {
		if name, value, is := strings.Cut(h, ": "); is {
			r.Header.Set(name, value)
		}
	}
	resp, err := http.DefaultClient.Do(r)
	check(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(body), err}
}

// want fails unless the answer has a status and all texts in its body.
func (r reply) want(t *testing.T, status int, texts ...string) {
	t.Helper()
	if r.status != status || r.err != nil {
		t.Errorf("answered %d, %v, want %d: %.300s", r.status, r.err, status, r.body)
	}
	for _, text := range texts {
		if !strings.Contains(r.body, text) {
			t.Errorf("the answer does not say %q: %.300s", text, r.body)
		}
	}
}

// holdings are all names of a registry with their digests.
func holdings(t *testing.T, host string) map[string]digest.Digest {
	t.Helper()
	b, all := ocitest.NewBuilder(host), map[string]digest.Digest{}
	for _, repo := range b.Repositories() {
		for _, tag := range b.Tags(repo) {
			_, raw := b.Manifest(repo, tag)
			all[repo+":"+tag] = digest.FromBytes(raw)
		}
	}
	check(t, b.Err())
	return all
}

// TestServedIsImported: what is served has the names and digests that an import
// gives, all of it is there, and exporting it again gives the same bundle.
func TestServedIsImported(t *testing.T) {
	t.Parallel()
	b, c := inMemory(t)
	shapes := everyShape(b)
	release := b.Release(ocitest.ReleaseOpts{Components: []string{"cli", "etcd"}, Signatures: true})
	check(t, b.Err())
	request := bundle.Request{Releases: references(t, release.Reference), Images: references(t, shapes...)}
	m := export(t, c, inventory(t, plan(t, c, request), 0))
	for name, change := range map[string]func(*bundle.Placement){
		"default": func(*bundle.Placement) {},
		"keep host, map": func(p *bundle.Placement) {
			p.KeepSourceHost, p.Maps = true, []bundle.Mapping{{Source: "quay.io/shapes", Dest: "a/manifests"}, {Source: "quay.io/openshift-release-dev", Dest: "a/tags/list"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			far := ocitest.StartRegistry(t)
			p := to(t, far.Host)
			change(&p)
			_, err := m.open(t).Import(t.Context(), client(t, far.Host, far.Host), bundle.ImportOptions{Placement: p})
			check(t, err)
			s := serve(t, m.open(t), p)
			if diff := gocmp.Diff(holdings(t, far.Host), holdings(t, s.host)); diff != "" {
				t.Error("imported and served:", diff)
			}
			newCrawler(s.host).look(t)
			check(t, s.Verdict())
		})
	}
	again := serve(t, m.open(t), to(t, "registry.example"))
	request.Images = request.Images[:len(shapes)-1] // referrers are found in another way where there is an API for them
	if diff := gocmp.Diff(plan(t, c, request), plan(t, client(t, again.host), request), gocmp.AllowUnexported(bundle.Content{})); diff != "" {
		t.Error("planned from the source and from what is served:", diff)
	}
}

// large is a bundle of an image with a layer of 3 MB and one of 3 KB, and where the
// contents of both begin in the archive.
func large(t *testing.T, volumeSize int64) (m medium, c *oci.Client, layers [2]ocispec.Descriptor, at [2]int64) {
	t.Helper()
	b, c := inMemory(t)
	layers = [2]ocispec.Descriptor{b.RandomLayer("team/app", "large", 3_000_000), b.RandomLayer("team/app", "small", 3000)}
	b.Image("team/app", "v1", ocitest.ImageOpts{Layers: layers[:]})
	b.Image("team/lone", "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{b.RandomLayer("team/lone", "lone", 1_500_000)}})
	check(t, b.Err())
	m = export(t, c, inventory(t, plan(t, c, bundle.Request{Images: references(t, "quay.io/team/app:v1", "quay.io/team/lone:v1")}), volumeSize))
	for i, layer := range layers {
		e, _ := m.open(t).Layout.Find(layer.Digest)
		at[i] = e.Offset + 512
	}
	return m, c, layers, at
}

// TestServedDamage: no answer with wrong bytes is ever complete, what is wrong is said
// with its place, and it is known from then on.
func TestServedDamage(t *testing.T) {
	t.Parallel()
	m, _, layers, at := large(t, 0)
	const repo = "team/app/blobs/"
	for i, layer := range layers {
		for _, byteAt := range []int64{0, layer.Size / 2, layer.Size - 1} {
			for _, part := range []string{"", "Range: bytes=10-19"} {
				spoilt := m.copied(t)
				flip(t, spoilt.path(bundle.VolumeFile), at[i]+byteAt)
				s := serve(t, spoilt.open(t), to(t, "registry.example"))
				ask(t, http.MethodHead, s.host, repo+string(layer.Digest)).want(t, http.StatusOK)
				where := fmt.Sprintf("%s: blob at byte %d, %d bytes: the contents have another digest (%s)", spoilt.path(bundle.VolumeFile), at[i], layer.Size, layer.Digest)
				first := ask(t, http.MethodGet, s.host, repo+string(layer.Digest), part)
				if i == 0 && part == "" {
					if !errors.Is(first.err, io.ErrUnexpectedEOF) || len(first.body) >= int(layer.Size) {
						t.Errorf("byte %d: %d bytes, %v", byteAt, len(first.body), first.err)
					}
				} else {
					first.want(t, http.StatusInternalServerError, `"code":"UNKNOWN"`, where)
				}
				if said := s.said(); said != where {
					t.Errorf("said %q", said)
				}
				for _, method := range []string{http.MethodGet, http.MethodHead} {
					again := ask(t, method, s.host, repo+string(layer.Digest))
					again.want(t, http.StatusInternalServerError)
					if again.header.Get("Docker-Content-Digest") != "" {
						t.Error("the error has the digest of the blob")
					}
				}
				if said := s.said(); said != "" {
					t.Errorf("it was said again: %s", said)
				}
				wantError(t, s.Verdict(), bundle.ErrDamaged, where)
				ask(t, http.MethodGet, s.host, repo+string(layers[1-i].Digest)).want(t, http.StatusOK)
			}
		}
	}
}

// TestServedNodesAreRight: damage of a manifest is found before anything is served.
func TestServedNodesAreRight(t *testing.T) {
	t.Parallel()
	m, _, _, _ := large(t, 0)
	e, _ := m.open(t).Layout.Find(m.inv.Content.Nodes[0].Digest)
	flip(t, m.path(bundle.VolumeFile), e.Offset+512)
	_, err := m.open(t).Serve(bundle.ServeOptions{Placement: to(t, "registry.example")})
	wantError(t, err, bundle.ErrDamaged, string(e.Digest))
}

// TestServedRanges: parts of a blob on one volume or cut over several, sent before
// and after all of it was; and what HTTP has of conditions.
func TestServedRanges(t *testing.T) {
	t.Parallel()
	for name, volumeSize := range map[string]int64{"one volume": 0, "cut": 1 << 20} {
		m, _, layers, _ := large(t, volumeSize)
		if n := len(m.inv.Storage.Volumes); (n > 3) != (name == "cut") {
			t.Fatalf("%d volumes", n)
		}
		layer := layers[0]
		path := "team/app/blobs/" + string(layer.Digest)
		whole := ask(t, http.MethodGet, serve(t, m.open(t), to(t, "registry.example")).host, path)
		whole.want(t, http.StatusOK)
		if digest.FromString(whole.body) != layer.Digest {
			t.Fatalf("%s: other bytes", name)
		}
		size := layer.Size
		s := serve(t, m.open(t), to(t, "registry.example"))
		for _, r := range [][2]int64{{0, 0}, {0, size - 1}, {1<<20 - 600, 1<<20 + 600}, {5, 2_500_000}, {size - 1, size - 1}, {2_000_000, size - 1}} {
			got := ask(t, http.MethodGet, s.host, path, fmt.Sprintf("Range: bytes=%d-%d", r[0], r[1]))
			got.want(t, http.StatusPartialContent)
			if got.body != whole.body[r[0]:r[1]+1] || got.header.Get("Content-Range") != fmt.Sprintf("bytes %d-%d/%d", r[0], r[1], size) {
				t.Errorf("%s, %v: %d other bytes, %s", name, r, len(got.body), got.header.Get("Content-Range"))
			}
		}
		again := ask(t, http.MethodGet, s.host, path)
		if again.want(t, http.StatusOK); again.body != whole.body {
			t.Errorf("%s: other bytes, sent from the file", name)
		}
		several := ask(t, http.MethodGet, s.host, path, "Range: bytes=0-9,1000000-1100000")
		several.want(t, http.StatusPartialContent, whole.body[:10], whole.body[1000000:1100001])
		ask(t, http.MethodGet, s.host, path, fmt.Sprintf("Range: bytes=%d-", size)).want(t, http.StatusRequestedRangeNotSatisfiable)
		ask(t, http.MethodGet, s.host, path, `If-None-Match: "`+string(layer.Digest)+`"`).want(t, http.StatusNotModified)
		check(t, s.Verdict())
	}
}

// TestServedVolumes: of what is on volumes that were not given it is said which one
// has it; the rest is served.
func TestServedVolumes(t *testing.T) {
	t.Parallel()
	m, c, layers, _ := large(t, 3_100_000)
	media := parted(t, c, m, 2, 3)
	_, err := openAt(t, m, media[1]).Serve(bundle.ServeOptions{Placement: to(t, "registry.example")})
	check(t, err) // it has a copy of the first volume
	s := serve(t, openAt(t, m, media[1]), to(t, "registry.example"))
	const absent = "is on bundle.tar.002, which was not given"
	ask(t, http.MethodGet, s.host, "team/app/manifests/v1").want(t, http.StatusNotFound, "MANIFEST_UNKNOWN", absent)
	ask(t, http.MethodGet, s.host, "team/app/blobs/"+string(layers[0].Digest)).want(t, http.StatusNotFound, "BLOB_UNKNOWN", absent)
	ask(t, http.MethodGet, s.host, "team/lone/manifests/v1").want(t, http.StatusOK)
	ask(t, http.MethodGet, s.host, "team/app/tags/list").want(t, http.StatusNotFound, "NAME_UNKNOWN")
	newCrawler(s.host).look(t)
	wantError(t, s.Verdict(), bundle.ErrAbsent, "bundle.tar.002")
	whole := serve(t, openAt(t, m, media...), to(t, "registry.example"))
	ask(t, http.MethodGet, whole.host, "team/app/manifests/v1").want(t, http.StatusOK)
	check(t, whole.Verdict())

	check(t, os.Remove(filepath.Join(media[1], "bundle.tar.001")))
	_, err = openAt(t, m, media[1]).Serve(bundle.ServeOptions{Placement: to(t, "registry.example")})
	wantError(t, err, bundle.ErrAbsent, "bundle.tar.001")
}

// TestServedRelease: a release of which something is on another medium, or in the base
// of an increment, is refused with the names of both; with leave its parts are served,
// and it is said what it lacks. What lacks nothing is served as ever.
func TestServedRelease(t *testing.T) {
	t.Parallel()
	for _, multi := range []bool{false, true} {
		b, c := inMemory(t)
		release := b.Release(ocitest.ReleaseOpts{Components: []string{"cli", "etcd"}, Multi: multi, LayerSize: 300_000})
		check(t, b.Err())
		request := bundle.Request{Releases: references(t, release.Reference)}
		m := export(t, c, inventory(t, plan(t, c, request), 400_000))
		volumes := m.inv.Storage.Volumes
		media := parted(t, c, m, 2, len(volumes))
		last := volumes[len(volumes)-1].Name
		_, err := openAt(t, m, media[0]).Serve(bundle.ServeOptions{Placement: to(t, "registry.example")})
		wantError(t, err, bundle.ErrPartialRelease, "release 4.17.3 (", ") lacks ", " of its 4 images: ", "volumes absent, still to come: "+last)
		wantError(t, err, bundle.ErrAbsent)
		s := serve(t, openAt(t, m, media[0]), to(t, "registry.example"))
		lacking := 0
		for _, r := range s.Images() {
			if r.Reason == "" {
				continue
			}
			lacking++
			if strings.Contains(r.Reference, "ocp-release") && !strings.Contains(r.Reason, " of its 4 images: ") && !strings.Contains(r.Reason, last) {
				t.Errorf("multi %t: %+v", multi, r)
			}
		}
		if lacking < 2 { // the release, and what it lacks
			t.Errorf("multi %t: %+v", multi, s.Images())
		}
		if !multi { // a list is served with what is there of it
			newCrawler(s.host).look(t)
		}
		whole, err := openAt(t, m, media...).Serve(bundle.ServeOptions{Placement: to(t, "registry.example")})
		check(t, err)
		check(t, whole.Verdict())
		check(t, whole.Close())
	}
	b, c := inMemory(t)
	one := b.Release(ocitest.ReleaseOpts{Components: []string{"cli", "etcd"}, Unchanged: []string{"etcd"}})
	two := b.Release(ocitest.ReleaseOpts{Version: "4.17.4", Components: []string{"cli", "etcd"}, Unchanged: []string{"etcd"}})
	check(t, b.Err())
	base := increment(t, c, bundle.Request{Releases: references(t, one.Reference)}, 1, 0)
	next := increment(t, c, bundle.Request{Releases: references(t, two.Reference)}, 2, 0, base.since(t))
	_, err := next.open(t).Serve(bundle.ServeOptions{Placement: to(t, "registry.example")})
	wantError(t, err, bundle.ErrPartialRelease, "release 4.17.4 (x86_64) lacks ", string(base.inv.ContentID()))
	wantError(t, err, bundle.ErrLeftOut)
}

// TestServedIncrement: what an increment leaves out is not there, with the name of the
// base; what it has is.
func TestServedIncrement(t *testing.T) {
	t.Parallel()
	b, c := inMemory(t)
	layer := b.RandomLayer("team/app", "old", 3000)
	b.Image("team/app", "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{layer}})
	b.Image("team/app", "v2", ocitest.ImageOpts{Layers: []ocispec.Descriptor{layer, b.RandomLayer("team/app", "new", 3000)}})
	b.Image("team/lone", "v1", ocitest.ImageOpts{Comment: "all of it is new"})
	check(t, b.Err())
	one := increment(t, c, bundle.Request{Images: references(t, "quay.io/team/app:v1")}, 1, 0)
	two := increment(t, c, bundle.Request{Images: references(t, "quay.io/team/app:v2", "quay.io/team/lone:v1")}, 2, 0, one.since(t))
	s := serve(t, two.open(t), to(t, "registry.example"))
	base := string(one.inv.ContentID())
	ask(t, http.MethodGet, s.host, "team/app/manifests/v2").want(t, http.StatusNotFound, "MANIFEST_UNKNOWN", base)
	ask(t, http.MethodGet, s.host, "team/app/blobs/"+string(layer.Digest)).want(t, http.StatusNotFound, "BLOB_UNKNOWN", base)
	ask(t, http.MethodGet, s.host, "team/lone/manifests/v1").want(t, http.StatusOK)
	newCrawler(s.host).look(t)
	wantError(t, s.Verdict(), bundle.ErrAbsent, base)
}

// TestServedCopies: configs are on every medium, and one of them is enough.
func TestServedCopies(t *testing.T) {
	t.Parallel()
	m, c, _, _ := large(t, 3_100_000)
	media := parted(t, c, m, 2, 3)
	config := m.inv.Content.Nodes[0].Config
	e, _ := m.open(t).Layout.Find(config)
	flip(t, filepath.Join(media[0], "bundle.tar.001"), e.Offset+512)
	s := serve(t, openAt(t, m, media...), to(t, "registry.example"))
	for range 2 {
		for _, name := range []string{"app", "lone"} {
			got := ask(t, http.MethodGet, s.host, "team/"+name+"/blobs/"+string(config))
			if got.status == http.StatusOK && digest.FromString(got.body) != config {
				t.Error("the damaged copy was served")
			}
		}
	}
	newCrawler(s.host).look(t)
	check(t, s.Verdict())
}

// TestServedLossy: what was missing at the source, or is not carried of a list, is
// answered so, and the rest of the list is there.
func TestServedLossy(t *testing.T) {
	t.Parallel()
	l := newLossy(t)
	c := client(t, l.host)
	m := export(t, c, inventory(t, plan(t, c, l.request(t)), 0))
	s := serve(t, m.open(t), to(t, "registry.example"))
	ask(t, http.MethodGet, s.host, "team/none/manifests/v1").want(t, http.StatusNotFound, "MANIFEST_UNKNOWN", "missing at the source: quay.io/team/none:v1 (the registry answered 404)")
	ask(t, http.MethodGet, s.host, "team/hollow/manifests/v1").want(t, http.StatusNotFound, "missing at the source: ")
	ask(t, http.MethodGet, s.host, "team/list/manifests/v1").want(t, http.StatusOK)
	ask(t, http.MethodGet, s.host, "team/list/manifests/"+string(l.amd["team/list"])).want(t, http.StatusOK)
	for _, child := range l.absent {
		name, d, _ := strings.Cut(child, "@")
		ask(t, http.MethodGet, s.host, strings.TrimPrefix(name, "quay.io/")+"/manifests/"+d).want(t, http.StatusNotFound, "MANIFEST_UNKNOWN", "missing at the source")
	}
	ask(t, http.MethodGet, s.host, "_catalog").want(t, http.StatusOK, `["team/deep","team/list","team/nest","team/other","team/pin","team/whole"]`)
	wantError(t, s.Verdict(), bundle.ErrMissing)
	var states []string
	for _, r := range s.Images() {
		states = append(states, r.Reference[len("quay.io/team/"):]+" "+r.State)
		if partial := !strings.Contains(r.Reference, "whole"); partial != (r.Reason != "") {
			t.Errorf("%s: %q", r.Reference, r.Reason)
		}
	}
	if n := slices.Index(states, "none:v1 skipped"); n < 0 || !slices.Contains(states, "list:v1 planned") {
		t.Error(states)
	}

	b, c := inMemory(t)
	var all []ocispec.Descriptor
	for _, arch := range []string{"amd64", "arm64", "s390x"} {
		all = append(all, b.Image("team/three", "", ocitest.ImageOpts{Arch: arch}))
	}
	b.Index("team/three", "v1", false, all...)
	check(t, b.Err())
	narrow := plan(t, c, bundle.Request{Images: references(t, "quay.io/team/three:v1"), Platforms: platforms(t, "linux/s390x", "linux/amd64")})
	n := serve(t, export(t, c, inventory(t, narrow, 0)).open(t), to(t, "registry.example"))
	newCrawler(n.host).lookFor(t, narrow)
	ask(t, http.MethodGet, n.host, "team/three/manifests/"+string(narrow.Sparse()[0].LeftOut[0])).want(t, http.StatusNotFound, "left out for its platform")
	check(t, n.Verdict())
}

// TestServedMediumGone: what happens to the medium meanwhile ends answers, never the
// program, and never lets other bytes through.
func TestServedMediumGone(t *testing.T) {
	t.Parallel()
	whole, _, layers, at := large(t, 0)
	path := "team/app/blobs/" + string(layers[0].Digest)
	for name, test := range map[string]struct {
		happens func(t *testing.T, volume string)
		problem string
	}{
		"pulled": {func(t *testing.T, volume string) { check(t, os.Rename(volume, volume+".gone")) }, "no such file"},
		"cut":    {func(t *testing.T, volume string) { check(t, os.Truncate(volume, at[0]+1_000_000)) }, "was changed or exchanged"},
		"exchanged": {func(t *testing.T, volume string) {
			data := readFile(t, volume)
			check(t, os.Remove(volume))
			writeFile(t, volume, data)
		}, "was changed or exchanged"},
		"written to": {func(t *testing.T, volume string) { flip(t, volume, at[0]+5) }, "was changed or exchanged"},
	} {
		t.Run(name, func(t *testing.T) {
			m := whole.copied(t)
			s := serve(t, m.open(t), to(t, "registry.example"))
			ask(t, http.MethodGet, s.host, path).want(t, http.StatusOK)
			test.happens(t, m.path(bundle.VolumeFile))
			for range 2 {
				ask(t, http.MethodGet, s.host, path).want(t, http.StatusInternalServerError, "bundle.tar: blob at byte ", test.problem)
				if said := s.said(); !strings.Contains(said, "bundle.tar: blob at byte ") || !strings.Contains(said, test.problem) {
					t.Errorf("said %q", said)
				}
			}
			ask(t, http.MethodGet, s.host, "team/app/manifests/v1").want(t, http.StatusOK)
			wantError(t, s.Verdict(), bundle.ErrDamaged, string(layers[0].Digest))
		})
	}
}

// TestServedMediumEnds while a blob is on its way: what came is not all of it, and
// does not look so.
func TestServedMediumEnds(t *testing.T) {
	t.Parallel()
	b, c := inMemory(t)
	layer := b.RandomLayer("team/app", "huge", 20_000_000) // no buffer between two programs holds as much
	b.Image("team/app", "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{layer}})
	check(t, b.Err())
	whole := export(t, c, inventory(t, plan(t, c, bundle.Request{Images: references(t, "quay.io/team/app:v1")}), 0))
	for _, before := range []int{0, 1} { // it was asked for before: hashed while it is sent, and sent from the file
		m := whole.copied(t)
		s := serve(t, m.open(t), to(t, "registry.example"))
		url := "http://" + s.host + "/v2/team/app/blobs/" + string(layer.Digest)
		for range before {
			ask(t, http.MethodGet, s.host, "team/app/blobs/"+string(layer.Digest)).want(t, http.StatusOK)
		}
		resp, err := http.Get(url)
		check(t, err)
		_, err = io.ReadFull(resp.Body, make([]byte, 1000))
		check(t, err)
		check(t, os.Truncate(m.path(bundle.VolumeFile), 19_990_000))
		n, err := io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if !errors.Is(err, io.ErrUnexpectedEOF) || 1000+n >= layer.Size {
			t.Errorf("%d bytes came, %v", 1000+n, err)
		}
		wantError(t, s.Verdict(), bundle.ErrDamaged, string(layer.Digest))
		if said := s.said(); !strings.Contains(said, "bundle.tar: blob at byte ") {
			t.Errorf("said %q", said)
		}
	}
}
