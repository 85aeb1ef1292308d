package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
)

// maxMessage bounds what a server sends at once, in bytes.
const maxMessage = 1 << 20

// A conn is a connection to a server. One goroutine reads; queue and flush may be called by any.
type conn struct {
	tls *tls.Conn
	in  *bufio.Reader

	mu      sync.Mutex // guards the following fields
	out     []byte     // to be written
	writing bool
	err     error // of writing
}

// dial connects to a server, and verifies its certificate.
func dial(ctx context.Context, address string, config *tls.Config) (*conn, error) {
	d := tls.Dialer{Config: config}
	nc, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := nc.(*tls.Conn)
	return &conn{tls: c, in: bufio.NewReader(c)}, nil
}

// serverName is the name that the server's certificate was verified for.
func (c *conn) serverName() string { return c.tls.ConnectionState().ServerName }

// queue queues what append adds to a buffer.
func (c *conn) queue(add func(b []byte) []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = add(c.out)
}

// flush writes what is queued, in one write, unless somebody else is writing and will do so.
func (c *conn) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.writing && c.err == nil && len(c.out) > 0 {
		b := c.out
		c.out, c.writing = nil, true
		c.mu.Unlock()
		_, err := c.tls.Write(b)
		c.mu.Lock()
		c.writing = false
		if err != nil {
			c.err = fmt.Errorf("write: %w", err)
		}
	}
	return c.err
}

// send queues text and flushes.
func (c *conn) send(text string) error {
	c.queue(func(b []byte) []byte { return append(b, text...) })
	return c.flush()
}

// line reads a line, without its end.
func (c *conn) line() (string, error) {
	var all []byte
	for {
		part, err := c.in.ReadSlice('\n')
		all = append(all, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull) && len(all) < maxMessage:
			continue
		case err != nil:
			return "", fmt.Errorf("read: %w", err)
		}
		all = all[:len(all)-1]
		if n := len(all); n > 0 && all[n-1] == '\r' {
			all = all[:n-1]
		}
		return string(all), nil
	}
}

// close ends the connection. Whoever reads or writes then fails.
func (c *conn) close() { _ = c.tls.NetConn().(*net.TCPConn).Close() } // it is given up
