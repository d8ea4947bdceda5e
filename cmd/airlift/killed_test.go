package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci/ocitest"
)

// TestKilledImport: the program itself is killed (SIGKILL) at every third
// request of an import into one registry, which takes manifests before their
// blobs; after each time every tag there names a whole image, and the last run,
// which nobody disturbs, brings what is left.
func TestKilledImport(t *testing.T) {
	dir, host := bundled(t), embedded(t)
	requests := 0
	for at := 2; ; at += 3 {
		done, n := killedAt(t, dir, host, at)
		requests = max(requests, n)
		wholeTags(t, host)
		if done {
			break
		}
	}
	b := ocitest.NewBuilder(host)
	if tags := b.Tags("team/app"); len(tags) != 1 || len(b.Tags("team/list")) != 1 || b.Err() != nil {
		t.Errorf("after %d requests the tags are %s: %v", requests, tags, b.Err())
	}
}

func embedded(t *testing.T) (host string) {
	t.Helper()
	host, stop, err := ocitest.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return host
}

// bundled exports an image and a list into a directory.
func bundled(t *testing.T) (dir string) {
	t.Helper()
	source := embedded(t)
	b := ocitest.NewBuilder(source)
	layers := func(repo string) []ocispec.Descriptor {
		return []ocispec.Descriptor{b.RandomLayer(repo, "shared", 300_000), b.RandomLayer(repo, repo, 2000)}
	}
	b.Image("team/app", "v1", ocitest.ImageOpts{Docker: true, Layers: layers("team/app")})
	b.Index("team/list", "v1", true,
		b.Image("team/list", "", ocitest.ImageOpts{Docker: true, Arch: "amd64", Layers: layers("team/list")}),
		b.Image("team/list", "", ocitest.ImageOpts{Docker: true, Arch: "arm64", Layers: layers("team/list")}))
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	dir = filepath.Join(t.TempDir(), "medium")
	out, err := exec.Command("airlift", "export", "--unsigned", "--insecure-registry", source, "--source-mirror", "quay.io="+source,
		"--image", "quay.io/team/app:v1", "--image", "quay.io/team/list:v1", "--output", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("export: %v: %s", err, out)
	}
	return dir
}

// killedAt imports, and kills the import at a request; done says that it ended
// well before.
func killedAt(t *testing.T, dir, host string, at int) (done bool, requests int) {
	t.Helper()
	var cmd *exec.Cmd
	var mu sync.Mutex
	proxy := ocitest.Misbehave(t, host, func(*http.Request) *ocitest.Fault {
		mu.Lock()
		defer mu.Unlock()
		if requests++; requests == at {
			_ = cmd.Process.Kill()
		}
		return nil
	})
	cmd = exec.Command("airlift", "import", dir, "--allow-unsigned", "--to", proxy.Host, "--cluster-registry", "registry.plant.example",
		"--insecure-registry", proxy.Host, "--manifests", filepath.Join(t.TempDir(), "objects"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	mu.Lock() // until the process is there to be killed
	err := cmd.Start()
	mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	killIfStuck(t, cmd)
	err = cmd.Wait()
	mu.Lock()
	defer mu.Unlock()
	if err != nil && requests < at {
		t.Fatalf("import: %v: %s", err, &out)
	}
	return err == nil, requests
}

// wholeTags holds that everything below every tag is there.
func wholeTags(t *testing.T, host string) {
	t.Helper()
	b := ocitest.NewBuilder(host)
	for _, repo := range b.Repositories() {
		for _, tag := range b.Tags(repo) {
			wholeBelow(b, repo, tag)
		}
	}
	if b.Err() != nil {
		t.Errorf("a tag names an incomplete image: %v", b.Err())
	}
}

func wholeBelow(b *ocitest.Builder, repo, ref string) {
	_, raw := b.Manifest(repo, ref)
	var node struct {
		Config            struct{ Digest digest.Digest }
		Layers, Manifests []struct{ Digest digest.Digest }
	}
	if json.Unmarshal(raw, &node) != nil {
		return // b has the error
	}
	if node.Config.Digest != "" {
		b.BlobBytes(repo, node.Config.Digest)
	}
	for _, layer := range node.Layers {
		b.BlobBytes(repo, layer.Digest)
	}
	for _, child := range node.Manifests {
		wholeBelow(b, repo, string(child.Digest))
	}
}
