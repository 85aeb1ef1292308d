package storetest

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
)

// outbox returns the whole outbox.
func (f *fixture) outbox() []store.OutboxEntry {
	f.Helper()
	entries, err := f.store().OutboxOlder(f.Context(), f.now.Add(365*24*time.Hour), 1000)
	if err != nil {
		f.Fatalf("outbox: %v", err)
	}
	return entries
}

func testOutbox(f *fixture) {
	user, other := f.user("alice"), f.user("bob")
	ref := tipt.MessageID{1}
	want := []store.OutboxEntry{
		{User: user, Node: "a.example", Ref: &ref, Sealed: []byte("one"), Created: f.now},
		{User: user, Node: "b.example", Sealed: body(2, 500_000), Created: f.now.Add(time.Minute), Next: f.now.Add(time.Hour), Attempts: 3, Reason: "no route", Code: tipt.ErrNodeTimeout, Unknown: true},
		{User: user, Node: "a.example", Sealed: []byte("three"), Created: f.now.Add(2 * time.Minute)},
		{User: other, Node: "a.example", Sealed: []byte("four"), Created: f.now.Add(3 * time.Minute)},
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
	f.reopen()
	f.want("all", f.outbox(), want)
	older, err := f.store().OutboxOlder(f.Context(), f.now.Add(2*time.Minute), 10)
	if err != nil {
		f.Fatal(err)
	}
	f.want("those created before", older, want[:2])
	if older, err = f.store().OutboxOlder(f.Context(), f.now.Add(time.Hour), 1); err != nil {
		f.Fatal(err)
	}
	f.want("the oldest", older, want[:1])
	f.wantHead("a.example", user, want[0])
	f.wantHead("b.example", user, want[1])
	f.wantHead("a.example", other, want[3])
	if _, err := f.store().OutboxHead(f.Context(), "b.example", other); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("head of nothing: %v", err)
	}
	next := f.now.Add(time.Minute)
	f.commit(
		&store.RetryOutbox{ID: want[0].ID, Next: next, Reason: "503", Code: tipt.ErrNodeUnreachable, Unknown: true},
		&store.RetryOutbox{ID: want[3].ID + 100, Next: next},
	)
	want[0].Attempts, want[0].Next, want[0].Reason, want[0].Code, want[0].Unknown = 1, next, "503", tipt.ErrNodeUnreachable, true
	f.wantHead("a.example", user, want[0])
	queues, err := f.store().OutboxQueues(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	slices.SortFunc(queues, func(a, b store.OutboxQueue) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.User, b.User))
	})
	f.want("queues", queues, []store.OutboxQueue{
		{Node: "a.example", User: user, Entries: 2, Bytes: 8, Next: next, Reason: "503"},
		{Node: "a.example", User: other, Entries: 1, Bytes: 4},
		{Node: "b.example", User: user, Entries: 1, Bytes: 500_000, Next: f.now.Add(time.Hour), Reason: "no route"},
	})

	remove := &store.RemoveOutbox{ID: want[0].ID}
	again := &store.RemoveOutbox{ID: want[0].ID}
	f.commit(remove, again)
	if remove.Gone || !again.Gone {
		f.Errorf("removed: %+v, again: %+v", remove, again)
	}
	f.wantHead("a.example", user, want[2])
	f.commit(&store.DeleteUser{User: user})
	f.reopen()
	f.want("a deleted user's is still sent", f.outbox(), want[1:])

	f.commit(&store.RemoveOutbox{ID: want[3].ID})
	o := &store.AddOutbox{Entry: want[3]}
	f.commit(o)
	if o.ID <= want[3].ID {
		f.Errorf("id %d came after %d", o.ID, want[3].ID)
	}
}

func (f *fixture) wantHead(node tipt.NodeName, user store.UserID, want store.OutboxEntry) {
	f.Helper()
	head, err := f.store().OutboxHead(f.Context(), node, user)
	if err != nil {
		f.Fatalf("head of the queue to %s: %v", node, err)
	}
	f.want("head of the queue to "+string(node), head, want)
}

func testNodePauses(f *fixture) {
	a := store.NodePause{Node: "a.example", Attempts: 2, Next: f.now.Add(time.Hour), Reason: "no route"}
	b := store.NodePause{Node: "b.example", Held: true}
	f.commit(&store.PauseNode{Pause: store.NodePause{Node: "a.example", Attempts: 1}}, &store.PauseNode{Pause: b}, &store.PauseNode{Pause: a})
	f.reopen()
	f.wantPauses(a, b)
	f.commit(&store.PauseNode{Pause: store.NodePause{Node: "a.example", Reason: "none"}}, &store.PauseNode{Pause: store.NodePause{Node: "c.example"}})
	f.wantPauses(b)
}

func (f *fixture) wantPauses(want ...store.NodePause) {
	f.Helper()
	pauses, err := f.store().NodePauses(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	slices.SortFunc(pauses, func(a, b store.NodePause) int { return cmp.Compare(a.Node, b.Node) })
	f.want("pauses", pauses, want)
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
	if n := len(f.outbox()); n != 6 {
		f.Errorf("the outbox holds %d entries, want 6", n)
	}
	only := &store.AddOutbox{Entry: store.OutboxEntry{User: user, Node: "a.example", Ref: &r1, Created: f.now}, OnlyDuplicate: true}
	none := &store.AddOutbox{Entry: store.OutboxEntry{User: user, Node: "c.example", Ref: &r1, Created: f.now}, OnlyDuplicate: true}
	f.commit(only, none)
	if !only.Duplicate || none.Duplicate || len(f.outbox()) != 6 {
		f.Errorf("looking for a duplicate: %+v, %+v", only, none)
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
	if entries := f.outbox(); len(entries) != 0 {
		f.Errorf("the outbox still holds %v", entries)
	}
}
