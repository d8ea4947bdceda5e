package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"airlift/bundle"
)

// again is the line that goes on in a directory. It names the media before, as far back
// as they are still where they were written; of one that is not complete that is wanted.
func (x *exporting) again(dir string) string {
	first, named := len(x.used), []string{dir} // named from the last one back
	for ; first > 0; first-- {
		before := x.used[first-1]
		if slices.Contains(named, before.dir) || !before.open && !isBegun(before.dir) {
			break
		}
		named = append(named, before.dir)
	}
	slices.Reverse(named)
	if first == 0 { // all of them: those behind the command line's own were typed
		return rerun(continueOn(named[min(len(named), 1+len(x.c.StringSlice("continue-on"))):])...)
	}
	after := x.options.After
	if first < len(x.used) {
		after = x.used[first].after
	}
	return x.onward(after, named[0], named[1:]...)
}

func continueOn(dirs []string) (words []string) {
	for _, dir := range dirs {
		words = append(words, "--continue-on", dir)
	}
	return words
}

// ways are the lines to go on with when a medium is full: with the media that are
// there, and, if it is complete, without it.
func (x *exporting) ways(full *bundle.NextMediumError) string {
	ways := []string{"with " + quote(full.Dir) + " there go on with: " + x.again("NEXT")}
	if !isBegun(full.Dir) && !full.Begun {
		ways = nil
	}
	if !full.Begun {
		ways = append(ways, "keep a copy of "+quote(filepath.Join(full.Dir, bundle.InventoryFile))+", take the medium out, and go on with: "+x.onward(full, "NEXT"))
	}
	return humanize.Bytes(uint64(full.Bytes)) + " are still to be written; " + strings.Join(ways, "; or ")
}

// onward is the line that writes into directories what follows a medium, without the
// media before.
func (x *exporting) onward(after *bundle.NextMediumError, dir string, more ...string) string {
	volumes := fmt.Sprintf("%d-", after.Volume)
	if x.options.Volumes.Last > 0 {
		volumes += fmt.Sprint(after.Last)
	}
	from := bundle.InventoryFile
	if isBegun(dir) {
		from = filepath.Join(dir, from)
	}
	words := []string{"--from", from, "--volume", volumes, "--output", dir}
	if x.c.IsSet("checkpoint") {
		words = append(words, "--checkpoint", x.c.String("checkpoint"))
	}
	for _, name := range []string{"skip-missing", "skip-denied", "read-back"} {
		if x.c.Bool(name) {
			words = append(words, "--"+name)
		}
	}
	return x.line(slices.Concat(words, continueOn(more))...)
}

// mending are the lines that make a complete medium whole again, and go on.
func (x *exporting) mending(dir string) string {
	return "make it whole with: " + x.line("--repair", dir) + "; then go on with: " + x.again(dir)
}

// line is a command line of export with the keys and sources of this one.
func (x *exporting) line(words ...string) string {
	for _, name := range []string{"key", "authfile"} {
		if x.c.IsSet(name) {
			words = append(words, "--"+name, x.c.String(name))
		}
	}
	for _, name := range []string{"unsigned", "quiet"} {
		if x.c.Bool(name) {
			words = append(words, "--"+name)
		}
	}
	for _, name := range []string{"source-mirror", "ca-file", "insecure-registry", "reuse"} {
		for _, value := range x.c.StringSlice(name) {
			words = append(words, "--"+name, value)
		}
	}
	for i := range words {
		words[i] = quote(words[i])
	}
	return "airlift export " + strings.Join(words, " ")
}
