package mailbox_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/mailbox"
	"github.com/tipt/tipt-go/store"
)

func TestTakeOutOfOrder(t *testing.T) {
	n := newNode(t, mailbox.Options{}, "phone")
	n.appendAll(t, "1", "2", "3", "4", "5")
	r := n.Open(n.user, "phone", 0, noWake)
	defer r.Close()
	if got := next(t, r, 4, 1<<20); len(got) != 4 {
		t.Fatalf("got %v", got)
	}
	for _, step := range []struct{ take, place int64 }{
		{3, 0},
		{2, 0},
		{2, 0},
		{5, 0}, // was not returned yet
		{1, 3},
		{1, 3},
		{4, 4},
	} {
		r.Take(step.take)
		// Each message for the user takes the place along.
		n.append(t, mailbox.Message{User: n.user, Kind: store.KindReturn})
		if got := n.place(t, "phone"); got != step.place {
			t.Errorf("after message %d is taken the place is %d, want %d", step.take, got, step.place)
		}
	}
}

// TestFullMailboxWithTakenMessages has what is taken make room at once, before its place
// is on the disk.
func TestFullMailboxWithTakenMessages(t *testing.T) {
	n := newNode(t, mailbox.Options{MaxCount: 3}, "phone", "laptop")
	n.appendAll(t, "1", "2", "3")
	r := n.Open(n.user, "phone", 0, noWake)
	defer r.Close()
	wantNext(t, "all", r, "1", "2", "3")
	if got := n.append(t, n.message("4")); got != store.Full {
		t.Errorf("nothing is taken: outcome %d, want Full", got)
	}
	r.Take(1)
	if got := n.append(t, n.message("4")); got != store.Stored {
		t.Errorf("one is taken: outcome %d, want Stored", got)
	}
	if got := n.append(t, n.message("5")); got != store.Full {
		t.Errorf("its room is used: outcome %d, want Full", got)
	}
}

func TestCloseStoresThePlace(t *testing.T) {
	n := newNode(t, mailbox.Options{}, "phone")
	n.appendAll(t, "1", "2")
	r := n.Open(n.user, "phone", 0, noWake)
	wantNext(t, "both", r, "1", "2")
	r.Take(1)
	r.Close()
	r.Take(2) // has no effect any more
	again := &store.SignIn{User: n.user, Device: "phone", Receive: true, MaxDevices: tipt.MaxDevices}
	n.do(t, again)
	if again.Place != 1 {
		t.Fatalf("signed in again at place %d, want 1", again.Place)
	}
	r = n.Open(n.user, "phone", again.Place, noWake)
	wantNext(t, "what was not taken", r, "2")
	r.Close()
}

// A hookContext tells when it is asked whether it has ended.
type hookContext struct {
	context.Context
	asked func()
}

func (c hookContext) Err() error {
	c.asked()
	return c.Context.Err()
}

// TestCloseWhileThePlaceIsOnItsWay closes a reader whose place an append has taken along
// but not submitted yet.
func TestCloseWhileThePlaceIsOnItsWay(t *testing.T) {
	n := newNode(t, mailbox.Options{}, "phone")
	n.appendAll(t, "1", "2")
	r := n.Open(n.user, "phone", 0, noWake)
	wantNext(t, "both", r, "1", "2")
	r.Take(1)
	in := &store.SignIn{User: n.user, Device: "phone", Receive: true, MaxDevices: tipt.MaxDevices}
	closing := sync.OnceFunc(func() {
		r.Close()
		n.do(t, in)
	})
	if _, err := n.tryAppend(hookContext{t.Context(), closing}, n.message("3")); err != nil {
		t.Fatal(err)
	}
	if in.Place != 1 {
		t.Errorf("signed in again at place %d, want 1", in.Place)
	}
}

// TestReplacedReader opens a reader of a device before the older one is closed, as a
// second connection of the device does.
func TestReplacedReader(t *testing.T) {
	n := newNode(t, mailbox.Options{}, "phone", "laptop")
	n.appendAll(t, "1", "2", "3")
	laptop := n.Open(n.user, "laptop", 0, noWake)
	defer laptop.Close()
	wantNext(t, "laptop", laptop, "1", "2", "3")
	for seq := range int64(3) {
		laptop.Take(seq + 1)
	}
	older := n.Open(n.user, "phone", 0, noWake)
	wantNext(t, "older", older, "1", "2", "3")
	older.Take(1)
	newer := n.Open(n.user, "phone", 0, noWake)
	defer newer.Close()
	older.Close()
	wantNext(t, "newer", newer, "2", "3")
}

// TestPlacesSurviveFailures has commits fail that places ride along with.
func TestPlacesSurviveFailures(t *testing.T) {
	n := newNode(t, mailbox.Options{}, "phone")
	n.appendAll(t, "1", "2")
	r := n.Open(n.user, "phone", 0, noWake)
	defer r.Close()
	wantNext(t, "both", r, "1", "2")
	r.Take(1)
	full := true
	n.store.commit = func(batch []store.Op, commit func() error) error {
		if full {
			return store.ErrDiskFull
		}
		return commit()
	}
	if _, err := n.tryAppend(t.Context(), n.message("3")); !errors.Is(err, store.ErrDiskFull) {
		t.Fatalf("append: %v, want ErrDiskFull", err)
	}
	if got := n.place(t, "phone"); got != 0 {
		t.Fatalf("place %d, want 0", got)
	}
	full = false
	n.appendAll(t, "3")
	if got := n.place(t, "phone"); got != 1 {
		t.Errorf("place %d, want 1", got)
	}
}

// TestPlaceIsStoredOnce has places that did not move not written again.
func TestPlaceIsStoredOnce(t *testing.T) {
	n := newNode(t, mailbox.Options{}, "phone")
	n.appendAll(t, "1", "2")
	r := n.Open(n.user, "phone", 0, noWake)
	defer r.Close()
	wantNext(t, "both", r, "1", "2")
	takes := 0
	n.store.commit = func(batch []store.Op, commit func() error) error {
		for _, op := range batch {
			if _, ok := op.(*store.Take); ok {
				takes++
			}
		}
		return commit()
	}
	r.Take(1)
	r.Take(2)
	n.appendAll(t, "3", "4")
	if takes != 1 {
		t.Errorf("the place was stored %d times, want once", takes)
	}
}
