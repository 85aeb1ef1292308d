package sqlite

import (
	"fmt"

	"github.com/tipt/tipt-go/internal/sqlite3"
)

// migrations lead from an empty database to the present schema; PRAGMA
// user_version counts those done. One that was released is never changed:
// append another.
//
// Times are milliseconds since 1970.
var migrations = []string{
	0: `
CREATE TABLE users (
	id       INTEGER PRIMARY KEY, -- rows are never deleted, so an id is never reused
	name     TEXT NOT NULL UNIQUE,
	password TEXT NOT NULL,
	key      BLOB,
	created  INTEGER NOT NULL,
	disabled INTEGER NOT NULL DEFAULT 0,
	deleted  INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE invites (
	hash    BLOB PRIMARY KEY, -- SHA-256
	created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE devices (
	user    INTEGER NOT NULL,
	name    TEXT NOT NULL,
	token   BLOB,    -- SHA-256
	place   INTEGER, -- seq of the last message taken
	created INTEGER NOT NULL,
	seen    INTEGER NOT NULL,
	PRIMARY KEY (user, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX devices_seen ON devices (seen);

-- One for each user that is not deleted.
CREATE TABLE mailboxes (
	user  INTEGER PRIMARY KEY,
	seq   INTEGER NOT NULL, -- the last one given out
	count INTEGER NOT NULL, -- of DELIVERs held
	bytes INTEGER NOT NULL  -- of their bodies
) STRICT;

-- Clustered, so that a mailbox is read in one place. Such a table keeps whole
-- rows in its inner pages, too, so only small bodies are in it.
CREATE TABLE messages (
	user   INTEGER NOT NULL,
	seq    INTEGER NOT NULL,
	kind   INTEGER NOT NULL,
	sender TEXT NOT NULL,
	mid    BLOB NOT NULL,
	time   INTEGER NOT NULL,
	size   INTEGER NOT NULL, -- of the body
	body   BLOB,             -- NULL: it is a large one
	large  INTEGER,          -- its id in bodies or files
	PRIMARY KEY (user, seq)
) STRICT, WITHOUT ROWID;

-- Large bodies, and those that are files in the folder blobs. An id is in one of the two.
CREATE TABLE bodies (
	id   INTEGER PRIMARY KEY,
	body BLOB NOT NULL
) STRICT;
CREATE TABLE files (
	id INTEGER PRIMARY KEY
) STRICT;

-- The ids of messages stored within the last days, also of those taken
-- since. Version 7 UUIDs are added at its end.
CREATE TABLE ids (
	mid    BLOB NOT NULL,
	user   INTEGER NOT NULL,
	sender TEXT NOT NULL,
	time   INTEGER NOT NULL,
	PRIMARY KEY (mid, user, sender)
) STRICT, WITHOUT ROWID;

CREATE TABLE outbox (
	id       INTEGER PRIMARY KEY AUTOINCREMENT,
	user     INTEGER NOT NULL,
	node     TEXT NOT NULL,
	ref      BLOB,
	created  INTEGER NOT NULL,
	attempts INTEGER NOT NULL,
	next     INTEGER NOT NULL,
	reason   TEXT NOT NULL,
	code     INTEGER NOT NULL,
	unknown  INTEGER NOT NULL,
	size     INTEGER NOT NULL, -- of the sealed message
	large    INTEGER NOT NULL  -- its id in bodies or files
) STRICT;
CREATE UNIQUE INDEX outbox_ref ON outbox (user, node, ref) WHERE ref IS NOT NULL;
CREATE INDEX outbox_queue ON outbox (node, user, id);
CREATE INDEX outbox_created ON outbox (created);

-- Nodes that failed, or that the operator holds.
CREATE TABLE pauses (
	node     TEXT PRIMARY KEY,
	attempts INTEGER NOT NULL,
	next     INTEGER NOT NULL,
	reason   TEXT NOT NULL,
	held     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`,
}

// migrate brings a database to the schema that a list of migrations leads to.
func migrate(c *sqlite3.Conn, migrations []string) error {
	v := make([]sqlite3.Value, 1)
	if _, err := c.One(v, "PRAGMA user_version"); err != nil {
		return err
	}
	version := int(v[0].Integer)
	if version < 0 || version > len(migrations) {
		return fmt.Errorf("it has schema version %d, this program knows versions up to %d: use a newer program", version, len(migrations))
	}
	for ; version < len(migrations); version++ {
		script := fmt.Sprintf("BEGIN IMMEDIATE; %s; PRAGMA user_version = %d; COMMIT", migrations[version], version+1)
		if err := c.Script(script); err != nil {
			return fmt.Errorf("migrating to schema version %d: %w", version+1, err)
		}
	}
	return nil
}
