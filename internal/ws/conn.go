package ws

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/link"
)

// A Conn is a node's end of a WebSocket connection, a [link.Conn]. While it is
// idle it has no buffers of its own and, where it is watched, no goroutine.
type Conn struct {
	// Static after Bind.
	nc             net.Conn
	pinged, ponged func()

	limit  atomic.Int64 // bytes of a message
	closed atomic.Bool  // our close frame was written

	wait waiting
	read reading // owned by the goroutine that reads

	mu   sync.Mutex // guards the following fields
	ping bool       // a PING is due
	pong []byte     // the payload of the PONG that is due, of the latest PING alone
	due  bool       // that PONG is
}

var _ link.Parker = (*Conn)(nil)

// newConn returns the node's end of an upgraded connection. early are the bytes
// that were read from nc already.
func newConn(nc net.Conn, early []byte) *Conn {
	c := &Conn{nc: nc}
	c.read.ahead = early
	c.limit.Store(tipt.MaxPacketSize)
	return c
}

// Bind implements [link.Conn].
func (c *Conn) Bind(pinged, ponged func()) { c.pinged, c.ponged = pinged, ponged }

// SetReadLimit implements [link.Conn].
func (c *Conn) SetReadLimit(n int64) { c.limit.Store(n) }

// Ping implements [link.Conn].
func (c *Conn) Ping() {
	c.mu.Lock()
	c.ping = true
	c.mu.Unlock()
}

// CloseNow implements [link.Conn].
func (c *Conn) CloseNow() {
	nc := c.nc
	if t, ok := nc.(*tls.Conn); ok && !c.closed.Load() {
		// TLS would first try to say goodbye, for up to 5 s, to a peer that may not read.
		nc = t.NetConn()
	}
	if c.wait.poller != nil {
		c.wait.poller.remove(c)
	}
	// The connection is given up; that it could not even be closed changes nothing.
	_ = nc.Close()
	c.tell() // a closed socket is nothing that the Poller hears of
}

// anonymous is err without the addresses that package net puts in: what ends a connection
// goes to a node's log, which is to show none.
func anonymous(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return fmt.Errorf("%s: %w", op.Op, op.Err)
	}
	return err
}
