package bundle

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

// TestSlots: turns go by rank, and by who came first; a turn that nobody waits for any
// more goes to the next.
func TestSlots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, leave := newSlots(2), context.CancelFunc(nil)
		must(t, s.acquire(t.Context(), 9))
		must(t, s.acquire(t.Context(), 9))
		var mu sync.Mutex
		var came []int
		for i, rank := range []int{3, 1, 2, 1, 3} {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if rank == 2 {
				leave = cancel
			}
			go func() {
				if s.acquire(ctx, rank) == nil {
					mu.Lock()
					defer mu.Unlock()
					came = append(came, i)
				}
			}()
			synctest.Wait()
		}
		leave()
		synctest.Wait()
		for range 4 {
			s.release()
			synctest.Wait()
		}
		if want := []int{1, 3, 0, 4}; !slices.Equal(came, want) {
			t.Errorf("they came in the order %v, want %v", came, want)
		}
		turn := s.enter(1)
		s.release() // it has come
		s.leave(turn)
		must(t, s.acquire(t.Context(), 1))
	})
}
