// Package storetest is the suite that every [store.Store] must pass: each
// operation and its refusals, batches, what a reopened store still has, and what
// one has whose process was killed.
package storetest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
)

// Open opens the store in dir, which is its own and lasts for the test. It
// may be opened again after Close.
type Open func(t *testing.T, dir string) store.Store

// Test runs the suite. It starts the test binary again, to kill it, so t
// must be a test of the top level that calls Test in any case.
func Test(t *testing.T, open Open) {
	for _, tt := range []struct {
		name string
		run  func(f *fixture)
	}{
		{"CreateUser", testCreateUser},
		{"Invites", testInvites},
		{"Users", testUsers},
		{"ChangeUser", testChangeUser},
		{"DeleteUser", testDeleteUser},
		{"SignIn", testSignIn},
		{"FirstPlace", testFirstPlace},
		{"Tokens", testTokens},
		{"DropDevices", testDropDevices},
		{"RemoveDevice", testRemoveDevice},
		{"Append", testAppend},
		{"Bodies", testBodies},
		{"Messages", testMessages},
		{"Duplicates", testDuplicates},
		{"DuplicateFirst", testDuplicateFirst},
		{"Take", testTake},
		{"SeqNeverReused", testSeqNeverReused},
		{"QuotaCount", testQuotaCount},
		{"QuotaBytes", testQuotaBytes},
		{"QuotaReturns", testQuotaReturns},
		{"ExpireMessages", testExpireMessages},
		{"ExpireDuplicates", testExpireDuplicates},
		{"ExpireDevices", testExpireDevices},
		{"ExpireDeleted", testExpireDeleted},
		{"Outbox", testOutbox},
		{"OutboxRefs", testOutboxRefs},
		{"NodePauses", testNodePauses},
		{"OutboxReturn", testOutboxReturn},
		{"Batch", testBatch},
		{"Reopen", testReopen},
		{"Closed", testClosed},
		{"Concurrent", testConcurrent},
		{"Model", testModel},
		{"Crash", testCrash},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fixture{T: t, open: open, dir: filepath.Join(t.TempDir(), "store"), now: time.UnixMilli(1_700_000_000_000).UTC()}
			t.Cleanup(f.close)
			tt.run(f)
		})
	}
}

// A fixture is a test with a store of its own.
type fixture struct {
	*testing.T
	open Open
	dir  string
	s    store.Store // nil until first used
	now  time.Time
	made int // messages
}

func (f *fixture) store() store.Store {
	f.Helper()
	if f.s == nil {
		f.s = f.open(f.T, f.dir)
	}
	return f.s
}

func (f *fixture) close() {
	if f.s == nil {
		return
	}
	if err := f.s.Close(); err != nil {
		f.Errorf("closing the store: %v", err)
	}
	f.s = nil
}

func (f *fixture) commit(ops ...store.Op) {
	f.Helper()
	if err := f.store().Commit(f.Context(), ops); err != nil {
		f.Fatalf("commit: %v", err)
	}
}

func (f *fixture) user(name string) store.UserID {
	f.Helper()
	o := &store.CreateUser{Name: tipt.UserName(name), Password: "hash of " + name, Time: f.now}
	f.commit(o)
	if o.ID == 0 {
		f.Fatalf("user %s was not made: %+v", name, o)
	}
	return o.ID
}

// signIn signs a device in to receive.
func (f *fixture) signIn(user store.UserID, device string) *store.SignIn {
	f.Helper()
	o := &store.SignIn{User: user, Device: device, Receive: true, Time: f.now, MaxDevices: tipt.MaxDevices}
	f.commit(o)
	return o
}

// message makes an Append of a message like no other.
func (f *fixture) message(user store.UserID) *store.Append {
	f.made++
	return &store.Append{User: user, From: "bob@example.org", ID: id(f.made), Time: f.now, Body: fmt.Appendf(nil, "message %d", f.made)}
}

func (f *fixture) append(user store.UserID) *store.Append {
	f.Helper()
	o := f.message(user)
	f.commit(o)
	if o.Outcome != store.Stored {
		f.Fatalf("message got outcome %d", o.Outcome)
	}
	return o
}

func (f *fixture) take(user store.UserID, device string, seq int64) {
	f.Helper()
	f.commit(&store.Take{User: user, Device: device, Seq: seq})
}

func (f *fixture) messages(user store.UserID, after int64) []store.Message {
	f.Helper()
	m, err := f.store().Messages(f.Context(), user, after, 1<<20, 1<<30)
	if err != nil {
		f.Fatalf("messages: %v", err)
	}
	return m
}

// wantSeqs checks what a mailbox holds.
func (f *fixture) wantSeqs(why string, user store.UserID, want ...int64) {
	f.Helper()
	var got []int64
	for _, m := range f.messages(user, 0) {
		got = append(got, m.Seq)
	}
	f.want(why, got, want)
}

func (f *fixture) device(user store.UserID, name string) store.Device {
	f.Helper()
	d, err := f.store().Device(f.Context(), user, name)
	if err != nil {
		f.Fatalf("device %s: %v", name, err)
	}
	return d
}

// wantDevices checks the names of a user's devices.
func (f *fixture) wantDevices(why string, user store.UserID, want ...string) {
	f.Helper()
	devices, err := f.store().Devices(f.Context(), user)
	if err != nil {
		f.Fatalf("devices: %v", err)
	}
	var got []string
	for _, d := range devices {
		got = append(got, d.Name)
	}
	f.want(why, got, want)
}

// expire runs a whole round and returns how many operations it took.
func (f *fixture) expire(o store.Expire) (rounds int) {
	f.Helper()
	if o.Limit == 0 {
		o.Limit = 100
	}
	for {
		if rounds++; rounds > 10_000 {
			f.Fatal("expire does not end")
		}
		f.commit(&o)
		if !o.More {
			return rounds
		}
	}
}

func (f *fixture) want(why string, got, want any) {
	f.Helper()
	// cmp is very slow with long bodies.
	body := cmp.FilterValues(func(a, b []byte) bool { return len(a)+len(b) > 0 }, cmp.Comparer(bytes.Equal))
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), body); d != "" {
		f.Errorf("%s (-want +got):\n%s", why, d)
	}
}

// reopen closes the store and opens it again.
func (f *fixture) reopen() {
	f.Helper()
	f.close()
	f.store()
}

// id is a message's id made from a number.
func id(n int) tipt.MessageID {
	var id tipt.MessageID
	binary.BigEndian.PutUint64(id[:], uint64(n))
	return id
}

// body is size bytes that differ with n.
func body(n, size int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%d,", n), size/2+1)[:size]
}

// seedVar names the variable that repeats a random test.
const seedVar = "TIPT_STORETEST_SEED"

// seed is random unless seedVar is set. It is printed when the test fails.
func (f *fixture) seed() uint64 {
	f.Helper()
	seed := rand.Uint64()
	if v := os.Getenv(seedVar); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			f.Fatalf("%s: %v", seedVar, err)
		}
		seed = n
	}
	f.Logf("%s=%d", seedVar, seed)
	return seed
}
