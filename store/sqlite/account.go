package sqlite

import (
	"math"

	"github.com/tipt/tipt-go/internal/sqlite3"
	"github.com/tipt/tipt-go/store"
)

func (w *writer) createUser(o *store.CreateUser) error {
	o.ID, o.NameTaken, o.InviteInvalid = 0, false, false
	v := make([]sqlite3.Value, 1)
	if o.Invite != nil {
		found, err := w.c.One(v, "SELECT 1 FROM invites WHERE hash = ?", o.Invite[:])
		if err != nil {
			return err
		}
		if !found {
			o.InviteInvalid = true
			return nil
		}
	}
	taken, err := w.c.One(v, "SELECT 1 FROM users WHERE name = ?", string(o.Name))
	if err != nil {
		return err
	}
	if taken {
		o.NameTaken = true
		return nil
	}
	if o.Invite != nil {
		if err := w.c.Exec("DELETE FROM invites WHERE hash = ?", o.Invite[:]); err != nil {
			return err
		}
	}
	id, err := w.c.Insert("INSERT INTO users (name, password, created) VALUES (?, ?, ?)",
		string(o.Name), o.Password, o.Time.UnixMilli())
	if err != nil {
		return err
	}
	if err := w.c.Exec("INSERT INTO mailboxes (user, seq, count, bytes) VALUES (?, 0, 0, 0)", id); err != nil {
		return err
	}
	o.ID = store.UserID(id)
	return nil
}

func (w *writer) setPassword(o *store.SetPassword) error {
	if err := w.c.Exec("UPDATE users SET password = ? WHERE id = ? AND NOT deleted", o.Password, int64(o.User)); err != nil {
		return err
	}
	return w.c.Exec("UPDATE devices SET token = NULL WHERE user = ? AND name <> ?", int64(o.User), o.Keep)
}

func (w *writer) setDisabled(o *store.SetDisabled) error {
	return w.c.Exec("UPDATE users SET disabled = ? WHERE id = ? AND NOT deleted", flag(o.Disabled), int64(o.User))
}

func (w *writer) setKey(o *store.SetKey) error {
	return w.c.Exec("UPDATE users SET key = ? WHERE id = ? AND NOT deleted", o.Key, int64(o.User))
}

// deleteUser leaves the messages to trim, a batch never removes many at
// once. Without a mailbox nobody reads them, and expire finds them where trim
// was kept from ending.
func (w *writer) deleteUser(o *store.DeleteUser) error {
	b, err := w.mailbox(o.User)
	if err != nil || b == nil {
		return err
	}
	delete(w.mailboxes, o.User)
	w.trims[o.User] = math.MaxInt64
	for _, sql := range []string{
		"UPDATE users SET deleted = 1, password = '', key = NULL WHERE id = ?",
		"DELETE FROM devices WHERE user = ?",
		"DELETE FROM mailboxes WHERE user = ?",
	} {
		if err := w.c.Exec(sql, int64(o.User)); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) addInvite(o *store.AddInvite) error {
	return w.c.Exec("INSERT INTO invites (hash, created) VALUES (?, ?) ON CONFLICT DO NOTHING", o.Hash[:], o.Time.UnixMilli())
}
