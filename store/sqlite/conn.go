package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"

	"modernc.org/sqlite"
)

// A conn is one connection to the database, for one goroutine at a time. It
// sits on the driver and not on database/sql, whose locks and copies cost
// more than many of the statements of a batch.
type conn struct {
	c     driver.Conn
	stmts map[string]stmt
	args  []driver.NamedValue // reused by every statement
}

type stmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// busyTimeout is for another program that has locked the database.
const busyTimeout = "PRAGMA busy_timeout = 10000"

// openConn connects to a database file, making it where it does not exist.
// Checkpoints are the caller's: SQLite's automatic ones hide their errors.
func openConn(path string, pragmas ...string) (*conn, error) {
	dsn := (&url.URL{Scheme: "file", Path: path}).String()
	connector, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	dc, err := connector.Connect(context.Background())
	if err != nil {
		return nil, err
	}
	c := &conn{c: dc, stmts: make(map[string]stmt)}
	for _, p := range append([]string{
		busyTimeout,
		"PRAGMA journal_mode = WAL",
		"PRAGMA synchronous = FULL",
		"PRAGMA wal_autocheckpoint = 0",
		"PRAGMA temp_store = MEMORY",
	}, pragmas...) {
		if err := c.script(p); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", p, err), c.close())
		}
	}
	v := make([]driver.Value, 1)
	_, err = c.one(v, "PRAGMA journal_mode")
	if err == nil && text(v[0]) != "wal" {
		err = fmt.Errorf("no write-ahead log on this file system: journal mode is %q", text(v[0]))
	}
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *conn) close() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, c.c.Close())...)
}

// script runs statements that are not worth keeping prepared.
func (c *conn) script(sql string) error {
	_, err := c.c.(driver.ExecerContext).ExecContext(context.Background(), sql, nil)
	return err
}

// prepare returns the prepared statement for sql, which must be a constant:
// statements are kept until the connection closes. Limits are written "LIMIT 0+?": for a bare
// parameter SQLite looks at the value and compiles the statement anew for each. The context of a statement
// is never one that can end: the driver would start a goroutine for each.
func (c *conn) prepare(sql string) (stmt, error) {
	if s, ok := c.stmts[sql]; ok {
		return s, nil
	}
	ds, err := c.c.Prepare(sql)
	if err != nil {
		return nil, err
	}
	s := ds.(stmt)
	c.stmts[sql] = s
	return s, nil
}

func (c *conn) bind(args []any) []driver.NamedValue {
	c.args = c.args[:0]
	for i, a := range args {
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return c.args
}

// exec runs a statement. Arguments are int64, string, []byte or nil.
func (c *conn) exec(sql string, args ...any) (driver.Result, error) {
	s, err := c.prepare(sql)
	if err != nil {
		return nil, err
	}
	r, err := s.ExecContext(context.Background(), c.bind(args))
	clear(c.args)
	return r, err
}

// change runs a statement and returns how many rows it changed.
func (c *conn) change(sql string, args ...any) (int64, error) {
	r, err := c.exec(sql, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// insert runs an INSERT and returns the new row's id.
func (c *conn) insert(sql string, args ...any) (int64, error) {
	r, err := c.exec(sql, args...)
	if err != nil {
		return 0, err
	}
	return r.LastInsertId()
}

// query runs a SELECT of n columns and calls row for each row until it
// returns false. The values are row's to keep, the slice is not. No other statement may
// run on c meanwhile.
func (c *conn) query(n int, row func(v []driver.Value) bool, sql string, args ...any) (err error) {
	s, err := c.prepare(sql)
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(context.Background(), c.bind(args))
	clear(c.args)
	if err != nil {
		return err
	}
	defer func() {
		if e := rows.Close(); err == nil {
			err = e
		}
	}()
	v := make([]driver.Value, n)
	for {
		if err := rows.Next(v); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if !row(v) {
			return nil
		}
	}
}

// one is query for at most one row. It reports whether there was one.
func (c *conn) one(v []driver.Value, sql string, args ...any) (found bool, err error) {
	err = c.query(len(v), func(row []driver.Value) bool {
		copy(v, row)
		found = true
		return false
	}, sql, args...)
	return found, err
}

// The values of a row: NULL is 0, "" and nil.

func integer(v driver.Value) int64 {
	n, _ := v.(int64)
	return n
}

func text(v driver.Value) string {
	s, _ := v.(string)
	return s
}

func blob(v driver.Value) []byte {
	b, _ := v.([]byte)
	return b
}
