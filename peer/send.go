package peer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/fault"
	"github.com/tipt/tipt-go/store"
)

// sendOne tries the first message of a queue and notes what became of it. It
// reports whether the queue may go on.
func (o *Outbox) sendOne(d *destination, q *queue) bool {
	o.mu.Lock()
	ctx, entry, failing := o.alive, q.head, d.state.Attempts > 0
	q.head = nil
	paused := o.ended || d.state.Held || time.Until(d.state.Next) > 0 || time.Until(q.until) > 0 || q.entries == 0
	o.mu.Unlock()
	if paused {
		return false
	}
	if entry == nil {
		read, err := o.store.OutboxHead(ctx, d.name, q.user)
		if err != nil {
			return o.storeFailed(ctx, d, q, "read the outbox", err)
		}
		entry = &read
	}
	o.mu.Lock()
	// An attempt may have been under way when the process ended last.
	entry.Unknown = entry.Unknown || q.restart
	q.restart = false
	o.mu.Unlock()

	if !o.o.Policy.Allows(d.name) {
		return o.give(ctx, d, q, entry, tipt.ErrNodeRefused)
	}
	if fault.Now().Sub(entry.Created) >= tipt.OutboxRetention {
		return o.give(ctx, d, q, entry, entry.Code)
	}
	from, err := o.o.Sender(ctx, q.user)
	if err != nil {
		return o.storeFailed(ctx, d, q, "look up a sender", err)
	}
	release, err := o.token(ctx, failing)
	if err != nil {
		return false
	}
	answer, err := o.o.Forward(ctx, d.name, from, entry.Sealed)
	release()
	var failure *Failure
	switch {
	case ctx.Err() != nil:
		return false // the next process sends it again
	case errors.As(err, &failure):
		return o.failed(ctx, d, q, entry, failure)
	case err != nil:
		return o.storeFailed(ctx, d, q, "forward", err)
	}
	o.reached(ctx, d)
	switch {
	case answer.Delivered, answer.Sealed:
		return o.remove(ctx, d, q, entry, nil)
	case len(answer.Bytes) > tipt.MaxReturnRespSize:
		return o.give(ctx, d, q, entry, tipt.ErrNodeRefused)
	default:
		return o.remove(ctx, d, q, entry, &tipt.ReturnRequest{Response: answer.Bytes})
	}
}

// failed decides what follows a failure (section 5.5).
func (o *Outbox) failed(ctx context.Context, d *destination, q *queue, entry *store.OutboxEntry, f *Failure) bool {
	if !f.Destination {
		o.reached(ctx, d)
	}
	if !f.Temporary() {
		return o.give(ctx, d, q, entry, f.Code())
	}
	if fault.Now().Sub(entry.Created) >= tipt.OutboxRetention {
		entry.Unknown = entry.Unknown || f.Unknown
		return o.give(ctx, d, q, entry, f.Code())
	}
	if f.Destination {
		o.pauseNode(ctx, d, f)
		return false
	}
	retry := &store.RetryOutbox{
		ID:      entry.ID,
		Next:    time.Now().Add(max(backoff(entry.Attempts+1), f.RetryAfter)),
		Reason:  f.Error(),
		Code:    f.Code(),
		Unknown: entry.Unknown || f.Unknown,
	}
	if err := o.committer.Do(ctx, retry); err != nil {
		return o.storeFailed(ctx, d, q, "note a failed attempt", err)
	}
	o.log.Debug("message not forwarded", "node", d.name, "entry", entry.ID, "attempts", entry.Attempts+1, "reason", f)
	o.mu.Lock()
	q.until, q.reason = retry.Next, retry.Reason
	o.mu.Unlock()
	return false
}

// pauseNode pauses all that is for a destination.
func (o *Outbox) pauseNode(ctx context.Context, d *destination, f *Failure) {
	o.mu.Lock()
	d.state.Node = d.name
	d.state.Attempts++
	d.state.Next = time.Now().Add(max(backoff(d.state.Attempts), f.RetryAfter))
	d.state.Reason = f.Error()
	d.stored = true
	state := d.state
	o.mu.Unlock()
	o.log.Info("node cannot be reached", "node", d.name, "attempts", state.Attempts, "next", state.Next, "reason", f)
	o.keepPause(ctx, state)
}

// reached ends the state of failure of a destination.
func (o *Outbox) reached(ctx context.Context, d *destination) {
	o.mu.Lock()
	if d.state.Attempts == 0 && !(d.stored && !d.state.Held) {
		o.mu.Unlock()
		return
	}
	d.state = store.NodePause{Node: d.name, Held: d.state.Held}
	d.stored = d.state.Held
	state := d.state
	o.fillLocked(d)
	o.mu.Unlock()
	o.keepPause(ctx, state)
}

// keepPause stores a destination's state. Losing it costs an attempt too many after a
// restart, so a failure is only logged.
func (o *Outbox) keepPause(ctx context.Context, state store.NodePause) {
	if err := o.committer.Do(ctx, &store.PauseNode{Pause: state}); err != nil && ctx.Err() == nil {
		o.log.Error("note a node's pause", "node", state.Node, "error", err)
	}
}

// give gives a message back to its sender with a code.
func (o *Outbox) give(ctx context.Context, d *destination, q *queue, entry *store.OutboxEntry, code tipt.ErrorCode) bool {
	return o.remove(ctx, d, q, entry, codeReturn(entry, code))
}

// codeReturn is a RETURN with a code, which is NODE_TIMEOUT when the message
// may have arrived (section 5.5).
func codeReturn(entry *store.OutboxEntry, code tipt.ErrorCode) *tipt.ReturnRequest {
	switch {
	case entry.Unknown:
		code = tipt.ErrNodeTimeout
	case code == tipt.ErrInternal: // no attempt of its own has failed
		code = tipt.ErrNodeUnreachable
	}
	return &tipt.ReturnRequest{Code: code, HasCode: true}
}

// remove takes an entry out, and puts what is returned into the sender's mailbox
// in the same commit.
func (o *Outbox) remove(ctx context.Context, d *destination, q *queue, entry *store.OutboxEntry, back *tipt.ReturnRequest) bool {
	op := &store.RemoveOutbox{ID: entry.ID}
	if back != nil {
		op.Return = returnOf(entry, back, fault.Now())
	}
	if err := o.committer.Do(ctx, op); err != nil {
		return o.storeFailed(ctx, d, q, "note a forwarded message", err)
	}
	return o.removed(d, q, entry, op)
}

// removed notes that an entry is gone from the store, and reports whether the
// queue has more.
func (o *Outbox) removed(d *destination, q *queue, entry *store.OutboxEntry, op *store.RemoveOutbox) bool {
	if op.Return != nil && op.Return.Outcome == store.Stored {
		o.o.Returned(op.Return.User)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !op.Gone {
		o.countLocked(d, q, -1, -int64(len(entry.Sealed)))
		q.entries--
	}
	q.until, q.reason = time.Time{}, ""
	return q.entries > 0
}

func returnOf(entry *store.OutboxEntry, back *tipt.ReturnRequest, now time.Time) *store.Append {
	back.ID = tipt.NewMessageID()
	back.Ref = entry.Ref
	back.Node = string(entry.Node)
	back.Time = now
	return &store.Append{User: entry.User, Kind: store.KindReturn, ID: back.ID, Time: now, Body: back.Append(nil)}
}

// storeFailed pauses a queue because the store, not the destination, failed. The
// entry is still there.
func (o *Outbox) storeFailed(ctx context.Context, d *destination, q *queue, what string, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	o.log.Error("outbox", "node", d.name, "error", fmt.Errorf("%s: %w", what, err))
	o.mu.Lock()
	defer o.mu.Unlock()
	// What was sent but could not be noted may be sent again.
	q.restart = true
	q.until, q.reason = time.Now().Add(storePause), "this node's store failed"
	return false
}
