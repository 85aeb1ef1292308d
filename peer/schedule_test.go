package peer

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
)

// TestManyUsers has more users than may send to a node at once: none waits for all the
// messages of another.
func TestManyUsers(t *testing.T) {
	for _, each := range []int{1, 5} {
		t.Run(fmt.Sprint(each), func(t *testing.T) {
			testOutbox(t, func(t *office) { manyUsers(t, each) })
		})
	}
}

func manyUsers(t *office, each int) {
	const users = 100
	// All are there before the first is sent.
	t.add("u0", other, "0")
	if err := t.Hold(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < users; i++ {
		for k := range each {
			t.add(tipt.UserName(fmt.Sprint("u", i)), other, fmt.Sprint(k))
		}
	}
	time.Sleep(time.Second)
	heard := make(map[tipt.UserName]bool)
	for _, c := range t.took() { // u0's may have gone before the hold
		heard[c.from] = true
	}
	if err := t.Retry(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Minute)
	for i, c := range t.took() {
		if c.text == "0" {
			heard[c.from] = true
			if i >= users+maxSending {
				t.Errorf("the first message of %s was number %d", c.from, i)
			}
		}
	}
	if len(heard) != users || t.most[string(other)] != maxSending {
		t.Errorf("%d users, %d at once", len(heard), t.most[string(other)])
	}
	t.wantEmpty("all delivered")
}

// TestNobodyIsDelayed has a node that is down, one that hangs, and users whose messages
// always fail.
func TestNobodyIsDelayed(t *testing.T) {
	testOutbox(t, func(t *office) {
		t.answers(func(ctx context.Context, c call) (Answer, error) {
			switch {
			case c.node == "down.example":
				if err := sleep(ctx, connectTimeout); err != nil {
					return Answer{}, &Failure{Destination: true, Err: err}
				}
				return Answer{}, down()
			case c.node == "hangs.example":
				_ = sleep(ctx, tipt.ForwardTimeout)
				return Answer{}, noAnswer()
			case c.text == "bad":
				return Answer{}, status(500)
			}
			return stored(ctx)
		})
		for i := range 100 {
			user := tipt.UserName(fmt.Sprint("u", i))
			t.add(user, "down.example", "x")
			t.add(user, "hangs.example", "x")
			t.add(user, other, "bad", "behind the bad one")
		}
		t.took()
		for minute := range 10 {
			for _, node := range []tipt.NodeName{other, third} {
				began := time.Since(t.began)
				t.add("alice", node, "good")
				time.Sleep(time.Second)
				i := slices.IndexFunc(t.took(), func(c call) bool { return c.from == "alice" && c.after == began })
				if i < 0 {
					t.Errorf("minute %d: the message to %s was not sent at once", minute, node)
				}
			}
			time.Sleep(time.Minute)
			for _, c := range t.took() {
				if c.text == "behind the bad one" {
					t.Fatal("order is lost")
				}
			}
		}
	})
}

// TestManyDestinations has ten thousand nodes that are down: what is done for them at
// once is bounded, and one that is well is not delayed.
func TestManyDestinations(t *testing.T) {
	testOutbox(t, func(t *office) {
		t.answers(func(ctx context.Context, c call) (Answer, error) {
			if c.node == other {
				return stored(ctx)
			}
			if err := sleep(ctx, connectTimeout); err != nil {
				return Answer{}, &Failure{Destination: true, Err: err}
			}
			return Answer{}, down()
		})
		before := runtime.NumGoroutine()
		const nodes = 10_000
		var adding sync.WaitGroup
		for i := range nodes {
			adding.Add(1)
			e := t.entry("alice", tipt.NodeName(fmt.Sprintf("n%d.example", i)), "x")
			if err := t.Add(t.Context(), e, func(err error) {
				if err != nil {
					t.Error(err)
				}
				adding.Done()
			}); err != nil {
				t.Fatal(err)
			}
		}
		adding.Wait()
		tried := make(map[tipt.NodeName]int)
		for range 12 {
			time.Sleep(10 * time.Second)
			for _, c := range t.took() {
				tried[c.node]++
			}
			if n := runtime.NumGoroutine() - before; n > maxTrying+maxFailing+10 {
				t.Fatalf("%d goroutines", n)
			}
		}
		if len(tried) != nodes || t.most[""] > maxTrying+maxFailing {
			t.Errorf("%d nodes were tried, %d at once", len(tried), t.most[""])
		}
		// All of them again, after a restart.
		t.stop()
		time.Sleep(maxPause)
		t.start()
		began := time.Since(t.began)
		t.took()
		t.add("alice", other, "good")
		calls := t.took()
		if i := slices.IndexFunc(calls, func(c call) bool { return c.node == other }); i < 0 || calls[i].after != began {
			t.Error("one that is well waited for others")
		}
		if n := runtime.NumGoroutine() - before; n > maxTrying+maxFailing+10 {
			t.Errorf("%d goroutines", n)
		}
		if len(t.List()) != nodes+1 {
			t.Errorf("%d are listed", len(t.List()))
		}
	})
}

// TestBytesOnTheirWay has large messages.
func TestBytesOnTheirWay(t *testing.T) {
	testOutbox(t, func(t *office) {
		t.Outbox.mu.Lock()
		t.trying.bytes = 10_000
		t.Outbox.mu.Unlock()
		text := string(make([]byte, 1000))
		t.answers(func(ctx context.Context, _ call) (Answer, error) {
			_ = sleep(ctx, time.Second)
			return Answer{Delivered: true}, nil
		})
		for i := range 50 {
			t.add(tipt.UserName(fmt.Sprint("u", i)), tipt.NodeName(fmt.Sprintf("n%d.example", i)), text, text)
		}
		time.Sleep(time.Minute)
		if n := len(t.took()); n != 100 || t.most[""] > 10 || t.most[""] < 9 {
			t.Errorf("%d messages, %d at once", n, t.most[""])
		}
		t.Outbox.mu.Lock()
		t.trying.bytes += maxTryingBytes - 10_000
		t.Outbox.mu.Unlock()
		t.wantEmpty("all delivered")
	})
}

// occupy has the outbox send one message at a time, to all nodes, and that one to a
// node that takes its time: until release is called, all others wait in the pool.
func (t *office) occupy() (release func()) {
	t.Outbox.mu.Lock()
	t.trying.places = 1
	t.Outbox.mu.Unlock()
	busy := make(chan struct{})
	t.answers(func(ctx context.Context, c call) (Answer, error) {
		if c.node == "busy.example" {
			<-busy
		}
		return stored(ctx)
	})
	t.add("zoe", "busy.example", "busy")
	t.took()
	return func() { close(busy); time.Sleep(time.Second) }
}

func (t *office) release() {
	t.Outbox.mu.Lock()
	defer t.Outbox.mu.Unlock()
	t.trying.places += maxTrying - 1
}

// TestWaitInPool has messages wait for others to be sent, while their node is held, or they
// are dropped.
func TestWaitInPool(t *testing.T) {
	testOutbox(t, func(t *office) {
		free := t.occupy()
		t.add("alice", other, "1", "2")
		t.add("bob", other, "1")
		t.add("alice", third, "1")
		if err := t.Hold(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		t.check()
		if n, err := t.Drop(t.Context(), third); n != 1 || err != nil {
			t.Errorf("dropped %d, %v", n, err)
		}
		t.check()
		// One of several comes back because it is too old.
		old := t.entry("carol", other, "old")
		old.Created = old.Created.Add(-tipt.OutboxRetention)
		if err := t.addEntry(old); err != nil {
			t.Fatal(err)
		}
		if err := t.Retry(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lookPause)
		t.check()
		t.wantReturns("too old", "carol", tipt.ErrNodeUnreachable)
		if err := t.Hold(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		free()
		t.wantTexts("held or dropped")
		if n, err := t.Drop(t.Context(), other); n != 3 || err != nil {
			t.Errorf("dropped %d, %v", n, err)
		}
		if err := t.Retry(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		t.add("alice", other, "3")
		time.Sleep(time.Second)
		t.wantTexts("all that is left", "3")
		t.release()
		t.wantEmpty("all that is left")
	})
}

// TestForgottenQueue has somebody want to take a queue that is gone: there may be another of the
// same user by now.
func TestForgottenQueue(t *testing.T) {
	testOutbox(t, func(t *office) {
		t.Outbox.mu.Lock()
		q := t.queueLocked(other, t.user("alice"))
		t.forgetLocked(q)
		if t.takeLocked(q) {
			t.Error("took it")
		}
		t.Outbox.mu.Unlock()
		t.wantEmpty("nothing was there")
	})
}
