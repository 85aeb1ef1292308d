package client

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/link"
)

// Credentials are what [Client.SignIn] signs in with.
type Credentials struct {
	User     string
	Password string
	Token    []byte // in place of the password; from an earlier SignIn of the same device

	// SendOnly signs in without receiving: Receive gets nothing, and another
	// connection of the same device goes on receiving.
	SendOnly bool
}

// A SignedIn is what [Client.SignIn] returns.
type SignedIn struct {
	Address tipt.Address
	// Token signs the same device in from now on. It is nil when there is no new
	// one: after signing in by token, or SendOnly for a device that has one already.
	Token []byte
}

// Register makes an account on the node. It does not sign in. The invitation
// may be empty where the node asks for none.
func (c *Client) Register(ctx context.Context, user, password, invitation string) error {
	req := tipt.RegisterRequest{User: user, Password: password, Invite: invitation, HasInvite: invitation != ""}
	if _, err := c.callOnce(ctx, tipt.RequestRegister, req.Append(nil)); err != nil {
		return fmt.Errorf("register %s on %s: %w", user, c.node, err)
	}
	return nil
}

// SignIn signs in, once for the life of a Client: after a lost connection it
// is signed in again with the token.
func (c *Client) SignIn(ctx context.Context, cr Credentials) (SignedIn, error) {
	req := tipt.SignInRequest{
		User:     cr.User,
		Device:   c.options.Device,
		Password: cr.Password,
		Token:    cr.Token,
		HasToken: cr.Token != nil,
		Receive:  !cr.SendOnly,
	}
	if req.Device == "" {
		req.Device = "default"
	}
	var s *session
	for {
		var err error
		if s, err = c.use(ctx, s); err != nil {
			return SignedIn{}, err
		}
		in, err := s.signIn(ctx, req)
		if err == nil {
			return in, nil
		}
		if !errors.Is(err, link.ErrClosed) {
			return SignedIn{}, fmt.Errorf("sign in as %s on %s: %w", cr.User, c.node, err)
		}
	}
}

// signIn makes SIGN_IN and, when it succeeds, notes how the client's next
// connections do. It notes that before it can learn that the connection ended, so
// that none is made which is not signed in.
func (s *session) signIn(ctx context.Context, req tipt.SignInRequest) (SignedIn, error) {
	var (
		in      SignedIn
		failure error
		claimed atomic.Bool // by the answer, or by the caller who gave up
		done    = make(chan struct{})
	)
	answer := func(p tipt.Packet, err error) {
		defer close(done)
		if !claimed.CompareAndSwap(false, true) {
			return
		}
		if in, failure = parseSignIn(p, err); failure != nil {
			return
		}
		if in.Token != nil {
			req.Token, req.HasToken, req.Password = in.Token, true, ""
		}
		s.client.mu.Lock()
		defer s.client.mu.Unlock()
		s.client.signIn = &req
	}
	if err := s.link.Go(ctx, uint8(tipt.RequestSignIn), req.Append(nil), answer); err != nil {
		return SignedIn{}, err
	}
	select {
	case <-done:
	case <-ctx.Done():
		if claimed.CompareAndSwap(false, true) {
			s.link.CloseNow() // signed in or not: nobody knows
			return SignedIn{}, ctx.Err()
		}
		<-done
	}
	return in, failure
}

func parseSignIn(p tipt.Packet, err error) (SignedIn, error) {
	if err != nil {
		return SignedIn{}, err
	}
	var resp tipt.SignInResponse
	if err := resp.Parse(p.Body, p.Newer); err != nil {
		return SignedIn{}, err
	}
	address, err := tipt.ParseAddress(resp.Address)
	if err != nil {
		return SignedIn{}, err
	}
	return SignedIn{Address: address, Token: append([]byte(nil), resp.Token...)}, nil
}

// SetPassword changes the password and signs out all other devices.
func (c *Client) SetPassword(ctx context.Context, old, new string) error {
	req := tipt.SetPasswordRequest{Old: old, New: new}
	if _, err := c.callOnce(ctx, tipt.RequestSetPassword, req.Append(nil)); err != nil {
		return fmt.Errorf("change the password: %w", err)
	}
	return nil
}

// DeleteAccount deletes the account for good: mailbox and devices go, the name
// stays taken. The Client then ends with [ErrSignedOut].
func (c *Client) DeleteAccount(ctx context.Context, password string) error {
	req := tipt.DeleteAccountRequest{Password: password}
	if _, err := c.callOnce(ctx, tipt.RequestDeleteAccount, req.Append(nil)); err != nil {
		return fmt.Errorf("delete the account: %w", err)
	}
	return nil
}

// Devices lists the user's devices.
func (c *Client) Devices(ctx context.Context) ([]tipt.Device, error) {
	p, err := c.call(ctx, tipt.RequestListDevices, nil)
	if err != nil {
		return nil, fmt.Errorf("list the devices: %w", err)
	}
	var resp tipt.ListDevicesResponse
	if err := resp.Parse(p.Body, p.Newer); err != nil {
		return nil, fmt.Errorf("list the devices: %w", err)
	}
	return resp.Devices, nil
}

// RemoveDevice signs a device out for good; an unknown one is no error. Removing its own
// device ends the Client, perhaps before the answer: [ErrSignedOut] then
// means success.
func (c *Client) RemoveDevice(ctx context.Context, device string) error {
	req := tipt.RemoveDeviceRequest{Device: device}
	if _, err := c.call(ctx, tipt.RequestRemoveDevice, req.Append(nil)); err != nil {
		return fmt.Errorf("remove device %s: %w", device, err)
	}
	return nil
}

// SetKey publishes the user's OpenPGP certificate, un-armored and at most 8,192
// bytes; nil withdraws it.
func (c *Client) SetKey(ctx context.Context, certificate []byte) error {
	req := tipt.SetKeyRequest{Key: certificate}
	if _, err := c.call(ctx, tipt.RequestSetKey, req.Append(nil)); err != nil {
		return fmt.Errorf("set the key: %w", err)
	}
	return nil
}

// Info asks the node about itself, signed in or not.
func (c *Client) Info(ctx context.Context) (tipt.GetInfoResponse, error) {
	var resp tipt.GetInfoResponse
	p, err := c.call(ctx, tipt.RequestGetInfo, nil)
	if err != nil {
		return resp, fmt.Errorf("ask %s about itself: %w", c.node, err)
	}
	if err := resp.Parse(p.Body, p.Newer); err != nil {
		return resp, fmt.Errorf("ask %s about itself: %w", c.node, err)
	}
	return resp, nil
}
