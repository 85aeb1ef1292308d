package sqlite

import (
	"context"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/sqlite3"
	"github.com/tipt/tipt-go/store"
)

func (w *writer) addOutbox(o *store.AddOutbox) error {
	o.ID, o.Duplicate = 0, false
	e := &o.Entry
	id, again, err := w.queued(e)
	if err != nil {
		return err
	}
	if again {
		o.ID, o.Duplicate = id, true
		return nil
	}
	if o.OnlyDuplicate {
		return nil
	}
	var ref any
	if e.Ref != nil {
		ref = e.Ref[:]
	}
	large, err := w.addBody(e.Sealed)
	if err != nil {
		return err
	}
	o.ID, err = w.c.Insert(`INSERT INTO outbox (user, node, ref, created, attempts, next, reason, code, unknown, size, large)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		int64(e.User), string(e.Node), ref, e.Created.UnixMilli(), int64(e.Attempts), milli(e.Next), e.Reason, int64(e.Code),
		flag(e.Unknown), int64(len(e.Sealed)), large)
	return err
}

// queued returns the id of the entry that e is a resend of.
func (w *writer) queued(e *store.OutboxEntry) (id int64, found bool, err error) {
	if e.Ref == nil {
		return 0, false, nil
	}
	v := make([]sqlite3.Value, 1)
	found, err = w.c.One(v, "SELECT id FROM outbox WHERE user = ? AND node = ? AND ref = ?", int64(e.User), string(e.Node), e.Ref[:])
	return v[0].Integer, found, err
}

// milli is a time as it is stored. The zero time is 0.
func milli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// timeOrZero undoes milli.
func timeOrZero(v sqlite3.Value) time.Time {
	if v.Integer == 0 {
		return time.Time{}
	}
	return timeOf(v)
}

func (w *writer) retryOutbox(o *store.RetryOutbox) error {
	return w.c.Exec("UPDATE outbox SET attempts = attempts + 1, next = ?, reason = ?, code = ?, unknown = ? WHERE id = ?",
		milli(o.Next), o.Reason, int64(o.Code), flag(o.Unknown), o.ID)
}

func (w *writer) pauseNode(o *store.PauseNode) error {
	p := &o.Pause
	if p.Attempts == 0 && !p.Held {
		err := w.c.Exec("DELETE FROM pauses WHERE node = ?", string(p.Node))
		return err
	}
	return w.c.Exec("INSERT OR REPLACE INTO pauses (node, attempts, next, reason, held) VALUES (?, ?, ?, ?, ?)",
		string(p.Node), int64(p.Attempts), milli(p.Next), p.Reason, flag(p.Held))
}

func (w *writer) removeOutbox(o *store.RemoveOutbox) error {
	v := make([]sqlite3.Value, 1)
	found, err := w.c.One(v, "SELECT large FROM outbox WHERE id = ?", o.ID)
	if err != nil {
		return err
	}
	if o.Gone = !found; o.Gone {
		return nil
	}
	if err := w.c.Exec("DELETE FROM outbox WHERE id = ?", o.ID); err != nil {
		return err
	}
	if err := w.dropBody(v[0].Integer); err != nil {
		return err
	}
	if o.Return == nil {
		return nil
	}
	return w.append(o.Return)
}

// OutboxQueues implements [store.Store].
func (s *Store) OutboxQueues(ctx context.Context) (queues []store.OutboxQueue, err error) {
	err = s.read(ctx, "summing up the outbox", func(c *sqlite3.Conn) error {
		// With min(id), next and reason are of that row.
		return c.Query(7, func(v []sqlite3.Value) bool {
			queues = append(queues, store.OutboxQueue{
				Node:    tipt.NodeName(v[0].Text),
				User:    store.UserID(v[1].Integer),
				Entries: int(v[2].Integer),
				Bytes:   v[3].Integer,
				Next:    timeOrZero(v[4]),
				Reason:  v[5].Text,
			})
			return true
		}, "SELECT node, user, count(*), sum(size), next, reason, min(id) FROM outbox GROUP BY node, user")
	})
	return queues, err
}

// OutboxHead implements [store.Store].
func (s *Store) OutboxHead(ctx context.Context, node tipt.NodeName, user store.UserID) (store.OutboxEntry, error) {
	entries, err := s.outbox(ctx, "WHERE o.node = ? AND o.user = ? ORDER BY o.id LIMIT 1", string(node), int64(user))
	if err == nil && len(entries) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.OutboxEntry{}, err
	}
	return entries[0], nil
}

// OutboxOlder implements [store.Store].
func (s *Store) OutboxOlder(ctx context.Context, than time.Time, limit int) ([]store.OutboxEntry, error) {
	// The + keeps SQLite from walking all ids in order to spare itself a sort.
	return s.outbox(ctx, "WHERE o.created < ? ORDER BY +o.id LIMIT 0+?", than.UnixMilli(), int64(limit))
}

// NodePauses implements [store.Store].
func (s *Store) NodePauses(ctx context.Context) (pauses []store.NodePause, err error) {
	err = s.read(ctx, "reading the pauses of nodes", func(c *sqlite3.Conn) error {
		return c.Query(5, func(v []sqlite3.Value) bool {
			pauses = append(pauses, store.NodePause{
				Node:     tipt.NodeName(v[0].Text),
				Attempts: int(v[1].Integer),
				Next:     timeOrZero(v[2]),
				Reason:   v[3].Text,
				Held:     v[4].Integer != 0,
			})
			return true
		}, "SELECT node, attempts, next, reason, held FROM pauses")
	})
	return pauses, err
}

func (s *Store) outbox(ctx context.Context, which string, args ...any) ([]store.OutboxEntry, error) {
	var entries []store.OutboxEntry
	err := s.read(ctx, "reading the outbox", func(c *sqlite3.Conn) error {
		var files []int64 // ids of the entries' files, 0 for none
		if err := c.Query(12, func(v []sqlite3.Value) bool {
			e := store.OutboxEntry{
				ID:       v[0].Integer,
				User:     store.UserID(v[1].Integer),
				Node:     tipt.NodeName(v[2].Text),
				Created:  timeOf(v[4]),
				Attempts: int(v[5].Integer),
				Next:     timeOrZero(v[6]),
				Reason:   v[7].Text,
				Code:     tipt.ErrorCode(v[8].Integer),
				Unknown:  v[9].Integer != 0,
				Sealed:   v[11].Blob,
			}
			if ref := v[3].Blob; ref != nil {
				e.Ref = (*tipt.MessageID)(ref)
			}
			entries = append(entries, e)
			files = append(files, file(v[10], v[11]))
			return true
		}, `SELECT o.id, o.user, o.node, o.ref, o.created, o.attempts, o.next, o.reason, o.code, o.unknown, o.large, b.body
			FROM outbox o LEFT JOIN bodies b ON b.id = o.large `+which, args...); err != nil {
			return err
		}
		var err error
		entries, err = readFiles(c, s.dir, entries, files, func(e *store.OutboxEntry) *[]byte { return &e.Sealed })
		return err
	})
	return entries, err
}
