package main

import (
	"context"
	"fmt"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/bench/internal/bare"
)

// maxBatch bounds the operations of one transaction.
const maxBatch = 1024

// An operation is to be committed: a message to be stored, messages that were taken, or a
// message for the other node that was accepted or sent.
type operation struct {
	to *user // of a message, or who took some
	message

	taken int64 // up to which sequence number

	outgoing *outgoing
	sent     bool // rather than accepted

	done func(c *bare.Conn) // answers, on from; nil where nobody waits
	from *bare.Conn         // or nil
}

// A message lies in a mailbox.
type message struct {
	seq    int64
	sender string
	id     tipt.MessageID
	time   time.Time
	body   []byte
}

// submit queues an operation for the next transaction.
func (f *floor) submit(o operation) {
	f.mu.Lock()
	f.queue = append(f.queue, o)
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// commit commits what is submitted until ctx is done: while one transaction is written, the next
// one gathers.
func (f *floor) commit(ctx context.Context) error {
	var batch []operation
	touched := make(map[*bare.Conn]struct{})
	for {
		f.mu.Lock()
		n := min(len(f.queue), maxBatch)
		batch = append(batch[:0], f.queue[:n]...)
		rest := copy(f.queue, f.queue[n:])
		clear(f.queue[rest:])
		f.queue = f.queue[:rest]
		f.mu.Unlock()
		if n == 0 {
			select {
			case <-f.wake:
				continue
			case <-ctx.Done():
				return nil
			}
		}
		if err := f.transact(batch); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
		for i := range batch {
			if err := f.committed(&batch[i], touched); err != nil {
				return err
			}
		}
		// All that one connection gets out of a transaction goes in one write.
		for c := range touched {
			_ = c.Flush() // who reads it sees that it has ended
		}
		clear(touched)
	}
}

func (f *floor) transact(batch []operation) error {
	w := f.db.write
	if err := w.Exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	taken := make(map[*user]int64) // up to which one
	for i := range batch {
		o := &batch[i]
		if o.taken > 0 {
			taken[o.to] = max(taken[o.to], o.taken)
		} else if err := f.apply(o); err != nil {
			return err
		}
	}
	for u, seq := range taken {
		if err := w.Exec("DELETE FROM messages WHERE user = ? AND seq <= ?", u.name, seq); err != nil {
			return err
		}
	}
	return w.Exec("COMMIT")
}

func (f *floor) apply(o *operation) error {
	w := f.db.write
	switch {
	case o.outgoing != nil && o.sent:
		return w.Exec("DELETE FROM outbox WHERE id = ?", o.outgoing.id)
	case o.outgoing != nil:
		return w.Exec("INSERT INTO outbox (id, user, sealed) VALUES (?, ?, ?)", o.outgoing.id, o.outgoing.user, o.outgoing.sealed)
	}
	n, err := w.Change("INSERT INTO ids (mid, user, sender) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", o.id[:], o.to.name, o.sender)
	if err != nil || n == 0 {
		return err // it came before
	}
	o.seq = o.to.stored + 1 // this goroutine alone changes stored
	o.to.stored = o.seq
	return w.Exec("INSERT INTO messages (user, seq, sender, mid, time, body) VALUES (?, ?, ?, ?, ?, ?)",
		o.to.name, o.seq, o.sender, o.id[:], o.time.UnixMilli(), o.body)
}

// committed does what an operation has been waiting for.
func (f *floor) committed(o *operation, touched map[*bare.Conn]struct{}) error {
	if o.done != nil {
		o.done(o.from)
		if o.from != nil {
			touched[o.from] = struct{}{}
		}
	}
	if o.outgoing != nil && !o.sent {
		f.peer.queue(o.outgoing)
	}
	if o.seq == 0 {
		return nil
	}
	c, err := o.to.visible(f.db, &o.message)
	if c != nil {
		touched[c] = struct{}{}
	}
	return err
}
