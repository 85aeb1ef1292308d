package letters

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/link"
	"github.com/tipt/tipt-go/seal"
)

// Password is that of all participants.
const Password = "correct horse"

// holding is how many letters a device that takes them out of order has
// before it answers.
const holding = 16

// A Habit is how a device receives.
type Habit int

const (
	Stays   Habit = iota // takes each letter at once, whenever the node is there
	Shuffle              // takes letters in groups, each in an order of its own
	Visits               // comes for some letters, then is away for some
	Late                 // comes for the first time when no more letters are written
)

// A Participant of a load is a device that receives, and that writes where it has somebody
// to write to. Set its fields before it is used.
type Participant struct {
	Device *Device
	Habit  Habit
	Writes []tipt.Address // to whom
	// Pause is how long it rests after each letter that it writes, on average.
	Pause time.Duration
	// Hasty: it gives up some letters with `wait` true before they are answered, and
	// sends them again.
	Hasty bool

	ledger  *Ledger
	rand    *rand.Rand // of Use, and of what it runs
	token   []byte     // after the first SIGN_IN that was answered
	letters []*Letter
	numbers map[numbered]int
	keys    map[tipt.NodeName]*seal.Certificate // fetched on the connection at hand
	notYet  map[tipt.NodeName]time.Time         // keys that cannot be had before

	mu    sync.Mutex // guards the following fields, which are of the connection at hand
	held  []*link.Request
	left  int           // letters until the visit is over
	full  chan struct{} // closed when left is 0
	again []later
}

// numbered is what shares a count of letters.
type numbered struct {
	to   tipt.Address
	wait bool
}

// NewParticipant returns one that writes to nobody yet. source is its alone.
func (l *Ledger) NewParticipant(d *Device, h Habit, source *rand.Rand) *Participant {
	return &Participant{Device: d, Habit: h, ledger: l, rand: source, numbers: make(map[numbered]int)}
}

// Enter connects and signs in, by token as soon as there is one. What it receives from
// then on is noted.
func (p *Participant) Enter(ctx context.Context, at Door) (*Conn, error) {
	p.ledger.connected(p.Device)
	p.mu.Lock()
	p.held, p.left, p.full = nil, 1+p.rand.IntN(200), make(chan struct{})
	p.again = nil
	p.mu.Unlock()
	p.keys = make(map[tipt.NodeName]*seal.Certificate)
	p.notYet = make(map[tipt.NodeName]time.Time)
	c, err := Dial(ctx, at, p.receive)
	if err != nil {
		return nil, err
	}
	if err := p.SignIn(ctx, c); err != nil {
		c.Hang()
		return nil, err
	}
	return c, nil
}

// SignIn signs in.
func (p *Participant) SignIn(ctx context.Context, c *Conn) error {
	response, err := c.SignIn(ctx, tipt.SignInRequest{
		User:     string(p.Device.User.User),
		Device:   p.Device.Name,
		Password: Password,
		Token:    p.token,
		HasToken: p.token != nil,
		Receive:  true,
	})
	if err == nil && response.Token != nil {
		p.token = response.Token
	}
	return err
}

// Use writes and receives on a connection that Enter returned until it ends, ctx does,
// a visit is over, or the ledger dismisses the participants. Then the connection is dropped. It reports whether
// the device goes away for a while.
func (p *Participant) Use(ctx context.Context, c *Conn) (away bool) {
	ctx, stop := context.WithCancel(ctx)
	var writing sync.WaitGroup
	writing.Go(func() { p.write(ctx, c) })
	defer writing.Wait()
	defer c.Hang()
	defer stop()
	var full chan struct{}
	if p.Habit == Visits {
		full = p.full
	}
	select {
	case <-ctx.Done():
	case <-c.Ended:
	case <-full:
		return true
	case <-p.ledger.leaving:
		p.takeHeld()
		// Its answer says that the node has read all that was sent before.
		if _, err := c.Ask(ctx, tipt.RequestGetInfo, nil); err != nil {
			p.ledger.Fail("%v does not leave in good order: %v", p.Device, err)
		}
	}
	return false
}

// Away waits as long as a device that visits is away. It is false when ctx ended first.
func (p *Participant) Away(ctx context.Context) bool {
	return p.ledger.Pass(ctx, p.rand.IntN(200))
}

// receive notes what the node delivers and takes it, now or later.
func (p *Participant) receive(r *link.Request) {
	l := p.ledger
	var delivered tipt.DeliverRequest
	var returned tipt.ReturnRequest
	switch code := tipt.ClientRequest(r.Code); code {
	case tipt.RequestDeliver:
		if err := delivered.Parse(r.Body, r.Newer); err != nil {
			l.Fail("%v got a malformed DELIVER: %v", p.Device, err)
		} else {
			l.delivered(p.Device, delivered)
		}
	case tipt.RequestReturn:
		if err := returned.Parse(r.Body, r.Newer); err != nil {
			l.Fail("%v got a malformed RETURN: %v", p.Device, err)
		} else {
			l.cameBack(p.Device, returned)
		}
	default:
		l.Fail("%v got a request %v", p.Device, code)
	}
	p.mu.Lock()
	p.held = append(p.held, r)
	wait := p.Habit == Shuffle && len(p.held) < holding
	if p.left--; p.left == 0 {
		close(p.full)
	}
	p.mu.Unlock()
	if !wait {
		p.takeHeld()
	}
}

// takeHeld tells the node that what has come is taken.
func (p *Participant) takeHeld() {
	p.mu.Lock()
	held := p.held
	p.held = nil
	p.mu.Unlock()
	if p.Habit == Shuffle {
		rand.Shuffle(len(held), func(i, j int) { held[i], held[j] = held[j], held[i] })
	}
	for _, r := range held {
		r.Reply(nil)
	}
}
