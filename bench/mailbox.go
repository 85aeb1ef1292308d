package bench

import (
	"context"
	"sync"
	"time"
)

// keeping is how long a node may take to note what clients have taken, and to remove it.
const keeping = 1500 * time.Millisecond

// Mailbox sends a load to receivers who are away, who then come and take it. The rate in counts
// messages that the node has answered, the one out those that it has delivered. Processor time out is
// without that of the receivers' sign-ins, which they make again when nothing lies there any more.
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
	if err := f.addRate(r, "in"); err != nil {
		return nil, err
	}
	if err := o.drain(ctx, f, r); err != nil {
		return nil, err
	}
	g.leave()
	r.Mistakes = f.judge()
	return r, nil
}

// drain has the receivers come for what lies there, go, and come for nothing.
func (o *Options) drain(ctx context.Context, f *flow, r *Report) error {
	expected := f.settled.Load() - f.refused.Load()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	from, upto, err := o.come(ctx, f, func() error {
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
		return nil
	})
	if err != nil {
		return err
	}
	if last := f.lastCame(); last > from.at {
		r.Figures.add("out_per_second", float64(f.arrived.Load())/(last-from.at).Seconds())
		r.span("out", f.began.Add(from.at), f.began.Add(last))
	}
	if len(f.pids) == 0 {
		return nil
	}
	again, done, err := o.come(ctx, f, func() error { return nil })
	if err != nil {
		return err
	}
	signIns := done.cpu - again.cpu
	r.Figures.add("node_cpu_us_per_message_out", microseconds(upto.cpu-from.cpu-signIns)/float64(max(expected, 1)))
	r.Figures.add("node_cpu_us_per_receiver", microseconds(signIns)/float64(len(f.pairs)))
	return f.window.failure()
}

// come connects the receivers, signs them in, all at once, and once they are, waits, at first
// as the caller says. They have gone when it returns what there was when the first one signed in and at
// the end.
func (o *Options) come(ctx context.Context, f *flow, wait func() error) (from, upto snapshot, err error) {
	t, err := o.Node.target(o.Roots)
	if err != nil {
		return from, upto, err
	}
	var clients []*client
	defer func() { hangUp(clients) }()
	for _, p := range f.pairs {
		conn, err := t.dial(ctx)
		if err != nil {
			return from, upto, err
		}
		c := &client{conn: conn, account: p.receiver}
		p.receive(c)
		clients = append(clients, c)
	}
	// What the connections cost, and the end of those before, is not part of it.
	if err := sleep(ctx, linger); err != nil {
		return from, upto, err
	}
	from = f.snapshot()
	g := new(crowd)
	defer g.leave()
	var arriving sync.WaitGroup
	for _, c := range clients {
		arriving.Add(1)
		g.arrive(ctx, c, f.cut, arriving.Done)
	}
	arriving.Wait()
	if err := wait(); err != nil {
		return from, upto, err
	}
	if err := sleep(ctx, keeping); err != nil {
		return from, upto, err
	}
	return from, f.snapshot(), nil
}

// arrive signs a client in and serves it. In is called when it is signed in, or never will be.
func (g *crowd) arrive(ctx context.Context, c *client, lost func(*client, error), in func()) {
	g.mu.Lock()
	g.clients = append(g.clients, c)
	g.mu.Unlock()
	g.served.Go(func() {
		defer c.conn.Close()
		err := c.signIn(ctx)
		in()
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
