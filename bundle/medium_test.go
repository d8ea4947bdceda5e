package bundle_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

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
