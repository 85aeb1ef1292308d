package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/client"
)

// openChosen connects and signs in with the account that the person wants to use.
func (i *invocation) openChosen(ctx context.Context) (*client.Client, tipt.Address, error) {
	acc, err := i.choose()
	if err != nil {
		return nil, tipt.Address{}, err
	}
	cl, err := i.open(ctx, acc, false)
	return cl, acc.address, err
}

// passing makes an account of the variables TIPT_URL, TIPT_USER and TIPT_PASS that lasts until end is
// called, and returns what signs in with it, and the address in TIPT_TO.
func (i *invocation) passing() (to string, open func(context.Context) (*client.Client, tipt.Address, error), end func(), err error) {
	where, user, pass := os.Getenv("TIPT_URL"), os.Getenv("TIPT_USER"), os.Getenv("TIPT_PASS")
	to = os.Getenv("TIPT_TO")
	if where == "" || user == "" || pass == "" || to == "" {
		return "", nil, nil, usage("say with whom, as in `tipt chat bob@example.org`")
	}
	u, err := url.Parse(where)
	if err != nil || u.Scheme != "wss" || u.Path != "/ws" {
		return "", nil, nil, usage("TIPT_URL: %s is not of the form wss://NODE/ws", where)
	}
	address, err := parseAddress(user + "@" + u.Hostname())
	if err != nil {
		return "", nil, nil, err
	}
	acc := &account{Address: address.String(), Device: newDevice(), address: address}
	if u.Port() != "" {
		acc.Connect = u.Host
	}
	if err := i.flags.remember(acc); err != nil {
		return "", nil, nil, err
	}
	dir, err := os.MkdirTemp("", "tipt-") // for the keys of nodes
	if err != nil {
		return "", nil, nil, fmt.Errorf("make a folder: %w", err)
	}
	i.folder = folder(dir)
	open = func(ctx context.Context) (*client.Client, tipt.Address, error) {
		cl, err := i.dial(ctx, acc)
		if err != nil {
			return nil, address, err
		}
		if _, err := cl.SignIn(ctx, client.Credentials{User: user, Password: pass}); err != nil {
			cl.Close()
			return nil, address, err
		}
		return cl, address, nil
	}
	end = func() {
		if err := os.RemoveAll(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			i.log.Error("a folder is left", "error", err)
		}
	}
	return to, open, end, nil
}
