package bare

import (
	"fmt"
	"time"
)

// Frame returns a packet as a message of a client, which may be written to any connection.
func Frame(packet []byte) []byte { return (&Conn{masked: true}).appendFrame(nil, opBinary, packet) }

// Write writes what Frame returned, or a part of it, past what is queued. Nothing may be queued
// or flushed meanwhile.
func (c *Conn) Write(frames []byte) error {
	if _, err := c.nc.Write(frames); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// SetReadDeadline sets when Next fails with os.ErrDeadlineExceeded.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.nc.SetReadDeadline(t) }
