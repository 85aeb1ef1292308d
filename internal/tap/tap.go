// Package tap puts what crosses a connection into words, for people who want to see what
// a client and its node say. [Proxy] taps a connection between any two, [Recorder] keeps what
// crosses, [Replay] has a recorded conversation again. docs/tap.md describes all of it. What a
// peer sends that no codec takes is shown as what it is; passwords, tokens and invitations are
// masked unless somebody asks for them.
package tap

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/msgpack"
)

// maxValues is how many values of a packet are looked at.
const maxValues = 4096

// A Note is something about a packet that breaks a clause of docs/conformance.md, or is
// at least odd.
type Note struct {
	Clause string // such as T-2.10; empty where there is none
	Text   string
}

// A Packet is what a binary message says, in words.
type Packet struct {
	Title   string // such as "REQUEST #0 HANDSHAKE"
	Failed  bool   // it reports an error
	Section string // of docs/protocol.md, such as "4, HANDSHAKE"; empty where none speaks of it
	Notes   []Note
	Masks   []Mask // where it holds secrets

	root     msgpack.Value
	broken   error // why root is not the whole of it
	toNode   bool
	kind     tipt.PacketType
	name     string // of the request, also in its response
	revision tipt.Revision
}

// A Conversation is what a client and its node have said on one connection. Responses do not
// name their request on the wire; a Conversation remembers. It is for one goroutine at
// a time. The zero Conversation is one that has just begun.
type Conversation struct {
	secrets *Secrets
	form    tipt.Form // of the client's packets
	began   bool      // a first request has come
	sides   [2]asking
}

// An asking is what one side has asked, and by which version.
type asking struct {
	version string
	asked   [256]question
}

type question struct {
	open     bool // unanswered
	name     string
	revision tipt.Revision
	version  string // of the packet: what a HANDSHAKE chooses
}

// NewConversation returns one that has just begun. Secrets may be shared by several.
func NewConversation(s *Secrets) *Conversation {
	return &Conversation{secrets: s, form: tipt.Form{Open: true}}
}

func side(toNode bool) int {
	if toNode {
		return 1
	}
	return 0
}

// init makes the zero Conversation one that has just begun.
func (c *Conversation) init() {
	if c.secrets == nil {
		*c = *NewConversation(NewSecrets())
	}
}

// Read reads the next packet of the connection. toNode says in which direction it crosses.
// The packet is not kept.
func (c *Conversation) Read(toNode bool, packet []byte) Packet {
	c.init()
	p := Packet{toNode: toNode}
	p.root, p.broken = msgpack.Dissect(packet, maxValues)
	p.Masks = c.secrets.find(&p.root, p.broken != nil, packet)
	if len(packet) > tipt.MaxPacketSize {
		p.note(p.clause("T-1.20", "T-1.72"), "%d bytes, over the %d that a packet may have: closes with 1009", len(packet), tipt.MaxPacketSize)
	}
	form := c.form
	answered := c.answered(toNode, packet)
	if answered != nil {
		form.Revision = answered.revision
	}
	said, revision, err := form.ParsePacket(packet)
	p.kind, p.revision = said.Type, revision
	if err != nil {
		c.malformed(&p, packet, said, err)
	} else {
		c.wellFormed(&p, packet, said, answered)
	}
	p.widths("", &p.root, packet)
	return p
}

// answered returns the request that packet answers, if it is a RESPONSE to one.
func (c *Conversation) answered(toNode bool, packet []byte) *question {
	k := msgpack.SkimBytes(packet)
	if !k.Readable || tipt.PacketType(k.Type) != tipt.PacketResponse {
		return nil
	}
	if q := &c.sides[side(!toNode)].asked[k.ID]; q.open {
		return q
	}
	return nil
}

func (p *Packet) note(clause, format string, args ...any) {
	p.Notes = append(p.Notes, Note{clause, fmt.Sprintf(format, args...)})
}

// wellFormed takes what said says.
func (c *Conversation) wellFormed(p *Packet, packet []byte, said tipt.Packet, answered *question) {
	switch said.Type {
	case tipt.PacketRequest:
		p.name = requestName(p.toNode, p.revision, said.Code)
		c.ask(p, said)
		p.Section = sectionOf(p.name)
		p.body(said)
	case tipt.PacketResponse:
		c.answer(p, said, answered)
	case tipt.PacketEvent:
		p.name = eventName(p.toNode, p.revision, said.Code)
		if p.Section = sectionOf(p.name); p.toNode {
			p.Section = "2, Events to the node"
		}
		p.body(said)
	}
	p.Title = fmt.Sprintf("%s #%d %s", said.Type, said.ID, p.name)
	if said.Type == tipt.PacketEvent {
		p.Title = fmt.Sprintf("%s %s", said.Type, p.name)
	}
	if said.Err != nil {
		p.Failed = true
		p.Title += ", error " + said.Err.Code.String()
	}
	if said.Newer {
		p.unknownInRoot(packet)
	}
	c.versions(p, said)
}

// unknownInRoot notes the keys of the root that are skipped.
func (p *Packet) unknownInRoot(packet []byte) {
	for i := 0; i < len(p.root.Items); i += 2 {
		switch key := join("", &p.root.Items[i], packet); key {
		case "ver", "id", "pakt", "reqt", "body", "err":
		default:
			p.note("T-2.25", "%s: an unknown key, skipped because ver is newer", key)
		}
	}
}

// ask notes a request.
func (c *Conversation) ask(p *Packet, said tipt.Packet) {
	q := &c.sides[side(p.toNode)].asked[said.ID]
	if q.open {
		clause := "T-3.13"
		if p.toNode {
			clause = "T-3.11"
		}
		p.note(clause, "the id %d is in flight: a %s with it has no response yet", said.ID, q.name)
	}
	if p.toNode && !c.began && p.name != tipt.RequestHandshake.String() {
		p.note("T-3.37", "a request before HANDSHAKE")
	}
	c.began = c.began || p.toNode
	*q = question{open: true, name: p.name, revision: p.revision, version: said.Version}
}

// answer notes a response.
func (c *Conversation) answer(p *Packet, said tipt.Packet, answered *question) {
	if answered == nil {
		clause := "T-3.1"
		if p.toNode {
			clause = "T-3.12"
		}
		p.note(clause, "no request with id %d is in flight", said.ID)
		p.name = "to nothing"
		p.Section = "3.2"
		return
	}
	answered.open = false
	p.name, p.Section = answered.name, sectionOf(answered.name)
	if said.Err != nil {
		p.Section = "6"
		return
	}
	p.body(said)
	if !p.toNode && answered.name == tipt.RequestHandshake.String() && c.form.Open {
		c.form = tipt.Form{Revision: answered.revision, Version: answered.version}
		if answered.revision == tipt.RevisionDraft {
			p.note("", "the connection goes on in the later drafts' form (section 9)")
		}
	}
}

// versions holds a packet's `ver` against those before it.
func (c *Conversation) versions(p *Packet, said tipt.Packet) {
	s := &c.sides[side(p.toNode)]
	if p.revision == tipt.RevisionDraft {
		return
	}
	if s.version != "" && s.version != said.Version {
		clause := "T-4.10"
		if p.toNode {
			clause = "T-3.27"
		}
		p.note(clause, "ver %q after %q", said.Version, s.version)
	}
	s.version = said.Version
}

// body checks the body by the packet's name.
func (p *Packet) body(said tipt.Packet) {
	check := bodies[said.Type][p.name]
	if check == nil {
		return
	}
	err := check(said.Body, said.Newer)
	if err != nil {
		p.note(p.clauseOf(err), "%s", err)
		return
	}
	if !said.Newer {
		return
	}
	// What only a newer version may say is skipped, which is worth a word.
	if bad, ok := errors.AsType[*tipt.MalformedError](check(said.Body, false)); ok {
		p.note("T-2.25", "%s: an unknown key, skipped because ver is newer", bad.Key)
	}
}

// malformed takes what cannot be taken.
func (c *Conversation) malformed(p *Packet, packet []byte, said tipt.Packet, err error) {
	p.Section = "2, What is malformed"
	p.note(p.clauseOf(err), "%s", err)
	k := msgpack.SkimBytes(packet)
	if !k.Readable {
		p.Title = "MALFORMED"
		p.note(p.clause("T-3.5", "T-3.73"), "id or pakt cannot be read: closes with 1002")
		return
	}
	p.kind = tipt.PacketType(k.Type)
	switch code := p.root.Get(packet, "reqt"); {
	case p.kind == tipt.PacketResponse:
		p.name = c.sides[side(!p.toNode)].asked[said.ID].name
		c.sides[side(!p.toNode)].asked[said.ID].open = false
		p.note(p.clause("T-3.8", "T-3.73"), "a malformed RESPONSE closes with 1002")
	case p.kind > tipt.PacketEvent:
		p.note(p.clause("T-3.7", "T-3.73"), "an unknown pakt closes with 1002")
	case p.kind == tipt.PacketRequest:
		p.name = "?"
		if code != nil && code.Family == msgpack.Uint && code.N < 0x80 {
			p.name = requestName(p.toNode, p.revision, uint8(code.N))
		}
		c.ask(p, said)
	}
	p.Title = strings.TrimSpace(fmt.Sprintf("MALFORMED %s #%d %s", p.kind, k.ID, p.name))
}

func requestName(toNode bool, revision tipt.Revision, code uint8) string {
	if toNode {
		return revision.NodeRequest(code).String()
	}
	return tipt.ClientRequest(code).String()
}

func eventName(toNode bool, revision tipt.Revision, code uint8) string {
	if toNode {
		return revision.NodeRequest(code).String()
	}
	return tipt.ClientEvent(code).String()
}

// widths notes each value that has a smaller encoding.
func (p *Packet) widths(path string, v *msgpack.Value, b []byte) {
	if is, could := v.Heads(); could < is {
		what := path
		if what == "" {
			what = "root"
		}
		p.note(p.clause("T-2.70", "T-2.10"), "%s: %d bytes could be %d", what, is, could)
	}
	for i := range v.Items {
		item := &v.Items[i]
		var at string
		switch {
		case v.Family == msgpack.Array:
			at = fmt.Sprintf("%s[%d]", path, i)
		case i%2 == 1:
			at = join(path, &v.Items[i-1], b)
		default:
			at = "the key " + join(path, item, b)
		}
		p.widths(at, item, b)
	}
}

// join is the path of a key's value.
func join(path string, key *msgpack.Value, b []byte) string {
	name := plain(string(key.Text(b)[:min(len(key.Text(b)), 32)]))
	if key.Family != msgpack.Str {
		name = "(" + msgpack.Describe(key.First) + ")"
	}
	if path == "" {
		return name
	}
	return path + "." + name
}
