package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
	"github.com/tipt/tipt-go/store/sqlite"
)

// A call is an attempt to forward a message.
type call struct {
	node  tipt.NodeName
	from  tipt.UserName
	text  string
	after time.Duration // since the test began
}

// A testStore is a real store that can be made to fail.
type testStore struct {
	store.Store

	mu     sync.Mutex // guards the following fields
	head   error      // of OutboxHead
	heads  int        // calls of it
	queues error      // of OutboxQueues
	commit func(store.Op) error
}

func (s *testStore) set(f func(*testStore)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func (s *testStore) OutboxHead(ctx context.Context, node tipt.NodeName, user store.UserID) (store.OutboxEntry, error) {
	s.mu.Lock()
	s.heads++
	err := s.head
	s.mu.Unlock()
	if err != nil {
		return store.OutboxEntry{}, err
	}
	return s.Store.OutboxHead(ctx, node, user)
}

func (s *testStore) OutboxQueues(ctx context.Context) ([]store.OutboxQueue, error) {
	s.mu.Lock()
	err := s.queues
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return s.Store.OutboxQueues(ctx)
}

func (s *testStore) Commit(ctx context.Context, batch []store.Op) error {
	s.mu.Lock()
	commit := s.commit
	s.mu.Unlock()
	if commit != nil {
		for _, op := range batch {
			if err := commit(op); err != nil {
				return err
			}
		}
	}
	return s.Store.Commit(ctx, batch)
}

// An office is an outbox over a real store, with the nodes that it forwards to. Its
// time is synctest's.
type office struct {
	*Outbox
	*testing.T
	store     *testStore
	committer *store.Committer
	options   OutboxOptions
	users     map[tipt.UserName]store.UserID
	began     time.Time
	stop      func() // Run
	end       func() // the committer and the store

	mu       sync.Mutex // guards the following fields
	answer   func(context.Context, call) (Answer, error)
	calls    []call
	now      map[string]int // on their way: all, by node, by node and user
	most     map[string]int
	returned []store.UserID
}

// testOutbox runs a test in a bubble with an outbox that runs. Every node takes a
// hundredth of a second to store a message.
func testOutbox(t *testing.T, f func(t *office), configure ...func(*OutboxOptions)) {
	dir := filepath.Join(t.TempDir(), "data")
	synctest.Test(t, func(t *testing.T) {
		s, err := sqlite.Open(dir, sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		o := &office{
			T: t, store: &testStore{Store: s}, began: time.Now(),
			users: make(map[tipt.UserName]store.UserID),
			now:   make(map[string]int), most: make(map[string]int),
		}
		o.committer = store.NewCommitter(o.store, store.CommitterOptions{})
		ctx, cancel := context.WithCancel(context.Background())
		committing := make(chan error, 1)
		go func() { committing <- o.committer.Run(ctx) }()
		o.end = func() {
			cancel()
			if err := errors.Join(<-committing, s.Close()); err != nil {
				t.Error(err)
			}
		}
		o.options = OutboxOptions{
			Forward: o.forward,
			Sender: func(ctx context.Context, id store.UserID) (tipt.Address, error) {
				u, err := s.UserByID(ctx, id)
				return tipt.Address{User: u.Name, Node: own}, err
			},
			Returned: func(id store.UserID) {
				o.mu.Lock()
				defer o.mu.Unlock()
				o.returned = append(o.returned, id)
			},
			Logger: slog.New(slog.DiscardHandler),
		}
		for _, f := range configure {
			f(&o.options)
		}
		o.start()
		f(o)
		o.stop()
		o.end()
	})
}

// start runs a new outbox on the store, as a new process would.
func (t *office) start() {
	t.Outbox = NewOutbox(t.store, t.committer, t.options)
	ctx, cancel := context.WithCancel(context.Background())
	running := make(chan error, 1)
	outbox := t.Outbox
	go func() { running <- outbox.Run(ctx) }()
	synctest.Wait()
	t.stop = func() {
		cancel()
		if err := <-running; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func (t *office) restart() {
	t.stop()
	t.start()
}

// forward is the nodes that messages are forwarded to.
func (t *office) forward(ctx context.Context, node tipt.NodeName, from tipt.Address, sealed []byte) (Answer, error) {
	c := call{node, from.User, string(sealed), time.Since(t.began)}
	user := string(node) + " " + string(from.User)
	t.mu.Lock()
	t.calls = append(t.calls, c)
	for _, key := range []string{"", string(node), user} {
		t.now[key]++
		t.most[key] = max(t.most[key], t.now[key])
	}
	answer := t.answer
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, key := range []string{"", string(node), user} {
			t.now[key]--
		}
	}()
	if from.Node != own {
		t.Errorf("from %v", from)
	}
	if answer != nil {
		return answer(ctx, c)
	}
	return stored(ctx)
}

// stored is what a node that is well does.
func stored(ctx context.Context) (Answer, error) {
	if err := sleep(ctx, 10*time.Millisecond); err != nil {
		return Answer{}, &Failure{Unknown: true, Err: err}
	}
	return Answer{Bytes: delivered, Delivered: true}, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// The failures of a test.
func down() *Failure {
	return &Failure{Destination: true, Err: errors.New("no route")}
}

func status(code int, after ...time.Duration) *Failure {
	f := &Failure{Status: code, Err: fmt.Errorf("answered %d", code)}
	switch {
	case code == 429, code == 503:
		f.Destination = true
	case code >= 500:
		f.Unknown = true
	}
	if len(after) > 0 {
		f.RetryAfter = after[0]
	}
	return f
}

func noAnswer() *Failure { return &Failure{Unknown: true, Err: errNoAnswer} }

// answers says how the nodes answer from now on; nil: they store.
func (t *office) answers(f func(context.Context, call) (Answer, error)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answer = f
}

// fails has all nodes fail from now on.
func (t *office) fails(f *Failure) {
	t.answers(func(context.Context, call) (Answer, error) { return Answer{}, f })
}

// took returns the calls there were since it was called last.
func (t *office) took() []call {
	synctest.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	calls := t.calls
	t.calls = nil
	return calls
}

// wantTexts checks the messages that were tried since the last look, in order.
func (t *office) wantTexts(what string, want ...string) []call {
	t.Helper()
	calls := t.took()
	var got []string
	for _, c := range calls {
		got = append(got, c.text)
	}
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("%s: tried (-want +got):\n%s", what, d)
	}
	return calls
}

// user returns a user's number, having made the account.
func (t *office) user(name tipt.UserName) store.UserID {
	t.Helper()
	if id, ok := t.users[name]; ok {
		return id
	}
	op := &store.CreateUser{Name: name, Time: time.Now()}
	if err := t.committer.Do(t.Context(), op); err != nil {
		t.Fatal(err)
	}
	t.users[name] = op.ID
	return op.ID
}

func (t *office) entry(user tipt.UserName, node tipt.NodeName, text string) store.OutboxEntry {
	return store.OutboxEntry{User: t.user(user), Node: node, Sealed: []byte(text), Created: time.Now()}
}

// add adds messages and waits until they are on the disk.
func (t *office) add(user tipt.UserName, node tipt.NodeName, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err := t.addEntry(t.entry(user, node, text)); err != nil {
			t.Fatalf("add %s: %v", text, err)
		}
	}
}

func (t *office) addEntry(e store.OutboxEntry) error {
	done := make(chan error, 1)
	if err := t.Add(t.Context(), e, func(err error) { done <- err }); err != nil {
		return err
	}
	return <-done
}

// returns reads a user's RETURNs. The first n are passed over.
func (t *office) returns(user tipt.UserName, n int) []tipt.ReturnRequest {
	t.Helper()
	synctest.Wait()
	messages, err := t.store.Messages(t.Context(), t.user(user), int64(n), 1000, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	var list []tipt.ReturnRequest
	for _, m := range messages {
		var r tipt.ReturnRequest
		if err := r.Parse(m.Body, false); err != nil || m.Kind != store.KindReturn || r.ID != m.ID || !r.Time.Equal(m.Time) {
			t.Fatalf("RETURN %+v, %+v, %v", m, r, err)
		}
		list = append(list, r)
	}
	return list
}

// wantReturns checks the codes of a user's RETURNs, and that the mailbox was said to have changed.
func (t *office) wantReturns(what string, user tipt.UserName, want ...tipt.ErrorCode) {
	t.Helper()
	var got []tipt.ErrorCode
	for _, r := range t.returns(user, 0) {
		if !r.HasCode {
			t.Errorf("%s: RETURN with %q", what, r.Response)
		}
		got = append(got, r.Code)
	}
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("%s: RETURNs (-want +got):\n%s", what, d)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	id := t.users[user]
	if told := slices.DeleteFunc(slices.Clone(t.returned), func(other store.UserID) bool { return other != id }); len(told) != len(want) {
		t.Errorf("%s: %s was said to have %d RETURNs, want %d", what, user, len(told), len(want))
	}
}

// check checks that the outbox's lists say what its queues say.
func (t *office) check() {
	t.Helper()
	synctest.Wait()
	o := t.Outbox
	o.mu.Lock()
	defer o.mu.Unlock()
	listed := make(map[*queue]stage)
	sending := make(map[*destination]int)
	for _, p := range []*pool{&o.trying, &o.failing} {
		for _, q := range p.waiting {
			listed[q] = waiting
			sending[q.to]++
		}
	}
	total := make(map[store.UserID]usage)
	for name, d := range o.nodes {
		for _, q := range d.ready {
			if listed[q] != idle {
				t.Errorf("%s: a queue is listed twice", name)
			}
			listed[q] = ready
		}
		busy := 0
		sum := usage{}
		for user, q := range d.queues {
			if q.gone || q.to != d || q.user != user || q.kept < 0 || q.kept > q.entries {
				t.Errorf("%s: queue %+v", name, q)
			}
			if q.stage == taken {
				busy++
			} else if listed[q] != q.stage {
				t.Errorf("%s: a queue in stage %d is listed for %d", name, q.stage, listed[q])
			}
			delete(listed, q)
			sum = usage{sum.entries + q.entries, sum.bytes + q.bytes}
			total[user] = usage{total[user].entries + q.entries, total[user].bytes + q.bytes}
		}
		if d.sending < sending[d] || d.sending > sending[d]+busy {
			t.Errorf("%s: %d places are taken, %d wait, %d are busy", name, d.sending, sending[d], busy)
		}
		if sum != d.usage {
			t.Errorf("%s: %+v waits, the queues have %+v", name, d.usage, sum)
		}
	}
	if len(listed) > 0 {
		t.Errorf("%d queues are listed that are not there", len(listed))
	}
	for user, u := range o.users {
		if *u != total[user] {
			t.Errorf("user %d: %+v waits, the queues have %+v", user, *u, total[user])
		}
	}
}

// wantEmpty checks that nothing waits and nothing is remembered.
func (t *office) wantEmpty(what string) {
	t.Helper()
	t.check()
	queues, err := t.store.OutboxQueues(t.Context())
	if err != nil || len(queues) > 0 {
		t.Errorf("%s: in the store are %+v, %v", what, queues, err)
	}
	pauses, err := t.store.NodePauses(t.Context())
	if err != nil || len(pauses) > 0 {
		t.Errorf("%s: in the store are %+v, %v", what, pauses, err)
	}
	t.Outbox.mu.Lock()
	defer t.Outbox.mu.Unlock()
	if len(t.Outbox.nodes) > 0 || len(t.Outbox.users) > 0 {
		t.Errorf("%s: %d nodes and %d users are remembered", what, len(t.Outbox.nodes), len(t.Outbox.users))
	}
	for _, p := range []struct {
		pool   pool
		places int
		bytes  int64
	}{{t.trying, maxTrying, maxTryingBytes}, {t.failing, maxFailing, maxFailingBytes}} {
		if p.pool.places != p.places || p.pool.bytes != p.bytes || len(p.pool.waiting) > 0 {
			t.Errorf("%s: a pool has %d places and %d bytes", what, p.pool.places, p.pool.bytes)
		}
	}
}
