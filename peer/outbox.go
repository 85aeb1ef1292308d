package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
)

const (
	// lookPause is how often the outbox looks for what has to come back although nobody
	// tries to send it.
	lookPause = time.Minute
	// maxAtHand bounds the bytes of entries that are kept in memory besides those on their way.
	maxAtHand = 16 << 20
	// maxLoadedPause is the longest pause that is taken over from an earlier process,
	// whose clock may have been wrong.
	maxLoadedPause = maxRetryAfter
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
// or returned (section 3.3). A node that cannot be reached pauses all its queues, any
// other failure pauses the queue alone, so that no node delays another and no user another.
//
// The entries are in the store; in memory is a queue's length and state, and the
// messages that are on their way or will be at once.
type Outbox struct {
	store     store.Store
	committer *store.Committer
	o         OutboxOptions
	log       *slog.Logger

	loaded chan struct{}  // closed when Run has read the store, or failed to
	sends  sync.WaitGroup // the goroutines that send

	mu      sync.Mutex      // guards the following fields and all that hangs from them
	alive   context.Context // Run's from when it has read the store until it ends, else nil
	unread  error           // why the store could not be read
	nodes   map[tipt.NodeName]*destination
	users   map[store.UserID]*usage
	atHand  int64 // bytes of the queues' atHand
	trying  pool  // of queues whose last message, and node, did not fail
	failing pool  // of the others, so that they delay nobody
}

// A usage counts what waits, and what is being added.
type usage struct {
	entries int
	bytes   int64
}

// A destination is a node to which something waits, or that is paused.
type destination struct {
	usage
	name    tipt.NodeName
	queues  map[store.UserID]*queue
	ready   []*queue // those that wait for one of maxSending places, in stage ready
	sending int      // places taken

	pause   store.NodePause // zero when all is well
	probing bool            // it failed last: a single message finds out whether it is back
	failed  time.Time       // when the last failure was counted
	asked   time.Time       // it wants not to be tried before
	heard   time.Time       // when a call of that node last ended a pause
	alarm   alarm           // at the pause's end

	saving sync.Mutex // held while pause is being stored; taken before mu
	saved  bool       // the store may have a pause of it
}

// A queue is what one user has for one destination.
type queue struct {
	usage
	user  store.UserID
	to    *destination
	kept  int  // entries in the store, as far as noted
	adds  int  // calls of Add that are not done
	gone  bool // forgotten; there may be another one of that user
	stage stage

	claims int           // of those who wait to take it: it begins no message
	freed  chan struct{} // closed when it is not taken any more; nil when nobody waits

	// The last entries, in order, which need not be read again: none has failed. The first of
	// them is the queue's first when they are as many as kept.
	atHand []*store.OutboxEntry
	unsure bool         // the first entry may have been sent by an earlier process, or unnoted by this one
	from   tipt.Address // the user's, once looked up; for who has taken the queue

	// The pause of this queue alone. The store has it with the first entry.
	until    time.Time
	reason   string // of the last failure, "" when the first entry has not failed
	heard    bool   // the node called since then: its failures count no more
	forgiven int    // so many of its failures count no more
	alarm    alarm  // at its end
}

// NewOutbox makes an outbox. It starts nothing.
func NewOutbox(s store.Store, c *store.Committer, o OutboxOptions) *Outbox {
	return &Outbox{
		store:     s,
		committer: c,
		o:         o,
		log:       o.Logger,
		loaded:    make(chan struct{}),
		nodes:     make(map[tipt.NodeName]*destination),
		users:     make(map[store.UserID]*usage),
		trying:    pool{places: maxTrying, bytes: maxTryingBytes},
		failing:   pool{places: maxFailing, bytes: maxFailingBytes},
	}
}

// Run sends what waits until ctx is done, and returns when the last send has ended. Call it once.
func (o *Outbox) Run(ctx context.Context) error {
	err := o.load(ctx)
	o.mu.Lock()
	if o.unread = err; err == nil {
		o.alive = ctx
		for _, d := range o.nodes {
			for _, q := range d.queues {
				o.startLocked(q)
			}
		}
	}
	o.mu.Unlock()
	close(o.loaded)
	if errors.Is(err, context.Canceled) {
		return nil // ctx was done before there was anything to end
	}
	if err != nil {
		return fmt.Errorf("read the outbox: %w", err)
	}

	look := time.NewTicker(lookPause)
	defer look.Stop()
	for o.look(ctx); ctx.Err() == nil; {
		select {
		case <-look.C:
			o.look(ctx)
		case <-ctx.Done():
		}
	}
	o.mu.Lock()
	o.alive = nil
	for _, d := range o.nodes {
		d.alarm.stop()
		for _, q := range d.queues {
			q.alarm.stop()
		}
	}
	o.mu.Unlock()
	o.sends.Wait()
	return nil
}

// load reads how long the queues are and which nodes are paused.
func (o *Outbox) load(ctx context.Context) error {
	queues, err := o.store.OutboxQueues(ctx)
	if err != nil {
		return err
	}
	pauses, err := o.store.NodePauses(ctx)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	longest := time.Now().Add(maxLoadedPause)
	for _, stored := range queues {
		q := o.queueLocked(stored.Node, stored.User)
		o.countLocked(q, stored.Entries, stored.Bytes)
		q.kept = stored.Entries
		q.until, q.reason = earlier(stored.Next, longest), stored.Reason
		q.unsure = true
	}
	for _, p := range pauses {
		d := o.destinationLocked(p.Node)
		d.pause, d.probing, d.saved = p, p.Attempts > 0, true
		d.pause.Next = earlier(p.Next, longest)
	}
	return nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// awaitLoad waits until the store has been read.
func (o *Outbox) awaitLoad(ctx context.Context) error {
	select {
	case <-o.loaded:
	case <-ctx.Done():
		return ctx.Err()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.unread
}

// Add accepts an entry. It waits, as long as ctx lasts, until Run has read the store and there is
// room in the committer's queue. When it returns nil, done is called once, in
// the order of the calls, with nil when the entry is on the disk or the outbox
// holds it already, else with the error; it must not block. A refusal, by Add or to
// done, is a [*tipt.Error]: NODE_REFUSED or OUTBOX_FULL.
func (o *Outbox) Add(ctx context.Context, e store.OutboxEntry, done func(error)) error {
	if err := o.awaitLoad(ctx); err != nil {
		return fmt.Errorf("add to the outbox: %w", err)
	}
	if !o.o.Policy.Allows(e.Node) {
		return &tipt.Error{Code: tipt.ErrNodeRefused, Message: fmt.Sprintf("%s is barred by this node's operator", e.Node)}
	}
	size := int64(len(e.Sealed))
	o.mu.Lock()
	q := o.queueLocked(e.Node, e.User)
	full := o.fullLocked(q, size)
	q.adds++
	if full == nil {
		o.countLocked(q, 1, size)
	}
	o.mu.Unlock()

	// A resend of what is held is answered also when nothing more is taken.
	op := &store.AddOutbox{Entry: e, OnlyDuplicate: full != nil}
	finish := func(err error) error {
		o.mu.Lock()
		defer o.mu.Unlock()
		q.adds--
		switch {
		case err == nil && full == nil && !op.Duplicate:
			op.Entry.ID = op.ID
			o.addedLocked(q, &op.Entry)
			return nil
		case full == nil:
			o.countLocked(q, -1, -size)
		case err == nil && !op.Duplicate:
			err = full
		}
		o.forgetLocked(q)
		return err
	}
	if err := o.committer.Submit(ctx, func(err error) { done(finish(err)) }, op); err != nil {
		return fmt.Errorf("add to the outbox: %w", finish(err))
	}
	return nil
}

// addedLocked notes that an entry is in the store, and starts its queue.
func (o *Outbox) addedLocked(q *queue, e *store.OutboxEntry) {
	q.kept++
	o.rememberLocked(q, e)
	o.startLocked(q)
	o.forgetLocked(q) // it may have been given back already
}

// rememberLocked keeps an entry that was added at hand, if it may soon be sent.
func (o *Outbox) rememberLocked(q *queue, e *store.OutboxEntry) {
	size := int64(len(e.Sealed))
	fits := func() bool { return !q.pausedLocked() && o.atHand+size <= maxAtHand }
	if !fits() {
		o.trimLocked(q, 0) // what is at hand has to be the last ones
		if !fits() {
			return
		}
	}
	q.atHand = append(q.atHand, e)
	o.atHand += size
}

// trimLocked lets go of the first entries at hand, as far as there are more than n.
func (o *Outbox) trimLocked(q *queue, n int) {
	for len(q.atHand) > max(n, 0) {
		o.atHand -= int64(len(q.atHand[0].Sealed))
		q.atHand[0] = nil
		q.atHand = q.atHand[1:]
	}
	if len(q.atHand) == 0 {
		q.atHand = nil
	}
}

// putAwayLocked keeps nothing at hand for a destination that is not tried for a while.
func (o *Outbox) putAwayLocked(d *destination) {
	for _, q := range d.queues {
		o.trimLocked(q, 0)
	}
}

// firstLocked returns the first entry where it is at hand, else nil.
func (q *queue) firstLocked() *store.OutboxEntry {
	if q.kept == 0 || len(q.atHand) != q.kept {
		return nil
	}
	return q.atHand[0]
}

var (
	errUserFull = &tipt.Error{Code: tipt.ErrOutboxFull, Message: "too much of yours waits to be forwarded"}
	errNodeFull = &tipt.Error{Code: tipt.ErrOutboxFull, Message: "too much waits to be forwarded to that node"}
)

// fullLocked returns OUTBOX_FULL where one more of that size is too much.
func (o *Outbox) fullLocked(q *queue, size int64) error {
	l := o.o.Limits
	user := o.users[q.user]
	if user == nil {
		user = new(usage)
	}
	switch {
	case over(user.entries+1, l.UserEntries) || over(user.bytes+size, l.UserBytes):
		return errUserFull
	case over(q.to.entries+1, l.NodeEntries) || over(q.to.bytes+size, l.NodeBytes):
		return errNodeFull
	}
	return nil
}

func over[T int | int64](n, limit T) bool { return limit > 0 && n > limit }

// countLocked adds to what waits.
func (o *Outbox) countLocked(q *queue, entries int, bytes int64) {
	user := o.users[q.user]
	if user == nil {
		user = new(usage)
		o.users[q.user] = user
	}
	for _, u := range []*usage{&q.usage, &q.to.usage, user} {
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

func (o *Outbox) queueLocked(name tipt.NodeName, user store.UserID) *queue {
	d := o.destinationLocked(name)
	q := d.queues[user]
	if q == nil {
		q = &queue{user: user, to: d}
		d.queues[user] = q
	}
	return q
}

// forgetLocked drops a queue that is empty and nobody's, and its destination with the
// last one unless it is paused.
func (o *Outbox) forgetLocked(q *queue) {
	if q.gone || q.kept > 0 || q.adds > 0 || q.claims > 0 || q.stage != idle {
		return
	}
	q.gone = true
	q.alarm.stop()
	delete(q.to.queues, q.user)
	o.forgetNodeLocked(q.to)
}

func (o *Outbox) forgetNodeLocked(d *destination) {
	if len(d.queues) == 0 && !d.saved && !d.pause.Held {
		d.alarm.stop()
		if o.nodes[d.name] == d {
			delete(o.nodes, d.name)
		}
	}
}

// save stores a destination's pause. The latest one is the last that is stored.
func (o *Outbox) save(ctx context.Context, d *destination) error {
	d.saving.Lock()
	defer d.saving.Unlock()
	o.mu.Lock()
	pause := d.pause
	pause.Node = d.name
	d.saved = true
	o.mu.Unlock()
	if err := o.committer.Do(ctx, &store.PauseNode{Pause: pause}); err != nil {
		return fmt.Errorf("store the pause of %s: %w", d.name, err)
	}
	if pause.Attempts == 0 && !pause.Held {
		o.mu.Lock()
		defer o.mu.Unlock()
		d.saved = false
		o.forgetNodeLocked(d)
	}
	return nil
}

// keep is save where a failure does little harm: after a restart there is an attempt too many.
func (o *Outbox) keep(ctx context.Context, d *destination) {
	if err := o.save(ctx, d); err != nil && !errors.Is(err, store.ErrStopped) {
		o.log.Error("outbox", "error", err)
	}
}
