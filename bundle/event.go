package bundle

import "sync"

// Event is one fact about work under way. The package reports, the caller draws.
type Event struct {
	Phase string // what is being done: "plan", "ask", "fetch", "recheck", "verify", "base", "push", "check"
	Unit  string // of Done and Total: "bytes", "images", "blobs" or "references"
	Done  int64  // so far in this phase
	Total int64  // of this phase; 0 while it is not known
	Note  string // a line worth showing by itself, else ""
}

// Progress takes events. Those of a phase come one after the other; a note may
// come at any time, from another goroutine. The first event of a phase comes
// before its work, with what was done by an earlier run. It must not block for
// long: the work waits for it.
type Progress func(Event)

// tally counts one phase. Its methods may be called by several goroutines.
type tally struct {
	mu       sync.Mutex
	event    Event
	progress Progress
}

// begin announces a phase of total units.
func (p Progress) begin(phase, unit string, total int64) *tally {
	return p.resume(phase, unit, 0, total)
}

// resume announces a phase of total units, of which some were done by an earlier
// run.
func (p Progress) resume(phase, unit string, done, total int64) *tally {
	t := &tally{event: Event{Phase: phase, Unit: unit, Done: done, Total: total}, progress: p}
	t.add(0)
	return t
}

// add counts n more units; fewer, if n is negative.
func (t *tally) add(n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.event.Done += n
	if t.progress != nil {
		t.progress(t.event)
	}
}

// note says something worth a line of its own.
func (p Progress) note(text string) {
	if p != nil {
		p(Event{Note: text})
	}
}
