package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/client"
	"github.com/tipt/tipt-go/internal/devca"
	"github.com/tipt/tipt-go/internal/tap"
	"github.com/tipt/tipt-go/store"
)

// demoCmd is `tiptd demo`.
type demoCmd struct{}

func (demoCmd) Run(ctx context.Context, s streams) (err error) {
	dir, err := os.MkdirTemp("", "tipt-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for the demo: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ca, err := devca.New()
	if err != nil {
		return err
	}
	p, err := newPlayground(ca, dir, "127.0.0.1:0", playNames(2))
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	d := demo{out: s.out, playground: p}
	up := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		quiet := streams{out: io.Discard, err: io.Discard}
		ended <- p.run(ctx, quiet, slog.New(slog.DiscardHandler), d.hop, func(i int, _ store.Store) error {
			if i == len(p.nodes)-1 {
				close(up)
			}
			return nil
		})
	}()
	select {
	case err := <-ended:
		return err
	case <-up:
		err := d.play(ctx)
		stop()
		return errors.Join(err, <-ended)
	}
}

// A demo shows what alice and bob say to their nodes, and those to each other.
type demo struct {
	playground *playground

	mu  sync.Mutex // guards the following field
	out io.Writer
}

func (d *demo) say(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Fprintf(d.out, format+"\n", args...)
}

// hop shows a request from one node to the other.
func (d *demo) hop(to tipt.NodeName, r *http.Request, status int) {
	what := "no sender"
	if from := r.Header.Get("Tipt-From"); from != "" {
		what = fmt.Sprintf("%d sealed bytes, vouched for: %s", r.ContentLength, from)
	}
	d.say("  %-18s HTTPS    %s %s → %d, %s", "→ "+to, r.Method, r.URL.Path, status, what)
}

// play is the conversation: bob is away while alice, on the other node,
// writes to him; he comes, and gets her message.
func (d *demo) play(ctx context.Context) error {
	one, two := d.playground.nodes[0], d.playground.nodes[1]
	d.say("Two nodes have just started: %s, where bob lives, and %s, where alice does.", one.name, two.name)
	d.say("Each line below is one packet between a client and its node, or one request between the nodes.")

	d.say("\nbob registers, signs in and goes away again:")
	err := d.visit(ctx, one, "bob", "bob-likes-tea", true, func(*client.Client) error { return nil })
	if err != nil {
		return err
	}
	d.say("\nalice registers, signs in and writes to bob. Her client asks for the key of bob's node,\nand then for bob's own, to seal to both. He has none, which only she can read: that answer, in `resp`, is\nsealed, and of the same length for everybody. Her node learns which node it goes to, not to whom\nand not what. She has her answer once the message is on the disk of bob's node:")
	bob := tipt.Address{User: "bob", Node: one.name}
	err = d.visit(ctx, two, "alice", "alice-likes-jam", true, func(c *client.Client) error {
		return c.Send(ctx, client.Outgoing{To: bob, Text: "Hello, Bob! Are you there?"})
	})
	if err != nil {
		return err
	}
	d.say("\nbob comes back. His node delivers what has waited for him, and forgets it when he has taken it:")
	err = d.visit(ctx, one, "bob", "bob-likes-tea", false, func(c *client.Client) error {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		err := c.Receive(ctx, func(_ context.Context, m client.Message) error {
			text, _ := m.Text()
			d.say("\n  %s wrote to bob: %s\n", m.From, text)
			stop()
			return nil
		})
		if errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	d.say("\nThat was all. Run `tiptd dev` to write messages of your own.")
	return nil
}

// visit opens a connection for a user who may be new, signs in, acts and closes.
func (d *demo) visit(ctx context.Context, n playNode, user, password string, isNew bool, act func(*client.Client) error) error {
	block, _ := pem.Decode(d.playground.ca.CertPEM())
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return fmt.Errorf("parse the root certificate: %w", err)
	}
	var conversation tap.Conversation
	c, err := client.Dial(ctx, n.name, &client.Options{
		RootCAs: []*x509.Certificate{root},
		Connect: n.addr(),
		Device:  "demo",
		Tap: func(sent bool, packet []byte) {
			arrow := fmt.Sprintf("%s → node", user)
			if !sent {
				arrow = fmt.Sprintf("node → %s", user)
			}
			d.say("  %-18s %s", arrow, conversation.Describe(sent, packet))
		},
	})
	if err != nil {
		return err
	}
	defer c.Close()
	if isNew {
		if err := c.Register(ctx, user, password, ""); err != nil {
			return err
		}
	}
	if _, err := c.SignIn(ctx, client.Credentials{User: user, Password: password}); err != nil {
		return err
	}
	return act(c)
}
