package main

// The rules of the interface.
//
//   - Results go to stdout. All else goes to stderr, one fact a line:
//     "airlift: …" says what happened, "airlift: hint: …" what to do next.
//   - An error says what is damaged or refused and where; errors that were
//     joined stand on a line each. A failed run leaves nothing half-made.
//   - Whatever came from a registry or a medium is printed with its control
//     characters escaped.
//   - Progress is a bar on a terminal and plain lines elsewhere, where TERM is
//     dumb and where CI is set; --quiet is silence. No colours are printed, so
//     NO_COLOR is honoured by nature.
//   - Flags stand before or after the arguments; "--" ends them; "-" is an argument.
//   - Ctrl-C (or SIGTERM) ends the work at a clean place; a second one kills.
//   - The exit code is one of these; where several apply, the first of
//     5, 4, 7, 6, 1, 8, 3 wins:
//
//     0    complete
//     1    failed
//     2    usage: asked for what cannot be done, nothing was begun
//     3    complete but for what the inventory records as missing, for sparse lists
//     that the registry refused, or for what a cluster could not pull, all of it listed
//     4    damaged content
//     5    not signed by a trusted key
//     6    no space
//     7    volumes absent
//     8    locked by another run; an import that had pushed by then wrote no report,
//     objects or receipt
//     130  interrupted by SIGINT
//     143  interrupted by SIGTERM

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"airlift/bundle"
)

// printError writes each of the joined errors on a line, then the hints.
func printError(w io.Writer, err error) {
	var lines, hints []string
	for _, f := range faults(err) {
		switch {
		case errors.Is(f.err, context.Canceled):
			f.text = "interrupted"
		case errors.Is(f.err, bundle.ErrUsage): // the exit code says which class it is
			f.text = strings.Replace(f.text, bundle.ErrUsage.Error()+": ", "", 1)
		}
		lines = append(lines, f.text)
		if hint := hintFor(f.err); hint != "" {
			hints = append(hints, "hint: "+hint)
		}
	}
	lines = append(lines, hints...)
	for i, text := range lines {
		if !slices.Contains(lines[:i], text) {
			say(w, "%s", text)
		}
	}
}

// say writes one of the lines that stderr holds.
func say(w io.Writer, format string, args ...any) {
	fmt.Fprintf(w, "airlift: %s\n", printable(fmt.Sprintf(format, args...)))
}

// saidLines says what is written to it, a line at a time.
type saidLines struct{ begun []byte }

func (l *saidLines) Write(p []byte) (int, error) {
	l.begun = append(l.begun, p...)
	for {
		line, rest, ended := bytes.Cut(l.begun, []byte("\n"))
		if !ended {
			return len(p), nil
		}
		say(os.Stderr, "%s", line)
		l.begun = rest
	}
}

// printable is s with every character that a terminal would act on, or not
// show, escaped as in a Go string; line ends too.
func printable(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, width := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && width == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
		s = s[width:]
	}
	return b.String()
}

// count words a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
