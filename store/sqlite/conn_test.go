package sqlite

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestLimits wants no statement that SQLite compiles anew at each use, see package sqlite3: nothing
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
