package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/tipt/tipt-go/bench"
)

// benchCmd is `tipt bench`.
type benchCmd struct {
	Idle    idleCmd      `cmd:"" help:"Hold connections that do nothing: memory for each."`
	Pairs   pairsCmd     `cmd:"" help:"Have pairs of users write to each other: messages a second, latency."`
	Storm   stormCmd     `cmd:"" help:"Sign many clients in at once: sign-ins a second, latency."`
	Mailbox mailboxCmd   `cmd:"" help:"Write to users who are away, who then come: messages a second in and out."`
	Forward forwardToCmd `cmd:"" help:"Have users of one node write to those of another."`
	Abuse   abuseCmd     `cmd:"" help:"Do what no good client does, while others write to each other: memory, refusals, their latency."`

	Accounts string        `type:"path" placeholder:"FILE" help:"Accounts to use; what is missing is registered and added. By default all are registered and forgotten."`
	Seed     uint64        `placeholder:"N" help:"Of what is random: who writes to whom, and contents (${default})." default:"1"`
	PID      []int         `name:"pid" placeholder:"PID" help:"Process of the node, on this machine, whose memory and time to measure. May be given again."`
	GC       string        `name:"gc" placeholder:"CMD" help:"Shell command that has the node collect its garbage, such as \"tiptd gc --data DIR\"."`
	Patience time.Duration `default:"15s" help:"How long nothing may happen before what is missing counts as lost (${default})."`
	Format   string        `enum:"text,json" default:"text" help:"Form of the report: text or json (${default})."`
}

// Help is shown below the commands.
func (benchCmd) Help() string {
	return `The node must let its users work as fast as they can and, without --accounts, register
everybody: start tiptd with --limits off --registration open. Messages are sealed before the
time begins that is measured. Each message is looked at, and what is lost, doubled or out of
order is told and makes the command fail.

Example:
  tiptd serve --node node.example --limits off --registration open …
  tipt bench pairs wss://node.example --pid $(pgrep -x tiptd) --pairs 100 --outstanding 8

docs/performance.md says how to measure so that figures can be compared.`
}

// nodeArg is the node to put under load.
type nodeArg struct {
	URL string `arg:"" placeholder:"wss://NODE[:PORT]" help:"The node, as wss://NODE[:PORT]."`
}

type idleCmd struct {
	nodeArg
	Connections int           `default:"1000" placeholder:"N" help:"Connections (${default})."`
	Size        int           `placeholder:"BYTES" help:"Then have each carry a message of that size, and measure again."`
	Hold        time.Duration `placeholder:"TIME" help:"How long to stay afterwards."`
}

func (c *idleCmd) Run(ctx context.Context, i *invocation, b *benchCmd) error {
	return b.run(ctx, i, c.URL, func(ctx context.Context, o bench.Options) (*bench.Report, error) {
		return bench.Idle(ctx, o, bench.Rest{Connections: c.Connections, Size: c.Size, Hold: c.Hold})
	})
}

// loadFlags are those of messages between pairs.
type loadFlags struct {
	Pairs       int  `default:"100" placeholder:"N" help:"Pairs of a sender and a receiver (${default})."`
	Outstanding int  `short:"k" default:"8" placeholder:"N" help:"Messages of a pair under way at once (${default})."`
	Size        int  `default:"200" placeholder:"BYTES" help:"Size of a message (${default})."`
	Messages    int  `default:"20000" placeholder:"N" help:"Messages of all pairs together (${default})."`
	Reuse       bool `name:"reuse-keys" help:"One session key for all messages of a pair, rather than one for each."`
	Wait        bool `help:"Wait for the destination's answer: FORWARD with wait true, which keeps no order."`
}

func (f loadFlags) load() bench.Load {
	return bench.Load{Pairs: f.Pairs, Outstanding: f.Outstanding, Size: f.Size, Messages: f.Messages, Wait: f.Wait, Reuse: f.Reuse}
}

type pairsCmd struct {
	nodeArg
	loadFlags
	Rate float64 `placeholder:"N" help:"Messages a second of all pairs together. By default as many as --outstanding lets through."`
}

func (c *pairsCmd) Run(ctx context.Context, i *invocation, b *benchCmd) error {
	return b.run(ctx, i, c.URL, func(ctx context.Context, o bench.Options) (*bench.Report, error) {
		l := c.load()
		l.Rate = c.Rate
		return bench.Pairs(ctx, o, l)
	})
}

type stormCmd struct {
	nodeArg
	Clients  int     `default:"1000" placeholder:"N" help:"Clients (${default})."`
	Parallel int     `default:"256" placeholder:"N" help:"How many of them are at it at once (${default})."`
	Rate     float64 `placeholder:"N" help:"Begin so many a second, rather than --parallel at once."`
	Password bool    `help:"By password rather than by token."`
	Hashing  int     `placeholder:"N" help:"Have so many others sign in by password all the time."`
}

func (c *stormCmd) Run(ctx context.Context, i *invocation, b *benchCmd) error {
	return b.run(ctx, i, c.URL, func(ctx context.Context, o bench.Options) (*bench.Report, error) {
		return bench.Storm(ctx, o, bench.Crush{Clients: c.Clients, Parallel: c.Parallel, Rate: c.Rate, Password: c.Password, Hashing: c.Hashing})
	})
}

type mailboxCmd struct {
	nodeArg
	loadFlags
}

func (c *mailboxCmd) Run(ctx context.Context, i *invocation, b *benchCmd) error {
	return b.run(ctx, i, c.URL, func(ctx context.Context, o bench.Options) (*bench.Report, error) {
		return bench.Mailbox(ctx, o, c.load())
	})
}

type forwardToCmd struct {
	nodeArg
	loadFlags
	To         string `required:"" placeholder:"wss://NODE[:PORT]" help:"The node of the receivers."`
	ToConnect  string `placeholder:"HOST:PORT" help:"Where that one is reached, instead of port 443 of its name."`
	ToAccounts string `type:"path" placeholder:"FILE" help:"Accounts on that one, as --accounts."`
}

func (c *forwardToCmd) Run(ctx context.Context, i *invocation, b *benchCmd) error {
	return b.run(ctx, i, c.URL, func(ctx context.Context, o bench.Options) (*bench.Report, error) {
		return bench.Forward(ctx, o, bench.Node{URL: c.To, Connect: c.ToConnect, Accounts: c.ToAccounts}, c.load())
	})
}

// run puts the node under a load and prints what came of it.
func (c *benchCmd) run(ctx context.Context, i *invocation, url string, load func(context.Context, bench.Options) (*bench.Report, error)) error {
	o := bench.Options{
		Node:     bench.Node{URL: url, Connect: i.flags.Connect, Accounts: c.Accounts},
		Seed:     c.Seed,
		PIDs:     c.PID,
		Collect:  c.GC,
		Patience: c.Patience,
	}
	var err error
	if o.Roots, err = i.flags.roots(); err != nil {
		return err
	}
	p := progress{w: i.err}
	if f, ok := i.err.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		o.Progress = p.show
	}
	report, err := load(ctx, o)
	p.clear()
	if e, ok := errors.AsType[*bench.ConnectError](err); ok && ctx.Err() == nil {
		return &unreachableError{node: e.Node, connect: e.Connect, err: e.Err}
	}
	if err != nil {
		return err
	}
	write := map[string]func(io.Writer) error{"text": report.WriteText, "json": report.WriteJSON}[c.Format]
	if err := write(i.out); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	if len(report.Broken) > 0 {
		return fmt.Errorf("the node keeps %d of its bounds not", len(report.Broken))
	}
	if report.Mistakes.Any() {
		return fmt.Errorf("the node made mistakes: %v", &report.Mistakes)
	}
	return nil
}

// roots returns this machine's root certificates with the one of --ca; nil where that is not given.
func (f accountFlags) roots() (*x509.CertPool, error) {
	if f.CA == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, usage("--ca: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read this machine's root certificates: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, usage("--ca: %w", errors.New("there is no certificate in "+f.CA))
	}
	return pool, nil
}

// progress is a line on the terminal that is written over and over.
type progress struct {
	w io.Writer

	mu    sync.Mutex // guards the following fields
	shown time.Time  // when, last
}

// show is bench.Options.Progress, and conform.Progress.
func (p *progress) show(stage string, done, of int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.shown) < 100*time.Millisecond {
		return
	}
	p.shown = time.Now()
	fmt.Fprintf(p.w, "\r\x1b[K%s: %d of %d", stage, done, of)
}

// clear removes the line.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.shown.IsZero() {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
