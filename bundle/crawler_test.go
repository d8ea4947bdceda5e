package bundle_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/bundle"
	"airlift/oci/ocitest"
)

// crawler follows every tag of a registry to the last blob. It speaks HTTP by
// itself: nothing of what is under test is in it.
type crawler struct {
	host   string
	absent map[string]bool // children that indexes may lack that the registry took so

	mu    sync.Mutex
	whole map[string]bool // repository@digest that was complete once
	tags  int             // that were followed, each time

	nudged chan struct{} // there may be something new
}

func newCrawler(host string) *crawler {
	return &crawler{host: host, whole: map[string]bool{}, nudged: make(chan struct{}, 1)}
}

// crawl gives what tags need and the registry does not have.
func (c *crawler) crawl() (faults []string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var catalog struct{ Repositories []string }
	if err := c.list("_catalog?n=1000", &catalog); err != nil {
		return nil, err
	}
	for _, repo := range catalog.Repositories {
		var list struct{ Tags []string }
		if err := c.list(repo+"/tags/list", &list); err != nil {
			return nil, err
		}
		for _, tag := range list.Tags {
			c.tags++
			found, err := c.tag(repo, tag)
			if err != nil {
				return nil, err
			}
			for _, fault := range found {
				faults = append(faults, fmt.Sprintf("%s:%s: %s", repo, tag, fault))
			}
		}
	}
	return faults, nil
}

// patience is how long a registry may take for a write that a reader sees halfway.
const patience = 10 * time.Second

// tag follows a tag. A registry may list it a moment before it leads anywhere.
func (c *crawler) tag(repo, tag string) (faults []string, err error) {
	for end := time.Now().Add(patience); time.Now().Before(end); {
		faults, err = c.follow(repo, tag)
		if err != nil || len(faults) == 0 || !strings.HasPrefix(faults[0], "manifest "+tag+":") {
			break
		}
	}
	return faults, err
}

// follow gives what is not there of a node and all below it.
func (c *crawler) follow(repo, ref string) (faults []string, err error) {
	got, err := c.get(http.MethodGet, repo+"/manifests/"+ref)
	switch {
	case err != nil:
		return nil, err
	case got.status != http.StatusOK:
		return []string{fmt.Sprintf("manifest %s: %d", ref, got.status)}, nil
	case c.whole[repo+"@"+got.digest]:
		return nil, nil
	}
	var n tree
	if err := json.Unmarshal(got.body, &n); err != nil {
		return nil, err
	}
	for _, child := range n.Manifests {
		below, err := c.follow(repo, child.Digest)
		if err != nil {
			return nil, err
		}
		if c.absent[child.Digest] {
			continue // of one that is there all is asked for where it is known by itself
		}
		faults = append(faults, below...)
	}
	for _, blob := range n.blobs() {
		got, err := c.get(http.MethodHead, repo+"/blobs/"+blob.Digest)
		if err != nil {
			return nil, err
		}
		if got.status != http.StatusOK || got.length != blob.Size {
			faults = append(faults, fmt.Sprintf("blob %s: %d, %d bytes of %d", blob.Digest, got.status, got.length, blob.Size))
		}
	}
	c.whole[repo+"@"+got.digest] = len(faults) == 0
	return faults, nil
}

func (c *crawler) list(path string, into any) error {
	got, err := c.get(http.MethodGet, path)
	if err != nil || got.status == http.StatusNotFound { // a repository without tags
		return err
	}
	return json.Unmarshal(got.body, into)
}

// get asks again for what the registry cannot say while it writes: it writes the
// link of a tag in place, and a reader that comes between meets an empty file.
func (c *crawler) get(method, path string) (got crawled, err error) {
	for end := time.Now().Add(patience); time.Now().Before(end); {
		got, err = c.ask(method, path)
		if got.status != http.StatusInternalServerError {
			break
		}
	}
	return got, err
}

// crawled is an answer.
type crawled struct {
	status int
	digest string
	length int64 // as it says
	body   []byte
}

func (c *crawler) ask(method, path string) (got crawled, err error) {
	req, err := http.NewRequest(method, "http://"+c.host+"/v2/"+path, nil)
	if err != nil {
		return got, err
	}
	req.Header["Accept"] = []string{
		ocitest.DockerManifest, ocitest.DockerList, ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex,
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return got, err
	}
	defer resp.Body.Close()
	got = crawled{status: resp.StatusCode, digest: resp.Header.Get("Docker-Content-Digest"), length: resp.ContentLength}
	got.body, err = io.ReadAll(resp.Body)
	return got, err
}

// lookFor crawls once for what is left of a content, and reports.
func (c *crawler) lookFor(t *testing.T, content *bundle.Content) {
	t.Helper()
	c.absent = map[string]bool{}
	for _, n := range content.Nodes {
		for _, d := range n.Absent {
			c.absent[string(d)] = true
		}
	}
	c.look(t)
}

// look crawls once and reports.
func (c *crawler) look(t *testing.T) {
	faults, err := c.crawl()
	if err != nil {
		t.Errorf("crawl: %v", err)
	}
	for _, fault := range faults {
		t.Errorf("a tag names an incomplete image: %s", fault)
	}
}

// blobsOf are the digests of all blobs that a node needs, and those below it.
func (c *crawler) blobsOf(t *testing.T, repo, ref string) (blobs []string) {
	got, err := c.get(http.MethodGet, repo+"/manifests/"+ref)
	var n tree
	if err == nil {
		err = json.Unmarshal(got.body, &n)
	}
	check(t, err)
	for _, b := range n.blobs() {
		blobs = append(blobs, b.Digest)
	}
	for _, child := range n.Manifests {
		blobs = append(blobs, c.blobsOf(t, repo, child.Digest)...)
	}
	return blobs
}

// nudge lets poll crawl once more.
func (c *crawler) nudge() {
	select {
	case c.nudged <- struct{}{}:
	default:
	}
}

// poll crawls whenever it is nudged, beside what goes on, until stop is called.
func (c *crawler) poll(t *testing.T) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-c.nudged:
				c.look(t)
			case <-end:
				return
			}
		}
	}()
	return func() {
		close(end)
		<-ended
		c.look(t)
	}
}

// dataFile is where distribution keeps a blob.
func dataFile(far *ocitest.Registry, d digest.Digest) string {
	return filepath.Join(far.Root, "docker/registry/v2/blobs/sha256", d.Encoded()[:2], d.Encoded(), "data")
}

// TestCrawler finds what was taken away from an image, at any depth.
func TestCrawler(t *testing.T) {
	t.Parallel()
	var layer, child, config, torn ocispec.Descriptor
	far := source(t, func(b *ocitest.Builder) {
		everyShape(b)
		layer = twoImages(b)
		config = b.Blob("crawled/config", []byte("{}"))
		b.Image("crawled/config", "v1", ocitest.ImageOpts{Config: &config})
		torn = b.RandomLayer("crawled/torn", "torn", 10)
		b.Image("crawled/torn", "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{torn}})
		child = b.Image("crawled/index", "", ocitest.ImageOpts{Layers: []ocispec.Descriptor{b.RandomLayer("crawled/index", "x", 10)}})
		b.Index("crawled/index", "v1", false, b.Index("crawled/index", "", false, child))
	})
	c := newCrawler(far.Host)
	if faults, err := c.crawl(); err != nil || len(faults) > 0 || c.tags < 13 {
		t.Fatalf("%d tags, %s, %v", c.tags, faults, err)
	}
	b := far.Builder()
	for _, spoil := range []func(){
		func() { b.DeleteBlob("team/large", layer.Digest) },
		func() { b.DeleteBlob("crawled/config", config.Digest) },
		func() { b.DeleteManifest("crawled/index", child.Digest) },
		func() { check(t, os.Truncate(dataFile(far, torn.Digest), 0)) },
	} {
		before, err := newCrawler(far.Host).crawl()
		check(t, err)
		spoil()
		check(t, b.Err())
		if after, err := newCrawler(far.Host).crawl(); err != nil || len(after) != len(before)+1 {
			t.Errorf("%s before, %s after, %v", before, after, err)
		}
	}
}
