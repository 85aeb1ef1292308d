package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/tipt/tipt-go/bench/internal/bare"
	"github.com/tipt/tipt-go/bench/internal/process"
	"github.com/tipt/tipt-go/seal"
)

// An Abuse is clients that do what no good client does, while good users write to each other.
type Abuse struct {
	By      string // what they do: one of [Abuses]
	Clients int
	// Requests is how many requests of unknown types all clients make together.
	Requests int
	Hold     time.Duration // how long they go on, where they do not end by themselves
	Quiet    time.Duration // how long good users work alone before
	After    time.Duration // how long the node has to give the memory back
	// Memory is how many bytes the node may take above what it has before.
	Memory int64
}

const (
	goodPairs = 20   // of good users
	goodRate  = 100. // messages a second of all of them, within the default limits
	// goodFor is how long the messages of good users last once the abuse has begun.
	goodFor = 5 * time.Minute

	// slower is how much longer good users' messages may take while others guess passwords.
	slower = 3
	// within is the part above the memory before that the node may keep.
	within = 0.1

	sampling = 20 * time.Millisecond // how often the memory is looked at
)

// An abuser is a way to abuse a node.
type abuser struct {
	signedIn bool // each client needs an account
	slower   bool // good users must not become slower by more than a factor
	run      func(s *siege, ctx context.Context) error
}

var abusers = map[string]abuser{
	"deaf":    {signedIn: true, run: (*siege).deaf},
	"drip":    {signedIn: true, run: (*siege).drip},
	"large":   {signedIn: true, run: (*siege).large},
	"unknown": {signedIn: true, run: (*siege).unknown},
	"guess":   {slower: true, run: (*siege).guess},
}

// Abuses are what an [Abuse] may be by: deaf clients, which never read what is written to them;
// those that drip, a byte a second; that send large packets, all at once; that make requests of
// unknown types; and that guess passwords.
func Abuses() []string { return slices.Sorted(maps.Keys(abusers)) }

func (a *Abuse) check() (abuser, error) {
	by, ok := abusers[a.By]
	switch {
	case !ok:
		return by, fmt.Errorf("abuse by %q, possible are %v", a.By, Abuses())
	case a.Clients < 1:
		return by, fmt.Errorf("%d clients, at least 1 is needed", a.Clients)
	case a.Hold < 0 || a.Quiet <= 0 || a.After < 0 || a.Memory < 0 || a.Requests < 0:
		return by, errors.New("a time, a number or a memory below zero, or no quiet time")
	}
	return by, nil
}

// A siege is an Abuse under way.
type siege struct {
	o        *Options
	abuse    Abuse
	target   target
	accounts []Account // of the clients, where they need any
	good     []Account // users who do nothing bad
	key      *seal.Certificate
	began    time.Time // of the abuse; those who abuse may set it anew when they have come

	mu     sync.Mutex // guards the following fields
	conns  []*bare.Conn
	counts map[string]int // how often what came of it
}

// count notes what came of something.
func (s *siege) count(what string) {
	s.mu.Lock()
	s.counts[what]++
	s.mu.Unlock()
}

// keep has the connection closed when the siege is over.
func (s *siege) keep(c *bare.Conn) {
	s.mu.Lock()
	s.conns = append(s.conns, c)
	s.mu.Unlock()
}

// end closes all connections.
func (s *siege) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.Close()
	}
	s.conns = nil
}

// Abused abuses a node and reports what memory it took, how it refused, and how good users
// fared meanwhile. Memory is measured where Options name processes.
func Abused(ctx context.Context, o Options, a Abuse) (*Report, error) {
	by, err := a.check()
	if err != nil {
		return nil, err
	}
	t, err := o.Node.target(o.Roots)
	if err != nil {
		return nil, err
	}
	n := 2 * goodPairs
	if by.signedIn {
		n += a.Clients
	}
	accounts, err := o.accounts(ctx, o.Node, t, n)
	if err != nil {
		return nil, err
	}
	good := accounts[:2*goodPairs]
	key, err := o.nodeKey(ctx, t.name, t, good[0])
	if err != nil {
		return nil, err
	}
	s := &siege{o: &o, abuse: a, target: t, accounts: accounts[2*goodPairs:], good: good, key: key, counts: make(map[string]int)}
	defer s.end()
	f, g, err := s.welcome(ctx)
	if err != nil {
		return nil, err
	}
	defer g.leave()

	r := &Report{Bench: "abuse by " + a.By}
	m := &watch{o: &o, figures: &r.Figures}
	if err := s.warm(ctx, &r.Figures); err != nil {
		return nil, err
	}
	stop := f.begin(ctx)
	defer stop()
	quiet := time.Since(f.began)
	if err := sleep(ctx, a.Quiet); err != nil {
		return nil, err
	}
	began := time.Since(f.began)
	if err := m.before(ctx); err != nil {
		return nil, err
	}
	// What the measurement has made slow counts for neither time.
	if err := sleep(ctx, linger); err != nil {
		return nil, err
	}
	s.began = time.Now()
	m.start()
	defer m.stop()
	err = by.run(s, ctx)
	s.end()
	abused, ended := s.began.Sub(f.began), time.Since(f.began)
	stop()
	if err != nil {
		return nil, err
	}
	r.Figures.add("clients", float64(a.Clients))
	r.Figures.add("abuse_seconds", (ended - abused).Seconds())
	for _, what := range slices.Sorted(maps.Keys(s.counts)) {
		r.Figures.add(what, float64(s.counts[what]))
	}
	r.span("quiet", f.began.Add(quiet), f.began.Add(began))
	r.span("abused", f.began.Add(abused), f.began.Add(ended))
	r.Figures.addLatencies("good_quiet", f.latenciesSent(quiet, began))
	r.Figures.addLatencies("good_abused", f.latenciesSent(abused, ended))
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	m.stop() // only now: what a node still does with what came may take the most
	if err := m.after(ctx); err != nil {
		return nil, err
	}
	g.leave()
	r.Mistakes = f.judge()
	r.Broken = append(m.broken(a.Memory), s.broken(by, r.Figures)...)
	return r, nil
}

// warm has as many clients as there will be come once, and go. What Go keeps of each for ever, 1 KiB
// or so, is no memory that an abuse takes.
func (s *siege) warm(ctx context.Context, figures *Figures) error {
	if len(s.o.PIDs) > 0 {
		cold, err := process.Resident(s.o.PIDs)
		if err != nil {
			return err
		}
		figures.add("node_mib_cold", mebibytes(cold))
	}
	err := s.each(ctx, "warming up", dialling, func(ctx context.Context, i int) error {
		_, err := s.enter(ctx, new(net.Dialer), i)
		return err
	})
	s.end()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.counts) > 0 {
		return fmt.Errorf("good clients are not let in: %v", s.counts)
	}
	return nil
}

// welcome connects the good users and seals their messages.
func (s *siege) welcome(ctx context.Context) (_ *flow, _ *crowd, err error) {
	l := Load{
		Pairs: goodPairs, Outstanding: 8, Size: 200, Rate: goodRate,
		Messages: int(goodRate * (s.abuse.Quiet + goodFor).Seconds()),
	}
	senders, receivers := s.good[:goodPairs], s.good[goodPairs:]
	f, err := s.o.newFlow(ctx, receivers, s.target.name, s.key, l)
	if err != nil {
		return nil, nil, err
	}
	clients, err := s.o.connect(ctx, s.target, s.good)
	if err != nil {
		return nil, nil, err
	}
	g := new(crowd)
	for i, p := range f.pairs {
		p.from, clients[i].sends = clients[i], p
		p.receive(clients[len(senders)+i])
	}
	for _, c := range clients {
		g.serve(c, f.cut)
	}
	return f, g, nil
}

// begin begins to send, until stop, which waits for what is under way.
func (f *flow) begin(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	f.start = time.Since(f.began)
	var sending sync.WaitGroup
	sending.Go(func() { f.send(ctx) })
	return sync.OnceFunc(func() {
		cancel()
		sending.Wait()
		for began := time.Now(); time.Since(began) < f.patient && !f.idle(); {
			time.Sleep(10 * time.Millisecond)
		}
	})
}

// idle reports whether all that was sent is done.
func (f *flow) idle() bool {
	var sent int64
	for _, p := range f.pairs {
		p.mu.Lock()
		sent += int64(p.next)
		p.mu.Unlock()
	}
	return f.settled.Load() >= sent
}

// latenciesSent returns how long the messages took that were sent, or due, in a time.
func (f *flow) latenciesSent(from, upto time.Duration) []time.Duration {
	var all []time.Duration
	for _, p := range f.pairs {
		p.mu.Lock()
		for i := range p.messages[:p.next] {
			if m := &p.messages[i]; m.arrived && m.sent >= from && m.sent < upto {
				all = append(all, m.came-m.sent)
			}
		}
		p.mu.Unlock()
	}
	return all
}

// wait waits for as long as the node has to give memory back.
func (s *siege) wait(ctx context.Context) error {
	for began := time.Now(); time.Since(began) < s.abuse.After; {
		s.o.progress("waiting for the node to be as before", int(time.Since(began).Seconds()), int(s.abuse.After.Seconds()))
		if err := sleep(ctx, min(time.Second, s.abuse.After-time.Since(began))); err != nil {
			return err
		}
	}
	return nil
}

// broken tells which bounds do not hold for good users.
func (s *siege) broken(by abuser, figures Figures) (broken []string) {
	abused, ok := figures.Get("good_abused_p99_ms")
	if !ok {
		return []string{"no good user's message came meanwhile"}
	}
	quiet, _ := figures.Get("good_quiet_p99_ms")
	if by.slower && abused > slower*quiet {
		broken = append(broken, fmt.Sprintf("p99 of good users is %.1f ms, more than %d times the quiet %.1f ms", abused, slower, quiet))
	}
	return broken
}
