package peer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
)

// A Waiting is what waits for one destination, for the operator's eyes.
type Waiting struct {
	Node    tipt.NodeName `json:"node"`
	Users   int           `json:"users"`
	Entries int           `json:"entries"`
	Bytes   int64         `json:"bytes"`
	Held    bool          `json:"held"`
	// Next is when it is tried again, zero for now, and Reason why it was not delivered, empty
	// while it is being sent for the first time. They are the node's while it is paused,
	// else those of the user's queue that is tried next.
	Next   time.Time `json:"next,omitzero"`
	Reason string    `json:"reason"`
}

// List tells what waits, and what is held, by node.
func (o *Outbox) List() []Waiting {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := make([]Waiting, 0, len(o.nodes))
	for _, d := range o.nodes {
		if d.entries == 0 && !d.pause.Held {
			continue
		}
		w := Waiting{
			Node: d.name, Users: len(d.queues), Entries: d.entries, Bytes: d.bytes,
			Held: d.pause.Held, Next: d.pause.Next, Reason: d.pause.Reason,
		}
		if !d.probing && time.Until(w.Next) <= 0 {
			w.Next, w.Reason = time.Time{}, ""
			for _, q := range d.queues {
				if q.reason != "" && (w.Reason == "" || q.until.Before(w.Next)) {
					w.Next, w.Reason = q.until, q.reason
				}
			}
		}
		if time.Until(w.Next) <= 0 {
			w.Next = time.Time{}
		}
		if w.Held && w.Reason == "" {
			w.Reason = "held by the operator"
		}
		list = append(list, w)
	}
	slices.SortFunc(list, func(a, b Waiting) int { return cmp.Compare(a.Node, b.Node) })
	return list
}

// ErrNothingWaits is returned for a node to which nothing waits.
var ErrNothingWaits = errors.New("nothing waits for that node")

// Retry ends a destination's pauses and its hold, and tries at once.
func (o *Outbox) Retry(ctx context.Context, node tipt.NodeName) error {
	return o.change(ctx, node, func(d *destination) {
		d.pause, d.asked = store.NodePause{}, time.Time{}
		o.endPausesLocked(d)
	})
}

// Hold keeps what waits for a destination, and what comes for it, until Retry. Messages
// still come back after five days.
func (o *Outbox) Hold(ctx context.Context, node tipt.NodeName) error {
	return o.change(ctx, node, func(d *destination) {
		d.pause.Held = true
		o.putAwayLocked(d)
	})
}

// change changes a destination's pause, there and in the store.
func (o *Outbox) change(ctx context.Context, node tipt.NodeName, f func(*destination)) error {
	if err := o.awaitLoad(ctx); err != nil {
		return err
	}
	o.mu.Lock()
	d := o.nodes[node]
	if d == nil || d.entries == 0 && !d.pause.Held {
		o.mu.Unlock()
		return fmt.Errorf("%s: %w", node, ErrNothingWaits)
	}
	f(d)
	o.mu.Unlock()
	return o.save(ctx, d)
}

// Drop gives everything that waits for a destination back to its senders, and
// returns how much that was. What is on its way at this moment may still be delivered.
func (o *Outbox) Drop(ctx context.Context, node tipt.NodeName) (dropped int, err error) {
	if err := o.awaitLoad(ctx); err != nil {
		return 0, err
	}
	o.mu.Lock()
	d := o.nodes[node]
	if d == nil || d.entries == 0 {
		o.mu.Unlock()
		return 0, fmt.Errorf("%s: %w", node, ErrNothingWaits)
	}
	var queues, sending []*queue
	most := make(map[*queue]int)
	for _, q := range d.queues {
		q.claims++
		most[q] = q.kept
		if q.stage == taken {
			sending = append(sending, q)
		} else {
			queues = append(queues, q)
		}
	}
	o.mu.Unlock()
	for _, q := range append(queues, sending...) {
		if e := o.claim(ctx, q); e != nil {
			err = errors.Join(err, e)
			continue
		}
		n, e := o.giveBack(ctx, q, most[q], func(entry *store.OutboxEntry) (tipt.ErrorCode, bool) {
			return o.code(entry, tipt.ErrNodeRefused), true
		})
		dropped += n
		err = errors.Join(err, e)
	}
	return dropped, err
}

// claim takes a queue whose claims the caller has raised, when the message on its way, if
// any, is done.
func (o *Outbox) claim(ctx context.Context, q *queue) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.takeLocked(q) {
		if q.freed == nil {
			q.freed = make(chan struct{})
		}
		freed := q.freed
		o.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
		}
		o.mu.Lock()
		if ctx.Err() != nil {
			q.claims--
			o.startLocked(q)
			o.forgetLocked(q)
			return fmt.Errorf("wait for a message on its way: %w", ctx.Err())
		}
	}
	q.claims--
	return nil
}

// giveBack gives the first messages of a queue, which is taken, back to their sender: at
// most so many, and no further than due says. Then it lets go of the queue.
func (o *Outbox) giveBack(ctx context.Context, q *queue, most int, due func(*store.OutboxEntry) (tipt.ErrorCode, bool)) (given int, err error) {
	defer func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.freeLocked(q)
	}()
	for ; given < most; given++ {
		entry, err := o.read(ctx, q)
		if errors.Is(err, store.ErrNotFound) {
			break // that was the last one
		}
		if err != nil {
			return given, err
		}
		code, is := due(&entry)
		if !is {
			break
		}
		if err := o.take(ctx, q, &entry, &tipt.ReturnRequest{Code: code, HasCode: true}); err != nil {
			return given, err
		}
	}
	return given, nil
}
