package bench

import (
	"context"
	"fmt"

	"github.com/tipt/tipt-go"
)

// A Load is messages between pairs of users, of which one writes and the other reads.
type Load struct {
	Pairs       int
	Outstanding int     // messages of a pair that have not been taken or not been answered, at most
	Size        int     // bytes of a message, at least 8
	Messages    int     // of all pairs together
	Rate        float64 // messages a second of all pairs together; 0: as many as Outstanding lets through
	Wait        bool    // FORWARD with `wait` true
	Reuse       bool    // the messages of a pair share a session key, as section 5.2 allows one connection's
}

func (l *Load) check() error {
	switch {
	case l.Pairs < 1:
		return fmt.Errorf("%d pairs, at least 1 is needed", l.Pairs)
	case l.Outstanding < 1 || l.Outstanding > tipt.MaxInFlight:
		return fmt.Errorf("%d messages outstanding, 1 to %d are possible", l.Outstanding, tipt.MaxInFlight)
	case l.Size < headSize || l.Size > tipt.MaxMessageSize:
		return fmt.Errorf("messages of %d bytes, %d to %d are possible", l.Size, headSize, tipt.MaxMessageSize)
	case l.Messages < l.Pairs:
		return fmt.Errorf("%d messages for %d pairs, at least one for each is needed", l.Messages, l.Pairs)
	case l.Rate < 0:
		return fmt.Errorf("%v messages a second", l.Rate)
	}
	return nil
}

// Pairs has pairs of users of one node write to each other. A message counts when the receiver
// has it and the sender the node's answer; both have been sealed before.
func Pairs(ctx context.Context, o Options, l Load) (*Report, error) {
	return across(ctx, "pairs", o, o.Node, l)
}

// Forward has users of o.Node write to users of another node.
func Forward(ctx context.Context, o Options, to Node, l Load) (*Report, error) {
	return across(ctx, "forward", o, to, l)
}

func across(ctx context.Context, name string, o Options, to Node, l Load) (*Report, error) {
	f, g, err := o.ready(ctx, to, l, false)
	if err != nil {
		return nil, err
	}
	defer g.leave()
	err = f.run(ctx, func(done, of int) { o.progress("sending", done, of) })
	g.leave()
	if err != nil {
		return nil, err
	}
	r := &Report{Bench: name}
	r.Figures.add("messages", float64(f.arrived.Load()))
	if err := f.addRate(r, "messages"); err != nil {
		return nil, err
	}
	r.Figures.addLatencies("latency", f.latencies())
	r.Mistakes = f.judge()
	return r, nil
}

// ready makes a flow from users of o.Node to users of another node, or the same, and connects the
// senders and, unless they are away, the receivers.
func (o *Options) ready(ctx context.Context, to Node, l Load, away bool) (_ *flow, _ *crowd, err error) {
	if err := l.check(); err != nil {
		return nil, nil, err
	}
	source, err := o.Node.target(o.Roots)
	if err != nil {
		return nil, nil, err
	}
	destination, err := to.target(o.Roots)
	if err != nil {
		return nil, nil, err
	}
	senders, receivers, err := o.users(ctx, source, to, destination, l.Pairs)
	if err != nil {
		return nil, nil, err
	}
	key, err := o.nodeKey(ctx, destination.name, source, senders[0])
	if err != nil {
		return nil, nil, err
	}
	f, err := o.newFlow(ctx, receivers, destination.name, key, l)
	if err != nil {
		return nil, nil, err
	}
	f.away = away
	g := new(crowd)
	defer func() {
		if err != nil {
			g.leave()
		}
	}()
	from, err := o.connect(ctx, source, senders)
	if err != nil {
		return nil, nil, err
	}
	for i, p := range f.pairs {
		p.from, from[i].sends = from[i], p
		g.serve(from[i], f.cut)
	}
	if away {
		return f, g, nil
	}
	into, err := o.connect(ctx, destination, receivers)
	if err != nil {
		return nil, nil, err
	}
	for i, p := range f.pairs {
		p.receive(into[i])
		g.serve(into[i], f.cut)
	}
	return f, g, nil
}

// receive makes c the pair's receiver. It is not served yet.
func (p *pair) receive(c *client) {
	p.to, c.takes = c, p
	c.conn.BeforeWait = func() { _ = p.from.conn.Flush() } // what is sent because something came
}

// users returns n senders and n receivers, all of them different.
func (o *Options) users(ctx context.Context, source target, to Node, destination target, n int) (senders, receivers []Account, err error) {
	if source.name == destination.name {
		all, err := o.accounts(ctx, o.Node, source, 2*n)
		if err != nil {
			return nil, nil, err
		}
		return all[:n], all[n:], nil
	}
	if senders, err = o.accounts(ctx, o.Node, source, n); err != nil {
		return nil, nil, err
	}
	receivers, err = o.accounts(ctx, to, destination, n)
	return senders, receivers, err
}
