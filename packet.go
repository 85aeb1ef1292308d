package tipt

import (
	"fmt"
	"slices"

	"github.com/tinylib/msgp/msgp"

	"github.com/tipt/tipt-go/internal/msgpack"
)

// A PacketType is a CNPacketType (section 2).
type PacketType uint8

const (
	PacketRequest  PacketType = 0x00 // demands one response with its id
	PacketResponse PacketType = 0x01 // no `reqt`
	PacketEvent    PacketType = 0x02 // no response, `id` means nothing
)

// String is the type's name in the specification.
func (t PacketType) String() string {
	switch t {
	case PacketRequest:
		return "REQUEST"
	case PacketResponse:
		return "RESPONSE"
	case PacketEvent:
		return "EVENT"
	}
	return hexEnum(uint8(t))
}

// hexEnum is the name of an enum's value that has none.
func hexEnum(v uint8) string { return fmt.Sprintf("%#02x", v) }

// A Packet is the root of one binary WebSocket message (section 2).
type Packet struct {
	Version string // `ver`; in [RevisionDraft], which has none, that of the [Form]
	ID      uint8
	Type    PacketType
	Code    uint8  // `reqt` of a REQUEST or EVENT, on the wire as the connection's revision numbers it
	Body    []byte // `body`: one encoded map, or nil
	Err     *Error // `err`, in a RESPONSE alone; Body is then nil

	// Newer is set by ParsePacket: Version is newer than [Version], so that
	// keys we do not know are skipped, at any level. Hand it to the body's Parse.
	Newer bool
}

// ParsePacket parses one whole message. It checks all that section 2 says,
// within the body too as far as that can be known without its keys; Body
// aliases b.
//
// The error is a [*MalformedError]. Where that says Readable, the packet has
// the ID and Type that section 3.1 lets one read, and nothing else; Type may
// then be none of the three.
func ParsePacket(b []byte, rev Revision) (Packet, error) {
	p, _, err := Form{Revision: rev}.ParsePacket(b)
	return p, err
}

var (
	seedKeys  = msgpack.Declare("ver", "id", "pakt", "reqt?", "body?", "err?")
	draftKeys = msgpack.Declare("id", "pakt", "reqt?", "body?", "err?")
)

// parsePacket parses a packet; version stands for the `ver` of one in RevisionDraft.
func parsePacket(b []byte, rev Revision, version string) (p Packet, err *msgpack.Error) {
	keys := seedKeys
	if rev == RevisionDraft {
		keys = draftKeys
		p.Version, p.Newer = version, isNewer(version)
	}
	// Whether unknown keys may be there is known once `ver` is, wherever that
	// stands: until then they are stepped over.
	m := msgpack.ReadMap(b, 1, msgpack.Step, keys)
	var hasCode, hasErr bool
	var failure []byte // `err`
	for m.Next() {
		switch m.Key() {
		case "ver":
			p.Version, p.Newer = readVersion(&m)
		case "id":
			p.ID = uint8(m.Uint(8))
		case "pakt":
			p.Type = PacketType(m.Enum())
		case "reqt":
			if !m.Nil() {
				p.Code, hasCode = m.Enum(), true
			}
		case "body":
			if !m.Nil() {
				p.Body = m.Map()
			}
		case "err":
			hasErr = true
			if rev == RevisionDraft {
				p.Err = &Error{Code: ErrorCode(m.Enum())}
			} else {
				failure = m.Map()
			}
		}
	}
	if err := m.Err(); err != nil {
		return p, err
	}
	if m.Other() != "" && !p.Newer {
		return p, &msgpack.Error{Key: m.Other(), Found: "an unknown key", Want: "none in this version"}
	}
	switch {
	case p.Type > PacketEvent:
		return p, &msgpack.Error{Key: "pakt", Found: p.Type.String(), Want: "REQUEST, RESPONSE or EVENT"}
	case p.Type == PacketResponse && hasCode:
		return p, &msgpack.Error{Key: "reqt", Found: hexEnum(p.Code) + " in a RESPONSE", Want: "nil or no such key"}
	case p.Type != PacketResponse && !hasCode:
		return p, &msgpack.Error{Key: "reqt", Found: "nil or no such key", Want: "positive fixint in a " + p.Type.String()}
	case p.Type != PacketResponse && hasErr:
		return p, &msgpack.Error{Key: "err", Found: "the key in a " + p.Type.String(), Want: "it only in a RESPONSE"}
	case hasErr && p.Body != nil:
		return p, &msgpack.Error{Key: "body", Found: "map beside err", Want: "nil or no such key"}
	}
	if failure != nil {
		p.Err, err = parseFailure(failure, p.Newer)
	}
	return p, err
}

// readVersion reads the `ver` at hand, and whether it is newer than ours.
func readVersion(m *msgpack.Map) (version string, isNewer bool) {
	s := m.StrBytes(8)
	if m.Err() != nil || string(s) == Version {
		return Version, false
	}
	version = string(s)
	v, err := ParseVersion(version)
	if err != nil {
		m.Fail(fmt.Sprintf("%.32q of %d bytes", version, len(version)), fmt.Sprintf("a semantic version of at most %d", MaxVersionSize))
		return "", false
	}
	return version, newer(v)
}

// AppendPacket appends p in the smallest encoding. A nil Body, and what does not
// belong to p's Type or to the revision, is left out.
func AppendPacket(b []byte, rev Revision, p *Packet) []byte {
	n := uint32(2)
	seed := rev != RevisionDraft
	if seed {
		n++
	}
	if p.Type != PacketResponse {
		n++
	}
	failed := p.Type == PacketResponse && p.Err != nil
	body := p.Body != nil && !failed
	if body || failed {
		n++
	}

	const roots = 48 // what the root takes besides these
	b = slices.Grow(b, roots+len(p.Version)+len(p.Body))
	b = msgp.AppendMapHeader(b, n)
	if seed {
		b = msgp.AppendString(b, "ver")
		b = msgp.AppendString(b, p.Version)
	}
	b = msgp.AppendString(b, "id")
	b = msgp.AppendUint8(b, p.ID)
	b = msgp.AppendString(b, "pakt")
	b = msgp.AppendUint8(b, uint8(p.Type))
	if p.Type != PacketResponse {
		b = msgp.AppendString(b, "reqt")
		b = msgp.AppendUint8(b, p.Code)
	}
	if body {
		b = msgp.AppendString(b, "body")
		b = append(b, p.Body...)
	}
	if failed {
		b = msgp.AppendString(b, "err")
		if seed {
			b = appendFailure(b, uint8(p.Err.Code), p.Err.Message, p.Err.Wait)
		} else {
			b = msgp.AppendUint8(b, uint8(p.Err.Code))
		}
	}
	return b
}
