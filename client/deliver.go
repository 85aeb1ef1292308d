package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/link"
)

// A Message is what [Client.Receive] hands over.
type Message struct {
	ID   tipt.MessageID
	From string    // the sender's address, for which its node vouches; empty when anonymous
	Time time.Time // when the user's node stored it
	Body []byte    // as the sender made it, and out of its end-to-end seal; Text reads it

	// Sealed says that the message came sealed end to end (docs/protocol.md, section 8) and was
	// opened with Options.Key. Body is what was inside.
	Sealed bool
	// Signed says that what was inside is signed, for this user, by the owner of the certificate
	// that is kept for From: no node can have made or changed it.
	Signed bool
	// SealError is why a message that came sealed could not be opened: [ErrNoKey], or
	// [seal.ErrCannotOpen] for another key, or [seal.ErrMessage]. Body is then as it came.
	SealError error
	// SignError is why a sealed message is not Signed although a signature came with it, or a
	// certificate is kept for From ([seal.ErrUnsigned]).
	SignError error

	// Return is set when this is no message but a report that one which the user sent with
	// Queue was not delivered. From and Body are then empty.
	Return *Return
}

// A Return says which message was not delivered and why.
type Return struct {
	Ref  tipt.MessageID // the ID of the Outgoing; zero when another program set none
	Node string         // the destination
	Err  error          // a *tipt.ForwardError of the destination or a tipt.ErrorCode of the user's node
}

// Text returns the text of a message and false when it is none, but content of
// another form, or a Return.
func (m Message) Text() (string, bool) {
	var content tipt.Content
	if m.Return != nil || content.Parse(m.Body) != nil || content.Type != tipt.ContentText {
		return "", false
	}
	return content.Text.Text, true
}

// Receive calls handle with each message for the user, one after the other in the order stored, until the
// context or the Client ends, and returns why. One Receive runs at a time.
//
// A message is acknowledged when handle returns nil: the node may then forget
// it. When it returns an error the message is handed over again, and those after it
// wait, after a pause of up to 1 s that doubles up to 5 min; with
// [ErrReject] the node is told that it is not wanted, and it is gone. What
// is not acknowledged is handed over again on the next connection. A message
// that comes again although it was acknowledged (the connection was lost just
// then) is recognised, but only among the last 16,384 and not by a later Client.
//
// What came sealed end to end is opened first. Where it is signed and the sender's certificate is
// not known, or lacks the key, the sender's node is asked for it, which may take some seconds and
// not longer: without it the message is handed over as one that is not signed, with the reason.
func (c *Client) Receive(ctx context.Context, handle func(context.Context, Message) error) error {
	if !c.receiving.CompareAndSwap(false, true) {
		return errors.New("a Receive of this client is running already")
	}
	defer c.receiving.Store(false)
	retry := c.pause
	for {
		d, err := c.nextDelivery(ctx)
		if err != nil {
			return err
		}
		if !c.hasTaken(d.key) {
			if err := c.unseal(ctx, d); err != nil {
				return err
			}
			err = handle(ctx, d.message)
		}
		switch {
		case err == nil:
			c.take(d.key)
			d.request.Reply(nil)
		case errors.Is(err, ErrReject):
			c.take(d.key)
			d.request.Fail(&tipt.Error{Code: tipt.ErrRejected})
		case ctx.Err() != nil:
			return ctx.Err()
		default:
			pause := retry.next()
			c.log.Warn("message not taken", "id", d.message.ID, "error", err, "pause", pause)
			if err := c.sleep(ctx, pause); err != nil {
				return err
			}
			continue
		}
		d.session.answered()
		retry.attempts = 0
	}
}

// A delivery is a DELIVER or RETURN that awaits its answer.
type delivery struct {
	session  *session
	request  *link.Request
	message  Message
	unsealed bool // as far as it can be; used by Receive alone
	key      deliveryKey
}

// ServeTipt implements [link.Handler].
func (s *session) ServeTipt(r *link.Request) {
	d := &delivery{session: s, request: r}
	var err error
	switch code := tipt.ClientRequest(r.Code); code {
	case tipt.RequestDeliver:
		err = d.parseDeliver(r)
	case tipt.RequestReturn:
		err = d.parseReturn(r)
	default:
		r.Fail(&tipt.Error{Code: tipt.ErrUnsupported})
		return
	}
	if err != nil {
		s.client.log.Warn("message not understood", "error", err)
		r.Fail(&tipt.Error{Code: tipt.ErrMalformed, Message: err.Error()})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inbox = append(s.inbox, d)
	select {
	case s.arrived <- struct{}{}:
	default:
	}
}

func (d *delivery) parseDeliver(r *link.Request) error {
	var req tipt.DeliverRequest
	if err := req.Parse(r.Body, r.Newer); err != nil {
		return err
	}
	d.message = Message{ID: req.ID, From: req.From, Time: req.Time, Body: req.Message}
	d.key = deliveryKey{from: req.From, id: req.ID}
	return nil
}

func (d *delivery) parseReturn(r *link.Request) error {
	var req tipt.ReturnRequest
	if err := req.Parse(r.Body, r.Newer); err != nil {
		return err
	}
	ret := &Return{Node: req.Node, Err: returnError(req)}
	if req.Ref != nil {
		ret.Ref = *req.Ref
	}
	d.message = Message{ID: req.ID, Time: req.Time, Return: ret}
	d.key = deliveryKey{returned: true, id: req.ID}
	if errors.Is(ret.Err, tipt.ErrCannotOpen) {
		d.session.client.keyOf(tipt.NodeName(req.Node)).outdated.Store(true)
	}
	return nil
}

// returnError is why the message came back.
func returnError(req tipt.ReturnRequest) error {
	if req.HasCode {
		return req.Code
	}
	var answer tipt.ForwardAnswer
	if err := answer.Parse(req.Response); err != nil {
		return fmt.Errorf("the destination's answer is not understood: %w", err)
	}
	if answer.Err == nil {
		return errors.New("the destination's answer is not understood")
	}
	return answer.Err
}

// nextDelivery waits for the first delivery not yet answered, which stays so
// until answered is called.
func (c *Client) nextDelivery(ctx context.Context) (*delivery, error) {
	var s *session
	for {
		var err error
		if s, err = c.use(ctx, s); err != nil {
			return nil, err
		}
		d, err := s.nextDelivery(ctx)
		if d != nil || err != nil {
			return d, err
		}
	}
}

// nextDelivery returns nil when the connection has ended.
func (s *session) nextDelivery(ctx context.Context) (*delivery, error) {
	for {
		s.mu.Lock()
		var d *delivery
		if len(s.inbox) > 0 {
			d = s.inbox[0]
		}
		s.mu.Unlock()
		select {
		case <-s.done:
			return nil, nil // what it brought comes again
		default:
		}
		if d != nil {
			return d, ctx.Err()
		}
		select {
		case <-s.arrived:
		case <-s.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// answered takes the first delivery out of the inbox.
func (s *session) answered() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inbox[0] = nil // not kept by the array
	s.inbox = s.inbox[1:]
}
