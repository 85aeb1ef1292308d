package ws

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/link"
)

// A ClientConn is a client's end of a WebSocket connection, a [link.Conn].
// PINGs of the node are answered by the library beneath, while Next or its reader waits.
type ClientConn struct {
	// Static after Bind.
	conn           *websocket.Conn
	nc             net.Conn // the TCP connection beneath
	pinged, ponged func()

	limit atomic.Int64 // bytes of a message

	// Owned by the goroutine that reads.
	message io.Reader // the message at hand
	size    int64     // of what was read of it

	mu    sync.Mutex // guards the following fields
	ping  bool       // a PING is due
	ended bool       // CloseNow was called

	pings sync.WaitGroup // goroutines that await a PONG
}

var _ link.Conn = (*ClientConn)(nil)

// Bind implements [link.Conn].
func (c *ClientConn) Bind(pinged, ponged func()) { c.pinged, c.ponged = pinged, ponged }

// SetReadLimit implements [link.Conn].
func (c *ClientConn) SetReadLimit(n int64) { c.limit.Store(n) }

func (c *ClientConn) onPing(context.Context, []byte) bool {
	c.pinged()
	return true // and the library writes the PONG
}

func (c *ClientConn) onPong(context.Context, []byte) { c.ponged() }

// Next implements [link.Conn].
func (c *ClientConn) Next() (io.Reader, error) {
	if c.message != nil {
		if _, err := io.Copy(io.Discard, c.message); err != nil {
			return nil, clientError(err)
		}
		c.message = nil
	}
	// A context that ends would close the connection: none that ends comes here.
	kind, r, err := c.conn.Reader(context.Background())
	if err != nil {
		return nil, clientError(err)
	}
	c.message, c.size = r, 0
	if kind != websocket.MessageBinary {
		return nil, violation(tipt.CloseText, "text message")
	}
	return (*clientReader)(c), nil
}

// A clientReader reads the message at hand.
type clientReader ClientConn

func (r *clientReader) Read(b []byte) (int, error) {
	n, err := r.message.Read(b)
	if err != nil && err != io.EOF {
		return n, clientError(err)
	}
	// The library's own limit would leave no way to await the node's close frame.
	r.size += int64(n)
	if limit := r.limit.Load(); r.size > limit {
		return 0, violation(tipt.CloseTooLarge, fmt.Sprintf("message of more than %d bytes", limit))
	}
	return n, err
}

// clientError is what link makes of an error of the library's reading side.
func clientError(err error) error {
	var ce websocket.CloseError
	if errors.As(err, &ce) {
		return &link.CloseError{Code: int(ce.Code), Reason: ce.Reason}
	}
	return lost(err)
}

// Ping implements [link.Conn].
func (c *ClientConn) Ping() {
	c.mu.Lock()
	c.ping = true
	c.mu.Unlock()
}

// Write implements [link.Conn].
func (c *ClientConn) Write(packets [][]byte) error {
	c.startPing()
	for _, packet := range packets {
		if err := c.write(packet); err != nil {
			return err
		}
	}
	return nil
}

// write writes one message. In fragments, if it is long: the library's PONGs, for which
// the reader waits, get between them.
func (c *ClientConn) write(packet []byte) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	stalled := time.AfterFunc(link.StallTimeout, func() { cancel(errStalled) })
	defer stalled.Stop()

	err := func() error {
		if len(packet) <= fragmentSize {
			return c.conn.Write(ctx, websocket.MessageBinary, packet)
		}
		w, err := c.conn.Writer(ctx, websocket.MessageBinary)
		if err != nil {
			return err
		}
		for len(packet) > 0 {
			n := min(len(packet), fragmentSize)
			if _, err := w.Write(packet[:n]); err != nil {
				return err
			}
			packet = packet[n:]
			stalled.Reset(link.StallTimeout)
		}
		return w.Close()
	}()
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

var errStalled = fmt.Errorf("ws: the node takes nothing: %w", context.DeadlineExceeded)

// startPing sends the PING that is due. The library has no way to send one without waiting
// for its PONG, so that is done aside; CloseNow waits for it.
func (c *ClientConn) startPing() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ping || c.ended {
		return
	}
	c.ping = false
	c.pings.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), tipt.PongTimeout)
		defer cancel()
		for {
			err := c.conn.Ping(ctx)
			// The library waits 5 s for its turn to write, which a large message may take longer.
			if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
				return // PONG, or the connection has ended; ponged told whoever waits
			}
		}
	})
}

// Close implements [link.Conn]. It waits up to 5 s for the node's close frame.
func (c *ClientConn) Close(code int, reason string) error {
	err := c.conn.Close(websocket.StatusCode(code), cutReason(reason))
	var ce websocket.CloseError
	if errors.As(err, &ce) || errors.Is(err, net.ErrClosed) {
		return nil // the node closed with another code, or before
	}
	return err
}

// CloseNow implements [link.Conn].
func (c *ClientConn) CloseNow() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	// The connection is given up; that it could not even be closed changes nothing. The
	// library's own CloseNow would first wait for a Close under way.
	_ = c.nc.Close()
	_ = c.conn.CloseNow()
	c.pings.Wait()
}
