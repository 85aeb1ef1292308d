// Package mailbox keeps the messages of users until their devices have taken them
// (docs/protocol.md, section 4): appending, reading from a device's place, moving
// the place, and the end of what is too old.
//
// The mailbox is the queue. A [Reader], one for each receiving connection, is a
// cursor into it and holds no message; a slow reader costs nothing but its cursor. What
// was just appended is handed to readers that are waiting for it from memory, without a
// read. That is a short cut and nothing depends on it: a message is durable first, then
// visible, then readers are woken, and a reader that missed a wake looks again about
// once a minute.
package mailbox

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/fault"
	"github.com/tipt/tipt-go/store"
)

// Options configure Mailboxes.
type Options struct {
	// MaxCount and MaxBytes are the quota of a mailbox, RETURNs left out. If zero,
	// [tipt.MaxMailboxCount] and [tipt.MaxMailboxBytes].
	MaxCount int
	MaxBytes int64
	// What is older is removed. If zero, [tipt.MessageRetention],
	// [tipt.DuplicateRetention] and [tipt.DeviceRetention].
	Messages   time.Duration
	Duplicates time.Duration
	Devices    time.Duration
	// Online reports whether a device is connected: one that is does not get too old. It
	// is called while the store commits and must not block. If nil, none is.
	Online func(user store.UserID, device string) bool
	// MaxRecent bounds the bytes of messages that are kept in memory for readers that are
	// about to read them, of all mailboxes together. If zero, 16 MiB.
	MaxRecent int64
	// Logger gets the log. If nil, [slog.Default].
	Logger *slog.Logger
}

// Mailboxes are the mailboxes of one node. Its methods may be called concurrently.
type Mailboxes struct {
	store     store.Store
	committer *store.Committer
	options   Options
	log       *slog.Logger

	recent atomic.Int64 // bytes in all runs
	shards [shards]shard
}

// New returns the mailboxes in s, which writes through c.
func New(s store.Store, c *store.Committer, o Options) *Mailboxes {
	if o.MaxCount == 0 {
		o.MaxCount = tipt.MaxMailboxCount
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = tipt.MaxMailboxBytes
	}
	if o.Messages == 0 {
		o.Messages = tipt.MessageRetention
	}
	if o.Duplicates == 0 {
		o.Duplicates = tipt.DuplicateRetention
	}
	if o.Devices == 0 {
		o.Devices = tipt.DeviceRetention
	}
	if o.Online == nil {
		o.Online = func(store.UserID, string) bool { return false }
	}
	if o.MaxRecent == 0 {
		o.MaxRecent = 16 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	m := &Mailboxes{store: s, committer: c, options: o, log: o.Logger}
	for i := range m.shards {
		m.shards[i].boxes = make(map[store.UserID]*box)
	}
	return m
}

// A Message is what Append puts into a mailbox.
type Message struct {
	User store.UserID
	Kind store.MessageKind
	From string // address that the sending node vouched for, "" for an anonymous sender or a RETURN
	ID   tipt.MessageID
	Body []byte // DELIVER's msg, or the encoded body of a RETURN

	// OnlyDuplicate has a DELIVER looked for among those stored before, and not stored.
	OnlyDuplicate bool
}

// Append puts a message into a mailbox. It waits, as long as ctx lasts, for room
// in the committer's queue alone; messages are stored in the order of the
// calls. When it returns nil, done is called once on the committer's goroutine, in the
// same order, and must not block: with what became of the message, which is then
// on the disk, or with the error of the store. Body must not be changed any more:
// readers may get it as it is.
func (m *Mailboxes) Append(ctx context.Context, msg Message, done func(store.Outcome, error)) error {
	a := &appending{mailboxes: m, done: done}
	a.op = store.Append{
		User:     msg.User,
		Kind:     msg.Kind,
		From:     msg.From,
		ID:       msg.ID,
		Time:     fault.Now().Truncate(time.Millisecond).UTC(), // as the store keeps it
		Body:     msg.Body,
		MaxCount: m.options.MaxCount,
		MaxBytes: m.options.MaxBytes,

		OnlyDuplicate: msg.OnlyDuplicate,
	}
	// The places go first: a full mailbox makes room with what was taken.
	a.places = m.addPlaces(a.place[:0], msg.User)
	if err := m.committer.Submit(ctx, a.committed, append(a.places.addOps(a.ops[:0]), &a.op)...); err != nil {
		a.places.keep()
		return fmt.Errorf("append a message: %w", err)
	}
	return nil
}

// An appending is a message on its way to the disk, in one piece: there is one for each message.
type appending struct {
	mailboxes *Mailboxes
	op        store.Append
	places    places // that go with it
	done      func(store.Outcome, error)

	// Memory of places and of the operations, which is enough where one device has moved.
	place [1]place
	ops   [2]store.Op
}

// committed is called once the disk has it, or on failure.
func (a *appending) committed(err error) {
	if err != nil {
		a.places.keep()
		a.done(0, err)
		return
	}
	if a.op.Outcome == store.Stored {
		a.mailboxes.publish(&a.op)
	}
	a.done(a.op.Outcome, nil)
}
