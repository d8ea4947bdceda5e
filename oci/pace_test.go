package oci_test

import (
	"fmt"
	"net/http"
	"runtime"
	"sync"
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
			if _, err := client.HasBlob(background, parse(t, s.host+"/a"), someBlob); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(c.most) != len(c.rounds) || c.fault != "" {
		t.Errorf("%d rounds of %d; %s", len(c.most), len(c.rounds), c.fault)
	}
	if want := s.host + " is overloaded (429): it gets at most 4 requests at once"; len(told) == 0 || told[0] != want {
		t.Errorf("told %q, want first %q", told, want)
	}
	if n := client.Paces(s.host); n < 3 {
		t.Errorf("in the end it gets %d at once", n)
	}
}

// TestRetryAfterHoldsAll: when one request was told to wait, no other goes to that
// registry before.
func TestRetryAfterHoldsAll(t *testing.T) {
	var mu sync.Mutex
	var until time.Time
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case r.URL.Path == "/v2/":
		case until.IsZero():
			until = time.Now().Add(time.Second)
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		case time.Now().Before(until):
			t.Errorf("%s %s came %s early", r.Method, r.URL.Path, time.Until(until))
		}
	})
	client := newClient(t, oci.Options{Insecure: []string{s.host}, Backoff: time.Microsecond})
	var all sync.WaitGroup
	ended := make(chan struct{})
	all.Go(func() {
		defer close(ended)
		_, _ = client.HasBlob(background, parse(t, s.host+"/a"), someBlob)
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
		func() { _, _ = client.HasBlob(background, parse(t, s.host+"/b"), someBlob) },
		func() { _, _ = client.Node(background, parse(t, s.host+"/c:t")) },
	} {
		all.Go(do)
	}
	all.Wait()
}
