package sqlite

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	lib "modernc.org/sqlite/lib"
)

// TestLimits wants no statement that SQLite compiles anew at each use, see conn.prepare: nothing
// else than the time it takes would tell.
func TestLimits(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	limited := 0
	for _, file := range files {
		if file == "conn_test.go" {
			continue
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		limited += bytes.Count(b, []byte("LIMIT 0+?"))
		if bytes.Contains(b, []byte("LIMIT ?")) {
			t.Errorf("%s has a bare LIMIT ?", file)
		}
	}
	if limited == 0 {
		t.Error("no statement has a limit")
	}
}

// TestValues stores arguments of each kind and reads them again, longer ones and then shorter ones
// with the same statement.
func TestValues(t *testing.T) {
	c := openTestConn(t, t.TempDir())
	if err := c.script("CREATE TABLE kinds (id INTEGER PRIMARY KEY, i INTEGER, t TEXT, b BLOB) STRICT"); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("long ", 50_000)
	for i, want := range []value{
		{},
		{integer: math.MinInt64, text: "ä\x00\n", blob: []byte{0}},
		{integer: math.MaxInt64, text: long, blob: []byte(long)},
		{integer: -1, text: "short", blob: []byte("too")},
		{},
	} {
		id, err := c.insert("INSERT INTO kinds (i, t, b) VALUES (?, ?, ?)", want.integer, want.text, want.blob)
		if err != nil || id != int64(i+1) {
			t.Fatalf("row %d, %v", id, err)
		}
		v := make([]value, 3)
		if found, err := c.one(v, "SELECT i, t, b FROM kinds WHERE id = ?", id); err != nil || !found {
			t.Fatal(found, err)
		}
		if integer(v[0]) != want.integer || text(v[1]) != want.text || !bytes.Equal(blob(v[2]), want.blob) || v[2].null != (want.blob == nil) {
			t.Errorf("row %d: %.40v", id, v)
		}
	}
	v := make([]value, 4)
	if _, err := c.one(v, "SELECT ?, ?, ?, ?", nil, "", []byte{}, int64(0)); err != nil {
		t.Fatal(err)
	}
	if !v[0].null || v[1].null || v[2].null || v[3].null {
		t.Errorf("only the first is NULL: %v", v)
	}
	if n, err := c.change("DELETE FROM kinds WHERE id > ?", int64(2)); n != 3 || err != nil {
		t.Errorf("%d rows deleted, %v", n, err)
	}
}

// TestStatementErrors has errors of statements be those of SQLite, and the statements go on working.
func TestStatementErrors(t *testing.T) {
	c := openTestConn(t, t.TempDir())
	if err := c.script("CREATE TABLE keys (k INTEGER PRIMARY KEY, v TEXT NOT NULL) STRICT"); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int32{lib.SQLITE_OK, lib.SQLITE_CONSTRAINT_PRIMARYKEY, lib.SQLITE_CONSTRAINT_NOTNULL, lib.SQLITE_OK} {
		var v any = "a text"
		if want == lib.SQLITE_CONSTRAINT_NOTNULL {
			v = nil
		}
		err := c.exec("INSERT INTO keys (k, v) VALUES (?, ?)", int64(i/3), v)
		se, failed := errors.AsType[*sqliteError](err)
		if failed != (want != lib.SQLITE_OK) || failed && (se.code != want || !strings.Contains(err.Error(), "keys.")) {
			t.Errorf("number %d: %v, want code %d", i, err, want)
		}
	}
	if err := c.exec("INSERT INTO locks VALUES (1)"); err == nil || !strings.Contains(err.Error(), "no such table: locks") {
		t.Errorf("error %v", err)
	}
	if _, err := openConn(t.TempDir()); err == nil { // a folder
		t.Error("opened a folder")
	}
	defer func() {
		if recover() == nil {
			t.Error("a statement ran with an argument too few")
		}
	}()
	_ = c.exec("INSERT INTO keys (k, v) VALUES (?, ?)", int64(9))
}
