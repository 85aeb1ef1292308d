// Package link runs one Tipt connection: requests, responses and events in
// both directions, numbered with the 8-bit ids of docs/protocol.md, section 3.
// It knows ids and bytes and no request type, and neither end is special: a
// node and a client use the same [Link].
//
// The 8-bit id is the semaphore. A side has at most 256 requests in flight
// (section 3.2), so the calls made, the requests being served and the responses
// waiting to be written are bounded by construction. Only bytes need bounds of
// their own: 8 MiB of requests being worked on and 4 MiB unsent on each
// connection, and a [Budget] for all of a node.
//
// An idle link holds no table, no buffer and no goroutine but that of [Link.Run], which
// [Link.Start] does without: a table grows with the ids in use and goes when none is, and a
// writer runs while there is something to write.
package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tipt/tipt-go"
)

var (
	// ErrClosed is the error of calls that a connection leaves unanswered
	// when it ends, and of those made after Close. Whether the peer carried a
	// request out is unknown once Go has queued it (section 1.6).
	ErrClosed = errors.New("link: closed")

	// ErrFull is Emit's error when too much waits to be written.
	ErrFull = errors.New("link: too much is unsent")
)

// A CloseError says how a connection was closed.
type CloseError struct {
	Local  bool // this side closed first
	Code   int  // section 1.6
	Reason string
}

func (e *CloseError) Error() string {
	by := "the peer"
	if e.Local {
		by = "this side"
	}
	if e.Reason == "" {
		return fmt.Sprintf("link: %s closed with %d", by, e.Code)
	}
	return fmt.Sprintf("link: %s closed with %d: %s", by, e.Code, e.Reason)
}

// A Handler is told what the peer asks. Both methods are called by the
// goroutine that reads the connection, one call at a time, in the order of
// arrival, and must not block: nothing is read meanwhile.
type Handler interface {
	// ServeTipt starts to serve a request; any goroutine may answer it later.
	ServeTipt(r *Request)

	// ServeEvent takes a well-formed event. The packet's Body is the handler's to keep.
	ServeEvent(p tipt.Packet)
}

// Options are a Link's options. The zero value is usable.
type Options struct {
	// Handler serves the peer. nil: requests are answered UNSUPPORTED and
	// events are dropped.
	Handler Handler

	// Budget bounds the memory of all links that share it. nil: only the
	// connection's own bounds hold.
	Budget *Budget

	// Logger is told, at level debug, for which violation a connection is
	// closed. nil: nothing is logged.
	Logger *slog.Logger

	// Tap is called with each packet as it crosses the wire: sent ones just
	// before they are written, received ones unless there was no memory for them.
	// It must neither block nor keep the slice; it is called by two goroutines. nil: none.
	Tap func(sent bool, packet []byte)

	// Ignored is called for each event that is dropped because it is malformed or
	// because there is no memory for it (section 2, EVENT). It must not block. nil: none.
	Ignored func(error)
}

// A Link is one end of a connection. Its methods may be called by several
// goroutines at once, also before Run: what they send then waits for it.
type Link struct {
	// Static after New.
	conn    Conn
	handler Handler
	budget  *Budget
	log     *slog.Logger
	tap     func(sent bool, packet []byte)
	ignored func(error)
	ended   func(error) // Start's, static from then on
	parker  Parker      // conn, where Start found it to be one, static from then on
	began   time.Time

	received atomic.Int64 // when something arrived last, as a time.Duration since began

	writer sync.WaitGroup // the goroutine of write
	timers sync.WaitGroup // the calls of timer and of Run's context that are still to come

	claim *claim // guarded by budget.mu

	mu       sync.Mutex // guards the following fields
	state    state
	started  bool // Run or Start was called
	writing  bool // the writer runs
	control  bool // conn has a PING or PONG to write
	form     tipt.Form
	cause    error       // what Run returns; the first one stays
	unsure   bool        // cause is the writer's: that the peer had closed is the better one
	farewell *CloseError // what Close was called with
	timer    *time.Timer // drops a connection that takes too long to close

	inbound ids   // requests of the peer whose response was not taken for writing yet
	serving int   // those of them that await Reply or Fail
	working int64 // bytes of the latter, and of a message that arrives

	outbound  ids     // calls that have an id
	calls     []*call // by id
	waiting   queue   // calls that wait for an id or for room
	responses queue   // written first
	requests  queue   // calls and events
	unsent    int64   // bytes of both, and of what is being written

	room     func() // Room's
	roomSize int64  // of what TryGo refused last
	pongs    []chan error
}

// A state is how far a link has come towards its end. It only grows.
type state uint8

const (
	// open: everything is allowed.
	open state = iota
	// closing: Close was called. What is queued is
	// written, what arrives is discarded.
	closing
	// closed: our close frame is written or being written. What arrives is discarded until the
	// peer has closed too.
	closed
	// broken: the connection was dropped.
	broken
	// ended: the reader has returned, and what the link held is given back.
	ended
)

// New returns a link over c. It starts nothing: see [Link.Run].
func New(c Conn, o Options) *Link {
	l := &Link{
		conn:    c,
		handler: o.Handler,
		budget:  o.Budget,
		log:     o.Logger,
		tap:     o.Tap,
		ignored: o.Ignored,
		began:   time.Now(),
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	c.Bind(l.pinged, l.ponged)
	return l
}

// Run runs the connection until it ends and returns why: a [*CloseError], the
// transport's error, or the cause of ctx, whose end drops the connection as
// [Link.CloseNow] does, which itself makes it ErrClosed. It owns every goroutine of the
// link and returns after the last of them. Run or Start is called once.
func (l *Link) Run(ctx context.Context) error {
	l.timers.Add(1)
	stop := context.AfterFunc(ctx, func() {
		defer l.timers.Done()
		l.drop(context.Cause(ctx), false)
	})
	l.begin()
	l.finish(l.read())
	if stop() {
		l.timers.Done()
	}
	l.timers.Wait()
	return l.cause
}

// Start is Run for a link of which there are many: over a [Parker] it has no goroutine
// while nothing happens, over any other Conn one. It does not wait; when the link
// has ended, its last goroutine calls ended with what Run returns.
func (l *Link) Start(ended func(error)) {
	l.ended = ended
	if p, ok := l.conn.(Parker); ok && p.Park(l.attend) {
		l.parker = p
	}
	l.begin()
	l.run(l.attend)
}

// run runs f in a goroutine.
func (l *Link) run(f func()) {
	if l.parker != nil {
		l.parker.Go(f)
		return
	}
	go f()
}

// attend reads while there is something to be read, and ends a link that Start started.
func (l *Link) attend() {
	err := l.read()
	if errors.Is(err, ErrParked) {
		return // the link is another goroutine's, perhaps already
	}
	l.finish(err)
	l.timers.Wait()
	l.ended(l.cause)
}

// begin has what was queued before written.
func (l *Link) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.started = true
	if l.state == closing {
		l.closeInLocked(StallTimeout)
	}
	l.wakeLocked()
}

// finish ends the link once nothing can be read any more, because of err.
func (l *Link) finish(err error) {
	l.mu.Lock()
	var ce *CloseError
	// The peer closed first: it gets its close frame back (RFC 6455, section 5.5.1).
	echo := errors.As(err, &ce) && l.state < closed
	if l.cause == nil || l.unsure && ce != nil && !ce.Local {
		if ce == nil {
			err = fmt.Errorf("link: read: %w", err)
		}
		l.cause = err
	}
	if echo {
		l.closeInLocked(tipt.CloseLinger)
	}
	l.state = ended
	l.mu.Unlock()

	if echo {
		l.writer.Wait()
		if err := l.conn.Close(ce.Code, ""); err != nil {
			l.log.Debug("close frame not returned", "cause", err)
		}
	}
	l.conn.CloseNow()
	l.writer.Wait()

	l.mu.Lock()
	if l.timer != nil && l.timer.Stop() {
		l.timers.Done()
	}
	held := l.unsent + l.working
	l.responses, l.requests = queue{}, queue{}
	var unanswered []func(tipt.Packet, error)
	for _, c := range l.calls {
		if c != nil && c.done != nil {
			unanswered = append(unanswered, c.done)
			c.done = nil
		}
	}
	l.calls = nil
	l.refuseWaitingLocked()
	l.mu.Unlock()

	l.budget.forget(l)
	l.budget.Release(held)
	for _, done := range unanswered {
		done(tipt.Packet{}, ErrClosed)
	}
}

// Close writes what is queued, then a close frame, discards input for up to
// tipt.CloseLinger until the peer has closed too, and ends Run. It does not wait and
// only the first call counts. From then on calls fail with ErrClosed, replies are
// dropped, and the handler is told nothing more, except for a call of it under way.
func (l *Link) Close(code int, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != open {
		return
	}
	l.state = closing
	l.farewell = &CloseError{Local: true, Code: code, Reason: reason}
	l.cause = l.farewell
	l.refuseWaitingLocked()
	if l.started {
		// A peer that reads slowly would otherwise be waited for as long as it likes.
		l.closeInLocked(StallTimeout)
	}
	l.wakeLocked()
}

// CloseNow drops the connection without a close frame.
func (l *Link) CloseNow() { l.drop(ErrClosed, false) }

// drop ends the connection at once, because of err. The writer's errors are unsure:
// it may fail because the reader is at the peer's close frame.
func (l *Link) drop(err error, unsure bool) {
	l.mu.Lock()
	if l.state < broken {
		l.state = broken
		if l.cause == nil {
			l.cause, l.unsure = err, unsure
		}
		l.refuseWaitingLocked()
	}
	l.mu.Unlock()
	l.conn.CloseNow()
}

// closeInLocked drops the connection after d, in place of what was arranged before.
func (l *Link) closeInLocked(d time.Duration) {
	if l.timer != nil {
		if !l.timer.Stop() {
			return // it is being dropped
		}
		l.timers.Done()
	}
	l.timers.Add(1)
	l.timer = time.AfterFunc(d, func() {
		defer l.timers.Done()
		l.conn.CloseNow()
	})
}

// SetReadLimit sets the size in bytes over which an arriving packet closes the
// connection with 1009. It is tipt.MaxPacketSize at first.
func (l *Link) SetReadLimit(n int64) { l.conn.SetReadLimit(n) }

// SetForm sets the form of packets from the next one that is read and the next request
// or event that is queued. A response has the form of its request (section 9).
func (l *Link) SetForm(f tipt.Form) {
	l.mu.Lock()
	l.form = f
	l.mu.Unlock()
}

// Ping sends a PING and does not wait: [Link.LastReceived] tells of the answer.
func (l *Link) Ping() {
	l.conn.Ping()
	l.controlDue()
}

// PingWait sends a PING and waits for a PONG. The error is ctx's or ErrClosed.
func (l *Link) PingWait(ctx context.Context) error {
	pong := make(chan error, 1)
	l.mu.Lock()
	if l.state != open {
		l.mu.Unlock()
		return ErrClosed
	}
	l.pongs = append(l.pongs, pong)
	l.mu.Unlock()
	l.Ping()

	select {
	case err := <-pong:
		return err
	case <-ctx.Done():
		l.mu.Lock()
		for i := range l.pongs {
			if l.pongs[i] == pong {
				l.pongs = append(l.pongs[:i], l.pongs[i+1:]...)
				break
			}
		}
		l.mu.Unlock()
		return ctx.Err()
	}
}

// controlDue has the control frames written that conn holds.
func (l *Link) controlDue() {
	l.mu.Lock()
	l.control = true
	l.wakeLocked()
	l.mu.Unlock()
}

func (l *Link) pinged() {
	l.touch()
	l.controlDue()
}

func (l *Link) ponged() {
	l.touch()
	l.mu.Lock()
	for _, pong := range l.pongs {
		pong <- nil
	}
	l.pongs = nil
	l.mu.Unlock()
}

// touch notes that something arrived.
func (l *Link) touch() { l.received.Store(int64(time.Since(l.began))) }

// LastReceived returns when something of the peer arrived last, at first when
// the link was made.
func (l *Link) LastReceived() time.Time {
	return l.began.Add(time.Duration(l.received.Load()))
}

// Serving returns the number of requests of the peer that await Reply or Fail.
func (l *Link) Serving() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.serving
}
