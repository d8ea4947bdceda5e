package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"
	"sigs.k8s.io/yaml"

	"airlift/bundle"
)

// TestDocumentedJob: our own flags read the command line of the documented
// Kubernetes Job, its pods have all the parts, each once, and what it takes for
// final, of all parts or of one, are exit codes that another try cannot change.
func TestDocumentedJob(t *testing.T) {
	data, err := os.ReadFile("../../docs/kubernetes-job.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var job struct {
		Spec struct {
			Completions      int
			PodFailurePolicy struct {
				Rules []struct {
					Action      string
					OnExitCodes struct{ Values []int }
				}
			}
			Template struct {
				Spec struct {
					Containers []struct{ Args []string }
				}
			}
		}
	}
	if err := yaml.Unmarshal(data, &job); err != nil {
		t.Fatal(err)
	}
	final := map[string][]int{}
	for _, rule := range job.Spec.PodFailurePolicy.Rules {
		final[rule.Action] = append(final[rule.Action], rule.OnExitCodes.Values...)
	}
	want := map[string][]int{"FailJob": {exitUsage, exitUntrusted}, "FailIndex": {exitMissing, exitDamaged, exitAbsent}}
	if !maps.EqualFunc(final, want, slices.Equal) {
		t.Errorf("the exit codes that end it are %v, want %v", final, want)
	}
	parts := map[bundle.Shard]bool{}
	for index := range job.Spec.Completions {
		args := []string{"airlift"}
		for _, arg := range job.Spec.Template.Spec.Containers[0].Args {
			args = append(args, strings.ReplaceAll(arg, "$(JOB_COMPLETION_INDEX)", fmt.Sprint(index)))
		}
		app := newApp()
		for _, command := range app.Commands {
			command.Action = func(c *cli.Context) error {
				s, err := shard(c)
				if err != nil {
					return err
				}
				if _, err := placement(c); err != nil {
					return err
				}
				if c.Command.Name != "import" || c.NArg() != 1 || s.Count != job.Spec.Completions {
					return fmt.Errorf("%s of %s, part %s", c.Command.Name, c.Args(), s)
				}
				parts[s] = true
				return nil
			}
		}
		if code := run(context.Background(), app, args); code != exitComplete {
			t.Errorf("%s: exit code %d", args, code)
		}
	}
	if len(parts) != job.Spec.Completions || len(parts) < 2 {
		t.Errorf("%d pods have the parts %v", job.Spec.Completions, parts)
	}
}

// TestDocumentedJobIsAwaited: the documented loop ends when the Job does, either way, and
// also if nobody can say so.
func TestDocumentedJobIsAwaited(t *testing.T) {
	data, err := os.ReadFile("../../docs/kubernetes-job.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var loop string
	for line := range strings.Lines(string(data)) {
		if strings.HasSuffix(line, "done\n") {
			loop = strings.TrimPrefix(line, "#")
		}
	}
	for says, slept := range map[string]bool{"echo SuccessCriteriaMet Complete": false, "echo FailureTarget Failed": false, "exit 1": true} {
		dir := t.TempDir()
		for name, script := range map[string]string{"oc": says, "sleep": "touch " + filepath.Join(dir, "slept")} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		ctx, end := context.WithTimeout(t.Context(), time.Minute)
		defer end()
		command := exec.CommandContext(ctx, "sh", "-c", loop)
		command.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
		out, err := command.CombinedOutput()
		_, never := os.Stat(filepath.Join(dir, "slept"))
		if loop == "" || err != nil || errors.Is(never, os.ErrNotExist) == slept {
			t.Errorf("%q, where oc says %q: %s%v", loop, says, out, err)
		}
	}
}
