// Package seal makes and reads what docs/protocol.md encrypts, in section 5 and, from end
// to end, in section 8: keys of nodes ([NodeKey]) and of users ([UserKey]), the
// certificates of both ([Certificate]), the OpenPGP messages sealed to them, and the
// sealed answers of GET_USER_KEY ([SealAnswer], [OpenAnswer]).
//
// A client seals a request to the destination's certificate, the destination
// opens it:
//
//	cert, err := seal.ParseCertificate(key)  // `key` of GET_NODE_KEY's response
//	msg, err := cert.Seal(request, now)      // `msg` of FORWARD
//	request, err := nodeKey.Open(msg, now)   // at the destination
//
// Between users a message is signed as well, and whether that counts is said by the
// certificate that is kept for whoever is said to have sent it:
//
//	msg, err := aliceKey.Seal(bob, text, now) // SEALED
//	opened, err := bobKey.Open(msg)           // at bob's
//	err = opened.SignedBy(alice, now)         // nil: by alice, for bob
//
// For many messages to a node there are [Sealer], of one connection to one destination, and
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

// What [NodeKey.Open], [Opener.Open], [UserKey.Open] and [OpenAnswer] return wraps exactly one of these.
var (
	// ErrCannotOpen says that the message is well formed and none of its session
	// keys is for a key of ours: CANNOT_OPEN of section 6. The sender should fetch
	// the certificate anew.
	ErrCannotOpen = errors.New("seal: no key of ours fits the message")

	// ErrMessage says that the message is broken, in form or integrity, or has
	// something that section 5.2 or 5.3 refuses. The text says what.
	ErrMessage = errors.New("seal: bad message")
)

// ErrCannotSeal says that a certificate has nothing to seal to that is valid and understood.
var ErrCannotSeal = errors.New("seal: the certificate cannot be sealed to")
