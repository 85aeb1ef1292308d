package node

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/mailbox"
	"github.com/tipt/tipt-go/store"
)

const (
	// maxDeliverAhead is how far past the oldest message not taken a
	// connection is sent others: what is taken beyond it has to be remembered.
	maxDeliverAhead = 4096
	// maxDeliverBytes bounds the bytes that are unanswered on one connection. A client that
	// has to answer BUSY because too much lies before it gets what follows out of order.
	maxDeliverBytes = 4 << 20
	// maxDeliverRead is how many bytes of messages are read at once.
	maxDeliverRead = 512 << 10
	// maxReading is how many connections read their mailboxes at once, and maxRereading how many of those
	// do so that read what there was no room for.
	maxReading   = 16
	maxRereading = 4
	// readPause is how long a connection waits when a mailbox cannot be read.
	readPause = time.Minute
)

// A delivery sends one connection what its device has not taken (section 4,
// the last paragraph). The mailbox is the queue: a delivery holds a cursor and
// the numbers of what is unanswered, and its goroutine is there only while
// something can be sent.
type delivery struct {
	// Static after construction.
	session *session
	reader  *mailbox.Reader

	mu      sync.Mutex // guards the following fields
	running bool       // a goroutine is sending
	again   bool       // something changed since it looked
	closed  bool
	open    []sent      // not answered, in order; at most MaxDelivering
	bytes   int         // of open; beyond maxDeliverBytes by one message at most
	last    int64       // the newest Seq sent
	pause   *time.Timer // nothing is sent until it fires; nil otherwise
	stuck   int64       // lowest Seq that will not be taken on this connection; 0 for none
}

// sent is a message on its way to the client.
type sent struct {
	seq  int64
	size int
}

func compareSeq(s sent, seq int64) int { return cmp.Compare(s.seq, seq) }

// newDelivery makes a delivery that sends nothing before begin.
func newDelivery(s *session, place int64) *delivery {
	d := &delivery{session: s, running: true}
	d.reader = s.node.mailboxes.Open(s.account.user, s.account.device, place, d.kick)
	return d
}

// A rereading is deliveries whose link was told of room for what they have read once already.
// There may be thousands at a time, as many as clients that do not read, and room for few of them:
// they take turns, and nobody else waits for them.
type rereading struct {
	mu      sync.Mutex // guards the following fields
	queue   []*delivery
	workers int // at most maxRereading
}

// add has a delivery go on when it is its turn.
func (r *rereading) add(d *delivery) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = append(r.queue, d)
	if r.workers < maxRereading {
		r.workers++
		d.session.node.tasks.Go(r.work)
	}
}

func (r *rereading) work() {
	for d := r.next(); d != nil; d = r.next() {
		d.goOn()
	}
}

// next returns nil when nobody waits; then the worker has ended.
func (r *rereading) next() *delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		r.queue = nil
		r.workers--
		return nil
	}
	d := r.queue[0]
	r.queue[0] = nil
	r.queue = r.queue[1:]
	return d
}

// begin starts sending.
func (d *delivery) begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running = false
	d.startLocked()
}

// kick has the delivery look for something to send. It does not block.
func (d *delivery) kick() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.again = true
	d.startLocked()
}

func (d *delivery) startLocked() {
	if d.running || d.closed || d.pause != nil {
		return
	}
	d.running = true
	d.session.node.tasks.Add(1)
	go d.run()
}

// room is kick where the link has room again for what was refused.
func (d *delivery) room() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.again = true
	if d.running || d.closed || d.pause != nil {
		return
	}
	d.running = true
	d.session.node.rereading.add(d)
}

// goOn sends, in its turn, if there still is room.
func (d *delivery) goOn() {
	if !d.session.link.HasRoom() {
		d.refused()
	} else if d.step() {
		d.session.node.tasks.Add(1)
		go d.run() // this is another's turn
	}
}

// refused ends the goroutine until the link has room.
func (d *delivery) refused() {
	d.mu.Lock()
	d.running = false
	d.mu.Unlock()
	d.session.link.Room(d.room)
}

// close ends the delivery; its place is kept.
func (d *delivery) close() {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return
	}
	d.closed = true
	if d.pause != nil {
		d.pause.Stop()
	}
	d.mu.Unlock()
	d.reader.Close()
}

func (d *delivery) run() {
	defer d.session.node.tasks.Done()
	for d.step() {
	}
}

// step sends what can be sent now and reports whether to go on. When it
// returns false the goroutine ends, and running is false.
func (d *delivery) step() bool {
	d.mu.Lock()
	d.again = false
	room := tipt.MaxDelivering - len(d.open)
	if len(d.open) > 0 && (d.last-d.open[0].seq > maxDeliverAhead || d.bytes+maxDeliverRead > maxDeliverBytes) {
		room = 0
	}
	_, draining := d.session.node.goingAway()
	if d.closed || d.pause != nil || draining || room <= 0 {
		d.running = false
		d.mu.Unlock()
		return false
	}
	d.mu.Unlock()

	// What is read takes memory until it is queued or read again later: of all connections that were
	// told of room at once only some do so.
	n := d.session.node
	n.reading <- struct{}{}
	defer func() { <-n.reading }()
	messages, err := d.reader.Next(d.session.ctx, room, maxDeliverRead)
	if err != nil {
		if d.session.ctx.Err() == nil {
			d.session.log.Error("read a mailbox", "error", err)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.pauseLocked(readPause)
		d.running = false
		return false
	}
	for i, m := range messages {
		if d.send(m) {
			continue
		}
		// A client that does not read, or a node that has too much to send, costs no memory: what is
		// unsent is read again.
		for _, unsent := range messages[i:] {
			d.reader.Rewind(unsent.Seq)
		}
		d.refused()
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(messages) == 0 && !d.again {
		d.running = false
		return false
	}
	return true
}

// send queues one message on the link, or reports false when there is no room now.
func (d *delivery) send(m store.Message) bool {
	code, body := tipt.RequestReturn, m.Body
	if m.Kind == store.KindDeliver {
		code = tipt.RequestDeliver
		body = tipt.DeliverRequest{ID: m.ID, From: m.From, Time: m.Time, Message: m.Body}.Append(nil)
	}
	seq := m.Seq
	d.mu.Lock()
	at, _ := slices.BinarySearchFunc(d.open, seq, compareSeq) // not at the end where it is sent again
	d.open = slices.Insert(d.open, at, sent{seq: seq, size: len(body)})
	d.bytes += len(body)
	d.last = max(d.last, seq)
	d.mu.Unlock()
	queued := d.session.link.TryGo(uint8(code), body, func(p tipt.Packet, err error) {
		if err == nil && p.Body != nil {
			d.session.close(tipt.CloseProtocol, "a body in the response to DELIVER or RETURN") // section 3.1
			return
		}
		d.answered(seq, err)
	})
	if !queued {
		d.mu.Lock()
		d.forgetLocked(seq)
		d.mu.Unlock()
	}
	return queued
}

// answered takes a client's answer to DELIVER or RETURN. It runs on the
// connection's reader.
func (d *delivery) answered(seq int64, err error) {
	refusal, refused := errors.AsType[*tipt.Error](err)
	switch {
	case err == nil:
		d.take(seq)
	case !refused: // the connection ended
		return
	case refusal.Code == tipt.ErrRejected, refusal.Code == tipt.ErrMalformed, refusal.Code == tipt.ErrUnsupported:
		d.take(seq)
	case refusal.Code == tipt.ErrBusy:
		d.mu.Lock()
		d.forgetLocked(seq)
		d.reader.Rewind(seq) // before the pause can end
		d.pauseLocked(cmp.Or(refusal.Wait, tipt.DeliverPause))
		d.mu.Unlock()
		return
	default:
		d.mu.Lock()
		d.forgetLocked(seq)
		if d.stuck == 0 || seq < d.stuck {
			d.stuck = seq
		}
		d.mu.Unlock()
	}
	d.kick()
}

func (d *delivery) take(seq int64) {
	d.mu.Lock()
	d.forgetLocked(seq)
	stuck := d.stuck != 0 && seq > d.stuck
	closed := d.closed
	d.mu.Unlock()
	if !stuck && !closed {
		d.reader.Take(seq)
	}
}

func (d *delivery) forgetLocked(seq int64) {
	if at, ok := slices.BinarySearchFunc(d.open, seq, compareSeq); ok {
		d.bytes -= d.open[at].size
		d.open = slices.Delete(d.open, at, at+1)
	}
}

// pauseLocked stops sending for wait. A pause under way is kept as it is.
func (d *delivery) pauseLocked(wait time.Duration) {
	if d.pause != nil || d.closed {
		return
	}
	d.pause = time.AfterFunc(wait, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.pause = nil
		d.startLocked()
	})
}
