package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/client"
)

type registerCmd struct {
	Address string `arg:"" help:"The address to have: NAME@NODE."`
	Invite  string `placeholder:"CODE" help:"The invitation, where the node asks for one."`
}

// Help is shown below the flags.
func (registerCmd) Help() string {
	return `The password is asked for, or is the first line of standard input where that is no terminal.

Examples:
  tipt register alice@example.org
  tipt register alice@example.org --invite 5KJX-…
  tipt register alice@node.example --ca root.pem --connect localhost:8443`
}

func (c *registerCmd) Run(ctx context.Context, i *invocation) error {
	err := i.signIn(ctx, c.Address, true, func(cl *client.Client, user, password string) error {
		return c.advise(cl.Register(ctx, user, password, c.Invite))
	})
	if err == nil && term.IsTerminal(int(i.in.Fd())) {
		_, err = fmt.Fprintln(i.err, "To have what people write to you sealed end to end, so that no node can read it: `tipt key new`.")
	}
	return err
}

// advise adds to the error of registering what can be done now.
func (c *registerCmd) advise(err error) error {
	switch {
	case errors.Is(err, tipt.ErrInviteInvalid) && c.Invite == "":
		return fmt.Errorf("%w; give one with --invite CODE", err)
	case errors.Is(err, tipt.ErrInviteInvalid):
		return fmt.Errorf("%w; that one is used or wrong", err)
	case errors.Is(err, tipt.ErrNameTaken):
		return fmt.Errorf("%w; if it is yours: `tipt sign-in %s`", err, c.Address)
	}
	return err
}

type signInCmd struct {
	Address string `arg:"" help:"The account's address: NAME@NODE."`
}

// Help is shown below the flags.
func (signInCmd) Help() string {
	return `The password is asked for, or is the first line of standard input where that is no terminal.
It is not kept: this device gets a token of its own.

Examples:
  tipt sign-in alice@example.org
  tipt sign-in alice@example.org < password-file`
}

func (c *signInCmd) Run(ctx context.Context, i *invocation) error {
	return i.signIn(ctx, c.Address, false, func(*client.Client, string, string) error { return nil })
}

// signIn asks for the password, signs in and keeps the account. first is done
// before signing in.
func (i *invocation) signIn(ctx context.Context, address string, twice bool, first func(c *client.Client, user, password string) error) error {
	a, err := parseAddress(address)
	if err != nil {
		return err
	}
	acc, err := i.folder.load(a)
	if err != nil {
		// A damaged file is replaced. What it knew is asked for again.
		acc = &account{Address: a.String(), Device: newDevice(), address: a}
	}
	if err := i.flags.remember(acc); err != nil {
		return err
	}
	password, err := i.newPassword(ctx, "Password for "+a.String(), twice)
	if err != nil {
		return err
	}
	c, err := i.dial(ctx, acc)
	if err != nil {
		return err
	}
	defer c.Close()
	unsure := first(c, string(a.User), password)
	if unsure != nil && !errors.Is(unsure, client.ErrUnknownOutcome) {
		return unsure
	}
	// Receiving, though nothing is received here: only that is sure to give a
	// token to a device which has one already.
	in, err := c.SignIn(ctx, client.Credentials{User: string(a.User), Password: password})
	switch {
	case unsure != nil && errors.Is(err, tipt.ErrCredentials):
		return unsure // which was not done, it turns out
	case err != nil:
		return err
	}
	acc.Token = in.Token
	if err := i.folder.save(acc); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(i.out, "signed in as %s\n", in.Address); err != nil || twice {
		return err
	}
	return i.missKey(ctx, c, acc)
}

// missKey says on a device that signs in when it lacks the account's key.
func (i *invocation) missKey(ctx context.Context, c *client.Client, acc *account) error {
	ctx, cancel := context.WithTimeout(ctx, missKeyTimeout)
	defer cancel()
	published, err := i.publishedKey(ctx, c, acc)
	if err != nil || published == nil {
		return nil // it was only to help
	}
	if here, err := i.folder.key(acc.address); err != nil || isKeyOf(published, here) {
		return err
	}
	_, err = fmt.Fprintf(i.err, "What people write to you is sealed to a key that is not on this device, and what you write from here is not signed: to bring it, %s.\n", bring)
	return err
}

// missKeyTimeout bounds missKey.
const missKeyTimeout = 5 * time.Second

type signOutCmd struct {
	ForgetKey bool `help:"Also where the account's key is on this device, which then forgets it."`
}

// Help is shown below the flags.
func (signOutCmd) Help() string {
	return `The node forgets this device, and this machine the account and all keys.

Example:
  tipt sign-out --as alice@example.org`
}

func (c signOutCmd) Run(ctx context.Context, i *invocation) error {
	acc, err := i.choose()
	if err != nil {
		return err
	}
	if kept, err := os.ReadDir(i.folder.ownKeys(acc.address)); err == nil && len(kept) > 0 && !c.ForgetKey {
		return usage("a key of %s is on this device, and with it goes what is sealed to it; run `tipt key export FILE` unless another device has it, and then add --forget-key", acc.address)
	}
	err = i.removeDevice(ctx, acc)
	if err != nil && !errors.Is(err, client.ErrSignedOut) && !errors.Is(err, tipt.ErrCredentials) {
		return fmt.Errorf("%w; to forget the account here all the same, delete %s", err, i.folder.file(acc.address))
	}
	if err := i.folder.remove(acc.address); err != nil {
		return fmt.Errorf("forget the account: %w", err)
	}
	_, err = fmt.Fprintf(i.out, "signed out of %s\n", acc.address)
	return err
}

// removeDevice makes the node forget this device. It may close the connection before it answers.
func (i *invocation) removeDevice(ctx context.Context, acc *account) error {
	c, err := i.open(ctx, acc, true)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.RemoveDevice(ctx, acc.Device)
}

type passwdCmd struct{}

// Help is shown below the flags.
func (passwdCmd) Help() string {
	return `All other devices of the account are signed out.
Where standard input is no terminal, its first two lines are the old and the new password.

Example:
  tipt passwd`
}

func (passwdCmd) Run(ctx context.Context, i *invocation) error {
	acc, err := i.choose()
	if err != nil {
		return err
	}
	old, err := i.password(ctx, "Old password for "+acc.Address)
	if err != nil {
		return err
	}
	new, err := i.newPassword(ctx, "New password", true)
	if err != nil {
		return err
	}
	c, err := i.open(ctx, acc, true)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetPassword(ctx, old, new); err != nil {
		return err
	}
	_, err = fmt.Fprintln(i.out, "password changed; all other devices are signed out")
	return err
}
