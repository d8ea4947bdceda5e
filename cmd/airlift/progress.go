package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"airlift/bundle"
)

// lineInterval is how often a plain line tells how far a phase is.
const lineInterval = 10 * time.Second

func quietFlag() cli.Flag {
	return &cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "show no progress"}
}

// progress draws events, from any goroutine.
//
// A bar counts from what a phase's first event has already done, so that rate
// and time left are those of this run; the amount that a run resumes from is
// told in words.
type progress struct {
	out      io.Writer
	quiet    bool
	bars     bool
	throttle time.Duration // least time between two drawings of a bar
	now      func() time.Time

	mu             sync.Mutex
	first, last    bundle.Event // of the phase under way; none where Phase is ""
	started, lined time.Time    // when the phase began, and when a line was last printed
	bar            *progressbar.ProgressBar
}

// newProgress draws on stderr as fits there; its event method is a bundle.Progress.
// The caller closes it before printing results.
func newProgress(c *cli.Context) *progress {
	return &progress{
		out:      os.Stderr,
		quiet:    c.Bool("quiet"),
		bars:     barsFit(os.Stderr),
		throttle: 100 * time.Millisecond,
		now:      time.Now,
	}
}

// barsFit says whether a line can be drawn over and somebody may be watching.
func barsFit(file *os.File) bool {
	return term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb" && os.Getenv("CI") == ""
}

func (p *progress) event(e bundle.Event) {
	if p.quiet {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Note != "" {
		p.note(e.Note)
		if e.Done == 0 && e.Total == 0 {
			return
		}
	}
	if e.Phase != p.last.Phase {
		p.end()
		p.begin(e)
	}
	p.last = e
	if p.drawBar() {
		return
	}
	if p.now().Sub(p.lined) >= lineInterval {
		p.line()
	}
}

// tell prints a line in its own right.
func (p *progress) tell(text string) { p.event(bundle.Event{Note: text}) }

// close ends the phase under way, whole or not.
func (p *progress) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end()
}

func (p *progress) end() {
	if p.quiet || p.last.Phase == "" {
		return
	}
	if p.bar != nil && !p.bar.IsFinished() {
		_ = p.bar.Exit()
	}
	if p.bar == nil && p.last.Done > 0 {
		say(p.out, "%s: %s in %s", p.last.Phase, amount(p.last), p.now().Sub(p.started).Round(time.Second))
	}
	p.last, p.bar = bundle.Event{}, nil
}

func (p *progress) begin(e bundle.Event) {
	p.first, p.started, p.lined = e, p.now(), p.now()
	if e.Done > 0 && e.Total > 0 {
		say(p.out, "%s: %s are there already", e.Phase, amount(e))
	}
}

// note prints a line in its own right, over the bar if there is one.
func (p *progress) note(text string) {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	say(p.out, "%s", text)
	if p.bar != nil && !p.bar.IsFinished() {
		_ = p.bar.RenderBlank()
	}
}

// drawBar brings the bar up to the last event, if there can be one: bars need
// a total, and a bar for nothing is an error to the library.
func (p *progress) drawBar() bool {
	left := p.last.Total - p.first.Done
	if !p.bars || left <= 0 {
		return p.bar != nil
	}
	switch {
	case p.bar == nil, p.bar.GetMax64() != left && p.bar.IsFinished():
		p.bar = p.newBar(left)
	case p.bar.GetMax64() != left:
		p.bar.ChangeMax64(left)
	}
	// The only error is of a number above the maximum.
	_ = p.bar.Set64(max(0, min(p.last.Done-p.first.Done, left)))
	return true
}

func (p *progress) newBar(size int64) *progressbar.ProgressBar {
	return progressbar.NewOptions64(size,
		progressbar.OptionSetWriter(p.out),
		progressbar.OptionSetDescription("airlift: "+p.last.Phase),
		progressbar.OptionShowBytes(p.last.Unit == "bytes"),
		progressbar.OptionShowCount(),
		progressbar.OptionSetItsString(p.last.Unit),
		progressbar.OptionThrottle(p.throttle),
		progressbar.OptionFullWidth(),
		progressbar.OptionSetTheme(progressbar.ThemeASCII),
		progressbar.OptionSetRenderBlankState(true),
		progressbar.OptionOnCompletion(func() { fmt.Fprintln(p.out) }),
	)
}

// line tells how far the phase is, and where the total is known, how fast and how long still.
func (p *progress) line() {
	p.lined = p.now()
	text := p.last.Phase + ": " + amount(p.last)
	done, spent := p.last.Done-p.first.Done, p.now().Sub(p.started)
	if done > 0 && spent > 0 && p.last.Unit == "bytes" {
		rate := float64(done) / spent.Seconds()
		text += ", " + humanize.Bytes(uint64(rate)) + "/s"
	}
	if left := p.last.Total - p.last.Done; done > 0 && left > 0 {
		wait := time.Duration(float64(spent) * float64(left) / float64(done))
		text += ", " + wait.Round(time.Second).String() + " left"
	}
	say(p.out, "%s", text)
}

// amount is "1.2 GB of 3.4 GB (35 %)", or "1.2 GB" where that is all or the
// total is not known.
func amount(e bundle.Event) string {
	if e.Total <= 0 || e.Done == e.Total {
		return quantity(e.Done, e.Unit)
	}
	return fmt.Sprintf("%s of %s (%d %%)", quantity(e.Done, e.Unit), quantity(e.Total, e.Unit),
		int64(100*float64(e.Done)/float64(e.Total)))
}

// quantity is "1.2 GB", or "1 image".
func quantity(n int64, unit string) string {
	if unit == "bytes" {
		return humanize.Bytes(uint64(max(n, 0)))
	}
	return count(int(n), strings.TrimSuffix(unit, "s"))
}
