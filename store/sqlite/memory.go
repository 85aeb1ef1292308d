package sqlite

import (
	"context"
	"errors"

	"github.com/tipt/tipt-go/internal/sqlite3"
	"github.com/tipt/tipt-go/store"
)

// FreeMemory gives back what SQLite's caches hold, up to 64 MiB after much was written, and what is known
// of mailboxes, up to 4 MiB. It waits for what is going on.
func (s *Store) FreeMemory(ctx context.Context) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	select {
	case s.freeing <- struct{}{}: // of two, each would wait for the readers that the other has
		defer func() { <-s.freeing }()
	case <-s.closed:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	const shrink = "PRAGMA shrink_memory"
	var errs []error
	select {
	case w := <-s.writer:
		w.mailboxes = make(map[store.UserID]*mailbox) // one that is cleared keeps its memory
		errs = append(errs, w.c.Script(shrink))
		s.writer <- w
	case <-s.closed:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	// All of them at once, or one might be met twice and another not.
	var readers []*sqlite3.Conn
	defer func() {
		for _, c := range readers {
			s.readers <- c
		}
	}()
	for range readerCount {
		select {
		case c := <-s.readers:
			readers = append(readers, c)
			errs = append(errs, c.Script(shrink))
		case <-s.closed:
			return errClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.result("freeing memory", errors.Join(errs...))
}
