package sqlite3

import (
	"errors"
	"fmt"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// An Error is an error of SQLite.
type Error struct {
	Code int32 // the extended one
	text string
}

func (e *Error) Error() string { return fmt.Sprintf("%s (%d)", e.text, e.Code) }

// check is nil for SQLITE_OK, otherwise failure.
func (c *Conn) check(rc int32) error {
	if rc == lib.SQLITE_OK {
		return nil
	}
	return c.failure(rc)
}

// failure is the error that a function of SQLite has just returned.
func (c *Conn) failure(rc int32) error {
	e := &Error{Code: rc, text: libc.GoString(lib.Xsqlite3_errstr(c.tls, rc))}
	if c.db != 0 {
		if more := libc.GoString(lib.Xsqlite3_errmsg(c.tls, c.db)); more != e.text {
			e.text += ": " + more
		}
	}
	return e
}

var errMemory = errors.New("no memory for SQLite")
