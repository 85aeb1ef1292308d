package sqlite

import (
	"errors"
	"fmt"

	"github.com/tipt/tipt-go/internal/sqlite3"
)

// busyTimeout is for another program that has locked the database.
const busyTimeout = "PRAGMA busy_timeout = 10000"

// openConn connects to a database file, making it where it does not exist.
// Checkpoints are the caller's: SQLite's automatic ones hide their errors.
func openConn(path string, pragmas ...string) (*sqlite3.Conn, error) {
	c, err := sqlite3.Open(path)
	if err != nil {
		return nil, err
	}
	for _, p := range append([]string{
		busyTimeout,
		"PRAGMA journal_mode = WAL",
		"PRAGMA synchronous = FULL",
		"PRAGMA wal_autocheckpoint = 0",
		"PRAGMA temp_store = MEMORY",
	}, pragmas...) {
		if err := c.Script(p); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", p, err), c.Close())
		}
	}
	v := make([]sqlite3.Value, 1)
	_, err = c.One(v, "PRAGMA journal_mode")
	if err == nil && v[0].Text != "wal" {
		err = fmt.Errorf("no write-ahead log on this file system: journal mode is %q", v[0].Text)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}
