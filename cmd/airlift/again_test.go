package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/bundle"
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

// stop holds up all requests with a part in their path, until it is opened.
type stop struct {
	part          string
	once          sync.Once
	reached, open chan struct{}
}

// TestReportOfTwoImports: an import that ends while another writes its report and objects
// waits for that, and has in its own what the other brought.
func TestReportOfTwoImports(t *testing.T) {
	t.Parallel()
	source, far := embedded(t), ocitest.StartRegistry(t).Host
	b := ocitest.NewBuilder(source)
	objects := filepath.Join(t.TempDir(), "objects")
	var media []string
	for _, name := range []string{"one", "two"} {
		b.Image("team/"+name, "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{b.RandomLayer("team/"+name, name, 2000)}})
		if b.Err() != nil {
			t.Fatal(b.Err())
		}
		media = append(media, filepath.Join(t.TempDir(), name))
		succeeds(t, "export", "--quiet", "--unsigned", "--insecure-registry", source, "--source-mirror", "quay.io="+source, "--image", "quay.io/team/"+name+":v1", "--output", media[len(media)-1])
	}
	first, err := bundle.Open(media[:1], bundle.Trust{AllowUnsigned: true})
	if err != nil {
		t.Fatal(err)
	}
	to, err := bundle.ParseLocation(far)
	if err != nil {
		t.Fatal(err)
	}
	p := bundle.Placement{To: to, Cluster: to}
	report, err := first.Expect(p, bundle.NewObjectOptions(p, "", ""))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan string, 1)
	err = bundle.Alone(t.Context(), objects, func() error {
		written, err := report.Objects(objects)
		if err != nil {
			return err
		}
		go func() {
			out, err := exec.Command("airlift", "import", media[1], "--quiet", "--no-check", "--allow-unsigned", "--to", far, "--insecure-registry", far, "--manifests", objects).CombinedOutput()
			ended <- fmt.Sprint(err, string(out))
		}()
		select {
		case out := <-ended:
			t.Errorf("it did not wait: %s", out)
			ended <- out
		case <-time.After(2 * time.Second): // by then it would have ended
		}
		return written.Write()
	})
	t.Log(<-ended)
	if err != nil {
		t.Fatal(err)
	}
	report, err = bundle.ReadReport(filepath.Join(objects, bundle.ReportFile))
	if err != nil || len(report.Held) != 2 {
		t.Errorf("of both there are %+v, %v", report, err)
	}
	sets, err := os.ReadFile(filepath.Join(objects, bundle.ITMSFile))
	if err != nil || !strings.Contains(string(sets), "quay.io/team/one") || !strings.Contains(string(sets), "quay.io/team/two") {
		t.Errorf("the objects are of %s, %v", sets, err)
	}
}

// TestPruneUnlocked: others may have the directory of objects while the registry is asked
// what it has no more.
func TestPruneUnlocked(t *testing.T) {
	t.Parallel()
	source, work := embedded(t), t.TempDir()
	b := ocitest.NewBuilder(source)
	for _, repo := range []string{"team/one", "team/two"} {
		b.Image(repo, "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{b.RandomLayer(repo, repo, 2000)}})
	}
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	objects := filepath.Join(work, "objects")
	var mu sync.Mutex
	asked, locked := 0, 0
	far := ocitest.Misbehave(t, ocitest.StartRegistry(t).Host, func(r *http.Request) *ocitest.Fault {
		mu.Lock()
		defer mu.Unlock()
		if r.Method != http.MethodHead || !strings.Contains(r.URL.Path, "/team/one/manifests/") {
			return nil
		}
		asked++
		if lock, err := bundle.OpenOutput(objects); err != nil {
			locked++
		} else if err := lock.Close(); err != nil {
			t.Error(err)
		}
		return nil
	})
	for i, repo := range []string{"team/one", "team/two"} {
		medium := filepath.Join(work, fmt.Sprint(i))
		succeeds(t, "export", "--quiet", "--unsigned", "--insecure-registry", source, "--source-mirror", "quay.io="+source, "--image", "quay.io/"+repo+":v1", "--output", medium)
		flags := []string{medium, "--allow-unsigned", "--insecure-registry", far.Host, "--manifests", objects, "--prune-sources"}
		succeeds(t, append([]string{"import", "--quiet", "--no-check", "--to", far.Host, "--cluster-registry", "registry.plant.example"}, flags...)...)
		asked = 0
		succeeds(t, append([]string{"manifests"}, flags...)...)
		if asked == 0 {
			t.Errorf("%s: the registry was not asked", repo)
		}
	}
	if locked > 0 {
		t.Errorf("%d times it was locked", locked)
	}
}

// TestLockedObjects: an import that has pushed, and does not get the directory for what it
// is to write, waits for that once, or until it is interrupted; it says what it pushed, and
// that the same command writes the rest, which it does.
func TestLockedObjects(t *testing.T) {
	t.Parallel()
	source, medium := embedded(t), filepath.Join(t.TempDir(), "medium")
	b := ocitest.NewBuilder(source)
	b.Image("team/app", "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{b.RandomLayer("team/app", "app", 2000)}})
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	succeeds(t, "export", "--quiet", "--unsigned", "--insecure-registry", source, "--source-mirror", "quay.io="+source, "--image", "quay.io/team/app:v1", "--output", medium)
	for name, test := range map[string]struct {
		interrupted bool
		code        int
		most        time.Duration
		says        string
	}{
		"waits":       {false, exitLocked, 50 * time.Second, "airlift: locked by another run: "},
		"interrupted": {true, 130, 20 * time.Second, "airlift: interrupted\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			far, objects := ocitest.Misbehave(t, ocitest.StartRegistry(t).Host, nil), filepath.Join(t.TempDir(), "objects")
			imports := []string{"import", medium, "--quiet", "--no-check", "--allow-unsigned", "--to", far.Host,
				"--cluster-registry", "registry.plant.example", "--insecure-registry", far.Host, "--manifests", objects}
			lock, err := bundle.OpenOutput(objects)
			if err != nil {
				t.Fatal(err)
			}
			defer lock.Close()
			began, cmd, out := time.Now(), exec.Command("airlift", imports...), new(bytes.Buffer)
			cmd.Stdout, cmd.Stderr = out, out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if test.interrupted {
				for far.Count(http.MethodPut, "/manifests/") == 0 && time.Since(began) < test.most {
					time.Sleep(10 * time.Millisecond)
				}
				time.Sleep(2 * time.Second) // by then it waits
				_ = cmd.Process.Signal(os.Interrupt)
			}
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != test.code || time.Since(began) > test.most {
				t.Errorf("ended with %d after %s", code, time.Since(began))
			}
			for _, line := range []string{test.says, "1 image: 1 imported\n", "airlift: hint: what was pushed stays there; the same command writes the rest, "} {
				if !strings.Contains(out.String(), line) {
					t.Errorf("it does not say %q: %s", line, out)
				}
			}
			if files, err := os.ReadDir(objects); err != nil || len(files) > 0 {
				t.Errorf("written were %v, %v", files, err)
			}
			if err := lock.Close(); err != nil {
				t.Fatal(err)
			}
			succeeds(t, append(imports, "--force")...)
			if _, err := bundle.ReadReport(filepath.Join(objects, bundle.ReportFile)); err != nil {
				t.Error(err)
			}
			if r, err := bundle.ReadReceipt(filepath.Join(objects, bundle.ReceiptFile)); err != nil || len(r.Repositories) != 1 {
				t.Errorf("the receipt is %+v, %v", r, err)
			}
		})
	}
}

// TestReceiptOfTwoImports: of two imports at once into one directory of objects, each
// leaves in the receipt what the other has done to it since it was read: what that
// added is there, and what it took away is not.
func TestReceiptOfTwoImports(t *testing.T) {
	t.Parallel()
	source, work := embedded(t), t.TempDir()
	b := ocitest.NewBuilder(source)
	for _, name := range []string{"app:v1", "app:v2", "other:v1", "third:v1"} {
		repo, tag, _ := strings.Cut(name, ":")
		b.Image("team/"+repo, tag, ocitest.ImageOpts{Labels: map[string]string{"name": name}, Layers: []ocispec.Descriptor{b.RandomLayer("team/"+repo, repo, 2000)}})
	}
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	medium := func(name string, flags ...string) string {
		dir := filepath.Join(work, strings.ReplaceAll(name, ":", "-"))
		succeeds(t, slices.Concat([]string{"export", "--quiet", "--unsigned", "--insecure-registry", source, "--source-mirror", "quay.io=" + source,
			"--image", "quay.io/team/" + name, "--output", dir}, flags)...)
		return dir
	}
	one, other, third := medium("app:v1"), medium("other:v1"), medium("third:v1")
	two := medium("app:v2", "--allow-unsigned", "--since", one)
	var lost atomic.Bool
	var held atomic.Pointer[stop]
	dst := ocitest.Misbehave(t, ocitest.StartRegistry(t).Host, func(r *http.Request) *ocitest.Fault {
		if s := held.Load(); s != nil && strings.Contains(r.URL.Path, s.part) {
			s.once.Do(func() { close(s.reached) })
			<-s.open
		}
		if lost.Load() && strings.Contains(r.URL.Path, "/team/app/blobs/") {
			return &ocitest.Fault{Status: http.StatusNotFound, Body: `{"errors":[{"code":"BLOB_UNKNOWN"}]}`}
		}
		return nil
	})
	objects := filepath.Join(work, "objects")
	imports := func(dir string) (string, error) {
		out, err := exec.Command("airlift", "import", dir, "--quiet", "--no-check", "--allow-unsigned", "--allow-older", "--to", dst.Host,
			"--cluster-registry", "registry.plant.example", "--insecure-registry", dst.Host, "--manifests", objects).CombinedOutput()
		return string(out), err
	}
	// meanwhile imports a, and b from when a asks for a part of a path until it has ended.
	meanwhile := func(a, part, b string) {
		t.Helper()
		s := &stop{part: part, reached: make(chan struct{}), open: make(chan struct{})}
		held.Store(s)
		ended := make(chan string)
		go func() {
			out, err := imports(a)
			ended <- fmt.Sprint(err, out)
		}()
		select {
		case <-s.reached:
		case out := <-ended:
			t.Fatalf("%s did not ask for %s: %s", a, part, out)
		}
		held.Store(nil)
		out, err := imports(b)
		t.Log(err, out)
		close(s.open)
		t.Log(<-ended)
	}
	wantListed := func(want ...string) {
		t.Helper()
		r, err := bundle.ReadReceipt(filepath.Join(objects, bundle.ReceiptFile))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, h := range r.Repositories {
			got = append(got, h.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("the receipt lists %q, want %q", got, want)
		}
	}
	if out, err := imports(one); err != nil {
		t.Fatal(out)
	}
	wantListed("team/app")
	lost.Store(true)
	meanwhile(other, "/team/other/manifests/", two) // which finds its base lost
	layer, err := bundle.ReadReceipt(filepath.Join(objects, bundle.ReceiptFile))
	if err != nil || len(layer.Repositories) != 2 || len(layer.Repositories[0].Blobs) != 1 {
		t.Fatalf("after the layer was found lost there are %+v, %v", layer.Repositories, err)
	}
	meanwhile(two, "/team/app/blobs/", third)
	wantListed("team/app", "team/other", "team/third")
}
