package peer

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
)

const (
	// maxSending is how many users' messages are on their way to one node at once.
	maxSending = 64
	// maxTrying bounds the messages on their way to all nodes that are well, and
	// maxProbing those to nodes that failed last, so that however many of
	// those there are, the others are not delayed.
	maxTrying  = 1024
	maxProbing = 256

	minPause = 5 * time.Second
	maxPause = time.Hour
	// storePause is how long a queue rests when the store refuses to note what became of
	// its message.
	storePause = 30 * time.Second
	// heardPause is how often a node that calls us is tried again because of that.
	heardPause = time.Minute
)

// OutboxOptions make an [Outbox].
type OutboxOptions struct {
	// Forward is [Client.Forward].
	Forward func(ctx context.Context, node tipt.NodeName, from tipt.Address, sealed []byte) (Answer, error)
	Policy  *Policy
	// Sender returns the address of a user, deleted ones too.
	Sender func(context.Context, store.UserID) (tipt.Address, error)
	// Returned is told in whose mailbox a RETURN has been stored. It must not block.
	Returned func(store.UserID)
	Limits   OutboxLimits
	Logger   *slog.Logger
}

// OutboxLimits bound what waits. Zero is no bound.
type OutboxLimits struct {
	UserEntries, NodeEntries int
	UserBytes, NodeBytes     int64
}

// An Outbox keeps FORWARDs with `wait` false until their destination has
// answered, or for five days (section 4, FORWARD). The messages of one user
// to one node are a queue: the next goes when the one before it is answered
// or returned (section 3.3). A node that cannot be reached pauses all its queues, any other failure
// pauses the queue alone, so that no node delays another and no user another.
//
// The entries are in the store; in memory is a queue's length and state.
type Outbox struct {
	store     store.Store
	committer *store.Committer
	o         OutboxOptions
	log       *slog.Logger

	trying, probing chan struct{} // tokens of sends under way
	sends           sync.WaitGroup

	mu    sync.Mutex      // guards the following fields and all that hangs from them
	alive context.Context // of Run; nil before it
	ended bool
	nodes map[tipt.NodeName]*destination
	users map[store.UserID]*usage
}

// A usage counts what waits.
type usage struct {
	entries int
	bytes   int64
}

// A destination is a node to which something waits.
type destination struct {
	usage
	name    tipt.NodeName
	queues  map[store.UserID]*queue
	ready   []*queue // wait for one of maxSending places
	sending int
	state   store.NodePause // what is stored, zero when all is well
	stored  bool            // state is in the store
	timer   *time.Timer     // ends the pause
	heard   time.Time       // when a call of that node last ended a pause
}

// A queue is what one user has for one destination.
type queue struct {
	user    store.UserID
	entries int                // in the store
	pending int                // being added
	head    *store.OutboxEntry // the first entry where it is at hand, else in the store
	busy    bool               // it is sending, or in ready
	restart bool               // its first entry may have been on its way when the process ended
	until   time.Time          // pause of this queue alone
	reason  string             // of that pause
	timer   *time.Timer        // ends it
}

// NewOutbox makes an outbox. It starts nothing.
func NewOutbox(s store.Store, c *store.Committer, o OutboxOptions) *Outbox {
	return &Outbox{
		store:     s,
		committer: c,
		o:         o,
		log:       o.Logger,
		trying:    make(chan struct{}, maxTrying),
		probing:   make(chan struct{}, maxProbing),
		nodes:     make(map[tipt.NodeName]*destination),
		users:     make(map[store.UserID]*usage),
	}
}

// Run sends what waits until ctx is done, and returns when the last send has ended.
func (o *Outbox) Run(ctx context.Context) error {
	err := o.load(ctx)
	if ctx.Err() != nil {
		return nil // it has nothing to end
	}
	if err != nil {
		return err
	}
	o.mu.Lock()
	o.alive = ctx
	for _, d := range o.nodes {
		o.resumeLocked(d)
	}
	o.mu.Unlock()

	<-ctx.Done()
	o.mu.Lock()
	o.ended = true
	for _, d := range o.nodes {
		stop(d.timer)
		for _, q := range d.queues {
			stop(q.timer)
		}
	}
	o.mu.Unlock()
	o.sends.Wait()
	return nil
}

func stop(t *time.Timer) {
	if t != nil {
		t.Stop()
	}
}

// load reads how long the queues are and which nodes are paused.
func (o *Outbox) load(ctx context.Context) error {
	lengths, err := o.store.OutboxQueues(ctx)
	if err != nil {
		return fmt.Errorf("read the outbox: %w", err)
	}
	pauses, err := o.store.NodePauses(ctx)
	if err != nil {
		return fmt.Errorf("read the outbox: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, l := range lengths {
		d, q := o.queueLocked(l.Node, l.User)
		o.countLocked(d, q, l.Entries, l.Bytes)
		q.entries = l.Entries
		q.until, q.reason = l.Next, l.Reason
		q.restart = true
	}
	for _, p := range pauses {
		d := o.destinationLocked(p.Node)
		d.state, d.stored = p, true
	}
	return nil
}

// Add accepts an entry. It waits, as long as ctx lasts, for room in the committer's
// queue alone; a refusal, such as OUTBOX_FULL, is a [*tipt.Error] given to done as well. Done
// is called once, in the order of the calls, when the entry is on the disk
// or is one that the outbox holds already; it must not block.
func (o *Outbox) Add(ctx context.Context, e store.OutboxEntry, done func(error)) error {
	if !o.o.Policy.Allows(e.Node) {
		done(&tipt.Error{Code: tipt.ErrNodeRefused, Message: fmt.Sprintf("%s is barred by this node's operator", e.Node)})
		return nil
	}
	size := int64(len(e.Sealed))
	o.mu.Lock()
	d, q := o.queueLocked(e.Node, e.User)
	full := o.fullLocked(d, q, size)
	q.pending++
	if full == nil {
		o.countLocked(d, q, 1, size)
	}
	o.mu.Unlock()
	notAdded := func() { // with mu held
		if full == nil {
			o.countLocked(d, q, -1, -size)
		}
		o.forgetLocked(d, q)
	}

	op := &store.AddOutbox{Entry: e, OnlyDuplicate: full != nil}
	err := o.committer.Submit(ctx, func(err error) {
		o.mu.Lock()
		q.pending--
		if err == nil && full == nil && !op.Duplicate {
			op.Entry.ID = op.ID
			if q.entries++; q.entries == 1 && !q.busy {
				q.head = &op.Entry
			}
			o.startLocked(d, q)
		} else {
			notAdded()
		}
		o.mu.Unlock()
		if err == nil && full != nil && !op.Duplicate {
			err = full
		}
		done(err)
	}, op)
	if err != nil {
		o.mu.Lock()
		q.pending--
		notAdded()
		o.mu.Unlock()
		return fmt.Errorf("add to the outbox: %w", err)
	}
	return nil
}

// fullLocked returns OUTBOX_FULL where one more of that size is too much.
func (o *Outbox) fullLocked(d *destination, q *queue, size int64) error {
	l := o.o.Limits
	user := o.users[q.user]
	if user == nil {
		user = new(usage)
	}
	switch {
	case over(user.entries+1, l.UserEntries) || over(user.bytes+size, l.UserBytes):
		return &tipt.Error{Code: tipt.ErrOutboxFull, Message: "too much of yours waits to be forwarded"}
	case over(d.entries+1, l.NodeEntries) || over(d.bytes+size, l.NodeBytes):
		return &tipt.Error{Code: tipt.ErrOutboxFull, Message: fmt.Sprintf("too much waits to be forwarded to %s", d.name)}
	}
	return nil
}

func over[T int | int64](n, limit T) bool { return limit > 0 && n > limit }

// countLocked adds to what waits, for the limits.
func (o *Outbox) countLocked(d *destination, q *queue, entries int, bytes int64) {
	user := o.users[q.user]
	if user == nil {
		user = new(usage)
		o.users[q.user] = user
	}
	for _, u := range []*usage{&d.usage, user} {
		u.entries += entries
		u.bytes += bytes
	}
	if user.entries == 0 {
		delete(o.users, q.user)
	}
}

func (o *Outbox) destinationLocked(name tipt.NodeName) *destination {
	d := o.nodes[name]
	if d == nil {
		d = &destination{name: name, queues: make(map[store.UserID]*queue)}
		o.nodes[name] = d
	}
	return d
}

func (o *Outbox) queueLocked(name tipt.NodeName, user store.UserID) (*destination, *queue) {
	d := o.destinationLocked(name)
	q := d.queues[user]
	if q == nil {
		q = &queue{user: user}
		d.queues[user] = q
	}
	return d, q
}

// forgetLocked drops a queue that is empty, and its destination with the last one.
func (o *Outbox) forgetLocked(d *destination, q *queue) {
	if q.entries > 0 || q.pending > 0 || q.busy {
		return
	}
	stop(q.timer)
	if d.queues[q.user] == q {
		delete(d.queues, q.user)
	}
	if len(d.queues) == 0 && !d.stored {
		stop(d.timer)
		delete(o.nodes, d.name)
	}
}

// Heard says that a node called us, so it may be reached again: pauses end.
func (o *Outbox) Heard(node tipt.NodeName) {
	o.mu.Lock()
	defer o.mu.Unlock()
	d := o.nodes[node]
	if d == nil || d.state.Held || time.Since(d.heard) < heardPause {
		return
	}
	d.heard = time.Now()
	o.endPausesLocked(d)
}

// endPausesLocked tries all queues of a destination now.
func (o *Outbox) endPausesLocked(d *destination) {
	d.state.Attempts, d.state.Next = 0, time.Time{}
	for _, q := range d.queues {
		q.until = time.Time{}
	}
	o.resumeLocked(d)
}

// resumeLocked starts what may be started of a destination, or arranges for it.
func (o *Outbox) resumeLocked(d *destination) {
	for _, q := range d.queues {
		o.startLocked(d, q)
	}
}

// startLocked has a queue send, unless it is doing so, is empty or has to wait.
func (o *Outbox) startLocked(d *destination, q *queue) {
	if o.alive == nil || o.ended || q.busy || q.entries == 0 || d.state.Held {
		return
	}
	now := time.Now()
	if wait := d.state.Next.Sub(now); wait > 0 {
		o.arrange(&d.timer, wait, func() { o.resumeLocked(d) })
		return
	}
	if wait := q.until.Sub(now); wait > 0 {
		o.arrange(&q.timer, wait, func() { o.startLocked(d, q) })
		return
	}
	q.busy = true
	d.ready = append(d.ready, q)
	o.fillLocked(d)
}

// arrange has f run after wait, with mu held, in place of what was arranged before.
func (o *Outbox) arrange(timer **time.Timer, wait time.Duration, f func()) {
	stop(*timer)
	*timer = time.AfterFunc(wait, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if !o.ended {
			f()
		}
	})
}

// fillLocked gives the places of a destination to queues that are ready. One
// that failed last is probed by a single message.
func (o *Outbox) fillLocked(d *destination) {
	places := maxSending
	if d.state.Attempts > 0 {
		places = 1
	}
	for d.sending < places && len(d.ready) > 0 && !o.ended {
		q := d.ready[0]
		d.ready[0] = nil
		d.ready = d.ready[1:]
		if d.state.Held || time.Until(d.state.Next) > 0 {
			q.busy = false
			o.startLocked(d, q) // waits for the end of the pause
			continue
		}
		d.sending++
		o.sends.Go(func() { o.send(d, q) })
	}
}

// send sends a queue's messages, one after the other, until it is empty or has to
// wait.
func (o *Outbox) send(d *destination, q *queue) {
	for o.sendOne(d, q) {
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	d.sending--
	q.busy = false
	o.startLocked(d, q)
	o.fillLocked(d)
	o.forgetLocked(d, q)
}

// backoff returns the pause after so many failures, the first counting as 1:
// twice as long each time, and a random half of it, so that those who failed
// together do not come back together.
func backoff(attempts int) time.Duration {
	pause := maxPause
	if attempts < 12 {
		pause = min(minPause<<(attempts-1), maxPause)
	}
	return pause/2 + rand.N(pause/2+1)
}

// token takes a place among the sends under way.
func (o *Outbox) token(ctx context.Context, failing bool) (release func(), err error) {
	tokens := o.trying
	if failing {
		tokens = o.probing
	}
	select {
	case tokens <- struct{}{}:
		return func() { <-tokens }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
