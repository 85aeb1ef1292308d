package link

import (
	"context"
	"fmt"

	"github.com/tipt/tipt-go"
)

// A call is a request of this side. It waits for an id and for room, is queued,
// is written, and is answered. Its fields are guarded by Link.mu.
type call struct {
	outgoing // its packet

	// done is nil once it was taken to be run, or the call was given up: then the
	// call is only there to keep its id until the late response (section 3.2).
	done func(tipt.Packet, error)

	// written: the writer has taken the packet, so the peer may know the id.
	written bool

	// turn is closed when the call leaves Link.waiting other than by its ctx;
	// refused tells, from then on, that it was not queued. nil when the call need not wait.
	turn    chan struct{}
	refused bool
}

func newCall(code uint8, body []byte, done func(tipt.Packet, error)) *call {
	c := &call{
		outgoing: outgoing{typ: tipt.PacketRequest, code: code, body: body, size: overhead + int64(len(body))},
		done:     done,
	}
	c.outgoing.call = c
	return c
}

// Call sends a request and waits for its response. The error is a
// [*tipt.Error] when the peer answered with one, ctx's when it ended first, ErrClosed when
// the connection did. A call given up keeps its id until the late response comes
// (section 3.2), unless its packet was not written yet. Call takes over body.
func (l *Link) Call(ctx context.Context, code uint8, body []byte) (tipt.Packet, error) {
	type answer struct {
		packet tipt.Packet
		err    error
	}
	answered := make(chan answer, 1)
	c := newCall(code, body, func(p tipt.Packet, err error) { answered <- answer{p, err} })
	if err := l.start(ctx, c); err != nil {
		return tipt.Packet{}, err
	}
	select {
	case a := <-answered:
		return a.packet, a.err
	case <-ctx.Done():
		if l.giveUp(c) {
			return tipt.Packet{}, ctx.Err()
		}
		a := <-answered
		return a.packet, a.err
	}
}

// Go sends a request and returns without waiting for its response. It waits
// until an id is free and there is room among the unsent bytes; ctx bounds this
// wait alone. The requests of one goroutine are written in the order of its calls.
//
// When Go returns nil, done will run exactly once: on the reading goroutine when
// the response comes, with a [*tipt.Error] when it holds one, or with ErrClosed at the end
// of the connection. It must not block; the packet's Body is its to keep. When Go
// returns an error, done does not run. Go takes over body.
func (l *Link) Go(ctx context.Context, code uint8, body []byte, done func(tipt.Packet, error)) error {
	return l.start(ctx, newCall(code, body, done))
}

// TryGo is Go without waiting: it reports false, and does nothing, when there
// is no id or no room now or the link is closed.
func (l *Link) TryGo(code uint8, body []byte, done func(tipt.Packet, error)) bool {
	c := newCall(code, body, done)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != open {
		return false
	}
	if l.waiting.head != nil || !l.admitLocked(c.size) {
		l.roomSize = c.size
		return false
	}
	l.queueCallLocked(c)
	return true
}

// Room arranges for f to be called once when what TryGo refused last may
// succeed; a later Room replaces f. f may be called before Room returns, and by any
// goroutine, that of another link too: it must not block nor take a lock under which a link
// is called. It is not called any more once the link is closed.
func (l *Link) Room(f func()) {
	l.mu.Lock()
	l.room = f
	l.mu.Unlock()
	l.retry()
}

// HasRoom reports whether what TryGo refused last may succeed now.
func (l *Link) HasRoom() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state == open && l.hasRoomLocked()
}

func (l *Link) hasRoomLocked() bool {
	return l.roomLocked(l.roomSize) && l.budget.awaitCall(l, l.roomSize)
}

// start queues c as soon as there is an id and room for it.
func (l *Link) start(ctx context.Context, c *call) error {
	if len(c.body) > tipt.MaxPacketSize {
		return fmt.Errorf("link: a body of %d bytes fits no packet", len(c.body))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	if l.state != open {
		l.mu.Unlock()
		return ErrClosed
	}
	if l.waiting.head == nil && l.admitLocked(c.size) {
		l.queueCallLocked(c)
		l.mu.Unlock()
		return nil
	}
	c.turn = make(chan struct{})
	l.waiting.push(&c.outgoing)
	l.mu.Unlock()

	select {
	case <-c.turn:
	case <-ctx.Done():
		l.mu.Lock()
		gone := l.waiting.remove(&c.outgoing)
		l.mu.Unlock()
		if gone {
			l.retry() // what waited behind c may fit
			return ctx.Err()
		}
		<-c.turn
	}
	if c.refused {
		return ErrClosed
	}
	return nil
}

// roomLocked reports whether there are an id and room for a call of that size, but for the budget.
func (l *Link) roomLocked(size int64) bool {
	_, ok := l.outbound.free()
	return ok && l.unsent+size <= callLimit
}

// admitLocked reports whether a call of that size may be queued now, and reserves its memory.
func (l *Link) admitLocked(size int64) bool {
	return l.roomLocked(size) && l.budget.reserveCall(l, size)
}

// queueCallLocked gives an admitted call its id and queues its packet.
func (l *Link) queueCallLocked(c *call) {
	id, _ := l.outbound.free()
	l.outbound.add(id)
	for int(id) >= len(l.calls) {
		l.calls = append(l.calls, nil)
	}
	l.calls[id] = c
	c.id = id
	l.queueLocked(&l.requests, &c.outgoing)
}

// freeLocked frees the id of a call.
func (l *Link) freeLocked(id uint8) {
	l.calls[id] = nil
	l.outbound.remove(id)
	if l.outbound.empty() {
		l.calls = nil
	}
}

// retry queues the calls that wait, in order, as far as ids and room allow, and
// tells who waits for Room.
func (l *Link) retry() {
	l.mu.Lock()
	if l.state != open {
		l.mu.Unlock()
		return
	}
	for o := l.waiting.head; o != nil; o = l.waiting.head {
		if !l.admitLocked(o.size) {
			l.mu.Unlock()
			return
		}
		l.waiting.remove(o)
		l.queueCallLocked(o.call)
		close(o.call.turn)
	}
	f := l.room
	if f == nil || !l.hasRoomLocked() {
		l.mu.Unlock()
		return
	}
	l.room = nil
	l.mu.Unlock()
	f()
}

// refuseWaitingLocked fails the calls and the PingWaits that wait.
func (l *Link) refuseWaitingLocked() {
	for o := l.waiting.pop(); o != nil; o = l.waiting.pop() {
		o.call.refused = true
		close(o.call.turn)
	}
	for _, pong := range l.pongs {
		pong <- ErrClosed
	}
	l.pongs = nil
}

// giveUp ends the interest in a call. It reports false when its done has run or
// is about to.
func (l *Link) giveUp(c *call) bool {
	l.mu.Lock()
	if c.done == nil {
		l.mu.Unlock()
		return false
	}
	c.done = nil
	var unsent int64
	if !c.written && l.requests.remove(&c.outgoing) {
		// The peer never hears of it, so no late response can come.
		unsent = c.size
		l.unsent -= unsent
		l.freeLocked(c.id)
	}
	l.mu.Unlock()
	l.budget.Release(unsent)
	l.retry()
	return true
}

// answered takes the call that a response with that id answers: done is nil
// when it was given up. It reports false when no such request is in flight.
func (l *Link) answered(id uint8) (done func(tipt.Packet, error), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.outbound.has(id) || !l.calls[id].written {
		return nil, false
	}
	c := l.calls[id]
	done, c.done = c.done, nil
	l.freeLocked(id)
	return done, true
}
