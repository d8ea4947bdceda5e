package bundle_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"airlift/bundle"
	"airlift/oci/ocitest"
	"airlift/verify"
)

// TestMediumTaken: a directory that holds a bundle, finished or not, is left as it is.
func TestMediumTaken(t *testing.T) {
	t.Parallel()
	near := source(t, func(b *ocitest.Builder) { twoImages(b) })
	c := client(t, near.Host)
	inv := inventory(t, plan(t, c, bundle.Request{Images: references(t, "quay.io/team/small:v1")}), 0)
	for name, file := range map[string]string{
		"finished": bundle.InventoryFile, "volume": "bundle.tar.001", "readme": bundle.ReadmeFile,
		"sums": bundle.SumsFile, "signature": "bundle.json.0123456789abcdef.sig",
	} {
		for _, restart := range []bool{false, true} {
			dir := t.TempDir()
			writeFile(t, filepath.Join(dir, file), []byte("precious"))
			if restart {
				clear(t, dir)
			}
			err := bundle.Export(t.Context(), c, inv, dir, bundle.ExportOptions{})
			wantError(t, err, bundle.ErrUsage, file)
			if got := fileNames(t, dir); len(got) != 1 || string(readFile(t, filepath.Join(dir, file))) != "precious" {
				t.Errorf("%s: the directory has become %s", name, got)
			}
		}
	}
}

// TestRestart takes away what an unfinished export left, and nothing else.
func TestRestart(t *testing.T) {
	t.Parallel()
	near := source(t, func(b *ocitest.Builder) { twoImages(b) })
	c := client(t, near.Host)
	m := medium{dir: t.TempDir(), key: newKey(t)}
	m.inv = inventory(t, plan(t, c, bundle.Request{Images: references(t, "quay.io/team/small:v1")}), 0)
	foreign := []string{"notes.txt", ".Trash-1000/info", "System Volume Information/x", "SHA256SUMS.asc", "bundle.json.bak", "sub/bundle.json"}
	own := []string{
		"README.txt", "bundle.json", "bundle.json.0123456789abcdef.sig", "bundle.tar.001", "bundle.tar.002",
		"SHA256SUMS", "SHA256SUMS.0123456789abcdef.sig", "bundle.checkpoint",
	}
	for _, name := range append(own, foreign...) {
		writeFile(t, m.path(name), []byte("x"))
	}
	writeFile(t, m.path(bundle.ReadmeFile), []byte("This is an airlift bun"))
	o := bundle.ExportOptions{Key: m.key}
	wantError(t, bundle.Export(t.Context(), c, m.inv, m.dir, o), bundle.ErrUnfinished)
	if got := fileNames(t, m.dir); len(got) != len(own)+len(foreign) {
		t.Errorf("without --restart the directory became %s", got)
	}
	clear(t, m.dir)
	check(t, bundle.Export(t.Context(), c, m.inv, m.dir, o))
	for _, name := range foreign {
		if got, err := os.ReadFile(m.path(name)); err != nil || string(got) != "x" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if got := fileNames(t, m.dir); len(got) != len(foreign)+6 {
		t.Errorf("the directory holds %s", got)
	}
	findings, err := m.open(t).Check(t.Context(), bundle.CheckOptions{})
	if err != nil || len(findings) > 0 {
		t.Errorf("%v, %v", findings, err)
	}
}

// TestRestartForeign: beside what an unfinished export left, too, a file that somebody
// else wrote under a common name stays, and so does all else then. What a crash made of
// airlift's own is no such file.
func TestRestartForeign(t *testing.T) {
	t.Parallel()
	m, _ := small(t, "x", 0)
	sums := strings.Repeat("0123456789abcdef", 4)
	for _, c := range []struct {
		file, holds string
		gone        bool
	}{
		{bundle.ReadmeFile, "My holiday photos\n", false},
		{bundle.ReadmeFile, "T", true},
		{bundle.ReadmeFile, "", true},
		{bundle.ReadmeFile, strings.Repeat("\x00", 512) + "To look", true},
		{bundle.ReadmeFile, "This is a note", false},
		{bundle.SumsFile, sums + "  photos.zip\n", false},
		{bundle.SumsFile, sums + "  README.txt\n" + sums, true},
		{bundle.SumsFile, sums[:20], true},
	} {
		for name, others := range map[string][]string{
			"begun": {bundle.CheckpointFile}, "with bundle.json": {bundle.CheckpointFile, bundle.InventoryFile, bundle.ReadmeFile},
			"with volumes": {bundle.CheckpointFile, bundle.InventoryFile, bundle.ReadmeFile, bundle.VolumeFile},
		} {
			dir := t.TempDir()
			for _, other := range others {
				writeFile(t, filepath.Join(dir, other), []byte(contents(t, m.dir)[other]))
			}
			writeFile(t, filepath.Join(dir, c.file), []byte(c.holds))
			before := contents(t, dir)
			out, err := bundle.OpenOutput(dir)
			check(t, err)
			err = out.Restart()
			check(t, out.Close())
			if c.gone {
				before = map[string]string{}
				check(t, err)
			} else {
				wantError(t, err, bundle.ErrUsage, c.file, "in the way")
			}
			if diff := gocmp.Diff(before, contents(t, dir)); diff != "" {
				t.Errorf("%s, %s %q (-want +got): %s", name, c.file, c.holds, diff)
			}
		}
	}
	// Nor does an export that got no further than its checkpoint.
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, bundle.CheckpointFile), nil)
	writeFile(t, filepath.Join(dir, bundle.ReadmeFile), []byte("My holiday photos\n"))
	wantError(t, bundle.Export(t.Context(), client(t, "127.0.0.1:1"), m.inv, dir, bundle.ExportOptions{}), bundle.ErrUsage, "README.txt is in the way")
	if got := fileNames(t, dir); len(got) != 2 {
		t.Errorf("the directory has become %s", got)
	}
}

// clear throws away an unfinished export.
func clear(t *testing.T, dir string) {
	t.Helper()
	out, err := bundle.OpenOutput(dir)
	check(t, err)
	check(t, out.Restart())
	check(t, out.Close())
}

// TestBytesToWrite are the bytes that are written, to the byte, but for signatures.
func TestBytesToWrite(t *testing.T) {
	t.Parallel()
	near := source(t, func(b *ocitest.Builder) { twoImages(b) })
	c := client(t, near.Host)
	for _, size := range []int64{0, 50_000} {
		inv := inventory(t, plan(t, c, bundle.Request{Images: references(t, "quay.io/team/large:v1")}), size)
		want, err := bundle.BytesToWrite(inv)
		check(t, err)
		m, got := export(t, c, inv), int64(0)
		for _, name := range fileNames(t, m.dir) {
			if !strings.HasSuffix(name, ".sig") {
				got += int64(len(readFile(t, m.path(name))))
			} else if n := len(readFile(t, m.path(name))); n > verify.MaxSignatureSize {
				t.Errorf("%s has %d bytes", name, n)
			}
		}
		if got != want {
			t.Errorf("%d bytes were written, %d were announced", got, want)
		}
	}
}
