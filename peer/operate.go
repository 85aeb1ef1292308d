package peer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/fault"
	"github.com/tipt/tipt-go/store"
)

// A Waiting is what waits for one destination, for the operator's eyes.
type Waiting struct {
	Node    tipt.NodeName `json:"node"`
	Users   int           `json:"users"`
	Entries int           `json:"entries"`
	Bytes   int64         `json:"bytes"`
	Held    bool          `json:"held"`
	// Next is when it is tried again, and Reason why it is not now; zero and empty
	// while it is being sent.
	Next   time.Time `json:"next,omitzero"`
	Reason string    `json:"reason"`
}

// List tells what waits, by node.
func (o *Outbox) List() []Waiting {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := make([]Waiting, 0, len(o.nodes))
	for _, d := range o.nodes {
		w := Waiting{
			Node: d.name, Users: len(d.queues), Entries: d.entries, Bytes: d.bytes,
			Held: d.state.Held, Next: d.state.Next, Reason: d.state.Reason,
		}
		for _, q := range d.queues {
			if d.state.Attempts == 0 && q.reason != "" && (w.Next.IsZero() || q.until.Before(w.Next)) {
				w.Next, w.Reason = q.until, q.reason
			}
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
		d.state = store.NodePause{Node: node}
		o.endPausesLocked(d)
	})
}

// Hold keeps what waits for a destination, and what comes for it, until Retry. Messages
// still come back after five days.
func (o *Outbox) Hold(ctx context.Context, node tipt.NodeName) error {
	return o.change(ctx, node, func(d *destination) {
		d.state.Node, d.state.Held, d.state.Reason = node, true, "held by the operator"
	})
}

// change changes a destination's state, there and in the store.
func (o *Outbox) change(ctx context.Context, node tipt.NodeName, f func(*destination)) error {
	o.mu.Lock()
	d := o.nodes[node]
	if d == nil {
		o.mu.Unlock()
		return fmt.Errorf("%s: %w", node, ErrNothingWaits)
	}
	f(d)
	d.stored = d.state.Held || d.state.Attempts > 0
	state := d.state
	o.mu.Unlock()
	if err := o.committer.Do(ctx, &store.PauseNode{Pause: state}); err != nil {
		return fmt.Errorf("note the state of %s: %w", node, err)
	}
	return nil
}

// Drop gives everything that waits for a destination back to its senders, and
// returns how much that was. What is on its way at this moment is left.
func (o *Outbox) Drop(ctx context.Context, node tipt.NodeName) (dropped int, err error) {
	o.mu.Lock()
	d := o.nodes[node]
	if d == nil {
		o.mu.Unlock()
		return 0, fmt.Errorf("%s: %w", node, ErrNothingWaits)
	}
	var idle []*queue
	for _, q := range d.queues {
		if !q.busy {
			q.busy = true // nobody else sends it meanwhile
			idle = append(idle, q)
		}
	}
	o.mu.Unlock()
	for _, q := range idle {
		n, e := o.dropQueue(ctx, d, q)
		dropped += n
		err = errors.Join(err, e)
		o.mu.Lock()
		q.busy = false
		o.startLocked(d, q)
		o.forgetLocked(d, q)
		o.mu.Unlock()
	}
	return dropped, err
}

func (o *Outbox) dropQueue(ctx context.Context, d *destination, q *queue) (dropped int, err error) {
	for {
		o.mu.Lock()
		left := q.entries
		q.head = nil
		o.mu.Unlock()
		if left == 0 {
			return dropped, nil
		}
		entry, err := o.store.OutboxHead(ctx, d.name, q.user)
		if err != nil {
			return dropped, fmt.Errorf("read the outbox: %w", err)
		}
		entry.Unknown = entry.Unknown || q.restart
		q.restart = false
		op := &store.RemoveOutbox{ID: entry.ID, Return: returnOf(&entry, codeReturn(&entry, tipt.ErrNodeRefused), fault.Now())}
		if err := o.committer.Do(ctx, op); err != nil {
			return dropped, fmt.Errorf("give a message back: %w", err)
		}
		o.removed(d, q, &entry, op)
		dropped++
	}
}
