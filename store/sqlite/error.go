package sqlite

import (
	"errors"
	"fmt"
	"syscall"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"

	"github.com/tipt/tipt-go/store"
)

// A sqliteError is an error of SQLite.
type sqliteError struct {
	code int32 // the extended one
	text string
}

func (e *sqliteError) Error() string { return fmt.Sprintf("%s (%d)", e.text, e.code) }

// check is nil for SQLITE_OK, otherwise failure.
func (c *conn) check(rc int32) error {
	if rc == lib.SQLITE_OK {
		return nil
	}
	return c.failure(rc)
}

// failure is the error that a function of SQLite has just returned.
func (c *conn) failure(rc int32) error {
	e := &sqliteError{code: rc, text: libc.GoString(lib.Xsqlite3_errstr(c.tls, rc))}
	if c.db != 0 {
		if more := libc.GoString(lib.Xsqlite3_errmsg(c.tls, c.db)); more != e.text {
			e.text += ": " + more
		}
	}
	return e
}

var errMemory = errors.New("no memory for SQLite")

// classify tells which of the store's errors an error of SQLite or of the
// file system is, and wraps it as that.
func classify(err error) error {
	if err == nil || errors.Is(err, store.ErrFailed) || errors.Is(err, store.ErrDiskFull) {
		return err
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", store.ErrDiskFull, err)
	}
	var se *sqliteError
	if !errors.As(err, &se) {
		return err
	}
	if se.code == lib.SQLITE_IOERR_NOMEM {
		return err
	}
	switch se.code & 0xff {
	case lib.SQLITE_FULL:
		return fmt.Errorf("%w: %w", store.ErrDiskFull, err)
	case lib.SQLITE_IOERR, lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB, lib.SQLITE_READONLY, lib.SQLITE_PROTOCOL:
		return fmt.Errorf("%w: %w", store.ErrFailed, err)
	}
	return err
}

var errUnknown = errors.New("unknown operation")

// impossible wraps the error of an operation where the operation itself is to blame.
func impossible(op store.Op, err error) error {
	var se *sqliteError
	if errors.As(err, &se) {
		switch se.code & 0xff {
		case lib.SQLITE_CONSTRAINT, lib.SQLITE_TOOBIG, lib.SQLITE_MISMATCH:
		default:
			return err
		}
	} else if !errors.Is(err, errUnknown) {
		return err
	}
	return fmt.Errorf("%w: %T: %w", store.ErrImpossible, op, err)
}
