package conform

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// closeCodes are those of section 1.6 that a node closes with by itself.
var closeCodes = []int{1001, 1002, 1003, 1008, 1009, 1011, 1012, 1013, 4001, 4002}

// keptBytes is how much of a packet is kept for the report.
const keptBytes = 4096

// A Crossing is something that went over a connection.
type Crossing struct {
	At    time.Duration // since the connection was opened; of HTTP since the scenario began
	Sent  bool          // by the suite
	What  string        // packet, text, PING, PONG, close …, or http
	Head  []string      // of a request or response of HTTP: the first line, and the header's
	Size  int
	Bytes []byte // the first of them

	toNode, drafts bool // the side that it went to, and the form that it has
}

// An ending is how a connection ended.
type ending struct {
	code int // of the close frame, 0 without one
	err  error
}

func (e *ending) String() string {
	if e.code != 0 {
		return fmt.Sprintf("the connection was closed with %d", e.code)
	}
	return fmt.Sprintf("the connection ended without a close frame: %v", e.err)
}

// A conn is a WebSocket connection of a scenario. Its reader keeps all that comes, answers
// PINGs and holds each packet against what all packets have to be.
type conn struct {
	// Static after construction.
	t        *T
	number   int
	guest    *guest // the client at the other end, where the suite plays the node; else nil
	tls      *tls.Conn
	upgrade  *http.Response
	opened   time.Time
	readDone chan struct{}

	// Owned by the scenario.
	ver  string // `ver` of what is sent
	next uint8  // the id to try first
	user *user  // after signing in
	tok  []byte // from SIGN_IN's response

	writing sync.Mutex // guards writes to tls

	mu      sync.Mutex // guards the following fields
	crossed []Crossing
	arrived []*packet
	pings   int
	pongs   []string
	end     *ending
	closing bool           // we have sent a close frame
	gone    bool           // the TCP connection has ended
	asked   map[uint8]int  // our requests without a response, and what they ask
	theirs  map[uint8]bool // the node's requests that we have not answered
	most    int            // the most there were of them
	nodeVer string
	mute    bool          // leave PINGs unanswered
	drafts  bool          // packets have the form of the later drafts; the scenario alone sets it, by speak, or a guest's reader once
	changed chan struct{} // closed and made anew at each change
}

func newConn(t *T, number int, secure *tls.Conn, r *bufio.Reader, upgrade *http.Response) *conn {
	c := &conn{
		t: t, number: number, tls: secure, upgrade: upgrade, opened: time.Now(), ver: "1.0.0",
		readDone: make(chan struct{}), asked: make(map[uint8]int), theirs: make(map[uint8]bool), changed: make(chan struct{}),
	}
	go c.read(r)
	return c
}

// note keeps a crossing. The caller holds mu.
func (c *conn) note(sent bool, what string, b []byte) {
	kept := append([]byte(nil), b[:min(len(b), keptBytes)]...)
	c.crossed = append(c.crossed, Crossing{At: time.Since(c.opened), Sent: sent, What: what, Size: len(b), Bytes: kept, toNode: sent == (c.guest == nil), drafts: c.drafts})
	if len(c.crossed) > 200 {
		c.crossed = append([]Crossing(nil), c.crossed[100:]...)
	}
}

// transcript returns what crossed last.
func (c *conn) transcript(most int) []Crossing {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Crossing(nil), c.crossed[max(0, len(c.crossed)-most):]...)
}

// signal tells who waits that something has changed. The caller holds mu.
func (c *conn) signal() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// read reads until the connection ends.
func (c *conn) read(r *bufio.Reader) {
	defer close(c.readDone)
	framing := "T-1.17"
	if c.guest != nil {
		framing = "T-1.70"
	}
	var message []byte
	var opcode byte
	for {
		f, err := readFrame(r)
		if err != nil {
			c.mu.Lock()
			if c.end == nil {
				c.end = &ending{err: err}
			}
			c.gone = true
			c.signal()
			c.mu.Unlock()
			return
		}
		switch {
		case f.masked != (c.guest != nil), f.bits != 0:
			c.blame(framing, "a frame that is masked as the other side's are, or has a reserved bit")
		case f.opcode >= opClose && (!f.final || len(f.payload) > 125):
			c.blame(framing, "a control frame that is fragmented or too long")
		case f.opcode < opClose && (f.opcode == opContinuation) != (opcode != 0):
			c.blame(framing, "a fragment out of place")
		}
		switch f.opcode {
		case opText, opBinary, opContinuation:
			if f.opcode != opContinuation {
				opcode, message = f.opcode, nil
			}
			message = append(message, f.payload...)
			if f.final {
				if c.guest != nil {
					c.guest.take(opcode, message)
				} else {
					c.take(opcode, message)
				}
				opcode, message = 0, nil
			}
		case opPing:
			c.mu.Lock()
			c.note(false, "PING", f.payload)
			c.pings++
			mute := c.mute
			c.signal()
			c.mu.Unlock()
			if !mute {
				c.sendFrame("PONG", true, opPong, f.payload)
			}
		case opPong:
			c.mu.Lock()
			c.note(false, "PONG", f.payload)
			c.pongs = append(c.pongs, string(f.payload))
			c.signal()
			c.mu.Unlock()
		case opClose:
			c.mu.Lock()
			c.note(false, "close", f.payload)
			code := 1005 // RFC 6455: no code
			if len(f.payload) >= 2 {
				code = int(binary.BigEndian.Uint16(f.payload))
			}
			c.end = &ending{code: code}
			answer := c.closing
			c.signal()
			c.mu.Unlock()
			if c.guest != nil {
				c.guest.leave(f.payload)
			} else if !slices.Contains(closeCodes, code) && !(answer && (code == 1000 || code == 1005)) {
				c.blame("T-1.39", fmt.Sprintf("a close with %d", code))
			}
		default:
			c.blame(framing, fmt.Sprintf("a frame with opcode %d", f.opcode))
		}
	}
}

// blame records a fault of the other side, whatever the scenario is about.
func (c *conn) blame(clause, got string) { c.t.always(c, clause, got) }

// take keeps a message of the node and holds it against what all packets have to be.
func (c *conn) take(opcode byte, b []byte) {
	what := "packet"
	if opcode == opText {
		what = "text"
	}
	c.mu.Lock()
	p, found := readPacket(b, c.drafts)
	c.note(false, what, b)
	if opcode == opText || len(b) > 2_100_000 {
		found = append(found, fault{"T-1.17", fmt.Sprintf("a %s message of %d bytes", what, len(b))})
	}
	if p != nil {
		ver := p.root.get("ver")
		if c.drafts && p.pakt == pktResponse && c.asked[p.id] == reqHandshake {
			ver = p.body.get("ver")
		}
		if c.nodeVer == "" {
			c.nodeVer = ver.str()
		} else if ver := ver.str(); ver != c.nodeVer && !c.drafts {
			found = append(found, fault{"T-4.10", fmt.Sprintf("ver %q after %q", ver, c.nodeVer)})
		}
		switch p.pakt {
		case pktResponse:
			code, known := c.asked[p.id]
			delete(c.asked, p.id)
			if !known {
				found = append(found, fault{"T-3.1", fmt.Sprintf("a second response, or one that nobody asked for, with id %d", p.id)})
			} else if p.code == ok {
				found = append(found, bodyFaults(code, p.body)...)
			}
		case pktRequest:
			if c.theirs[p.id] {
				found = append(found, fault{"T-3.13", fmt.Sprintf("a REQUEST with id %d, which is in flight", p.id)})
			}
			c.theirs[p.id] = true
			c.most = max(c.most, len(c.theirs))
			if p.reqt == reqDeliver {
				found = append(found, deliverShape.faults("T-4.74", "body", p.body)...)
			} else {
				found = append(found, returnShape.faults("T-4.95", "body", p.body)...)
			}
		}
		c.arrived = append(c.arrived, p)
	}
	c.signal()
	c.mu.Unlock()
	for _, f := range found {
		c.blame(f.clause, f.what)
	}
}

// bodyFaults says what is wrong with a response without an error.
func bodyFaults(code int, body *value) []fault {
	switch want, has := responses[code]; {
	case has:
		return want.shape.faults(want.clause, "body", body)
	case slices.Contains(bodyless, code) && !body.isNil():
		return []fault{{"T-2.38", "a body where there is nothing to say"}}
	}
	return nil
}

// sendFrame sends a frame; a connection that has ended takes it without complaint, since
// how it ended is what tells.
func (c *conn) sendFrame(what string, final bool, opcode byte, payload []byte) {
	c.mu.Lock()
	c.note(true, what, payload)
	c.closing = c.closing || opcode == opClose
	c.mu.Unlock()
	if c.guest != nil {
		c.write(nodeFrame(final, opcode, payload))
	} else {
		c.write(clientFrame(final, opcode, payload))
	}
}

func (c *conn) write(b []byte) {
	c.writing.Lock()
	defer c.writing.Unlock()
	_ = c.tls.SetWriteDeadline(time.Now().Add(2 * dialTime)) // fails as the write then does
	_, err := c.tls.Write(b)
	if err != nil && !errors.Is(err, net.ErrClosed) {
		c.mu.Lock()
		c.note(true, "write failed: "+err.Error(), nil)
		c.mu.Unlock()
	}
}

// sendBytes sends a binary message.
func (c *conn) sendBytes(b []byte) { c.sendFrame("packet", true, opBinary, b) }

// hang ends the connection without a close frame, and waits for its reader.
func (c *conn) hang() {
	_ = c.tls.NetConn().Close() // it may have ended
	<-c.readDone
}

// await waits until f, which is called with mu held, is true, and returns false when it did not
// become so in that time.
func (c *conn) await(patience time.Duration, f func() bool) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		c.mu.Lock()
		done, changed := f(), c.changed
		c.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-changed:
		case <-timer.C:
			c.t.waited++
			return false
		case <-c.t.ctx.Done():
			c.t.giveUp()
		}
	}
}

// find takes the first packet that is wanted from those that have come or come yet. It
// returns nil when the connection ends, or nothing comes, before.
func (c *conn) find(wanted func(*packet) bool) *packet {
	var found *packet
	c.await(c.t.s.patience, func() bool {
		for i, p := range c.arrived {
			if wanted(p) {
				found = p
				c.arrived = append(c.arrived[:i:i], c.arrived[i+1:]...)
				return true
			}
		}
		return c.end != nil
	})
	return found
}

// state says why nothing more came.
func (c *conn) state() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := fmt.Sprintf("nothing within %v", c.t.s.patience)
	if c.end != nil {
		text = c.end.String()
	}
	if len(c.arrived) > 0 {
		text += fmt.Sprintf("; %d packets besides, the first is %v", len(c.arrived), c.arrived[0])
	}
	return text
}
