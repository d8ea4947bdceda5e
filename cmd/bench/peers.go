package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// peers are the programs that Go builds; skopeo is Debian's.
var peers = []string{
	"github.com/regclient/regclient/cmd/regsync@v0.11.7",
	"github.com/google/go-containerregistry/cmd/crane@v0.22.1",
}

// installPeers builds the peers into a directory beside Go's build cache, once.
func installPeers(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "airlift-bench")
	for _, peer := range peers {
		cmd := exec.CommandContext(ctx, "go", "install", peer)
		cmd.Env = append(os.Environ(), "GOBIN="+dir, "CGO_ENABLED=0", "GOFLAGS=-mod=mod")
		if output, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("go install %s: %w\n%s", peer, err, output)
		}
	}
	return dir, nil
}

// regsync makes the configuration of regsync that copies a repository. Plain
// HTTP is all that is told about the registries; the rest is its default.
func (b *bench) regsync(name, source, target string, hosts ...string) (task, error) {
	config := "version: 1\ncreds:\n"
	for _, host := range hosts {
		config += fmt.Sprintf("- {registry: %q, tls: disabled}\n", host)
	}
	config += fmt.Sprintf("sync:\n- {source: %q, target: %q, type: repository}\n", source, target)
	file := b.path(name + ".yml")
	return task{
		program: "regsync", args: []string{filepath.Join(b.peers, "regsync"), "once", "-c", file, "--logopt", "json", "-v", "error"},
	}, os.WriteFile(file, []byte(config), 0o644)
}
