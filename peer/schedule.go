package peer

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
)

const (
	// maxSending is how many users' messages are on their way to one node at once.
	maxSending = 64
	// What is on its way to all nodes: messages that did not fail before, and those
	// that did or whose node did. However many of these there are, the others are not delayed.
	maxTrying       = 1024
	maxTryingBytes  = 128 << 20
	maxFailing      = 256
	maxFailingBytes = 32 << 20

	minPause = 5 * time.Second
	maxPause = time.Hour
	// heardPause is how often a node that calls us is tried again because of that.
	heardPause = time.Minute
)

// A stage is where a queue is on its way to sending a message. It leaves
// ready and waiting also when it is taken for another reason.
type stage uint8

const (
	idle    stage = iota // empty or paused
	ready                // in its destination's ready
	waiting              // in a pool, with a place of its destination
	taken                // somebody sends its first message, or gives messages back
)

// A pool bounds the messages on their way, in number and in bytes.
type pool struct {
	places  int      // free
	bytes   int64    // free
	waiting []*queue // in stage waiting
}

// An alarm calls a function at a time.
type alarm struct {
	timer *time.Timer
	at    time.Time // zero when it is not set
}

func (a *alarm) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
	a.at = time.Time{}
}

// setLocked has f called at a time, with mu held, in place of what was to be called before.
func (o *Outbox) setLocked(a *alarm, at time.Time, f func()) {
	if a.at.Equal(at) {
		return
	}
	a.stop()
	a.at = at
	a.timer = time.AfterFunc(time.Until(at), func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if a.at.Equal(at) { // not stopped meanwhile
			a.at = time.Time{}
			f()
		}
	})
}

// startLocked makes an idle queue ready, unless it is empty or has to wait.
func (o *Outbox) startLocked(q *queue) {
	if o.alive == nil || q.stage != idle || q.kept <= 0 || q.claims > 0 {
		return
	}
	if time.Until(q.until) > 0 {
		o.setLocked(&q.alarm, q.until, func() { o.startLocked(q) })
		return
	}
	q.stage = ready
	q.to.ready = append(q.to.ready, q)
	o.fillLocked(q.to)
}

// fillLocked gives the places of a destination to queues that are ready.
func (o *Outbox) fillLocked(d *destination) {
	if o.alive == nil || d.pause.Held || len(d.ready) == 0 {
		return
	}
	if time.Until(d.pause.Next) > 0 {
		o.setLocked(&d.alarm, d.pause.Next, func() { o.fillLocked(d) })
		return
	}
	places := maxSending
	if d.probing {
		places = 1
	}
	for d.sending < places && len(d.ready) > 0 {
		q := d.ready[0]
		d.ready[0] = nil
		d.ready = d.ready[1:]
		d.sending++
		q.stage = waiting
		p := o.poolOf(q)
		p.waiting = append(p.waiting, q)
		o.pumpLocked(p)
	}
}

func (o *Outbox) poolOf(q *queue) *pool {
	if q.to.probing || q.reason != "" {
		return &o.failing
	}
	return &o.trying
}

// pumpLocked begins to send, as far as a pool has room.
func (o *Outbox) pumpLocked(p *pool) {
	for o.alive != nil && len(p.waiting) > 0 {
		q := p.waiting[0]
		size := min(q.bytes, tipt.MaxSealedSize)
		head := q.firstLocked()
		if head != nil {
			size = int64(len(head.Sealed))
		}
		if p.places == 0 || p.bytes < size {
			return
		}
		p.places--
		p.bytes -= size
		p.waiting[0] = nil
		p.waiting = p.waiting[1:]
		q.stage = taken
		ctx := o.alive
		o.sends.Go(func() { o.send(ctx, p, q, head, size) })
	}
}

// send sends the first message of a queue, and lets go of it. It has room in the
// pool for a message of the size.
func (o *Outbox) send(ctx context.Context, p *pool, q *queue, head *store.OutboxEntry, size int64) {
	if entry := o.first(ctx, q, head); entry != nil {
		o.mu.Lock()
		p.bytes += size - int64(len(entry.Sealed))
		size = int64(len(entry.Sealed))
		o.pumpLocked(p)
		o.mu.Unlock()
		o.deliver(ctx, q, entry)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	p.places++
	p.bytes += size
	q.to.sending--
	o.freeLocked(q)
	o.fillLocked(q.to)
	o.pumpLocked(p)
}

// freeLocked lets go of a queue that was taken.
func (o *Outbox) freeLocked(q *queue) {
	q.stage = idle
	if q.freed != nil {
		close(q.freed)
		q.freed = nil
	}
	o.startLocked(q)
	o.forgetLocked(q)
}

// takeLocked takes a queue to give its messages back, unless somebody else has it or
// it is forgotten.
func (o *Outbox) takeLocked(q *queue) bool {
	if q.gone || q.stage == taken {
		return false
	}
	switch q.stage {
	case ready:
		q.to.ready = without(q.to.ready, q)
	case waiting:
		p := &o.trying
		if !slices.Contains(p.waiting, q) {
			p = &o.failing
		}
		p.waiting = without(p.waiting, q)
		q.to.sending--
		defer o.fillLocked(q.to)
		defer o.pumpLocked(p)
	}
	q.stage = taken
	return true
}

func without(queues []*queue, q *queue) []*queue {
	return slices.DeleteFunc(queues, func(other *queue) bool { return other == q })
}

// backoff returns the pause after so many failures, the first counting as 1:
// twice as long each time, and a random half of it, so that those who failed
// together do not come back together.
func backoff(attempts int) time.Duration {
	pause := maxPause
	if attempts < 12 {
		pause = min(minPause<<(attempts-1), maxPause)
	}
	return pause/2 + rand.N(pause/2+1)
}

// pausedLocked reports whether no message of a queue may be sent now.
func (q *queue) pausedLocked() bool {
	return q.to.pause.Held || time.Until(q.to.pause.Next) > 0 || time.Until(q.until) > 0
}

// Heard says that a node called us, so it may be reached again: pauses end, but for
// the time that it asked for itself.
func (o *Outbox) Heard(node tipt.NodeName) {
	o.mu.Lock()
	defer o.mu.Unlock()
	d := o.nodes[node]
	if d == nil || !d.heard.IsZero() && time.Since(d.heard) < heardPause {
		return
	}
	d.heard = time.Now()
	o.endPausesLocked(d)
}

// endPausesLocked has all queues of a destination tried as soon as it wants.
func (o *Outbox) endPausesLocked(d *destination) {
	d.pause.Attempts, d.pause.Next = 0, d.asked
	for _, q := range d.queues {
		q.until, q.heard = time.Time{}, true
		o.startLocked(q)
	}
	o.fillLocked(d)
}
