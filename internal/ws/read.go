package ws

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/link"
)

// reading is the state of the reading side of a Conn.
type reading struct {
	ahead   []byte                 // bytes that came and were not used yet: of the upgrade, or in head
	head    [ws.MaxHeaderSize]byte // of await
	scratch [ws.MaxHeaderSize]byte // of header

	frame    ws.Header // of the message: the one at hand
	left     int64     // bytes of its payload that were not read yet
	size     int64     // of the message so far
	fragment bool      // more frames of the message follow
	failed   bool      // the peer broke a rule of frames: nothing can be understood any more
}

// bytes reads from the connection, first what is there already.
func (c *Conn) bytes(b []byte) (int, error) {
	if len(c.read.ahead) == 0 {
		n, err := c.nc.Read(b)
		return n, anonymous(err)
	}
	n := copy(b, c.read.ahead)
	if c.read.ahead = c.read.ahead[n:]; len(c.read.ahead) == 0 {
		c.read.ahead = nil // the upgrade's bytes can go
	}
	return n, nil
}

// byteReader makes bytes an io.Reader.
type byteReader Conn

func (r *byteReader) Read(b []byte) (int, error) { return (*Conn)(r).bytes(b) }

// Next implements [link.Conn].
func (c *Conn) Next() (io.Reader, error) {
	if c.read.failed {
		return nil, c.discard()
	}
	if err := c.skip(); err != nil {
		return nil, err
	}
	if err := c.nextFrame(); err != nil {
		return nil, err
	}
	return (*messageReader)(c), nil
}

// skip reads the message at hand to its end.
func (c *Conn) skip() error {
	if c.read.left == 0 && !c.read.fragment {
		return nil
	}
	_, err := io.Copy(io.Discard, (*messageReader)(c))
	return err
}

// discard reads and drops all input until the connection ends.
func (c *Conn) discard() error {
	if _, err := io.Copy(io.Discard, (*byteReader)(c)); err != nil {
		return fmt.Errorf("discard input: %w", err)
	}
	return io.ErrUnexpectedEOF
}

// violation is the error of a peer that broke a rule.
func violation(code int, reason string) error {
	return &link.CloseError{Local: true, Code: code, Reason: reason}
}

// fail is the violation of a peer that broke a rule of frames.
func (c *Conn) fail(reason string) error {
	c.read.failed = true
	return violation(tipt.CloseProtocol, reason)
}

// nextFrame reads up to the payload of the next frame that belongs to a message,
// and handles the control frames before it.
func (c *Conn) nextFrame() error {
	for {
		h, err := c.header()
		if err != nil {
			return err
		}
		if h.OpCode.IsControl() {
			if err := c.control(h); err != nil {
				return err
			}
			continue
		}
		if h.OpCode != ws.OpContinuation {
			c.read.size = 0
		}
		c.read.frame, c.read.left, c.read.fragment = h, h.Length, !h.Fin
		if h.OpCode == ws.OpText {
			return violation(tipt.CloseText, "text message")
		}
		// Not the sum, which a length of 2^63-1 would overflow.
		if limit := c.limit.Load(); h.Length > limit-c.read.size {
			return violation(tipt.CloseTooLarge, fmt.Sprintf("message of more than %d bytes", limit))
		}
		c.read.size += h.Length
		return nil
	}
}

// header reads the next frame's header and checks it (RFC 6455, section 5.2).
func (c *Conn) header() (ws.Header, error) {
	if err := c.await(); err != nil {
		return ws.Header{}, lost(err)
	}
	h, err := ws.ReadHeaderBuffer((*byteReader)(c), c.read.scratch[:])
	switch {
	case errors.Is(err, ws.ErrHeaderLengthMSB):
		return h, c.fail("frame length with its highest bit set")
	case err != nil:
		return h, lost(err)
	}
	state := ws.StateServerSide
	if c.read.fragment {
		state = state.Set(ws.StateFragmented)
	}
	if err := ws.CheckHeader(h, state); err != nil {
		return h, c.fail(err.Error())
	}
	return h, nil
}

// lost is the error of a connection that ended without a close frame.
func lost(err error) error {
	if errors.Is(err, link.ErrParked) {
		return err // it did not
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // io.EOF is a message's end
	}
	return fmt.Errorf("connection lost: %w", err)
}

// control reads a control frame's payload and does what it says.
func (c *Conn) control(h ws.Header) error {
	payload := make([]byte, h.Length) // at most 125 bytes, as the header was checked
	if _, err := io.ReadFull((*byteReader)(c), payload); err != nil {
		return lost(err)
	}
	ws.Cipher(payload, h.Mask, 0)
	switch h.OpCode {
	case ws.OpPing:
		c.mu.Lock()
		c.pong, c.due = payload, true
		c.mu.Unlock()
		c.pinged()
	case ws.OpPong:
		c.ponged()
	case ws.OpClose:
		return c.closeFrame(payload)
	}
	return nil
}

// closeFrame returns the error for the peer's close frame (RFC 6455, section 5.5.1).
func (c *Conn) closeFrame(payload []byte) error {
	if len(payload) == 0 {
		return &link.CloseError{Code: tipt.CloseNoStatus}
	}
	if len(payload) == 1 {
		return c.fail("close frame with half a code")
	}
	code, reason := int(binary.BigEndian.Uint16(payload)), payload[2:]
	if !validCode(code) {
		return c.fail("close frame with a code that may not be sent")
	}
	if !utf8.Valid(reason) {
		return c.fail("close frame whose reason is not UTF-8")
	}
	return &link.CloseError{Code: code, Reason: string(reason)}
}

// validCode reports whether a close frame may have that code (RFC 6455, section
// 7.4, with the codes that were registered since).
func validCode(code int) bool {
	switch {
	case code == 1004, code == tipt.CloseNoStatus, code == 1006:
		return false
	}
	return code >= 1000 && code <= 1014 || code >= 3000 && code <= 4999
}

// A messageReader reads the message at hand.
type messageReader Conn

func (r *messageReader) Read(b []byte) (int, error) {
	c := (*Conn)(r)
	for c.read.left == 0 {
		if !c.read.fragment {
			return 0, io.EOF
		}
		if err := c.nextFrame(); err != nil {
			return 0, err
		}
	}
	b = b[:min(int64(len(b)), c.read.left)]
	n, err := c.bytes(b)
	ws.Cipher(b[:n], c.read.frame.Mask, int((c.read.frame.Length-c.read.left)%4))
	c.read.left -= int64(n)
	if n == 0 && err != nil {
		return 0, lost(err)
	}
	return n, nil
}
