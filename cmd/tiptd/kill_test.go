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
	ledger *ledger
	rand   *rand.Rand
	leave  chan struct{} // closed when the participants are to leave

	mu   sync.Mutex    // guards the following fields
	life *life         // the newest
	born chan struct{} // closed when there is a newer one
}

// A life is the node between a start and its end.
type life struct {
	number int
	addr   string
	ctx    context.Context // ends with the process
}

func kill(t *testing.T, seed uint64) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	r := &trial{
		daemon: tipttest.NewDaemon(t, tiptd, "--registration", "open"),
		ledger: newLedger(tipttest.Name),
		rand:   rand.New(rand.NewPCG(seed, 0)),
		leave:  make(chan struct{}),
		born:   make(chan struct{}),
	}
	participants := []*participant{
		newParticipant(r, "ada", "desk", stays, "bob", "cyd", "dan", "eve", nobody),
		newParticipant(r, "bob", "desk", stays, "ada", "cyd", "dan", "eve", nobody),
		newParticipant(r, "cyd", "desk", shuffle, "ada", "eve"),
		newParticipant(r, "cyd", "phone", visits),
		newParticipant(r, "dan", "phone", visits),
		newParticipant(r, "dan", "desk", stays),
		newParticipant(r, "eve", "phone", late),
	}

	p := r.daemon.Start(t)
	register(t, r.daemon, p.Addr, "ada", "bob", "cyd", "dan", "eve")
	for _, one := range participants {
		if one.habit != late {
			r.introduce(ctx, t, p, one)
		}
	}
	var load sync.WaitGroup
	for _, one := range participants {
		load.Go(func() { one.run(ctx) })
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
		if !r.ledger.pass(life.ctx, r.rand.IntN(400)) {
			r.report(t)
			t.Fatalf("the node does not answer letters:\n%s", p.Log())
		}
		r.killSoon(p, 20*time.Millisecond)
	}

	p = r.daemon.Start(t)
	last := r.begin(ctx, livesPerRun+1, p)
	r.ledger.update(func() { r.ledger.closed = true })
	r.finish(ctx, t, p, participants)
	r.checkRegistered(last)
	close(r.leave)
	load.Wait()
	p.Stop()
	r.checkLog(p)
	r.checkTaken(ctx, t, participants)
	r.report(t)
	t.Log(r.ledger.summary())
}

// introduce gives a device its place in the mailbox. What the user's other devices take before
// that would never come to it.
func (r *trial) introduce(ctx context.Context, t *testing.T, p *tipttest.Process, one *participant) {
	t.Helper()
	c, err := dial(ctx, r.daemon, p.Addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.hang()
	if _, err := one.signIn(ctx, c); err != nil {
		t.Fatalf("%v: %v", one.device, err)
	}
}

// newRand returns another source of the run's seed.
func (r *trial) newRand() *rand.Rand { return rand.New(rand.NewPCG(r.rand.Uint64(), 0)) }

// begin tells the participants that the node is there.
func (r *trial) begin(ctx context.Context, number int, p *tipttest.Process) *life {
	r.ledger.live("serves on %s", p.Addr)
	life := &life{number: number, addr: p.Addr}
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
	r.ledger.live("is killed")
	p.Kill()
	r.ledger.live("is dead")
	r.checkLog(p)
}

// checkLog judges what a process has logged.
func (r *trial) checkLog(p *tipttest.Process) {
	log := p.Log()
	if strings.Contains(log, "level=ERROR") || strings.Contains(log, "panic") || strings.Contains(log, "goroutine ") {
		r.ledger.fail("the node logged\n%s", log)
	}
}

// registerSome registers some more users and notes who was answered.
func (r *trial) registerSome(life *life) {
	c, err := dial(life.ctx, r.daemon, life.addr, nil)
	if err != nil {
		return // killed
	}
	defer c.hang()
	for i := range 3 {
		name := fmt.Sprintf("user-%d-%d", life.number, i)
		switch err := c.register(life.ctx, name, password, ""); {
		case err == nil:
			r.ledger.update(func() { r.ledger.registered = append(r.ledger.registered, name) })
		case isRefusal(err):
			r.ledger.fail("register %s: %v", name, err)
		default:
			return // killed
		}
	}
}

// checkRegistered signs in as each whose REGISTER was answered.
func (r *trial) checkRegistered(life *life) {
	for _, name := range r.ledger.registered {
		c, err := dial(life.ctx, r.daemon, life.addr, nil)
		if err == nil {
			_, err = c.signIn(life.ctx, tipt.SignInRequest{User: name, Password: password})
			c.hang()
		}
		if err != nil {
			r.ledger.fail("%s was registered and cannot sign in: %v", name, err)
		}
	}
}

// finish waits until every letter is answered and has come wherever it is to come.
func (r *trial) finish(ctx context.Context, t *testing.T, p *tipttest.Process, participants []*participant) {
	t.Helper()
	var devices []*device
	for _, p := range participants {
		devices = append(devices, p.device)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	l := r.ledger
	l.await(ctx, func() bool { return len(l.wrong) > 0 || l.missingLocked(devices) == "" })
	r.report(t)
	l.mu.Lock()
	defer l.mu.Unlock()
	if missing := l.missingLocked(devices); missing != "" {
		t.Fatalf("%s\nthe node logged\n%s", missing, p.Log())
	}
}

// report fails the test when anything is wrong.
func (r *trial) report(t *testing.T) {
	t.Helper()
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	wrong := r.ledger.wrong
	for _, one := range wrong[:min(len(wrong), 5)] {
		t.Error(one)
	}
	if len(wrong) > 0 {
		t.Fatalf("%d things are wrong", len(wrong))
	}
}

// checkTaken starts the node, which has stopped in good order, once more. What was taken
// is gone: the first thing that comes to a device is what is sent to it now.
func (r *trial) checkTaken(ctx context.Context, t *testing.T, participants []*participant) {
	t.Helper()
	p := r.daemon.Start(t)
	r.ledger.live("serves on %s", p.Addr)
	first := make([]chan tipt.MessageID, len(participants))
	for i, one := range participants {
		first[i] = make(chan tipt.MessageID, 1)
		c, err := dial(ctx, r.daemon, p.Addr, func(request *link.Request) {
			var delivered tipt.DeliverRequest
			if err := delivered.Parse(request.Body, request.Newer); err != nil {
				r.ledger.fail("%v got %v after all: %v", one.device, tipt.ClientRequest(request.Code), err)
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
		defer c.hang()
		if _, err := one.signIn(ctx, c); err != nil {
			t.Fatalf("%v: %v", one.device, err)
		}
	}
	ada := signIn(t, r.daemon, p.Addr, "ada", func(r *link.Request) { r.Reply(nil) })
	last := make(map[string]tipt.MessageID)
	for _, one := range participants {
		to := one.device.user
		if _, sent := last[to]; sent {
			continue
		}
		last[to] = tipt.NewMessageID()
		body, err := message(ada.key, ada.node, to, last[to], []byte("the last word"), true)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := ada.ask(ctx, tipt.RequestForward, body)
		if err := accepted(answer, err, true); err != nil {
			t.Fatalf("send to %s: %v", to, err)
		}
	}
	for i, one := range participants {
		select {
		case id := <-first[i]:
			if id != last[one.device.user] {
				r.ledger.update(func() {
					r.ledger.wrongLocked(r.ledger.letters[id], "%v got %s, which it had taken before the node stopped in good order", one.device, id)
				})
			}
		case <-ctx.Done():
			t.Fatalf("nothing comes to %v", one.device)
		}
	}
}

func isRefusal(err error) bool {
	var refusal *tipt.Error
	var closed *link.CloseError
	return errors.As(err, &refusal) || errors.As(err, &closed)
}
