package account

import (
	"container/list"
	"context"
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"

	"github.com/tipt/tipt-go"
)

const (
	// After this many wrong passwords for a name from one network the next one must wait.
	freeFailures = 5
	// The first wait; each further wrong password doubles it.
	minThrottleWait = time.Second
	maxThrottleWait = 15 * time.Minute
	// From here on the wait is the longest. More failures are not counted.
	maxFailures = 15
	// For each such time without a wrong password one is forgotten. It is longer than
	// any wait, so that waiting for the end of one does not shorten the next.
	forgetTime = time.Hour

	// Names and networks that are counted at once. An entry takes about 200 bytes.
	maxThrottled = 1 << 16
)

// A throttleKey is a name and a network: the first half of SHA-256, so that a key has
// one size whatever a peer gives for a name.
type throttleKey [16]byte

// newThrottleKey takes a name in its mapped form, or as it came where it has none, and
// an address, which stands for its /24 or /64.
func newThrottleKey(name string, from netip.Addr) throttleKey {
	from = from.Unmap()
	bits := 64
	if from.Is4() {
		bits = 24
	}
	// The zero Addr has no network; all such callers are one.
	network, _ := from.Prefix(bits)
	sum := sha256.Sum256([]byte(network.String() + " " + name))
	return throttleKey(sum[:])
}

// A throttle makes those wait who try passwords. A nil one never does.
//
// What it counts is bounded, and a peer can neither make it grow nor have
// it forget: each entry costs a wrong password, hence a hash, and where there is no room
// the one with the fewest failures goes, of several the one that failed longest
// ago. To flush a counter of k failures takes as many other counters of k
// failures as there is room for.
type throttle struct {
	max int // entries with failures

	mu      sync.Mutex // guards the following fields, with the fields of each entry
	entries map[throttleKey]*throttleEntry
	// Those entries that no attempt is under way for, by failures, the one that failed
	// longest ago in front.
	settled [maxFailures + 1]list.List
	size    int // of all lists of settled
}

type throttleEntry struct {
	key      throttleKey
	failures int           // as of the time last
	last     time.Time     // of the last failure
	attempts int           // under way
	done     chan struct{} // closed when one of attempts ends; nil when nobody waits for it
	place    *list.Element // in settled, nil while attempts is not 0
}

// An attempt is a password that is being verified. Either fail or succeed must be called,
// once. A nil one counts nothing.
type attempt struct {
	throttle *throttle
	entry    *throttleEntry
}

func newThrottle(max int) *throttle {
	return &throttle{max: max, entries: make(map[throttleKey]*throttleEntry)}
}

// failuresAt returns the failures that are not forgotten.
func (e *throttleEntry) failuresAt(now time.Time) int {
	return max(0, e.failures-int(now.Sub(e.last)/forgetTime))
}

// waitAt returns how long the next attempt must wait.
func (e *throttleEntry) waitAt(now time.Time) time.Duration {
	failures := e.failuresAt(now)
	if failures < freeFailures {
		return 0
	}
	wait := min(minThrottleWait<<(failures-freeFailures), maxThrottleWait)
	return max(0, e.last.Add(wait).Sub(now))
}

// wait returns how long the next attempt must wait, 0 when it may begin.
func (t *throttle) wait(key throttleKey) time.Duration {
	if t == nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entries[key]
	if e == nil {
		return 0
	}
	return e.waitAt(time.Now())
}

// begin enters an attempt, or returns how long it must wait. Attempts at once
// are worth no more than one after the other: where their failure would make this
// one wait, begin waits for their end.
func (t *throttle) begin(ctx context.Context, key throttleKey) (*attempt, time.Duration, error) {
	if t == nil {
		return nil, 0, nil
	}
	for {
		t.mu.Lock()
		now := time.Now()
		e := t.entries[key]
		if e == nil {
			e = &throttleEntry{key: key, last: now}
			t.entries[key] = e
		}
		if wait := e.waitAt(now); wait > 0 {
			t.mu.Unlock()
			return nil, wait, nil
		}
		if e.attempts == 0 || e.failuresAt(now)+e.attempts < freeFailures {
			t.unsettleLocked(e)
			e.attempts++
			t.mu.Unlock()
			return &attempt{t, e}, 0, nil
		}
		if e.done == nil {
			e.done = make(chan struct{})
		}
		done := e.done
		t.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

// fail counts a wrong password and returns how many there were.
func (a *attempt) fail() int {
	if a == nil {
		return 0
	}
	a.throttle.mu.Lock()
	defer a.throttle.mu.Unlock()
	now := time.Now()
	a.entry.failures = min(a.entry.failuresAt(now)+1, maxFailures)
	a.entry.last = now
	a.throttle.endLocked(a.entry)
	return a.entry.failures
}

// succeed forgets all wrong passwords.
func (a *attempt) succeed() {
	if a == nil {
		return
	}
	a.throttle.mu.Lock()
	defer a.throttle.mu.Unlock()
	a.entry.failures = 0
	a.throttle.endLocked(a.entry)
}

func (t *throttle) endLocked(e *throttleEntry) {
	e.attempts--
	if e.done != nil {
		close(e.done)
		e.done = nil
	}
	switch {
	case e.attempts > 0:
	case e.failures == 0:
		delete(t.entries, e.key)
	default:
		t.settleLocked(e)
	}
}

// settleLocked puts an entry that no attempt is under way for into its list and
// keeps the bound.
func (t *throttle) settleLocked(e *throttleEntry) {
	now := time.Now()
	for t.size > 0 {
		least := t.leastLocked(now)
		if t.size < t.max && least.failuresAt(now) > 0 {
			break
		}
		t.unsettleLocked(least)
		delete(t.entries, least.key)
	}
	e.place = t.settled[e.failures].PushBack(e)
	t.size++
}

func (t *throttle) unsettleLocked(e *throttleEntry) {
	if e.place == nil {
		return
	}
	t.settled[e.failures].Remove(e.place)
	e.place = nil
	t.size--
}

// leastLocked returns the settled entry with the fewest failures that are not forgotten,
// of several the one that failed longest ago. There must be one.
func (t *throttle) leastLocked(now time.Time) *throttleEntry {
	var least *throttleEntry
	for i := range t.settled {
		front := t.settled[i].Front()
		if front == nil {
			continue
		}
		// Of its list it failed longest ago, so it has the fewest left, too.
		e := front.Value.(*throttleEntry)
		if least == nil {
			least = e
			continue
		}
		switch a, b := e.failuresAt(now), least.failuresAt(now); {
		case a < b, a == b && e.last.Before(least.last):
			least = e
		}
	}
	return least
}

func throttled(wait time.Duration) error {
	return &tipt.Error{Code: tipt.ErrBusy, Message: "too many wrong passwords", Wait: wait}
}
