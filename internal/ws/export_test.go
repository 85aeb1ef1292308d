package ws

import "reflect"

// LayoutKnown says whether a type such as tls.Conn has the buffers that trim drops.
func LayoutKnown(conn reflect.Type) bool { return findLayout(conn).known }

// Parked reports whether nobody reads c.
func (c *Conn) Parked() bool { return c.wait.state.Load() == parked }

// Buffers returns the bytes that TLS holds for c, or false when it is not parked. Meanwhile the
// caller is its reader.
func (c *Conn) Buffers() (bytes int, ok bool) {
	if !c.wait.state.CompareAndSwap(parked, reads) {
		return 0, false
	}
	rawInput, hand := buffersOf(c.nc)
	bytes = rawInput.Cap() + hand.Cap()
	if !c.wait.state.CompareAndSwap(reads, parked) {
		c.wait.state.Store(reads)
		c.wait.poller.start(c.wait.readable)
	}
	return bytes, true
}
