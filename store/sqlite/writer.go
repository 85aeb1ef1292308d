package sqlite

import (
	"errors"
	"fmt"
	"slices"

	lib "modernc.org/sqlite/lib"

	"github.com/tipt/tipt-go/internal/sqlite3"
	"github.com/tipt/tipt-go/store"
)

const (
	pageSize = 4096
	// checkpointPages is how long the write-ahead log grows before its pages go
	// into the database: 64 MiB. The longer, the more writes of one page become one.
	checkpointPages = 16384
	// trimLimit bounds how many messages one batch removes because all have
	// taken them or their user is gone. The next batches go on.
	trimLimit = 4096
	// maxMailboxes bounds the mailboxes kept in memory between batches.
	maxMailboxes = 16384
)

// A writer applies batches. Everything in it belongs to the batch that is
// being committed; what it knows of the database is forgotten when one fails.
type writer struct {
	s *Store
	c *sqlite3.Conn

	mailboxes map[store.UserID]*mailbox
	changed   []*mailbox             // to be written at the end of the batch
	trims     map[store.UserID]int64 // messages up to this seq are gone for everybody
	sweep     sweep
	blobs     *blobs

	checkpointAt int // pages written since the last complete checkpoint
}

func newWriter(s *Store, c *sqlite3.Conn, b *blobs) *writer {
	w := &writer{s: s, c: c, blobs: b, checkpointAt: s.checkpointPages()}
	w.forget()
	return w
}

// checkpointPages is smaller with a small reserve: a checkpoint may have to
// make the database as much longer as the log is, and has only the reserve for that.
func (s *Store) checkpointPages() int {
	if s.reserve > 0 && s.reserve < 2*checkpointPages*pageSize {
		return max(int(s.reserve/(2*pageSize)), 1)
	}
	return checkpointPages
}

// forget drops all that w knows of the database.
func (w *writer) forget() {
	w.mailboxes = make(map[store.UserID]*mailbox)
	w.changed = nil
	w.trims = make(map[store.UserID]int64)
	w.sweep = sweep{}
}

func (w *writer) commit(batch []store.Op) error {
	if err := w.checkRoom(batch); err != nil {
		return err
	}
	if err := w.transact(batch); err != nil {
		w.forget()
		if rerr := w.rollback(); rerr != nil {
			return fmt.Errorf("%w: %w, then rolling back: %w", store.ErrFailed, err, rerr)
		}
		if errors.Is(classify(err), store.ErrFailed) {
			return err // the log may have the batch all the same, which then needs its files
		}
		w.warn("files of a batch not removed", w.blobs.rolledBack())
		if cerr := w.makeRoomInLog(err); cerr != nil {
			return fmt.Errorf("%w, then a checkpoint: %w", err, cerr)
		}
		return err
	}
	w.warn("files not removed", w.blobs.committed())
	if len(w.mailboxes) > maxMailboxes {
		clear(w.mailboxes)
	}
	return w.checkpointIfDue()
}

func (w *writer) transact(batch []store.Op) error {
	if err := w.c.Exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	for _, op := range batch {
		if err := w.apply(op); err != nil {
			return impossible(op, err)
		}
	}
	if err := w.trim(); err != nil {
		return err
	}
	if err := w.writeMailboxes(); err != nil {
		return err
	}
	if err := w.blobs.sync(); err != nil {
		return err
	}
	return w.c.Exec("COMMIT")
}

// warn logs an error that concerns no caller.
func (w *writer) warn(msg string, err error) {
	if err != nil {
		w.s.log.Warn("upkeep of the store failed", "what", msg, "err", err)
	}
}

func (w *writer) apply(op store.Op) error {
	switch o := op.(type) {
	case *store.CreateUser:
		return w.createUser(o)
	case *store.SetPassword:
		return w.setPassword(o)
	case *store.SetDisabled:
		return w.setDisabled(o)
	case *store.SetKey:
		return w.setKey(o)
	case *store.DeleteUser:
		return w.deleteUser(o)
	case *store.SignIn:
		return w.signIn(o)
	case *store.RemoveDevice:
		return w.removeDevice(o.User, o.Device)
	case *store.SeeDevice:
		return w.seeDevice(o)
	case *store.AddInvite:
		return w.addInvite(o)
	case *store.Append:
		return w.append(o)
	case *store.Take:
		return w.take(o)
	case *store.Expire:
		return w.expire(o)
	case *store.AddOutbox:
		return w.addOutbox(o)
	case *store.RetryOutbox:
		return w.retryOutbox(o)
	case *store.PauseNode:
		return w.pauseNode(o)
	case *store.RemoveOutbox:
		return w.removeOutbox(o)
	}
	return errUnknown
}

// rollback ends a transaction that failed. SQLite has often done so itself.
func (w *writer) rollback() error {
	err := w.c.Script("ROLLBACK")
	if se, ok := errors.AsType[*sqlite3.Error](err); ok && se.Code == lib.SQLITE_ERROR {
		return nil // there is none
	}
	return err
}

// checkRoom refuses a batch that makes the store grow while less than the
// reserve is free. The database's free pages are room for all but files.
func (w *writer) checkRoom(batch []store.Op) error {
	if w.s.reserve < 0 || !slices.ContainsFunc(batch, grows) {
		return nil
	}
	free, err := freeSpace(w.s.dir)
	if err == nil && free < w.s.reserve && len(w.blobs.garbage) > 0 {
		w.warn("files not removed", w.blobs.collect())
		free, err = freeSpace(w.s.dir)
	}
	if err != nil {
		return err
	}
	if free >= w.s.reserve {
		return nil
	}
	v := make([]sqlite3.Value, 1)
	if _, err := w.c.One(v, "PRAGMA freelist_count"); err != nil {
		return err
	}
	pages := free+v[0].Integer*pageSize >= w.s.reserve
	for _, op := range batch {
		if !grows(op) || pages && !makesFile(op) {
			continue
		}
		if again, err := w.isResend(op); err != nil {
			return err
		} else if !again {
			return fmt.Errorf("%w: %d bytes are free, %d are kept in reserve", store.ErrDiskFull, free, w.s.reserve)
		}
	}
	return nil
}

// grows reports whether an operation makes the store grow, unless it is a resend.
func grows(op store.Op) bool {
	switch o := op.(type) {
	case *store.CreateUser, *store.AddInvite:
		return true
	case *store.Append:
		return !o.OnlyDuplicate
	case *store.AddOutbox:
		return !o.OnlyDuplicate
	case *store.SetKey:
		return o.Key != nil
	}
	return false
}

// makesFile reports whether an operation that grows does so by a file.
func makesFile(op store.Op) bool {
	switch o := op.(type) {
	case *store.Append:
		return len(o.Body) >= fileSize
	case *store.AddOutbox:
		return len(o.Entry.Sealed) >= fileSize
	}
	return false
}

// isResend reports whether an operation will turn out to be a Duplicate, which adds nothing.
func (w *writer) isResend(op store.Op) (bool, error) {
	switch o := op.(type) {
	case *store.Append:
		if o.Kind == store.KindDeliver {
			return w.isDuplicate(o)
		}
	case *store.AddOutbox:
		_, again, err := w.queued(&o.Entry)
		return again, err
	}
	return false, nil
}

// checkpointIfDue moves the log into the database when it is long. The batch before is
// on the disk whatever comes of it, so only a failure of the store is an error.
func (w *writer) checkpointIfDue() error {
	pages, err := w.c.Written(false)
	if err != nil {
		return err
	}
	if pages < w.checkpointAt {
		return nil
	}
	complete, err := w.checkpoint()
	switch err = classify(err); {
	case errors.Is(err, store.ErrFailed):
		return err
	default:
		w.warn("checkpoint of the store put off", err)
	}
	if !complete {
		// Somebody reads what would be overwritten, or there is no room: try again soon.
		w.checkpointAt = pages + w.s.checkpointPages()/16
	}
	return nil
}

// checkpoint moves the log into the database. When complete the next batch writes
// over the log from its start. It waits for the reads that are going on: were they
// passed by, as there is always one the log would become longer and longer.
func (w *writer) checkpoint() (complete bool, err error) {
	if err := w.c.Script("PRAGMA busy_timeout = 100"); err != nil { // of somebody who reads for long, not of us
		return false, err
	}
	v := make([]sqlite3.Value, 3)
	_, err = w.c.One(v, "PRAGMA wal_checkpoint(RESTART)")
	if terr := w.c.Script(busyTimeout); err == nil {
		err = terr
	}
	if busy := v[0].Integer != 0; err != nil || busy {
		return false, err
	}
	w.checkpointAt = w.s.checkpointPages()
	_, err = w.c.Written(true)
	return err == nil, err
}

// makeRoomInLog checkpoints after a batch that found the disk full, so that the
// next one can use the log's space again.
func (w *writer) makeRoomInLog(cause error) error {
	if !errors.Is(classify(cause), store.ErrDiskFull) {
		return nil
	}
	_, err := w.checkpoint()
	if err = classify(err); errors.Is(err, store.ErrFailed) {
		return err
	}
	return nil // still no room, which the caller learns
}
