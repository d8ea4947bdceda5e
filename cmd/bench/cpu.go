package main

import (
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// cpu compares what export and import take of the processors with what cannot be
// avoided: two hashes of all bytes at this machine's own speed, and a copy as the
// floor makes it, without hashing.
func (c *carriage) cpu() error {
	file := c.path("floor.bin")
	copying := func(verb string, to *registry, before func() error) task {
		return task{program: verb, args: []string{c.self, verb, to.host, repository, c.plan, file}, before: before}
	}
	hash := task{program: "hash", args: []string{c.self, "hash", strconv.FormatInt(c.payload, 10)}}
	tasks := []task{
		hash,
		c.export(), copying("copy-export", c.source, func() error { return os.RemoveAll(file) }),
		c.importing(), copying("copy-import", c.target, c.target.empty),
	}
	results, err := c.contest(tasks)
	if err != nil {
		return err
	}
	gb := float64(c.payload) / 1e9
	hashes := 2 * cpu(results[0]) / gb
	c.printf("\n### CPU seconds per GB, plain HTTP\n\n| | airlift | a copy | two hashes | airlift is |\n|---|---|---|---|---|\n")
	for i, name := range []string{"export", "import"} {
		own, copied := cpu(results[2*i+1])/gb, cpu(results[2*i+2])/gb
		c.printf("| %s | %.2f | %.2f | %.2f | %.2f × |\n", name, own, copied, hashes, own/(copied+hashes))
	}
	return c.profile(tasks[1], tasks[3])
}

// hashing hashes as many bytes as it is told to, which are at hand.
func hashing(n string) error {
	left, err := strconv.ParseInt(n, 10, 64)
	sum, buffer := sha256.New(), make([]byte, 256<<10)
	for ; left > 0; left -= int64(len(buffer)) {
		sum.Write(buffer[:min(left, int64(len(buffer)))])
	}
	return err
}

// profile prints which functions, the system's too, tasks spend their time in, as
// perf samples them.
func (b *bench) profile(tasks ...task) error {
	if _, err := exec.LookPath("perf"); err != nil {
		b.printf("\nNo profile: %s\n", err)
		return nil
	}
	symbols, data := b.path("airlift-symbols"), b.path("perf.data") // bin/airlift has no symbols
	root := filepath.Dir(filepath.Dir(b.airlift))
	if _, err := b.measure(task{args: []string{"go", "build", "-o", symbols, "./cmd/airlift"}, dir: root}); err != nil {
		return err
	}
	for _, t := range tasks {
		t.args = append([]string{"perf", "record", "-q", "-F", "499", "-o", data, symbols}, t.args[1:]...)
		if _, err := b.measure(t); err != nil {
			return err
		}
		report := exec.CommandContext(b.ctx, "perf", "report", "-i", data, "--stdio", "-q", "--sort", "symbol", "--percent-limit", "1.5")
		lines, err := report.Output()
		if err != nil {
			return err
		}
		b.printf("\nWhere `%s` spends its time, of `perf record -F 499`:\n\n```\n%s\n```\n", t.program, strings.TrimSpace(string(lines)))
	}
	return nil
}
