package link

import (
	"fmt"
	"sync"

	"github.com/tipt/tipt-go"
)

const (
	unsentLimit = 4 << 20 // bytes of packets queued or being written on one connection
	// callLimit is what calls may take of unsentLimit. The rest is for responses:
	// a peer that reads slowly can thus still be answered while much waits for it.
	callLimit = 3 << 20
	batchSize = 64 << 10 // bytes of packets handed to Conn.Write together, unless one alone has more
	overhead  = 64       // bytes that a packet takes besides its body, about
	// writeMemory is what a connection takes while it is written to, besides the packets: buffers of
	// WebSocket and TLS, and the writer's stack.
	writeMemory = 56 << 10
)

// An outgoing packet waits to be written.
type outgoing struct {
	next     *outgoing // in its queue
	call     *call     // of a REQUEST
	body     []byte
	err      *tipt.Error
	size     int64 // what it counts among Link.unsent
	typ      tipt.PacketType
	id, code uint8
	revision tipt.Revision
}

// A queue holds packets, first in, first out.
type queue struct{ head, tail *outgoing }

func (q *queue) push(o *outgoing) {
	if q.tail == nil {
		q.head = o
	} else {
		q.tail.next = o
	}
	q.tail = o
}

// pop returns nil when the queue is empty.
func (q *queue) pop() *outgoing {
	o := q.head
	if o != nil {
		q.remove(o)
	}
	return o
}

// remove takes o out and reports whether it was there.
func (q *queue) remove(o *outgoing) bool {
	var before *outgoing
	for p := q.head; p != o; before, p = p, p.next {
		if p == nil {
			return false
		}
	}
	if before == nil {
		q.head = o.next
	} else {
		before.next = o.next
	}
	if q.tail == o {
		q.tail = before
	}
	o.next = nil
	return true
}

// queueLocked queues a packet whose size has been reserved.
func (l *Link) queueLocked(q *queue, o *outgoing) {
	if o.typ != tipt.PacketResponse {
		o.revision = l.form.Revision
	}
	l.unsent += o.size
	q.push(o)
	l.wakeLocked()
}

// wakeLocked starts the writer when it has something to do.
func (l *Link) wakeLocked() {
	if !l.started || l.writing || l.state > closing {
		return
	}
	if l.responses.head == nil && l.requests.head == nil && !l.control && l.state == open {
		return
	}
	l.writing = true
	l.writer.Add(1)
	l.run(l.write)
}

// A batch is what is written at once.
type batch struct {
	queued  []*outgoing
	size    int64  // of queued among Link.unsent
	encoded []byte // all packets
	ends    []int  // of the packets in encoded
	packets [][]byte
}

var batches = sync.Pool{New: func() any { return new(batch) }}

// free returns the batch, emptied, for others to use.
func (b *batch) free() {
	if cap(b.encoded) <= 2*batchSize {
		b.reset()
		batches.Put(b)
	}
}

func (b *batch) reset() {
	clear(b.queued)
	clear(b.packets)
	*b = batch{queued: b.queued[:0], encoded: b.encoded[:0], ends: b.ends[:0], packets: b.packets[:0]}
}

// encode fills b.packets.
func (b *batch) encode(tap func(sent bool, packet []byte)) {
	for _, o := range b.queued {
		b.encoded = tipt.AppendPacket(b.encoded, o.revision, &tipt.Packet{
			Version: tipt.Version,
			ID:      o.id,
			Type:    o.typ,
			Code:    o.code,
			Body:    o.body,
			Err:     o.err,
		})
		b.ends = append(b.ends, len(b.encoded))
		o.body = nil
	}
	start := 0
	for _, end := range b.ends {
		b.packets = append(b.packets, b.encoded[start:end:end])
		start = end
	}
	if tap != nil {
		for _, p := range b.packets {
			tap(true, p)
		}
	}
}

// write is the writer: it writes until nothing is left to be written.
func (l *Link) write() {
	defer l.writer.Done()
	b := batches.Get().(*batch)
	defer b.free()
	for l.take(b) {
		b.encode(l.tap)
		// What is not counted yet, for as long as the peer may take to read.
		extra := max(int64(cap(b.encoded))-b.size, 0) + writeMemory
		l.budget.force(extra)
		err := l.conn.Write(b.packets)
		l.budget.Release(extra)
		if err != nil {
			l.drop(fmt.Errorf("link: write: %w", err), true)
			return
		}
		l.wrote(b)
	}
}

// take fills the empty b with what is written next, responses first. It reports false
// when the writer is to end: nothing is left, or the close frame has been written behind it.
func (l *Link) take(b *batch) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state > closing {
		l.writing = false
		return false
	}
	for o := l.nextLocked(b.size); o != nil; o = l.nextLocked(b.size) {
		switch o.typ {
		case tipt.PacketResponse:
			// The peer may use the id again as soon as it has the response.
			l.inbound.remove(o.id)
		case tipt.PacketRequest:
			o.call.written = true
		}
		b.queued = append(b.queued, o)
		b.size += o.size
	}
	if len(b.queued) > 0 || l.control {
		l.control = false
		return true
	}
	if l.state == closing {
		l.closeLocked()
	}
	l.writing = false
	return false
}

// nextLocked takes the packet to be written next, nil when there is none or it is too
// large to go with size bytes.
func (l *Link) nextLocked(size int64) *outgoing {
	q := &l.responses
	if q.head == nil {
		q = &l.requests
	}
	if q.head == nil || size > 0 && size+q.head.size > batchSize {
		return nil
	}
	return q.pop()
}

// wrote gives back what b held, now that it is written.
func (l *Link) wrote(b *batch) {
	size := b.size
	b.reset()
	if size == 0 {
		return
	}
	l.mu.Lock()
	l.unsent -= size
	l.mu.Unlock()
	l.budget.Release(size)
	l.retry()
}

// closeLocked writes the close frame. It gives mu up meanwhile.
func (l *Link) closeLocked() {
	l.state = closed
	code, reason := l.farewell.Code, l.farewell.Reason
	l.mu.Unlock()
	err := l.conn.Close(code, reason)
	if err != nil {
		l.drop(fmt.Errorf("link: write close frame: %w", err), true)
	}
	l.mu.Lock()
	if l.state == closed {
		l.closeInLocked(tipt.CloseLinger)
	}
}
