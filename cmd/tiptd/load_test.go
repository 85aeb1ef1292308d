package main_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/link"
	"github.com/tipt/tipt-go/seal"
)

const (
	// outstanding is how many letters of a sender wait for their answer.
	outstanding = 48
	// holding is how many letters a device that takes them out of order has
	// before it answers.
	holding = 16
)

// A habit is how a device receives.
type habit int

const (
	stays   habit = iota // takes each letter at once, whenever the node is there
	shuffle              // takes letters in groups, each in an order of its own
	visits               // comes for some letters, then is away for some
	late                 // comes for the first time when no more letters are written
)

// A participant of the load is a device that receives, and that sends where it has somebody
// to write to.
type participant struct {
	trial  *trial
	device *device
	habit  habit
	writes []string // to whom

	// Owned by run.
	rand    *rand.Rand
	token   []byte // after the first SIGN_IN that was answered
	key     string // fingerprint of the node's
	letters []*letter
	numbers map[numbered]int

	mu   sync.Mutex // guards the following fields, which are of the connection at hand
	held []*link.Request
	left int           // letters until the visit is over
	full chan struct{} // closed when left is 0
}

// numbered is what shares a count of letters.
type numbered struct {
	to   string
	wait bool
}

func newParticipant(t *trial, name, device string, h habit, writes ...string) *participant {
	return &participant{
		trial:   t,
		device:  newDevice(name, device),
		habit:   h,
		writes:  writes,
		rand:    t.newRand(),
		numbers: make(map[numbered]int),
	}
}

// run plays the participant through all lives of the node.
func (p *participant) run(ctx context.Context) {
	l := p.trial.ledger
	if p.habit == late && !l.await(ctx, func() bool { return l.closed }) {
		return
	}
	for number := 1; ; number++ {
		life := p.trial.lifeFrom(ctx, number)
		if life == nil {
			return
		}
		number = life.number
		for p.connect(life) {
		}
		select {
		case <-life.ctx.Done():
		case <-p.trial.leave:
			return
		}
	}
}

// connect makes one connection and uses it to its end. It is true when it ended
// because the device goes away for a while.
func (p *participant) connect(life *life) (away bool) {
	l := p.trial.ledger
	l.connected(p.device)
	p.mu.Lock()
	p.held, p.left, p.full = nil, 1+p.rand.IntN(200), make(chan struct{})
	p.mu.Unlock()
	c, key, err := p.enter(life)
	if err != nil {
		p.lost(err)
		return false
	}
	defer c.hang()
	p.write(life.ctx, c, key)
	var full chan struct{}
	if p.habit == visits {
		full = p.full
	}
	select {
	case <-life.ctx.Done():
	case <-c.ended:
		p.lost(c.cause)
	case <-full:
		c.hang()
		return l.pass(life.ctx, p.rand.IntN(200))
	case <-p.trial.leave:
		p.takeHeld()
		// Its answer says that the node has read all that was sent before.
		if _, err := c.ask(life.ctx, tipt.RequestGetInfo, nil); err != nil {
			l.fail("%v does not leave in good order: %v", p.device, err)
		}
	}
	return false
}

// lost judges why a connection ended, or why there is none: a node that is killed
// neither refuses nor closes.
func (p *participant) lost(err error) {
	if isRefusal(err) {
		p.trial.ledger.fail("%v was turned away: %v", p.device, err)
	}
}

// enter connects and signs in, by token as soon as there is one.
func (p *participant) enter(life *life) (*conn, *seal.Certificate, error) {
	c, err := dial(life.ctx, p.trial.daemon, life.addr, p.receive)
	if err != nil {
		return nil, nil, err
	}
	key, err := p.signIn(life.ctx, c)
	if err != nil {
		c.hang()
		return nil, nil, err
	}
	return c, key, nil
}

func (p *participant) signIn(ctx context.Context, c *conn) (*seal.Certificate, error) {
	response, err := c.signIn(ctx, tipt.SignInRequest{
		User:     p.device.user,
		Device:   p.device.name,
		Password: password,
		Token:    p.token,
		HasToken: p.token != nil,
		Receive:  true,
	})
	if err != nil {
		return nil, err
	}
	if response.Token != nil {
		p.token = response.Token
	}
	key, err := c.certificate(ctx)
	if err != nil {
		return nil, err
	}
	if p.key == "" {
		p.key = key.Fingerprint()
	}
	if p.key != key.Fingerprint() {
		p.trial.ledger.fail("the node's key was %s and is %s", p.key, key.Fingerprint())
	}
	return key, nil
}

// write sends again what had no answer, in the order written, then new letters until
// no more are made or the connection ends.
func (p *participant) write(ctx context.Context, c *conn, key *seal.Certificate) {
	if p.writes == nil {
		return
	}
	l := p.trial.ledger
	room := make(chan struct{}, outstanding)
	post := func(m *letter) bool {
		select {
		case room <- struct{}{}:
		case <-c.ended:
			return false
		case <-ctx.Done():
			return false
		}
		l.sent(m, c)
		return nil == c.Go(ctx, uint8(tipt.RequestForward), slices.Clone(m.body), func(answer tipt.Packet, err error) {
			<-room
			if err = accepted(answer, err, m.wait); !errors.Is(err, link.ErrClosed) {
				l.answer(m, err)
			}
		})
	}
	p.letters = l.unanswered(p.letters)
	for _, m := range p.letters {
		if !post(m) {
			return
		}
	}
	for {
		m, err := p.compose(key)
		if err != nil {
			l.fail("seal a letter: %v", err)
			return
		}
		if !l.enter(m) {
			return
		}
		p.letters = append(p.letters, m)
		if !post(m) {
			return
		}
	}
}

// compose makes a letter of some kind.
func (p *participant) compose(key *seal.Certificate) (*letter, error) {
	m := &letter{
		id:   tipt.NewMessageID(),
		from: p.device.user,
		to:   p.writes[p.rand.IntN(len(p.writes))],
		wait: p.rand.IntN(3) == 0,
	}
	if m.to == nobody {
		m.wait = false // so that it comes back
	}
	switch n := p.rand.IntN(100); {
	case n < 80:
		m.padding = p.rand.IntN(1500)
	case n < 96:
		m.padding = p.rand.IntN(20_000)
	default:
		m.padding = p.rand.IntN(150_000)
	}
	p.numbers[numbered{m.to, m.wait}]++
	m.number = p.numbers[numbered{m.to, m.wait}]
	var err error
	m.body, err = message(key, p.trial.daemon.Name, m.to, m.id, m.content(), m.wait)
	return m, err
}

// receive notes what the node delivers and takes it, now or later.
func (p *participant) receive(r *link.Request) {
	l := p.trial.ledger
	var delivered tipt.DeliverRequest
	var returned tipt.ReturnRequest
	switch code := tipt.ClientRequest(r.Code); code {
	case tipt.RequestDeliver:
		if err := delivered.Parse(r.Body, r.Newer); err != nil {
			l.fail("%v got a malformed DELIVER: %v", p.device, err)
		} else {
			l.delivered(p.device, delivered)
		}
	case tipt.RequestReturn:
		if err := returned.Parse(r.Body, r.Newer); err != nil {
			l.fail("%v got a malformed RETURN: %v", p.device, err)
		} else {
			l.cameBack(p.device, returned)
		}
	default:
		l.fail("%v got a request %v", p.device, code)
	}
	p.mu.Lock()
	p.held = append(p.held, r)
	wait := p.habit == shuffle && len(p.held) < holding
	if p.left--; p.left == 0 {
		close(p.full)
	}
	p.mu.Unlock()
	if !wait {
		p.takeHeld()
	}
}

// takeHeld tells the node that what has come is taken.
func (p *participant) takeHeld() {
	p.mu.Lock()
	held := p.held
	p.held = nil
	p.mu.Unlock()
	if p.habit == shuffle {
		rand.Shuffle(len(held), func(i, j int) { held[i], held[j] = held[j], held[i] })
	}
	for _, r := range held {
		r.Reply(nil)
	}
}
