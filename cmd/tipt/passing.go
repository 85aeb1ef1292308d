package main

import (
	"context"
	"net/url"
	"os"

	"github.com/tipt/tipt-go/client"
	"github.com/tipt/tipt-go/seal"
)

// passing makes an account of the variables TIPT_URL, TIPT_USER and TIPT_PASS, which this command alone
// has, and of TIPT_KEY, and signs in with it.
func (i *invocation) passing(ctx context.Context) (*client.Client, *account, error) {
	where, user, pass := os.Getenv("TIPT_URL"), os.Getenv("TIPT_USER"), os.Getenv("TIPT_PASS")
	u, err := url.Parse(where)
	if err != nil || u.Scheme != "wss" || u.Path != "/ws" {
		return nil, nil, usage("TIPT_URL: %q is not of the form wss://NODE/ws", where)
	}
	address, err := parseAddress(user + "@" + u.Hostname())
	if err != nil {
		return nil, nil, err
	}
	acc := &account{Address: address.String(), Device: newDevice(), address: address, passing: true}
	if u.Port() != "" {
		acc.Connect = u.Host
	}
	if err := i.flags.remember(acc); err != nil {
		return nil, nil, err
	}
	if file := os.Getenv("TIPT_KEY"); file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, nil, usage("TIPT_KEY: %w", err)
		}
		if acc.key, err = seal.ParseUserKey(b, nil); err != nil {
			return nil, nil, usage("TIPT_KEY: %s: %w", file, err)
		}
	}
	c, err := i.dial(ctx, acc)
	if err != nil {
		return nil, nil, err
	}
	if _, err := c.SignIn(ctx, client.Credentials{User: user, Password: pass}); err != nil {
		c.Close()
		return nil, nil, err
	}
	return c, acc, nil
}

// chosen connects and signs in, to receive, with the account that the person wants to use.
func (i *invocation) chosen(ctx context.Context) (*client.Client, *account, error) {
	acc, err := i.chooseWithKey()
	if err != nil {
		return nil, nil, err
	}
	if acc.oldKeys, err = i.folder.oldKeys(acc.address); err != nil {
		return nil, nil, err
	}
	c, err := i.open(ctx, acc, false)
	return c, acc, err
}
