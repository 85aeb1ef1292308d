package letters

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/link"
	"github.com/tipt/tipt-go/seal"
)

const (
	// outstanding is how many letters of a sender wait for their answer.
	outstanding = 48
	// keyPatience is how long a sender waits for a node's key. Until then it writes nothing.
	keyPatience = 2 * time.Second
	// rest is how long a sender waits when it has nothing to do.
	rest = 20 * time.Millisecond
)

// A later is a letter to be sent again on the same connection.
type later struct {
	letter *Letter
	due    time.Time
}

// A writer is a participant who writes on one connection.
type writer struct {
	*Participant
	conn  *Conn
	room  chan struct{} // has one for each letter that waits for its answer
	calls sync.WaitGroup
}

// write sends again what had no answer, in the order written, then new letters
// whenever such are made, until ctx or the connection ends.
func (p *Participant) write(ctx context.Context, c *Conn) {
	if p.Writes == nil {
		return
	}
	w := &writer{Participant: p, conn: c, room: make(chan struct{}, outstanding)}
	defer w.calls.Wait()
	p.letters = p.ledger.stillOpen(p.letters)
	for _, m := range p.letters {
		if !w.post(ctx, m) {
			return
		}
	}
	for w.writeOne(ctx) {
	}
}

// writeOne sends one letter, again or a new one, or rests where there is none to send. It
// is false when ctx or the connection ended.
func (w *writer) writeOne(ctx context.Context) bool {
	if m := w.due(); m != nil {
		return w.post(ctx, m)
	}
	if w.ledger.isClosed() {
		return w.sleep(ctx, rest)
	}
	m, err := w.compose(ctx)
	switch {
	case err != nil:
		w.ledger.Fail("seal a letter: %v", err)
		return false
	case m == nil || !w.ledger.enter(m):
		return w.sleep(ctx, rest)
	}
	if w.letters = append(w.letters, m); len(w.letters) > 1000 {
		w.letters = w.ledger.stillOpen(w.letters)
	}
	return w.post(ctx, m) && w.sleep(ctx, w.restAfter())
}

// restAfter is how long to rest after a new letter: mostly not at all, then long.
func (w *writer) restAfter() time.Duration {
	if w.Pause == 0 || w.rand.IntN(8) > 0 {
		return 0
	}
	return time.Duration(w.rand.Int64N(int64(16 * w.Pause)))
}

// sleep waits for d. It is false when ctx or the connection ended.
func (w *writer) sleep(ctx context.Context, d time.Duration) bool {
	if d == 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-w.conn.Ended:
	case <-ctx.Done():
	}
	return false
}

// due returns a letter that is to be sent again now, nil where there is none.
func (w *writer) due() *Letter {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for i, one := range w.again {
		if now.After(one.due) {
			w.again = slices.Delete(w.again, i, i+1)
			return one.letter
		}
	}
	return nil
}

// later has a letter sent again in a while. The node may have asked for a longer one.
func (w *writer) later(m *Letter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.again = append(w.again, later{m, time.Now().Add(time.Duration(1+m.Number%20) * 100 * time.Millisecond)})
}

// post sends a letter and does not wait for its answer. It is false when ctx or the
// connection ended.
func (w *writer) post(ctx context.Context, m *Letter) bool {
	select {
	case w.room <- struct{}{}:
	case <-w.conn.Ended:
		return false
	case <-ctx.Done():
		return false
	}
	w.ledger.sent(m, w.conn)
	body := slices.Clone(m.body)
	if w.Hasty && m.Wait && w.rand.IntN(6) == 0 {
		patience := time.Duration(w.rand.Int64N(int64(50 * time.Millisecond)))
		w.calls.Go(func() {
			hurried, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			w.ended(m, w.forward(hurried, body))
		})
		return true
	}
	err := w.conn.Go(ctx, uint8(tipt.RequestForward), body, func(answer tipt.Packet, err error) {
		w.ended(m, Accepted(answer, err, m.Wait))
	})
	if err != nil {
		w.ended(m, err)
	}
	return err == nil
}

// forward makes FORWARD with `wait` true.
func (w *writer) forward(ctx context.Context, body []byte) error {
	answer, err := w.conn.Ask(ctx, tipt.RequestForward, body)
	return Accepted(answer, err, true)
}

// ended notes how an attempt has ended.
func (w *writer) ended(m *Letter, err error) {
	<-w.room
	switch {
	case errors.Is(err, link.ErrClosed):
		w.ledger.lost(m, "the connection ended")
	case errors.Is(err, context.DeadlineExceeded):
		w.ledger.lost(m, "given up")
		w.later(m)
	case errors.Is(err, context.Canceled):
		w.ledger.lost(m, "given up at the end of the connection")
	default:
		if w.ledger.answer(m, err) {
			w.later(m)
		}
	}
}

// compose makes a letter of some kind; nil where the key of its destination cannot be had now.
func (w *writer) compose(ctx context.Context) (*Letter, error) {
	to := w.Writes[w.rand.IntN(len(w.Writes))]
	key := w.certificate(ctx, w.conn, to.Node)
	if key == nil {
		return nil, nil
	}
	return w.seal(key, to, w.rand.IntN(3) == 0 && to.User != Nobody) // so that what is for nobody comes back
}

// seal makes a letter.
func (p *Participant) seal(key *seal.Certificate, to tipt.Address, wait bool) (*Letter, error) {
	m := &Letter{ID: tipt.NewMessageID(), From: p.Device.User, To: to, Wait: wait}
	switch n := p.rand.IntN(100); {
	case n < 80:
		m.padding = p.rand.IntN(1500)
	case n < 96:
		m.padding = p.rand.IntN(20_000)
	default:
		m.padding = p.rand.IntN(150_000)
	}
	p.numbers[numbered{to, wait}]++
	m.Number = p.numbers[numbered{to, wait}]
	var err error
	m.body, err = Message(key, to, m.ID, m.content(), wait)
	return m, err
}

// certificate returns a node's key, nil where it cannot be had now.
func (p *Participant) certificate(ctx context.Context, c *Conn, node tipt.NodeName) *seal.Certificate {
	if key := p.keys[node]; key != nil {
		return key
	}
	if time.Now().Before(p.notYet[node]) {
		return nil
	}
	hurried, cancel := context.WithTimeout(ctx, keyPatience)
	defer cancel()
	key, err := c.Certificate(hurried, node)
	if err != nil {
		p.notYet[node] = time.Now().Add(time.Second)
		refusal, coded := errors.AsType[*tipt.Error](err)
		ended := errors.Is(err, link.ErrClosed) || hurried.Err() != nil
		if coded && !p.ledger.excuses.Refused(c.Node, node, refusal.Code) || !coded && !ended {
			p.ledger.Fail("%v asked for the key of %s: %v", p.Device, node, err)
		}
		return nil
	}
	p.keys[node] = key
	p.ledger.sawKey(node, key.Fingerprint())
	return key
}

// Write writes one letter with `wait` true, also after Close, and waits until it is
// accepted.
func (p *Participant) Write(ctx context.Context, c *Conn, to tipt.Address) (*Letter, error) {
	key, err := c.Certificate(ctx, to.Node)
	if err != nil {
		return nil, fmt.Errorf("ask for the key of %s: %w", to.Node, err)
	}
	m, err := p.seal(key, to, true)
	if err != nil {
		return nil, err
	}
	p.ledger.update(func() { p.ledger.enterLocked(m) })
	p.ledger.sent(m, c)
	answer, err := c.Ask(ctx, tipt.RequestForward, slices.Clone(m.body))
	if err = Accepted(answer, err, true); err != nil {
		return nil, err
	}
	p.ledger.answer(m, nil)
	return m, nil
}
