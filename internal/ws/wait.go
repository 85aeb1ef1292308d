package ws

import (
	"crypto/tls"
	"errors"
	"os"
	"sync/atomic"

	"github.com/tipt/tipt-go/link"
)

// How an idle connection waits for its next byte.
//
// A goroutine that is blocked in a read keeps the stack that TLS once needed, 8 KiB or
// more, and TLS keeps the buffers of the largest record that came. So a connection that a
// [Poller] watches has neither while nothing arrives: its reader returns, and the Poller
// starts another one when the socket has something.
//
// The reader alone decides whether there is nothing: it asks TLS for the first byte of the
// next frame, from a [socket] that fails where it would wait. So bytes that TLS holds already,
// decrypted or not, are never waited for. What remains is the moment between that look
// at the socket and the rest, which waiting.state settles: whoever tells of something new
// (the Poller, or CloseNow) either finds the connection parked and starts its reader, or leaves
// word for the reader, which then looks once more instead of parking. The Poller is told by the
// kernel of each arrival after the socket was added to it (edge-triggered), whether or not
// somebody reads at that time, hence of each one that the reader's look could not see.

// waiting is how a Conn waits. Static after Park but for fd and state.
type waiting struct {
	socket   *socket // beneath TLS; nil: nothing but blocking is possible
	poller   *Poller // nil: likewise
	readable func()  // starts a reader; nil: Park was not called, readers block
	record   *record // what the reader has lent to TLS; owned by it
	fd       int     // of socket, for the poller, whose mu guards it
	state    atomic.Uint32
}

const (
	reads  = iota // a reader is at work, or about to be
	parked        // none is: the next word starts one
	told          // a reader is at work, and something happened since it last began to look
)

// Watch has a Poller watch the connection, if it is of a [Listener]. It is called before
// Park, which has no effect without it.
func (c *Conn) Watch(p *Poller) {
	if t, ok := c.nc.(*tls.Conn); ok {
		if s, ok := t.NetConn().(*socket); ok && p != nil {
			c.wait.socket, c.wait.poller = s, p
		}
	}
}

// Park implements [link.Parker].
func (c *Conn) Park(readable func()) bool {
	if c.wait.poller == nil || !c.wait.poller.add(c) {
		return false
	}
	c.wait.readable = readable
	return true
}

// Go implements [link.Parker].
func (c *Conn) Go(f func()) { c.wait.poller.start(f) }

// await returns when the first byte of the next frame is there, or with
// link.ErrParked when that is to be waited for and may be so without a goroutine: then the
// connection is another reader's, perhaps already.
func (c *Conn) await() error {
	if len(c.read.ahead) > 0 {
		return nil
	}
	// In the middle of a message the reader's stack is needed.
	parks := c.wait.readable != nil && !c.read.fragment
	for {
		n, err := c.first(parks)
		c.read.ahead = c.read.head[:n]
		switch {
		case n > 0:
			return nil // an error will come again
		case !parks || !errors.Is(err, errNothing):
			return anonymous(err)
		case c.park():
			return link.ErrParked
		}
	}
}

// errNothing says that there is nothing to be read now. It is what TLS takes as the end of
// a deadline: a thing that passes, after which the next Read goes on where this one was.
var errNothing = os.ErrDeadlineExceeded

// first reads the beginning of a frame; now: errNothing where it would have to wait.
func (c *Conn) first(now bool) (int, error) {
	if !now {
		return c.nc.Read(c.read.head[:])
	}
	c.lend()
	c.wait.socket.now = true
	n, err := c.nc.Read(c.read.head[:])
	c.wait.socket.now = false
	return n, err
}

// park lets go of the connection, which has nothing to be read. It reports false when
// that may have changed.
func (c *Conn) park() bool {
	c.trim()
	if c.wait.state.CompareAndSwap(reads, parked) {
		return true // nothing of c may be touched from here on
	}
	c.wait.state.Store(reads)
	return false
}

// tell says that something happened: bytes came, or the connection was closed.
func (c *Conn) tell() {
	for {
		switch c.wait.state.Load() {
		case told:
			return
		case reads:
			if c.wait.state.CompareAndSwap(reads, told) {
				return
			}
		case parked:
			if c.wait.state.CompareAndSwap(parked, reads) {
				c.wait.poller.start(c.wait.readable)
				return
			}
		}
	}
}
