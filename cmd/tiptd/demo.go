package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
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
	config, err := devTLS(ca)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	addr := make(chan net.Addr, 1)
	served := make(chan error, 1)
	go func() {
		served <- serve(ctx, streams{out: io.Discard, err: io.Discard}, service{
			name:         devName,
			listen:       "127.0.0.1:0",
			data:         filepath.Join(dir, "node"),
			tls:          config,
			registration: tipt.RegistrationOpen,
			log:          slog.New(slog.DiscardHandler),
			ready: func(a net.Addr, _ store.Store) error {
				addr <- a
				return nil
			},
		})
	}()
	select {
	case err := <-served:
		return err
	case a := <-addr:
		d := demo{out: s.out, ca: ca, addr: a.String()}
		err := d.play(ctx)
		stop()
		return errors.Join(err, <-served)
	}
}

// A demo shows what alice and bob say to their node.
type demo struct {
	ca   *devca.CA
	addr string

	mu  sync.Mutex // guards the following field
	out io.Writer
}

func (d *demo) say(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Fprintf(d.out, format+"\n", args...)
}

// play is the conversation: bob is away while alice writes, comes, and gets
// her message.
func (d *demo) play(ctx context.Context) error {
	d.say("A node called %s has just started on %s, over TLS. Each line below is one packet.", devName, d.addr)

	d.say("\nbob registers, signs in and goes away again:")
	err := d.visit(ctx, "bob", "bob-likes-tea", true, func(*client.Client) error { return nil })
	if err != nil {
		return err
	}
	d.say("\nalice registers, signs in and writes to bob. The node answers her once the message is on the disk:")
	bob := tipt.Address{User: "bob", Node: devName}
	err = d.visit(ctx, "alice", "alice-likes-jam", true, func(c *client.Client) error {
		return c.Send(ctx, client.Outgoing{To: bob, Text: "Hello, Bob! Are you there?"})
	})
	if err != nil {
		return err
	}
	d.say("\nbob comes back. The node delivers what has waited for him, and forgets it when he has taken it:")
	err = d.visit(ctx, "bob", "bob-likes-tea", false, func(c *client.Client) error {
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
func (d *demo) visit(ctx context.Context, user, password string, isNew bool, act func(*client.Client) error) error {
	block, _ := pem.Decode(d.ca.CertPEM())
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return fmt.Errorf("parse the root certificate: %w", err)
	}
	var conversation tap.Conversation
	c, err := client.Dial(ctx, devName, &client.Options{
		RootCAs: []*x509.Certificate{root},
		Connect: d.addr,
		Device:  "demo",
		Tap: func(sent bool, packet []byte) {
			arrow := fmt.Sprintf("%5s → node ", user)
			if !sent {
				arrow = fmt.Sprintf(" node → %-5s", user)
			}
			d.say("  %s %s", arrow, conversation.Describe(sent, packet))
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
