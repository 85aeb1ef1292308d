package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
)

// linger is how long connections are read after all has come, to see what comes twice.
const linger = 300 * time.Millisecond

// headSize is the least size of a message: the pair and the number in it come first.
const headSize = 8

// A flow is messages on their way from senders to receivers.
type flow struct {
	pairs   []*pair
	total   int    // messages
	filler  []byte // what messages end with
	size    int
	patient time.Duration
	pids    []int

	// rate is how many messages a second are sent by all pairs together, in turn; 0 is as many
	// as the outstanding ones allow.
	rate float64
	// away: nobody takes anything meanwhile. A message is done once it is answered.
	away bool
	// ordered: messages of a pair come in the order sent.
	ordered bool

	began    time.Time
	start    time.Duration // since then, when run was called
	window   window
	settled  atomic.Int64  // messages that are done: they came, or never will
	arrived  atomic.Int64  // messages that came
	refused  atomic.Int64  // messages that were refused or returned, and so never come
	complete chan struct{} // closed when all are done

	mu       sync.Mutex // guards the following fields
	mistakes Mistakes
}

// A pair is a sender and a receiver. The messages of one follow each other.
type pair struct {
	flow     *flow
	index    int
	from, to *client
	receiver Account
	messages []message

	mu    sync.Mutex // guards the following fields and those of messages
	next  int        // the one to be sent next
	free  []uint8    // ids that nothing is outstanding under
	under []int      // by id: the message that is outstanding under it, or was last
	last  int        // the greatest number that came
}

// A message is one of a pair's.
type message struct {
	body []byte // of its FORWARD; nil once it was sent
	id   tipt.MessageID

	sent, came time.Duration // since the flow began
	wire       uint8         // id of its FORWARD

	answered bool // its FORWARD
	arrived  bool
	settled  bool // done: it came, or never will, or it need not
	released bool // its id is free for another one
	refused  bool // or returned
}

// A sealer seals requests to a node: a [seal.Certificate], or a [seal.Sealer] of it.
type sealer interface {
	Seal(plaintext []byte, now time.Time) ([]byte, error)
}

// newFlow makes and seals a load's messages to users of a node, one sender for each of them. The
// senders' and receivers' connections are still to be set.
func (o *Options) newFlow(ctx context.Context, receivers []Account, to tipt.NodeName, key *seal.Certificate, l Load) (*flow, error) {
	f := o.emptyFlow(receivers, l)
	var sealed atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, p := range f.pairs {
		group.Go(func() error {
			by := sealer(key)
			if l.Reuse {
				reusing := key.NewSealer()
				defer reusing.Close()
				by = reusing
			}
			for n := range p.messages {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := p.seal(n, to, by, l.Wait); err != nil {
					return err
				}
				o.progress("sealing", int(sealed.Add(1)), l.Messages)
			}
			return nil
		})
	}
	return f, group.Wait()
}

// emptyFlow is newFlow without sealing.
func (o *Options) emptyFlow(receivers []Account, l Load) *flow {
	f := &flow{
		size: l.Size, total: l.Messages, rate: l.Rate, ordered: !l.Wait,
		patient: o.patience(), pids: o.PIDs,
		began: time.Now(), complete: make(chan struct{}),
	}
	random := rand.New(rand.NewPCG(o.Seed, 2))
	f.filler = make([]byte, f.size-headSize)
	for i := range f.filler {
		f.filler[i] = byte(random.Uint32())
	}
	for i := range receivers {
		p := &pair{flow: f, index: i, receiver: receivers[i], last: -1, under: make([]int, l.Outstanding)}
		// One more for some where they cannot all have as many.
		p.messages = make([]message, (l.Messages+len(receivers)-1-i)/len(receivers))
		for id := range l.Outstanding {
			p.free = append(p.free, uint8(l.Outstanding-1-id))
		}
		f.pairs = append(f.pairs, p)
	}
	return f
}

func (p *pair) seal(n int, to tipt.NodeName, key sealer, wait bool) error {
	m := &p.messages[n]
	m.id = tipt.NewMessageID()
	binary.BigEndian.PutUint32(m.id[12:], uint32(n)) // so that a RETURN tells which it was
	content := append(p.appendHead(make([]byte, 0, p.flow.size), n), p.flow.filler...)
	request := tipt.SealedRequest{Type: tipt.ForwardMessage, Message: &tipt.MessageForward{To: p.receiver.User, ID: m.id, Message: content}}
	sealed, err := key.Seal(request.Append(nil), time.Now())
	if err != nil {
		return fmt.Errorf("seal a message: %w", err)
	}
	m.body = tipt.ForwardRequest{Node: string(to), Wait: wait, Sealed: sealed, Ref: &m.id}.Append(nil)
	return nil
}

// appendHead appends what the n-th message begins with.
func (p *pair) appendHead(b []byte, n int) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, uint32(p.index)), uint32(n))
}

// run sends everything and waits until it is done, or nothing happens any more.
func (f *flow) run(ctx context.Context, progress func(done, of int)) error {
	f.start = time.Since(f.began)
	f.window.warm = int64(max(f.total/10, 1))
	f.open(0)
	pacing, stop := context.WithCancel(ctx)
	var pacer sync.WaitGroup
	pacer.Go(func() { f.send(pacing) })
	defer pacer.Wait()
	defer stop()

	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	before, since := int64(-1), time.Now()
	for {
		select {
		case <-f.complete:
			f.end()
			return sleep(ctx, linger)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-look.C:
		}
		n := f.settled.Load()
		progress(int(n), f.total)
		if n != before {
			before, since = n, time.Now()
		}
		if time.Since(since) > f.patient {
			f.end()
			return nil
		}
	}
}

// send begins to send: at once all that may be outstanding, or one after the other at the rate.
func (f *flow) send(ctx context.Context) {
	if f.rate == 0 {
		for _, p := range f.pairs {
			p.refill()
		}
		return
	}
	for i := range f.total {
		if sleep(ctx, f.due(i)-time.Since(f.began)) != nil {
			return
		}
		f.pairs[i%len(f.pairs)].refill()
	}
}

// due is when the i-th message of the flow is to be sent.
func (f *flow) due(i int) time.Duration {
	return f.start + time.Duration(float64(i)/f.rate*float64(time.Second))
}

// refill sends what may be sent now.
func (p *pair) refill() {
	p.mu.Lock()
	p.refillLocked(time.Since(p.flow.began), false)
	p.mu.Unlock()
	_ = p.from.conn.Flush() // who reads the connection sees that it has ended
}

// refillLocked queues what may be sent now. late: what was due before now had to wait for an
// answer, and its wait counts.
func (p *pair) refillLocked(now time.Duration, late bool) {
	for len(p.free) > 0 && p.next < len(p.messages) {
		m := &p.messages[p.next]
		m.sent = now
		if p.flow.rate > 0 {
			due := p.flow.due(p.next*len(p.flow.pairs) + p.index)
			if due > now {
				return
			}
			if late {
				m.sent = due
			}
		}
		m.wire = p.free[len(p.free)-1]
		p.under[m.wire] = p.next
		p.free = p.free[:len(p.free)-1]
		p.next++
		p.from.conn.Queue(&tipt.Packet{Version: tipt.Version, Type: tipt.PacketRequest, ID: m.wire, Code: uint8(tipt.RequestForward), Body: m.body})
		m.body = nil
	}
	if p.next == len(p.messages) {
		p.flow.shut(p.flow.settled.Load())
	}
}

// answered takes the response to a FORWARD.
func (p *pair) answered(r tipt.Packet) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if int(r.ID) >= len(p.under) || p.next == 0 {
		return fmt.Errorf("response for id %d, which is not in flight", r.ID)
	}
	n := p.under[r.ID]
	m := &p.messages[n]
	if m.answered || m.wire != r.ID {
		return fmt.Errorf("response for id %d, which is not in flight", r.ID)
	}
	m.answered = true
	err := refusal(r)
	if err != nil {
		p.refuseLocked(m)
		p.flow.mistake(func(s *Mistakes) *int { return &s.Refused }, "%v: %v", p.name(n), err)
	}
	if p.flow.away {
		p.settleLocked(m)
	}
	p.releaseLocked(m)
	return nil
}

// refusal is why a FORWARD was refused, by the node or by the destination; nil if it was not.
func refusal(r tipt.Packet) error {
	if r.Err != nil {
		return r.Err
	}
	if r.Body == nil {
		return nil
	}
	var forwarded tipt.ForwardResponse
	if err := forwarded.Parse(r.Body, r.Newer); err != nil {
		return err
	}
	var answer tipt.ForwardAnswer
	if err := answer.Parse(forwarded.Response); err != nil {
		return err
	}
	if answer.Err != nil {
		return answer.Err
	}
	return nil
}

// delivered takes a message that came.
func (p *pair) delivered(d tipt.DeliverRequest) {
	now := time.Since(p.flow.began)
	f := p.flow
	p.mu.Lock()
	defer p.mu.Unlock()
	n, ok := p.numberLocked(d.ID)
	if !ok {
		return // of another load; if it was one of this, that one is lost
	}
	m := &p.messages[n]
	switch {
	case m.arrived:
		f.mistake(func(s *Mistakes) *int { return &s.Doubled }, "%v", p.name(n))
		return
	case !p.whole(n, d.Message), d.From != p.from.address:
		f.mistake(func(s *Mistakes) *int { return &s.Altered }, "%v: from %q, %d bytes", p.name(n), d.From, len(d.Message))
	case f.ordered && n < p.last:
		f.mistake(func(s *Mistakes) *int { return &s.Misordered }, "%v: behind message %d", p.name(n), p.last)
	}
	p.last = max(p.last, n)
	m.arrived, m.came = true, now
	f.arrived.Add(1)
	p.settleLocked(m)
	p.releaseLocked(m)
}

// numberLocked returns the number of the message with that id, false when none was sent.
func (p *pair) numberLocked(id tipt.MessageID) (n int, ok bool) {
	n = int(binary.BigEndian.Uint32(id[12:]))
	return n, n < p.next && p.messages[n].id == id
}

// whole reports whether content is what the n-th message had.
func (p *pair) whole(n int, content []byte) bool {
	var head [headSize]byte
	return len(content) == p.flow.size && bytes.Equal(content[:headSize], p.appendHead(head[:0], n)) &&
		bytes.Equal(content[headSize:], p.flow.filler)
}

// returned takes a RETURN.
func (p *pair) returned(r tipt.ReturnRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	why := error(r.Code)
	if !r.HasCode {
		var answer tipt.ForwardAnswer
		if why = answer.Parse(r.Response); why == nil && answer.Err != nil {
			why = answer.Err
		}
	}
	if r.Ref == nil {
		return
	}
	n, ok := p.numberLocked(*r.Ref)
	if !ok {
		return // of another load
	}
	p.flow.mistake(func(s *Mistakes) *int { return &s.Returned }, "%v: %v", p.name(n), why)
	p.refuseLocked(&p.messages[n])
	p.releaseLocked(&p.messages[n])
}

// refuseLocked notes that a message will not come.
func (p *pair) refuseLocked(m *message) {
	if !m.refused && !m.arrived {
		m.refused = true
		p.flow.refused.Add(1)
	}
	p.settleLocked(m)
}

// settleLocked notes that a message is done.
func (p *pair) settleLocked(m *message) {
	if m.settled {
		return
	}
	m.settled = true
	f := p.flow
	n := f.settled.Add(1)
	if n == f.window.warm {
		f.open(n)
	}
	if n == int64(f.total) {
		close(f.complete)
	}
}

// releaseLocked frees the place of a message that is done and answered, for the next one.
func (p *pair) releaseLocked(m *message) {
	if !m.settled || !m.answered || m.released {
		return
	}
	m.released = true
	p.free = append(p.free, m.wire)
	p.refillLocked(time.Since(p.flow.began), true)
}

func (p *pair) name(n int) string { return fmt.Sprintf("pair %d, message %d", p.index, n) }

// mistake counts a mistake.
func (f *flow) mistake(kind func(*Mistakes) *int, format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mistakes.add(kind(&f.mistakes), format, args...)
}

// cut counts a connection that ended.
func (f *flow) cut(c *client, err error) {
	f.mistake(func(s *Mistakes) *int { return &s.Cut }, "%s: %v", c.account.User, err)
}
