package oci

import (
	"fmt"
	"sync"
	"time"
)

// noticeLimit is how long the network may give nothing before somebody is told,
// and how long nobody is told the same again.
const noticeLimit = 10 * time.Second

// notices tells what people wait for. Several connections to a host stall
// together: that is one fact.
type notices struct {
	tell  func(string) // nil = nobody
	limit time.Duration

	mu   sync.Mutex
	told map[string]time.Time
}

// stalled says that a host has given nothing for the limit.
func (n *notices) stalled(host string) {
	n.about("stall "+host, fmt.Sprintf("nothing has come from %s for %s, still waiting", clean(host), n.limit))
}

// again says that a try has failed and is made again after a wait that people
// notice.
func (n *notices) again(err error, wait time.Duration) {
	if wait >= time.Second {
		n.about("again", fmt.Sprintf("%v; trying again in %s", err, wait.Round(time.Second)))
	}
}

func (n *notices) about(what, text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.tell == nil || time.Since(n.told[what]) < n.limit {
		return
	}
	n.told[what] = time.Now()
	n.tell(text)
}
