package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
)

// unseal opens a message that came sealed from end to end and judges its signature, once. Its
// error is the end of the context or of the client; all else is for whoever gets the message.
func (c *Client) unseal(ctx context.Context, d *delivery) error {
	if d.unsealed {
		return nil
	}
	m := &d.message
	var content tipt.Content
	if m.Return != nil || content.Parse(m.Body) != nil || content.Type != tipt.ContentSealed {
		return nil
	}
	d.unsealed = true
	opened, err := c.openSealed(content.Sealed)
	if err != nil {
		m.SealError = err
		return nil
	}
	err = c.judge(ctx, m, opened)
	if ended := c.ended(ctx); ended != nil {
		d.unsealed = false
		return ended
	}
	m.Sealed, m.Body = true, opened.Plaintext
	m.Signed = err == nil
	if !errors.Is(err, seal.ErrUnsigned) || c.keepsKeyOf(m.From) {
		m.SignError = err
	}
	return nil
}

// keepsKeyOf says whether a certificate is kept for an address, also one that cannot be read any more.
func (c *Client) keepsKeyOf(address string) bool {
	user, err := tipt.ParseAddress(address)
	if err != nil {
		return false
	}
	certificate, _, err := c.keptUserKey(user)
	return certificate != nil || err != nil
}

// openSealed opens with whichever of the user's keys a message is sealed to.
func (c *Client) openSealed(msg []byte) (*seal.Opened, error) {
	if c.options.Key == nil && len(c.options.OldKeys) == 0 {
		return nil, ErrNoKey
	}
	err := seal.ErrCannotOpen
	for _, k := range append([]*seal.UserKey{c.options.Key}, c.options.OldKeys...) {
		if k == nil {
			continue
		}
		var opened *seal.Opened
		if opened, err = k.Open(msg); !errors.Is(err, seal.ErrCannotOpen) {
			return opened, err
		}
	}
	return nil, err
}

// ended returns why the context or the client has ended, nil if neither has.
func (c *Client) ended(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// judge returns nil when a message is signed, for this user, by whoever sent it (section 8), and
// otherwise why its signature does not count. It asks for the sender's certificate where the one
// kept does not have the key.
func (c *Client) judge(ctx context.Context, m *Message, opened *seal.Opened) error {
	now := time.Now()
	if err := opened.SignedBy(nil, now); !errors.Is(err, seal.ErrNoSigningKey) {
		return err
	}
	from, err := tipt.ParseAddress(m.From)
	switch {
	case m.From == "":
		return errors.New("nobody vouches for who sent it")
	case err != nil || from.String() != m.From:
		return fmt.Errorf("the sender %q is no address", m.From)
	}
	// A node that hands over again, as another message, what it has kept can do so only with a date
	// near that of the signature: an honest one takes no longer than a message is sent again for.
	if age := m.Time.Sub(opened.SignedAt); age > tipt.DuplicateRetention {
		return fmt.Errorf("signed %d days before it came", age/(24*time.Hour))
	}
	ctx, cancel := context.WithTimeout(ctx, senderWait)
	defer cancel()
	k := c.knownUser(from)
	select {
	case k.turn <- struct{}{}:
	default:
		// A Send asks for the certificate, for as long as the sender's node likes. The one kept may do.
		kept, _, err := c.keptUserKey(from)
		if err != nil {
			return err
		}
		if err := opened.SignedBy(kept, now); !errors.Is(err, seal.ErrNoSigningKey) {
			return verdict(err, kept, from)
		}
		if err := c.awaitTurn(ctx, from, k); err != nil {
			return err
		}
	}
	defer k.leave()
	if k.fetched.IsZero() && k.certificate == nil {
		if k.certificate, _, err = c.keptUserKey(from); err != nil {
			return err
		}
	}
	err = opened.SignedBy(k.certificate, now)
	if errors.Is(err, seal.ErrNoSigningKey) {
		if time.Since(k.judged) >= askAgainWait {
			if err := c.askSender(ctx, from, k); !errors.Is(err, context.Canceled) {
				k.unjudged = err
			}
		}
		if k.unjudged != nil {
			return k.unjudged
		}
		err = opened.SignedBy(k.certificate, now)
	}
	return verdict(err, k.certificate, from)
}

// verdict is what SignedBy has said of a message by whoever has the certificate, nil for none, which is kept for from.
func verdict(err error, certificate *seal.Certificate, from tipt.Address) error {
	switch {
	case err != nil && certificate == nil:
		return fmt.Errorf("%s has no certificate that is known here", from)
	case err == nil && !certificate.IsOf(from):
		return fmt.Errorf("%s shows the certificate of somebody else", from)
	}
	return err
}

// awaitTurn is userOf for Receive.
func (c *Client) awaitTurn(ctx context.Context, user tipt.Address, k *userKey) error {
	return c.patiently(user, func() error {
		select {
		case k.turn <- struct{}{}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// askSender is fetchUserKey for Receive.
func (c *Client) askSender(ctx context.Context, user tipt.Address, k *userKey) error {
	return c.patiently(user, func() error {
		k.judged = time.Now()
		return c.fetchUserKey(ctx, user, k)
	})
}

// patiently does what makes Receive wait for a user's node: one whose answers take long is waited for less
// often, and its users' messages are handed over without.
func (c *Client) patiently(user tipt.Address, wait func() error) error {
	patience := &c.keyOf(user.Node).patience
	start := time.Now()
	if patience.over(start) {
		return &UserKeyError{User: user, Err: errors.New("not asked for, as the node takes long to answer")}
	}
	err := wait()
	patience.spend(time.Since(start), time.Now())
	if errors.Is(err, context.DeadlineExceeded) {
		return &UserKeyError{User: user, Err: fmt.Errorf("no answer within %v", senderWait)}
	}
	return err
}

// A patience bounds the time for which one node makes Receive wait: 20 s at once, and a sixth of
// the time from then on. It belongs to the one Receive that runs.
type patience struct {
	spent time.Duration
	at    time.Time // when spent was right
}

func (p *patience) over(now time.Time) bool {
	p.spent = max(p.spent-now.Sub(p.at)/6, 0)
	p.at = now
	return p.spent >= 2*senderWait
}

func (p *patience) spend(d time.Duration, now time.Time) {
	p.spent += d
	p.at = now
}
