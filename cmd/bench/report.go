package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// mark is the line of the report that stands above what is measured: the rest of
// the file is written anew, what is before it stays.
const mark = "<!-- make bench writes what follows -->\n"

// save puts what was printed into the report.
func (b *bench) save(file string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	text, _, found := bytes.Cut(old, []byte(mark))
	if !found {
		return fmt.Errorf("%s has no line %q", file, strings.TrimSpace(mark))
	}
	return os.WriteFile(file, append(append(text, mark...), b.printed.Bytes()...), 0o644)
}

// printf prints to the report and to standard output.
func (b *bench) printf(format string, args ...any) {
	fmt.Fprintf(io.MultiWriter(&b.printed, os.Stdout), format, args...)
}

// machine says where and with what it was measured.
func (b *bench) machine() {
	b.printf("\n## The machine\n\n")
	b.printf("- %s, %d cores, %.0f GiB; Linux %s\n", field("/proc/cpuinfo", "model name"), runtime.NumCPU(), memory(), release())
	b.printf("- %s on the file system of the registries, the bundles and the copies\n", fileSystem(b.dir))
	b.printf("- %s\n", firstLine(b.ctx, b.airlift, "version"))
	b.printf("- %s\n", runtime.Version())
	for _, peer := range peers {
		b.printf("- %s\n", peer)
	}
	b.printf("- %s\n", firstLine(b.ctx, "skopeo", "--version"))
	b.printf("- %s\n", firstLine(b.ctx, "docker-registry", "--version"))
	b.printf("- %s\n", firstLine(b.ctx, "sha256sum", "--version"))
	b.printf("- %d rounds behind one that is not counted; %s\n", b.rounds, time.Now().UTC().Format(time.DateOnly))
}

// firstLine is what a command says of itself.
func firstLine(ctx context.Context, args ...string) string {
	output, err := exec.CommandContext(ctx, args[0], args[1:]...).Output()
	line, _, _ := strings.Cut(string(output), "\n")
	if err != nil || line == "" {
		return args[0] + ", version unknown"
	}
	return line
}

// field is the first value of a name in a file of lines "name : value".
func field(file, name string) string {
	data, _ := os.ReadFile(file)
	for line := range strings.Lines(string(data)) {
		if key, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown " + name
}

// memory of the machine, GiB.
func memory() float64 {
	var info unix.Sysinfo_t
	_ = unix.Sysinfo(&info) // 0 is printed then
	return float64(info.Totalram) * float64(info.Unit) / (1 << 30)
}

func release() string {
	var name unix.Utsname
	_ = unix.Uname(&name)
	return unix.ByteSliceToString(name.Release[:])
}

// fileSystem is the kind of the file system of a directory.
func fileSystem(dir string) string {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return "an unknown file system"
	}
	names := map[int64]string{unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.TMPFS_MAGIC: "tmpfs", unix.OVERLAYFS_SUPER_MAGIC: "overlayfs"}
	if name, known := names[int64(s.Type)]; known {
		return name
	}
	return fmt.Sprintf("file system %#x", s.Type)
}

// table prints results with the ratio of the first, airlift, to each of them, and
// their commands. Payload is in bytes; 0 = none to speak of.
func (b *bench) table(title string, payload int64, results []result) {
	b.printf("\n### %s\n\n", title)
	b.printf("| | seconds | airlift is | CPU s | CPU s/GB | peak MiB | written MB |\n")
	b.printf("|---|---|---|---|---|---|---|\n")
	for _, r := range results {
		rate := "–"
		if payload > 0 {
			rate = fmt.Sprintf("%.2f", cpu(r)/(float64(payload)/1e9))
		}
		b.printf("| %s | %.2f | %.2f × | %.2f | %s | %.0f | %.0f |\n", r.task.program, seconds(r), ratio(results[0], r), cpu(r), rate,
			float64(median(r, func(f figures) int64 { return f.peak }))/(1<<20),
			float64(median(r, func(f figures) int64 { return f.written }))/1e6)
	}
	b.printf("\n```\n")
	for _, r := range results {
		b.printf("%s\n", b.shown(r.task))
	}
	b.printf("```\n")
}

// shown is a command without the places of this run.
func (b *bench) shown(t task) string {
	line := strings.Join(t.args, " ")
	for _, place := range []struct{ of, shown string }{
		{b.peers + "/", ""}, {b.airlift, "airlift"}, {b.self, "bench"}, {b.dir + "/", ""},
	} {
		line = strings.ReplaceAll(line, place.of, place.shown)
	}
	if words := strings.Fields(line); len(words) > 20 { // a list of images
		line = strings.Join(words[:8], " ") + " … " + words[len(words)-1]
	}
	return line
}

// seconds and cpu of the median run.
func seconds(r result) float64 {
	return median(r, func(f figures) time.Duration { return f.wall }).Seconds()
}

func cpu(r result) float64 {
	return median(r, func(f figures) time.Duration { return f.cpu }).Seconds()
}
