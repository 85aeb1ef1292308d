package tap

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/msgpack"
)

// A Replay makes the client's side of a record again, and compares what the node says.
type Replay struct {
	Head    Head
	Lines   []Line
	Target  Target
	Secrets map[int]string // values of masked secrets by their number; a token in hex
	Wait    time.Duration  // how long the node may take for each thing that it said in the record
}

// A Difference is something that the node said otherwise than in the record.
type Difference struct {
	Line     int    // of the record; 0: what came has none
	Said     string // what it said there, in short
	Recorded []string
	Now      []string
}

// Lines tell the two apart: "-" is before what is recorded alone, "+" before what is said now
// alone.
func (d *Difference) Lines() []string { return differences(d.Recorded, d.Now) }

// A Result is what came of a replay.
type Result struct {
	Compared    int // things that the node said
	Differences []Difference
	Notes       []string // what was not compared, and why
}

// replaying is a replay at work.
type replaying struct {
	*Replay
	secrets     *replaySecrets
	connections map[int]*replayed
	several     bool // connections
	otherKey    bool // was noted
	result      Result
}

// A replayed is a connection of the record, made again.
type replayed struct {
	number   int
	socket   *socket
	recorded *Conversation
	ids      [256]int // of the node's requests: in the record, and here; -1 where none is
	lost     bool     // it went another way; what follows of it is not compared
}

// Run makes the conversation again. Its error says why that could not be done.
func (r *Replay) Run(ctx context.Context) (Result, error) {
	secrets, err := r.prepare()
	if err != nil {
		return Result{}, err
	}
	p := &replaying{Replay: r, secrets: secrets, connections: make(map[int]*replayed)}
	defer func() {
		for _, c := range p.connections {
			if c.socket != nil {
				c.socket.close()
			}
		}
	}()
	for _, l := range r.Lines {
		p.several = p.several || l.Connection != r.Lines[0].Connection
	}
	for i := range r.Lines {
		err := p.line(ctx, i)
		if errors.Is(err, errNotGiven) && len(p.result.Differences) > 0 {
			p.result.Notes = append(p.result.Notes, fmt.Sprintf("nothing was done from line %d on: %v", i+2, err))
			return p.result, nil // which the differences account for
		}
		if err != nil {
			return p.result, fmt.Errorf("line %d: %w", i+2, err)
		}
		if ctx.Err() != nil {
			return p.result, fmt.Errorf("stopped: %w", context.Cause(ctx))
		}
	}
	p.leftovers()
	return p.result, nil
}

// line does or awaits what a line says.
func (p *replaying) line(ctx context.Context, i int) error {
	l := &p.Lines[i]
	b, err := l.Bytes()
	if err != nil {
		return err
	}
	c := p.connections[l.Connection]
	if c == nil {
		c = &replayed{number: l.Connection, recorded: NewConversation(NewSecrets())}
		for id := range c.ids {
			c.ids[id] = -1
		}
		p.connections[l.Connection] = c
		if l.Kind == Open && l.ToNode() {
			return p.open(ctx, c, i, l)
		}
		if err := p.open(ctx, c, i, &Line{}); err != nil { // a record of a client's own packets
			return err
		}
	}
	packet := c.look(l, b)
	switch {
	case c.lost:
		return nil
	case !l.ToNode():
		p.await(ctx, c, i, packet, b)
		return nil
	}
	return p.send(c, i, b)
}

// look puts a recorded crossing into words.
func (c *replayed) look(l *Line, b []byte) Packet {
	of := Connection{conversation: c.recorded}
	return of.look(Crossing{ToNode: l.ToNode(), Kind: l.Kind, Bytes: b, Why: l.Why, Status: l.Status, RetryAfter: l.RetryAfter})
}

// open makes a connection, and compares how its upgrade is answered.
func (p *replaying) open(ctx context.Context, c *replayed, at int, l *Line) error {
	recorded := http.StatusSwitchingProtocols
	for _, later := range p.Lines[at:] {
		if later.Connection == c.number && later.Kind == Open && !later.ToNode() {
			recorded = later.Status
			break
		}
	}
	var err error
	c.socket, err = p.Target.open(ctx, p.secrets.here(), l.Path, l.Header)
	now := http.StatusSwitchingProtocols
	if refused, ok := errors.AsType[*statusError](err); ok {
		now = refused.status
	} else if err != nil {
		return err
	}
	p.result.Compared++
	c.lost = c.socket == nil
	if now != recorded {
		p.differ(c, at, "upgrade", []string{fmt.Sprintf("status %d", recorded)}, []string{fmt.Sprintf("status %d", now)})
	}
	return nil
}

// differ notes a difference in what line i of the record says.
func (p *replaying) differ(c *replayed, i int, said string, recorded, now []string) {
	if p.several {
		said = fmt.Sprintf("connection %d, %s", c.number, said)
	}
	p.result.Differences = append(p.result.Differences, Difference{Line: i + 2, Said: said, Recorded: recorded, Now: now})
}

// send sends what the client sent in line i.
func (p *replaying) send(c *replayed, i int, b []byte) error {
	l := &p.Lines[i]
	b, err := p.secrets.fill(b, l)
	if err != nil {
		return err
	}
	switch l.Kind {
	case Binary:
		c.socket.send(opBinary, true, c.withID(b))
	case Text:
		c.socket.send(opText, true, b)
	case Partial:
		c.socket.sendRaw(append(frameHeader(opBinary, false, max(l.Announced, uint64(len(b)))), b...))
	case Ping:
		c.socket.send(opPing, true, b)
	case Close:
		c.socket.send(opClose, true, b)
	case Broken:
		c.socket.sendRaw(b)
	case End:
		_ = c.socket.tls.CloseWrite() // it may have ended
	case Open, Pong: // done before; sent when a PING comes
	default:
		return fmt.Errorf("unknown kind %q", l.Kind)
	}
	return nil
}

// withID gives a response to a request of the node the id which that has here.
func (c *replayed) withID(b []byte) []byte {
	k := msgpack.SkimBytes(b)
	if !k.Readable || tipt.PacketType(k.Type) != tipt.PacketResponse || c.ids[k.ID] < 0 {
		return b
	}
	root, _ := msgpack.Dissect(b, maxValues)
	v := root.Get(b, "id")
	id := c.ids[k.ID]
	c.ids[k.ID] = -1
	if id == int(k.ID) {
		return b
	}
	encoded := []byte{byte(id)}
	if id > 0x7f {
		encoded = []byte{0xcc, byte(id)}
	}
	return append(append(append([]byte(nil), b[:v.Start]...), encoded...), b[v.End:]...)
}

// await waits for what the node said in line i, which is packet, and compares.
func (p *replaying) await(ctx context.Context, c *replayed, i int, packet Packet, b []byte) {
	l := &p.Lines[i]
	if l.Kind == Open || l.Kind == Ping {
		return // compared before; comes by the clock
	}
	p.result.Compared++
	a := c.socket.find(ctx, p.Wait, func(a *arrival) bool { return same(l, &packet, a, b) })
	if ctx.Err() != nil {
		return
	}
	if a == nil {
		c.lost = true
		p.differ(c, i, packet.Title, []string{packet.Title}, c.instead(p.Wait))
		return
	}
	if l.Kind == Binary && packet.kind == tipt.PacketRequest {
		c.ids[msgpack.SkimBytes(b).ID] = int(msgpack.SkimBytes(a.Bytes).ID)
	}
	p.secrets.learn(l, a)
	recorded, now := said(l.Kind, &packet, b), said(l.Kind, &a.packet, p.shown(a))
	if len(differences(recorded, now)) == 0 {
		return
	}
	p.differ(c, i, packet.Title, recorded, now)
	if packet.name == tipt.RequestRegister.String() && slices.Contains(now, "err.code: "+tipt.ErrNameTaken.String()) {
		p.result.Notes = append(p.result.Notes, fmt.Sprintf("the account of line %d exists by now: the node has to be in the state that the record began with, such as from a copy of its data folder", i+2))
	}
	if !p.otherKey && slices.ContainsFunc(now, isCannotOpen) && !slices.ContainsFunc(recorded, isCannotOpen) {
		p.otherKey = true
		p.result.Notes = append(p.result.Notes, fmt.Sprintf("what line %d answers is sealed to another key than the node's: start from a copy of the recorded node's data folder", i+2))
	}
}

func isCannotOpen(line string) bool { return strings.HasSuffix(line, ": "+tipt.ErrCannotOpen.String()) }

// shown are an arrival's bytes as the record would have them.
func (p *replaying) shown(a *arrival) []byte {
	if p.Head.Secrets == Shown {
		return a.Bytes
	}
	return a.packet.hide(a.Bytes)
}

// same reports whether an arrival is what was recorded, as far as that is told before its
// contents are compared.
func same(l *Line, recorded *Packet, a *arrival, b []byte) bool {
	switch {
	case l.Kind != a.Kind:
		return false
	case l.Kind != Binary:
		return true
	case strings.HasPrefix(recorded.Title, "MALFORMED") != strings.HasPrefix(a.packet.Title, "MALFORMED"), recorded.kind != a.packet.kind:
		return false
	case recorded.kind == tipt.PacketResponse:
		return msgpack.SkimBytes(b).ID == msgpack.SkimBytes(a.Bytes).ID
	}
	return recorded.name == a.packet.name
}

// said is what is compared of something.
func said(kind Kind, p *Packet, b []byte) []string {
	switch {
	case kind == Binary:
		return p.meaning(b)
	case kind == Close && len(b) >= 2:
		return []string{fmt.Sprintf("close %d", binary.BigEndian.Uint16(b))} // the reason is for people
	case kind == End:
		return []string{string(kind)}
	}
	return []string{fmt.Sprintf("%s %x", kind, b)}
}

// instead says what came where nothing came that was wanted.
func (c *replayed) instead(wait time.Duration) []string {
	var now []string
	ended := false
	for _, a := range c.socket.left() {
		ended = ended || a.Kind == End
		if len(now) < 5 {
			now = append(now, a.packet.Title)
		}
	}
	if !ended {
		now = append(now, fmt.Sprintf("nothing else within %v", wait))
	}
	return now
}

// leftovers looks at what came and stands in no line.
func (p *replaying) leftovers() {
	for number := range len(p.connections) {
		c := p.connections[number+1]
		if c == nil || c.socket == nil || c.lost {
			continue
		}
		later := 0
		for _, a := range c.socket.left() {
			switch {
			case a.Kind == Close, a.Kind == End:
			case a.Kind == Binary && a.packet.kind != tipt.PacketResponse && !strings.HasPrefix(a.packet.Title, "MALFORMED"):
				later++
			default:
				p.differ(c, -2, a.packet.Title, nil, []string{a.packet.Title})
			}
		}
		if later > 0 {
			p.result.Notes = append(p.result.Notes, fmt.Sprintf("connection %d: not compared: %s of the node more than in the record, whose client may have left before they came",
				c.number, count(later, "request or event")))
		}
	}
}
