package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/bench/internal/process"
)

// A Rest is clients that are signed in and do nothing.
type Rest struct {
	Connections int
	// Size is the size in bytes of a message that each of them writes to itself, once the memory
	// has been measured before. 0: none does.
	Size int
	Hold time.Duration // how long they stay afterwards
}

// carrying is how many connections write to themselves at once.
const carrying = 32

// Idle holds connections and measures the memory of the node for each: as it is, and once the
// node has been made to collect its garbage, where Options say how.
func Idle(ctx context.Context, o Options, rest Rest) (*Report, error) {
	if rest.Connections < 1 {
		return nil, fmt.Errorf("%d connections, at least 1 is needed", rest.Connections)
	}
	t, err := o.Node.target(o.Roots)
	if err != nil {
		return nil, err
	}
	accounts, err := o.accounts(ctx, o.Node, t, rest.Connections)
	if err != nil {
		return nil, err
	}
	l := Load{Pairs: rest.Connections, Outstanding: 1, Size: max(rest.Size, headSize), Messages: rest.Connections}
	if err := l.check(); err != nil {
		return nil, err
	}
	key, err := o.nodeKey(ctx, t.name, t, accounts[0])
	if err != nil {
		return nil, err
	}
	r := &Report{Bench: "idle"}
	m := meter{o: &o, figures: &r.Figures, connections: rest.Connections}
	if err := m.begin(ctx); err != nil {
		return nil, err
	}

	f := o.emptyFlow(accounts, l)
	coming := f.snapshot()
	clients, err := o.connect(ctx, t, accounts)
	if err != nil {
		return nil, err
	}
	g := new(crowd)
	defer g.leave()
	for i, p := range f.pairs {
		p.from, clients[i].sends = clients[i], p
		p.receive(clients[i])
		clients[i].conn.BeforeWait = clients[i].conn.Shrink // there are many of them
		g.serve(clients[i], f.cut)
	}
	r.Figures.add("connections", float64(len(clients)))
	if came := f.snapshot(); len(o.PIDs) > 0 {
		r.Figures.add("node_cpu_us_per_connection", microseconds(came.cpu-coming.cpu)/float64(len(clients)))
	}
	r.span("connecting", f.began.Add(coming.at), time.Now())
	if err := f.window.failure(); err != nil {
		return nil, err
	}
	if err := m.measure(ctx, ""); err != nil {
		return nil, err
	}
	if rest.Size > 0 {
		began := time.Now()
		for first := 0; first < len(f.pairs); first += carrying {
			some := f.pairs[first:min(first+carrying, len(f.pairs))]
			if err := f.carry(ctx, some, t.name, key); err != nil {
				return nil, err
			}
			o.progress("carrying a message", first+len(some), len(f.pairs))
		}
		r.span("carrying a message", began, time.Now())
		if err := m.measure(ctx, "_after_a_message"); err != nil {
			return nil, err
		}
	}
	if err := sleep(ctx, max(rest.Hold, linger)); err != nil {
		return nil, err
	}
	g.leave()
	r.Mistakes = f.judge()
	return r, nil
}

// A meter measures memory for each connection.
type meter struct {
	o           *Options
	figures     *Figures
	connections int
	before      int64 // bytes without a connection
}

// begin measures the memory without a connection.
func (m *meter) begin(ctx context.Context) error {
	if err := process.Collect(ctx, m.o.Collect); err != nil {
		return err
	}
	var err error
	m.before, err = process.Resident(m.o.PIDs)
	if len(m.o.PIDs) > 0 {
		m.figures.add("node_bytes_before", float64(m.before))
	}
	return err
}

// measure adds the memory for each connection as it is now and after a collection.
func (m *meter) measure(ctx context.Context, when string) error {
	if len(m.o.PIDs) == 0 {
		return nil
	}
	now, err := process.Resident(m.o.PIDs)
	if err != nil {
		return err
	}
	m.figures.add("bytes_per_connection"+when, float64(now-m.before)/float64(m.connections))
	if m.o.Collect == "" {
		return nil
	}
	if err := process.Collect(ctx, m.o.Collect); err != nil {
		return err
	}
	if now, err = process.Resident(m.o.PIDs); err != nil {
		return err
	}
	m.figures.add("bytes_per_connection"+when+"_collected", float64(now-m.before)/float64(m.connections))
	return nil
}

// carry has each of some pairs send its one message, and waits until it has come.
func (f *flow) carry(ctx context.Context, some []*pair, node tipt.NodeName, key sealer) error {
	began, before := time.Now(), f.settled.Load()
	for _, p := range some {
		if err := p.seal(0, node, key, false); err != nil {
			return err
		}
		p.refill()
	}
	for f.settled.Load() < before+int64(len(some)) {
		if err := sleep(ctx, time.Millisecond); err != nil {
			return err
		}
		if time.Since(began) > f.patient {
			return nil // what is missing is lost
		}
	}
	return nil
}
