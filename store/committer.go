package store

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"
)

// ErrStopped is what a [Committer] answers after Run has returned without a
// failure of the store.
var ErrStopped = errors.New("committer stopped")

// CommitterOptions bound a [Committer]. Zero takes the default. The bounds of the queue hold for
// what is small, and once more for what is not.
type CommitterOptions struct {
	MaxOps     int // operations of one batch; default 1024
	MaxBytes   int // bytes of one batch, as Op.Size counts them; default 8 MiB
	QueueOps   int // operations waiting for a batch; default 4096
	QueueBytes int // bytes waiting for a batch; default 8 MiB
	// Logger, where not nil, is told at debug level of batches tried again in
	// halves. All other errors go to the callers.
	Logger *slog.Logger
}

// smallSize is how many bytes a small submission has at most.
const smallSize = 4 << 10

// A Committer joins the operations of many callers into batches, so that
// they share one write to the disk. There is no timer in it: while one batch is
// written the next one gathers. Small submissions have room of their own in its queue: they
// wait behind large ones that have room, which are a batch or two, and never behind
// those that wait for it.
type Committer struct {
	store Store
	o     CommitterOptions
	log   *slog.Logger
	wake  chan struct{} // holds one token when there may be something to take

	// Owned by Run, kept for their memory.
	batch []Op
	taken []submission

	mu           sync.Mutex   // guards the following
	queue        []submission // what has room, in order, and waits for a batch
	small, large room
	err          error // not nil: Run has ended, nothing is taken any more
}

// A room is the part of the queue that is for small submissions, or for large ones.
type room struct {
	waiting    []*waiter // in order
	ops, bytes int       // of those in the queue
}

// A submission is what one Submit brings.
type submission struct {
	ops   []Op
	bytes int
	done  func(error)
}

// A waiter waits for room for a submission.
type waiter struct {
	submission
	room chan error // gets nil when it is queued
}

// NewCommitter returns a committer for s. Run does its work.
func NewCommitter(s Store, o CommitterOptions) *Committer {
	if o.MaxOps == 0 {
		o.MaxOps = 1024
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 8 << 20
	}
	if o.QueueOps == 0 {
		o.QueueOps = 4096
	}
	if o.QueueBytes == 0 {
		o.QueueBytes = 8 << 20
	}
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Committer{store: s, o: o, log: log, wake: make(chan struct{}, 1)}
}

// Submit queues operations that are committed together, in order, behind those of
// every Submit that has returned before. It waits for room in the queue, until ctx ends.
//
// When it returns nil, done will run once, with what Commit returned: on Run's goroutine,
// in the order of the Submits. It must not block; so it must not call
// Submit or Do. When it returns an error nothing of it is committed and done does not run.
//
// A batch that fails with ErrDiskFull or ErrImpossible is tried again in smaller ones, so that
// done gets such an error only for operations of its own.
func (c *Committer) Submit(ctx context.Context, done func(error), ops ...Op) error {
	s := submission{ops: ops, done: done}
	for _, op := range ops {
		s.bytes += op.Size()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return c.err
	}
	r := c.roomOf(s)
	if len(r.waiting) == 0 && c.fitsLocked(r, s) {
		c.queueLocked(r, s)
		c.mu.Unlock()
		return nil
	}
	w := &waiter{s, make(chan error, 1)}
	r.waiting = append(r.waiting, w)
	c.mu.Unlock()

	select {
	case err := <-w.room:
		return err
	case <-ctx.Done():
		return c.giveUp(ctx, w)
	}
}

// giveUp takes w out of those waiting for room, unless it got it meanwhile.
func (c *Committer) giveUp(ctx context.Context, w *waiter) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case err := <-w.room:
		return err
	default:
	}
	r := c.roomOf(w.submission)
	for i, other := range r.waiting {
		if other == w {
			r.waiting = append(r.waiting[:i], r.waiting[i+1:]...)
			break
		}
	}
	c.admitLocked(r) // those behind it may be smaller
	return ctx.Err()
}

// Do submits operations and waits until they are committed: also when ctx ends
// after they were queued, for by then nothing can stop them.
func (c *Committer) Do(ctx context.Context, ops ...Op) error {
	done := make(chan error, 1)
	if err := c.Submit(ctx, func(err error) { done <- err }, ops...); err != nil {
		return err
	}
	return <-done
}

// Run commits what is submitted until ctx is done and the queue is empty, then
// returns nil. When the store fails it hands that error to all who wait and returns it.
func (c *Committer) Run(ctx context.Context) error {
	store := context.WithoutCancel(ctx)
	for {
		// Whoever can run now may have something for the same batch: the fewer there are, the less
		// often the disk is waited for.
		runtime.Gosched()
		batch := c.take()
		if batch == nil {
			select {
			case <-c.wake:
				continue
			case <-ctx.Done():
			}
			if c.stop(ErrStopped, true) {
				return nil
			}
			continue
		}
		err := c.commit(store, batch)
		clear(batch)
		if err != nil {
			c.stop(err, false)
			return err
		}
	}
}

// commit commits a batch, in halves where it fails as a whole. Its error is one of the store's failure.
func (c *Committer) commit(ctx context.Context, batch []submission) error {
	ops := c.batch[:0]
	for _, s := range batch {
		ops = append(ops, s.ops...)
	}
	err := c.store.Commit(ctx, ops)
	clear(ops)
	c.batch = ops
	switch {
	case errors.Is(err, ErrFailed):
		for _, s := range batch {
			s.done(err)
		}
		return err
	case len(batch) > 1 && (errors.Is(err, ErrDiskFull) || errors.Is(err, ErrImpossible)):
		c.log.Debug("batch not committed as a whole", "submissions", len(batch), "err", err)
		half := len(batch) / 2
		if err := c.commit(ctx, batch[:half]); err != nil {
			for _, s := range batch[half:] {
				s.done(err)
			}
			return err
		}
		return c.commit(ctx, batch[half:])
	}
	for _, s := range batch {
		s.done(err)
	}
	return nil
}

// take takes the next batch from the queue: at least one submission, nil when there is none. It
// is valid until the next call.
func (c *Committer) take() []submission {
	c.mu.Lock()
	defer c.mu.Unlock()
	var n, ops, bytes int
	for n < len(c.queue) {
		s := c.queue[n]
		if n > 0 && (ops+len(s.ops) > c.o.MaxOps || bytes+s.bytes > c.o.MaxBytes) {
			break
		}
		n++
		ops += len(s.ops)
		bytes += s.bytes
		r := c.roomOf(s)
		r.ops -= len(s.ops)
		r.bytes -= s.bytes
	}
	if n == 0 {
		return nil
	}
	c.taken = append(c.taken[:0], c.queue[:n]...)
	rest := copy(c.queue, c.queue[n:])
	clear(c.queue[rest:])
	c.queue = c.queue[:rest]
	c.admitLocked(&c.small)
	c.admitLocked(&c.large)
	return c.taken
}

// stop ends the taking of submissions with err. What is queued gets it, unless
// onlyIdle is set: then stop does nothing and returns false while something is.
func (c *Committer) stop(err error, onlyIdle bool) bool {
	c.mu.Lock()
	if onlyIdle && len(c.queue) > 0 {
		c.mu.Unlock()
		return false
	}
	queue, waiting := c.queue, append(c.small.waiting, c.large.waiting...)
	c.queue, c.small, c.large = nil, room{}, room{}
	c.err = err
	c.mu.Unlock()
	for _, w := range waiting {
		w.room <- err
	}
	for _, s := range queue {
		s.done(err)
	}
	return true
}

// roomOf returns the room that s needs.
func (c *Committer) roomOf(s submission) *room {
	if s.bytes <= smallSize {
		return &c.small
	}
	return &c.large
}

// fitsLocked reports whether there is room for s in r. Anything has room in an empty one.
func (c *Committer) fitsLocked(r *room, s submission) bool {
	return r.ops == 0 || r.ops+len(s.ops) <= c.o.QueueOps && r.bytes+s.bytes <= c.o.QueueBytes
}

func (c *Committer) queueLocked(r *room, s submission) {
	c.queue = append(c.queue, s)
	r.ops += len(s.ops)
	r.bytes += s.bytes
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// admitLocked queues those who wait for r as far as there is room now.
func (c *Committer) admitLocked(r *room) {
	n := 0
	for ; n < len(r.waiting) && c.fitsLocked(r, r.waiting[n].submission); n++ {
		w := r.waiting[n]
		c.queueLocked(r, w.submission)
		w.room <- nil
	}
	rest := copy(r.waiting, r.waiting[n:])
	clear(r.waiting[rest:])
	r.waiting = r.waiting[:rest]
}
