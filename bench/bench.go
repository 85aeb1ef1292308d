// Package bench puts a node under load and measures what it does: idle connections, pairs of
// users who write to each other, storms of sign-ins, mailboxes that fill and are drained, and
// messages that cross from one node to another. It looks at every message that comes, and
// what is lost, doubled or out of order is part of the result like its speed.
//
// Any node will do that lets its users work as fast as they can; one of tiptd is started with
// --limits off. docs/performance.md says how figures are got from it.
package bench

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/bench/internal/bare"
)

// A Node is a node to be put under load.
type Node struct {
	URL     string // wss://NODE[:PORT]/…
	Connect string // HOST:PORT where it is reached; by default that of URL
	// Accounts is a file of accounts on the node, as [AppendAccount] writes it. Those that are
	// missing are registered and added. Empty: they are registered and forgotten.
	Accounts string
}

// Options are what all kinds of load have in common.
type Options struct {
	Node  Node
	Roots *x509.CertPool // to verify nodes' certificates with; nil is the system's
	Seed  uint64         // of what is random in a load: who writes to whom, and the contents
	// PIDs are the processes whose memory and time are measured: the node's, where it runs
	// on this machine.
	PIDs []int
	// Collect is a shell command that makes the node give back what it does not use.
	Collect string
	// Patience is how long nothing may happen before what is missing is given up. If zero, 15 s.
	Patience time.Duration
	// Progress, where not nil, is told how far a stage is. It is called often, by any goroutine.
	Progress func(stage string, done, of int)
}

func (o *Options) progress(stage string, done, of int) {
	if o.Progress != nil {
		o.Progress(stage, done, of)
	}
}

func (o *Options) patience() time.Duration { return cmp.Or(o.Patience, 15*time.Second) }

// shuffle shuffles n things, the same way for the same seed.
func (o *Options) shuffle(n int, swap func(i, j int)) {
	rand.New(rand.NewPCG(o.Seed, 1)).Shuffle(n, swap)
}

// A target is a node ready to be dialled.
type target struct {
	name    tipt.NodeName
	connect string // Node.Connect
	address string
	config  *tls.Config
}

func (n *Node) target(roots *x509.CertPool) (target, error) {
	u, err := url.Parse(n.URL)
	if err != nil {
		return target{}, fmt.Errorf("address of the node: %w", err)
	}
	if u.Scheme != "wss" || u.Hostname() == "" {
		return target{}, fmt.Errorf("address of the node: %q is no wss://NODE[:PORT]", n.URL)
	}
	name, err := tipt.ParseNodeName(u.Hostname())
	if err != nil {
		return target{}, fmt.Errorf("address of the node: %w", err)
	}
	return target{
		name:    name,
		connect: n.Connect,
		address: cmp.Or(n.Connect, net.JoinHostPort(string(name), cmp.Or(u.Port(), "443"))),
		config:  &tls.Config{MinVersion: tls.VersionTLS12, ServerName: string(name), RootCAs: roots},
	}, nil
}

// A ConnectError is why there is no connection to a node.
type ConnectError struct {
	Node    tipt.NodeName
	Connect string // Node.Connect
	Err     error
}

func (e *ConnectError) Error() string { return fmt.Sprintf("connect to %s: %v", e.Node, e.Err) }

func (e *ConnectError) Unwrap() error { return e.Err }

// dialTimeout bounds a connection's way to a HANDSHAKE that is answered, and each request of its set-up.
const dialTimeout = 30 * time.Second

// dial connects and greets.
func (t target) dial(ctx context.Context) (*bare.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c, err := bare.Dial(ctx, t.address, t.config)
	if err != nil {
		return nil, &ConnectError{Node: t.name, Connect: t.connect, Err: err}
	}
	if _, err := ask(ctx, c, tipt.RequestHandshake, nil); err != nil {
		c.Close()
		return nil, fmt.Errorf("greet %s: %w", t.name, err)
	}
	return c, nil
}

// trusting returns the target with the certificate that it has now among its roots, once that was
// verified: connections to it then verify one signature and not two.
func (t target) trusting(ctx context.Context) (target, error) {
	c, err := t.dial(ctx)
	if err != nil {
		return target{}, err
	}
	defer c.Close()
	roots := t.config.RootCAs
	if roots == nil {
		roots, err = x509.SystemCertPool()
	} else {
		roots = roots.Clone()
	}
	if err != nil {
		return target{}, fmt.Errorf("read this machine's root certificates: %w", err)
	}
	roots.AddCert(c.PeerCertificate())
	t.config = t.config.Clone()
	t.config.RootCAs = roots
	return t, nil
}

// ask makes a request of a connection that nobody reads, and on which nothing else is under way.
func ask(ctx context.Context, c *bare.Conn, code tipt.NodeRequest, body []byte) (tipt.Packet, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, c.Close)()
	c.Queue(&tipt.Packet{Version: tipt.Version, Type: tipt.PacketRequest, Code: uint8(code), Body: body})
	b, err := c.Next()
	if err != nil {
		return tipt.Packet{}, cmp.Or(ctx.Err(), err)
	}
	p, err := tipt.ParsePacket(b, tipt.RevisionSeed)
	switch {
	case err != nil:
		return tipt.Packet{}, err
	case p.Type != tipt.PacketResponse:
		return tipt.Packet{}, fmt.Errorf("a %v came in place of the response", p.Type)
	case p.Err != nil:
		return tipt.Packet{}, p.Err
	}
	return p, nil
}

// signIn signs in on a connection of dial. The token is nil when there is no new one.
func signIn(ctx context.Context, c *bare.Conn, r tipt.SignInRequest) (address string, token []byte, err error) {
	p, err := ask(ctx, c, tipt.RequestSignIn, r.Append(nil))
	if err != nil {
		return "", nil, fmt.Errorf("sign in as %s: %w", r.User, err)
	}
	var in tipt.SignInResponse
	if err := in.Parse(p.Body, p.Newer); err != nil {
		return "", nil, fmt.Errorf("sign in as %s: %w", r.User, err)
	}
	return in.Address, append([]byte(nil), in.Token...), nil
}

// busy returns how long a node asks to be left alone, false when err says something else.
func busy(err error) (time.Duration, bool) {
	var refusal *tipt.Error
	if errors.As(err, &refusal) && refusal.Code == tipt.ErrBusy {
		return refusal.Wait, true
	}
	return 0, false
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
