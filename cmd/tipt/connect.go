package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/client"
	"github.com/tipt/tipt-go/internal/tap"
)

// remember puts --ca and --connect, where they are given, into the account, which
// register and sign-in then keep.
func (f accountFlags) remember(acc *account) error {
	if f.CA != "" {
		b, err := os.ReadFile(f.CA)
		if err != nil {
			return usage("--ca: %w", err)
		}
		if _, err := parseCertificates(b); err != nil {
			return usage("--ca: %s: %w", f.CA, err)
		}
		acc.CA = string(b)
	}
	if f.Connect != "" {
		if _, _, err := net.SplitHostPort(f.Connect); err != nil {
			return usage("--connect: %w; write HOST:PORT", err)
		}
		acc.Connect = f.Connect
	}
	return nil
}

// choose returns the account that the person wants to use.
func (i *invocation) choose() (*account, error) {
	acc, err := i.folder.choose(i.flags.As)
	if err != nil {
		return nil, err
	}
	return acc, i.flags.remember(acc)
}

// openChosen connects and signs in with that account, to ask something of its node.
func (i *invocation) openChosen(ctx context.Context) (*client.Client, *account, error) {
	acc, err := i.choose()
	if err != nil {
		return nil, nil, err
	}
	c, err := i.open(ctx, acc, true)
	return c, acc, err
}

// chooseWithKey is choose for commands that write or read messages.
func (i *invocation) chooseWithKey() (*account, error) {
	acc, err := i.choose()
	if err != nil {
		return nil, err
	}
	acc.key, err = i.folder.key(acc.address)
	return acc, err
}

// dial connects to the account's node without signing in.
func (i *invocation) dial(ctx context.Context, acc *account) (*client.Client, error) {
	var roots []*x509.Certificate
	if acc.CA != "" {
		var err error
		if roots, err = parseCertificates([]byte(acc.CA)); err != nil {
			return nil, fmt.Errorf("certificates kept for %s: %w", acc.address, err)
		}
	}
	i.status.node, i.status.connect = acc.address.Node, acc.Connect
	hook, err := i.tapClient(acc.address.Node)
	if err != nil {
		return nil, err
	}
	options := &client.Options{
		RootCAs:        roots,
		Connect:        acc.Connect,
		Device:         acc.Device,
		Key:            acc.key,
		OldKeys:        acc.oldKeys,
		KeyChanged:     i.warnKeyChanged,
		UserKeyChanged: refuseUserKey,
		Logger:         i.log,
		Tap:            hook,
	}
	if !acc.passing {
		options.Pins = i.folder.pins(acc.address)
		options.UserPins = i.folder.pins(acc.address)
	}
	c, err := client.Dial(ctx, acc.address.Node, options)
	switch {
	case err == nil:
		return c, nil
	case ctx.Err() != nil || errors.Is(err, client.ErrIncompatible):
		return nil, err
	}
	return nil, &unreachableError{node: acc.address.Node, connect: acc.Connect, err: err}
}

// reachTimeout bounds reach.
const reachTimeout = 15 * time.Second

// reach tries once whether a node answers by TLS, for commands that would find out later or say it worse.
func (i *invocation) reach(ctx context.Context, t tap.Target) error {
	bounded, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	conn, err := (&tls.Dialer{Config: t.TLS}).DialContext(bounded, "tcp", t.Address)
	switch {
	case err == nil:
		_ = conn.Close() // it was only to see whether there is one
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return &unreachableError{node: i.status.node, connect: i.flags.Connect, err: err}
}

// open connects and signs in with an account of this machine.
func (i *invocation) open(ctx context.Context, acc *account, sendOnly bool) (*client.Client, error) {
	c, err := i.dial(ctx, acc)
	if err != nil {
		return nil, err
	}
	if err := signInByToken(ctx, c, acc, sendOnly); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func signInByToken(ctx context.Context, c *client.Client, acc *account, sendOnly bool) error {
	_, err := c.SignIn(ctx, client.Credentials{
		User:     string(acc.address.User),
		Token:    acc.Token,
		SendOnly: sendOnly,
	})
	if errors.Is(err, tipt.ErrCredentials) {
		return fmt.Errorf("this device of %s has been signed out, by a change of the password or by hand; run `tipt sign-in %s`, or, if the account is gone from the node, `tipt register %s`: %w", acc.address, acc.address, acc.address, err)
	}
	return err
}

// warnKeyChanged implements client.Options.KeyChanged. A line being typed stays below what it prints.
func (i *invocation) warnKeyChanged(node tipt.NodeName, was, is string) error {
	_, err := fmt.Fprintf(i.status, `tipt: warning: the key of %s has changed
  it was %s
  it is  %s
Either the node was set up anew, or somebody on the way reads along. Ask its operator.
`, node, was, is)
	return err
}
