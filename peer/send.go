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

// storePause is how long a queue rests when the store fails it.
const storePause = 30 * time.Second

// first returns the first message of a queue, which is taken: head where that is at hand. It
// returns nil where there is nothing to do now.
func (o *Outbox) first(ctx context.Context, q *queue, head *store.OutboxEntry) *store.OutboxEntry {
	o.mu.Lock()
	nothing := ctx.Err() != nil || q.pausedLocked()
	o.mu.Unlock()
	if nothing {
		return nil
	}
	if head != nil {
		return head
	}
	entry, err := o.read(context.WithoutCancel(ctx), q)
	if err != nil {
		o.storeFailed(q, err)
		return nil
	}
	return &entry
}

// read reads the first message of a queue.
func (o *Outbox) read(ctx context.Context, q *queue) (store.OutboxEntry, error) {
	entry, err := o.store.OutboxHead(ctx, q.to.name, q.user)
	if err != nil {
		return entry, fmt.Errorf("read the outbox: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	entry.Unknown = entry.Unknown || q.unsure
	return entry, nil
}

// deliver tries a message and notes what became of it. What an attempt has brought is noted
// also when ctx ends.
func (o *Outbox) deliver(ctx context.Context, q *queue, entry *store.OutboxEntry) {
	note := context.WithoutCancel(ctx)
	if code, due := o.due(q, entry); due {
		o.remove(note, q, entry, &tipt.ReturnRequest{Code: code, HasCode: true})
		return
	}
	if q.from.User == "" {
		from, err := o.o.Sender(note, q.user)
		if err != nil {
			o.storeFailed(q, fmt.Errorf("look up a sender: %w", err))
			return
		}
		q.from = from
	}
	began := time.Now()
	answer, err := o.o.Forward(ctx, q.to.name, q.from, entry.Sealed)
	if err != nil {
		o.failed(ctx, q, entry, began, err)
		return
	}
	o.reached(note, q.to, began)
	switch {
	case answer.Delivered, answer.Sealed:
		o.remove(note, q, entry, nil)
	case len(answer.Bytes) > tipt.MaxReturnRespSize:
		o.remove(note, q, entry, &tipt.ReturnRequest{Code: o.code(entry, tipt.ErrNodeRefused), HasCode: true})
	default:
		o.remove(note, q, entry, &tipt.ReturnRequest{Response: answer.Bytes})
	}
}

// due reports whether a message has to come back untried, and with which code.
func (o *Outbox) due(q *queue, entry *store.OutboxEntry) (tipt.ErrorCode, bool) {
	if !o.o.Policy.Allows(q.to.name) {
		return o.code(entry, tipt.ErrNodeRefused), true
	}
	if fault.Now().Sub(entry.Created) < tipt.OutboxRetention {
		return 0, false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if q.to.probing || entry.Code == tipt.ErrInternal {
		// The node cannot be reached, or the message was never its queue's first.
		return o.code(entry, tipt.ErrNodeUnreachable), true
	}
	return o.code(entry, entry.Code), true
}

// code is the code of a RETURN, which is NODE_TIMEOUT when the message may have arrived
// (section 5.5).
func (*Outbox) code(entry *store.OutboxEntry, code tipt.ErrorCode) tipt.ErrorCode {
	if entry.Unknown {
		return tipt.ErrNodeTimeout
	}
	return code
}

// failed decides what follows an attempt that failed (section 5.5).
func (o *Outbox) failed(ctx context.Context, q *queue, entry *store.OutboxEntry, began time.Time, err error) {
	f, ok := errors.AsType[*Failure](err)
	if !ok {
		f = &Failure{Unknown: true, Err: err}
	}
	if ctx.Err() != nil && f.Status == 0 {
		return // this node ended the attempt; its next process takes the message for sent
	}
	entry.Unknown = entry.Unknown || f.Unknown
	note := context.WithoutCancel(ctx)
	if !f.Destination {
		o.reached(note, q.to, began)
	}
	switch {
	case !f.Temporary(), fault.Now().Sub(entry.Created) >= tipt.OutboxRetention:
		o.remove(note, q, entry, &tipt.ReturnRequest{Code: o.code(entry, f.Code()), HasCode: true})
	case f.Destination:
		o.pauseNode(note, q.to, began, f)
	default:
		o.pauseQueue(note, q, entry, f)
	}
}

// pauseQueue pauses a queue because its first message failed.
func (o *Outbox) pauseQueue(ctx context.Context, q *queue, entry *store.OutboxEntry, f *Failure) {
	o.mu.Lock()
	if q.heard {
		q.heard, q.forgiven = false, entry.Attempts
	}
	pause := max(backoff(entry.Attempts+1-q.forgiven), f.RetryAfter)
	o.mu.Unlock()
	next := time.Now().Add(pause)
	retry := &store.RetryOutbox{ID: entry.ID, Next: next, Reason: f.Error(), Code: f.Code(), Unknown: entry.Unknown}
	if err := o.committer.Do(ctx, retry); err != nil {
		o.unnoted(q, fmt.Errorf("note a failed attempt: %w", err))
		return
	}
	o.log.Debug("message not forwarded", "node", q.to.name, "entry", entry.ID, "attempts", entry.Attempts+1, "next", next, "reason", f)
	o.mu.Lock()
	defer o.mu.Unlock()
	q.until, q.reason = next, retry.Reason
	o.trimLocked(q, 0)
}

// pauseNode pauses all that is for a destination. Of many messages that were on their way
// when it failed, one counts.
func (o *Outbox) pauseNode(ctx context.Context, d *destination, began time.Time, f *Failure) {
	o.mu.Lock()
	now := time.Now()
	if f.RetryAfter > 0 {
		d.asked = later(d.asked, now.Add(f.RetryAfter))
	}
	next := d.pause.Next
	counts := began.After(d.failed)
	if counts {
		d.failed, d.probing = now, true
		d.pause.Attempts++
		d.pause.Reason = f.Error()
		next = now.Add(backoff(d.pause.Attempts))
	}
	o.putAwayLocked(d)
	next = later(next, d.asked)
	changed := counts || !next.Equal(d.pause.Next)
	d.pause.Next = next
	attempts := d.pause.Attempts
	o.mu.Unlock()
	if counts {
		o.log.Info("node cannot be reached", "node", d.name, "attempts", attempts, "next", next, "reason", f)
	}
	if changed {
		o.keep(ctx, d)
	}
}

// reached ends the pause of a destination that answered a message, unless it failed
// one since that began.
func (o *Outbox) reached(ctx context.Context, d *destination, began time.Time) {
	o.mu.Lock()
	if !d.probing || !began.After(d.failed) {
		o.mu.Unlock()
		return
	}
	d.probing = false
	d.pause = store.NodePause{Held: d.pause.Held, Next: d.asked}
	o.mu.Unlock()
	o.keep(ctx, d)
}

// remove takes a message out of the outbox, and puts what is returned into the sender's mailbox
// in the same commit.
func (o *Outbox) remove(ctx context.Context, q *queue, entry *store.OutboxEntry, back *tipt.ReturnRequest) {
	if err := o.take(ctx, q, entry, back); err != nil {
		o.unnoted(q, err)
	}
}

// take is remove with its error.
func (o *Outbox) take(ctx context.Context, q *queue, entry *store.OutboxEntry, back *tipt.ReturnRequest) error {
	op := &store.RemoveOutbox{ID: entry.ID}
	if back != nil {
		back.ID, back.Ref, back.Node, back.Time = tipt.NewMessageID(), entry.Ref, string(q.to.name), fault.Now()
		op.Return = &store.Append{User: q.user, Kind: store.KindReturn, ID: back.ID, Time: back.Time, Body: back.Append(nil)}
	}
	if err := o.committer.Do(ctx, op); err != nil {
		return fmt.Errorf("take a message out of the outbox: %w", err)
	}
	if back != nil && op.Return.Outcome == store.Stored {
		o.o.Returned(q.user)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	q.kept--
	o.trimLocked(q, q.kept)
	o.countLocked(q, -1, -int64(len(entry.Sealed)))
	q.until, q.reason, q.unsure = time.Time{}, "", false
	q.heard, q.forgiven = false, 0
	return nil
}

// unnoted is storeFailed after an attempt whose outcome could not be noted: the message
// may have arrived.
func (o *Outbox) unnoted(q *queue, err error) {
	o.mu.Lock()
	q.unsure = true
	o.trimLocked(q, 0)
	o.mu.Unlock()
	o.storeFailed(q, err)
}

// storeFailed pauses a queue because the store, not the destination, failed it. The
// message is still there.
func (o *Outbox) storeFailed(q *queue, err error) {
	o.log.Error("outbox", "node", q.to.name, "error", err)
	o.mu.Lock()
	defer o.mu.Unlock()
	q.until, q.reason = time.Now().Add(storePause), "this node's store failed"
	o.trimLocked(q, 0)
}
