package bench

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tipt/tipt-go/bench/internal/bare"
	"github.com/tipt/tipt-go/bench/internal/process"
)

// A Crush is clients that sign in, each on a connection of its own, which it keeps.
type Crush struct {
	Clients  int
	Parallel int     // that are at it at once; without a Rate
	Rate     float64 // that begin in a second; 0: as soon as another one of the Parallel is done
	Password bool    // rather than by token. The accounts must have passwords
	// Hashing is how many further clients sign in by password all the time, again and again.
	Hashing int
}

func (s *Crush) check() error {
	switch {
	case s.Clients < 1:
		return fmt.Errorf("%d clients, at least 1 is needed", s.Clients)
	case s.Parallel < 1:
		return fmt.Errorf("%d clients at once, at least 1 is needed", s.Parallel)
	case s.Rate < 0 || s.Hashing < 0:
		return fmt.Errorf("%v clients a second, %d by password all the time", s.Rate, s.Hashing)
	}
	return nil
}

// A storm is a Crush under way.
type storm struct {
	o        *Options
	target   target
	crush    Crush
	accounts []Account

	mu        sync.Mutex // guards the following fields
	conns     []*bare.Conn
	latencies []time.Duration
	hashed    int
	mistakes  Mistakes
}

// Storm signs clients in. What is measured of each is TLS, the upgrade, HANDSHAKE and SIGN_IN.
func Storm(ctx context.Context, o Options, crush Crush) (*Report, error) {
	if err := crush.check(); err != nil {
		return nil, err
	}
	t, err := o.Node.target(o.Roots)
	if err != nil {
		return nil, err
	}
	accounts, err := o.accounts(ctx, o.Node, t, crush.Clients+crush.Hashing)
	if err != nil {
		return nil, err
	}
	for _, a := range accounts {
		if a.Password == "" && (crush.Password || crush.Hashing > 0) {
			return nil, fmt.Errorf("there is no password of %s in %s", a.User, o.Node.Accounts)
		}
	}
	// What a client costs is not what is measured.
	if t, err = t.trusting(ctx); err != nil {
		return nil, err
	}
	s := &storm{o: &o, target: t, crush: crush, accounts: accounts}
	defer s.end()
	stopHashing := s.hash(ctx)
	defer stopHashing()

	before, cpuErr := process.CPU(o.PIDs)
	if cpuErr != nil {
		return nil, cpuErr
	}
	own, cpuErr := process.OwnCPU()
	if cpuErr != nil {
		return nil, cpuErr
	}
	began := time.Now()
	s.run(ctx)
	elapsed := time.Since(began)
	after, cpuErr := process.CPU(o.PIDs)
	if cpuErr != nil {
		return nil, cpuErr
	}
	ownAfter, cpuErr := process.OwnCPU()
	if cpuErr != nil {
		return nil, cpuErr
	}
	stopHashing()
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}

	r := &Report{Bench: "storm", Mistakes: s.mistakes}
	n := len(s.latencies)
	r.Figures.add("sign_ins", float64(n))
	r.Figures.add("sign_ins_per_second", float64(n)/elapsed.Seconds())
	if len(o.PIDs) > 0 && n > 0 && crush.Hashing == 0 {
		r.Figures.add("node_cpu_us_per_sign_in", microseconds(after-before)/float64(n))
		r.Figures.add("node_busy_percent", percent(after-before, elapsed))
	}
	if crush.Hashing > 0 {
		r.Figures.add("others_by_password_per_second", float64(s.hashed)/elapsed.Seconds())
	}
	r.Figures.add("generator_busy_percent", percent(ownAfter-own, elapsed))
	r.Figures.addLatencies("latency", s.latencies)
	r.span("signing in", began, began.Add(elapsed))
	return r, nil
}

// run signs all clients in.
func (s *storm) run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	if s.crush.Rate > 0 {
		began := time.Now()
		for i := range s.crush.Clients {
			due := time.Duration(float64(i) / s.crush.Rate * float64(time.Second))
			if sleep(ctx, due-time.Since(began)) != nil {
				return
			}
			all.Go(func() { s.signIn(ctx, i) })
		}
		return
	}
	next := make(chan int)
	for range min(s.crush.Parallel, s.crush.Clients) {
		all.Go(func() {
			for i := range next {
				s.signIn(ctx, i)
			}
		})
	}
	for i := range s.crush.Clients {
		next <- i
	}
	close(next)
}

// signIn signs the i-th client in, waiting as long as it is told to.
func (s *storm) signIn(ctx context.Context, i int) {
	began := time.Now()
	var conn *bare.Conn
	err := patiently(ctx, func() (err error) {
		conn, err = s.attempt(ctx, s.accounts[i], s.crush.Password)
		return err
	})
	latency := time.Since(began)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.mistakes.add(&s.mistakes.Cut, "%s: %v", s.accounts[i].User, err)
		return
	}
	s.conns = append(s.conns, conn)
	s.latencies = append(s.latencies, latency)
	s.o.progress("signing in", len(s.latencies), s.crush.Clients)
}

func (s *storm) attempt(ctx context.Context, a Account, password bool) (*bare.Conn, error) {
	conn, err := s.target.dial(ctx)
	if err != nil {
		return nil, err
	}
	r := a.byToken(true)
	if password {
		r = a.byPassword()
		// Another device, so that the token in the file goes on serving, and one without a place, so
		// that nothing is kept for it.
		r.Device, r.Receive = "storm", false
	}
	if _, _, err := signIn(ctx, conn, r); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// hash has the clients sign in by password again and again until stop, which waits for their end.
func (s *storm) hash(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	for _, a := range s.accounts[s.crush.Clients:] {
		all.Go(func() {
			for ctx.Err() == nil {
				err := patiently(ctx, func() error {
					conn, err := s.attempt(ctx, a, true)
					if err == nil {
						conn.Close()
					}
					return err
				})
				s.mu.Lock()
				switch {
				case err == nil:
					s.hashed++
				case ctx.Err() == nil:
					s.mistakes.add(&s.mistakes.Cut, "%s, by password: %v", a.User, err)
					s.mu.Unlock()
					return
				}
				s.mu.Unlock()
			}
		})
	}
	return func() { cancel(); all.Wait() }
}

// end ends the connections.
func (s *storm) end() {
	for _, conn := range s.conns {
		conn.Close()
	}
}
