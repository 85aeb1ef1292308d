package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/tipt/tipt-go/store"
)

func testExpireMessages(f *fixture) {
	const users, each = 5, 10
	start := f.now
	var all []store.UserID
	for i := range users {
		user := f.user(fmt.Sprintf("user%d", i))
		all = append(all, user)
		f.signIn(user, "phone")
		for j := range each {
			f.now = start.Add(time.Duration(j) * time.Hour)
			f.append(user)
		}
	}
	rounds := f.expire(store.Expire{Messages: start.Add(4 * time.Hour), Limit: 3})
	if want := users * 4 / 3; rounds < want {
		f.Errorf("%d messages were removed by %d operations of at most 3", users*4, rounds)
	}
	for _, user := range all {
		f.wantSeqs("those older than four hours are gone", user, 5, 6, 7, 8, 9, 10)
	}
	f.take(all[0], "phone", 6)
	f.wantSeqs("taking goes on", all[0], 7, 8, 9, 10)
	f.expire(store.Expire{Messages: start.Add(24 * time.Hour), Limit: 100})
	for _, user := range all {
		f.wantSeqs("all expired", user)
	}
	f.reopen()
	for _, user := range all {
		if m := f.append(user); m.Seq != each+1 {
			f.Errorf("the next message got seq %d", m.Seq)
		}
	}
}

func testExpireDuplicates(f *fixture) {
	user := f.user("alice")
	start := f.now
	var all []*store.Append
	for i := range 50 {
		f.now = start.Add(time.Duration(i%2) * time.Hour)
		all = append(all, f.append(user))
	}
	if rounds := f.expire(store.Expire{Duplicates: start.Add(time.Hour), Limit: 8}); rounds < 25/8 {
		f.Errorf("25 ids were removed by %d operations of at most 8", rounds)
	}
	f.reopen()
	for i, o := range all {
		want := store.Stored // its id is forgotten
		if i%2 == 1 {
			want = store.Duplicate
		}
		o.Time = start.Add(time.Hour)
		f.commit(o)
		if o.Outcome != want {
			f.Errorf("message %d: outcome %d, want %d", i, o.Outcome, want)
		}
	}
}

func testExpireDevices(f *fixture) {
	user, other := f.user("alice"), f.user("bob")
	start := f.now
	for i := range 5 {
		f.now = start.Add(time.Duration(i) * time.Hour)
		f.signIn(user, fmt.Sprintf("device%d", i))
	}
	f.now = start
	f.signIn(other, "device0")
	f.append(user)
	for _, name := range []string{"device1", "device3", "device4"} {
		f.take(user, name, 1)
	}
	f.wantSeqs("held back by devices 0 and 2", user, 1)
	online := func(u store.UserID, name string) bool { return u == user && name == "device1" }
	f.expire(store.Expire{Devices: start.Add(2 * time.Hour), Online: online, Limit: 1})
	f.wantDevices("one is unseen, one connected", user, "device1", "device2", "device3", "device4")
	f.wantDevices("another user's", other)
	f.wantSeqs("held back by device 2", user, 1)
	f.commit(&store.SeeDevice{User: user, Device: "device3", Time: start.Add(4 * time.Hour)})
	f.expire(store.Expire{Devices: start.Add(4 * time.Hour)})
	f.wantDevices("those unseen for longer", user, "device3", "device4")
	f.wantSeqs("those that are left have taken it", user)
	f.expire(store.Expire{Devices: start.Add(24 * time.Hour)})
	f.wantDevices("all", user)
	m := f.append(user)
	f.wantSeqs("it waits for the first device", user, m.Seq)
	if _, err := f.store().Device(f.Context(), user, "device3"); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("an expired device: %v", err)
	}
}

// testExpireDeleted has a mailbox that is too large to be removed at once.
func testExpireDeleted(f *fixture) {
	user, other := f.user("alice"), f.user("bob")
	f.signIn(other, "phone")
	var batch []store.Op
	for range 6000 {
		batch = append(batch, f.message(user), f.message(other))
	}
	f.commit(batch...)
	f.commit(&store.DeleteUser{User: user}, &store.Take{User: other, Device: "phone", Seq: 5999})
	if got := f.messages(user, 0); len(got) != 0 {
		f.Errorf("%d messages of a deleted user are left", len(got))
	}
	f.signIn(other, "laptop")
	f.reopen()
	f.expire(store.Expire{})
	f.commit()
	f.take(other, "phone", 6000)
	f.take(other, "laptop", 6000)
	f.commit()
	f.wantSeqs("all taken", other)
	if got := f.messages(user, 0); len(got) != 0 {
		f.Errorf("%d messages of a deleted user are left", len(got))
	}
	if m := f.append(other); m.Seq != 6001 {
		f.Errorf("the next message got seq %d", m.Seq)
	}
}
