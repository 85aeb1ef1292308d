// Package peer speaks to other nodes (docs/protocol.md, section 5): it forwards sealed
// messages to them and takes theirs, fetches and keeps their certificates, vouches for
// the users of this node and checks what other nodes vouch for. The [Outbox]
// keeps what has to be forwarded until the destination has answered.
package peer

// The paths of section 5.1 and 5.2.
const (
	pathPublicKey = "/api/public_key"
	pathForward   = "/api/forward"
)
