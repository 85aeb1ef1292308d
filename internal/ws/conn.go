package ws

import "io"

// A Conn is a node's end of a WebSocket connection. It is a link.Conn.
type Conn struct{}

func (c *Conn) Bind(pinged, ponged func())          { panic("unwritten") }
func (c *Conn) Next() (io.Reader, error)            { panic("unwritten") }
func (c *Conn) Write(packets [][]byte) error        { panic("unwritten") }
func (c *Conn) Ping()                               { panic("unwritten") }
func (c *Conn) Close(code int, reason string) error { panic("unwritten") }
func (c *Conn) CloseNow()                           { panic("unwritten") }
func (c *Conn) SetReadLimit(n int64)                { panic("unwritten") }
