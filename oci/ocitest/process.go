package ocitest

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// configFile is the name of a registry's configuration.
const configFile = "config.yml"

// Collect runs the registry's own garbage-collect over its storage, while it
// serves: with untagged also for manifests without a tag, which 2.8 takes for those
// below a tagged list too (distribution issue 3178). It fails where there is no
// repository yet, and where something goes away under it.
func (r *Registry) Collect(t testing.TB, untagged bool) {
	t.Helper()
	args := []string{"garbage-collect", r.config}
	if untagged {
		args = append(args, "--delete-untagged")
	}
	if out, err := exec.Command(r.program, args...).CombinedOutput(); err != nil {
		t.Logf("garbage-collect: %v: %.200s", err, out)
	}
}

// run starts the registry at r.Host and waits until it answers. It reports
// false if the process ended by itself, for its port was taken meanwhile.
func (c registryConfig) run(t testing.TB, program string, r *Registry) bool {
	t.Helper()
	name := filepath.Join(c.dir, configFile)
	if err := os.WriteFile(name, c.yaml(r.Host), 0o600); err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	cmd := exec.Command(program, "serve", name)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")} // no REGISTRY_… from outside
	cmd.Stdout, cmd.Stderr = &output, &output
	dieWithParent(cmd)
	ended := start(t, cmd)
	for deadline := time.Now().Add(startLimit); time.Now().Before(deadline); {
		select {
		case <-ended:
			t.Logf("%s ended: %s", program, &output)
			return false
		case <-time.After(10 * time.Millisecond):
		}
		if r.answers(c.mark) {
			t.Cleanup(func() { stop(cmd, ended) })
			return true
		}
	}
	stop(cmd, ended)
	t.Fatalf("%s does not answer at %s: %s", program, r.URL, &output)
	return false
}

// start runs cmd; the channel is closed once the process has ended. It is
// started by a thread that lives as long as the process does: where a process
// dies with its parent, that parent is the thread.
func start(t testing.TB, cmd *exec.Cmd) <-chan struct{} {
	t.Helper()
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // it is killed in the end
		}
		close(ended)
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	return ended
}

// stop ends the process by its own number and waits for it.
func stop(cmd *exec.Cmd, ended <-chan struct{}) {
	_ = cmd.Process.Kill() // an error means that it has ended
	<-ended
}

// answers reports whether /v2/ answers at r, and by the process that bears the
// mark.
func (r *Registry) answers(mark string) bool {
	resp, err := r.client.Get(r.URL + "/v2/")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK && resp.Header.Get(markHeader) == mark
}
