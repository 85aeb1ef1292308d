package sqlite

import (
	"math"

	"github.com/tipt/tipt-go/internal/sqlite3"
	"github.com/tipt/tipt-go/store"
)

// A sweep is how far a round of Expire has come. Neither messages nor ids have
// an index by time: a round over all of them now and then is cheaper than one more
// index kept with every message.
type sweep struct {
	user         int64 // mailboxes up to this one are done
	messagesDone bool

	mid     []byte // the last id looked at
	midUser int64
	sender  string
	idsDone bool

	devicesDone bool
}

func (w *writer) expire(o *store.Expire) error {
	o.More = false
	for _, step := range []func(*store.Expire) error{w.expireMessages, w.expireIDs, w.expireDevices} {
		if err := step(o); err != nil {
			return err
		}
	}
	if o.More = !w.sweep.messagesDone || !w.sweep.idsDone || !w.sweep.devicesDone; !o.More {
		w.sweep = sweep{}
	}
	return nil
}

// expireMessages goes from mailbox to mailbox and removes from the front of each.
func (w *writer) expireMessages(o *store.Expire) error {
	cutoff := o.Messages.UnixMilli()
	v := make([]sqlite3.Value, 3)
	for left, looks := o.Limit, o.Limit; left > 0 && looks > 0 && !w.sweep.messagesDone; looks-- {
		found, err := w.c.One(v, `SELECT m.user, m.time, b.user IS NULL FROM messages m LEFT JOIN mailboxes b ON b.user = m.user
			WHERE m.user > ? ORDER BY m.user, m.seq LIMIT 1`, w.sweep.user)
		if err != nil {
			return err
		}
		if !found {
			w.sweep.messagesDone = true
			break
		}
		user, oldest, deleted := store.UserID(v[0].Integer), v[1].Integer, v[2].Integer != 0
		switch {
		case deleted:
			w.trims[user] = math.MaxInt64
		case oldest < cutoff:
			n, err := w.expireMailbox(user, cutoff, left)
			if err != nil {
				return err
			}
			if left -= n; left == 0 {
				return nil // there may be more of it
			}
		}
		w.sweep.user = int64(user)
	}
	return nil
}

func (w *writer) expireMailbox(user store.UserID, cutoff int64, limit int) (n int, err error) {
	b, err := w.mailbox(user)
	if err != nil {
		return 0, err
	}
	var upto int64
	if err := w.c.Query(2, func(v []sqlite3.Value) bool {
		if v[1].Integer >= cutoff {
			return false
		}
		upto = v[0].Integer
		return true
	}, "SELECT seq, time FROM messages WHERE user = ? ORDER BY seq LIMIT 0+?", int64(user), int64(limit)); err != nil {
		return 0, err
	}
	removed, err := w.remove(user, b, upto, store.KindReturn, int64(limit))
	if err == nil {
		b.low = max(b.low, upto+1)
	}
	return int(removed), err
}

// expireIDs looks at the next ids in their order and deletes the old ones of them.
func (w *writer) expireIDs(o *store.Expire) error {
	s := &w.sweep
	if s.idsDone {
		return nil
	}
	if s.mid == nil {
		s.mid = []byte{}
	}
	v := make([]sqlite3.Value, 3)
	found, err := w.c.One(v, `SELECT mid, user, sender FROM ids WHERE (mid, user, sender) > (?, ?, ?)
		ORDER BY mid, user, sender LIMIT 1 OFFSET ?`, s.mid, s.midUser, s.sender, int64(o.Limit-1))
	if err != nil {
		return err
	}
	if !found {
		s.idsDone = true
		err := w.c.Exec("DELETE FROM ids WHERE (mid, user, sender) > (?, ?, ?) AND time < ?",
			s.mid, s.midUser, s.sender, o.Duplicates.UnixMilli())
		return err
	}
	err = w.c.Exec("DELETE FROM ids WHERE (mid, user, sender) > (?, ?, ?) AND (mid, user, sender) <= (?, ?, ?) AND time < ?",
		s.mid, s.midUser, s.sender, v[0].Blob, v[1].Integer, v[2].Text, o.Duplicates.UnixMilli())
	s.mid, s.midUser, s.sender = v[0].Blob, v[1].Integer, v[2].Text
	return err
}

func (w *writer) expireDevices(o *store.Expire) error {
	if w.sweep.devicesDone {
		return nil
	}
	type device struct {
		user store.UserID
		name string
	}
	var old []device
	if err := w.c.Query(2, func(v []sqlite3.Value) bool {
		d := device{store.UserID(v[0].Integer), v[1].Text}
		if o.Online == nil || !o.Online(d.user, d.name) {
			old = append(old, d)
		}
		return len(old) < o.Limit
	}, "SELECT user, name FROM devices WHERE seen < ? ORDER BY seen", o.Devices.UnixMilli()); err != nil {
		return err
	}
	for _, d := range old {
		if err := w.removeDevice(d.user, d.name); err != nil {
			return err
		}
	}
	w.sweep.devicesDone = len(old) < o.Limit
	return nil
}
