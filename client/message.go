package client

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
)

// An Outgoing is a message to be sent.
type Outgoing struct {
	To tipt.Address

	// Text is UTF-8, and sealed end to end where the recipient has a certificate
	// (docs/protocol.md, section 8): of at most [tipt.MaxSealedTextSize] bytes it then fits whatever the keys.
	Text string

	// Body is content of the program's own in place of Text, at most 1,990,000 bytes. It is sent as it
	// is: a program that wants it sealed end to end seals it itself.
	Body []byte

	// Sealed has Send fail with ErrNotSealed instead of sending Text to somebody who has no certificate.
	Sealed bool

	// ID tells the message from all others. Zero makes Send take a new one. A
	// program that sends a message again after an error, for up to five days, sets
	// the same ID each time, and the message arrives once.
	ID tipt.MessageID

	// Queue leaves the message with the user's own node, which then tries for
	// up to five days. Send returns as soon as it is on that node's disk; if it fails later,
	// Receive gets a Return whose Ref is ID. While the recipient's node cannot be asked for its
	// key and the recipient's certificate, the message is sealed to those in Pins and UserPins. Where
	// nothing is known of one of them, Send fails.
	Queue bool
}

// Send sends a message. Without Queue it returns when the message is in the
// recipient's mailbox, on disk: errors are then those of the recipient's node, such
// as [tipt.ErrNoSuchUser] and [tipt.ErrMailboxFull], and of the way there, such as
// [tipt.ErrNodeUnreachable] (nothing was delivered) and [tipt.ErrNodeTimeout]
// (it may have been, and asking twice more under the same ID did not tell). Messages of
// successive calls arrive in that order.
//
// For a Text, Send asks for the recipient's certificate once an hour. It is sealed to that, and
// signed with Options.Key where there is one; where the recipient has none it goes without,
// readable for the recipient's node. A certificate that cannot be sealed to is an error
// ([seal.ErrCannotSeal]), and so is one that cannot be had (a [UserKeyError]): nothing is sent then.
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
	if m.ID == (tipt.MessageID{}) {
		m.ID = tipt.NewMessageID()
	}
	var plaintext []byte // once the recipient's certificate is known
	unknown := false     // an attempt may have delivered it
	pause := backoff{min: time.Second, max: time.Minute}
	for {
		forwarded := false
		var err error
		if plaintext == nil {
			plaintext, err = c.request(ctx, m)
		}
		if err == nil {
			forwarded, err = c.sendOnce(ctx, m, plaintext)
		}
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

// request returns the MESSAGE that brings a message to its recipient.
func (c *Client) request(ctx context.Context, m Outgoing) ([]byte, error) {
	body := m.Body
	if body == nil {
		var err error
		if body, err = c.text(ctx, m); err != nil {
			return nil, err
		}
	}
	if len(body) > tipt.MaxMessageSize {
		return nil, fmt.Errorf("%d bytes: %w", len(body), tipt.ErrTooLarge)
	}
	return tipt.SealedRequest{
		Type:    tipt.ForwardMessage,
		Message: &tipt.MessageForward{To: string(m.To.User), ID: m.ID, Message: body},
	}.Append(nil), nil
}

// text returns a TEXT, in a SEALED where the recipient has a certificate.
func (c *Client) text(ctx context.Context, m Outgoing) ([]byte, error) {
	if !utf8.ValidString(m.Text) {
		return nil, errors.New("the text is not valid UTF-8")
	}
	if len(m.Text) > tipt.MaxMessageSize {
		return nil, fmt.Errorf("%d bytes: %w", len(m.Text), tipt.ErrTooLarge)
	}
	to, err := c.recipientKey(ctx, m.To, m.Queue)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	text := tipt.Content{Type: tipt.ContentText, Text: &tipt.Text{Text: m.Text, Time: now}}.Append(nil)
	switch {
	case to == nil && m.Sealed:
		return nil, ErrNotSealed
	case to == nil:
		return text, nil
	}
	var sealed []byte
	if c.options.Key == nil {
		sealed, err = to.Seal(text, now)
	} else {
		sealed, err = c.options.Key.Seal(to, text, now)
	}
	if err != nil {
		return nil, fmt.Errorf("seal end to end: %w", err)
	}
	return tipt.Content{Type: tipt.ContentSealed, Sealed: sealed}.Append(nil), nil
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
