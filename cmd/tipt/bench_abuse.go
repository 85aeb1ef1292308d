package main

import (
	"context"
	"time"

	"github.com/tipt/tipt-go/bench"
)

type abuseCmd struct {
	nodeArg
	By       string        `required:"" enum:"deaf,drip,large,unknown,guess" placeholder:"WHAT" help:"What is done: deaf, drip, large, unknown or guess, as below."`
	Clients  int           `default:"1000" placeholder:"N" help:"Clients (${default})."`
	Requests int           `default:"1000000" placeholder:"N" help:"Requests of unknown types (${default})."`
	Hold     time.Duration `default:"40s" placeholder:"TIME" help:"How long clients are deaf, drip or guess (${default})."`
	Quiet    time.Duration `default:"10s" placeholder:"TIME" help:"How long good users are alone before (${default})."`
	After    time.Duration `default:"1m" placeholder:"TIME" help:"How long the node has to give back the memory (${default})."`
	Memory   int64         `default:"640" placeholder:"MIB" help:"Memory that the node may take above what it has before, in MiB (${default})."`
}

// Help is shown below the flags.
func (abuseCmd) Help() string {
	return `While clients abuse the node, 20 pairs of good users write 100 messages a second to each
other. With --pid the node may take at most --memory, and must have given back all but a tenth of what
it had before --after the end; --gc lets that be measured after a collection, too. While others
guess passwords, the p99 of good users may be three times the quiet one. A bound that does not hold
makes the command fail.

deaf     each writes itself 100,000 bytes and never reads again
drip     a byte a second: of TLS, the upgrade, the HANDSHAKE, a record, a message
large    all send a message of the greatest size, at once
unknown  requests of a type that there is not, as many at once as there are ids
guess    wrong passwords without a wait, as good users and as nobody`
}

func (c *abuseCmd) Run(ctx context.Context, i *invocation, b *benchCmd) error {
	return b.run(ctx, i, c.URL, func(ctx context.Context, o bench.Options) (*bench.Report, error) {
		return bench.Abused(ctx, o, bench.Abuse{
			By: c.By, Clients: c.Clients, Requests: c.Requests, Hold: c.Hold, Quiet: c.Quiet, After: c.After, Memory: c.Memory << 20,
		})
	})
}
