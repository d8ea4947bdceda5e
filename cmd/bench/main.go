// Command bench measures bin/airlift beside its peers and beside a floor: a
// program that does no more than has to be done. All that is compared is run in
// turn, round after round, and what counts are ratios within a run: absolute
// times depend on the machine. It prints tables, those of docs/benchmarks.md.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	switch args := os.Args[1:]; {
	case len(args) == 5 && floorVerbs[args[0]] != nil:
		return floor(ctx, args)
	case len(args) == 3 && args[0] == "fill" && works[args[1]].fill != nil:
		return fill(args[1], args[2])
	case len(args) == 2 && args[0] == "hash":
		return hashing(args[1])
	}
	rounds := flag.Int("rounds", 5, "rounds of every contest")
	dir := flag.String("dir", "", "work there, on the file system to be measured; needs 16 GB (default: a new temporary directory)")
	only := flag.String("only", "", "part of the name of the only contest to run")
	report := flag.String("report", "", "file to put the tables into, below its mark")
	flag.Parse()
	if *rounds < 1 || *report != "" && *only != "" {
		return errors.New("-rounds is 1 or more, and -report takes all contests")
	}
	b, err := newBench(ctx, *dir, *rounds)
	if err != nil {
		return err
	}
	defer b.close()
	b.machine()
	for _, c := range contests {
		if !strings.Contains(c.name, *only) {
			continue
		}
		fmt.Fprintf(os.Stderr, "bench: %s\n", c.name)
		if err := c.run(b); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	if *report == "" {
		return nil
	}
	return b.save(*report)
}

// contests are what is measured, in the order of the tables.
var contests = []struct {
	name string
	run  func(*bench) error
}{
	{"release", func(b *bench) error {
		return b.carry("release", (*carriage).exports, (*carriage).verifies, (*carriage).imports, (*carriage).again, (*carriage).cpu)
	}},
	{"small blobs", func(b *bench) error { return b.carry("small", (*carriage).exports, (*carriage).imports) }},
	{"many images", (*bench).many},
	{"long link", (*bench).link},
	{"vast plan", (*bench).vast},
}

// bench is the place where everything is run.
type bench struct {
	ctx     context.Context
	dir     string // its own
	airlift string
	self    string // this program
	peers   string // the directory of the peers' programs
	rounds  int
	key     string // path of a signing key; .pub is beside it
	printed bytes.Buffer
}

func newBench(ctx context.Context, dir string, rounds int) (*bench, error) {
	airlift, err := filepath.Abs("bin/airlift")
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	own, err := os.MkdirTemp(dir, "airlift-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{ctx: ctx, dir: own, airlift: airlift, self: self, rounds: rounds, key: filepath.Join(own, "bench.key")}
	b.peers, err = installPeers(ctx)
	if err == nil {
		_, err = b.measure(task{args: []string{airlift, "keygen", "--output", strings.TrimSuffix(b.key, ".key")}})
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(own))
	}
	return b, nil
}

func (b *bench) close() { _ = os.RemoveAll(b.dir) }

// path is a place in the bench's directory.
func (b *bench) path(elem ...string) string {
	return filepath.Join(append([]string{b.dir}, elem...)...)
}
