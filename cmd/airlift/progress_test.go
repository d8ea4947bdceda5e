package main

import (
	"bytes"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"airlift/bundle"
)

// plainProgress draws lines to a buffer, at times that the test sets.
func plainProgress() (p *progress, out *bytes.Buffer, at func(seconds int)) {
	out = new(bytes.Buffer)
	clock := time.Unix(1000, 0)
	p = &progress{out: out, now: func() time.Time { return clock }}
	return p, out, func(seconds int) { clock = time.Unix(1000+int64(seconds), 0) }
}

func fetched(done, total int64) bundle.Event {
	return bundle.Event{Phase: "fetch", Unit: "bytes", Done: done, Total: total}
}

func TestPlainLines(t *testing.T) {
	p, out, at := plainProgress()
	p.event(bundle.Event{Phase: "plan", Unit: "images", Done: 1})
	at(9)
	p.event(bundle.Event{Phase: "plan", Unit: "images", Done: 2})
	at(10)
	p.event(bundle.Event{Phase: "plan", Unit: "images", Done: 40})
	at(12)
	p.event(fetched(0, 1_000_000_000))
	at(21)
	p.event(fetched(90_000_000, 1_000_000_000))
	at(22)
	p.event(fetched(100_000_000, 1_000_000_000))
	p.event(bundle.Event{Phase: "fetch", Note: "waiting for quay.io\x1b[2J"})
	at(31)
	p.event(fetched(190_000_000, 1_000_000_000))
	at(32)
	p.event(fetched(1_000_000_000, 1_000_000_000))
	at(33)
	p.close()
	p.close()
	want := `airlift: plan: 40 images
airlift: plan: 40 images in 12s
airlift: fetch: 100 MB of 1.0 GB (10 %), 10 MB/s, 1m30s left
airlift: waiting for quay.io\x1b[2J
airlift: fetch: 1.0 GB, 50 MB/s
airlift: fetch: 1.0 GB in 21s
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out, want)
	}
}

// What an earlier run has done counts for the amount, not for the rate.
func TestPlainLinesOfAResumedRun(t *testing.T) {
	p, out, at := plainProgress()
	p.event(fetched(500_000_000, 1_000_000_000))
	at(10)
	p.event(fetched(600_000_000, 1_000_000_000))
	want := `airlift: fetch: 500 MB of 1.0 GB (50 %) are there already
airlift: fetch: 600 MB of 1.0 GB (60 %), 10 MB/s, 40s left
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out, want)
	}
}

func TestQuiet(t *testing.T) {
	p, out, at := plainProgress()
	p.quiet = true
	p.event(fetched(0, 100))
	at(60)
	p.event(fetched(10, 100))
	p.event(bundle.Event{Note: "note"})
	p.close()
	if out.Len() != 0 {
		t.Errorf("got %s", out)
	}
}

// drawn gives what a terminal of 80 columns received from what draw did.
func drawn(t *testing.T, draw func(p *progress)) string {
	t.Helper()
	screen, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(screen, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
		t.Fatal(err)
	}
	received := make(chan string)
	go func() {
		text, _ := io.ReadAll(screen) // ends with EIO when the terminal is closed
		received <- string(text)
	}()
	draw(&progress{out: terminal, bars: true, now: time.Now})
	terminal.Close()
	defer screen.Close()
	return strings.ReplaceAll(<-received, "\r\n", "\n")
}

func TestBar(t *testing.T) {
	text := drawn(t, func(p *progress) {
		p.event(fetched(1_000_000_000, 3_000_000_000))
		p.event(fetched(2_000_000_000, 3_000_000_000))
		p.event(bundle.Event{Phase: "fetch", Note: "a note"})
		p.event(fetched(3_000_000_000, 3_000_000_000))
		p.event(bundle.Event{Phase: "verify", Unit: "images", Total: 4})
		p.event(bundle.Event{Phase: "verify", Unit: "images", Done: 3, Total: 4})
		p.close()
	})
	for _, want := range []string{
		"airlift: fetch: 1.0 GB of 3.0 GB (33 %) are there already\n",
		"airlift: fetch  50% [", // of what remains
		"1.0/2.0 GB",
		"\rairlift: a note\n",
		"airlift: fetch 100% [",
		"airlift: verify  75% [",
		"(3/4",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q", want)
		}
	}
	if !strings.HasSuffix(text, "\n") || strings.HasSuffix(text, "\n\n") {
		t.Error("the bar's line is not ended, or ended twice")
	}
	for _, line := range strings.FieldsFunc(text, func(r rune) bool { return r == '\r' || r == '\n' }) {
		if len(line) > 80 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	if t.Failed() {
		t.Logf("%q", text)
	}
	stacks := make([]byte, 1<<20)
	if stacks = stacks[:runtime.Stack(stacks, true)]; bytes.Contains(stacks, []byte("schollz/progressbar")) {
		t.Errorf("the bar left a goroutine:\n%s", stacks)
	}
}

// Rate and time left are on a bar that is under way.
func TestBarShowsRateAndTimeLeft(t *testing.T) {
	text := drawn(t, func(p *progress) {
		p.event(fetched(0, 1000))
		p.event(fetched(10, 1000))
		p.close()
	})
	frame := text[strings.LastIndex(text, "\r"):]
	if !strings.Contains(frame, "B/s") || !strings.Contains(frame, "[0s:") {
		t.Errorf("got %q of %q", frame, text)
	}
}

// Bytes that were cut off and a total that turns out another do no harm.
func TestBarThatGoesBack(t *testing.T) {
	text := drawn(t, func(p *progress) {
		p.event(fetched(0, 100))
		p.event(fetched(100, 100))
		p.event(fetched(0, 100))
		p.event(fetched(50, 200))
		p.event(fetched(500, 200))
		p.event(fetched(500, 200))
		p.close()
	})
	if !strings.Contains(text, " 25% [") || !strings.HasSuffix(text, "\n") {
		t.Errorf("got %q", text)
	}
}

// Without a total, or with nothing left, a terminal gets plain lines.
func TestNoBarWithoutTotal(t *testing.T) {
	text := drawn(t, func(p *progress) {
		p.event(bundle.Event{Phase: "plan", Unit: "images", Done: 1})
		p.event(bundle.Event{Phase: "plan", Unit: "images", Done: 2})
		p.event(fetched(100, 100))
		p.close()
	})
	want := "airlift: plan: 2 images in 0s\nairlift: fetch: 100 B are there already\nairlift: fetch: 100 B in 0s\n"
	if text != want {
		t.Errorf("got %q", text)
	}
}

func TestBarsFit(t *testing.T) {
	screen, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer screen.Close()
	defer terminal.Close()
	pipe, other, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	defer other.Close()
	for _, test := range []struct {
		name, term, ci string
		file           *os.File
		want           bool
	}{
		{"terminal", "xterm", "", terminal, true},
		{"dumb", "dumb", "", terminal, false},
		{"CI", "xterm", "true", terminal, false},
		{"pipe", "xterm", "", other, false},
	} {
		t.Setenv("TERM", test.term)
		t.Setenv("CI", test.ci)
		if got := barsFit(test.file); got != test.want {
			t.Errorf("%s: got %v", test.name, got)
		}
	}
}
