package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
)

// An impossible operation is one that no store knows.
type impossible struct{}

func (impossible) Size() int { return 1 }

// testBatch is about a batch that fails: nothing of it is done, whatever it holds.
func testBatch(f *fixture) {
	f.commit() // an empty one
	user := f.user("alice")
	f.signIn(user, "phone")
	f.signIn(user, "laptop")
	for range 3 {
		f.append(user)
	}
	f.take(user, "phone", 3)
	f.take(user, "laptop", 1)
	f.commit(
		&store.AddInvite{Hash: [32]byte{1}},
		&store.AddOutbox{Entry: store.OutboxEntry{User: user, Node: "a.example", Created: f.now, Next: f.now}},
	)
	before := f.snapshot()

	m := f.message(user)
	batch := []store.Op{
		&store.CreateUser{Name: "bob", Invite: &[32]byte{1}},
		&store.SetPassword{User: user, Password: "x"},
		&store.SignIn{User: user, Device: "tablet", Receive: true, MaxDevices: 2, Online: []string{"phone"}},
		&store.Take{User: user, Device: "laptop", Seq: 3},
		m,
		&store.AddInvite{Hash: [32]byte{2}},
		&store.AddOutbox{Entry: store.OutboxEntry{User: user, Node: "b.example", Created: f.now, Next: f.now}},
		&store.Expire{Messages: f.now.Add(time.Hour), Duplicates: f.now.Add(time.Hour), Limit: 100},
		&store.DeleteUser{User: user},
		impossible{},
	}
	if err := f.store().Commit(f.Context(), batch); !errors.Is(err, store.ErrImpossible) {
		f.Fatalf("an unknown operation: %v", err)
	}
	f.want("after a batch that failed", f.snapshot(), before)

	// What it would have done can be done now.
	f.commit(batch[:5]...)
	if m.Outcome != store.Stored || m.Seq != 4 {
		f.Errorf("outcome %d, seq %d", m.Outcome, m.Seq)
	}
	f.reopen()
	f.wantDevices("the laptop is dropped", user, "phone", "tablet")
	f.wantSeqs("the tablet starts at the oldest held", user, 2, 3, 4)

	ctx, cancel := context.WithCancel(f.Context())
	cancel()
	m = f.message(user)
	if err := f.store().Commit(ctx, []store.Op{m}); !errors.Is(err, context.Canceled) {
		f.Errorf("with a context that ended: %v", err)
	}
	f.wantSeqs("with a context that ended", user, 2, 3, 4)
}

// A snapshot is all that reads show.
type snapshot struct {
	Users    []store.User
	Devices  map[store.UserID][]store.Device
	Messages map[store.UserID][]store.Message
	Outbox   []store.OutboxEntry
	Invites  []byte // the first bytes of those unused
}

func (f *fixture) snapshot() snapshot {
	f.Helper()
	sn := snapshot{Devices: make(map[store.UserID][]store.Device), Messages: make(map[store.UserID][]store.Message)}
	var err error
	if sn.Users, err = f.store().Users(f.Context(), "", 1000); err != nil {
		f.Fatal(err)
	}
	for _, u := range sn.Users {
		if sn.Devices[u.ID], err = f.store().Devices(f.Context(), u.ID); err != nil {
			f.Fatal(err)
		}
		sn.Messages[u.ID] = f.messages(u.ID, 0)
	}
	sn.Outbox = f.outbox()
	for i := range 256 {
		err := f.store().Invite(f.Context(), [32]byte{byte(i)})
		if err == nil {
			sn.Invites = append(sn.Invites, byte(i))
		} else if !errors.Is(err, store.ErrNotFound) {
			f.Fatal(err)
		}
	}
	return sn
}

func testReopen(f *fixture) {
	for i := range 3 {
		user := f.user(fmt.Sprintf("user%d", i))
		f.signIn(user, "phone")
		f.commit(&store.SignIn{User: user, Device: "sender", TokenHash: []byte{1, 2, 3}, Time: f.now, MaxDevices: 32})
		for j := range 4 {
			f.append(user)
			f.commit(&store.Append{User: user, Kind: store.KindReturn, ID: id(j), Time: f.now, Body: body(j, 3000*j)})
		}
		f.take(user, "phone", int64(i))
		f.commit(
			&store.SetKey{User: user, Key: body(i, 2000)},
			&store.AddInvite{Hash: [32]byte{byte(i)}, Time: f.now},
			&store.AddOutbox{Entry: store.OutboxEntry{User: user, Node: "a.example", Ref: &tipt.MessageID{byte(i)}, Sealed: body(i, 100), Created: f.now, Next: f.now}},
		)
	}
	before := f.snapshot()
	f.reopen()
	f.want("reopened", f.snapshot(), before)
}

func testClosed(f *fixture) {
	user := f.user("alice")
	s := f.store()
	f.close()
	if err := s.Commit(f.Context(), []store.Op{f.message(user)}); err == nil {
		f.Error("a closed store commits")
	}
	if _, err := s.UserByID(f.Context(), user); err == nil || errors.Is(err, store.ErrNotFound) {
		f.Errorf("a closed store reads: %v", err)
	}
	f.wantSeqs("reopened", user)
}

// testConcurrent commits and reads from many goroutines. A reader must see every
// message after its place, without a gap, as soon as it sees a later one.
func testConcurrent(f *fixture) {
	const users, writers, each = 4, 8, 40
	var ids []store.UserID
	for i := range users {
		ids = append(ids, f.user(fmt.Sprintf("user%d", i)))
		f.signIn(ids[i], "phone")
	}
	s := f.store()
	ctx := f.Context()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				var batch []store.Op
				for j, user := range ids {
					batch = append(batch, &store.Append{User: user, ID: id(w<<20 | i<<4 | j), Time: f.now, Body: body(i, 50)})
				}
				if err := s.Commit(ctx, batch); err != nil {
					f.Error(err)
					return
				}
			}
		})
	}
	for _, user := range ids {
		wg.Go(func() {
			var place int64
			for place < writers*each {
				messages, err := s.Messages(ctx, user, place, 10, 1<<20)
				if err != nil {
					f.Error(err)
					return
				}
				for _, m := range messages {
					if place++; m.Seq != place {
						f.Errorf("after %d came %d", place-1, m.Seq)
						return
					}
				}
				if len(messages) > 0 && place%3 == 0 {
					if err := s.Commit(ctx, []store.Op{&store.Take{User: user, Device: "phone", Seq: place - 1}}); err != nil {
						f.Error(err)
						return
					}
				}
				if f.Failed() {
					return
				}
			}
		})
	}
	wg.Wait()
	for _, user := range ids {
		f.take(user, "phone", writers*each)
		f.wantSeqs("all taken", user)
	}
}
