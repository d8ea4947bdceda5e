package oci

import (
	"fmt"
	"sync"
	"time"
)

// noticeLimit is how long the network may give nothing before somebody is told,
// and how long nobody is told the same again.
const noticeLimit = 10 * time.Second

// What is waited for, as people are told it of a host and a time.
const (
	waitAnswer = "%s has not answered for %s"
	waitData   = "no data from %s for %s"
	waitTaken  = "%s has taken no data for %s"
)

// notices tells what people wait for. Several connections to a host stall
// together: that is one fact, and is told once.
type notices struct {
	tell  func(string) // nil = nobody
	limit time.Duration

	mu   sync.Mutex
	told map[string]time.Time // by what is told and of which host
}

// again says that something that a host was asked for has failed, and when it
// is tried again. Waits that nobody notices are not told; those that hosts ask
// for are of whole seconds.
func (n *notices) again(host string, err error, wait time.Duration) {
	if wait >= time.Second {
		n.about("again", host, fmt.Sprintf("%v; trying again in %s", err, wait.Round(time.Second)))
	}
}

// about tells a fact of a host, but not one that was just told.
func (n *notices) about(fact, host, text string) {
	if n.tell == nil {
		return
	}
	n.mu.Lock()
	key := fact + " " + host
	early := time.Since(n.told[key]) < n.limit
	if !early {
		n.told[key] = time.Now()
	}
	n.mu.Unlock()
	if !early {
		n.tell(printable(text))
	}
}

// waiting tells of one try that it waits for the network, after the limit and
// once more after three times that. Its host is the one asked last: the storage
// or the token service that the registry named, if it named one.
type waiting struct {
	told   *notices
	try    *note
	timers [2]*time.Timer
	after  [2]time.Duration

	mu    sync.Mutex
	what  string // one of the above; empty while it does not wait
	since time.Time
}

// waiting begins to wait for the answer to a try.
func (n *notices) waiting(try *note) *waiting {
	w := &waiting{told: n, try: try, after: [2]time.Duration{n.limit, 3 * n.limit}, what: waitAnswer, since: time.Now()}
	for i, after := range w.after {
		w.timers[i] = time.AfterFunc(after, func() { w.tell(after) })
	}
	return w
}

// tell tells of the wait that is under way, unless it began only now: a timer
// may go off while it is stopped.
func (w *waiting) tell(after time.Duration) {
	w.mu.Lock()
	what, since := w.what, w.since
	w.mu.Unlock()
	if what != "" && time.Since(since) >= after {
		host := w.try.asked()
		w.told.about(what, host, fmt.Sprintf(what, host, after))
	}
}

func (w *waiting) start(what string) {
	w.set(what)
	for i, t := range w.timers {
		t.Reset(w.after[i])
	}
}

func (w *waiting) stop() {
	w.set("")
	for _, t := range w.timers {
		t.Stop()
	}
}

func (w *waiting) set(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.what, w.since = what, time.Now()
}
