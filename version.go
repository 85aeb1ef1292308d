package tipt

// Version is the semantic version of the protocol this package speaks; it is
// the `ver` of every packet that this product sends.
const Version = "1.0.0"

// MaxVersionSize is the greatest length of a version in bytes (section 2).
const MaxVersionSize = 64

// A Revision is the form that a connection's packets have, fixed by its
// HANDSHAKE (docs/protocol.md, section 9). The zero value is the seed's.
type Revision uint8

const (
	RevisionSeed  Revision = 0 // `ver` in the root of every packet, `err` is a map
	RevisionDraft Revision = 1 // no root `ver`, FORWARD 0x21, GET_NODE_KEY 0x20, `err` is the bare code
)
