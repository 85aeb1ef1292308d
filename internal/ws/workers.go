package ws

import "sync"

// maxIdleWorkers is how many goroutines that have nothing to do are kept for what comes next.
// Their stacks are as large as TLS needs; a fresh goroutine would have to grow its own, which
// takes a quarter of what a small request costs. They stay until rest is called.
const maxIdleWorkers = 256

// workers are the goroutines that read and write watched connections, as many as are
// needed at a time: one that waits for the rest of a message, or for a peer that reads
// slowly, is needed as long as that takes.
type workers struct {
	all sync.WaitGroup

	mu    sync.Mutex    // guards the following fields
	idle  []chan func() // one for each that waits for work; the last has the warmest stack
	ended bool
}

// start has f run by one of them.
func (w *workers) start(f func()) {
	w.mu.Lock()
	last := len(w.idle) - 1
	if last < 0 {
		w.all.Add(1)
		w.mu.Unlock()
		go w.run(f)
		return
	}
	work := w.idle[last]
	w.idle = w.idle[:last]
	w.mu.Unlock()
	work <- f // it has room for one
}

func (w *workers) run(f func()) {
	defer w.all.Done()
	work := make(chan func(), 1)
	for f != nil {
		f()
		w.mu.Lock()
		if w.ended || len(w.idle) == maxIdleWorkers {
			w.mu.Unlock()
			return
		}
		w.idle = append(w.idle, work)
		w.mu.Unlock()
		f = <-work
	}
}

// rest ends those that have nothing to do.
func (w *workers) rest() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, work := range w.idle {
		work <- nil
	}
	w.idle = nil
}

// end returns when the last has gone. Nothing is to be started any more.
func (w *workers) end() {
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	w.rest()
	w.all.Wait()
}
