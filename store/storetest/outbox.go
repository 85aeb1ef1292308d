package storetest

import (
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
)

func (f *fixture) outbox(now time.Time, limit int) []store.OutboxEntry {
	f.Helper()
	entries, err := f.store().Outbox(f.Context(), now, limit)
	if err != nil {
		f.Fatalf("outbox: %v", err)
	}
	return entries
}

func testOutbox(f *fixture) {
	user := f.user("alice")
	ref := tipt.MessageID{1}
	want := []store.OutboxEntry{
		{User: user, Node: "a.example", Ref: &ref, Sealed: []byte("one"), Created: f.now, Next: f.now},
		{User: user, Node: "b.example", Sealed: body(2, 500_000), Created: f.now, Next: f.now.Add(time.Hour), Attempts: 3, Reason: "no route", Unknown: true},
		{User: user, Node: "a.example", Sealed: []byte("three"), Created: f.now, Next: f.now},
	}
	for i := range want {
		o := &store.AddOutbox{Entry: want[i]}
		o.Entry.ID = 99 // ignored
		f.commit(o)
		if o.Duplicate || o.ID == 0 || i > 0 && o.ID <= want[i-1].ID {
			f.Fatalf("entry %d: %+v", i, o)
		}
		want[i].ID = o.ID
	}
	f.want("due at once", f.outbox(f.now, 10), []store.OutboxEntry{want[0], want[2]})
	f.want("the first of them", f.outbox(f.now, 1), want[:1])
	f.want("nothing is due before", f.outbox(f.now.Add(-time.Millisecond), 10), []store.OutboxEntry{})
	f.reopen()
	f.want("all, after an hour", f.outbox(f.now.Add(time.Hour), 10), want)

	next := f.now.Add(time.Minute)
	f.commit(
		&store.RetryOutbox{ID: want[0].ID, Next: next, Reason: "503", Unknown: true},
		&store.RetryOutbox{ID: want[2].ID + 100, Next: next},
	)
	want[0].Attempts, want[0].Next, want[0].Reason, want[0].Unknown = 1, next, "503", true
	f.want("one is put off", f.outbox(f.now, 10), want[2:])
	f.want("it is due again", f.outbox(next, 10), []store.OutboxEntry{want[0], want[2]})

	remove := &store.RemoveOutbox{ID: want[1].ID}
	again := &store.RemoveOutbox{ID: want[1].ID}
	f.commit(remove, again)
	if remove.Gone || !again.Gone {
		f.Errorf("removed: %+v, again: %+v", remove, again)
	}
	f.commit(&store.DeleteUser{User: user})
	f.reopen()
	f.want("a deleted user's is still sent", f.outbox(f.now.Add(time.Hour), 10), []store.OutboxEntry{want[0], want[2]})

	f.commit(&store.RemoveOutbox{ID: want[2].ID})
	o := &store.AddOutbox{Entry: want[2]}
	f.commit(o)
	if o.ID <= want[2].ID {
		f.Errorf("id %d came after %d", o.ID, want[2].ID)
	}
}

func testOutboxRefs(f *fixture) {
	user, other := f.user("alice"), f.user("bob")
	add := func(u store.UserID, node tipt.NodeName, ref *tipt.MessageID) *store.AddOutbox {
		o := &store.AddOutbox{Entry: store.OutboxEntry{User: u, Node: node, Ref: ref, Sealed: []byte("x"), Created: f.now, Next: f.now}}
		f.commit(o)
		return o
	}
	r1, r2 := tipt.MessageID{1}, tipt.MessageID{2}
	first := add(user, "a.example", &r1)
	for _, tt := range []struct {
		why  string
		user store.UserID
		node tipt.NodeName
		ref  *tipt.MessageID
		dup  bool
	}{
		{"the same", user, "a.example", &r1, true},
		{"another ref", user, "a.example", &r2, false},
		{"another node", user, "b.example", &r1, false},
		{"another user", other, "a.example", &r1, false},
		{"no ref", user, "a.example", nil, false},
		{"no ref either", user, "a.example", nil, false},
	} {
		o := add(tt.user, tt.node, tt.ref)
		if o.Duplicate != tt.dup || (o.ID == first.ID) != tt.dup {
			f.Errorf("%s: got %+v, the first is %d", tt.why, o, first.ID)
		}
	}
	f.reopen()
	if o := add(user, "a.example", &r1); !o.Duplicate {
		f.Errorf("reopened: %+v", o)
	}
	if n := len(f.outbox(f.now, 100)); n != 6 {
		f.Errorf("the outbox holds %d entries, want 6", n)
	}
	f.commit(&store.RemoveOutbox{ID: first.ID})
	if o := add(user, "a.example", &r1); o.Duplicate {
		f.Errorf("the first is gone: %+v", o)
	}
}

func testOutboxReturn(f *fixture) {
	user, gone := f.user("alice"), f.user("bob")
	add := func(u store.UserID) int64 {
		o := &store.AddOutbox{Entry: store.OutboxEntry{User: u, Node: "a.example", Sealed: []byte("x"), Created: f.now, Next: f.now}}
		f.commit(o)
		return o.ID
	}
	giveBack := func(id int64, u store.UserID) *store.RemoveOutbox {
		return &store.RemoveOutbox{ID: id, Return: &store.Append{User: u, Kind: store.KindReturn, ID: tipt.MessageID{9}, Time: f.now, Body: []byte("returned")}}
	}
	o := giveBack(add(user), user)
	again := giveBack(o.ID, user)
	f.commit(o, again)
	if o.Gone || o.Return.Outcome != store.Stored || o.Return.Seq != 1 {
		f.Errorf("return: %+v, %+v", o, o.Return)
	}
	if !again.Gone || again.Return.Seq != 0 {
		f.Errorf("return of one that is gone: %+v, %+v", again, again.Return)
	}
	f.reopen()
	f.want("mailbox", f.messages(user, 0), []store.Message{{Seq: 1, Kind: store.KindReturn, ID: tipt.MessageID{9}, Time: f.now, Body: []byte("returned")}})

	o = giveBack(add(gone), gone)
	f.commit(&store.DeleteUser{User: gone}, o)
	if o.Gone || o.Return.Outcome != store.NoUser {
		f.Errorf("return to a deleted user: %+v, %+v", o, o.Return)
	}
	if entries := f.outbox(f.now, 10); len(entries) != 0 {
		f.Errorf("the outbox still holds %v", entries)
	}
}
