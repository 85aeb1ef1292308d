package tap

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/tipt/tipt-go/internal/msgpack"
)

// A Kind is what crosses.
type Kind string

// The kinds of crossings, as a record has them.
const (
	Open    Kind = "open"    // the client's request for an upgrade, and the node's answer
	Binary  Kind = "binary"  // a whole binary message
	Text    Kind = "text"    // a whole text message
	Ping    Kind = "ping"    // with its payload
	Pong    Kind = "pong"    // likewise
	Close   Kind = "close"   // with its payload, the code in two bytes and the reason
	Partial Kind = "partial" // the beginning of a message that had no end
	Broken  Kind = "broken"  // a frame that RFC 6455 forbids: its header, with a masking key of zeros, and its payload unmasked
	End     Kind = "end"     // that side sends nothing more
)

// A Crossing is something that crosses a connection.
type Crossing struct {
	ToNode bool
	Kind   Kind
	Bytes  []byte // of Binary to Broken; at most KeptBytes of them
	Size   int    // how many bytes there were; 0 for len(Bytes)
	// Announced is, of Partial, how many bytes it was to have as far as its frames told.
	Announced uint64
	Why       string // of Partial, Broken and End: what is wrong with it, or how it came; may be empty

	// Of Open: the path of the client's request, without a query, and its header fields
	// that a node may be asked to ignore; or the node's status and its Retry-After.
	Path       string
	Header     map[string]string
	Status     int
	RetryAfter string
}

// KeptBytes is how much of a message is kept: more than a packet may have.
const KeptBytes = 4 << 20

// Options are of a [Tap].
type Options struct {
	Viewer  *Viewer   // nil: nothing is shown
	Record  *Recorder // nil: nothing is kept
	Secrets bool      // show and keep secrets as they are
	// Failed is called once, when something could not be written, and must not block.
	Failed func(error)
}

// A Tap shows and records what crosses one or more connections.
type Tap struct {
	o Options

	mu      sync.Mutex // guards the following fields, the viewer, the recorder and all conversations
	secrets *Secrets
	count   int
	failed  bool
}

// New returns a tap.
func New(o Options) *Tap { return &Tap{o: o, secrets: NewSecrets()} }

// A Connection is one that a [Tap] listens to. Its methods may be called by several goroutines.
type Connection struct {
	tap          *Tap
	number       int
	conversation *Conversation
}

// Connection begins a connection.
func (t *Tap) Connection() *Connection {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count++
	return &Connection{tap: t, number: t.count, conversation: NewConversation(t.secrets)}
}

// Say shows a line about the connection that is nothing that crossed.
func (c *Connection) Say(format string, args ...any) {
	t := c.tap
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.o.Viewer != nil {
		t.check(t.o.Viewer.line(c.number, fmt.Sprintf(format, args...)))
	}
}

// Cross takes what crosses, in order. It keeps nothing of it.
func (c *Connection) Cross(x Crossing) {
	t := c.tap
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	p := c.look(x)
	if t.o.Secrets {
		for i := range p.Masks {
			p.Masks[i].shown = true
		}
	}
	if t.o.Viewer != nil {
		t.check(t.o.Viewer.show(now, c.number, x, &p))
	}
	if t.o.Record != nil {
		t.check(t.o.Record.write(now, c.number, x, &p))
	}
}

func (t *Tap) check(err error) {
	if err != nil && !t.failed {
		t.failed = true
		if t.o.Failed != nil {
			t.o.Failed(err)
		}
	}
}

// look puts x into words.
func (c *Connection) look(x Crossing) Packet {
	if x.Kind == Binary {
		return c.conversation.Read(x.ToNode, x.Bytes)
	}
	p := Packet{toNode: x.ToNode}
	p.root, p.broken = msgpack.Dissect(nil, 0)
	p.Masks = c.conversation.secrets.find(&p.root, true, x.Bytes)
	switch x.Kind {
	case Open:
		p.Section = "1.3"
		if x.ToNode {
			p.Title = "upgrade " + plain(x.Path)
			break
		}
		p.Title = fmt.Sprintf("upgrade: %d", x.Status)
		if p.Failed = x.Status != 101; p.Failed {
			p.Title += " " + retryAfter(x.RetryAfter)
		}
	case Text:
		p.Title, p.Section = "text message", "1.4"
		p.note("T-1.18", "packets are binary messages: a text message closes with 1003")
		if !utf8.Valid(x.Bytes) {
			p.note("", "it is no UTF-8 either")
		}
	case Ping:
		p.Title, p.Section = "PING", "1.5"
	case Pong:
		p.Title, p.Section = "PONG", "1.5"
	case Close:
		p.Section = "1.6"
		p.closing(x.Bytes)
	case Partial:
		p.Title = "part of a message"
		p.note("T-1.17", "%s", x.Why)
	case Broken:
		p.Title, p.Section = "broken frame", "1.4"
		p.note("T-1.17", "%s", x.Why)
	case End:
		p.Title, p.Section = "end of the connection", "1.6"
		if x.Why != "" {
			p.Title += ": " + x.Why
		}
	}
	return p
}

func retryAfter(s string) string {
	if s == "" {
		return "without Retry-After"
	}
	return "Retry-After: " + plain(s)
}

// closeNames are the codes of section 1.6.
var closeNames = map[uint16]string{
	1000: "the client is done",
	1001: "the node stops or restarts",
	1002: "the protocol was violated",
	1003: "a text message came",
	1008: "no accepted HANDSHAKE in time",
	1009: "a message was too large",
	1011: "internal error",
	1012: "maintenance",
	1013: "overload",
	4000: "a browser's script is done",
	4001: "the same device has signed in on a newer connection",
	4002: "this device was signed out",
}

// closing is the title of a close frame.
func (p *Packet) closing(payload []byte) {
	switch len(payload) {
	case 0:
		p.Title = "close, without a code"
		return
	case 1:
		p.Title = "close"
		p.note("T-1.17", "a code has two bytes")
		return
	}
	code := binary.BigEndian.Uint16(payload)
	name := closeNames[code]
	if name == "" {
		name = "not in section 1.6"
	}
	p.Title = fmt.Sprintf("close %d (%s)", code, name)
	p.Failed = code != 1000
	if len(payload) > 2 {
		hidden := payload
		if len(p.Masks) > 0 {
			hidden = p.hide(payload)
		}
		p.Title += fmt.Sprintf(" %q", hidden[2:])
	}
}

// hide returns b with zeros where it has secrets.
func (p *Packet) hide(b []byte) []byte {
	hidden := append([]byte(nil), b...)
	for _, m := range p.Masks {
		clear(hidden[m.At : m.At+m.Size])
	}
	return hidden
}

// plain is a peer's text that does no harm to a terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || r < 0x20 || r == 0x7f || 0x80 <= r && r < 0xa0 || 0x200b <= r && r <= 0x200f || 0x2028 <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069 {
			return '?'
		}
		return r
	}, s)
}
