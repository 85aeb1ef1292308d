package peer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
)

func TestOutboxDelivers(t *testing.T) {
	testOutbox(t, func(t *office) {
		t.add("alice", other, "hello")
		t.wantTexts("at once", "hello")
		time.Sleep(time.Second)
		t.wantEmpty("delivered")
		t.add("alice", other, "again")
		calls := t.wantTexts("again", "again")
		if calls[0].node != other || calls[0].from != "alice" {
			t.Errorf("%+v", calls)
		}
		time.Sleep(time.Second)
		t.wantReturns("delivered", "alice")
	})
}

// TestOrder has messages of one user to one node go in the order accepted, one at a time, and
// wait for nobody else's.
func TestOrder(t *testing.T) {
	testOutbox(t, func(t *office) {
		const each = 50
		users, nodes := []tipt.UserName{"alice", "bob", "carol"}, []tipt.NodeName{other, third}
		var accepted []string
		for i := range each {
			for _, user := range users {
				for _, node := range nodes {
					e := t.entry(user, node, fmt.Sprint(user, " ", node, " ", i))
					if err := t.Add(t.Context(), e, func(err error) {
						if err != nil {
							t.Error(err)
						}
						accepted = append(accepted, string(e.Sealed)) // on the committer's goroutine
					}); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		began := time.Now()
		time.Sleep(time.Minute)
		calls := t.took()
		next := make(map[string]int)
		for i, c := range calls {
			key := fmt.Sprint(c.from, " ", c.node)
			if want := fmt.Sprint(key, " ", next[key]); c.text != want {
				t.Fatalf("number %d is %s, want %s", i, c.text, want)
			}
			next[key]++
		}
		if len(calls) != each*len(users)*len(nodes) {
			t.Errorf("%d calls", len(calls))
		}
		if took := calls[len(calls)-1].after - began.Sub(t.began); took > each*11*time.Millisecond {
			t.Errorf("took %v, so they waited for each other", took)
		}
		for i, text := range accepted {
			if want := fmt.Sprint(users[i/2%3], " ", nodes[i%2], " ", i/6); text != want {
				t.Fatalf("accepted %s as number %d, want %s", text, i, want)
			}
		}
		for _, user := range users {
			if most := t.most[string(other)+" "+string(user)]; most != 1 {
				t.Errorf("%d of %s at once", most, user)
			}
		}
		t.wantEmpty("all delivered")
	})
}

// TestAddWhileTheLastGoes has a message be added while the one before it, the only one,
// is being taken out.
func TestAddWhileTheLastGoes(t *testing.T) {
	testOutbox(t, func(t *office) {
		t.answers(func(ctx context.Context, _ call) (Answer, error) {
			_ = sleep(ctx, 5*time.Second)
			return Answer{Delivered: true}, nil
		})
		t.add("alice", other, "1")
		t.store.set(func(s *testStore) {
			s.commit = func(store.Op) error { time.Sleep(time.Second); return nil }
		})
		time.Sleep(5500 * time.Millisecond) // it is delivered and being taken out
		t.add("alice", other, "2")
		t.add("alice", other, "3")
		time.Sleep(time.Minute)
		t.wantTexts("all", "1", "2", "3")
		if most := t.most["other.example alice"]; most != 1 {
			t.Errorf("%d at once", most)
		}
		t.wantEmpty("all delivered")
	})
}

func TestDuplicates(t *testing.T) {
	testOutbox(t, func(t *office) {
		t.fails(down())
		first := t.entry("alice", other, "first")
		first.Ref = &tipt.MessageID{1}
		again := first
		again.Sealed = []byte("again")
		elsewhere := first
		elsewhere.Node = third
		others := t.entry("bob", other, "bob's")
		others.Ref = first.Ref
		for _, e := range []store.OutboxEntry{first, again, elsewhere, others, again} {
			if err := t.addEntry(e); err != nil {
				t.Errorf("%s: %v", e.Sealed, err)
			}
		}
		list := t.List()
		if len(list) != 2 || list[0].Entries != 2 || list[1].Entries != 1 || list[0].Bytes != int64(len("first")+len("bob's")) {
			t.Errorf("waiting %+v", list)
		}
		t.answers(nil)
		time.Sleep(time.Minute)
		for _, c := range t.took() {
			if c.text == "again" {
				t.Error("the resend was sent")
			}
		}
		t.wantEmpty("all delivered")
		// When it is gone the resend is a new one, which the destination recognizes.
		if err := t.addEntry(again); err != nil {
			t.Error(err)
		}
		t.wantTexts("after the delivery", "again")
		time.Sleep(time.Second)
		t.wantEmpty("all delivered")
	})
}

func TestOutboxLimits(t *testing.T) {
	for _, test := range []struct {
		name   string
		limits OutboxLimits
		other  bool // another user is full as well
		third  bool // another node is full as well
	}{
		{"entries of a user", OutboxLimits{UserEntries: 3}, false, true},
		{"bytes of a user", OutboxLimits{UserBytes: 15}, false, true},
		{"entries to a node", OutboxLimits{NodeEntries: 3}, true, false},
		{"bytes to a node", OutboxLimits{NodeBytes: 15}, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			testOutbox(t, func(t *office) {
				t.fails(down())
				full := func(what string, e store.OutboxEntry, want bool) {
					t.Helper()
					err := t.addEntry(e)
					if full := errors.Is(err, tipt.ErrOutboxFull); full != want || !full && err != nil {
						t.Errorf("%s: %v", what, err)
					}
				}
				first := t.entry("alice", other, "12345")
				first.Ref = &tipt.MessageID{1}
				full("the first", first, false)
				t.add("alice", other, "12345", "12345")
				full("one more", t.entry("alice", other, "1"), true)
				full("another user's", t.entry("bob", other, "1"), test.other)
				full("to another node", t.entry("alice", third, "1"), test.third)
				full("a resend", first, false)
				fresh := first
				fresh.Ref = &tipt.MessageID{2}
				full("one more with a ref", fresh, true)
				t.restart()
				full("after a restart", t.entry("alice", other, "1"), true)
				full("a resend after a restart", first, false)

				t.answers(nil)
				time.Sleep(5 * time.Minute)
				t.wantEmpty("all delivered")
				full("there is room again", t.entry("alice", other, "1"), false)
			}, func(o *OutboxOptions) { o.Limits = test.limits })
		})
	}
	// Those that are being added count.
	testOutbox(t, func(t *office) {
		t.fails(down())
		var mu sync.Mutex
		var full, done int
		entry := t.entry("alice", other, "x")
		for range 20 {
			err := t.Add(t.Context(), entry, func(err error) {
				mu.Lock()
				defer mu.Unlock()
				if done++; errors.Is(err, tipt.ErrOutboxFull) {
					full++
				} else if err != nil {
					t.Error(err)
				}
			})
			if err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		if done != 20 || full != 15 {
			t.Errorf("%d done, %d of them found no room", done, full)
		}
	}, func(o *OutboxOptions) { o.Limits.UserEntries = 5 })
}

// TestAddFails has a store without room.
func TestAddFails(t *testing.T) {
	testOutbox(t, func(t *office) {
		t.user("alice")
		t.store.set(func(s *testStore) { s.commit = func(store.Op) error { return store.ErrDiskFull } })
		if err := t.addEntry(t.entry("alice", other, "x")); !errors.Is(err, store.ErrDiskFull) {
			t.Errorf("got %v", err)
		}
		t.store.set(func(s *testStore) { s.commit = nil })
		t.wantTexts("nothing was added")
		t.wantEmpty("nothing was added")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := t.Add(ctx, t.entry("alice", other, "x"), func(error) { t.Error("done") }); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		t.wantEmpty("nothing was added")
	})
}

// TestAddBeforeLoad has a client that is faster than the outbox reads its store.
func TestAddBeforeLoad(t *testing.T) {
	testOutbox(t, func(t *office) {
		t.fails(down())
		t.add("alice", other, "first")
		t.stop()
		t.answers(nil)
		t.took()
		t.Outbox = NewOutbox(t.store, t.committer, t.options)
		added := make(chan error, 1)
		go func() { added <- t.addEntry(t.entry("alice", other, "second")) }()
		synctest.Wait()
		if len(added) != 0 {
			t.Fatal("added to an outbox that has not read its store")
		}
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- t.Outbox.Run(ctx) }()
		if err := <-added; err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		t.wantTexts("both, in order", "first", "second")
		t.wantEmpty("both delivered")
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}

		broken := errors.New("broken")
		t.store.set(func(s *testStore) { s.queues = broken })
		t.Outbox = NewOutbox(t.store, t.committer, t.options)
		if err := t.Outbox.Run(t.Context()); !errors.Is(err, broken) {
			t.Errorf("Run: %v", err)
		}
		if err := t.addEntry(t.entry("alice", other, "third")); !errors.Is(err, broken) {
			t.Errorf("add: %v", err)
		}
		// A node may be told to stop while it starts.
		t.store.set(func(s *testStore) { s.queues = context.Canceled })
		t.Outbox = NewOutbox(t.store, t.committer, t.options)
		if err := t.Outbox.Run(ctx); err != nil {
			t.Errorf("Run, stopped: %v", err)
		}

		t.store.set(func(s *testStore) { s.queues = nil })
		t.start()
		t.wantEmpty("nothing was added")
	})
}

// TestReturnIsInTheSameCommit has the disk fail after any number of commits: a message is in the
// outbox or has come back, never both and never neither.
func TestReturnIsInTheSameCommit(t *testing.T) {
	for name, end := range map[string]func(t *office){
		"refused": func(t *office) {
			t.fails(status(403))
			if err := t.Retry(t.Context(), other); err != nil {
				t.Error(err)
			}
		},
		"dropped": func(t *office) { _, _ = t.Drop(t.Context(), other) }, // the disk may be full
		"too old": func(*office) { time.Sleep(2*time.Minute + lookPause) },
	} {
		for allowed := range 3 {
			t.Run(fmt.Sprint(name, " ", allowed), func(t *testing.T) {
				testOutbox(t, func(t *office) {
					t.fails(down())
					e := t.entry("alice", other, "x")
					e.Created = e.Created.Add(2*time.Minute - tipt.OutboxRetention)
					if err := t.addEntry(e); err != nil {
						t.Fatal(err)
					}
					t.took()
					left := allowed
					t.store.set(func(s *testStore) {
						s.commit = func(op store.Op) error {
							switch op.(type) {
							case *store.RemoveOutbox, *store.Append:
								if left--; left < 0 {
									return store.ErrDiskFull
								}
							}
							return nil
						}
					})
					end(t)
					synctest.Wait()
					t.stop()
					waits, err := t.store.OutboxQueues(t.Context())
					if err != nil {
						t.Error(err)
					}
					returns := t.returns("alice", 0)
					if came := allowed > 0; came != (len(returns) == 1) || came != (len(waits) == 0) {
						t.Errorf("after %d commits: %d messages wait, %d came back", allowed, len(waits), len(returns))
					}
					t.store.set(func(s *testStore) { s.commit = nil })
					t.start()
				})
			})
		}
	}
}
