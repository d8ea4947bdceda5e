package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// task is a command that is measured, by one program of the contest.
type task struct {
	program string
	args    []string
	dir     string       // where it runs; "" = the bench's directory
	before  func() error // makes ready, unmeasured
	sync    bool         // all that it has written is synced in the measured time, since it does not do so itself
}

// figures are what one run took.
type figures struct {
	wall    time.Duration
	cpu     time.Duration // user and system, of the command and its children
	peak    int64         // bytes of memory of its largest process
	written int64         // bytes that went to disks
}

// settle takes memory that a virtual machine has given back to its host: else the first
// to write needs seconds more.
func (b *bench) settle() error {
	const size = 2 << 30
	f, err := os.Create(b.path("settle"))
	if err != nil {
		return err
	}
	buffer := make([]byte, 1<<20)
	for n := 0; n < size && err == nil; n += len(buffer) {
		_, err = f.Write(buffer)
	}
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}

// measure runs a task once, after everything that was written before is on the disk.
func (b *bench) measure(t task) (figures, error) {
	if t.before != nil {
		if err := t.before(); err != nil {
			return figures{}, err
		}
	}
	unix.Sync()
	var output bytes.Buffer
	cmd := exec.CommandContext(b.ctx, t.args[0], t.args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = t.dir, &output, &output
	if cmd.Dir == "" {
		cmd.Dir = b.dir
	}
	cmd.Env = append(os.Environ(), "HOME="+b.dir, "REGISTRY_AUTH_FILE=", "DOCKER_CONFIG="+b.dir)
	begin := time.Now()
	err := cmd.Run()
	if t.sync {
		unix.Sync()
	}
	f := figures{wall: time.Since(begin)}
	if err != nil {
		return f, fmt.Errorf("%s: %v\n%s", strings.Join(t.args, " "), err, &output)
	}
	f.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		f.peak, f.written = usage.Maxrss<<10, usage.Oublock*512
	}
	return f, nil
}

// contest runs tasks in turn, round after round, and each round begins with another
// one: what a task leaves behind, on the disk and in memory, is not always the same one's
// to bear. The first round is not counted. It gives the figures of each task.
func (b *bench) contest(tasks []task) ([]result, error) {
	results := make([]result, len(tasks))
	for round := range b.rounds + 1 {
		for n := range tasks {
			i := (n + round) % len(tasks)
			t := tasks[i]
			if err := b.settle(); err != nil {
				return nil, err
			}
			f, err := b.measure(t)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(os.Stderr, "bench: round %d: %s: %.2f s\n", round, t.program, f.wall.Seconds())
			if round > 0 {
				results[i].runs = append(results[i].runs, f)
			}
		}
	}
	for i, t := range tasks {
		results[i].task = t
	}
	return results, nil
}

// result is all runs of one program.
type result struct {
	task task
	runs []figures
}

// median of one figure over the runs.
func median[T int64 | time.Duration | float64](r result, figure func(figures) T) T {
	all := make([]T, len(r.runs))
	for i, f := range r.runs {
		all[i] = figure(f)
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// ratio is the median of the ratios of the rounds, which holds when the speed of
// the machine drifts.
func ratio(a, b result) float64 {
	all := make([]float64, len(a.runs))
	for i := range a.runs {
		all[i] = float64(a.runs[i].wall) / float64(b.runs[i].wall)
	}
	slices.Sort(all)
	return all[len(all)/2]
}
