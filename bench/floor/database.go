package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/tipt/tipt-go/internal/sqlite3"
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
	write   *sqlite3.Conn // the committer's
	reading sync.Mutex    // guards read
	read    *sqlite3.Conn
}

func openDatabase(dir string) (_ *database, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	d := new(database)
	if d.write, err = open(filepath.Join(dir, "floor.db")); err != nil {
		return nil, err
	}
	if err := d.write.Script(schema); err != nil {
		return nil, errors.Join(err, d.write.Close())
	}
	if d.read, err = open(filepath.Join(dir, "floor.db")); err != nil {
		return nil, errors.Join(err, d.write.Close())
	}
	return d, nil
}

func (d *database) close() error { return errors.Join(d.read.Close(), d.write.Close()) }

func open(path string) (*sqlite3.Conn, error) {
	c, err := sqlite3.Open(path)
	if err != nil {
		return nil, err
	}
	for _, pragma := range []string{"journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 16384", "busy_timeout = 10000"} {
		if err := c.Script("PRAGMA " + pragma); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", pragma, err), c.Close())
		}
	}
	return c, nil
}
