package sqlite

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/sqlite3"
	"github.com/tipt/tipt-go/store"
)

// TestLogStaysShort commits while others read without a pause. Then a log that is not
// restarted in between has no end.
func TestLogStaysShort(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "store"), Options{Reserve: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	user := &store.CreateUser{Name: "alice"}
	if err := s.Commit(t.Context(), []store.Op{user}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range readerCount {
		readers.Go(func() {
			for ctx.Err() == nil {
				if _, err := s.Messages(ctx, user.ID, 0, 20, 1<<20); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
	}
	pages := s.checkpointPages()
	for i := range 8 * pages {
		if err := s.Commit(ctx, []store.Op{&store.Append{User: user.ID, ID: tipt.MessageID{byte(i), byte(i >> 8)}, Body: make([]byte, 300)}}); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	readers.Wait()
	fi, err := os.Stat(filepath.Join(s.dir, "tipt.db-wal"))
	if err != nil {
		t.Fatal(err)
	}
	if n := int(fi.Size() / pageSize); n > 4*pages {
		t.Errorf("the log has %d pages, %d are enough", n, pages)
	}
}

// TestExpireFindsDeleted closes a store before it has removed all messages of a user that was deleted.
func TestExpireFindsDeleted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	for i := range 2 {
		s, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		commit := func(ops ...store.Op) {
			t.Helper()
			if err := s.Commit(t.Context(), ops); err != nil {
				t.Fatal(err)
			}
		}
		want := int64(0)
		if i == 0 {
			user := &store.CreateUser{Name: "alice"}
			commit(user)
			var batch []store.Op
			for range trimLimit + 100 {
				batch = append(batch, &store.Append{User: user.ID, Kind: store.KindReturn})
			}
			commit(batch...)
			commit(&store.DeleteUser{User: user.ID})
			want = 100
		} else {
			commit(&store.Expire{Limit: 10})
		}
		v := make([]sqlite3.Value, 1)
		if err := s.read(t.Context(), "counting", func(c *sqlite3.Conn) error {
			_, err := c.One(v, "SELECT count(*) FROM messages")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if v[0].Integer != want {
			t.Errorf("%d messages are left, want %d", v[0].Integer, want)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

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
