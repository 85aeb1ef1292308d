package peer

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
	"github.com/tipt/tipt-go/store"
	"github.com/tipt/tipt-go/store/sqlite"
)

// BenchmarkVouch signs requests, as before each attempt.
func BenchmarkVouch(b *testing.B) {
	key := newNodeKey(b, own)
	for _, size := range []int{1_000, tipt.MaxSealedSize} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			body := make([]byte, size)
			now := time.Now()
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				AddVouch(make(http.Header), key, other, alice, body, now)
			}
		})
	}
}

// BenchmarkVerify checks requests of a node whose certificate is known.
func BenchmarkVerify(b *testing.B) {
	key := newNodeKey(b, own)
	keys := newKeys(func(context.Context, tipt.NodeName) (*seal.Certificate, error) {
		return seal.ParseCertificate(key.Certificate())
	})
	defer keys.Close()
	for _, size := range []int{1_000, tipt.MaxSealedSize} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			body := make([]byte, size)
			header := make(http.Header)
			now := time.Now()
			AddVouch(header, key, other, alice, body, now)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				v, err := ParseVouch(header)
				if err != nil {
					b.Fatal(err)
				}
				public, err := keys.Signing(b.Context(), v.From.Node, v.KeyID)
				if err != nil {
					b.Fatal(err)
				}
				if v.Current(now) != nil || v.Verify(other, public) != nil || v.Covers(body) != nil {
					b.Fatal("refused")
				}
			}
		})
	}
}

// BenchmarkOutbox takes messages of 1 kB from their acceptance to their delivery by a node that
// answers at once. Each user has four waiting.
func BenchmarkOutbox(b *testing.B) {
	for _, users := range []int{1, 64} {
		b.Run(fmt.Sprint("users=", users), func(b *testing.B) {
			s, err := sqlite.Open(filepath.Join(b.TempDir(), "data"), sqlite.Options{})
			if err != nil {
				b.Fatal(err)
			}
			committer := store.NewCommitter(s, store.CommitterOptions{})
			waiting := make(chan struct{}, users*4)
			outbox := NewOutbox(s, committer, OutboxOptions{
				Forward: func(context.Context, tipt.NodeName, tipt.Address, []byte) (Answer, error) {
					<-waiting
					return Answer{Delivered: true}, nil
				},
				Sender:   func(context.Context, store.UserID) (tipt.Address, error) { return alice, nil },
				Returned: func(store.UserID) {},
				Logger:   slog.New(slog.DiscardHandler),
			})
			stop := running(b, committer.Run)
			stopOutbox := running(b, outbox.Run)
			sealed := make([]byte, 1000)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				waiting <- struct{}{}
				n++
				e := store.OutboxEntry{User: store.UserID(1 + n%users), Node: other, Sealed: sealed, Created: time.Now()}
				if err := outbox.Add(b.Context(), e, func(err error) {
					if err != nil {
						b.Error(err)
					}
				}); err != nil {
					b.Fatal(err)
				}
			}
			for len(outbox.List()) > 0 {
				time.Sleep(time.Millisecond)
			}
			stopOutbox()
			stop()
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// running runs a part until stop is called.
func running(b *testing.B, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
}
