package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/bench/internal/bare"
	"github.com/tipt/tipt-go/seal"
)

// dialling is how many connections are made at once where it is not what is measured.
const dialling = 32

// A client is a connection of a user who signs in.
type client struct {
	conn    *bare.Conn
	account Account
	address string // the user's, once signed in

	// sends and takes are what it sends and takes messages for; nil where it does not. They are
	// set before serve.
	sends, takes *pair
}

// connect signs the accounts in, each on a connection of its own, and returns them in order.
func (o *Options) connect(ctx context.Context, t target, accounts []Account) (_ []*client, err error) {
	clients := make([]*client, len(accounts))
	defer func() {
		if err != nil {
			hangUp(clients)
		}
	}()
	var done atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(dialling)
	for i, a := range accounts {
		group.Go(func() error {
			return patiently(ctx, func() error {
				c, err := newClient(ctx, t, a)
				if err == nil {
					clients[i] = c
					o.progress("connecting", int(done.Add(1)), len(accounts))
				}
				return err
			})
		})
	}
	return clients, group.Wait()
}

func newClient(ctx context.Context, t target, a Account) (*client, error) {
	conn, err := t.dial(ctx)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, account: a}
	if err := c.signIn(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

func (c *client) signIn(ctx context.Context) error {
	var err error
	c.address, _, err = signIn(ctx, c.conn, c.account.byToken(true))
	return err
}

// hangUp ends connections, where there are any.
func hangUp(clients []*client) {
	for _, c := range clients {
		if c != nil {
			c.conn.Close()
		}
	}
}

// nodeKey asks a node for the key of another, or for its own.
func (o *Options) nodeKey(ctx context.Context, of tipt.NodeName, t target, a Account) (*seal.Certificate, error) {
	conn, err := t.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// What only sends gets nothing in between, and displaces nobody.
	if _, _, err := signIn(ctx, conn, a.byToken(false)); err != nil {
		return nil, err
	}
	p, err := ask(ctx, conn, tipt.RequestGetNodeKey, tipt.GetNodeKeyRequest{Node: string(of)}.Append(nil))
	if err != nil {
		return nil, fmt.Errorf("get the key of %s: %w", of, err)
	}
	var key tipt.GetNodeKeyResponse
	if err := key.Parse(p.Body, p.Newer); err != nil {
		return nil, fmt.Errorf("get the key of %s: %w", of, err)
	}
	return seal.ParseCertificate(key.Key)
}

// serve reads the connection until it ends and returns why.
func (c *client) serve() error {
	for {
		b, err := c.conn.Next()
		if err != nil {
			return err
		}
		p, err := tipt.ParsePacket(b, tipt.RevisionSeed)
		if err != nil {
			return err
		}
		if err := c.take(p); err != nil {
			return err
		}
	}
}

func (c *client) take(p tipt.Packet) error {
	switch {
	case p.Type == tipt.PacketResponse && c.sends != nil:
		return c.sends.answered(p)
	case p.Type == tipt.PacketEvent && tipt.ClientEvent(p.Code) == tipt.EventGoingAway:
		return errors.New("the node goes away")
	case p.Type != tipt.PacketRequest:
		return fmt.Errorf("a %v came that nothing asked for", p.Type)
	}
	switch tipt.ClientRequest(p.Code) {
	case tipt.RequestDeliver:
		var d tipt.DeliverRequest
		if err := d.Parse(p.Body, p.Newer); err != nil {
			return err
		}
		c.conn.Queue(&tipt.Packet{Version: tipt.Version, Type: tipt.PacketResponse, ID: p.ID})
		if c.takes != nil {
			c.takes.delivered(d)
		}
	case tipt.RequestReturn:
		var r tipt.ReturnRequest
		if err := r.Parse(p.Body, p.Newer); err != nil {
			return err
		}
		c.conn.Queue(&tipt.Packet{Version: tipt.Version, Type: tipt.PacketResponse, ID: p.ID})
		if c.sends != nil {
			c.sends.returned(r)
		}
	default:
		return fmt.Errorf("request %#02x to the client", p.Code)
	}
	return nil
}

// A crowd is clients being served.
type crowd struct {
	ending atomic.Bool
	served sync.WaitGroup

	mu      sync.Mutex // guards the following field
	clients []*client
}

// serve serves a client, telling lost when its connection ends before leave.
func (g *crowd) serve(c *client, lost func(*client, error)) {
	g.mu.Lock()
	g.clients = append(g.clients, c)
	g.mu.Unlock()
	g.served.Go(func() {
		defer c.conn.Close()
		if err := c.serve(); !g.ending.Load() {
			lost(c, err)
		}
	})
}

// leave ends all connections and waits for that.
func (g *crowd) leave() {
	g.ending.Store(true)
	g.mu.Lock()
	hangUp(g.clients)
	g.mu.Unlock()
	g.served.Wait()
}
