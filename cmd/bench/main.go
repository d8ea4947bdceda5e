// Command bench measures bin/airlift beside its peers and beside a floor: a
// program that does no more than has to be done. All that is compared is run in
// turn, round after round, and what counts are ratios within a run: absolute
// times depend on the machine. It prints docs/benchmarks.md's tables.
package main

import (
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
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "floor-") {
		return floor(ctx, os.Args[1:])
	}
	if len(os.Args) == 4 && os.Args[1] == "fill" {
		return fill(os.Args[2], os.Args[3])
	}
	rounds := flag.Int("rounds", 5, "rounds of every contest")
	dir := flag.String("dir", "", "work there, on the file system to be measured; needs 8 GB (default: a new temporary directory)")
	only := flag.String("only", "", "part of the name of the only contest to run")
	flag.Parse()
	b, err := newBench(ctx, *dir, *rounds)
	if err != nil {
		return err
	}
	defer b.close()
	for _, c := range contests {
		if !strings.Contains(c.name, *only) {
			continue
		}
		fmt.Fprintf(os.Stderr, "bench: %s\n", c.name)
		if err := c.run(b); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

// contests are what is measured, in the order of the tables.
var contests = []struct {
	name string
	run  func(*bench) error
}{
	{"release", func(b *bench) error { return b.carry("release") }},
	{"small blobs", func(b *bench) error { return b.carry("small") }},
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
