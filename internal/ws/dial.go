package ws

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"time"
)

// DialOptions are Dial's options. The zero value is usable.
type DialOptions struct {
	// TLS is the configuration for wss URLs; nil is crypto/tls's default. The
	// certificate is verified in any case (section 1.2).
	TLS *tls.Config

	// DialContext makes the TCP connection; nil is net.Dialer's.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
}

// A StatusError is Dial's error when the node answered the upgrade with
// another status than 101.
type StatusError struct {
	Status     int           // of HTTP: 503 when overloaded or in maintenance, 500 after an internal error (section 1.3)
	RetryAfter time.Duration // 0 when the node did not say
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("ws: the node answered with HTTP status %d", e.Status)
}

// Dial connects to a wss URL; ctx bounds the handshake alone. It follows no
// redirect.
func Dial(ctx context.Context, url string, o DialOptions) (*ClientConn, error) { panic("unwritten") }

// A ClientConn is a client's end of a WebSocket connection. It is a link.Conn.
type ClientConn struct{}

func (c *ClientConn) Bind(pinged, ponged func())          { panic("unwritten") }
func (c *ClientConn) Next() (io.Reader, error)            { panic("unwritten") }
func (c *ClientConn) Write(packets [][]byte) error        { panic("unwritten") }
func (c *ClientConn) Ping()                               { panic("unwritten") }
func (c *ClientConn) Close(code int, reason string) error { panic("unwritten") }
func (c *ClientConn) CloseNow()                           { panic("unwritten") }
func (c *ClientConn) SetReadLimit(n int64)                { panic("unwritten") }
