package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// registry is a docker-registry on loopback, with the configuration of its
// Debian package but for the place of its storage.
type registry struct {
	host string
	root string
	cmd  *exec.Cmd
}

// startRegistry starts one whose storage is at root, which is made if need be.
func startRegistry(root, host string) (*registry, error) {
	config := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"+
		"storage:\n  cache: {blobdescriptor: inmemory}\n  filesystem: {rootdirectory: %q}\n  delete: {enabled: true}\n"+
		"  maintenance: {uploadpurging: {enabled: false}}\n"+
		"http: {addr: %q, secret: bench}\n", root, host)
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	name := root + ".yml"
	if err := os.WriteFile(name, []byte(config), 0o644); err != nil {
		return nil, err
	}
	r := &registry{host: host, root: root, cmd: exec.Command("docker-registry", "serve", name)}
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w; make parts installs it", err)
	}
	for range 500 {
		if resp, err := http.Get("http://" + host + "/v2/"); err == nil {
			resp.Body.Close()
			return r, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.stop()
	return nil, fmt.Errorf("docker-registry does not answer at %s", host)
}

func (r *registry) stop() {
	_ = r.cmd.Process.Kill() // an error means that it has ended
	_ = r.cmd.Wait()
}

// empty starts the registry anew with nothing in it: what it keeps in memory of
// blobs would else answer for them.
func (r *registry) empty() error {
	r.stop()
	if err := os.RemoveAll(filepath.Join(r.root, "docker")); err != nil {
		return err
	}
	again, err := startRegistry(r.root, r.host)
	if err != nil {
		return err
	}
	*r = *again
	return nil
}

// freePort is a loopback address that nobody listens on at this moment.
func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

// registry starts one of the bench's own.
func (b *bench) registry(name string) (*registry, error) {
	host, err := freePort()
	if err != nil {
		return nil, err
	}
	return startRegistry(b.path(name), host)
}
