package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
)

// An Outgoing is a message to be sent.
type Outgoing struct {
	To   tipt.Address
	Text string // UTF-8
	Body []byte // in place of Text: content of the program's own, at most 1,990,000 bytes

	// ID tells the message from all others. Zero makes Send take a new one. A
	// program that sends a message again after an error, for up to five days, sets
	// the same ID each time, and the message arrives once.
	ID tipt.MessageID

	// Queue leaves the message with the user's own node, which then tries for
	// up to five days. Send returns as soon as it is on that node's disk; if it fails later,
	// Receive gets a Return whose Ref is ID. While the recipient's node cannot be asked for its
	// key, the message is sealed to the one in Pins.
	Queue bool
}

// Send sends a message. Without Queue it returns when the message is in the
// recipient's mailbox, on disk: errors are then those of the recipient's node, such
// as [tipt.ErrNoSuchUser] and [tipt.ErrMailboxFull], and of the way there, such as
// [tipt.ErrNodeUnreachable] (nothing was delivered) and [tipt.ErrNodeTimeout]
// (it may have been, and asking twice more under the same ID did not tell). Messages of
// successive calls arrive in that order.
func (c *Client) Send(ctx context.Context, m Outgoing) error {
	if err := c.send(ctx, m); err != nil {
		return fmt.Errorf("send to %s: %w", m.To, err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, m Outgoing) error {
	// Section 5.3: after that the recipient's node may have forgotten the id.
	ctx, cancel := context.WithTimeout(ctx, tipt.OutboxRetention)
	defer cancel()
	body := m.Body
	if body == nil {
		if !utf8.ValidString(m.Text) {
			return errors.New("the text is not valid UTF-8")
		}
		body = tipt.Content{Type: tipt.ContentText, Text: &tipt.Text{Text: m.Text, Time: time.Now()}}.Append(nil)
	}
	if len(body) > tipt.MaxMessageSize {
		return fmt.Errorf("%d bytes: %w", len(body), tipt.ErrTooLarge)
	}
	if m.ID == (tipt.MessageID{}) {
		m.ID = tipt.NewMessageID()
	}
	request := tipt.SealedRequest{
		Type:    tipt.ForwardMessage,
		Message: &tipt.MessageForward{To: string(m.To.User), ID: m.ID, Message: body},
	}
	plaintext := request.Append(nil)
	unknown := false // an attempt may have delivered it
	pause := backoff{min: time.Second, max: time.Minute}
	for {
		forwarded, err := c.sendOnce(ctx, m, plaintext)
		var refusal *tipt.Error
		if !errors.As(err, &refusal) {
			return err // none, or the destination's, which is the same for every attempt
		}
		timeout := refusal.Code == tipt.ErrNodeTimeout
		unknown = unknown || forwarded && (timeout || errors.Is(err, errLostBefore))
		switch {
		case timeout && pause.attempts < timeoutRepeats:
			err = c.sleep(ctx, refusal.Wait+pause.next())
		case unknown && (!timeout || !forwarded):
			err = fmt.Errorf("%w; an attempt had no answer, the next one was refused: %s", tipt.ErrNodeTimeout, refusal.Error())
		}
		if err != nil {
			return err
		}
	}
}

// timeoutRepeats is how often Send repeats a message after NODE_TIMEOUT.
const timeoutRepeats = 2

// sendOnce seals and forwards a message, twice if the destination has changed its key. It
// says whether the error comes from a FORWARD.
func (c *Client) sendOnce(ctx context.Context, m Outgoing, plaintext []byte) (forwarded bool, err error) {
	var stale *seal.Certificate
	for {
		key, err := c.nodeKey(ctx, m.To.Node, stale)
		if m.Queue && (errors.Is(err, tipt.ErrNodeUnreachable) || errors.Is(err, tipt.ErrNodeTimeout)) {
			key, err = c.keptKey(m.To.Node, err)
		}
		if err != nil {
			return false, err
		}
		resp, err := c.forward(ctx, key, m.To.Node, plaintext, !m.Queue, &m.ID)
		if err != nil || m.Queue {
			return true, err
		}
		var answer tipt.ForwardAnswer
		if err := answer.Parse(resp); err != nil {
			return true, fmt.Errorf("answer of %s: %w", m.To.Node, err)
		}
		switch {
		case answer.Err == nil:
			return true, nil
		case answer.Err.Code != tipt.ErrCannotOpen || stale != nil:
			return true, answer.Err
		}
		stale = key
	}
}

// NodeKey returns a node's OpenPGP certificate, for programs that seal requests
// themselves and hand them to Forward. It is compared with the one in Pins as Send does. With
// fresh it comes from past the user's own node's cache, which is what to do after CANNOT_OPEN.
func (c *Client) NodeKey(ctx context.Context, node tipt.NodeName, fresh bool) ([]byte, error) {
	if fresh {
		c.keyOf(node).outdated.Store(true)
	}
	certificate, err := c.nodeKey(ctx, node, nil)
	if err != nil {
		return nil, err
	}
	return certificate.Bytes(), nil
}

// Forward hands a request that the caller has sealed to the node's key to that
// node and returns its answer (section 5.3).
func (c *Client) Forward(ctx context.Context, node tipt.NodeName, sealed []byte) ([]byte, error) {
	body := tipt.ForwardRequest{Node: string(node), Wait: true, Sealed: sealed}.Append(nil)
	resp, err := c.forwardWith(ctx, true, func(*session) ([]byte, error) { return body, nil })
	if err != nil {
		return nil, fmt.Errorf("forward to %s: %w", node, err)
	}
	return resp, nil
}

// forward seals to key and makes FORWARD. The answer is nil unless wait. On another connection the
// request is sealed again, since a session key serves for one alone.
func (c *Client) forward(ctx context.Context, key *seal.Certificate, node tipt.NodeName, plaintext []byte, wait bool, ref *tipt.MessageID) ([]byte, error) {
	return c.forwardWith(ctx, wait, func(s *session) ([]byte, error) {
		sealed, err := s.sealer(node, key).Seal(plaintext, time.Now())
		if err != nil {
			return nil, fmt.Errorf("seal to %s: %w", node, err)
		}
		return tipt.ForwardRequest{Node: string(node), Wait: wait, Sealed: sealed, Ref: ref}.Append(nil), nil
	})
}

// forwardWith makes FORWARD with a body that is made anew for each connection. The answer is nil
// unless wait.
func (c *Client) forwardWith(ctx context.Context, wait bool, bodyFor func(*session) ([]byte, error)) ([]byte, error) {
	p, err := c.callWith(ctx, tipt.RequestForward, bodyFor)
	if err != nil || !wait {
		return nil, err
	}
	var resp tipt.ForwardResponse
	if err := resp.Parse(p.Body, p.Newer); err != nil {
		return nil, err
	}
	return resp.Response, nil
}

// UserKey returns a user's OpenPGP certificate, nil when there is none. Nodes on
// the way can neither read nor change the answer.
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
