package oci_test

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"airlift/oci"
)

// crowd is a registry that answers a number of requests together, each with what
// the round gives, and knows how many it ever had at once in a round.
type crowd struct {
	mu     sync.Mutex
	rounds []round
	here   int // that wait in the round
	asking int // that have no answer yet
	most   []int
	fault  string        // a round in which there were too many
	open   chan struct{} // closed when the round is full
}

// round is so many requests that are answered together with a status.
type round struct{ together, status int }

func (c *crowd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v2/" {
		return
	}
	c.mu.Lock()
	if len(c.most) == len(c.rounds) { // the last one is over
		c.mu.Unlock()
		w.WriteHeader(http.StatusOK)
		return
	}
	now := c.rounds[len(c.most)]
	if c.asking++; c.asking > now.together {
		c.fault = fmt.Sprintf("%d at once in round %d", c.asking, len(c.most))
	}
	if c.here++; c.here == now.together {
		c.most, c.here = append(c.most, now.together), 0
		close(c.open)
		c.open = make(chan struct{})
		c.mu.Unlock()
	} else {
		open := c.open
		c.mu.Unlock()
		<-open
	}
	c.mu.Lock()
	c.asking--
	c.mu.Unlock()
	w.WriteHeader(now.status)
}

// TestOverload: a registry that says to be overloaded gets half as many requests at
// once, once for all of those that it had together; good answers bring them back
// one by one. Each round ends only if so many come at once, and no more may come.
func TestOverload(t *testing.T) {
	c := &crowd{open: make(chan struct{}), rounds: []round{{8, 429}, {4, 503}, {2, 200}, {2, 200}, {2, 200}, {2, 200}, {2, 200}, {3, 200}}}
	s := serve(t, c.ServeHTTP)
	var told []string
	var mu sync.Mutex
	client := newClient(t, oci.Options{Insecure: []string{s.host}, Jobs: 8, Backoff: time.Microsecond, Notice: func(text string) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, text)
	}})
	var all sync.WaitGroup
	for range 17 { // 8 and 4 of them are asked again
		all.Go(func() {
			if _, err := client.HasBlob(background, parse(t, s.host+"/a"), blobOf(nil)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(c.most) != len(c.rounds) || c.fault != "" {
		t.Errorf("%d rounds of %d; %s", len(c.most), len(c.rounds), c.fault)
	}
	if want := s.host + " answers 429: it gets at most 4 requests at once"; len(told) == 0 || told[0] != want {
		t.Errorf("told %q, want first %q", told, want)
	}
	if n := client.Paces(s.host); n < 3 {
		t.Errorf("in the end it gets %d at once", n)
	}
}

// TestPullsHaveNoPace: what a registry answers to pulls says nothing of how many pushes
// it can take at once.
func TestPullsHaveNoPace(t *testing.T) {
	var status atomic.Int32
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(status.Load())) })
	client := newClient(t, oci.Options{Insecure: []string{s.host}, Jobs: 4})
	ask := func(does int32, times int, do func() error) {
		status.Store(does)
		for range times {
			_ = do()
		}
	}
	pull := func() error { return client.CanPullBlob(background, parse(t, s.host+"/a"), blobOf(nil)) }
	ask(429, 2, pull)
	if n := client.Paces(s.host); n != 4 {
		t.Errorf("after pulls that failed it gets %d at once", n)
	}
	ask(429, 1, func() error { _, err := client.HasBlob(background, parse(t, s.host+"/a"), blobOf(nil)); return err })
	before := client.Paces(s.host)
	ask(200, 50, pull)
	if n := client.Paces(s.host); n != before || n == 4 {
		t.Errorf("after good pulls it gets %d at once, not %d", n, before)
	}
}

// TestRetryAfterHoldsAll: when one request was told to wait, no other goes to that
// registry before; and when another is told to wait for longer, those that wait do so too.
func TestRetryAfterHoldsAll(t *testing.T) {
	var mu sync.Mutex
	var until time.Time
	waiting, lates := make(chan struct{}), 0
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		late := strings.HasPrefix(r.URL.Path, "/v2/late/")
		if late {
			<-waiting
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case late && lates == 0:
			lates++
			until = time.Now().Add(2 * time.Second)
			w.Header().Set("Retry-After", "2")
			w.WriteHeader(http.StatusServiceUnavailable)
		case until.IsZero():
			until = time.Now().Add(time.Second)
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		case time.Now().Before(until):
			t.Errorf("%s %s came %s early", r.Method, r.URL.Path, time.Until(until))
		}
	})
	release := sync.OnceFunc(func() { close(waiting) })
	t.Cleanup(release) // whatever fails, the server can be closed
	client := newClient(t, oci.Options{Insecure: []string{s.host}, Tries: 2})
	var all sync.WaitGroup
	all.Go(func() { _, _ = client.HasBlob(background, parse(t, s.host+"/late"), blobOf(nil)) })
	for len(s.seen()) == 0 {
		runtime.Gosched()
	}
	ended := make(chan struct{})
	all.Go(func() {
		defer close(ended)
		_, _ = client.HasBlob(background, parse(t, s.host+"/a"), blobOf(nil))
	})
	for client.Rests(s.host) == 0 { // until it was told
		select {
		case <-ended:
			t.Fatal("nobody rests")
		default:
			runtime.Gosched()
		}
	}
	for _, do := range []func(){
		func() { _, _ = client.HasBlob(background, parse(t, s.host+"/b"), blobOf(nil)) },
		func() { _, _ = client.Node(background, parse(t, s.host+"/c:t")) },
	} {
		all.Go(do)
	}
	<-time.After(200 * time.Millisecond) // they rest by now
	release()
	all.Wait()
}
