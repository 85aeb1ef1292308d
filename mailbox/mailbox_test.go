package mailbox_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/mailbox"
	"github.com/tipt/tipt-go/store"
	"github.com/tipt/tipt-go/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A spy is a store that counts and tells. Its hooks are set before they are used.
type spy struct {
	store.Store
	reads     atomic.Int64 // of messages
	afterRead func()
	commit    func(batch []store.Op, commit func() error) error
}

func (s *spy) Messages(ctx context.Context, user store.UserID, after int64, limit, maxBytes int) ([]store.Message, error) {
	s.reads.Add(1)
	msgs, err := s.Store.Messages(ctx, user, after, limit, maxBytes)
	if f := s.afterRead; f != nil {
		f()
	}
	return msgs, err
}

func (s *spy) Commit(ctx context.Context, batch []store.Op) error {
	commit := func() error { return s.Store.Commit(ctx, batch) }
	if s.commit != nil {
		return s.commit(batch, commit)
	}
	return commit()
}

// node is the mailboxes of a node over a real store, with a user that has the devices
// phone and laptop.
type node struct {
	*mailbox.Mailboxes
	store     *spy
	committer *store.Committer
	user      store.UserID
	ids       atomic.Uint32
}

func newNode(t testing.TB, o mailbox.Options, devices ...string) *node {
	t.Helper()
	db, err := sqlite.Open(t.TempDir(), sqlite.Options{Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	s := &spy{Store: db}
	c := store.NewCommitter(s, store.CommitterOptions{})
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- c.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ran; err != nil && !errors.Is(err, errBroken) {
			t.Error("committer:", err)
		}
		if err := db.Close(); err != nil {
			t.Error("close the store:", err)
		}
	})
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	n := &node{Mailboxes: mailbox.New(s, c, o), store: s, committer: c}
	n.user = n.newUser(t, "alice", devices...)
	return n
}

var errBroken = fmt.Errorf("broken for this test: %w", store.ErrFailed)

func (n *node) newUser(t testing.TB, name tipt.UserName, devices ...string) store.UserID {
	t.Helper()
	user := &store.CreateUser{Name: name, Password: "-"}
	n.do(t, user)
	for _, device := range devices {
		n.do(t, &store.SignIn{User: user.ID, Device: device, Receive: true, Time: time.Now(), MaxDevices: tipt.MaxDevices})
	}
	return user.ID
}

// do commits operations of which the mailboxes are not told.
func (n *node) do(t testing.TB, ops ...store.Op) {
	t.Helper()
	if err := n.committer.Do(t.Context(), ops...); err != nil {
		t.Fatal(err)
	}
}

// place returns the place of the user's device on the disk.
func (n *node) place(t testing.TB, device string) int64 {
	t.Helper()
	d, err := n.store.Device(t.Context(), n.user, device)
	if err != nil {
		t.Fatal(err)
	}
	return d.Place
}

// message returns a new message for the user.
func (n *node) message(body string) mailbox.Message {
	id := n.ids.Add(1)
	return mailbox.Message{
		User: n.user, From: "bob@node.example",
		ID:   tipt.MessageID{byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)},
		Body: []byte(body),
	}
}

// append appends a message and waits for its outcome.
func (n *node) append(t testing.TB, msg mailbox.Message) store.Outcome {
	t.Helper()
	outcome, err := n.tryAppend(t.Context(), msg)
	if err != nil {
		t.Fatal(err)
	}
	return outcome
}

func (n *node) tryAppend(ctx context.Context, msg mailbox.Message) (store.Outcome, error) {
	type result struct {
		outcome store.Outcome
		err     error
	}
	done := make(chan result, 1)
	if err := n.Append(ctx, msg, func(o store.Outcome, err error) { done <- result{o, err} }); err != nil {
		return 0, err
	}
	r := <-done
	return r.outcome, r.err
}

// appendAll appends messages with these bodies.
func (n *node) appendAll(t testing.TB, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		if outcome := n.append(t, n.message(body)); outcome != store.Stored {
			t.Fatalf("%s: outcome %d", body, outcome)
		}
	}
}

func noWake() {}

// next returns the bodies that Next returns.
func next(t testing.TB, r *mailbox.Reader, limit, maxBytes int) []string {
	t.Helper()
	msgs, err := r.Next(t.Context(), limit, maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	var bodies []string
	for _, msg := range msgs {
		bodies = append(bodies, string(msg.Body))
	}
	return bodies
}

// wantNext fails unless Next returns these bodies.
func wantNext(t testing.TB, what string, r *mailbox.Reader, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, next(t, r, 100, 1<<20)); diff != "" {
		t.Errorf("%s: %s", what, diff)
	}
}

// wantReads fails unless f reads the store that often.
func (n *node) wantReads(t testing.TB, what string, want int64, f func()) {
	t.Helper()
	before := n.store.reads.Load()
	f()
	if got := n.store.reads.Load() - before; got != want {
		t.Errorf("%s: the store was read %d times, want %d", what, got, want)
	}
}

func TestAppendOutcomes(t *testing.T) {
	n := newNode(t, mailbox.Options{MaxCount: 2, MaxBytes: 100})
	first := n.message("first")
	anonymous := first
	anonymous.From = ""
	large := n.message(string(make([]byte, 96)))
	for _, test := range []struct {
		name string
		msg  mailbox.Message
		want store.Outcome
	}{
		{"first", first, store.Stored},
		{"the same again", first, store.Duplicate},
		{"too large", large, store.Full},
		{"from somebody else", anonymous, store.Stored},
		{"one too many", n.message("third"), store.Full},
		{"a duplicate in a full mailbox", first, store.Duplicate},
		{"a RETURN in a full mailbox", mailbox.Message{User: n.user, Kind: store.KindReturn, Body: []byte("return")}, store.Stored},
		{"nobody", mailbox.Message{User: n.user + 1}, store.NoUser},
	} {
		if got := n.append(t, test.msg); got != test.want {
			t.Errorf("%s: outcome %d, want %d", test.name, got, test.want)
		}
	}
}

func TestDefaultQuota(t *testing.T) {
	n := newNode(t, mailbox.Options{})
	n.store.commit = func(batch []store.Op, commit func() error) error {
		op := batch[0].(*store.Append)
		if op.MaxCount != tipt.MaxMailboxCount || op.MaxBytes != tipt.MaxMailboxBytes {
			t.Errorf("the quota is %d messages and %d bytes", op.MaxCount, op.MaxBytes)
		}
		return commit()
	}
	n.append(t, n.message("one"))
}

func TestAppendFails(t *testing.T) {
	n := newNode(t, mailbox.Options{}, "phone")
	r := n.Open(n.user, "phone", 0, noWake)
	defer r.Close()
	wantNext(t, "empty", r)
	n.store.commit = func([]store.Op, func() error) error { return store.ErrDiskFull }
	if _, err := n.tryAppend(t.Context(), n.message("lost")); !errors.Is(err, store.ErrDiskFull) {
		t.Errorf("append: %v, want ErrDiskFull", err)
	}
	wantNext(t, "after a failure", r)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := n.Append(ctx, n.message("never"), func(store.Outcome, error) { t.Error("done was called after an error") })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("append without time: %v", err)
	}
}

func TestAppendKeepsTheOrder(t *testing.T) {
	n := newNode(t, mailbox.Options{}, "phone")
	r := n.Open(n.user, "phone", 0, noWake)
	defer r.Close()
	var want []string
	var done []string // owned by the committer's goroutine until the last is done
	last := make(chan struct{})
	for i := range 300 {
		body := fmt.Sprint(i)
		want = append(want, body)
		if err := n.Append(t.Context(), n.message(body), func(outcome store.Outcome, err error) {
			if outcome != store.Stored || err != nil {
				t.Errorf("%s: outcome %d, %v", body, outcome, err)
			}
			if done = append(done, body); len(done) == 300 {
				close(last)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	<-last
	if diff := cmp.Diff(want, done); diff != "" {
		t.Error("done: ", diff)
	}
	var got []string
	for len(got) < len(want) {
		msgs := next(t, r, 64, 1<<20)
		if msgs == nil {
			t.Fatalf("the mailbox ends after %d", len(got))
		}
		got = append(got, msgs...)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("read: ", diff)
	}
}
