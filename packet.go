package tipt

// A PacketType is a CNPacketType (section 2).
type PacketType uint8

const (
	PacketRequest  PacketType = 0x00 // demands one response with its id
	PacketResponse PacketType = 0x01 // no `reqt`
	PacketEvent    PacketType = 0x02 // no response, `id` means nothing
)

// A Packet is the root of one binary WebSocket message (section 2).
type Packet struct {
	Version string // `ver`; the parsed one of the peer
	ID      uint8
	Type    PacketType
	Code    uint8  // `reqt` of a REQUEST or EVENT, on the wire as the connection's revision numbers it
	Body    []byte // `body`: one encoded map, or nil
	Err     *Error // `err`, in a RESPONSE alone; Body is then nil

	// Newer is set by ParsePacket: Version is newer than [Version], so that
	// keys we do not know are skipped, at any level. Hand it to the body's Parse.
	Newer bool
}
