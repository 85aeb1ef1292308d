package sqlite

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/sqlite3"
	"github.com/tipt/tipt-go/store"
)

func openTestConn(t *testing.T, dir string) *sqlite3.Conn {
	t.Helper()
	c, err := openConn(filepath.Join(dir, "tipt.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// tablesOf are the names of a database's tables, and its version.
func tablesOf(t *testing.T, c *sqlite3.Conn) (tables string, version int64) {
	t.Helper()
	var names []string
	if err := c.Query(1, func(v []sqlite3.Value) bool {
		names = append(names, v[0].Text)
		return true
	}, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"); err != nil {
		t.Fatal(err)
	}
	v := make([]sqlite3.Value, 1)
	if _, err := c.One(v, "PRAGMA user_version"); err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " "), v[0].Integer
}

func TestMigrate(t *testing.T) {
	const one, two, broken = "CREATE TABLE one (x)", "CREATE TABLE two (x); INSERT INTO two SELECT x FROM one", "CREATE TABLE three (x); CREATE TABLE one (x)"
	c := openTestConn(t, t.TempDir())
	for _, step := range []struct {
		migrations []string
		err        string
		tables     string
		version    int64
	}{
		{nil, "", "", 0},
		{[]string{one}, "", "one", 1},
		{[]string{one}, "", "one", 1},
		{[]string{one, broken}, "schema version 2", "one", 1},
		{[]string{one, two}, "", "one two", 2},
		{[]string{one}, "it has schema version 2, this program knows versions up to 1", "one two", 2},
	} {
		err := migrate(c, step.migrations)
		if (err != nil) != (step.err != "") || err != nil && !strings.Contains(err.Error(), step.err) {
			t.Errorf("%d migrations: error is %v, want %q", len(step.migrations), err, step.err)
		}
		// What a broken one did goes with its connection.
		if err != nil && step.version == 1 {
			if err := c.Script("ROLLBACK"); err != nil {
				t.Fatal(err)
			}
		}
		if tables, version := tablesOf(t, c); tables != step.tables || version != step.version {
			t.Errorf("%d migrations: tables are %q, version %d; want %q, %d", len(step.migrations), tables, version, step.tables, step.version)
		}
	}
}

// TestOpenNewer has a data folder that a later version of the program has used.
func TestOpenNewer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c := openTestConn(t, dir)
	if err := c.Script("CREATE TABLE later (x); PRAGMA user_version = 1000"); err != nil {
		t.Fatal(err)
	}
	_, err := Open(dir, Options{})
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "schema version 1000") {
		t.Errorf("opening it: %v", err)
	}
	if tables, version := tablesOf(t, c); tables != "later" || version != 1000 {
		t.Errorf("after that it has tables %q and version %d", tables, version)
	}
}

// TestQueryPlans looks at every statement that the operations and reads below have run: none
// may go through a whole table, but for those that are meant to.
func TestQueryPlans(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "store"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	user := &store.CreateUser{Name: "alice", Invite: &[32]byte{1}}
	run := func(ops ...store.Op) {
		t.Helper()
		if err := s.Commit(t.Context(), ops); err != nil {
			t.Fatal(err)
		}
	}
	run(&store.AddInvite{Hash: [32]byte{1}}, user)
	id, ref := user.ID, tipt.MessageID{1}
	entry := store.OutboxEntry{User: id, Node: "a.example", Ref: &ref}
	add := &store.AddOutbox{Entry: entry}
	long, full := make([]byte, 200<<10), &store.Append{User: id, ID: tipt.MessageID{3}, MaxCount: 1}
	run(
		&store.SignIn{User: id, Device: "a", TokenHash: []byte{1}, Receive: true, MaxDevices: 1},
		&store.SignIn{User: id, Device: "b", Receive: true, MaxDevices: 1},
		&store.SignIn{User: id, Device: "c", Receive: true, MaxDevices: 2},
		&store.SeeDevice{User: id, Device: "b"},
		&store.Append{User: id, ID: tipt.MessageID{1}, Body: long},
		&store.Append{User: id, ID: tipt.MessageID{2}, Body: long[:2000]},
		&store.Take{User: id, Device: "b", Seq: 2}, full,
		&store.RemoveDevice{User: id, Device: "c"},
		&store.SetPassword{User: id}, &store.SetDisabled{User: id}, &store.SetKey{User: id},
		add, &store.RetryOutbox{ID: 1}, &store.PauseNode{Pause: store.NodePause{Node: "a.example", Held: true}},
	)
	if full.Outcome != store.Stored {
		t.Fatalf("outcome of a message to a full mailbox is %d", full.Outcome)
	}
	for range 2 { // the second has less than its limit to do
		run(
			&store.Append{User: id, Kind: store.KindReturn},
			&store.Expire{Limit: 1, Messages: time.Now(), Duplicates: time.Now(), Devices: time.Now()},
		)
	}
	for _, read := range []func() error{
		func() error { _, err := s.User(t.Context(), "alice"); return err },
		func() error { _, err := s.UserByID(t.Context(), id); return err },
		func() error { _, err := s.Users(t.Context(), "", 10); return err },
		func() error { _, err := s.Devices(t.Context(), id); return err },
		func() error { _, err := s.Messages(t.Context(), id, 0, 10, 1000); return err },
		func() error { _, err := s.OutboxQueues(t.Context()); return err },
		func() error { _, err := s.OutboxHead(t.Context(), "a.example", id); return err },
		func() error { _, err := s.OutboxOlder(t.Context(), time.Now(), 10); return err },
		func() error { _, err := s.NodePauses(t.Context()); return err },
	} {
		if err := read(); err != nil {
			t.Fatal(err)
		}
	}
	run(&store.RemoveOutbox{ID: add.ID}, &store.DeleteUser{User: id})

	scans := map[string]bool{
		"SCAN outbox USING INDEX outbox_queue": true, // when the node starts
		"SCAN files":                           true, // when the store is opened
		"SCAN pauses":                          true, // when the node starts
		"SCAN (subquery-1)":                    true, // of a few messages
		"SCAN CONSTANT ROW":                    true,
	}
	conns := []*sqlite3.Conn{}
	w := <-s.writer
	defer func() { s.writer <- w }()
	conns = append(conns, w.c)
	for range readerCount {
		c := <-s.readers
		defer func() { s.readers <- c }()
		conns = append(conns, c)
	}
	explain := openTestConn(t, s.dir)
	n := 0
	for _, c := range conns {
		for sql, args := range c.Statements() {
			n++
			if err := explain.Query(4, func(v []sqlite3.Value) bool {
				if plan := v[3].Text; strings.HasPrefix(plan, "SCAN ") && !scans[plan] || strings.Contains(plan, "AUTOMATIC") {
					t.Errorf("%s\n\t%s", sql, plan)
				}
				return true
			}, "EXPLAIN QUERY PLAN "+sql, make([]any, args)...); err != nil {
				t.Errorf("%s: %v", sql, err)
			}
		}
	}
	if n < 50 {
		t.Errorf("only %d statements were looked at", n)
	}
}
