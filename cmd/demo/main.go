// Command demo shows airlift at work, without a network or a pull secret: it
// serves two registries from memory, puts a small release and some samples that
// it makes itself into the first, and lets bin/airlift carry them into the second.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"airlift/oci/ocitest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := demo(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context) (err error) {
	airlift, err := filepath.Abs("bin/airlift")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "airlift-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	source, stopSource, err := ocitest.Embedded()
	if err != nil {
		return err
	}
	defer stopSource()
	local, stopLocal, err := ocitest.Embedded()
	if err != nil {
		return err
	}
	defer stopLocal()
	release, err := fill(source, dir)
	if err != nil {
		return err
	}
	s := stage{ctx: ctx, airlift: airlift, dir: dir}
	s.export(source, release)
	s.border()
	s.importInto(local)
	return s.err
}

// fill puts a release and samples into the source, and a list of image streams,
// as a cluster would print it, into the directory.
func fill(source, dir string) (ocitest.Release, error) {
	b := ocitest.NewBuilder(source)
	release := b.Release(ocitest.ReleaseOpts{Signatures: true})
	samples := ocitest.ExampleSamples()
	b.Samples(samples, nil)
	if err := b.Err(); err != nil {
		return release, err
	}
	return release, os.WriteFile(filepath.Join(dir, "imagestreams.json"), ocitest.ImageStreamList(samples, release), 0o644)
}

// stage runs commands in a directory, as a person would type them, until one
// ends otherwise than expected.
type stage struct {
	ctx     context.Context
	airlift string
	dir     string
	err     error
}

func (s *stage) export(source string, release ocitest.Release) {
	s.say("On the internet side: a key, and a bundle on the medium.",
		"The source is a registry of this demo, and one sample image is gone from it: hence exit code 3.")
	s.run(0, "airlift", "keygen", "--output", "officer")
	args := []string{"export", "--release", release.Reference, "--imagestreams", "imagestreams.json"}
	for _, host := range []string{"quay.io", "registry.redhat.io", "registry.access.redhat.com"} {
		args = append(args, "--source-mirror", host+"="+source)
	}
	s.run(3, "airlift", append(args, "--insecure-registry", source, "--skip-missing", "--key", "officer.key", "--output", "medium")...)
}

func (s *stage) border() {
	s.say("At the border: is it whole, and whose is it? With airlift, and with coreutils.")
	s.run(0, "airlift", "verify", "--trusted-key", "officer.pub", "medium")
	s.run(0, "sh", "-c", "cd medium && sha256sum -c SHA256SUMS")
}

func (s *stage) importInto(local string) {
	s.say("Behind the firewall: into the local registry. Nodes know it as registry.plant.example.")
	s.run(3, "airlift", "import", "medium", "--trusted-key", "officer.pub", "--to", local+"/ocp", "--cluster-registry", "registry.plant.example/ocp",
		"--insecure-registry", local, "--skip-missing")
	s.say("What the cluster is told:")
	for _, file := range []string{"apply/idms.yaml", "apply/itms.yaml", "patches/samples-operator.yaml", "install/install-config.fragment.yaml"} {
		s.run(0, "cat", "airlift-manifests/"+file)
	}
}

func (s *stage) say(lines ...string) {
	if s.err == nil {
		fmt.Printf("\n# %s\n", strings.Join(lines, "\n# "))
	}
}

// run shows a command, runs it, and holds its exit code against the expected one.
func (s *stage) run(want int, name string, args ...string) {
	if s.err != nil {
		return
	}
	fmt.Printf("\n$ %s\n", strings.Join(slices.Concat([]string{name}, args), " "))
	if name == "airlift" {
		name = s.airlift
	}
	cmd := exec.CommandContext(s.ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, os.Stdout, os.Stdout
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		s.err = err
		return
	}
	if got := cmd.ProcessState.ExitCode(); got != want {
		s.err = fmt.Errorf("%s ended with exit code %d, not %d", args[0], got, want)
	}
}
