package sqlite

import (
	"context"
	"database/sql/driver"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
)

func (w *writer) addOutbox(o *store.AddOutbox) error {
	o.ID, o.Duplicate = 0, false
	e := &o.Entry
	var ref any
	if e.Ref != nil {
		ref = e.Ref[:]
		v := make([]driver.Value, 1)
		found, err := w.c.one(v, "SELECT id FROM outbox WHERE user = ? AND node = ? AND ref = ?", int64(e.User), string(e.Node), ref)
		if err != nil {
			return err
		}
		if found {
			o.ID, o.Duplicate = integer(v[0]), true
			return nil
		}
	}
	large, err := w.addBody(e.Sealed)
	if err != nil {
		return err
	}
	o.ID, err = w.c.insert(`INSERT INTO outbox (user, node, ref, created, attempts, next, reason, unknown, large)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		int64(e.User), string(e.Node), ref, e.Created.UnixMilli(), int64(e.Attempts), e.Next.UnixMilli(), e.Reason, flag(e.Unknown), large)
	return err
}

func (w *writer) retryOutbox(o *store.RetryOutbox) error {
	_, err := w.c.exec("UPDATE outbox SET attempts = attempts + 1, next = ?, reason = ?, unknown = ? WHERE id = ?",
		o.Next.UnixMilli(), o.Reason, flag(o.Unknown), o.ID)
	return err
}

func (w *writer) removeOutbox(o *store.RemoveOutbox) error {
	v := make([]driver.Value, 1)
	found, err := w.c.one(v, "SELECT large FROM outbox WHERE id = ?", o.ID)
	if err != nil {
		return err
	}
	if o.Gone = !found; o.Gone {
		return nil
	}
	if _, err := w.c.exec("DELETE FROM outbox WHERE id = ?", o.ID); err != nil {
		return err
	}
	if err := w.dropBodies("SELECT ?", v[0]); err != nil {
		return err
	}
	if o.Return == nil {
		return nil
	}
	return w.append(o.Return)
}

// Outbox implements [store.Store].
func (s *Store) Outbox(ctx context.Context, now time.Time, limit int) ([]store.OutboxEntry, error) {
	var entries []store.OutboxEntry
	err := s.read(ctx, "reading the outbox", func(c *conn) error {
		var files []int64 // ids of the entries' files, 0 for none
		if err := c.query(11, func(v []driver.Value) bool {
			e := store.OutboxEntry{
				ID:       integer(v[0]),
				User:     store.UserID(integer(v[1])),
				Node:     tipt.NodeName(text(v[2])),
				Created:  timeOf(v[4]),
				Attempts: int(integer(v[5])),
				Next:     timeOf(v[6]),
				Reason:   text(v[7]),
				Unknown:  integer(v[8]) != 0,
				Sealed:   blob(v[10]),
			}
			if ref := blob(v[3]); ref != nil {
				e.Ref = (*tipt.MessageID)(ref)
			}
			entries = append(entries, e)
			files = append(files, file(v[9], v[10]))
			return true
		}, `SELECT o.id, o.user, o.node, o.ref, o.created, o.attempts, o.next, o.reason, o.unknown, o.large, b.body
			FROM outbox o LEFT JOIN bodies b ON b.id = o.large WHERE o.next <= ? ORDER BY o.id LIMIT ?`,
			now.UnixMilli(), int64(limit)); err != nil {
			return err
		}
		var err error
		entries, err = readFiles(c, s.dir, entries, files, func(e *store.OutboxEntry) *[]byte { return &e.Sealed })
		return err
	})
	return entries, err
}
