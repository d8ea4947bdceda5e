package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
	"sigs.k8s.io/yaml"

	"airlift/bundle"
)

// TestDocumentedJob: our own flags read the command line of the documented
// Kubernetes Job, its pods have all the parts, each once, and what it takes for
// final are exit codes that another try cannot change.
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
	rules, final := job.Spec.PodFailurePolicy.Rules, []int{exitUsage, exitMissing, exitDamaged, exitUntrusted, exitAbsent}
	if len(rules) != 1 || !slices.Equal(rules[0].OnExitCodes.Values, final) {
		t.Errorf("the exit codes that end it are %v, want %v", rules, final)
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
