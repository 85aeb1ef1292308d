//go:build !race

package sqlite_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
	"github.com/tipt/tipt-go/store/sqlite"
)

// TestAllocations pins what a message costs the store, exactly; the race detector, which adds to
// it, leaves this file out.
func TestAllocations(t *testing.T) {
	s := open(t, t.TempDir(), sqlite.Options{Logger: noLog(t)})
	message := &store.Append{
		User: newUser(t, s), From: "somebody@node.example", Time: time.Now(), Body: make([]byte, 300),
		MaxCount: tipt.MaxMailboxCount, MaxBytes: tipt.MaxMailboxBytes,
	}
	take := &store.Take{User: message.User, Device: "phone"}
	n := uint64(0)
	for _, c := range []struct {
		what string
		want float64
		ops  []store.Op
	}{
		// One is the folder's name for the system, which is asked what is free; it is for all of a batch.
		{"a message", 1, []store.Op{message}},
		{"a message, and that the one before is taken", 1, []store.Op{take, message}},
	} {
		got := testing.AllocsPerRun(100, func() {
			n++
			binary.BigEndian.PutUint64(message.ID[:], n)
			take.Seq = message.Seq
			if err := s.Commit(t.Context(), c.ops); err != nil {
				t.Fatal(err)
			}
		})
		if got != c.want {
			t.Errorf("%s: %v allocations, want %v", c.what, got, c.want)
		}
		if message.Outcome != store.Stored {
			t.Errorf("%s: outcome %v", c.what, message.Outcome)
		}
	}
}
