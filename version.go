package tipt

import (
	"fmt"

	"github.com/Masterminds/semver/v3"
)

// Version is the semantic version of the protocol this package speaks; it is
// the `ver` of every packet that this product sends.
const Version = "1.0.0"

// Release is the version of this software, not of the protocol.
const Release = "0.1.0"

// MaxVersionSize is the greatest length of a version in bytes (section 2).
const MaxVersionSize = 64

// A Revision is the form that a connection's packets have, fixed by its
// HANDSHAKE (docs/protocol.md, section 9). The zero value is the seed's.
type Revision uint8

const (
	RevisionSeed  Revision = 0 // `ver` in the root of every packet, `err` is a map
	RevisionDraft Revision = 1 // no root `ver`, FORWARD 0x21, GET_NODE_KEY 0x20, `err` is the bare code
)

// String is "seed" or "draft".
func (r Revision) String() string {
	switch r {
	case RevisionSeed:
		return "seed"
	case RevisionDraft:
		return "draft"
	}
	return hexEnum(uint8(r))
}

// NodeRequest is the request that a packet to the node with the given `reqt` makes
// in this revision. It is its own inverse: given a NodeRequest as a number, it
// returns the `reqt` to send.
func (r Revision) NodeRequest(code uint8) NodeRequest {
	if r == RevisionDraft {
		switch NodeRequest(code) {
		case RequestForward:
			return RequestGetNodeKey
		case RequestGetNodeKey:
			return RequestForward
		}
	}
	return NodeRequest(code)
}

var current = semver.MustParse(Version)

// ParseVersion parses a `ver`: a semantic version in full ("1.0", "v1.0.0" and
// "01.0.0" are none) of at most [MaxVersionSize] bytes.
func ParseVersion(s string) (*semver.Version, error) {
	if s == Version {
		return current, nil
	}
	if len(s) > MaxVersionSize {
		return nil, fmt.Errorf("version of %d bytes: longer than %d", len(s), MaxVersionSize)
	}
	v, err := semver.StrictNewVersion(s)
	if err != nil {
		return nil, fmt.Errorf("version %q: %w", s, err)
	}
	return v, nil
}

// Compatible is the `comp` of HANDSHAKE: the client's major version is not
// greater than the node's. It is false where either is no version.
func Compatible(client, node string) bool {
	c, err := ParseVersion(client)
	if err != nil {
		return false
	}
	n, err := ParseVersion(node)
	return err == nil && c.Major() <= n.Major()
}

// newer reports whether v precedes nothing that this package knows: keys it
// does not know may be there and are skipped (section 2).
func newer(v *semver.Version) bool { return v.GreaterThan(current) }

// isNewer is newer of a `ver` as text; what is no version is not newer.
func isNewer(version string) bool {
	if version == "" || version == Version {
		return false
	}
	v, err := ParseVersion(version)
	return err == nil && newer(v)
}
