package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"

	"airlift/oci/ocitest"
)

// readonly makes a directory read-only: to root by a mount, to others by its mode.
func (w *world) readonly(ts *testscript.TestScript, args []string) {
	names, _ := words(ts, args, 1)
	dir := ts.MkAbs(names[0])
	if os.Getuid() == 0 {
		w.mountReadonly(dir)
	} else {
		ts.Check(w.chmod(dir, 0o555, 0o444))
		w.t.Cleanup(func() { _ = w.chmod(dir, 0o755, 0o644) }) // so that it can be removed
	}
	if err := os.WriteFile(filepath.Join(dir, "written"), nil, 0o600); err == nil {
		ts.Fatalf("%s is writable", dir)
	}
}

// mountReadonly mounts a directory onto itself. Where the host does not let root do
// that, the test cannot be had: root writes whatever the mode.
func (w *world) mountReadonly(dir string) {
	mount := ocitest.Program(w.t, "mount")
	if out, err := exec.Command(mount, "--bind", dir, dir).CombinedOutput(); err != nil {
		refuse := w.t.Skipf
		if os.Getenv("CI") == "true" {
			refuse = w.t.Fatalf
		}
		refuse("this host lets root mount nothing: %v: %s", err, out)
	}
	w.t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			w.t.Errorf("umount %s: %v: %s", dir, err, out)
		}
	})
	if out, err := exec.Command(mount, "-o", "remount,bind,ro", dir).CombinedOutput(); err != nil {
		w.t.Fatalf("remount %s: %v: %s", dir, err, out)
	}
}

// chmod gives directories and files below dir their modes.
func (w *world) chmod(dir string, directories, files fs.FileMode) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.Chmod(path, directories)
		}
		return os.Chmod(path, files)
	})
}
