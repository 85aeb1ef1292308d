package peer

import (
	"context"
	"math"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/fault"
	"github.com/tipt/tipt-go/store"
)

// oldAtOnce is how many messages that are too old are read at once, each of up to 2 MB.
const oldAtOnce = 8

// look gives back what nobody tries to send because it is paused or held: what is for
// nodes that the operator has barred since, and what is too old. And it forgets the
// pauses of nodes to which nothing waits any more.
func (o *Outbox) look(ctx context.Context) {
	for _, d := range o.destinations() {
		if !o.o.Policy.Allows(d.name) {
			o.giveBackBarred(ctx, d)
		}
		o.forgetPause(ctx, d)
	}
	o.giveBackOld(ctx)
}

func (o *Outbox) destinations() []*destination {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := make([]*destination, 0, len(o.nodes))
	for _, d := range o.nodes {
		all = append(all, d)
	}
	return all
}

func (o *Outbox) giveBackBarred(ctx context.Context, d *destination) {
	o.mu.Lock()
	var queues []*queue
	for _, q := range d.queues {
		queues = append(queues, q)
	}
	o.mu.Unlock()
	for _, q := range queues {
		o.giveBackDue(ctx, q)
	}
}

func (o *Outbox) giveBackOld(ctx context.Context) {
	for given := 1; given > 0; {
		old, err := o.store.OutboxOlder(ctx, fault.Now().Add(-tipt.OutboxRetention), oldAtOnce)
		if err != nil {
			if ctx.Err() == nil {
				o.log.Error("outbox", "error", err)
			}
			return
		}
		// Where all of them are on their way, those who send them give them back.
		given = 0
		for i := range old {
			o.mu.Lock()
			q := o.queueLocked(old[i].Node, old[i].User)
			o.mu.Unlock()
			given += o.giveBackDue(ctx, q)
		}
	}
}

// giveBackDue gives back what has to come back of a queue, unless somebody else has the queue.
func (o *Outbox) giveBackDue(ctx context.Context, q *queue) (given int) {
	o.mu.Lock()
	mine := o.takeLocked(q)
	o.mu.Unlock()
	if !mine {
		return 0
	}
	given, err := o.giveBack(ctx, q, math.MaxInt, func(e *store.OutboxEntry) (tipt.ErrorCode, bool) { return o.due(q, e) })
	if given > 0 {
		o.log.Info("messages given back to their sender", "node", q.to.name, "messages", given)
	}
	if err != nil && ctx.Err() == nil {
		o.log.Error("outbox", "node", q.to.name, "error", err)
	}
	return given
}

// forgetPause forgets that a node failed when nothing waits for it any more.
func (o *Outbox) forgetPause(ctx context.Context, d *destination) {
	o.mu.Lock()
	forget := len(d.queues) == 0 && d.saved && !d.pause.Held
	if forget {
		d.pause, d.probing = store.NodePause{}, false
	}
	o.mu.Unlock()
	if forget {
		o.keep(ctx, d)
	}
}
