package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/fault"
	"github.com/tipt/tipt-go/mailbox"
	"github.com/tipt/tipt-go/seal"
	"github.com/tipt/tipt-go/store"
)

// An answer is what a destination says to a sealed request (section 5.3).
type answer struct {
	bytes  []byte             // an encoded CNNodeForwardResponse, or a sealed one
	err    *tipt.ForwardError // what bytes refuses with, nil for none and for sealed ones
	sealed bool               // only the asking client can read bytes
}

// accepted says that a MESSAGE is on the disk.
var accepted = answerWith(tipt.ForwardAnswer{})

func answerWith(a tipt.ForwardAnswer) answer {
	return answer{bytes: a.Append(nil), err: a.Err}
}

func refuse(code tipt.ForwardErrorCode, format string, args ...any) answer {
	return answerWith(tipt.ForwardAnswer{Err: &tipt.ForwardError{Code: code, Message: fmt.Sprintf(format, args...)}})
}

// A sender is who sent a request: a user of this node, or what another node forwards.
type sender struct {
	tipt.Address        // the zero value for an anonymous one
	text         string // the address as it is written, "" for an anonymous one
	foreign      bool   // another node forwards it
}

// sender is whose requests arrive on this connection.
func (s *session) sender() sender {
	return sender{Address: s.account.from(s.node.config.Name), text: s.account.address}
}

// receive opens a sealed request that from sent and does what it asks. done is
// called once, possibly before receive returns and possibly on the
// committer's goroutine, so it must not block. Its error wraps
// [seal.ErrMessage] when the message has a fault of form or integrity; any other is ours.
// An answer to MESSAGE without an error is given once the message is on the disk, and messages
// of successive calls are stored in the order of the calls.
func (n *Node) receive(ctx context.Context, from sender, sealed []byte, done func(answer, error)) {
	plain, err := n.open(sealed, from)
	switch {
	case errors.Is(err, seal.ErrCannotOpen):
		done(refuse(tipt.ErrCannotOpen, "no key of this node opens it; fetch its key anew"), nil)
		return
	case err != nil:
		done(answer{}, fmt.Errorf("open a sealed request: %w", err))
		return
	}
	var request tipt.SealedRequest
	if err := request.Parse(plain); err != nil {
		var coded *tipt.ForwardError
		if !errors.As(err, &coded) {
			coded = &tipt.ForwardError{Code: tipt.ErrForwardMalformed, Message: err.Error()}
		}
		a := answerWith(tipt.ForwardAnswer{Err: coded})
		if request.GetUserKey != nil { // its `seal` could be read
			done(n.sealAnswer(request.GetUserKey, tipt.ForwardAnswer{Err: coded}))
			return
		}
		done(a, nil)
		return
	}
	switch request.Type {
	case tipt.ForwardMessage:
		n.receiveMessage(ctx, from, request.Message, done)
	case tipt.ForwardGetUserKey:
		done(n.receiveGetUserKey(ctx, request.GetUserKey))
	}
}

// largeSealed is the size from which on sealed requests are opened one by one.
const largeSealed = 64 << 10

// open opens a sealed request. Of large ones only as many as there are processors at once: what it takes
// to open one is a multiple of its size, and nobody is served sooner by all of them at once.
func (n *Node) open(sealed []byte, from sender) ([]byte, error) {
	if len(sealed) >= largeSealed {
		n.opening <- struct{}{}
		defer func() { <-n.opening }()
	}
	return n.opener.Load().Open(sealed, from.Address, fault.Now())
}

func (n *Node) receiveMessage(ctx context.Context, from sender, m *tipt.MessageForward, done func(answer, error)) {
	name, err := tipt.ParseUserName(m.To)
	if err != nil {
		done(refuse(tipt.ErrForwardMalformed, "body.to: %v", err), nil)
		return
	}
	user, err := n.recipient(ctx, name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		done(refuse(tipt.ErrNoSuchUser, "no user %s here", name), nil)
		return
	case err != nil:
		done(answer{}, fmt.Errorf("look up a recipient: %w", err))
		return
	}
	var tooMany error
	if from.foreign {
		tooMany = n.limits.recipient(from.Node, name)
	}
	// One that was stored before is answered likewise, before anything else can refuse it (section 5.3).
	message := mailbox.Message{User: user, Kind: store.KindDeliver, From: from.text, ID: m.ID, Body: m.Message, OnlyDuplicate: tooMany != nil}
	err = n.mailboxes.Append(ctx, message, func(outcome store.Outcome, err error) {
		switch {
		case err != nil:
			done(answer{}, fmt.Errorf("store a message: %w", err))
		case outcome == store.NoDuplicate:
			done(answer{}, tooMany)
		case outcome == store.NoUser:
			done(refuse(tipt.ErrNoSuchUser, "no user %s here", name), nil)
		case outcome == store.Full:
			done(refuse(tipt.ErrMailboxFull, "the mailbox of %s is full", name), nil)
		default: // stored, now or before
			done(accepted, nil)
		}
	})
	if err != nil {
		done(answer{}, fmt.Errorf("store a message: %w", err))
	}
}

func (n *Node) receiveGetUserKey(ctx context.Context, g *tipt.GetUserKeyForward) (answer, error) {
	name, err := tipt.ParseUserName(g.User)
	if err != nil {
		return n.sealAnswer(g, tipt.ForwardAnswer{Err: &tipt.ForwardError{
			Code: tipt.ErrForwardMalformed, Message: fmt.Sprintf("body.user: %v", err),
		}})
	}
	user, err := n.config.Store.User(ctx, name)
	if errors.Is(err, store.ErrNotFound) || err == nil && user.Deleted {
		return n.sealAnswer(g, tipt.ForwardAnswer{Err: &tipt.ForwardError{
			Code: tipt.ErrNoSuchUser, Message: fmt.Sprintf("no user %s here", name),
		}})
	}
	if err != nil {
		return answer{}, fmt.Errorf("look up a user's key: %w", err)
	}
	return n.sealAnswer(g, tipt.ForwardAnswer{Body: tipt.UserKeyAnswer{Key: user.Key}.Append(nil)})
}

func (n *Node) sealAnswer(g *tipt.GetUserKeyForward, a tipt.ForwardAnswer) (answer, error) {
	sealed, err := seal.SealAnswer(&g.Seal, a.Append(nil))
	if err != nil {
		return answer{}, fmt.Errorf("seal an answer: %w", err)
	}
	return answer{bytes: sealed, sealed: true}, nil
}
