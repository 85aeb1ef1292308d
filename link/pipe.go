package link

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tipt/tipt-go"
)

const (
	pipeFrames = 8        // that lie in one direction of a Pipe, unread
	pipeChunk  = 16 << 10 // bytes of the longest one
)

// Pipe returns the two ends of a connection in memory. A direction of it holds up to
// 128 KiB that were not read, like a socket; a message longer than 16 KiB comes in
// fragments, with PINGs and PONGs between them. It works under testing/synctest.
func Pipe() (a, b Conn) {
	ab, ba := make(chan frame, pipeFrames), make(chan frame, pipeFrames)
	first, second := make(chan struct{}), make(chan struct{})
	return newPipeEnd(ba, ab, first, second), newPipeEnd(ab, ba, second, first)
}

// A frame is what a Pipe carries.
type frame struct {
	kind kind
	data []byte // of a message
	size int    // of the whole message
	last bool   // of its message
	end  CloseError
}

type kind uint8

const (
	messageFrame kind = iota
	pingFrame
	pongFrame
	closeFrame
)

type pipeEnd struct {
	in         <-chan frame
	out        chan<- frame
	gone, left chan struct{} // closed when this end, and the other, called CloseNow
	leave      sync.Once     // closes gone
	limit      atomic.Int64

	pinged, ponged func()
	ping, pong     atomic.Bool // due in the next Write

	// Owned by the reader.
	data []byte // unread, of the fragment at hand
	more bool   // fragments of the message follow
}

func newPipeEnd(in <-chan frame, out chan<- frame, gone, left chan struct{}) *pipeEnd {
	p := &pipeEnd{in: in, out: out, gone: gone, left: left}
	p.limit.Store(tipt.MaxPacketSize)
	return p
}

func (p *pipeEnd) Bind(pinged, ponged func()) { p.pinged, p.ponged = pinged, ponged }

func (p *pipeEnd) SetReadLimit(n int64) { p.limit.Store(n) }

func (p *pipeEnd) Next() (io.Reader, error) {
	for p.more {
		if err := p.fragment(); err != nil {
			return nil, err
		}
	}
	f, err := p.frame()
	if err != nil {
		return nil, err
	}
	p.data, p.more = f.data, !f.last
	if int64(f.size) > p.limit.Load() {
		p.data = nil
		return nil, &CloseError{Local: true, Code: tipt.CloseTooLarge, Reason: fmt.Sprintf("message of %d bytes", f.size)}
	}
	return (*pipeReader)(p), nil
}

// fragment waits for the next fragment of the message at hand.
func (p *pipeEnd) fragment() error {
	f, err := p.frame()
	if err != nil {
		return err
	}
	p.data, p.more = f.data, !f.last
	return nil
}

// frame waits for the next frame of a message and handles what comes before it.
func (p *pipeEnd) frame() (frame, error) {
	for {
		var f frame
		select {
		case <-p.gone:
			return f, net.ErrClosed
		case f = <-p.in:
		case <-p.left:
			select {
			case f = <-p.in: // it was sent before
			default:
				return f, fmt.Errorf("connection lost: %w", io.ErrUnexpectedEOF)
			}
		}
		switch f.kind {
		case pingFrame:
			p.pong.Store(true)
			p.pinged()
		case pongFrame:
			p.ponged()
		case closeFrame:
			return f, &f.end
		default:
			return f, nil
		}
	}
}

// A pipeReader reads the message at hand.
type pipeReader pipeEnd

func (r *pipeReader) Read(b []byte) (int, error) {
	p := (*pipeEnd)(r)
	for len(p.data) == 0 {
		if !p.more {
			return 0, io.EOF
		}
		if err := p.fragment(); err != nil {
			return 0, err
		}
	}
	n := copy(b, p.data)
	if p.data = p.data[n:]; len(p.data) == 0 {
		p.data = nil
	}
	return n, nil
}

func (p *pipeEnd) Ping() { p.ping.Store(true) }

func (p *pipeEnd) Write(packets [][]byte) error {
	if err := p.sendControl(); err != nil {
		return err
	}
	for _, packet := range packets {
		rest := packet
		for last := false; !last; {
			n := min(len(rest), pipeChunk)
			last = n == len(rest)
			if err := p.send(frame{data: bytes.Clone(rest[:n]), size: len(packet), last: last}); err != nil {
				return err
			}
			rest = rest[n:]
			if err := p.sendControl(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *pipeEnd) sendControl() error {
	if p.pong.Swap(false) {
		if err := p.send(frame{kind: pongFrame}); err != nil {
			return err
		}
	}
	if p.ping.Swap(false) {
		return p.send(frame{kind: pingFrame})
	}
	return nil
}

func (p *pipeEnd) send(f frame) error {
	select {
	case <-p.gone:
		return net.ErrClosed
	case <-p.left:
		return io.ErrClosedPipe
	default:
	}
	select {
	case p.out <- f:
		return nil
	default:
	}
	stalled := time.NewTimer(StallTimeout)
	defer stalled.Stop()
	select {
	case p.out <- f:
		return nil
	case <-p.gone:
		return net.ErrClosed
	case <-p.left:
		return io.ErrClosedPipe
	case <-stalled.C:
		return os.ErrDeadlineExceeded
	}
}

func (p *pipeEnd) Close(code int, reason string) error {
	return p.send(frame{kind: closeFrame, end: CloseError{Code: code, Reason: reason}})
}

func (p *pipeEnd) CloseNow() { p.leave.Do(func() { close(p.gone) }) }
