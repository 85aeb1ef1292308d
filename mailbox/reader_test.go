package mailbox_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/mailbox"
	"github.com/tipt/tipt-go/store"
)

func TestNextFromStoreAndMemory(t *testing.T) {
	n := newNode(t, mailbox.Options{}, "phone")
	n.appendAll(t, "a", "b")
	r := n.Open(n.user, "phone", 0, noWake)
	defer r.Close()
	n.wantReads(t, "what was there before", 2, func() {
		wantNext(t, "the first", r, "a", "b")
		wantNext(t, "the end", r)
	})
	n.wantReads(t, "what was just appended", 0, func() {
		for range 3 {
			n.appendAll(t, "c", "d")
			wantNext(t, "just appended", r, "c", "d")
			wantNext(t, "the end", r)
		}
	})
}

// TestNextIsTheSameFromMemory has what Next returns from memory equal what it returns from the
// store.
func TestNextIsTheSameFromMemory(t *testing.T) {
	n := newNode(t, mailbox.Options{}, "phone")
	r := n.Open(n.user, "phone", 0, noWake)
	defer r.Close()
	wantNext(t, "empty", r)
	deliver := n.message("deliver")
	anonymous := n.message("")
	anonymous.From = ""
	back := n.message("return")
	back.Kind, back.From = store.KindReturn, ""
	for _, msg := range []mailbox.Message{deliver, anonymous, back} {
		n.append(t, msg)
	}
	want, err := n.store.Messages(t.Context(), n.user, 0, 100, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	n.wantReads(t, "just appended", 0, func() {
		got, err := r.Next(t.Context(), 100, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestNextLimits(t *testing.T) {
	for _, test := range []struct {
		limit, maxBytes int
		want            [][]string
	}{
		{100, 100, [][]string{{"1", "22", "333", "4444"}}},
		{3, 100, [][]string{{"1", "22", "333"}, {"4444"}}},
		{100, 9, [][]string{{"1", "22", "333"}, {"4444"}}},
		{100, 6, [][]string{{"1", "22", "333"}, {"4444"}}},
		{100, 5, [][]string{{"1", "22"}, {"333"}, {"4444"}}},
		{100, 0, [][]string{{"1"}, {"22"}, {"333"}, {"4444"}}},
		{1, 100, [][]string{{"1"}, {"22"}, {"333"}, {"4444"}}},
	} {
		t.Run(fmt.Sprintf("%d messages, %d bytes", test.limit, test.maxBytes), func(t *testing.T) {
			n := newNode(t, mailbox.Options{}, "phone")
			memory := n.Open(n.user, "phone", 0, noWake)
			defer memory.Close()
			wantNext(t, "empty", memory)
			n.appendAll(t, "1", "22", "333", "4444")
			all := func(r *mailbox.Reader) (all [][]string) {
				for {
					some := next(t, r, test.limit, test.maxBytes)
					if some == nil {
						return all
					}
					all = append(all, some)
				}
			}
			n.wantReads(t, "memory", 0, func() {
				if diff := cmp.Diff(test.want, all(memory)); diff != "" {
					t.Error("memory:", diff)
				}
			})
			disk := n.Open(n.user, "laptop", 0, noWake)
			defer disk.Close()
			if diff := cmp.Diff(test.want, all(disk)); diff != "" {
				t.Error("store:", diff)
			}
		})
	}
}

// TestOpenBetweenCommitAndPublish opens a reader when a message is on the disk, before the
// readers are told.
func TestOpenBetweenCommitAndPublish(t *testing.T) {
	n := newNode(t, mailbox.Options{}, "phone")
	var r *mailbox.Reader
	n.store.commit = func(_ []store.Op, commit func() error) error {
		err := commit()
		if r == nil {
			r = n.Open(n.user, "phone", 0, noWake)
			wantNext(t, "before it is published", r, "a")
		}
		return err
	}
	n.appendAll(t, "a")
	defer r.Close()
	wantNext(t, "once published", r)
	n.appendAll(t, "b")
	wantNext(t, "the next one", r, "b")
	wantNext(t, "the end", r)
}

// TestAppendDuringRead has messages published between a read of the store and its
// result.
func TestAppendDuringRead(t *testing.T) {
	large := strings.Repeat("x", 4000)
	for _, test := range []struct {
		name     string
		options  mailbox.Options
		before   []string
		appended []string
	}{
		{"into an empty mailbox", mailbox.Options{}, nil, []string{"a"}},
		{"behind others", mailbox.Options{}, []string{"a"}, []string{"b", "c"}},
		{"too large for memory", mailbox.Options{MaxRecent: 1000}, nil, []string{large}},
		{"too large for memory, behind others", mailbox.Options{MaxRecent: 1000}, []string{"a"}, []string{large, "b"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNode(t, test.options, "phone")
			n.appendAll(t, test.before...)
			r := n.Open(n.user, "phone", 0, noWake)
			defer r.Close()
			var appended atomic.Bool
			n.store.afterRead = func() {
				if appended.CompareAndSwap(false, true) {
					n.appendAll(t, test.appended...)
				}
			}
			var got []string
			for {
				some := next(t, r, 100, 1<<20)
				if some == nil {
					break
				}
				got = append(got, some...)
			}
			if diff := cmp.Diff(append(test.before, test.appended...), got); diff != "" {
				t.Error(diff)
			}
			n.appendAll(t, "last")
			wantNext(t, "afterwards", r, "last")
		})
	}
}

// TestUntoldMessage has a message come into the store by another way.
func TestUntoldMessage(t *testing.T) {
	n := newNode(t, mailbox.Options{}, "phone")
	r := n.Open(n.user, "phone", 0, noWake)
	defer r.Close()
	wantNext(t, "empty", r)
	n.do(t, &store.Append{User: n.user, ID: tipt.MessageID{9}, Body: []byte("untold")})
	n.appendAll(t, "told")
	wantNext(t, "both", r, "untold", "told")
	n.appendAll(t, "a")
	n.do(t, &store.Append{User: n.user, ID: tipt.MessageID{8}, Body: []byte("untold, too")})
	n.appendAll(t, "b")
	var got []string
	for {
		some := next(t, r, 100, 1<<20)
		if some == nil {
			break
		}
		got = append(got, some...)
	}
	if diff := cmp.Diff([]string{"a", "untold, too", "b"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestMessageIsGone has a message published that nobody can read any more.
func TestMessageIsGone(t *testing.T) {
	n := newNode(t, mailbox.Options{MaxRecent: 1}, "phone")
	r := n.Open(n.user, "phone", 0, noWake)
	defer r.Close()
	wantNext(t, "empty", r)
	n.appendAll(t, "gone")
	n.do(t, &store.DeleteUser{User: n.user})
	wantNext(t, "of a deleted account", r)
	n.wantReads(t, "again", 0, func() { wantNext(t, "again", r) })
}

func TestWake(t *testing.T) {
	n := newNode(t, mailbox.Options{}, "phone", "laptop")
	var phone, laptop int
	r := n.Open(n.user, "phone", 0, func() { phone++ })
	defer r.Close()
	other := n.Open(n.user, "laptop", 0, func() { laptop++ })
	wantWakes := func(what string, wantPhone, wantLaptop int) {
		t.Helper()
		if phone != wantPhone || laptop != wantLaptop {
			t.Errorf("%s: phone woken %d times, laptop %d, want %d and %d", what, phone, laptop, wantPhone, wantLaptop)
		}
	}
	n.appendAll(t, "a", "b")
	wantWakes("before any Next", 1, 1)
	wantNext(t, "some", r, "a", "b")
	n.appendAll(t, "c")
	wantWakes("when Next found something", 1, 1)
	wantNext(t, "some", r, "c")
	wantNext(t, "none", r)
	n.appendAll(t, "d", "e")
	wantWakes("when Next found nothing", 2, 1)
	other.Close()
	wantNext(t, "some", r, "d", "e")
	wantNext(t, "none", r)
	n.append(t, mailbox.Message{User: n.user + 1})
	wantWakes("when nothing was stored", 2, 1)
	n.appendAll(t, "f")
	wantWakes("when the laptop is closed", 3, 1)
}

func TestNextAfterClose(t *testing.T) {
	n := newNode(t, mailbox.Options{}, "phone")
	n.appendAll(t, "a")
	r := n.Open(n.user, "phone", 0, noWake)
	n.store.afterRead = r.Close
	wantNext(t, "closed while it reads", r)
	r.Close()
	wantNext(t, "closed", r)
	r.Take(1)
	n.appendAll(t, "b")
	if place := n.place(t, "phone"); place != 0 {
		t.Errorf("place %d, want 0", place)
	}
}

func TestRewind(t *testing.T) {
	n := newNode(t, mailbox.Options{}, "phone")
	n.appendAll(t, "1", "2", "3", "4")
	r := n.Open(n.user, "phone", 0, noWake)
	defer r.Close()
	if diff := cmp.Diff([]string{"1", "2", "3"}, next(t, r, 3, 1<<20)); diff != "" {
		t.Fatal(diff)
	}
	r.Take(1)
	r.Rewind(3)
	r.Rewind(2)
	r.Rewind(2)
	r.Rewind(1) // is taken
	r.Rewind(4) // was not returned yet
	wantNext(t, "the first that is sent again", r, "2")
	wantNext(t, "the second", r, "3")
	wantNext(t, "what follows", r, "4")
	wantNext(t, "the end", r)
	r.Rewind(2)
	wantNext(t, "once more", r, "2")
	r.Rewind(3)
	r.Take(3)
	wantNext(t, "taken after all", r)
	for _, seq := range []int64{4, 2} {
		r.Take(seq)
	}
	r.Rewind(2)
	wantNext(t, "all taken", r)
	r.Close()
	n.do(t)
	if place := n.place(t, "phone"); place != 4 {
		t.Errorf("place %d, want 4", place)
	}
}

// TestRewindToWhatIsGone has the message expire that is to be sent again.
func TestRewindToWhatIsGone(t *testing.T) {
	n := newNode(t, mailbox.Options{}, "phone")
	n.appendAll(t, "1", "2")
	r := n.Open(n.user, "phone", 0, noWake)
	defer r.Close()
	wantNext(t, "both", r, "1", "2")
	r.Rewind(1)
	msgs, err := n.store.Messages(t.Context(), n.user, 0, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	n.do(t, &store.Expire{Messages: msgs[0].Time.Add(1e6), Limit: 1})
	n.appendAll(t, "3")
	wantNext(t, "without the one that is gone", r, "3")
	r.Take(2)
	r.Close()
	n.do(t)
	if place := n.place(t, "phone"); place != 2 {
		t.Errorf("place %d, want 2: what is gone counts as taken", place)
	}
}

func TestSlowReadersAreBounded(t *testing.T) {
	const maxRecent = 1 << 20
	n := newNode(t, mailbox.Options{MaxRecent: maxRecent}, "phone", "laptop")
	var readers []*mailbox.Reader
	var users []store.UserID
	for i := range 8 {
		users = append(users, n.newUser(t, tipt.UserName(fmt.Sprint("user", i)), "phone"))
		r := n.Open(users[i], "phone", 0, noWake)
		wantNext(t, "empty", r)
		readers = append(readers, r)
	}
	fast := n.Open(users[0], "laptop", 0, noWake)
	defer fast.Close()
	body := strings.Repeat("x", 30_000)
	most := int64(0)
	for range 20 {
		for _, user := range users {
			msg := n.message(body)
			msg.User = user
			n.append(t, msg)
			most = max(most, n.Held())
		}
		if got := next(t, fast, 100, 1<<20); len(got) != 1 {
			t.Fatalf("the one that is not slow got %d", len(got))
		}
	}
	if most < maxRecent/2 || most > maxRecent {
		t.Errorf("up to %d bytes were in memory for slow readers, want them used and at most %d", most, maxRecent)
	}
	for i, r := range readers {
		count := 0
		for {
			some := next(t, r, 7, 1<<20)
			if some == nil {
				break
			}
			count += len(some)
		}
		if count != 20 {
			t.Errorf("reader %d got %d messages, want 20", i, count)
		}
		if i == 0 {
			continue
		}
		r.Close()
	}
	if held := n.Held(); held != 0 {
		t.Errorf("%d bytes are in memory when all is read", held)
	}
	n.wantReads(t, "caught up", 0, func() {
		msg := n.message(strings.Repeat("y", maxRecent/2))
		msg.User = users[0]
		n.append(t, msg)
		if got := next(t, fast, 1, 0); len(got) != 1 {
			t.Errorf("a large message: got %d", len(got))
		}
	})
	if n.Held() == 0 {
		t.Error("the large message is not in memory for the other device")
	}
	fast.Close()
	readers[0].Close()
	if held := n.Held(); held != 0 {
		t.Errorf("%d bytes are in memory without a reader", held)
	}
}

func TestReadersBehindHoldNothing(t *testing.T) {
	n := newNode(t, mailbox.Options{}, "phone")
	n.appendAll(t, "1", "2", "3")
	r := n.Open(n.user, "phone", 0, noWake)
	defer r.Close()
	if got := next(t, r, 1, 0); len(got) != 1 {
		t.Fatalf("got %v", got)
	}
	n.appendAll(t, "4")
	if held := n.Held(); held != 0 {
		t.Errorf("%d bytes are in memory for a reader that will read the store", held)
	}
}

func TestOneSlowReaderIsBounded(t *testing.T) {
	n := newNode(t, mailbox.Options{}, "phone")
	r := n.Open(n.user, "phone", 0, noWake)
	defer r.Close()
	wantNext(t, "empty", r)
	var want []string
	for i := range 20 {
		want = append(want, strings.Repeat(string(rune('a'+i)), 30_000))
		n.appendAll(t, want[i])
		if held := n.Held(); held > 256<<10 {
			t.Errorf("%d bytes are in memory for a slow reader", held)
		}
	}
	wantNext(t, "all", r, want...)
	wantNext(t, "the end", r)
}

// TestIdleReaderIsSmall pins what an idle signed-in connection costs here.
func TestIdleReaderIsSmall(t *testing.T) {
	const readers = 20_000
	n := newNode(t, mailbox.Options{}, "phone")
	all := make([]*mailbox.Reader, readers)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	goroutines := runtime.NumGoroutine()
	before := heap()
	for i := range all {
		all[i] = n.Open(n.user+store.UserID(i), "phone", 0, noWake)
	}
	each := (heap() - before) / readers
	t.Logf("%d bytes", each)
	if each > 200 {
		t.Errorf("an idle reader takes %d bytes, want at most 200", each)
	}
	if got := runtime.NumGoroutine(); got > goroutines {
		t.Errorf("%d goroutines more", got-goroutines)
	}

	// The same again once they have read and taken something.
	for range 3 {
		n.appendAll(t, "a")
		msgs, err := all[0].Next(t.Context(), 1, 1<<20)
		if err != nil || len(msgs) != 1 {
			t.Fatalf("%v, %v", msgs, err)
		}
		all[0].Take(msgs[0].Seq)
	}
	if held := n.Held(); held != 0 {
		t.Errorf("%d bytes are in memory", held)
	}
	for _, r := range all {
		r.Close()
	}
}
