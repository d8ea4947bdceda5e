package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"airlift/oci/ocitest"
)

// mostMemory is what airlift may take, in bytes, whatever the size of blobs.
const mostMemory = 128 << 20

// weigh names the file that a weighed program writes to.
const weigh = "AIRLIFT_TEST_WEIGH"

// weighed is airlift that leaves the most memory that it ever had resident, in
// bytes. Only the process itself knows: to what wait4 says of a child the memory
// of its parent counts too, which it shared before exec.
func weighed() {
	code := run(interruptible(), newApp(), os.Args)
	status, _ := os.ReadFile("/proc/self/status")
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	peak, _ := strconv.Atoi(strings.Fields(after + " 0")[0])
	if err := os.WriteFile(os.Getenv(weigh), fmt.Append(nil, peak<<10), 0o666); err != nil {
		code = exitFailed
	}
	os.Exit(code)
}

// asWeighed makes a program one that is weighed; peak gives its memory when it has
// ended.
func (p *program) asWeighed(t testing.TB) (peak func() int64) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the memory of a process is known on Linux only")
	}
	file := filepath.Join(t.TempDir(), "peak")
	path, err := exec.LookPath("weighed")
	if err != nil {
		t.Fatal(err)
	}
	p.Path, p.Args[0], p.Env = path, "weighed", append(os.Environ(), weigh+"="+file)
	return func() int64 {
		text, err := os.ReadFile(file)
		bytes, bad := strconv.ParseInt(string(text), 10, 64)
		if err != nil || bad != nil || bytes == 0 {
			t.Errorf("what it took is not known: %v, %q", err, text)
		}
		return bytes
	}
}

// weighs runs a program and wants it to succeed within the memory.
func (p *program) weighs(t testing.TB) {
	t.Helper()
	peak := p.asWeighed(t)
	p.exits(t, 0)
	wantLight(t, p.Args[1], peak())
}

func wantLight(t testing.TB, what string, peak int64) {
	t.Helper()
	t.Logf("%s: %d MiB at most", what, peak>>20)
	if peak > mostMemory {
		t.Errorf("%s took %d bytes", what, peak)
	}
}

// TestMemory: a blob of 4 GiB is exported, and imported, in 128 MiB.
//
// The registry that it goes to is none that could serve it again: it holds what
// comes against its digest and keeps nothing, so that the blob needs room once,
// not twice.
func TestMemory(t *testing.T) {
	t.Parallel()
	const size = 4 << 30
	dir := filepath.Join(room(t, size+64<<20), "medium")
	source, layer := vast(t, size)
	host := served(t, listen(t), &http.Server{Handler: source})
	limit := 10 * time.Minute
	airliftFor(t, limit, exportFrom(host, unsigned, dir, vastImage)...).weighs(t)
	if soak {
		airliftFor(t, limit, "verify", "--quiet", trusted(unsigned), dir).weighs(t)
	}
	sink := ocitest.NewVast()
	to := served(t, listen(t), &http.Server{Handler: sink})
	airliftFor(t, limit, importTo(t, to, unsigned, dir)...).weighs(t)
	if !sink.Pushed(layer) {
		t.Error("the blob was not pushed")
	}
}

// TestMemoryOfAStream: the same for both ends of a pipe at once, between two
// registries that keep nothing. In make soak the blob has 64 GiB, for which there
// need be no room anywhere.
func TestMemoryOfAStream(t *testing.T) {
	t.Parallel()
	sink := ocitest.NewVast()
	source, layer := vast(t, atLength[int64](1<<30, 64<<30))
	limit := atLength(10*time.Minute, time.Hour)
	exporting := airliftFor(t, limit, exportFrom(served(t, listen(t), &http.Server{Handler: source}), unsigned, "-", vastImage)...)
	importing := airliftFor(t, limit, importTo(t, served(t, listen(t), &http.Server{Handler: sink}), unsigned, "-")...)
	exported, imported := exporting.asWeighed(t), importing.asWeighed(t)
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	exporting.Stdout, importing.Stdin = to, from
	err = errors.Join(exporting.Start(), importing.Start(), to.Close(), from.Close())
	if err = errors.Join(err, exporting.Wait(), importing.Wait()); err != nil {
		t.Fatalf("%v: %s%s", err, &exporting.out, &importing.out)
	}
	wantLight(t, "export", exported())
	wantLight(t, "import", imported())
	if !sink.Pushed(layer) {
		t.Error("the blob was not pushed")
	}
}

// TestMemoryOfAPlan: what planning takes grows by little more than 1 KiB for each
// blob. A third of that is live; the rest is what the garbage collector lets pile up.
func TestMemoryOfAPlan(t *testing.T) {
	t.Parallel()
	const few, many = 500, 4000
	host := served(t, listen(t), &http.Server{Handler: ocitest.Crowd{}})
	planning := func(images int) int64 {
		var list []byte
		for i := range images {
			list = fmt.Appendf(list, "%s/a/crowd:v%d\n", host, i)
		}
		file := filepath.Join(t.TempDir(), "images")
		if err := os.WriteFile(file, list, 0o666); err != nil {
			t.Fatal(err)
		}
		p := airliftFor(t, 5*time.Minute, "export", "--quiet", "--unsigned", "--dry-run", "--images-file", file,
			"--insecure-registry", host, "--output", filepath.Join(t.TempDir(), "medium"))
		peak := p.asWeighed(t)
		p.exits(t, 0)
		return peak()
	}
	small, large := planning(few), planning(many)
	blob := (large - small) / ((many - few) * (ocitest.CrowdLayers + 1))
	t.Logf("%d MiB for %d images, %d MiB for %d: %d bytes for each blob", small>>20, few, large>>20, many, blob)
	if blob > 1280 {
		t.Errorf("planning takes %d bytes for each blob", blob)
	}
}

// importTo is the command line that imports into a registry.
func importTo(t testing.TB, host, key string, from ...string) []string {
	t.Helper()
	return append([]string{"import", "--quiet", trusted(key), "--to", host, "--cluster-registry", "registry.plant.example",
		"--insecure-registry", host, "--manifests", filepath.Join(t.TempDir(), "objects")}, from...)
}
