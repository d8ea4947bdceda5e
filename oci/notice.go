package oci

import (
	"fmt"
	"sync"
	"sync/atomic"
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
	what   atomic.Value // string, one of the above
	timers [2]*time.Timer
	after  [2]time.Duration
}

// waiting begins to wait for the answer to a try.
func (n *notices) waiting(try *note) *waiting {
	w := &waiting{after: [2]time.Duration{n.limit, 3 * n.limit}}
	w.what.Store(waitAnswer)
	for i, after := range w.after {
		w.timers[i] = time.AfterFunc(after, func() {
			what, host := w.what.Load().(string), try.asked()
			n.about(what, host, fmt.Sprintf(what, host, after))
		})
	}
	return w
}

func (w *waiting) start(what string) {
	w.what.Store(what)
	for i, t := range w.timers {
		t.Reset(w.after[i])
	}
}

func (w *waiting) stop() {
	for _, t := range w.timers {
		t.Stop()
	}
}
