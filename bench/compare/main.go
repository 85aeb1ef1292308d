// Command compare measures other servers as `tipt bench` measures nodes: what memory an idle client
// that is signed in costs, and how many messages a second pass from senders to receivers. It speaks as
// much of their protocols as that takes. The server is running already, on this machine;
// docs/performance.md has the configurations that were used.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/tipt/tipt-go/bench"
)

// cli is the command line.
type cli struct {
	Register registerCmd `cmd:"" help:"Make the accounts that the other commands use."`
	Idle     idleCmd     `cmd:"" help:"Hold clients that are signed in and do nothing: memory for each."`
	Pairs    pairsCmd    `cmd:"" help:"Have pairs of clients write to each other, each message acknowledged: messages a second."`

	CA       string `name:"ca" type:"path" required:"" placeholder:"FILE" help:"Root certificate of the server's."`
	Name     string `default:"bench.example" placeholder:"NAME" help:"Name in the server's certificate, and of its domain (${default})."`
	Password string `default:"bench-password" placeholder:"TEXT" help:"Everybody's password; for centrifugo the key of tokens (${default})."`
	Format   string `enum:"text,json" default:"text" help:"Form of the report: text or json (${default})."`
}

// server is the one that is measured, and what of it.
type server struct {
	Protocol string `arg:"" enum:"${protocols}" placeholder:"PROTOCOL" help:"What it speaks: ${enum}."`
	Address  string `arg:"" placeholder:"HOST:PORT" help:"Where it listens for TLS."`
	PID      []int  `name:"pid" placeholder:"PID" help:"Its process, whose memory and time to measure. May be given again."`
}

type registerCmd struct {
	server
	Clients int `default:"5000" placeholder:"N" help:"How many (${default})."`
}

type idleCmd struct {
	server
	Connections int    `default:"5000" placeholder:"N" help:"Connections (${default})."`
	GC          string `name:"gc" placeholder:"CMD" help:"Shell command that has the server collect its garbage."`
}

type pairsCmd struct {
	server
	Pairs       int `default:"100" placeholder:"N" help:"Pairs of a sender and a receiver (${default})."`
	Outstanding int `short:"k" default:"8" placeholder:"N" help:"Messages of a pair under way at once (${default})."`
	Size        int `default:"200" placeholder:"BYTES" help:"Size of a message (${default})."`
	Messages    int `default:"20000" placeholder:"N" help:"Messages of all pairs together (${default})."`
}

func main() {
	var c cli
	command := kong.Parse(&c, kong.Description("Measure other servers as `tipt bench` measures nodes."),
		kong.Vars{"protocols": strings.Join(slices.Sorted(maps.Keys(protocols)), ",")})
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := c.run(ctx, command.Selected().Name, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "compare: %v\n", err)
		os.Exit(1)
	}
}

func (c *cli) run(ctx context.Context, command string, w io.Writer) error {
	pem, err := os.ReadFile(c.CA)
	if err != nil {
		return err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.Name, RootCAs: x509.NewCertPool()}
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("there is no certificate in %s", c.CA)
	}
	var r *bench.Report
	switch s := (site{config: config, password: c.Password, patience: 60 * time.Second}); command {
	case "register":
		return s.of(c.Register.server).register(ctx, c.Register.Clients)
	case "idle":
		r, err = s.of(c.Idle.server).idle(ctx, c.Idle.Connections, c.Idle.GC)
	default:
		p := c.Pairs
		r, err = s.of(p.server).pairs(ctx, load{pairs: p.Pairs, outstanding: p.Outstanding, size: p.Size, messages: p.Messages})
	}
	if err != nil {
		return err
	}
	write := map[string]func(io.Writer) error{"text": r.WriteText, "json": r.WriteJSON}[c.Format]
	if err := write(w); err != nil {
		return err
	}
	if r.Mistakes.Any() {
		return errors.New("the server made mistakes")
	}
	return nil
}
