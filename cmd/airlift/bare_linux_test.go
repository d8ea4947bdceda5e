package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"airlift/oci/ocitest"
)

// bareHost is a directory that is all that a program sees: the static program
// itself, a medium, keys. There is no home, no /tmp, no /etc, no /dev and no /proc,
// hardly a variable is set, and nothing can be written.
type bareHost struct {
	*testing.T
	root  string
	begin []string // how a program is run in it
}

func newBareHost(t *testing.T) *bareHost {
	t.Helper()
	h := &bareHost{T: t, root: t.TempDir()}
	build := exec.Command("go", "build", "-o", filepath.Join(h.root, "airlift"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	return h
}

// take copies files into the root, under their own names.
func (h *bareHost) take(names ...string) {
	h.Helper()
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(h.root, filepath.Base(name)), data, 0o444)
		}
		if err != nil {
			h.Fatal(err)
		}
	}
}

// confine makes the root, $0, read-only in a mount namespace of its own, and runs
// there what follows, with no variables but those that it names.
const confine = `
mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && cd "$0" || exit 125
if (: >written) 2>/dev/null; then echo "$0 is writable" >&2; exit 125; fi
exec env -i "$@"`

// close lets nothing be added any more. Whoever is not root has a namespace of
// users, too; where there is none, programs run with what can be had without:
// root must not go without.
func (h *bareHost) close() {
	h.Helper()
	unshare := []string{ocitest.Program(h.T, "unshare"), "--mount"}
	if os.Getuid() != 0 {
		unshare = append(unshare, "--map-root-user")
	}
	chroot, err := exec.LookPath("chroot")
	if err != nil {
		chroot = "/usr/sbin/chroot" // not in everybody's PATH
	}
	h.begin = slices.Concat(unshare, []string{"sh", "-c", confine, h.root}, []string{"NOTHING=", chroot, ".", "/airlift"})
	out, err := exec.Command(h.begin[0], append(h.begin[1:], "version")...).CombinedOutput()
	switch {
	case err == nil:
		return
	case os.Getuid() == 0 || os.Getenv("CI") == "true":
		h.Fatalf("there is no bare host: %v: %s", err, out)
	}
	h.Logf("no bare host for who is not root (%v: %s): only the home, TMPDIR and the working directory are lacking", err, out)
	if err := os.Chmod(h.root, 0o555); err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { _ = os.Chmod(h.root, 0o755) })
	h.begin = []string{"env", "-i", "-C", h.root, "NOTHING=", "./airlift"}
}

// run runs airlift with these variables.
func (h *bareHost) run(variables []string, stdin []byte, args ...string) (stdout, stderr string, code int) {
	h.Helper()
	begin := slices.Insert(slices.Clone(h.begin), slices.Index(h.begin, "NOTHING="), variables...)
	cmd := exec.CommandContext(h.Context(), begin[0], append(begin[1:], args...)...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &errs
	var ended *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &ended) {
		h.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// runs wants it to end with 0, and gives what was printed.
func (h *bareHost) runs(variables []string, stdin []byte, args ...string) (stdout, stderr string) {
	h.Helper()
	stdout, stderr, code := h.run(variables, stdin, args...)
	if code != exitComplete {
		h.Errorf("%s: code %d: %s%s", args, code, stdout, stderr)
	}
	return stdout, stderr
}

// TestBareHost: everything behind the firewall works where nothing can be written
// and nobody is at home, over TLS with an account, too.
func TestBareHost(t *testing.T) {
	dir, trust, _, _ := toServe(t, 20_000, 0)
	far := ocitest.StartRegistryWith(t, ocitest.RegistryOptions{TLS: true, User: "ann", Password: "secret"})
	h := newBareHost(t)
	if err := os.CopyFS(filepath.Join(h.root, "medium"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	key := strings.TrimPrefix(trust, "--trusted-key=")
	h.take(key, far.CAFile, far.Authfile)
	h.close()

	registry := []string{"--authfile", "auth.json", "--ca-file", "ca.crt"}
	to := []string{"--to", far.Host, "--cluster-registry", "registry.plant.example"}
	trusted := []string{"--trusted-key", "k.pub", "medium"}
	args := func(command string, more ...[]string) []string {
		return slices.Concat(append([][]string{{command}, trusted}, more...)...)
	}

	// What cannot be written is said before anything is pushed, with the way around.
	_, stderr, code := h.run(nil, nil, args("import", to, registry)...)
	if code != exitFailed || !strings.Contains(stderr, "airlift: write into .: read-only file system") && !strings.Contains(stderr, "permission denied") ||
		!strings.Contains(stderr, "airlift: hint: --manifests DIR names a directory that can be written to; --manifests - prints the objects instead") {
		t.Errorf("code %d: %s", code, stderr)
	}
	if tags := holdsOf(far); len(tags) != 0 {
		t.Errorf("something was pushed: %s", tags)
	}
	if out, _ := h.runs(nil, nil, args("verify")...); !strings.HasPrefix(out, "every byte is as it should be\n") {
		t.Error(out)
	}
	h.runs(nil, nil, args("inspect")...)
	for _, variables := range [][]string{nil, {"HOME=/nobody/home", "TMPDIR=/nowhere/tmp", "XDG_RUNTIME_DIR=/nowhere/run"}} {
		out, stderr := h.runs(variables, nil, args("import", to, registry, []string{"--manifests", "-"})...)
		wantObjects(t, out)
		for _, line := range []string{"airlift: 4 images: ", "airlift: printed on stdout, for oc apply -f -  # drains ", "airlift: a cluster can pull it: "} {
			if !strings.Contains(stderr, "\n"+line) && !strings.HasPrefix(stderr, line) {
				t.Errorf("it does not say %q: %s", line, stderr)
			}
		}
	}
	if tags := holdsOf(far); !slices.Contains(tags, "team/app") {
		t.Errorf("there is %s", tags)
	}
	printed, _ := h.runs(nil, nil, args("manifests", to, []string{"--manifests", "-"})...)
	wantObjects(t, printed)
	stream := airlift(t, "export", "--quiet", "--from", filepath.Join(dir, "bundle.json"), "--reuse", dir, "--key", strings.TrimSuffix(key, ".pub")+".key", "--output", "-")
	var piped bytes.Buffer
	stream.Stdout = &piped
	stream.exits(t, 0)
	out, _ := h.runs(nil, piped.Bytes(), slices.Concat([]string{"import", "-", "--trusted-key", "k.pub", "--manifests", "-"}, to, registry)...)
	wantObjects(t, out)
}

// holdsOf lists the repositories of a registry.
func holdsOf(r *ocitest.Registry) []string { return r.Builder().Repositories() }

// wantObjects wants mirror sets on stdout, and nothing else.
func wantObjects(t *testing.T, stdout string) {
	t.Helper()
	documents := strings.Split(stdout, "---\n")
	for i, kind := range []string{"ImageDigestMirrorSet", "ImageTagMirrorSet"} {
		if len(documents) != 2 || !strings.Contains(documents[i], "\nkind: "+kind+"\n") && !strings.Contains(documents[i], "kind: "+kind+"\n") ||
			!strings.Contains(documents[i], "registry.plant.example/team/app") {
			t.Errorf("document %d is no %s: %s", i, kind, stdout)
		}
	}
}
