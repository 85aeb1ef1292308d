// Package bare is WebSocket over TLS with as little around it as will do: what the load
// generator and the floor that nodes are compared with are made of. It is made for speed
// and a small footprint and trusts the other end to keep to RFC 6455; a connection on which that
// does not hold ends.
package bare

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"

	"github.com/tipt/tipt-go"
)

const (
	// smallBuffer is what a connection keeps for reading when it is idle, and largeBuffer, one
	// record of TLS, what it reads into when it is not.
	smallBuffer = 512
	largeBuffer = 16 << 10
	maxHeader   = 14 // bytes of a frame's header
)

// Frames' opcodes (RFC 6455, section 5.2).
const (
	opContinuation = 0x0
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa
)

// A CloseError is the peer's close frame.
type CloseError struct {
	Code   int
	Reason string
}

func (e *CloseError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("closed with %d", e.Code)
	}
	return fmt.Sprintf("closed with %d: %s", e.Code, e.Reason)
}

// A Conn is one end of a WebSocket connection. One goroutine reads; Queue and Flush may be
// called by any.
type Conn struct {
	nc     net.Conn
	masked bool // what this end sends: it is the client's

	// BeforeWait, where not nil, is called when all that came has been returned by Next and
	// before it waits for more: the time to flush other connections. The goroutine that reads
	// owns it.
	BeforeWait func()

	// Owned by the goroutine that reads.
	in      []byte // buffer
	start   int    // of what was not used yet
	end     int
	full    bool   // the last read left no room: there is more
	message []byte // the fragments of a message so far

	mu      sync.Mutex // guards the following fields
	out     []byte     // frames to be written
	spare   []byte     // takes turns with out
	packet  []byte     // the one being framed
	writing bool
	err     error // of writing
}

// newConn returns an end of an upgraded connection. early is what was read of it already.
func newConn(nc net.Conn, masked bool, early []byte) *Conn {
	c := &Conn{nc: nc, masked: masked, in: make([]byte, max(smallBuffer, len(early)))}
	c.end = copy(c.in, early)
	return c
}

// Next flushes, then waits for the next binary message and returns it. The bytes are valid until
// the next call. It answers PINGs. The error is a [*CloseError] after the peer's close frame.
func (c *Conn) Next() ([]byte, error) {
	for {
		op, fin, payload, err := c.frame()
		if err != nil {
			return nil, err
		}
		switch op {
		case opPing:
			c.mu.Lock()
			c.out = c.appendFrame(c.out, opPong, payload)
			c.mu.Unlock()
		case opPong:
		case opClose:
			if len(payload) < 2 {
				return nil, &CloseError{Code: tipt.CloseNoStatus}
			}
			return nil, &CloseError{Code: int(binary.BigEndian.Uint16(payload)), Reason: string(payload[2:])}
		case opBinary, opContinuation:
			if op == opBinary && fin {
				return payload, nil
			}
			if op == opBinary {
				c.message = nil
			}
			c.message = append(c.message, payload...)
			if fin {
				message := c.message
				c.message = nil
				return message, nil
			}
		default:
			return nil, fmt.Errorf("frame of kind %#x", op)
		}
	}
}

// frame returns the next frame, whose payload it unmasks in the buffer.
func (c *Conn) frame() (op byte, fin bool, payload []byte, err error) {
	for {
		b := c.in[c.start:c.end]
		size, need := frameSize(b)
		if size > tipt.MaxPacketSize+maxHeader {
			return 0, false, nil, fmt.Errorf("frame of %d bytes", size)
		}
		if need <= len(b) {
			c.start += size
			payload, err = c.payload(b[:size])
			return b[0] & 0x0f, b[0]&0x80 != 0, payload, err
		}
		if err := c.read(need); err != nil {
			return 0, false, nil, err
		}
	}
}

// frameSize returns the size of the frame that b begins with, 0 while that is not known, and how
// many bytes must be there to know more.
func frameSize(b []byte) (size, need int) {
	if len(b) < 2 {
		return 0, 2
	}
	header := 2
	if b[1]&0x80 != 0 {
		header += 4
	}
	n := int(b[1] & 0x7f)
	switch n {
	case 126:
		if len(b) < 4 {
			return 0, 4
		}
		header += 2
		n = int(binary.BigEndian.Uint16(b[2:]))
	case 127:
		if len(b) < 10 {
			return 0, 10
		}
		header += 8
		n = int(min(binary.BigEndian.Uint64(b[2:]), 1<<31))
	}
	return header + n, header + n
}

// payload returns the payload of a whole frame.
func (c *Conn) payload(frame []byte) ([]byte, error) {
	if masked := frame[1]&0x80 != 0; masked == c.masked {
		return nil, errors.New("frame masked by the server, or not by the client")
	}
	at := 2
	switch frame[1] & 0x7f {
	case 126:
		at = 4
	case 127:
		at = 10
	}
	if c.masked {
		return frame[at:], nil
	}
	payload := frame[at+4:]
	mask(payload, [4]byte(frame[at:]))
	return payload, nil
}

// read waits for more bytes, of a frame of which size are needed, once all before has been said.
func (c *Conn) read(size int) error {
	if err := c.Flush(); err != nil {
		return err
	}
	if c.BeforeWait != nil {
		c.BeforeWait()
	}
	rest := c.in[c.start:c.end]
	switch {
	case size > len(c.in), c.full && len(c.in) < largeBuffer:
		// It is busy: what comes next is likely to be as large.
		b := make([]byte, max(size, largeBuffer))
		c.start, c.end, c.in = 0, copy(b, rest), b
	case len(c.in)-c.start < size || len(rest) == 0:
		c.start, c.end = 0, copy(c.in, rest)
	}
	n, err := c.nc.Read(c.in[c.end:])
	c.end += n
	c.full = c.end == len(c.in)
	if n == 0 && err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read: %w", err)
	}
	return nil
}

// Shrink gives back the memory that only a busy connection needs. Call it from the goroutine
// that reads, not while a message of Next is in use.
func (c *Conn) Shrink() {
	rest := c.in[c.start:c.end]
	if len(c.in) > smallBuffer && len(rest) <= smallBuffer {
		b := make([]byte, smallBuffer)
		c.start, c.end, c.in = 0, copy(b, rest), b
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.packet = nil
	if !c.writing && len(c.out) == 0 {
		c.out, c.spare = nil, nil
	}
}

// Queue queues a packet to be written by the next Flush.
func (c *Conn) Queue(p *tipt.Packet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.packet = tipt.AppendPacket(c.packet[:0], tipt.RevisionSeed, p)
	c.out = c.appendFrame(c.out, opBinary, c.packet)
}

// Flush writes what is queued, in one write, unless somebody else is writing and will do so.
func (c *Conn) Flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.writing && c.err == nil && len(c.out) > 0 {
		b := c.out
		c.out, c.spare = c.spare[:0], nil
		c.writing = true
		c.mu.Unlock()
		_, err := c.nc.Write(b)
		c.mu.Lock()
		c.writing = false
		c.spare = b
		if err != nil {
			c.err = fmt.Errorf("write: %w", err)
		}
	}
	return c.err
}

// appendFrame appends a whole message, or a control frame.
func (c *Conn) appendFrame(b []byte, op byte, payload []byte) []byte {
	b = append(b, 0x80|op)
	bit := byte(0)
	if c.masked {
		bit = 0x80
	}
	switch n := len(payload); {
	case n < 126:
		b = append(b, bit|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, bit|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, bit|127), uint64(n))
	}
	if !c.masked {
		return append(b, payload...)
	}
	var key [4]byte
	binary.LittleEndian.PutUint32(key[:], rand.Uint32())
	b = append(b, key[:]...)
	at := len(b)
	b = append(b, payload...)
	mask(b[at:], key)
	return b
}

// mask masks or unmasks b (RFC 6455, section 5.3).
func mask(b []byte, key [4]byte) {
	k := uint64(binary.LittleEndian.Uint32(key[:]))
	k |= k << 32
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^k)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= key[i%4]
	}
}

// Close ends the connection. Next and Flush then fail.
func (c *Conn) Close() {
	_ = c.nc.Close() // it is given up
}
