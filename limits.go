package tipt

import (
	"time"

	"github.com/tipt/tipt-go/internal/msgpack"
)

// Sizes in bytes and counts of docs/protocol.md. A size is the greatest
// allowed unless its name says otherwise.
const (
	MaxPacketSize         = 2_100_000        // section 1.4: over it the connection closes with 1009
	MaxUnsignedPacketSize = 65_536           // section 1.4: a node's limit before sign-in
	MaxInFlight           = 256              // section 3.2: requests of one side that await their response
	MaxDepth              = msgpack.MaxDepth // section 2: 4, nested maps and arrays, the root is 1

	MaxNodeNameSize    = 253       // section 4, Names
	MaxRawNodeSize     = 500       // section 4: `node` of FORWARD and GET_NODE_KEY, before mapping
	MaxUserNameSize    = 64        // section 4, Names: in its mapped form
	MaxRawUserNameSize = 255       // section 4, Names: as it came, what a str8 holds
	MaxAddressSize     = 318       // user@node
	MinPasswordSize    = 8         // section 4, REGISTER and SET_PASSWORD
	MaxPasswordSize    = 255       // section 4
	MaxInviteSize      = 64        // section 4, REGISTER
	MaxDeviceNameSize  = 64        // section 4, SIGN_IN
	TokenSize          = 32        // exactly
	MessageIDSize      = 16        // exactly: `mid` and `ref`
	SealKeySize        = 32        // exactly: `seal` of GET_USER_KEY
	MaxKeySize         = 8192      // an OpenPGP certificate
	MaxSealedSize      = 2_000_000 // `msg` of FORWARD
	MaxForwardRespSize = 2_000_000 // `resp` of FORWARD's response
	MaxMessageSize     = 1_990_000 // `msg` of DELIVER and of MESSAGE
	MaxSealedTextSize  = 1_975_000 // section 8: a `text` that fits into `msg` when it is SEALED, whatever the keys
	MaxReturnRespSize  = 4_096     // `resp` of RETURN
	MaxSoftwareSize    = 255       // `soft` of GET_INFO
	MaxErrorTextSize   = 255       // section 6: `msg` of an error, what a str8 holds

	MaxDelivering    = 64      // section 4: DELIVER and RETURN unanswered on one connection
	MaxDevices       = 32      // devices of one user
	MaxSendOnly      = 16      // section 4, SIGN_IN: `recv` false connections of one user
	MaxMailboxCount  = 100_000 // messages in one mailbox
	MaxMailboxBytes  = 1 << 30 // bytes in one mailbox
	SealedAnswerSize = 8_256   // section 5.3: GET_USER_KEY's answer before it is sealed
)

// Times of docs/protocol.md.
const (
	HandshakeTimeout   = 3 * time.Second     // section 3.4
	PingInterval       = 5 * time.Minute     // section 1.5: a client's PING
	SilenceTimeout     = 4 * time.Minute     // section 1.5: a node pings a client silent for this long
	PongTimeout        = 30 * time.Second    // section 1.5 and 7
	UnsignedTimeout    = 30 * time.Second    // section 1.3: may be closed for a newer connection
	CloseLinger        = 5 * time.Second     // section 1.6: input discarded after the close frame
	GoingAwayTimeout   = 30 * time.Second    // section 3.6
	ForwardTimeout     = 30 * time.Second    // section 4, FORWARD with `wait` true
	DeliverPause       = time.Second         // section 4, DELIVER answered BUSY without `wait`
	MessageRetention   = 30 * 24 * time.Hour // section 4
	DuplicateRetention = 10 * 24 * time.Hour // section 5.3
	OutboxRetention    = 5 * 24 * time.Hour  // section 4, FORWARD
	DeviceRetention    = 90 * 24 * time.Hour // section 4
	ReconnectMin       = time.Second         // section 7
	ReconnectMax       = 5 * time.Minute     // section 7
)
