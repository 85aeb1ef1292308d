package bench

import (
	"context"
	"time"
)

// Mailbox sends a load to receivers who are away, who then come and take it. The rate in counts
// messages that the node has answered, the one out those that it has delivered.
func Mailbox(ctx context.Context, o Options, l Load) (*Report, error) {
	f, g, err := o.ready(ctx, o.Node, l, true)
	if err != nil {
		return nil, err
	}
	defer g.leave()
	if err := f.run(ctx, func(done, of int) { o.progress("sending", done, of) }); err != nil {
		return nil, err
	}
	r := &Report{Bench: "mailbox"}
	r.Figures.add("messages", float64(f.settled.Load()))
	if err := f.addRate(&r.Figures, "in"); err != nil {
		return nil, err
	}
	if err := o.drain(ctx, f, g, r); err != nil {
		return nil, err
	}
	g.leave()
	r.Mistakes = f.judge()
	return r, nil
}

// drain signs the receivers in, all at once, and awaits what lies there.
func (o *Options) drain(ctx context.Context, f *flow, g *crowd, r *Report) error {
	t, err := o.Node.target(o.Roots)
	if err != nil {
		return err
	}
	var clients []*client
	for _, p := range f.pairs {
		conn, err := t.dial(ctx)
		if err != nil {
			hangUp(clients)
			return err
		}
		c := &client{conn: conn, account: p.receiver}
		p.receive(c)
		clients = append(clients, c)
	}
	before := f.snapshot()
	for _, c := range clients {
		g.arrive(ctx, c, f.cut)
	}
	expected := f.settled.Load() - f.refused.Load()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for n, since := int64(-1), time.Now(); n < expected && time.Since(since) < f.patient; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-look.C:
		}
		if m := f.arrived.Load(); m != n {
			n, since = m, time.Now()
			o.progress("draining", int(n), int(expected))
		}
	}
	after := f.snapshot()
	if err := sleep(ctx, linger); err != nil {
		return err
	}
	if last := f.lastCame(); last > before.at {
		r.Figures.add("out_per_second", float64(f.arrived.Load())/(last-before.at).Seconds())
	}
	if len(f.pids) > 0 {
		r.Figures.add("node_cpu_us_per_message_out", microseconds(after.cpu-before.cpu)/float64(max(expected, 1)))
	}
	return f.window.failure()
}

// arrive signs a client in and serves it.
func (g *crowd) arrive(ctx context.Context, c *client, lost func(*client, error)) {
	g.mu.Lock()
	g.clients = append(g.clients, c)
	g.mu.Unlock()
	g.served.Go(func() {
		defer c.conn.Close()
		err := c.signIn(ctx)
		if err == nil {
			err = c.serve()
		}
		if !g.ending.Load() {
			lost(c, err)
		}
	})
}

// lastCame is when the last message came.
func (f *flow) lastCame() time.Duration {
	var last time.Duration
	for _, p := range f.pairs {
		p.mu.Lock()
		for i := range p.messages[:p.next] {
			last = max(last, p.messages[i].came)
		}
		p.mu.Unlock()
	}
	return last
}
