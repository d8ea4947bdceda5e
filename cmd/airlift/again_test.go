package main

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"airlift/oci/ocitest"
)

// TestImportAgain: an import of what is there already asks at most three times an
// image, the check of what a cluster can pull included, and changes nothing.
func TestImportAgain(t *testing.T) {
	t.Parallel()
	const images = 190
	source := embedded(t)
	b := ocitest.NewBuilder(source)
	var components []string
	for i := range images - 2 { // and the cluster-version-operator, and the release
		components = append(components, fmt.Sprintf("part%03d", i))
	}
	release := b.Release(ocitest.ReleaseOpts{Components: components, LayerSize: 100})
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	dir := filepath.Join(t.TempDir(), "medium")
	succeeds(t, "export", "--unsigned", "--insecure-registry", source, "--source-mirror", "quay.io="+source, "--release", release.Reference, "--output", dir)
	host, objects := ocitest.StartRegistry(t).Host, filepath.Join(t.TempDir(), "objects")
	for i := range 2 {
		proxy := ocitest.Misbehave(t, host, nil)
		out := succeeds(t, "import", dir, "--quiet", "--allow-unsigned", "--to", proxy.Host+"/ocp", "--cluster-registry", "registry.plant.example/ocp",
			"--insecure-registry", proxy.Host, "--manifests", filepath.Join(objects, fmt.Sprint(i)))
		if !strings.Contains(out, fmt.Sprintf("%d images: %d %s\n", images, images, []string{"imported", "already there"}[i])) {
			t.Fatalf("import %d: %s", i, out)
		}
		if i == 0 {
			continue
		}
		log := proxy.Log()
		for _, r := range log {
			if r.Method != http.MethodGet && r.Method != http.MethodHead {
				t.Errorf("%s %s", r.Method, r.Path)
			}
		}
		if len(log) > 3*images {
			t.Errorf("%d requests for %d images", len(log), images)
		}
		t.Logf("%d requests for %d images", len(log), images)
	}
}

func succeeds(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("airlift", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", args[0], err, out)
	}
	return string(out)
}

// TestTwoImporters: two processes that bring the same bundle into one registry at
// once both succeed, and what they brought is whole.
func TestTwoImporters(t *testing.T) {
	t.Parallel()
	dir := bundled(t)
	for _, o := range []ocitest.RegistryOptions{{}, {Three: true}} {
		for range atLength(2, 50) {
			host := ocitest.StartRegistryWith(t, o).Host
			var both sync.WaitGroup
			for range 2 {
				objects := filepath.Join(t.TempDir(), "objects")
				both.Go(func() {
					out, err := exec.Command("airlift", "import", dir, "--quiet", "--allow-unsigned", "--to", host, "--cluster-registry", "registry.plant.example",
						"--insecure-registry", host, "--manifests", objects).CombinedOutput()
					if err != nil {
						t.Errorf("%v: %s", err, out)
					}
				})
			}
			both.Wait()
			wholeTags(t, host)
			out := succeeds(t, "import", dir, "--quiet", "--allow-unsigned", "--force", "--to", host, "--cluster-registry", "registry.plant.example",
				"--insecure-registry", host, "--manifests", filepath.Join(t.TempDir(), "objects"))
			if !strings.Contains(out, "2 images: 2 already there\n") {
				t.Errorf("one import later: %s", out)
			}
		}
	}
}
