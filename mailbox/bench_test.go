package mailbox_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/mailbox"
	"github.com/tipt/tipt-go/store"
)

// BenchmarkAppendNext is a message's way through a mailbox with each caller waiting for the
// disk: append, be woken, read, take. Each caller has a user of its own.
func BenchmarkAppendNext(b *testing.B) {
	body := strings.Repeat("x", 300)
	for _, callers := range []int{1, 64, 512} {
		for _, from := range []string{"memory", "store"} {
			b.Run(fmt.Sprintf("%d callers from %s", callers, from), func(b *testing.B) {
				o := mailbox.Options{}
				if from == "store" {
					o.MaxRecent = 1
				}
				n := newNode(b, o)
				type caller struct {
					user   store.UserID
					reader *mailbox.Reader
					wake   chan struct{}
				}
				all := make([]caller, callers)
				for i := range all {
					c := caller{user: n.newUser(b, tipt.UserName(fmt.Sprint("user", i)), "phone"), wake: make(chan struct{}, 1)}
					c.reader = n.Open(c.user, "phone", 0, func() {
						select {
						case c.wake <- struct{}{}:
						default:
						}
					})
					defer c.reader.Close()
					all[i] = c
				}
				turns := make(chan struct{})
				var working sync.WaitGroup
				for _, c := range all {
					working.Go(func() {
						for range turns {
							msg := n.message(body)
							msg.User = c.user
							if outcome := n.append(b, msg); outcome != store.Stored {
								b.Errorf("outcome %d", outcome)
							}
							for {
								msgs, err := c.reader.Next(b.Context(), 64, 1<<20)
								if err != nil {
									b.Error(err)
								}
								if len(msgs) > 0 {
									c.reader.Take(msgs[0].Seq)
									break
								}
								<-c.wake
							}
						}
					})
				}
				b.ReportAllocs()
				for b.Loop() {
					turns <- struct{}{}
				}
				close(turns)
				working.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
			})
		}
	}
}

// BenchmarkNextIdle is a wake without cause.
func BenchmarkNextIdle(b *testing.B) {
	n := newNode(b, mailbox.Options{}, "phone")
	r := n.Open(n.user, "phone", 0, noWake)
	defer r.Close()
	b.ReportAllocs()
	for b.Loop() {
		if msgs, err := r.Next(b.Context(), 64, 1<<20); err != nil || msgs != nil {
			b.Fatal(msgs, err)
		}
	}
}
