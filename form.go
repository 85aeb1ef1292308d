package tipt

import "github.com/tipt/tipt-go/internal/msgpack"

// A Form is how the packets of a connection's peer are to be read (section 9). The zero
// value is the seed's.
type Form struct {
	Revision Revision

	// Version is that of the peer's HANDSHAKE. In [RevisionDraft] it stands for the `ver` that packets
	// do not have; in [RevisionSeed] it is not looked at.
	Version string

	// Open: no HANDSHAKE has been taken yet. One of the later drafts is then read as what it is,
	// and everything else as Revision says.
	Open bool
}

// ParsePacket is [ParsePacket] in that form. It also returns the revision in which the
// packet came, and in which a response to it is to be written; it does so for a malformed one, too.
func (f Form) ParsePacket(b []byte) (Packet, Revision, error) {
	rev := f.Revision
	p, err := parsePacket(b, rev, f.Version)
	if err != nil && f.Open {
		if version, chosen := draftHandshake(b); chosen {
			rev = RevisionDraft
			p, err = parsePacket(b, rev, version)
		}
	}
	if err == nil {
		return p, rev, nil
	}
	k := msgpack.SkimBytes(b)
	bad := &MalformedError{Key: err.Key, Found: err.Found, Want: err.Want, Readable: k.Readable}
	if !k.Readable {
		return Packet{}, rev, bad
	}
	return Packet{ID: k.ID, Type: PacketType(k.Type)}, rev, bad
}

var (
	choiceKeys     = msgpack.Declare("ver?", "id?", "pakt?", "reqt?", "body?")
	choiceBodyKeys = msgpack.Declare("ver?")
)

// draftHandshake reports whether b is a HANDSHAKE without `ver` in its root and with
// one in its body, whatever else is wrong with it, as long as its structure is sound;
// and the version, empty where it is none.
func draftHandshake(b []byte) (version string, is bool) {
	m := msgpack.ReadMap(b, 1, msgpack.Step, choiceKeys)
	var body []byte
	for m.Next() {
		switch m.Key() {
		case "ver":
			return "", false
		case "id":
			_ = m.Uint(8) // parsePacket judges it
		case "pakt":
			if PacketType(m.Enum()) != PacketRequest {
				return "", false
			}
		case "reqt":
			if NodeRequest(m.Enum()) != RequestHandshake {
				return "", false
			}
		case "body":
			body = m.Map()
		}
	}
	if m.Err() != nil || body == nil {
		return "", false
	}
	in := msgpack.ReadMap(body, 2, msgpack.Step, choiceBodyKeys)
	for in.Next() {
		version, _ = readVersion(&in)
		is = true
	}
	if in.Err() != nil {
		return "", is
	}
	return version, is
}
