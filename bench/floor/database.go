package main

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"modernc.org/sqlite"
)

// schema is the least that keeps mailboxes and knows a message that comes twice. It is made anew
// each time: what a database held before is not looked at.
const schema = `
CREATE TABLE messages (
	user   TEXT NOT NULL,
	seq    INTEGER NOT NULL,
	sender TEXT NOT NULL,
	mid    BLOB NOT NULL,
	time   INTEGER NOT NULL,
	body   BLOB NOT NULL,
	PRIMARY KEY (user, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE ids (
	mid    BLOB NOT NULL,
	user   TEXT NOT NULL,
	sender TEXT NOT NULL,
	PRIMARY KEY (mid, user, sender)
) STRICT, WITHOUT ROWID;
CREATE TABLE outbox (
	id     INTEGER PRIMARY KEY,
	user   TEXT NOT NULL,
	sealed BLOB NOT NULL
) STRICT;
`

// A database is two connections to SQLite's file.
type database struct {
	write   *conn      // the committer's
	reading sync.Mutex // guards read
	read    *conn
}

// A conn is one of them, with the statements that it has prepared.
type conn struct {
	driver.Conn
	statements map[string]driver.Stmt
	args       []driver.NamedValue // used again by each statement
}

func openDatabase(dir string) (_ *database, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	d := new(database)
	if d.write, err = open(filepath.Join(dir, "floor.db")); err != nil {
		return nil, err
	}
	if err := d.write.script(schema); err != nil {
		return nil, errors.Join(err, d.write.Close())
	}
	if d.read, err = open(filepath.Join(dir, "floor.db")); err != nil {
		return nil, errors.Join(err, d.write.Close())
	}
	return d, nil
}

func (d *database) close() error { return errors.Join(d.read.Close(), d.write.Close()) }

func open(path string) (*conn, error) {
	connector, err := sqlite.NewConnector((&url.URL{Scheme: "file", Path: path}).String())
	if err != nil {
		return nil, err
	}
	dc, err := connector.Connect(context.Background())
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: dc, statements: make(map[string]driver.Stmt)}
	for _, pragma := range []string{"journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 16384", "busy_timeout = 10000"} {
		if err := c.script("PRAGMA " + pragma); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", pragma, err), c.Close())
		}
	}
	return c, nil
}

func (c *conn) script(sql string) error {
	_, err := c.Conn.(driver.ExecerContext).ExecContext(context.Background(), sql, nil)
	return err
}

// statement returns the prepared statement for sql, a constant, and its arguments.
func (c *conn) statement(sql string, args []any) (driver.Stmt, []driver.NamedValue, error) {
	s, ok := c.statements[sql]
	if !ok {
		var err error
		if s, err = c.Prepare(sql); err != nil {
			return nil, nil, err
		}
		c.statements[sql] = s
	}
	c.args = c.args[:0]
	for i, a := range args {
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return s, c.args, nil
}

// exec runs a statement and returns how many rows it changed.
func (c *conn) exec(sql string, args ...any) (int64, error) {
	s, values, err := c.statement(sql, args)
	if err != nil {
		return 0, err
	}
	r, err := s.(driver.StmtExecContext).ExecContext(context.Background(), values)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// query calls row with each row of n columns.
func (c *conn) query(n int, row func([]driver.Value), sql string, args ...any) (err error) {
	s, values, err := c.statement(sql, args)
	if err != nil {
		return err
	}
	rows, err := s.(driver.StmtQueryContext).QueryContext(context.Background(), values)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	v := make([]driver.Value, n)
	for {
		if err := rows.Next(v); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		row(v)
	}
}
