package mailbox_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/mailbox"
	"github.com/tipt/tipt-go/store"
)

// run has Run go on until stop, which returns its error.
func (n *node) run(t testing.TB) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- n.Run(ctx) }()
	once := sync.OnceValue(func() error {
		cancel()
		return <-ran
	})
	t.Cleanup(func() { _ = once() })
	return once
}

func TestRunStoresPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, mailbox.Options{}, "phone")
		n.appendAll(t, "1", "2", "3", "4")
		r := n.Open(n.user, "phone", 0, noWake)
		defer r.Close()
		wantNext(t, "all", r, "1", "2", "3", "4")
		stop := n.run(t)
		synctest.Wait()
		for seq := range int64(3) {
			r.Take(seq + 1)
			if got := n.place(t, "phone"); got != seq {
				t.Errorf("at once the place is %d, want %d", got, seq)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if got := n.place(t, "phone"); got != seq+1 {
				t.Errorf("a second later the place is %d, want %d", got, seq+1)
			}
		}
		r.Take(4)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if got := n.place(t, "phone"); got != 4 {
			t.Errorf("after Run the place is %d, want 4", got)
		}
	})
}

func TestRunRetriesPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		n := newNode(t, mailbox.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}, "phone")
		n.appendAll(t, "1")
		r := n.Open(n.user, "phone", 0, noWake)
		defer r.Close()
		wantNext(t, "all", r, "1")
		var failures atomic.Int64
		n.store.commit = func(batch []store.Op, commit func() error) error {
			if _, ok := batch[0].(*store.Take); ok && failures.Add(1) <= 3 {
				return store.ErrDiskFull
			}
			return commit()
		}
		stop := n.run(t)
		synctest.Wait() // what Run does at once is done: the place goes alone
		r.Take(1)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := n.place(t, "phone"); got != 1 || failures.Load() != 4 {
			t.Errorf("place %d, want 1, tried %d times, want 4", got, failures.Load())
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if got := strings.Count(log.String(), store.ErrDiskFull.Error()); got != 3 {
			t.Errorf("logged %d failures, want 3: %s", got, &log)
		}
	})
}

// TestReadersLookAgain has readers find a message that nobody told them of.
func TestReadersLookAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, mailbox.Options{}, "phone")
		n.run(t)
		for i := range 120 { // so that each shard has a reader
			r := n.Open(n.user+store.UserID(i), "phone", 0, noWake)
			defer r.Close()
			wantNext(t, "empty", r)
		}
		wakes := make(chan struct{}, 10)
		r := n.Open(n.user, "laptop", 0, func() { wakes <- struct{}{} })
		defer r.Close()
		wantNext(t, "empty", r)
		time.Sleep(59 * time.Second)
		for len(wakes) > 0 {
			<-wakes
		}
		wantNext(t, "still empty", r)
		n.do(t, &store.Append{User: n.user, ID: tipt.MessageID{1}, Body: []byte("untold")})
		wantNext(t, "not looked yet", r)
		start := time.Now()
		<-wakes
		if took := time.Since(start); took > time.Minute {
			t.Errorf("looked again after %v", took)
		}
		wantNext(t, "looked again", r, "untold")
		// One that is slow and holds what is in memory for it is woken, too.
		n.appendAll(t, "a")
		for len(wakes) > 0 {
			<-wakes
		}
		if n.Held() == 0 {
			t.Error("nothing is in memory")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(wakes) == 0 || n.Held() != 0 {
			t.Errorf("a slow reader was woken %d times and holds %d bytes", len(wakes), n.Held())
		}
		wantNext(t, "a slow reader", r, "a")
	})
}

func TestRunExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		online := func(user store.UserID, device string) bool { return device == "online" }
		n := newNode(t, mailbox.Options{Online: online}, "phone", "online", "offline")
		const day = 24 * time.Hour
		start := time.Now()
		var ops []store.Op
		for i := range 2500 { // more than one step
			ops = append(ops, &store.Append{User: n.user, ID: tipt.MessageID{1, byte(i >> 8), byte(i)}, Time: start.Add(-30*day - time.Minute), Body: []byte("old")})
		}
		n.do(t, ops...)
		n.do(t, &store.Append{User: n.user, ID: tipt.MessageID{2}, Time: start.Add(-30*day + 90*time.Minute), Body: []byte("young")})
		n.do(t, &store.SeeDevice{User: n.user, Device: "phone", Time: start.Add(-90*day + 90*time.Minute)},
			&store.SeeDevice{User: n.user, Device: "online", Time: start.Add(-91 * day)},
			&store.SeeDevice{User: n.user, Device: "offline", Time: start.Add(-91 * day)})
		left := func() (messages int, devices []string) {
			t.Helper()
			msgs, err := n.store.Messages(t.Context(), n.user, 0, 10_000, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			all, err := n.store.Devices(t.Context(), n.user)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range all {
				devices = append(devices, d.Name)
			}
			return len(msgs), devices
		}
		var mu sync.Mutex // guards the following variable
		var expires []store.Expire
		n.store.commit = func(batch []store.Op, commit func() error) error {
			mu.Lock()
			defer mu.Unlock()
			for _, op := range batch {
				if op, ok := op.(*store.Expire); ok {
					expires = append(expires, *op)
				}
			}
			return commit()
		}
		n.run(t)
		time.Sleep(time.Minute)
		synctest.Wait()
		messages, devices := left()
		if messages != 1 {
			t.Errorf("%d messages are left at first, want 1", messages)
		}
		if diff := cmp.Diff([]string{"online", "phone"}, devices); diff != "" {
			t.Errorf("devices at first: %s", diff)
		}
		mu.Lock()
		if len(expires) < 3 {
			t.Errorf("all was removed in %d steps", len(expires))
		}
		for _, op := range expires {
			if got := start.Sub(op.Duplicates); got > 10*day || got < 10*day-time.Minute {
				t.Errorf("ids are kept for %v", got)
			}
		}
		mu.Unlock()
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		messages, devices = left()
		if messages != 0 {
			t.Errorf("%d messages are left two hours later", messages)
		}
		if diff := cmp.Diff([]string{"online"}, devices); diff != "" {
			t.Errorf("devices two hours later: %s", diff)
		}
	})
}

// TestRunEndsWithTheStore has the store fail under a place and under an expiry.
func TestRunEndsWithTheStore(t *testing.T) {
	for _, test := range []struct {
		name  string
		fails func(store.Op) bool
	}{
		{"place", func(op store.Op) bool { _, ok := op.(*store.Take); return ok }},
		{"expiry", func(op store.Op) bool { _, ok := op.(*store.Expire); return ok }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t, mailbox.Options{}, "phone")
				n.appendAll(t, "1")
				r := n.Open(n.user, "phone", 0, noWake)
				defer r.Close()
				wantNext(t, "all", r, "1")
				n.store.commit = func(batch []store.Op, commit func() error) error {
					for _, op := range batch {
						if test.fails(op) {
							return errBroken
						}
					}
					return commit()
				}
				r.Take(1)
				if err := n.Run(t.Context()); !errors.Is(err, store.ErrFailed) {
					t.Errorf("Run: %v, want ErrFailed", err)
				}
			})
		})
	}
}
