// Package client is the client side of the Tipt protocol: one connection of
// one user to the node that serves it, kept up for as long as the program wants.
//
//	c, err := client.Dial(ctx, "example.org", nil)
//	…
//	defer c.Close()
//	_, err = c.SignIn(ctx, client.Credentials{User: "alice", Password: "correct horse"})
//	…
//	err = c.Send(ctx, client.Outgoing{To: bob, Text: "Hello"})
//	…
//	err = c.Receive(ctx, func(ctx context.Context, m client.Message) error {
//		text, _ := m.Text() // m.Signed says whether m.From has really written it
//		fmt.Printf("%s: %s\n", m.From, text)
//		return nil // taken; the node may forget it
//	})
//
// A refusal by the node is a [tipt.Error] and one by the destination a
// [tipt.ForwardError]; test for them by code, as in errors.Is(err, tipt.ErrCredentials)
// or errors.Is(err, tipt.ErrNoSuchUser).
package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/ws"
	"github.com/tipt/tipt-go/link"
	"github.com/tipt/tipt-go/seal"
)

// Options are what [Dial] may be told. The zero value works, and so does nil.
type Options struct {
	// RootCAs are trusted in addition to the system's root certificates. The
	// node's certificate is always verified; nothing turns that off.
	RootCAs []*x509.Certificate

	// Connect is the HOST:PORT at which the node is reached. The certificate must
	// be for the node's name all the same. By default it is port 443 of that name.
	Connect string

	// Device names this installation of the program among the user's devices, at
	// most 64 bytes. A program makes up a random name once and keeps it. By
	// default it is "default".
	Device string

	// Pins keeps the keys of nodes. By default they are forgotten with the Client.
	Pins Pins

	// KeyChanged is called before anything is sealed to a node whose primary key is
	// not the one in Pins and is not certified by that one: somebody may be reading
	// along, or the node was set up anew. The arguments are fingerprints. On nil
	// the new key takes the old one's place; on an error the message is not
	// sent and the error is returned. By default the change is logged and accepted.
	KeyChanged func(node tipt.NodeName, was, is string) error

	// Key is the user's own, the same on all devices; its certificate is published with
	// [Client.SetKey]. What others seal to that is opened with it, and what this client seals is
	// signed. By default messages are sealed but not signed, and what is sealed to the user is
	// handed over as it came.
	Key *seal.UserKey

	// OldKeys are those that the user had before. What is still sealed to them is opened with them;
	// nothing is signed with them.
	OldKeys []*seal.UserKey

	// UserPins keeps the certificates of other users. By default they are forgotten with the Client.
	UserPins UserPins

	// UserKeyChanged is called when a user's primary key is not the one in UserPins and is not
	// certified by that one: somebody may be reading along, or the user has lost the old one. The arguments are
	// fingerprints; the last is empty when the user has no certificate any longer, so that the user's
	// node can read what is sent from now on. On nil the new one, or none, takes the old one's place. On an
	// error nothing is sent, and Send returns it; if a message that came is the occasion, its
	// signature does not count, SignError is that error, and Send asks again. Send and Receive may call it at the same time. By
	// default each change is such an error, [ErrUserKeyChanged].
	UserKeyChanged func(user tipt.Address, was, is string) error

	// Logger gets lost and regained connections and refused messages, no
	// content and no secrets. By default nothing is logged.
	Logger *slog.Logger

	// Tap is called with each packet as it crosses the wire. It must not keep
	// the slice, and what it sees contains passwords and tokens.
	Tap func(sent bool, packet []byte)
}

// A Client is one user's connection to one node. It ends with [Client.Close]. Its methods may
// be called at the same time, and end early when their context does.
//
// A connection that is lost is made again, after pauses that double from 1 s to
// 5 min, each a random part of that, and never before the node wants it
// (docs/protocol.md, section 7). What had no answer is asked again, a message
// under the same id, so that it still arrives once; Register, SetPassword and
// DeleteAccount, which cannot be repeated blindly, return [ErrUnknownOutcome] instead.
// What is under way at a second close with 1002 or 1009 fails, since it is likely to
// be the cause. BUSY is waited out, but by those three and SignIn, where somebody waits
// for the answer.
//
// A Client ends by itself, and its methods then return why, when its device signed in
// on another connection ([ErrReplaced]), when it was signed out ([ErrSignedOut], or, where
// that shows on reconnecting, [tipt.ErrCredentials] or [tipt.ErrDisabled]), and when
// the node has come to speak too old a protocol ([ErrIncompatible]).
type Client struct {
	// Static after construction.
	node     tipt.NodeName
	options  Options
	log      *slog.Logger
	dial     func(ctx context.Context) (link.Conn, error)
	pause    backoff         // between attempts, to be copied
	life     context.Context // ends with Close
	endLife  context.CancelFunc
	finished chan struct{} // closed when run has returned

	receiving atomic.Bool // a Receive is running

	mu      sync.Mutex // guards the following
	session *session   // in use; nil while there is none
	changed chan struct{}
	err     error               // why the client ended, nil until then
	signIn  *tipt.SignInRequest // how a new connection signs in; nil until SignIn succeeded
	keys    map[tipt.NodeName]*nodeKey
	users   map[tipt.Address]*userKey
	taken   recent
}

// Dial connects to the node and makes sure that it speaks this protocol. It tries
// once: an error says why the node cannot be reached, for instance an
// [UnavailableError]. The context bounds Dial alone.
func Dial(ctx context.Context, node tipt.NodeName, o *Options) (*Client, error) {
	c, err := newClient(node, o)
	if err != nil {
		return nil, err
	}
	if err := c.start(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

func newClient(node tipt.NodeName, o *Options) (*Client, error) {
	c := &Client{
		node:     node,
		log:      slog.New(slog.DiscardHandler),
		pause:    backoff{min: tipt.ReconnectMin, max: tipt.ReconnectMax},
		finished: make(chan struct{}),
		changed:  make(chan struct{}),
		keys:     make(map[tipt.NodeName]*nodeKey),
		users:    make(map[tipt.Address]*userKey),
	}
	if o != nil {
		c.options = *o
	}
	if c.options.Logger != nil {
		c.log = c.options.Logger.With("node", string(node))
	}
	if c.options.Pins == nil {
		c.options.Pins = new(memoryPins)
	}
	if c.options.UserPins == nil {
		c.options.UserPins = new(memoryUserPins)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the system's root certificates: %w", err)
	}
	for _, root := range c.options.RootCAs {
		roots.AddCert(root)
	}
	dialer := ws.DialOptions{TLS: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}}
	if c.options.Connect != "" {
		dialer.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, c.options.Connect)
		}
	}
	c.dial = func(ctx context.Context) (link.Conn, error) {
		return ws.Dial(ctx, "wss://"+string(node)+"/ws", dialer)
	}
	c.life, c.endLife = context.WithCancel(context.Background())
	return c, nil
}

// start makes the first connection and starts the goroutine that keeps it up,
// for which Close waits.
func (c *Client) start(ctx context.Context) error {
	s, err := c.connect(ctx)
	if err != nil {
		c.endLife()
		return fmt.Errorf("connect to %s: %w", c.node, err)
	}
	c.setSession(s)
	go c.run(s)
	return nil
}

// Close sends what has been answered so far, ends the connection and waits for
// that, for a few seconds at most. Calls under way return [ErrClosed].
func (c *Client) Close() {
	c.end(ErrClosed)
	c.endLife()
	<-c.finished
}

// end makes err what every call returns from now on, unless there is such an error already.
func (c *Client) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	c.session = nil
	c.announceLocked()
}

// setSession makes s, which may be nil, the connection in use.
func (c *Client) setSession(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.session = s
	c.announceLocked()
}

// announceLocked wakes everybody in use.
func (c *Client) announceLocked() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// use waits until there is a connection other than old, which has been lost.
func (c *Client) use(ctx context.Context, old *session) (*session, error) {
	for {
		c.mu.Lock()
		s, changed, err := c.session, c.changed, c.err
		c.mu.Unlock()
		switch {
		case err != nil:
			return nil, err
		case s != nil && s != old:
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// sleep waits for d. It returns an error when the context or the client ends first.
func (c *Client) sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.life.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.err
	}
}
