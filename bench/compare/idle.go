package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tipt/tipt-go/bench"
	"github.com/tipt/tipt-go/bench/internal/process"
)

// parallel is how many sign in at once.
const parallel = 64

// A site is a server as a generator sees it.
type site struct {
	protocol
	name     string // of the protocol
	address  string
	config   *tls.Config
	password string
	pids     []int
	// patience bounds each connection's way to a sign-in, and how long nothing may happen between pairs.
	patience time.Duration
}

// of returns the site for a server.
func (s site) of(o server) site {
	s.protocol, s.name, s.address, s.pids = protocols[o.Protocol], o.Protocol, o.Address, o.PID
	return s
}

func (s site) user(i int) user { return user{index: i, password: s.password} }

// dial connects and does something first, such as to sign in, for which there is a limited time.
func (s site) dial(ctx context.Context, u user, first func(*conn, user) error) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	c, err := dial(ctx, s.address, s.config)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, c.close)
	if err = first(c, u); err == nil && !stop() {
		err = ctx.Err()
	}
	if err != nil {
		stop()
		c.close()
		return nil, fmt.Errorf("%s: %w", u.name(), errors.Join(err, ctx.Err()))
	}
	return c, nil
}

// dialAll dials for the users from 0 to n-1.
func (s site) dialAll(ctx context.Context, n int, first func(*conn, user) error) ([]*conn, error) {
	all := make([]*conn, n)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i := range all {
		group.Go(func() (err error) {
			all[i], err = s.dial(ctx, s.user(i), first)
			return err
		})
	}
	err := group.Wait()
	if err != nil {
		closeAll(all)
	}
	return all, err
}

func closeAll(all []*conn) {
	for _, c := range all {
		if c != nil {
			c.close()
		}
	}
}

// register makes n accounts.
func (s site) register(ctx context.Context, n int) error {
	if s.protocol.register == nil {
		return fmt.Errorf("%s: accounts come from the server's configuration", s.name)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i := range n {
		group.Go(func() error {
			c, err := s.dial(ctx, s.user(i), s.protocol.register)
			if err == nil {
				c.close()
			}
			return err
		})
	}
	return group.Wait()
}

// idle holds n connections and measures the server's memory as bench.Idle does a node's.
func (s site) idle(ctx context.Context, n int, collect string) (*bench.Report, error) {
	if n < 1 {
		return nil, fmt.Errorf("%d connections, at least 1 is needed", n)
	}
	if err := process.Collect(ctx, collect); err != nil {
		return nil, err
	}
	before, err := process.Resident(s.pids)
	if err != nil {
		return nil, err
	}
	var (
		staying sync.WaitGroup
		leaving atomic.Bool
		cut     atomic.Int64
		mu      sync.Mutex
		all     []*conn // guarded by mu
	)
	leave := func() {
		leaving.Store(true)
		mu.Lock()
		closeAll(all)
		mu.Unlock()
		staying.Wait()
	}
	defer leave()
	// Who has signed in answers at once, while others still do.
	if _, err := s.dialAll(ctx, n, func(c *conn, u user) error {
		if err := s.signIn(c, u); err != nil {
			return err
		}
		mu.Lock()
		all = append(all, c)
		mu.Unlock()
		staying.Go(func() {
			if _ = s.stay(c); !leaving.Load() {
				cut.Add(1)
			}
		})
		return nil
	}); err != nil {
		return nil, err
	}

	r := &bench.Report{Bench: "idle " + s.name}
	measure := func(name string) error {
		now, err := process.Resident(s.pids)
		r.Figures = append(r.Figures, bench.Figure{Name: name, Value: float64(now-before) / float64(n)})
		return err
	}
	r.Figures = bench.Figures{{Name: "server_bytes_before", Value: float64(before)}, {Name: "connections", Value: float64(n)}}
	if err := measure("bytes_per_connection"); err != nil {
		return nil, err
	}
	if collect != "" {
		if err := process.Collect(ctx, collect); err != nil {
			return nil, err
		}
		if err := measure("bytes_per_connection_collected"); err != nil {
			return nil, err
		}
	}
	r.Mistakes.Cut = int(cut.Load())
	return r, nil
}
