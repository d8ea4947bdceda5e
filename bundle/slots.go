package bundle

import (
	"cmp"
	"context"
	"slices"
	"sync"
)

// slots bound how much goes on at once. Of those that wait for a slot the one with
// the lowest rank gets it, and of several with the same rank the one that came first.
type slots struct {
	mu      sync.Mutex
	free    int
	waiting []waiter // in the order of their turns
}

// waiter is one that waits for its turn, which has come when the channel is closed.
type waiter struct {
	rank int
	turn chan struct{}
}

func newSlots(n int) *slots { return &slots{free: n} }

// acquire takes a slot. It fails if the context ends first, or has ended before.
func (s *slots) acquire(ctx context.Context, rank int) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	turn := s.enter(rank)
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		s.leave(turn)
		return ctx.Err()
	}
}

// enter gives the channel that is closed when the turn has come.
func (s *slots) enter(rank int) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := waiter{rank, make(chan struct{})}
	at, _ := slices.BinarySearchFunc(s.waiting, rank+1, func(w waiter, rank int) int { return cmp.Compare(w.rank, rank) })
	s.waiting = slices.Insert(s.waiting, at, w)
	s.serve()
	return w.turn
}

// leave waits no longer; a turn that has come all the same goes to the next.
func (s *slots) leave(turn chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.waiting)
	s.waiting = slices.DeleteFunc(s.waiting, func(w waiter) bool { return w.turn == turn })
	if len(s.waiting) == before {
		s.free++
		s.serve()
	}
}

// release gives a slot back.
func (s *slots) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free++
	s.serve()
}

// serve gives free slots to those whose turn it is.
func (s *slots) serve() {
	for s.free > 0 && len(s.waiting) > 0 {
		close(s.waiting[0].turn)
		s.waiting = slices.Delete(s.waiting, 0, 1)
		s.free--
	}
}
