package storetest

import (
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
)

func testAppend(f *fixture) {
	user, other := f.user("alice"), f.user("bob")
	f.wantSeqs("a new mailbox", user)
	f.wantSeqs("nobody's mailbox", other+100)
	stored := f.now.Add(123456 * time.Nanosecond) // kept to the millisecond
	ops := []*store.Append{
		{User: user, From: "carol@example.org", ID: id(1), Time: stored, Body: []byte("one")},
		{User: other, From: "carol@example.org", ID: id(2), Time: stored, Body: []byte("for bob")},
		{User: user, ID: id(3), Time: stored, Body: []byte("anonymous")},
		{User: user, Kind: store.KindReturn, ID: id(4), Time: stored, Body: []byte("a return")},
	}
	f.commit(ops[0])
	f.commit(ops[1], ops[2], ops[3])
	for i, seq := range []int64{1, 1, 2, 3} {
		if ops[i].Outcome != store.Stored || ops[i].Seq != seq {
			f.Errorf("message %d: outcome %d, seq %d, want seq %d", i, ops[i].Outcome, ops[i].Seq, seq)
		}
	}
	want := []store.Message{
		{Seq: 1, From: "carol@example.org", ID: id(1), Time: f.now, Body: []byte("one")},
		{Seq: 2, ID: id(3), Time: f.now, Body: []byte("anonymous")},
		{Seq: 3, Kind: store.KindReturn, ID: id(4), Time: f.now, Body: []byte("a return")},
	}
	f.want("mailbox", f.messages(user, 0), want)
	f.want("another mailbox", f.messages(other, 0), []store.Message{{Seq: 1, From: "carol@example.org", ID: id(2), Time: f.now, Body: []byte("for bob")}})
	f.reopen()
	f.want("reopened", f.messages(user, 0), want)
}

// testBodies has sizes around which stores may keep them differently.
func testBodies(f *fixture) {
	user := f.user("alice")
	f.signIn(user, "phone")
	var want []store.Message
	for i, size := range []int{0, 1, 100, 500, 899, 900, 901, 1000, 4096, 65_535, 65_536, 131_071, 131_072, 131_073, 1 << 20, tipt.MaxMessageSize} {
		o := &store.Append{User: user, ID: id(i), Time: f.now, Body: body(i, size)}
		f.commit(o)
		want = append(want, store.Message{Seq: int64(i + 1), ID: id(i), Time: f.now, Body: o.Body})
	}
	f.want("bodies", f.messages(user, 0), want)
	f.reopen()
	f.want("reopened", f.messages(user, 0), want)
	f.take(user, "phone", 10)
	f.want("some taken", f.messages(user, 0), want[10:])
	f.reopen()
	f.want("some taken, reopened", f.messages(user, 0), want[10:])
	f.take(user, "phone", int64(len(want)))
	f.wantSeqs("all taken", user)
}

func testMessages(f *fixture) {
	user := f.user("alice")
	for i := range 6 {
		f.commit(&store.Append{User: user, ID: id(i), Time: f.now, Body: body(i, 10*(i+1))}) // 10, 20, … 60 bytes
	}
	for _, tt := range []struct {
		why             string
		after           int64
		limit, maxBytes int
		first, last     int64
	}{
		{"all", 0, 100, 1000, 1, 6},
		{"after the third", 3, 100, 1000, 4, 6},
		{"a few", 0, 2, 1000, 1, 2},
		{"exactly as many bytes", 0, 100, 60, 1, 3},
		{"one byte short", 0, 100, 59, 1, 2},
		{"the first is never too large", 4, 100, 1, 5, 5},
		{"the first without room for a byte", 4, 100, 0, 5, 5},
	} {
		got, err := f.store().Messages(f.Context(), user, tt.after, tt.limit, tt.maxBytes)
		if err != nil {
			f.Fatal(err)
		}
		if len(got) == 0 || got[0].Seq != tt.first || got[len(got)-1].Seq != tt.last || int64(len(got)) != tt.last-tt.first+1 {
			f.Errorf("%s: got %d messages %v, want %d to %d", tt.why, len(got), got, tt.first, tt.last)
		}
	}
	if got := f.messages(user, 6); len(got) != 0 {
		f.Errorf("after the last: %v", got)
	}
}

func testDuplicates(f *fixture) {
	user, other := f.user("alice"), f.user("bob")
	first := &store.Append{User: user, From: "carol@example.org", ID: id(1), Time: f.now, Body: []byte("one")}
	f.commit(first)
	for _, tt := range []struct {
		why  string
		o    store.Append
		want store.Outcome
	}{
		{"the same", store.Append{User: user, From: first.From, ID: id(1)}, store.Duplicate},
		{"with another body", store.Append{User: user, From: first.From, ID: id(1), Body: []byte("two")}, store.Duplicate},
		{"another id", store.Append{User: user, From: first.From, ID: id(2)}, store.Stored},
		{"another sender", store.Append{User: user, From: "dave@example.org", ID: id(1)}, store.Stored},
		{"another recipient", store.Append{User: other, From: first.From, ID: id(1)}, store.Stored},
		{"anonymous", store.Append{User: user, ID: id(1)}, store.Stored},
		{"all anonymous ones are one sender", store.Append{User: user, ID: id(1)}, store.Duplicate},
		{"a return is none", store.Append{User: user, Kind: store.KindReturn, ID: id(1)}, store.Stored},
		{"the same return", store.Append{User: user, Kind: store.KindReturn, ID: id(1)}, store.Stored},
		{"a return does not make one", store.Append{User: user, Kind: store.KindReturn, ID: id(7)}, store.Stored},
		{"with the id of a return", store.Append{User: user, ID: id(7)}, store.Stored},
		{"almost ten days later", store.Append{User: user, From: first.From, ID: id(1), Time: f.now.Add(tipt.DuplicateRetention)}, store.Duplicate},
	} {
		o := tt.o
		if o.Time.IsZero() {
			o.Time = f.now
		}
		f.commit(&o)
		if o.Outcome != tt.want || (o.Seq != 0) != (tt.want == store.Stored) {
			f.Errorf("%s: outcome %d, seq %d; want outcome %d", tt.why, o.Outcome, o.Seq, tt.want)
		}
	}

	a, b := f.message(user), f.message(user)
	b.ID = a.ID
	f.commit(a, b)
	if a.Outcome != store.Stored || b.Outcome != store.Duplicate {
		f.Errorf("twice in one batch: outcomes %d and %d", a.Outcome, b.Outcome)
	}

	// One that is only looked for is never stored.
	nobody := f.message(user)
	nobody.User = 1 << 40
	for _, tt := range []struct {
		why  string
		o    *store.Append
		want store.Outcome
	}{
		{"stored before", &store.Append{User: user, From: a.From, ID: a.ID, Time: f.now}, store.Duplicate},
		{"not stored before", f.message(user), store.NoDuplicate},
		{"for nobody", nobody, store.NoUser},
	} {
		for range 2 {
			tt.o.OnlyDuplicate = true
			f.commit(tt.o)
			if tt.o.Outcome != tt.want || tt.o.Seq != 0 {
				f.Errorf("looked for, %s: outcome %d, seq %d; want outcome %d", tt.why, tt.o.Outcome, tt.o.Seq, tt.want)
			}
		}
	}

	// More than ten days after the first it is a new one, from which ten days count again.
	late := *first
	late.Time = f.now.Add(tipt.DuplicateRetention + time.Millisecond)
	f.commit(&late)
	if late.Outcome != store.Stored {
		f.Errorf("ten days and a millisecond later: outcome %d", late.Outcome)
	}
	late.Time = late.Time.Add(tipt.DuplicateRetention)
	f.commit(&late)
	if late.Outcome != store.Duplicate {
		f.Errorf("ten days after that: outcome %d", late.Outcome)
	}
}

// testDuplicateFirst is section 5.3: a message is answered like the first one
// before anything else could refuse it, also when the first has been taken since.
func testDuplicateFirst(f *fixture) {
	user := f.user("alice")
	f.signIn(user, "phone")
	first := f.append(user)
	check := func(why string) {
		f.Helper()
		again := *first
		again.Time = f.now.Add(tipt.DuplicateRetention)
		f.commit(&again)
		if again.Outcome != store.Duplicate {
			f.Errorf("%s: outcome %d", why, again.Outcome)
		}
	}
	check("at once")
	f.take(user, "phone", first.Seq)
	f.wantSeqs("taken", user)
	check("taken")
	f.reopen()
	check("taken and reopened")
	f.wantSeqs("it was not stored again", user)

	f.append(user)
	first.MaxCount = 1
	check("mailbox full by count")
	late := *first
	late.Time = f.now.Add(tipt.DuplicateRetention + time.Millisecond)
	f.commit(&late)
	if late.Outcome != store.Full {
		f.Errorf("mailbox full, ten days and a millisecond later: outcome %d", late.Outcome)
	}
	first.MaxCount, first.MaxBytes = 0, 1
	check("mailbox full by bytes")
	f.commit(&store.SetDisabled{User: user, Disabled: true})
	check("disabled")
	f.commit(&store.DeleteUser{User: user})
	check("deleted")
	f.reopen()
	check("deleted and reopened")
}

func testTake(f *fixture) {
	user := f.user("alice")
	for range 5 {
		f.append(user)
	}
	f.take(user, "phone", 5)
	f.wantSeqs("taken by an unknown device", user, 1, 2, 3, 4, 5)
	f.commit(&store.SignIn{User: user, Device: "sender", Time: f.now, MaxDevices: 32})
	f.take(user, "sender", 5)
	if d := f.device(user, "sender"); d.HasPlace {
		f.Errorf("taking made a place: %+v", d)
	}

	f.signIn(user, "phone")
	f.signIn(user, "laptop")
	f.take(user, "phone", 3)
	f.wantSeqs("the laptop has taken nothing", user, 1, 2, 3, 4, 5)
	f.take(user, "laptop", 2)
	f.wantSeqs("both have taken two", user, 3, 4, 5)
	f.take(user, "phone", 1)
	if d := f.device(user, "phone"); d.Place != 3 {
		f.Errorf("a place moved back to %d", d.Place)
	}
	f.commit(
		&store.Take{User: user, Device: "laptop", Seq: 5},
		&store.Take{User: user, Device: "laptop", Seq: 4},
		&store.Take{User: user, Device: "phone", Seq: 4},
	)
	f.wantSeqs("several in one batch", user, 5)
	f.reopen()
	f.want("phone", f.device(user, "phone").Place, int64(4))
	f.want("laptop", f.device(user, "laptop").Place, int64(5))

	f.take(user, "phone", 1000)
	f.want("no further than the last message", f.device(user, "phone").Place, int64(5))
	f.wantSeqs("all taken", user)
	m := f.append(user)
	f.wantSeqs("a new one", user, m.Seq)
}

func testSeqNeverReused(f *fixture) {
	user := f.user("alice")
	f.signIn(user, "phone")
	var last int64
	for i := range 3 {
		a, b := f.append(user), f.append(user)
		if a.Seq != last+1 || b.Seq != last+2 {
			f.Fatalf("after %d came %d and %d", last, a.Seq, b.Seq)
		}
		last = b.Seq
		f.take(user, "phone", last)
		f.wantSeqs("all taken", user)
		if i > 0 {
			f.reopen()
		}
	}
	m := f.append(user)
	f.expire(store.Expire{Messages: f.now.Add(time.Second)})
	f.wantSeqs("all expired", user)
	f.reopen()
	if n := f.append(user); n.Seq != m.Seq+1 {
		f.Errorf("after %d came %d", m.Seq, n.Seq)
	}
}

// quotaTest appends messages of size bytes, limited by the template o.
type quotaTest struct {
	*fixture
	user store.UserID
	o    store.Append
}

func (q *quotaTest) append(why string, size int, want store.Outcome) {
	q.Helper()
	m := q.message(q.user)
	m.Body = body(q.made, size)
	m.Kind, m.MaxCount, m.MaxBytes = q.o.Kind, q.o.MaxCount, q.o.MaxBytes
	q.commit(m)
	if m.Outcome != want {
		q.Errorf("%s: outcome %d, want %d", why, m.Outcome, want)
	}
}

func testQuotaCount(f *fixture) {
	q := &quotaTest{f, f.user("alice"), store.Append{MaxCount: 3}}
	for range 3 {
		q.append("below the quota", 10, store.Stored)
	}
	q.append("no device", 10, store.Full)
	f.signIn(q.user, "phone")
	f.signIn(q.user, "laptop")
	q.append("nothing taken", 10, store.Full)
	f.wantSeqs("full", q.user, 1, 2, 3)

	f.take(q.user, "phone", 2)
	f.wantSeqs("the laptop has taken nothing", q.user, 1, 2, 3)
	q.append("the first was taken by one", 10, store.Stored)
	f.wantSeqs("only the oldest is dropped", q.user, 2, 3, 4)
	f.reopen()
	q.append("the second was taken by one", 10, store.Stored)
	q.append("the third was not", 10, store.Full)
	f.wantSeqs("full again", q.user, 3, 4, 5)

	f.take(q.user, "laptop", 4)
	f.take(q.user, "phone", 4)
	f.wantSeqs("two taken by both", q.user, 5)
	q.append("one", 10, store.Stored)
	q.append("two", 10, store.Stored)
	q.append("three", 10, store.Full)

	// Room made in the batch that needs it.
	m := f.message(q.user)
	m.MaxCount = 3
	f.commit(&store.Take{User: q.user, Device: "phone", Seq: 5}, m)
	if m.Outcome != store.Stored {
		f.Errorf("outcome %d, room was made in the same batch", m.Outcome)
	}
	f.wantSeqs("room made", q.user, 6, 7, 8)

	q.o.MaxCount = 1
	f.take(q.user, "phone", 7)
	q.append("a lowered quota, one more than is taken", 10, store.Full)
	f.wantSeqs("nothing is dropped in vain", q.user, 6, 7, 8)
	f.take(q.user, "phone", 8)
	q.append("a lowered quota", 10, store.Stored)
	f.wantSeqs("several dropped", q.user, 9)
}

func testQuotaBytes(f *fixture) {
	q := &quotaTest{f, f.user("alice"), store.Append{MaxCount: 100, MaxBytes: 3000}}
	f.signIn(q.user, "phone")
	f.signIn(q.user, "laptop")
	q.append("larger than all", 3001, store.Full)
	q.append("exactly all", 3000, store.Stored)
	q.append("an empty one needs no bytes", 0, store.Stored)
	q.append("one byte", 1, store.Full)
	f.take(q.user, "phone", 1)
	q.append("a third of it", 1000, store.Stored) // drops the first
	q.append("a third of it", 1000, store.Stored)
	q.append("a third of it", 1000, store.Stored)
	f.wantSeqs("full", q.user, 2, 3, 4, 5)
	f.take(q.user, "phone", 4)
	q.append("larger than what is taken", 2001, store.Full)
	f.wantSeqs("nothing is dropped in vain", q.user, 2, 3, 4, 5)
	q.append("as much as is taken", 2000, store.Stored)
	f.wantSeqs("dropped", q.user, 5, 6)
	f.reopen()
	q.append("one byte", 1, store.Full)
	f.take(q.user, "laptop", 5)
	f.take(q.user, "phone", 5)
	q.append("what was taken by both", 1000, store.Stored)
	q.append("one byte", 1, store.Full)

	f.expire(store.Expire{Messages: f.now.Add(time.Second)})
	q.append("all expired", 3000, store.Stored)
	q.o.MaxBytes = 0
	q.append("without a quota", 3000, store.Stored)
}

func testQuotaReturns(f *fixture) {
	q := &quotaTest{f, f.user("alice"), store.Append{MaxCount: 2, MaxBytes: 1000}}
	f.signIn(q.user, "phone")
	f.signIn(q.user, "laptop")
	q.append("a message", 500, store.Stored)
	q.o.Kind = store.KindReturn
	for range 3 {
		q.append("a return", 5000, store.Stored)
	}
	q.o.Kind = store.KindDeliver
	q.append("returns take no room", 500, store.Stored)
	f.take(q.user, "phone", 4)
	q.append("the first is taken", 500, store.Stored)
	f.wantSeqs("returns are not dropped", q.user, 2, 3, 4, 5, 6)
	q.append("only returns are taken", 500, store.Full)
	q.o.Kind = store.KindReturn
	q.append("a return into a full mailbox", 500, store.Stored)
	f.take(q.user, "phone", 6)
	f.take(q.user, "laptop", 6)
	f.wantSeqs("taken by both", q.user, 7)
	q.o.Kind = store.KindDeliver
	q.append("one", 500, store.Stored)
	q.append("two", 500, store.Stored)
	q.append("three", 500, store.Full)
}
