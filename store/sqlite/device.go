package sqlite

import (
	"slices"

	"github.com/tipt/tipt-go/internal/sqlite3"
	"github.com/tipt/tipt-go/store"
)

// knowPlaces reads the places of a mailbox unless they are in memory.
func (w *writer) knowPlaces(b *mailbox) error {
	if b.placesKnown {
		return nil
	}
	b.places = b.places[:0]
	err := w.c.Query(2, func(v []sqlite3.Value) bool {
		b.places = append(b.places, place{device: v[0].Text, seq: v[1].Integer})
		return true
	}, "SELECT name, place FROM devices WHERE user = ? AND place IS NOT NULL", int64(b.user))
	b.placesKnown = err == nil
	return err
}

func (w *writer) writePlaces(b *mailbox) error {
	for i := range b.places {
		p := &b.places[i]
		if !p.changed {
			continue
		}
		p.changed = false
		if err := w.c.Exec("UPDATE devices SET place = ? WHERE user = ? AND name = ?",
			p.seq, int64(b.user), p.device); err != nil {
			return err
		}
	}
	return nil
}

// forgetPlaces makes the database the place to look at, for what changes devices there.
func (w *writer) forgetPlaces(b *mailbox) error {
	err := w.writePlaces(b)
	b.placesKnown, b.places = false, nil
	return err
}

// furthest is the greatest place, 0 where no device has one.
func (b *mailbox) furthest() int64 {
	var seq int64
	for _, p := range b.places {
		seq = max(seq, p.seq)
	}
	return seq
}

// trimTaken has the messages removed that all devices with a place have
// taken. Without one all wait for the first (section 4).
func (w *writer) trimTaken(b *mailbox) error {
	if err := w.knowPlaces(b); err != nil {
		return err
	}
	if len(b.places) == 0 {
		return nil
	}
	upto := b.places[0].seq
	for _, p := range b.places {
		upto = min(upto, p.seq)
	}
	if upto >= b.low {
		w.trims[b.user] = max(w.trims[b.user], upto)
	}
	return nil
}

func (w *writer) take(o *store.Take) error {
	b, err := w.mailbox(o.User)
	if err != nil || b == nil {
		return err
	}
	if err := w.knowPlaces(b); err != nil {
		return err
	}
	i := slices.IndexFunc(b.places, func(p place) bool { return p.device == o.Device })
	seq := min(o.Seq, b.seq)
	if i < 0 || seq <= b.places[i].seq {
		return nil
	}
	b.places[i].seq = seq
	b.places[i].changed = true
	w.change(b)
	return w.trimTaken(b)
}

func (w *writer) signIn(o *store.SignIn) error {
	o.NoUser, o.TokenSet, o.Place, o.Dropped = false, false, 0, nil
	b, err := w.mailbox(o.User)
	if err != nil {
		return err
	}
	if b == nil {
		o.NoUser = true
		return nil
	}
	if err := w.forgetPlaces(b); err != nil {
		return err
	}
	user, now := int64(o.User), o.Time.UnixMilli()
	v := make([]sqlite3.Value, 2)
	if _, err := w.c.One(v, `INSERT INTO devices (user, name, created, seen) VALUES (?, ?, ?, ?)
		ON CONFLICT (user, name) DO UPDATE SET seen = excluded.seen
		RETURNING token IS NOT NULL, place`, user, o.Device, now, now); err != nil {
		return err
	}
	hasToken, hasPlace := v[0].Integer != 0, !v[1].Null
	o.Place = v[1].Integer
	if o.TokenHash != nil && !(o.IfNone && hasToken) {
		if err := w.c.Exec("UPDATE devices SET token = ? WHERE user = ? AND name = ?", o.TokenHash, user, o.Device); err != nil {
			return err
		}
		o.TokenSet = true
	}
	if o.Receive && !hasPlace {
		oldest, err := w.oldest(b)
		if err != nil {
			return err
		}
		o.Place = max(oldest-1, w.trims[o.User]) // what is still to be trimmed is no longer held
		if err := w.c.Exec("UPDATE devices SET place = ? WHERE user = ? AND name = ?", o.Place, user, o.Device); err != nil {
			return err
		}
	}
	if !o.Receive {
		o.Place = 0
	}
	return w.dropDevices(b, o)
}

// dropDevices removes devices until there are no more than o allows: those unseen
// longest, connected ones last and in the order of o.Online (section 4).
func (w *writer) dropDevices(b *mailbox, o *store.SignIn) error {
	var names []string // but for o's, those unseen longest first
	if err := w.c.Query(1, func(v []sqlite3.Value) bool {
		names = append(names, v[0].Text)
		return true
	}, "SELECT name FROM devices WHERE user = ? AND name <> ? ORDER BY seen, created", int64(o.User), o.Device); err != nil {
		return err
	}
	excess := len(names) + 1 - o.MaxDevices
	if excess <= 0 {
		return nil
	}
	var order []string
	for _, name := range names {
		if !slices.Contains(o.Online, name) {
			order = append(order, name)
		}
	}
	for _, name := range o.Online {
		if slices.Contains(names, name) && !slices.Contains(order, name) {
			order = append(order, name)
		}
	}
	o.Dropped = order[:min(excess, len(order))]
	for _, name := range o.Dropped {
		if err := w.deleteDevice(b, name); err != nil {
			return err
		}
	}
	return w.trimTaken(b)
}

func (w *writer) removeDevice(user store.UserID, name string) error {
	b, err := w.mailbox(user)
	if err != nil || b == nil {
		return err
	}
	if err := w.deleteDevice(b, name); err != nil {
		return err
	}
	return w.trimTaken(b)
}

func (w *writer) deleteDevice(b *mailbox, name string) error {
	if err := w.forgetPlaces(b); err != nil {
		return err
	}
	return w.c.Exec("DELETE FROM devices WHERE user = ? AND name = ?", int64(b.user), name)
}

func (w *writer) seeDevice(o *store.SeeDevice) error {
	return w.c.Exec("UPDATE devices SET seen = ? WHERE user = ? AND name = ?", o.Time.UnixMilli(), int64(o.User), o.Device)
}
