// Package seal makes and reads what docs/protocol.md, section 5, encrypts: a
// node's key ([NodeKey]), certificates of nodes and of users ([Certificate]),
// the OpenPGP messages sealed to them, and the sealed answers of GET_USER_KEY
// ([SealAnswer], [OpenAnswer]).
//
// A client seals a request to the destination's certificate, the destination
// opens it:
//
//	cert, err := seal.ParseCertificate(key)  // `key` of GET_NODE_KEY's response
//	msg, err := cert.Seal(request, now)      // `msg` of FORWARD
//	request, err := nodeKey.Open(msg, now)   // at the destination
//
// For many messages there are [Sealer], of one connection to one destination, and
// [Opener], of a node: they use a session key for more than one message, which
// takes a tenth of the time.
//
// The package does no I/O and has no clock: the time comes in as now. It is
// the only one that imports the OpenPGP library. That library reads far more
// than section 5.2 allows, so the packets of a message are walked here, outside
// and inside, and the library is left the keys, the certificates and the
// session key packets addressed to us.
//
// All types may be used by several goroutines at once.
package seal

import "errors"

// What [NodeKey.Open], [Opener.Open] and [OpenAnswer] return wraps exactly one of these.
var (
	// ErrCannotOpen says that the message is well formed and none of its session
	// keys is for a key of ours: CANNOT_OPEN of section 6. The sender should fetch
	// the certificate anew.
	ErrCannotOpen = errors.New("seal: no key of ours fits the message")

	// ErrMessage says that the message is broken, in form or integrity, or has
	// something that section 5.2 or 5.3 refuses. The text says what.
	ErrMessage = errors.New("seal: bad message")
)
