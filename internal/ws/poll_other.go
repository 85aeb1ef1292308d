//go:build !linux

package ws

import (
	"context"
	"errors"
	"net"
)

// Listener returns l: connections are only watched on Linux.
func Listener(l net.Listener) net.Listener { return l }

// A socket would be a TCP connection whose Read can be made to fail rather than wait.
type socket struct {
	net.Conn
	now bool
}

// A Poller watches idle connections, on Linux.
type Poller struct{}

// NewPoller returns errors.ErrUnsupported.
func NewPoller() (*Poller, error) { return nil, errors.ErrUnsupported }

// Run does nothing.
func (p *Poller) Run(ctx context.Context) error { return nil }

// Rest does nothing.
func (p *Poller) Rest() {}

func (p *Poller) start(f func())   {}
func (p *Poller) add(c *Conn) bool { return false }
func (p *Poller) remove(c *Conn)   {}
