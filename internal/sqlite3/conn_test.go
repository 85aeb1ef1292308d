package sqlite3

import (
	"bytes"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"

	lib "modernc.org/sqlite/lib"
)

func openTest(t *testing.T) *Conn {
	t.Helper()
	c, err := Open(filepath.Join(t.TempDir(), "test.db"))
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

// TestValues stores arguments of each kind and reads them again, longer ones and then shorter ones
// with the same statement.
func TestValues(t *testing.T) {
	c := openTest(t)
	if err := c.Script("CREATE TABLE kinds (id INTEGER PRIMARY KEY, i INTEGER, t TEXT, b BLOB) STRICT"); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("long ", 50_000)
	for i, want := range []Value{
		{},
		{Integer: math.MinInt64, Text: "ä\x00\n", Blob: []byte{0}},
		{Integer: math.MaxInt64, Text: long, Blob: []byte(long)},
		{Integer: -1, Text: "short", Blob: []byte("too")},
		{},
	} {
		id, err := c.Insert("INSERT INTO kinds (i, t, b) VALUES (?, ?, ?)", want.Integer, want.Text, want.Blob)
		if err != nil || id != int64(i+1) {
			t.Fatalf("row %d, %v", id, err)
		}
		v := make([]Value, 3)
		if found, err := c.One(v, "SELECT i, t, b FROM kinds WHERE id = ?", id); err != nil || !found {
			t.Fatal(found, err)
		}
		if v[0].Integer != want.Integer || v[1].Text != want.Text || !bytes.Equal(v[2].Blob, want.Blob) || v[2].Null != (want.Blob == nil) {
			t.Errorf("row %d: %.40v", id, v)
		}
	}
	v := make([]Value, 4)
	if _, err := c.One(v, "SELECT ?, ?, ?, ?", nil, "", []byte{}, int64(0)); err != nil {
		t.Fatal(err)
	}
	if !v[0].Null || v[1].Null || v[2].Null || v[3].Null {
		t.Errorf("only the first is NULL: %v", v)
	}
	if n, err := c.Change("DELETE FROM kinds WHERE id > ?", int64(2)); n != 3 || err != nil {
		t.Errorf("%d rows deleted, %v", n, err)
	}
}

// TestStatementErrors has errors of statements be those of SQLite, and the statements go on working.
func TestStatementErrors(t *testing.T) {
	c := openTest(t)
	if err := c.Script("CREATE TABLE keys (k INTEGER PRIMARY KEY, v TEXT NOT NULL) STRICT"); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int32{lib.SQLITE_OK, lib.SQLITE_CONSTRAINT_PRIMARYKEY, lib.SQLITE_CONSTRAINT_NOTNULL, lib.SQLITE_OK} {
		var v any = "a text"
		if want == lib.SQLITE_CONSTRAINT_NOTNULL {
			v = nil
		}
		err := c.Exec("INSERT INTO keys (k, v) VALUES (?, ?)", int64(i/3), v)
		se, failed := errors.AsType[*Error](err)
		if failed != (want != lib.SQLITE_OK) || failed && (se.Code != want || !strings.Contains(err.Error(), "keys.")) {
			t.Errorf("number %d: %v, want code %d", i, err, want)
		}
	}
	if err := c.Exec("INSERT INTO locks VALUES (1)"); err == nil || !strings.Contains(err.Error(), "no such table: locks") {
		t.Errorf("error %v", err)
	}
	if _, err := Open(t.TempDir()); err == nil { // a folder
		t.Error("opened a folder")
	}
	defer func() {
		if recover() == nil {
			t.Error("a statement ran with an argument too few")
		}
	}()
	_ = c.Exec("INSERT INTO keys (k, v) VALUES (?, ?)", int64(9))
}
