// Package sqlite3 is SQLite without database/sql: connections, each for one goroutine, whose statements stay
// prepared. A driver of database/sql has to make some ten objects for each statement, and there are
// six statements in a message's life; SQLite itself makes none that are Go's.
package sqlite3

import (
	"encoding/binary"
	"errors"

	"modernc.org/libc"
	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

// A Conn is one connection to a database, for one goroutine at a time.
type Conn struct {
	tls   *libc.TLS // what SQLite takes for its thread
	db    uintptr   // *sqlite3
	stmts map[string]*stmt
	out   uintptr // outSize bytes, for what SQLite returns by a pointer
	row   []Value // used again by every query
}

// outSize is the size of two pointers, on any machine.
const outSize = 16

// Open connects to a database file, making it where it does not exist. It has SQLite sync with
// fdatasync where there is that call, in the whole process.
func Open(path string) (*Conn, error) {
	if _, err := sqlite.Fdatasync(true); err != nil && !errors.Is(err, sqlite.ErrFdatasyncUnavailable) {
		return nil, err
	}
	c := &Conn{tls: libc.NewTLS(), stmts: make(map[string]*stmt)}
	if err := c.open(path); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Conn) open(path string) error {
	if c.out = libc.Xcalloc(c.tls, 1, outSize); c.out == 0 {
		return errMemory
	}
	name, err := libc.CString(path)
	if err != nil {
		return err
	}
	defer libc.Xfree(c.tls, name)
	// Nobody else uses the connection meanwhile, so SQLite need not lock it.
	rc := lib.Xsqlite3_open_v2(c.tls, name, c.out, lib.SQLITE_OPEN_READWRITE|lib.SQLITE_OPEN_CREATE|lib.SQLITE_OPEN_NOMUTEX, 0)
	c.db = c.pointer() // also of one that could not be opened
	if rc == lib.SQLITE_OK {
		rc = lib.Xsqlite3_extended_result_codes(c.tls, c.db, 1)
	}
	return c.check(rc)
}

// pointer takes the pointer that SQLite returned in c.out.
func (c *Conn) pointer() uintptr {
	out := libc.GoBytes(c.out, outSize)
	p := uintptr(binary.NativeEndian.Uint64(out)) // behind one of 32 bits stand zeros, on machines that begin with the low byte, as those all do
	clear(out)
	return p
}

// Close ends the connection.
func (c *Conn) Close() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, c.check(lib.Xsqlite3_finalize(c.tls, s.handle)))
		libc.Xfree(c.tls, s.memory)
	}
	if c.db != 0 {
		errs = append(errs, c.check(lib.Xsqlite3_close(c.tls, c.db)))
	}
	libc.Xfree(c.tls, c.out)
	c.tls.Close()
	return errors.Join(errs...)
}

// Script runs statements that are not worth keeping prepared.
func (c *Conn) Script(sql string) error {
	s, err := libc.CString(sql)
	if err != nil {
		return err
	}
	defer libc.Xfree(c.tls, s)
	return c.check(lib.Xsqlite3_exec(c.tls, c.db, s, 0, 0, 0))
}

// Statements returns the statements that have been prepared, with the number of their arguments: for a
// look at how SQLite carries them out.
func (c *Conn) Statements() map[string]int {
	n := make(map[string]int, len(c.stmts))
	for sql, s := range c.stmts {
		n[sql] = s.params
	}
	return n
}

// prepare returns the prepared statement for sql, which must be a constant:
// statements are kept until the connection closes. Limits are written "LIMIT 0+?": for a bare
// parameter SQLite looks at the value and compiles the statement anew for each.
func (c *Conn) prepare(sql string) (*stmt, error) {
	if s := c.stmts[sql]; s != nil {
		return s, nil
	}
	p, err := libc.CString(sql)
	if err != nil {
		return nil, err
	}
	defer libc.Xfree(c.tls, p)
	if rc := lib.Xsqlite3_prepare_v3(c.tls, c.db, p, -1, lib.SQLITE_PREPARE_PERSISTENT, c.out, 0); rc != lib.SQLITE_OK {
		return nil, c.failure(rc)
	}
	s := &stmt{c: c, handle: c.pointer()}
	s.params = int(lib.Xsqlite3_bind_parameter_count(c.tls, s.handle))
	c.stmts[sql] = s
	return s, nil
}

// Exec runs a statement. Arguments are int64, string, []byte or nil.
func (c *Conn) Exec(sql string, args ...any) error {
	return c.Query(0, func([]Value) bool { return true }, sql, args...)
}

// Change runs a statement and returns how many rows it changed.
func (c *Conn) Change(sql string, args ...any) (int64, error) {
	if err := c.Exec(sql, args...); err != nil {
		return 0, err
	}
	return lib.Xsqlite3_changes64(c.tls, c.db), nil
}

// Insert runs an INSERT and returns the new row's id.
func (c *Conn) Insert(sql string, args ...any) (int64, error) {
	if err := c.Exec(sql, args...); err != nil {
		return 0, err
	}
	return lib.Xsqlite3_last_insert_rowid(c.tls, c.db), nil
}

// Query runs a SELECT of n columns and calls row for each row until it
// returns false. The values are row's to keep, the slice is not. No other statement may
// run on c meanwhile.
func (c *Conn) Query(n int, row func(v []Value) bool, sql string, args ...any) (err error) {
	s, err := c.prepare(sql)
	if err != nil {
		return err
	}
	if err := s.bind(args); err != nil {
		return err
	}
	defer func() {
		// It repeats the error of a step that failed.
		if rc := lib.Xsqlite3_reset(c.tls, s.handle); err == nil {
			err = c.check(rc)
		}
	}()
	for len(c.row) < n {
		c.row = append(c.row, Value{})
	}
	v := c.row[:n]
	defer clear(v)
	for {
		switch rc := lib.Xsqlite3_step(c.tls, s.handle); rc {
		case lib.SQLITE_DONE:
			return nil
		case lib.SQLITE_ROW:
		default:
			return c.failure(rc)
		}
		for i := range v {
			v[i] = s.column(i)
		}
		if !row(v) {
			return nil
		}
	}
}

// One is Query for at most one row. It reports whether there was one.
func (c *Conn) One(v []Value, sql string, args ...any) (found bool, err error) {
	err = c.Query(len(v), func(row []Value) bool {
		copy(v, row)
		found = true
		return false
	}, sql, args...)
	return found, err
}

// Written returns how many pages were written, to the log, since it was last called with reset.
func (c *Conn) Written(reset bool) (int, error) {
	again := int32(0)
	if reset {
		again = 1
	}
	rc := lib.Xsqlite3_db_status(c.tls, c.db, lib.SQLITE_DBSTATUS_CACHE_WRITE, c.out, c.out+outSize/2, again)
	out := libc.GoBytes(c.out, outSize)
	pages := int(binary.NativeEndian.Uint32(out))
	clear(out)
	return pages, c.check(rc)
}
