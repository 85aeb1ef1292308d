package sqlite_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
	"github.com/tipt/tipt-go/store/sqlite"
)

// benchUsers have the mailboxes that the messages of a benchmark go to in turn.
const benchUsers = 1000

func openBench(b *testing.B) (s *sqlite.Store, users []store.UserID) {
	b.Helper()
	s, err := sqlite.Open(filepath.Join(b.TempDir(), "store"), sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	var batch []store.Op
	for i := range benchUsers {
		batch = append(batch, &store.CreateUser{Name: tipt.UserName(fmt.Sprintf("user%d", i)), Time: time.Now()})
	}
	if err := s.Commit(b.Context(), batch); err != nil {
		b.Fatal(err)
	}
	for _, op := range batch {
		users = append(users, op.(*store.CreateUser).ID)
	}
	return s, users
}

func benchMessage(user store.UserID, body []byte) *store.Append {
	return &store.Append{
		User: user, From: "somebody@node.example.org", ID: tipt.NewMessageID(), Time: time.Now(), Body: body,
		MaxCount: tipt.MaxMailboxCount, MaxBytes: tipt.MaxMailboxBytes,
	}
}

func randomBody(b *testing.B, size int) []byte {
	body := make([]byte, size)
	if _, err := rand.Read(body); err != nil {
		b.Fatal(err)
	}
	return body
}

// BenchmarkSync is the bare rate of the disk: 4 KiB, then fdatasync.
func BenchmarkSync(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "file"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	block := randomBody(b, 4096)
	for b.Loop() {
		if _, err := f.Write(block); err != nil {
			b.Fatal(err)
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			b.Fatal(err)
		}
	}
	report(b)
}

// BenchmarkAppend appends messages of 300 bytes, each of which its caller waits for until it
// is on the disk: in a transaction of its own, and through a committer.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 512} {
		b.Run(fmt.Sprintf("each/callers=%d", callers), func(b *testing.B) {
			s, users := openBench(b)
			benchAppend(b, callers, users, randomBody(b, 300), func(ctx context.Context, op store.Op) error {
				return s.Commit(ctx, []store.Op{op})
			})
		})
	}
	for _, callers := range []int{1, 64, 512} {
		b.Run(fmt.Sprintf("group/callers=%d", callers), func(b *testing.B) {
			s, users := openBench(b)
			counted := &countedStore{Store: s}
			c := store.NewCommitter(counted, store.CommitterOptions{})
			ctx, cancel := context.WithCancel(b.Context())
			var wg sync.WaitGroup
			wg.Go(func() {
				if err := c.Run(ctx); err != nil {
					b.Error(err)
				}
			})
			benchAppend(b, callers, users, randomBody(b, 300), func(ctx context.Context, op store.Op) error {
				return c.Do(ctx, op)
			})
			cancel()
			wg.Wait()
			b.ReportMetric(float64(b.N)/float64(counted.batches), "ops/batch")
		})
	}
}

// A countedStore counts batches.
type countedStore struct {
	store.Store
	batches int
}

func (s *countedStore) Commit(ctx context.Context, batch []store.Op) error {
	s.batches++
	return s.Store.Commit(ctx, batch)
}

func benchAppend(b *testing.B, callers int, users []store.UserID, body []byte, do func(context.Context, store.Op) error) {
	b.ReportAllocs()
	work := make(chan store.UserID, callers)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for user := range work {
				o := benchMessage(user, body)
				if err := do(b.Context(), o); err != nil || o.Outcome != store.Stored {
					b.Errorf("outcome %d: %v", o.Outcome, err)
				}
			}
		})
	}
	for i := 0; b.Loop(); i++ {
		work <- users[i%len(users)]
	}
	close(work)
	wg.Wait()
	report(b)
}

// BenchmarkTake appends a message to each of 100 mailboxes, from which the one before is taken, in
// one batch.
func BenchmarkTake(b *testing.B) {
	s, users := openBench(b)
	users = users[:100]
	var batch []store.Op
	for _, user := range users {
		batch = append(batch, &store.SignIn{User: user, Device: "d", Receive: true, MaxDevices: 1})
	}
	if err := s.Commit(b.Context(), batch); err != nil {
		b.Fatal(err)
	}
	body := randomBody(b, 300)
	b.ReportAllocs()
	for seq := int64(0); b.Loop(); seq++ {
		batch = batch[:0]
		for _, user := range users {
			batch = append(batch, benchMessage(user, body), &store.Take{User: user, Device: "d", Seq: seq})
		}
		if err := s.Commit(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*len(users))/b.Elapsed().Seconds(), "ops/s")
}

// BenchmarkMessages reads the next 50 messages of a mailbox.
func BenchmarkMessages(b *testing.B) {
	s, users := openBench(b)
	body := randomBody(b, 300)
	for range 100 {
		var batch []store.Op
		for _, user := range users {
			batch = append(batch, benchMessage(user, body))
		}
		if err := s.Commit(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m, err := s.Messages(b.Context(), users[i%len(users)], int64(i%50), 50, 1<<20)
		if err != nil || len(m) != 50 {
			b.Fatalf("%d messages: %v", len(m), err)
		}
	}
	report(b)
}

// BenchmarkLarge appends messages of 1 MB.
func BenchmarkLarge(b *testing.B) {
	s, users := openBench(b)
	benchAppend(b, 1, users, randomBody(b, 1_000_000), func(ctx context.Context, op store.Op) error {
		return s.Commit(ctx, []store.Op{op})
	})
}

func report(b *testing.B) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}
