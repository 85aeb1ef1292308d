package sqlite

import (
	"math"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/sqlite3"
	"github.com/tipt/tipt-go/store"
)

// inlineSize bounds sender and body of a row of messages: SQLite keeps about a
// thousand bytes of a clustered row in place and reads longer ones whole to compare keys.
const inlineSize = 900

// A mailbox is what the writer knows of a user's mailbox.
type mailbox struct {
	user    store.UserID
	seq     int64 // the last one given out
	count   int64 // of DELIVERs held
	bytes   int64 // of their bodies
	low     int64 // no message has a lower seq
	changed bool  // is in writer.changed

	places      []place // of the devices that have one
	placesKnown bool
}

type place struct {
	device  string
	seq     int64 // of the last message taken
	changed bool
}

// mailbox returns a user's mailbox, nil where there is no such user.
func (w *writer) mailbox(user store.UserID) (*mailbox, error) {
	if b := w.mailboxes[user]; b != nil {
		return b, nil
	}
	v := make([]sqlite3.Value, 3)
	found, err := w.c.One(v, "SELECT seq, count, bytes FROM mailboxes WHERE user = ?", int64(user))
	if err != nil || !found {
		return nil, err
	}
	b := &mailbox{user: user, seq: v[0].Integer, count: v[1].Integer, bytes: v[2].Integer}
	if b.low, err = w.oldest(b); err != nil {
		return nil, err
	}
	w.mailboxes[user] = b
	return b, nil
}

// oldest is the seq of the oldest message held, or of the next one to come.
func (w *writer) oldest(b *mailbox) (int64, error) {
	v := make([]sqlite3.Value, 1)
	found, err := w.c.One(v, "SELECT seq FROM messages WHERE user = ? AND seq >= ? ORDER BY seq LIMIT 1", int64(b.user), b.low)
	if err != nil {
		return 0, err
	}
	if !found {
		return b.seq + 1, nil
	}
	return v[0].Integer, nil
}

// change notes that b is to be written with the batch.
func (w *writer) change(b *mailbox) {
	if !b.changed {
		b.changed = true
		w.changed = append(w.changed, b)
	}
}

func (w *writer) writeMailboxes() error {
	for _, b := range w.changed {
		b.changed = false
		if err := w.c.Exec("UPDATE mailboxes SET seq = ?, count = ?, bytes = ? WHERE user = ?",
			b.seq, b.count, b.bytes, int64(b.user)); err != nil {
			return err
		}
		if err := w.writePlaces(b); err != nil {
			return err
		}
	}
	clear(w.changed)
	w.changed = w.changed[:0]
	return nil
}

func (w *writer) append(o *store.Append) error {
	o.Outcome, o.Seq = 0, 0
	b, err := w.mailbox(o.User)
	if err != nil {
		return err
	}
	deliver := o.Kind == store.KindDeliver
	if b == nil || o.OnlyDuplicate || deliver && !b.fits(o) {
		// The rarer way: whether it is a duplicate comes before anything else (section 5.3).
		if deliver {
			dup, err := w.isDuplicate(o)
			if err != nil {
				return err
			}
			if dup {
				o.Outcome = store.Duplicate
				return nil
			}
		}
		if b == nil {
			o.Outcome = store.NoUser
			return nil
		}
		if o.OnlyDuplicate {
			o.Outcome = store.NoDuplicate
			return nil
		}
		ok, err := w.makeRoom(b, o)
		if err != nil {
			return err
		}
		if !ok {
			o.Outcome = store.Full
			return nil
		}
	}
	if deliver {
		n, err := w.c.Change(`INSERT INTO ids (mid, user, sender, time) VALUES (?, ?, ?, ?)
			ON CONFLICT (mid, user, sender) DO UPDATE SET time = excluded.time WHERE time < ?`,
			o.ID[:], int64(o.User), o.From, o.Time.UnixMilli(), duplicateLimit(o))
		if err != nil {
			return err
		}
		if n == 0 {
			o.Outcome = store.Duplicate
			return nil
		}
		b.count++
		b.bytes += int64(len(o.Body))
	}
	b.seq++
	w.change(b)
	body, large := any(o.Body), any(nil)
	if len(o.From)+len(o.Body) > inlineSize {
		id, err := w.addBody(o.Body)
		if err != nil {
			return err
		}
		body, large = nil, id
	} else if o.Body == nil {
		body = []byte{}
	}
	if err := w.c.Exec("INSERT INTO messages (user, seq, kind, sender, mid, time, size, body, large) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
		int64(o.User), b.seq, int64(o.Kind), o.From, o.ID[:], o.Time.UnixMilli(), int64(len(o.Body)), body, large); err != nil {
		return err
	}
	o.Outcome, o.Seq = store.Stored, b.seq
	return nil
}

// duplicateLimit is the oldest time at which an id noted still makes a message a duplicate.
func duplicateLimit(o *store.Append) int64 {
	return o.Time.Add(-tipt.DuplicateRetention).UnixMilli()
}

func (w *writer) isDuplicate(o *store.Append) (bool, error) {
	v := make([]sqlite3.Value, 1)
	return w.c.One(v, "SELECT 1 FROM ids WHERE mid = ? AND user = ? AND sender = ? AND time >= ?",
		o.ID[:], int64(o.User), o.From, duplicateLimit(o))
}

func (b *mailbox) fits(o *store.Append) bool {
	return b.excessCount(o) <= 0 && b.excessBytes(o) <= 0
}

// excessCount and excessBytes are by how much the mailbox with o would be
// over its quota.
func (b *mailbox) excessCount(o *store.Append) int64 {
	if o.MaxCount == 0 {
		return 0
	}
	return b.count + 1 - int64(o.MaxCount)
}

func (b *mailbox) excessBytes(o *store.Append) int64 {
	if o.MaxBytes == 0 {
		return 0
	}
	return b.bytes + int64(len(o.Body)) - o.MaxBytes
}

// makeRoom drops the oldest messages that some device has taken, as many as o
// needs to fit, or none and returns false where that is not enough.
func (w *writer) makeRoom(b *mailbox, o *store.Append) (bool, error) {
	if err := w.knowPlaces(b); err != nil {
		return false, err
	}
	if b.furthest() < b.low {
		return false, nil
	}
	count, bytes := b.excessCount(o), b.excessBytes(o)
	upto, found := int64(0), false
	if err := w.c.Query(2, func(v []sqlite3.Value) bool {
		upto = v[0].Integer
		count--
		bytes -= v[1].Integer
		found = count <= 0 && bytes <= 0
		return !found
	}, "SELECT seq, size FROM messages WHERE user = ? AND seq >= ? AND seq <= ? AND kind = 0 ORDER BY seq",
		int64(b.user), b.low, b.furthest()); err != nil || !found {
		return false, err
	}
	_, err := w.remove(b.user, b, upto, store.KindDeliver, math.MaxInt64)
	return err == nil, err
}

// remove deletes the oldest messages up to a seq and up to a kind, at most
// limit of them, and returns how many. b is nil where the user is deleted.
func (w *writer) remove(user store.UserID, b *mailbox, upto int64, kind store.MessageKind, limit int64) (int64, error) {
	low := int64(0)
	if b != nil {
		low = b.low
	}
	v := make([]sqlite3.Value, 5)
	if _, err := w.c.One(v, `SELECT count(*), max(seq), sum(kind = 0), sum(iif(kind = 0, size, 0)), count(large) FROM
		(SELECT seq, kind, size, large FROM messages WHERE user = ? AND seq >= ? AND seq <= ? AND kind <= ? ORDER BY seq LIMIT 0+?)`,
		int64(user), low, upto, int64(kind), limit); err != nil {
		return 0, err
	}
	n, last := v[0].Integer, v[1].Integer
	if n == 0 {
		return 0, nil
	}
	if v[4].Integer > 0 {
		if err := w.dropBodies("SELECT large FROM messages WHERE user = ? AND seq >= ? AND seq <= ? AND kind <= ?",
			int64(user), low, last, int64(kind)); err != nil {
			return 0, err
		}
	}
	if err := w.c.Exec("DELETE FROM messages WHERE user = ? AND seq >= ? AND seq <= ? AND kind <= ?",
		int64(user), low, last, int64(kind)); err != nil {
		return 0, err
	}
	if b != nil {
		b.count -= v[2].Integer
		b.bytes -= v[3].Integer
		w.change(b)
	}
	return n, nil
}

// trim removes a bounded number of the messages that are of no use to anybody.
func (w *writer) trim() error {
	left := int64(trimLimit)
	for user, upto := range w.trims {
		b, err := w.mailbox(user)
		if err != nil {
			return err
		}
		n, err := w.remove(user, b, upto, store.KindReturn, left)
		if err != nil {
			return err
		}
		if left -= n; left == 0 {
			return nil
		}
		if b != nil {
			b.low = max(b.low, upto+1)
		}
		delete(w.trims, user)
	}
	return nil
}
