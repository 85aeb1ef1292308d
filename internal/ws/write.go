package ws

import (
	"bytes"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/link"
)

const (
	// fragmentSize is the payload of the longest frame written, which fills a record of TLS. A PONG
	// waits for no more than two of them, however large a message is and however slow the peer.
	fragmentSize = writeSize - ws.MaxHeaderSize
	// writeSize is after how many bytes frames are written rather than joined further. TLS writes each
	// 16 KiB by themselves in any case, and whoever does not read holds a buffer of them.
	writeSize = 16 << 10

	maxReason = ws.MaxControlFramePayloadSize - 2 // bytes, behind a close frame's code
)

// frames joins frames to be written at once.
type frames struct {
	bytes.Buffer
	head [ws.MaxHeaderSize]byte
}

var pool = sync.Pool{New: func() any { return new(frames) }}

// add appends a frame; its last byte has come with it, so no error is possible.
func (f *frames) add(op ws.OpCode, fin bool, payload []byte) {
	h := ws.Header{Fin: fin, OpCode: op, Length: int64(len(payload))}
	if err := ws.WriteHeaderBuffer(f, h, f.head[:]); err != nil {
		panic("ws: " + err.Error()) // a bytes.Buffer takes every header
	}
	f.Write(payload)
}

// Write implements [link.Conn].
func (c *Conn) Write(packets [][]byte) error {
	f := pool.Get().(*frames)
	defer func() {
		f.Reset()
		pool.Put(f)
	}()
	c.addControl(f)
	for _, packet := range packets {
		op := ws.OpBinary
		for last := false; !last; op = ws.OpContinuation {
			n := min(len(packet), fragmentSize)
			last = n == len(packet)
			f.add(op, last, packet[:n])
			packet = packet[n:]
			if f.Len() < fragmentSize {
				continue
			}
			if err := c.flush(f); err != nil {
				return err
			}
			c.addControl(f)
		}
	}
	return c.flush(f)
}

// addControl appends the control frames that are due.
func (c *Conn) addControl(f *frames) {
	c.mu.Lock()
	ping, pong, due := c.ping, c.pong, c.due
	c.ping, c.pong, c.due = false, nil, false
	c.mu.Unlock()
	if due {
		f.add(ws.OpPong, true, pong)
	}
	if ping {
		f.add(ws.OpPing, true, nil)
	}
}

// flush writes what was joined.
func (c *Conn) flush(f *frames) error {
	if f.Len() == 0 {
		return nil
	}
	if err := c.nc.SetWriteDeadline(time.Now().Add(link.StallTimeout)); err != nil {
		return anonymous(err)
	}
	if _, err := c.nc.Write(f.Bytes()); err != nil {
		return anonymous(err)
	}
	f.Reset()
	// TLS also writes while it reads, to renew its keys; no old deadline may catch that.
	return anonymous(c.nc.SetWriteDeadline(time.Time{}))
}

// Close implements [link.Conn].
func (c *Conn) Close(code int, reason string) error {
	var payload []byte
	if code != tipt.CloseNoStatus {
		payload = ws.NewCloseFrameBody(ws.StatusCode(code), cutReason(reason))
	}
	f := pool.Get().(*frames)
	defer func() {
		f.Reset()
		pool.Put(f)
	}()
	f.add(ws.OpClose, true, payload)
	if err := c.flush(f); err != nil {
		return err
	}
	c.closed.Store(true)
	return nil
}

// cutReason is s in UTF-8, as long as a close frame may have it.
func cutReason(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxReason)], "")
}
