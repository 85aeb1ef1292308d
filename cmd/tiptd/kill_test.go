package main_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/letters"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/link"
)

var (
	kills = flag.Int("kills", 3, "how many runs TestKill makes; in each a node is killed several times")
	seed  = flag.Uint64("seed", 1, "seed of TestKill's first run; those of the others are made up and printed")
)

// livesPerRun is how often the node of one run is started and killed.
const livesPerRun = 8

// A real node process is killed at random moments under load and started again on the same
// data, and its clients resume. In the end nothing that was answered is lost, `wait` false keeps
// its order, and nothing comes twice but under the same `from` and `mid`.
//
//	go test ./cmd/tiptd -run '^TestKill$' -kills 50
func TestKill(t *testing.T) {
	for i := range *kills {
		s := *seed
		if i > 0 {
			s = rand.Uint64()
		}
		t.Run(fmt.Sprintf("seed %d", s), func(t *testing.T) { kill(t, s) })
	}
}

// A trial is one run of TestKill.
type trial struct {
	daemon *tipttest.Daemon
	ledger *letters.Ledger
	rand   *rand.Rand

	mu         sync.Mutex    // guards the following fields
	life       *life         // the newest
	born       chan struct{} // closed when there is a newer one
	registered []string      // by name: REGISTER was answered
}

// A life is the node between a start and its end.
type life struct {
	number int
	door   letters.Door
	ctx    context.Context // ends with the process
}

func kill(t *testing.T, seed uint64) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	r := &trial{
		daemon: tipttest.NewDaemon(t, tiptd, "--registration", "open"),
		ledger: letters.New(letters.NoExcuses{}),
		rand:   rand.New(rand.NewPCG(seed, 0)),
		born:   make(chan struct{}),
	}
	participants := []*letters.Participant{
		r.participant("ada", "desk", letters.Stays, "bob", "cyd", "dan", "eve", letters.Nobody),
		r.participant("bob", "desk", letters.Stays, "ada", "cyd", "dan", "eve", letters.Nobody),
		r.participant("cyd", "desk", letters.Shuffle, "ada", "eve"),
		r.participant("cyd", "phone", letters.Visits),
		r.participant("dan", "phone", letters.Visits),
		r.participant("dan", "desk", letters.Stays),
		r.participant("eve", "phone", letters.Late),
	}

	p := r.daemon.Start(t)
	register(t, r.daemon, p.Addr, "ada", "bob", "cyd", "dan", "eve")
	for _, one := range participants {
		if one.Habit != letters.Late {
			r.introduce(ctx, t, p, one)
		}
	}
	var load sync.WaitGroup
	for _, one := range participants {
		load.Go(func() { r.run(ctx, one) })
	}
	defer load.Wait()
	defer cancel()

	for number := 1; number <= livesPerRun; number++ {
		if number > 1 {
			p = r.daemon.Launch(t)
			if r.rand.IntN(4) == 0 {
				r.killSoon(p, 100*time.Millisecond) // while it starts, or just after
				continue
			}
			p.Serving()
		}
		life := r.begin(ctx, number, p)
		load.Go(func() { r.registerSome(life) })
		if !r.ledger.Pass(life.ctx, r.rand.IntN(400)) {
			r.report(t)
			t.Fatalf("the node does not answer letters:\n%s", p.Log())
		}
		r.killSoon(p, 20*time.Millisecond)
	}

	p = r.daemon.Start(t)
	last := r.begin(ctx, livesPerRun+1, p)
	r.ledger.Close()
	r.finish(ctx, t, p, participants)
	r.checkRegistered(last)
	r.ledger.Dismiss()
	load.Wait()
	p.Stop()
	r.checkLog(p)
	r.checkTaken(ctx, t, participants)
	r.report(t)
	t.Log(r.ledger.Summary())
}

// address is that of a user of the node.
func (r *trial) address(user tipt.UserName) tipt.Address {
	return tipt.Address{User: user, Node: r.daemon.Name}
}

// note adds what happened to the node to the history of all letters.
func (r *trial) note(format string, args ...any) {
	r.ledger.Note([]tipt.NodeName{r.daemon.Name}, format, args...)
}

func (r *trial) participant(user tipt.UserName, device string, h letters.Habit, writes ...tipt.UserName) *letters.Participant {
	p := r.ledger.NewParticipant(letters.NewDevice(r.address(user), device), h, rand.New(rand.NewPCG(r.rand.Uint64(), 0)))
	for _, to := range writes {
		p.Writes = append(p.Writes, r.address(to))
	}
	return p
}

func (r *trial) door(p *tipttest.Process) letters.Door {
	return letters.Door{Node: r.daemon.Name, Addr: p.Addr, Roots: r.daemon.CA.Pool()}
}

// introduce gives a device its place in the mailbox. What the user's other devices take before
// that would never come to it.
func (r *trial) introduce(ctx context.Context, t *testing.T, p *tipttest.Process, one *letters.Participant) {
	t.Helper()
	c, err := one.Enter(ctx, r.door(p))
	if err != nil {
		t.Fatalf("%v: %v", one.Device, err)
	}
	c.Hang()
}

// run plays a participant through all lives of the node.
func (r *trial) run(ctx context.Context, p *letters.Participant) {
	if p.Habit == letters.Late && !r.ledger.AwaitClose(ctx) {
		return
	}
	for number := 1; ; number++ {
		life := r.lifeFrom(ctx, number)
		if life == nil {
			return
		}
		number = life.number
		for r.connect(life, p) && p.Away(life.ctx) {
		}
		select {
		case <-life.ctx.Done():
		case <-r.ledger.Leaving():
			return
		}
	}
}

// connect makes one connection and uses it to its end. It is true when it ended
// because the device goes away for a while.
func (r *trial) connect(life *life, p *letters.Participant) (away bool) {
	c, err := p.Enter(life.ctx, life.door)
	if err == nil {
		away = p.Use(life.ctx, c)
		err = c.Cause
	}
	// A node that is killed neither refuses nor closes.
	if isRefusal(err) {
		r.ledger.Fail("%v was turned away: %v", p.Device, err)
	}
	return away
}

// begin tells the participants that the node is there.
func (r *trial) begin(ctx context.Context, number int, p *tipttest.Process) *life {
	r.note("the node serves on %s", p.Addr)
	life := &life{number: number, door: r.door(p)}
	var end context.CancelFunc
	life.ctx, end = context.WithCancel(ctx)
	go func() {
		defer end()
		<-p.Done()
	}()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.life = life
	close(r.born)
	r.born = make(chan struct{})
	return life
}

// lifeFrom waits for the first life that is not before number. It is nil when ctx ended first.
func (r *trial) lifeFrom(ctx context.Context, number int) *life {
	for {
		r.mu.Lock()
		life, born := r.life, r.born
		r.mu.Unlock()
		if life != nil && life.number >= number {
			return life
		}
		select {
		case <-born:
		case <-ctx.Done():
			return nil
		}
	}
}

// killSoon kills the process at a random moment within d.
func (r *trial) killSoon(p *tipttest.Process, d time.Duration) {
	time.Sleep(time.Duration(r.rand.Int64N(int64(d))))
	r.note("the node is killed")
	p.Kill()
	r.note("the node is dead")
	r.checkLog(p)
}

// checkLog judges what a process has logged.
func (r *trial) checkLog(p *tipttest.Process) {
	log := p.Log()
	if strings.Contains(log, "level=ERROR") || strings.Contains(log, "panic") || strings.Contains(log, "goroutine ") {
		r.ledger.Fail("the node logged\n%s", log)
	}
}

// registerSome registers some more users and notes who was answered.
func (r *trial) registerSome(life *life) {
	c, err := letters.Dial(life.ctx, life.door, nil)
	if err != nil {
		return // killed
	}
	defer c.Hang()
	for i := range 3 {
		name := fmt.Sprintf("user-%d-%d", life.number, i)
		switch err := c.Register(life.ctx, name, password, ""); {
		case err == nil:
			r.mu.Lock()
			r.registered = append(r.registered, name)
			r.mu.Unlock()
		case isRefusal(err):
			r.ledger.Fail("register %s: %v", name, err)
		default:
			return // killed
		}
	}
}

// checkRegistered signs in as each whose REGISTER was answered.
func (r *trial) checkRegistered(life *life) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range r.registered {
		c, err := letters.Dial(life.ctx, life.door, nil)
		if err == nil {
			_, err = c.SignIn(life.ctx, tipt.SignInRequest{User: name, Password: password})
			c.Hang()
		}
		if err != nil {
			r.ledger.Fail("%s was registered and cannot sign in: %v", name, err)
		}
	}
}

// finish waits until every letter is answered and has come wherever it is to come.
func (r *trial) finish(ctx context.Context, t *testing.T, p *tipttest.Process, participants []*letters.Participant) {
	t.Helper()
	var devices []*letters.Device
	for _, p := range participants {
		devices = append(devices, p.Device)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	missing := r.ledger.Settle(ctx, devices)
	r.ledger.Judge()
	r.report(t)
	if missing != "" {
		t.Fatalf("%s\nthe node logged\n%s", missing, p.Log())
	}
}

// report fails the test when anything is wrong.
func (r *trial) report(t *testing.T) {
	t.Helper()
	wrong := r.ledger.Wrong()
	for _, one := range wrong[:min(len(wrong), 5)] {
		t.Error(one)
	}
	if len(wrong) > 0 {
		t.Fatalf("%d things are wrong", len(wrong))
	}
}

// checkTaken starts the node, which has stopped in good order, once more. What was taken
// is gone: the first thing that comes to a device is what is sent to it now.
func (r *trial) checkTaken(ctx context.Context, t *testing.T, participants []*letters.Participant) {
	t.Helper()
	p := r.daemon.Start(t)
	r.note("the node serves on %s", p.Addr)
	first := make([]chan tipt.MessageID, len(participants))
	for i, one := range participants {
		first[i] = make(chan tipt.MessageID, 1)
		c, err := letters.Dial(ctx, r.door(p), func(request *link.Request) {
			var delivered tipt.DeliverRequest
			if err := delivered.Parse(request.Body, request.Newer); err != nil {
				r.ledger.Fail("%v got %v after all: %v", one.Device, tipt.ClientRequest(request.Code), err)
			}
			select {
			case first[i] <- delivered.ID:
			default:
			}
			request.Reply(nil)
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Hang()
		if err := one.SignIn(ctx, c); err != nil {
			t.Fatalf("%v: %v", one.Device, err)
		}
	}
	ada := signIn(t, r.daemon, p.Addr, "ada", func(r *link.Request) { r.Reply(nil) })
	last := make(map[tipt.Address]tipt.MessageID)
	for _, one := range participants {
		to := one.Device.User
		if _, sent := last[to]; sent {
			continue
		}
		last[to] = tipt.NewMessageID()
		body, err := letters.Message(ada.key, to, last[to], []byte("the last word"), true)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := ada.ask(ctx, tipt.RequestForward, body)
		if err := letters.Accepted(answer, err, true); err != nil {
			t.Fatalf("send to %s: %v", to, err)
		}
	}
	for i, one := range participants {
		select {
		case id := <-first[i]:
			if id != last[one.Device.User] {
				r.ledger.FailAbout(id, "%v got %s, which it had taken before the node stopped in good order", one.Device, id)
			}
		case <-ctx.Done():
			t.Fatalf("nothing comes to %v", one.Device)
		}
	}
}

func isRefusal(err error) bool {
	var refusal *tipt.Error
	var closed *link.CloseError
	return errors.As(err, &refusal) || errors.As(err, &closed)
}
