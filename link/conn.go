package link

import (
	"errors"
	"io"
	"time"
)

// StallTimeout is how long a peer may take nothing of what is written before
// the connection is dropped, and how long a link that is being closed may take to write what
// is queued.
const StallTimeout = 30 * time.Second

// A Conn carries whole messages and the control frames of WebSocket. The two
// ends of internal/ws and those of [Pipe] are Conns. Next and the reader it returns are
// used by one goroutine, Write and Close by one at a time; the rest by any.
type Conn interface {
	// Bind sets what is called, by the goroutine that reads, when a PING has
	// come, whose PONG the next Write will carry, and when a PONG has come. It
	// is called once, before all else.
	Bind(pinged, ponged func())

	// Next waits for the next binary message and returns a reader of its bytes,
	// which is valid until the next call; what was not read of it is skipped. Control
	// frames are handled in passing, also those between the fragments of a message.
	// The reader's error is io.EOF at the end of the message and nowhere else.
	//
	// The error of both is a *CloseError when the peer's close frame has come, and
	// one with Local set when the peer broke a rule, for which the caller is to
	// close with that code; then Next still serves to await the peer's close frame. Any
	// other error ends the connection.
	Next() (io.Reader, error)

	// Write writes each packet as one binary message, together with the control
	// frames that are due, in as few writes as it can; packets may be empty. It
	// fails when the peer takes nothing for StallTimeout. It does not keep the slices.
	Write(packets [][]byte) error

	// Ping makes the next Write carry a PING.
	Ping()

	// Close writes a close frame, without a status when code is
	// tipt.CloseNoStatus. No Write follows; Next still works.
	Close(code int, reason string) error

	// CloseNow ends the connection at once and fails what waits on it.
	CloseNow()

	// SetReadLimit sets the size in bytes over which Next, or the reader, fails
	// with tipt.CloseTooLarge. It is tipt.MaxPacketSize at first.
	SetReadLimit(n int64)
}

// A Parker is a Conn that can wait for its peer without a goroutine: see [Link.Start].
type Parker interface {
	Conn

	// Park makes Next return ErrParked where it would wait for a message to begin.
	// Then the connection is no longer the caller's, and readable is called once, by a
	// goroutine for it, when Next may have something to return: a message, or an error,
	// also that of CloseNow. Park is called before Next. It reports false, and changes
	// nothing, where this is not possible.
	Park(readable func()) bool

	// Go runs f in a goroutine, best in one that did such work before: each time that a
	// message is read or written one is needed. Park has returned true.
	Go(f func())
}

// ErrParked is the error of Next when there is nothing to be read and a [Parker] waits for it.
var ErrParked = errors.New("link: parked")
