package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
)

const (
	maxUsers     = 1024             // users whose certificate is kept in memory, besides UserPins
	askAgainWait = time.Minute      // after an ask, as nodes wait for each other's keys (section 5.4)
	senderWait   = 10 * time.Second // that Receive waits for a sender's certificate
)

// UserPins keeps the certificate of each user to whom something was sealed, or by whom something
// was signed, like [Pins] those of nodes. A user's node hands them out and could lie; see
// Options.UserKeyChanged for what happens when another takes the place of the one kept, or
// none. The methods may be called at the same time.
type UserPins interface {
	// UserPin returns what SetUserPin got last for the user, nil when it got nothing yet.
	UserPin(user tipt.Address) ([]byte, error)
	// SetUserPin keeps a certificate, or, when that is empty, that the user has none.
	SetUserPin(user tipt.Address, certificate []byte) error
}

// A userKey is what is known of one user's certificate.
type userKey struct {
	turn chan struct{} // holds one value while somebody uses the following

	certificate *seal.Certificate // nil: the user has none, or nothing is known
	fetched     time.Time         // when the user's node said so; zero: it comes from UserPins
	asked       time.Time         // when the user's node was asked last
	judged      time.Time         // when Receive asked it last, for a signature
	unreachable error             // why that failed, where the node could not be asked
	refused     error             // the change that was seen last, until an answer is accepted
	unjudged    error             // why the ask at judged failed, until an answer is accepted
}

// userOf returns what is known of a user's certificate, for the caller alone until leave.
func (c *Client) userOf(ctx context.Context, user tipt.Address) (*userKey, error) {
	k := c.knownUser(user)
	select {
	case k.turn <- struct{}{}:
		return k, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// knownUser is userOf before the caller's turn.
func (c *Client) knownUser(user tipt.Address) *userKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.users[user]
	if k == nil {
		if len(c.users) >= maxUsers {
			clear(c.users)
		}
		k = &userKey{turn: make(chan struct{}, 1)}
		c.users[user] = k
	}
	return k
}

func (k *userKey) leave() { <-k.turn }

// recipientKey returns the certificate that a message is sealed to, nil when the recipient has
// none. One that was fetched within the last hour does, unless another one has been seen since: what the
// one kept is for may then be somebody else's. With queue it is the one in UserPins while the user's node
// cannot be asked.
func (c *Client) recipientKey(ctx context.Context, user tipt.Address, queue bool) (*seal.Certificate, error) {
	k, err := c.userOf(ctx, user)
	if err != nil {
		return nil, err
	}
	defer k.leave()
	if k.refused == nil && !k.fetched.IsZero() && time.Since(k.fetched) < keyLifetime {
		return k.certificate, nil
	}
	if !queue || k.unreachable == nil || time.Since(k.asked) >= askAgainWait {
		err = c.fetchUserKey(ctx, user, k)
	} else {
		err = k.unreachable // to ask again would cost each message as long as it took to find out
	}
	switch {
	case err == nil:
		return k.certificate, nil
	case queue && k.unreachable != nil && k.refused != nil:
		return nil, k.refused
	case queue && k.unreachable != nil:
		certificate, known, pinErr := c.keptUserKey(user)
		if known || pinErr != nil {
			return certificate, pinErr
		}
	}
	return nil, err
}

// keptUserKey returns the certificate in UserPins, nil for none, and whether anything is known.
func (c *Client) keptUserKey(user tipt.Address) (certificate *seal.Certificate, known bool, err error) {
	kept, err := c.options.UserPins.UserPin(user)
	if err == nil && len(kept) > 0 {
		certificate, err = seal.ParseCertificate(kept)
	}
	if err != nil {
		return nil, false, fmt.Errorf("kept certificate of %s: %w", user, err)
	}
	return certificate, kept != nil, nil
}

// fetchUserKey asks for a user's certificate and compares the answer with the one kept.
func (c *Client) fetchUserKey(ctx context.Context, user tipt.Address, k *userKey) error {
	k.asked, k.unreachable = time.Now(), nil
	b, err := c.userKey(ctx, user)
	if err != nil {
		if errors.Is(err, tipt.ErrNodeUnreachable) || errors.Is(err, tipt.ErrNodeTimeout) {
			k.unreachable = &UserKeyError{User: user, Err: err}
		}
		var refusal *tipt.ForwardError
		if errors.As(err, &refusal) && refusal.Code == tipt.ErrNoSuchUser {
			return err // of the message as well
		}
		return &UserKeyError{User: user, Err: err}
	}
	var certificate *seal.Certificate
	if b != nil {
		if certificate, err = seal.ParseCertificate(b); err != nil {
			return &UserKeyError{User: user, Err: fmt.Errorf("%w: %w", seal.ErrCannotSeal, err)}
		}
	}
	if err := c.checkUserPin(user, certificate); err != nil {
		if _, ok := errors.AsType[*UserKeyError](err); ok {
			k.refused = err
		}
		return err
	}
	k.certificate, k.fetched = certificate, time.Now()
	k.refused, k.unjudged = nil, nil
	return nil
}

// checkUserPin compares a user's certificate, nil for none, with the one kept (section 8).
func (c *Client) checkUserPin(user tipt.Address, now *seal.Certificate) error {
	was, known, err := c.keptUserKey(user)
	if err != nil {
		return err
	}
	var b []byte
	is := ""
	if now != nil {
		b, is = now.Bytes(), now.Fingerprint()
	}
	switch {
	case was == nil && known && now == nil, was != nil && now != nil && bytes.Equal(was.Bytes(), b):
		return nil
	case was == nil || was.Fingerprint() == is:
	case now != nil && now.VouchedBy(was, user.String(), time.Now()):
	default:
		if err := c.userKeyChanged(user, was.Fingerprint(), is); err != nil {
			return &UserKeyError{User: user, Err: err}
		}
	}
	if err := c.options.UserPins.SetUserPin(user, b); err != nil {
		return fmt.Errorf("keep the certificate of %s: %w", user, err)
	}
	return nil
}

func (c *Client) userKeyChanged(user tipt.Address, was, is string) error {
	switch {
	case c.options.UserKeyChanged != nil:
		return c.options.UserKeyChanged(user, was, is)
	case is == "":
		return fmt.Errorf("%w: %s is withdrawn", ErrUserKeyChanged, was)
	}
	return fmt.Errorf("%w: it was %s, it is %s", ErrUserKeyChanged, was, is)
}

// RecipientKey returns the certificate to which a Send without Queue would seal a Text for the user now, nil
// when it would go without. Its errors are those of Send.
func (c *Client) RecipientKey(ctx context.Context, user tipt.Address) ([]byte, error) {
	certificate, err := c.recipientKey(ctx, user, false)
	if err != nil || certificate == nil {
		return nil, err
	}
	return certificate.Bytes(), nil
}

// UserKey returns a user's OpenPGP certificate as that user's node gives it now, nil when there is
// none. Nodes on the way can neither read nor change the answer. It is not compared with the one
// in UserPins.
func (c *Client) UserKey(ctx context.Context, user tipt.Address) ([]byte, error) {
	key, err := c.userKey(ctx, user)
	if err != nil {
		return nil, fmt.Errorf("key of %s: %w", user, err)
	}
	return key, nil
}

func (c *Client) userKey(ctx context.Context, user tipt.Address) ([]byte, error) {
	var stale *seal.Certificate
	for {
		key, err := c.nodeKey(ctx, user.Node, stale)
		if err != nil {
			return nil, err
		}
		request := tipt.SealedRequest{
			Type:       tipt.ForwardGetUserKey,
			GetUserKey: &tipt.GetUserKeyForward{User: string(user.User)},
		}
		if _, err := rand.Read(request.GetUserKey.Seal[:]); err != nil {
			return nil, err
		}
		resp, err := c.forward(ctx, key, user.Node, request.Append(nil), true, nil)
		if err != nil {
			return nil, err
		}
		certificate, err := openUserKey(&request.GetUserKey.Seal, resp)
		if stale != nil || !errors.Is(err, tipt.ErrCannotOpen) {
			return certificate, err
		}
		stale = key
	}
}

// openUserKey reads GET_USER_KEY's answer. Section 5.3: an answer that is not
// sealed is a failure, whatever it says, for anybody on the way may have made it.
func openUserKey(key *[tipt.SealKeySize]byte, resp []byte) ([]byte, error) {
	var answer tipt.ForwardAnswer
	opened, err := seal.OpenAnswer(key, resp)
	if err != nil {
		if answer.Parse(resp) == nil && answer.Err != nil {
			return nil, fmt.Errorf("unsealed answer: %w", answer.Err)
		}
		return nil, err
	}
	if err := answer.Parse(opened); err != nil {
		return nil, err
	}
	if answer.Err != nil {
		return nil, answer.Err
	}
	var found tipt.UserKeyAnswer
	if err := found.Parse(answer.Body); err != nil {
		return nil, err
	}
	return found.Key, nil
}
