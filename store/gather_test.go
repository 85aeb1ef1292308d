package store

import (
	"context"
	"runtime"
	"sync"
	"testing"
)

// A quickStore counts batches.
type quickStore struct {
	Store
	batches int
}

func (s *quickStore) Commit(context.Context, []Op) error {
	s.batches++
	return nil
}

// TestCommitterAwaitsOthers: those who have something to commit and can run share batches with
// the first of them, although the store takes no time and there is one processor.
func TestCommitterAwaitsOthers(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	s := new(quickStore)
	c := NewCommitter(s, CommitterOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- c.Run(ctx) }()
	const rounds, callers = 50, 8
	for range rounds {
		var all sync.WaitGroup
		for range callers {
			all.Go(func() {
				if err := c.Do(ctx, &Append{}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if s.batches > rounds*callers/2 {
		t.Errorf("%d batches for %d times %d callers", s.batches, rounds, callers)
	}
}
