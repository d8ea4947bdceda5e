package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"airlift/oci/ocitest"
)

// TestExportAsksForMedia: when a medium is full it is completed and the next one is
// asked for; what cannot be one is said, and asked for again. Together the media
// are the bundle.
func TestExportAsksForMedia(t *testing.T) {
	key := keyPair(t)
	host, asked, _ := sharing(t)
	media, taken := smallMedia(t), t.TempDir()
	airlift(t, exportFrom(host, key, taken, "--image", "quay.io/team/app0:v1")...).exits(t, 0)
	c := talk(t, t.TempDir(), slices.DeleteFunc(exportFrom(host, key, media[0], asked...), func(s string) bool { return s == "--quiet" })...)
	c.reply(taken + "\n")
	c.reply(media[1] + "\n")
	c.reply("\n") // the one that is full
	c.reply(media[2] + "\n")
	if code := c.end(); code != exitComplete {
		t.Errorf("code %d, shown %q", code, c.shown)
	}
	c.wantShown(
		media[0]+" is complete and full; volumes 4 to ", "put in the next medium and press Enter ["+media[0]+"]",
		taken+" holds another bundle", media[0]+" is complete and full",
		media[1]+" is complete and full; volumes 6 to ", "holds another part of this bundle", media[1]+" is complete and full",
		"3 media: 4 images, ")
	verified(t, key, media[:]...)
}

// TestExportNoMoreMedia: whoever has no other ends it, with lines to go on with: with
// the medium that is full, or without it.
func TestExportNoMoreMedia(t *testing.T) {
	key := keyPair(t)
	host, asked, _ := sharing(t)
	first := tmpfs(t, 5_000_000)
	for stop, code := range map[string]int{"q\n": exitNoSpace, "\x04": exitNoSpace, "\x03": 130} {
		next, away := tmpfs(t, 20_000_000), t.TempDir()
		c := talk(t, t.TempDir(), exportFrom(host, key, first, asked...)...)
		c.reply(stop)
		if got := c.end(); got != code {
			t.Errorf("%q: code %d, shown %q", stop, got, c.shown)
		}
		c.wantShown("go on with: airlift export", "--continue-on NEXT", "--from bundle.json --volume 4- --output NEXT")
		lines := goOn(t, c.shown)
		inShell(t, away, strings.ReplaceAll(lines[0], "NEXT", next))
		verified(t, key, first, next)
		emptied(t, next)
		inShell(t, away, "cp "+first+"/bundle.json . && "+strings.ReplaceAll(lines[1], "NEXT", next))
		verified(t, key, first, next)
	}
}

// goOn are the lines that a hint gives.
func goOn(t *testing.T, text string) (lines []string) {
	t.Helper()
	for _, rest := range strings.Split(text, "go on with: ")[1:] {
		line, _, _ := strings.Cut(rest, "\n")
		line, _, _ = strings.Cut(line, "; ")
		lines = append(lines, strings.TrimSpace(line))
	}
	if lines == nil {
		t.Fatalf("nothing says how to go on: %q", text)
	}
	return lines
}

func inShell(t *testing.T, dir, line string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
}

// wantVolumes fails unless a medium has these volumes of a whole bundle, by their
// numbers, and no others.
func wantVolumes(t *testing.T, whole, medium string, numbers ...int) {
	t.Helper()
	want := map[string]bool{}
	for _, n := range numbers {
		want[fmt.Sprintf("bundle.tar.%03d", n)] = true
	}
	for _, name := range differ(t, whole, medium) {
		if _, err := os.Stat(filepath.Join(medium, name)); want[name] || err == nil && strings.HasPrefix(name, "bundle.") {
			t.Errorf("%s: %s is not as it should be", medium, name)
		}
	}
}

// TestRangeOverMedia: volumes that were asked for end where they were to, on whichever
// medium that is.
func TestRangeOverMedia(t *testing.T) {
	t.Parallel()
	key, whole := keyPair(t), t.TempDir()
	host, asked, _ := sharing(t)
	airlift(t, exportFrom(host, key, whole, asked...)...).exits(t, 0)
	media := smallMedia(t)
	some := []string{"--from", filepath.Join(whole, "bundle.json"), "--volume", "2-4"}
	p := airlift(t, exportFrom(host, key, media[0], some...)...)
	p.exits(t, exitNoSpace)
	if text := p.out.String(); !strings.Contains(text, "volumes 4 to 4 of the bundle") {
		t.Error(text)
	}
	inShell(t, whole, strings.ReplaceAll(goOn(t, p.out.String())[1], "NEXT", media[1]))
	wantVolumes(t, whole, media[1], 1, 4)
	emptied(t, media[1])
	airlift(t, exportFrom(host, key, media[0], onto(media, some...)...)...).exits(t, 0)
	wantVolumes(t, whole, media[0], 1, 2, 3)
	wantVolumes(t, whole, media[1], 1, 4)
	expectEmpty(t, media[2])
}

// begunAndFull makes a medium of a whole bundle on which a volume was begun that does
// not fit any more, and the volumes before it.
func begunAndFull(t *testing.T, whole, medium string, begun int, before ...int) {
	t.Helper()
	var names []string
	for _, n := range append(before, begun) {
		names = append(names, fmt.Sprintf("bundle.tar.%03d", n))
	}
	entries, err := os.ReadDir(whole)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name := e.Name(); !strings.HasPrefix(name, "SHA256SUMS") && (!strings.HasPrefix(name, "bundle.tar") || slices.Contains(names, name)) {
			copyFile(t, filepath.Join(whole, name), filepath.Join(medium, name), -1)
		}
	}
	last := names[len(names)-1]
	copyFile(t, filepath.Join(whole, last), filepath.Join(medium, last), 500_000)
	for name, size := range map[string]int{"bundle.checkpoint": 0, "ballast": 1_500_000} {
		if err := os.WriteFile(filepath.Join(medium, name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// copyFile copies so many bytes of a file, all with -1.
func copyFile(t *testing.T, from, to string, n int) {
	t.Helper()
	data, err := os.ReadFile(from)
	if n >= 0 {
		data = data[:n]
	}
	if err == nil {
		err = os.WriteFile(to, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// moved takes what is on a medium to another place, as if it were taken out.
func moved(t *testing.T, medium string) (away string) {
	t.Helper()
	away = filepath.Join(t.TempDir(), "away")
	if err := os.CopyFS(away, os.DirFS(medium)); err != nil {
		t.Fatal(err)
	}
	emptied(t, medium)
	return away
}

// TestSealedAsWritten: a later medium, whose last volume went to the next one, is
// completed with what it was to have, though the medium before it is gone by then and
// a wrong one was given first; and it is read back, as the others are.
func TestSealedAsWritten(t *testing.T) {
	key, whole := keyPair(t), t.TempDir()
	host, asked, _ := sharing(t)
	airlift(t, exportFrom(host, key, whole, asked...)...).exits(t, 0)
	media := smallMedia(t)
	begunAndFull(t, whole, media[1], 5, 1, 4)
	taken := t.TempDir()
	airlift(t, exportFrom(host, key, taken, "--image", "quay.io/team/app0:v1")...).exits(t, 0)
	same := []string{"--from", filepath.Join(whole, "bundle.json"), "--volume", "1-", "--read-back"}
	c := talk(t, t.TempDir(), exportFrom(host, key, media[0], same...)...)
	c.reply(media[1] + "\n")
	c.asked()
	first := moved(t, media[0])
	c.reply("\n") // the one that is needed yet
	c.reply(taken + "\n")
	c.reply(media[2] + "\n")
	if code := c.end(); code != exitComplete {
		t.Errorf("code %d, shown %q", code, c.shown)
	}
	c.wantShown("volumes 4 to 6", media[1]+" is full; volumes 5 to 6", media[1]+" has to stay until", taken+" holds another bundle", "3 media: ", "read back")
	verified(t, key, first, media[1], media[2])
	wantVolumes(t, whole, first, 1, 2, 3)
	wantVolumes(t, whole, media[1], 1, 4)
	wantVolumes(t, whole, media[2], 1, 5, 6)
}

// TestGoneBeforeSealed: a medium that is taken out before it is complete is missed, and
// the line that is given completes it once it is back.
func TestGoneBeforeSealed(t *testing.T) {
	t.Parallel()
	key, whole := keyPair(t), t.TempDir()
	host, asked, _ := sharing(t)
	airlift(t, exportFrom(host, key, whole, asked...)...).exits(t, 0)
	media := smallMedia(t)
	begunAndFull(t, whole, media[0], 3, 1, 2)
	var away string
	var once sync.Once
	proxy := ocitest.Misbehave(t, host, func(r *http.Request) *ocitest.Fault {
		if _, err := os.Stat(filepath.Join(media[1], "bundle.json")); err == nil && strings.Contains(r.URL.Path, "/blobs/") {
			once.Do(func() { away = moved(t, media[0]) })
		}
		return nil
	})
	p := airlift(t, exportFrom(proxy.Host, key, media[0], onto(media, "--from", filepath.Join(whole, "bundle.json"), "--volume", "1-")...)...)
	p.exits(t, exitFailed)
	text := p.out.String()
	if !strings.Contains(text, media[0]+" is gone before it was complete") {
		t.Error(text)
	}
	expectEmpty(t, media[0])
	if err := os.CopyFS(media[0], os.DirFS(away)); err != nil {
		t.Fatal(err)
	}
	inShell(t, whole, goOn(t, text)[0])
	verified(t, key, media[:]...)
	wantVolumes(t, whole, media[0], 1, 2)
}

// TestReadBackOfEach: what reading back finds on a medium ends the export, though there
// are others to go on with; the lines that are given make it whole and go on.
func TestReadBackOfEach(t *testing.T) {
	t.Parallel()
	key, whole := keyPair(t), t.TempDir()
	host, asked, _ := sharing(t)
	airlift(t, exportFrom(host, key, whole, asked...)...).exits(t, 0)
	third, err := os.ReadFile(filepath.Join(whole, "bundle.tar.003"))
	if err != nil {
		t.Fatal(err)
	}
	media := smallMedia(t)
	volume := filepath.Join(media[0], "bundle.tar.002")
	var once sync.Once
	proxy := ocitest.Misbehave(t, host, func(r *http.Request) *ocitest.Fault {
		if strings.HasSuffix(r.URL.Path, string(third[13:13+64])) && r.Method == http.MethodGet { // the blob that the third volume begins with
			once.Do(func() { spoilWhenComplete(t, volume, filepath.Join(whole, "bundle.tar.002")) })
		}
		return nil
	})
	args := exportFrom(proxy.Host, key, media[0], onto(media, "--from", filepath.Join(whole, "bundle.json"), "--volume", "1-", "--read-back")...)
	p := airlift(t, args...)
	p.exits(t, exitDamaged)
	text := p.out.String()
	expectEmpty(t, media[1])
	_, mend, found := strings.Cut(text, "make it whole with: ")
	if mend, _, _ = strings.Cut(mend, ";"); !found || !strings.HasPrefix(mend, "airlift export --repair "+media[0]) || !strings.Contains(text, volume) {
		t.Fatal(text)
	}
	inShell(t, whole, mend)
	inShell(t, whole, goOn(t, text)[0])
	verified(t, key, media[:]...)
	wantVolumes(t, whole, media[0], 1, 2, 3)
}

// spoilWhenComplete changes a byte of a file as soon as it has the size of another.
func spoilWhenComplete(t *testing.T, path, other string) {
	want, err := os.Stat(other)
	for deadline := time.Now().Add(30 * time.Second); err == nil && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if got, err := os.Stat(path); err == nil && got.Size() == want.Size() {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteAt([]byte("changed"), 1000)
				err = errors.Join(err, f.Close())
			}
			if err != nil {
				t.Error(err)
			}
			return
		}
	}
	t.Errorf("%s was never complete: %v", path, err)
}

// TestWrongMedium: what is put in where the next medium belongs, and is not one, is
// refused, by name or at the prompt, and is left as it is.
func TestWrongMedium(t *testing.T) {
	key, at := keyPair(t), t.TempDir()
	host, asked, _ := sharing(t)
	whole := filepath.Join(at, "whole")
	airlift(t, exportFrom(host, key, whole, asked...)...).exits(t, 0)
	same := func(volumes string) []string {
		return []string{"--from", filepath.Join(whole, "bundle.json"), "--volume", volumes}
	}
	first := tmpfs(t, 5_000_000)
	airlift(t, exportFrom(host, key, first, same("1-")...)...).exits(t, exitNoSpace)
	wrong := map[string]string{ // and why
		"before": "holds another part of this bundle", "later": "holds another part of this bundle", "half": "another part of this bundle",
		"other": "holds another bundle", "unfinished": "unfinished export in ", "foreign": "README.txt is in the way",
	}
	dir := func(name string) string { return filepath.Join(at, name) }
	airlift(t, exportFrom(host, key, dir("before"), same("2-3")...)...).exits(t, 0)
	airlift(t, exportFrom(host, key, dir("later"), same("6")...)...).exits(t, 0)
	airlift(t, exportFrom(host, key, dir("other"), "--image", "quay.io/team/app0:v1")...).exits(t, 0)
	for from, to := range map[string]string{"later": "half", "other": "unfinished"} {
		if err := os.CopyFS(dir(to), os.DirFS(dir(from))); err != nil {
			t.Fatal(err)
		}
		inShell(t, dir(to), "rm SHA256SUMS*; touch bundle.checkpoint")
	}
	inShell(t, at, "mkdir foreign; echo photos >foreign/README.txt; echo one >foreign/1.jpg; echo text >file; cp -a . "+t.TempDir()+"/kept")
	kept := map[string]string{first: t.TempDir()}
	for name := range wrong {
		kept[dir(name)] = t.TempDir()
	}
	for from, to := range kept {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	for name, why := range wrong {
		p := airlift(t, exportFrom(host, key, first, append(same("1-"), "--continue-on", dir(name))...)...)
		p.exits(t, exitUsage)
		if text := p.out.String(); !strings.Contains(text, why) || !strings.Contains(text, dir(name)) || len(goOn(t, text)) != 2 {
			t.Errorf("%s: %s", name, text)
		}
	}
	c := talk(t, at, exportFrom(host, key, first, same("1-")...)...)
	for name, why := range wrong {
		c.reply(dir(name) + "\n")
		c.asked()
		c.wantShown(dir(name), why, first+" is complete and full")
	}
	for typed, why := range map[string]string{"\n": "another part of this bundle", "nowhere/at/all\n": "nowhere/at/all is not a directory", "file\n": "file is not a directory"} {
		c.reply(typed)
		c.asked()
		c.wantShown(why, "q ends here: ")
	}
	c.reply("q\n")
	if code := c.end(); code != exitNoSpace {
		t.Errorf("code %d, shown %q", code, c.shown)
	}
	if _, err := os.Stat(dir("nowhere")); err == nil {
		t.Error("a directory was made")
	}
	for now, before := range kept {
		if names := differ(t, before, now); names != nil {
			t.Errorf("%s was changed: %s", now, names)
		}
	}
}

// TestInterruptedLater: the line that is given when a later medium is interrupted goes
// on with that one, however it was named.
func TestInterruptedLater(t *testing.T) {
	key := keyPair(t)
	host, asked, _ := sharing(t)
	var stalled atomic.Bool
	proxy := ocitest.Misbehave(t, host, func(r *http.Request) *ocitest.Fault {
		if stalled.Load() && strings.Contains(r.URL.Path, "/blobs/") {
			return &ocitest.Fault{Delay: time.Hour}
		}
		return nil
	})
	first, next := tmpfs(t, 5_000_000), tmpfs(t, 20_000_000)
	airlift(t, exportFrom(host, key, first, asked...)...).exits(t, exitNoSpace)
	goesOn := func(c *conversation, line string) {
		t.Helper()
		for seen := proxy.Count("GET", "/blobs/"); proxy.Count("GET", "/blobs/") == seen; {
			time.Sleep(time.Millisecond)
		}
		if _, err := c.terminal.WriteString("\x03"); err != nil {
			t.Fatal(err)
		}
		if code := c.end(); code != 130 {
			t.Errorf("code %d, shown %q", code, c.shown)
		}
		stalled.Store(false)
		if got := goOn(t, c.shown); len(got) != 1 || !strings.Contains(got[0], line) {
			t.Fatalf("%q is not in %q", line, got)
		}
		inShell(t, t.TempDir(), goOn(t, c.shown)[0])
	}

	// As the command line has it; as it was typed; and without the medium before, at
	// whose place it is.
	stalled.Store(true)
	args := exportFrom(proxy.Host, key, first, append(asked, "--continue-on", next)...)
	goesOn(talk(t, t.TempDir(), args...), "airlift "+strings.Join(args, " "))
	verified(t, key, first, next)
	emptied(t, next)

	args = exportFrom(proxy.Host, key, first, asked...)
	c := talk(t, t.TempDir(), args...)
	c.asked()
	stalled.Store(true)
	c.reply(next + "\n")
	goesOn(c, "airlift "+strings.Join(args, " ")+" --continue-on "+next)
	verified(t, key, first, next)
	emptied(t, next)

	away := t.TempDir()
	c = talk(t, away, args...)
	c.asked()
	kept := moved(t, first)
	enlarge(t, first, 20_000_000)
	stalled.Store(true)
	c.reply("\n")
	goesOn(c, "airlift export --from "+first+"/bundle.json --volume 4- --output "+first)
	verified(t, key, kept, first)
}

// enlarge gives a file system in memory more room.
func enlarge(t *testing.T, dir string, size int64) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, fmt.Sprintf("size=%d", size)); err != nil {
		t.Fatal(err)
	}
}

// TestNothingMounted: when a stick was pulled out, and no other is there yet, what was
// its place is a directory of the host; nothing is written there.
func TestNothingMounted(t *testing.T) {
	key := keyPair(t)
	host, asked, _ := sharing(t)
	stick := tmpfs(t, 5_000_000)
	for _, sub := range []string{"", "bundle"} {
		dir := filepath.Join(stick, sub)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		c := talk(t, t.TempDir(), exportFrom(host, key, dir, asked...)...)
		c.asked()
		first := moved(t, dir)
		if err := unix.Unmount(stick, 0); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		c.reply("\n")
		c.reply(dir + "\n")
		c.asked()
		c.wantShown("nothing is mounted on "+stick+" any more", "q ends here: ", "nothing is mounted on "+stick+" any more")
		expectEmpty(t, dir)
		if err := unix.Mount("tmpfs", stick, "tmpfs", 0, "size=20000000"); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		c.reply("\n")
		if code := c.end(); code != exitComplete {
			t.Errorf("code %d, shown %q", code, c.shown)
		}
		verified(t, key, first, dir)
		emptied(t, stick)
		enlarge(t, stick, 5_000_000)
	}
}
