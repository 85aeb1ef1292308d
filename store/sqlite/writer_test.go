package sqlite

import (
	"encoding/binary"
	"path/filepath"
	"testing"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
)

// TestTrimEnds has more messages than are trimmed with one batch: each batch goes on, and
// nothing is left to do when all are gone.
func TestTrimEnds(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "store"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	commit := func(ops ...store.Op) (trims int) {
		t.Helper()
		if err := s.Commit(t.Context(), ops); err != nil {
			t.Fatal(err)
		}
		w := <-s.writer
		defer func() { s.writer <- w }()
		return len(w.trims)
	}
	alice, bob := &store.CreateUser{Name: "alice"}, &store.CreateUser{Name: "bob"}
	commit(alice, bob)
	var batch []store.Op
	for i := range trimLimit + 100 {
		for _, u := range []*store.CreateUser{alice, bob} {
			var id tipt.MessageID
			binary.BigEndian.PutUint64(id[:], uint64(i))
			batch = append(batch, &store.Append{User: u.ID, ID: id})
		}
	}
	commit(batch...)
	left := func() (n int) {
		t.Helper()
		for _, u := range []*store.CreateUser{alice, bob} {
			m, err := s.Messages(t.Context(), u.ID, 0, 1<<20, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			n += len(m)
		}
		return n
	}
	in := func(u *store.CreateUser) store.Op {
		return &store.SignIn{User: u.ID, Device: "phone", Receive: true, MaxDevices: 32}
	}
	take := func(u *store.CreateUser) store.Op {
		return &store.Take{User: u.ID, Device: "phone", Seq: trimLimit + 100}
	}
	trims := commit(in(alice), in(bob), take(alice), take(bob))
	if n := left(); n != trimLimit+200 || trims == 0 {
		t.Errorf("after the first batch %d messages and %d mailboxes are left", n, trims)
	}
	trims = commit()
	if n := left(); n != 200 || trims == 0 {
		t.Errorf("after the second batch %d messages and %d mailboxes are left", n, trims)
	}
	trims = commit()
	if n := left(); n != 0 || trims != 0 {
		t.Errorf("after the third batch %d messages and %d mailboxes are left", n, trims)
	}
}
