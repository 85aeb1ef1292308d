package account

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
)

var home = netip.MustParseAddr("192.0.2.7")

// try makes an attempt that must not have to wait.
func try(t *testing.T, th *throttle, key throttleKey) *attempt {
	t.Helper()
	a, wait, err := th.begin(t.Context(), key)
	if err != nil || wait != 0 {
		t.Fatalf("begin: must wait %v, %v", wait, err)
	}
	return a
}

// failTimes makes attempts that fail, each as soon as it may.
func failTimes(t *testing.T, th *throttle, key throttleKey, n int) {
	t.Helper()
	for range n {
		time.Sleep(th.wait(key))
		try(t, th, key).fail()
	}
}

func TestThrottleKey(t *testing.T) {
	for _, test := range []struct {
		name, from         string
		otherName, another string
		same               bool
	}{
		{"alice", "192.0.2.1", "alice", "192.0.2.255", true},
		{"alice", "192.0.2.1", "alice", "192.0.3.1", false},
		{"alice", "192.0.2.1", "alice", "::ffff:192.0.2.9", true},
		{"alice", "192.0.2.1", "bob", "192.0.2.1", false},
		{"alice", "2001:db8:0:1::1", "alice", "2001:db8:0:1:ffff::9", true},
		{"alice", "2001:db8:0:1::1", "alice", "2001:db8:0:2::1", false},
		{"alice", "fe80::1%eth0", "alice", "fe80::2%eth1", true},
	} {
		a := newThrottleKey(test.name, netip.MustParseAddr(test.from))
		b := newThrottleKey(test.otherName, netip.MustParseAddr(test.another))
		if (a == b) != test.same {
			t.Errorf("%s from %s and %s from %s: same %v, want %v", test.name, test.from, test.otherName, test.another, a == b, test.same)
		}
	}
	if newThrottleKey("alice", netip.Addr{}) == newThrottleKey("bob", netip.Addr{}) {
		t.Error("without an address two names are one")
	}
}

func TestThrottleWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(10)
		key := newThrottleKey("alice", home)
		for i, want := range []time.Duration{
			0, 0, 0, 0, 0, // before the first five
			time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second,
			32 * time.Second, 64 * time.Second, 128 * time.Second, 256 * time.Second, 512 * time.Second,
			15 * time.Minute, 15 * time.Minute, 15 * time.Minute,
		} {
			if got := th.wait(key); got != want {
				t.Errorf("after %d failures the wait is %v, want %v", i, got, want)
			}
			if want > 0 {
				time.Sleep(want - time.Nanosecond)
				if _, got, err := th.begin(t.Context(), key); got != time.Nanosecond || err != nil {
					t.Errorf("after %d failures, just before the end of the wait: %v, %v", i, got, err)
				}
				time.Sleep(time.Nanosecond)
			}
			try(t, th, key).fail()
		}
		if wait := th.wait(newThrottleKey("bob", home)); wait != 0 {
			t.Errorf("another name waits %v", wait)
		}
		if wait := th.wait(newThrottleKey("alice", netip.MustParseAddr("198.51.100.1"))); wait != 0 {
			t.Errorf("another network waits %v", wait)
		}
	})
}

func TestThrottleForgets(t *testing.T) {
	for _, test := range []struct {
		name     string
		failures int
		quiet    time.Duration
		left     int
	}{
		{"nothing within the hour", 4, time.Hour - 1, 4},
		{"one each hour", 4, time.Hour, 3},
		{"two after two", 7, 2 * time.Hour, 5},
		{"all", 5, 5 * time.Hour, 0},
		{"not more than all", 5, 500 * time.Hour, 0},
		{"what is above the longest wait was not counted", 40, 15 * time.Hour, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				th := newThrottle(10)
				key := newThrottleKey("alice", home)
				failTimes(t, th, key, test.failures)
				time.Sleep(test.quiet)
				if got := try(t, th, key).fail() - 1; got != test.left {
					t.Errorf("%d failures are left, want %d", got, test.left)
				}
			})
		})
	}
}

func TestThrottleSuccessForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(10)
		key := newThrottleKey("alice", home)
		failTimes(t, th, key, 9)
		time.Sleep(th.wait(key))
		try(t, th, key).succeed()
		if len(th.entries) != 0 || th.size != 0 {
			t.Errorf("%d entries are left, %d settled", len(th.entries), th.size)
		}
		failTimes(t, th, key, 4)
		if wait := th.wait(key); wait != 0 {
			t.Errorf("four failures after a success wait %v", wait)
		}
	})
}

func TestThrottleDropsWhatIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(1000)
		for i := range 100 {
			failTimes(t, th, newThrottleKey(fmt.Sprint("name", i), home), 1+i%4)
		}
		for hours, want := range []int{100, 75, 50, 25, 0} {
			if hours > 0 {
				time.Sleep(time.Hour)
			}
			// One that is dropped at once, too.
			failTimes(t, th, newThrottleKey("alice", home), 1)
			try(t, th, newThrottleKey("alice", home)).succeed()
			if len(th.entries) != want || th.size != want {
				t.Errorf("after %d hours there are %d entries, %d settled, want %d", hours, len(th.entries), th.size, want)
			}
		}
	})
}

// TestThrottledDoNotQueue has one that must wait anyway learn of it although all
// processors are busy.
func TestThrottledDoNotQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := New(nil, nil, Options{})
		failTimes(t, a.throttle, newThrottleKey("alice", home), freeFailures)
		for range cap(a.hasher.slots) {
			if _, err := a.hasher.acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		err := a.verifyPassword(t.Context(), store.User{}, false, "alice", home, "wrong")
		if !errors.Is(err, tipt.ErrBusy) {
			t.Errorf("verifyPassword: %v, want BUSY", err)
		}
	})
}

func TestThrottleAtOnce(t *testing.T) {
	// run has 50 try at the same time and returns how many were verified and had to wait.
	run := func(t *testing.T, th *throttle, end func(*attempt)) (verified, refused int) {
		key := newThrottleKey("alice", home)
		var mu sync.Mutex
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				a, wait, err := th.begin(t.Context(), key)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if wait > 0 {
					refused++
					return
				}
				verified++
				all.Go(func() {
					time.Sleep(30 * time.Millisecond) // a hash
					end(a)
				})
			})
		}
		all.Wait()
		return verified, refused
	}
	t.Run("wrong passwords", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			th := newThrottle(10)
			for _, want := range []int{5, 1, 1, 1} { // the first five, then one after each wait
				verified, refused := run(t, th, func(a *attempt) { a.fail() })
				if verified != want || refused != 50-want {
					t.Errorf("%d were verified and %d refused, want %d to be verified", verified, refused, want)
				}
				time.Sleep(th.wait(newThrottleKey("alice", home)))
			}
		})
	})
	t.Run("right passwords", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			th := newThrottle(10)
			verified, refused := run(t, th, (*attempt).succeed)
			if verified != 50 || refused != 0 {
				t.Errorf("%d were verified and %d refused", verified, refused)
			}
			if len(th.entries) != 0 {
				t.Errorf("%d entries are left", len(th.entries))
			}
		})
	})
	t.Run("caller leaves", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			th := newThrottle(10)
			key := newThrottleKey("alice", home)
			failTimes(t, th, key, 4)
			a := try(t, th, key)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, _, err := th.begin(ctx, key); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("begin: %v", err)
			}
			a.fail()
			if got := th.entries[key]; got.attempts != 0 || got.failures != 5 {
				t.Errorf("%d attempts and %d failures are left", got.attempts, got.failures)
			}
		})
	})
}

func TestThrottleIsNotFlushed(t *testing.T) {
	const room = 100
	for _, test := range []struct {
		name             string
		victim, attacker int // failures
		names            int
		kept             bool
	}{
		{"many names with fewer failures", 7, 6, 20 * room, true},
		{"many names with one", 3, 2, 20 * room, true},
		{"too few names with more", 7, 9, room - 1, true},
		{"as many names with more as there is room for", 7, 9, room, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				th := newThrottle(room)
				victim := newThrottleKey("alice", home)
				failTimes(t, th, victim, test.victim)
				for i := range test.names {
					failTimes(t, th, newThrottleKey(fmt.Sprint("name", i), home), test.attacker)
					if len(th.entries) > room || th.size > room {
						t.Fatalf("%d entries, %d settled", len(th.entries), th.size)
					}
				}
				if kept := th.entries[victim] != nil; kept != test.kept {
					t.Errorf("the victim's failures are kept: %v, want %v", kept, test.kept)
				}
			})
		})
	}
}
