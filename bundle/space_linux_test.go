package bundle_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"airlift/bundle"
	"airlift/oci/ocitest"
)

// someMegabytes is a registry with an image of four layers of 1 MB.
func someMegabytes(t *testing.T) *ocitest.Registry {
	return source(t, func(b *ocitest.Builder) {
		var layers []ocispec.Descriptor
		for i := range 4 {
			layers = append(layers, b.RandomLayer("team/big", fmt.Sprint(i), 1<<20))
		}
		b.Image("team/big", "v1", ocitest.ImageOpts{Layers: layers})
	})
}

// TestTooSmallMedium is refused before the first byte, whatever is in its way.
func TestTooSmallMedium(t *testing.T) {
	t.Parallel()
	near := someMegabytes(t)
	c := client(t, near.Host)
	inv := inventory(t, plan(t, c, bundle.Request{Images: references(t, "quay.io/team/big:v1")}), 0)
	dir := filepath.Join(bundle.TmpFS(t, 4<<20), "bundle")
	err := bundle.Export(t.Context(), c, inv, dir, bundle.ExportOptions{Key: newKey(t)})
	wantError(t, err, bundle.ErrNoSpace, dir, fmt.Sprint(4<<20))
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was written: %v", err)
	}
	// What an unfinished export left counts as free, for it will be.
	dir = bundle.TmpFS(t, 6<<20)
	writeFile(t, filepath.Join(dir, bundle.CheckpointFile), nil)
	writeFile(t, filepath.Join(dir, bundle.VolumeFile), make([]byte, 3<<20))
	clear(t, dir)
	check(t, bundle.Export(t.Context(), c, inv, dir, bundle.ExportOptions{}))
}

// TestFillingMedium: a medium that fills up meanwhile ends the export with that
// error, unfinished and with nothing but true bytes on it.
func TestFillingMedium(t *testing.T) {
	t.Parallel()
	near := someMegabytes(t)
	c := client(t, near.Host)
	inv := inventory(t, plan(t, c, bundle.Request{Images: references(t, "quay.io/team/big:v1")}), 0)
	dir, whole := bundle.TmpFS(t, 6<<20), export(t, c, inv)
	filled := false
	err := bundle.Export(t.Context(), c, inv, dir, bundle.ExportOptions{Progress: func(e bundle.Event) {
		if e.Phase == "fetch" && e.Done > 1<<20 && !filled {
			filled = true
			writeFile(t, filepath.Join(dir, "ballast"), make([]byte, 3<<20))
		}
	}})
	wantError(t, err, bundle.ErrNoSpace, "bundle.tar")
	wantUnfinished(t, dir, whole)
}

func wantUnfinished(t *testing.T, dir string, whole medium) {
	t.Helper()
	part := readFile(t, filepath.Join(dir, "bundle.tar"))
	if all := whole.volumes(t); len(part) < 1000 || len(part) >= len(all) || !strings.HasPrefix(string(all), string(part)) {
		t.Errorf("%d bytes of %d are there, or others", len(part), len(all))
	}
	for name, there := range map[string]bool{bundle.CheckpointFile: true, bundle.SumsFile: false} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// limited names the source and the directory for the process that TestFileSizeLimit starts.
const limited = "AIRLIFT_TEST_LIMITED"

// TestFileSizeLimit: a file that may not grow is a medium without space, too. The
// limit is one of a process, so another one exports: this test again.
func TestFileSizeLimit(t *testing.T) {
	if where := os.Getenv(limited); where != "" {
		exportLimited(t, where)
		return
	}
	t.Parallel()
	near := someMegabytes(t)
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestFileSizeLimit$", "-test.v")
	cmd.Env = append(os.Environ(), limited+"="+near.Host+" "+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c := client(t, near.Host)
	wantUnfinished(t, dir, export(t, c, inventory(t, plan(t, c, bundle.Request{Images: references(t, "quay.io/team/big:v1")}), 0)))
}

func exportLimited(t *testing.T, where string) {
	signal.Ignore(syscall.SIGXFSZ) // the error says it
	host, dir, _ := strings.Cut(where, " ")
	c := client(t, host)
	inv := inventory(t, plan(t, c, bundle.Request{Images: references(t, "quay.io/team/big:v1")}), 0)
	check(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 2 << 20, Max: 2 << 20}))
	wantError(t, bundle.Export(t.Context(), c, inv, dir, bundle.ExportOptions{}), bundle.ErrNoSpace, "bundle.tar")
}
