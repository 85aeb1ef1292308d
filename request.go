package tipt

import "time"

// A NodeRequest is a CNNodeRequestType: the `reqt` of what a client sends
// to its node (section 2).
type NodeRequest uint8

const (
	RequestHandshake     NodeRequest = 0x00 // nil → HandshakeResponse; first, once
	RequestRegister      NodeRequest = 0x01 // RegisterRequest → nil; no sign in
	RequestSignIn        NodeRequest = 0x02 // SignInRequest → SignInResponse; no sign in
	RequestGetInfo       NodeRequest = 0x03 // nil → GetInfoResponse; signed in or not
	RequestForward       NodeRequest = 0x20 // ForwardRequest → ForwardResponse or nil; signed in. Draft: 0x21
	RequestGetNodeKey    NodeRequest = 0x21 // GetNodeKeyRequest → GetNodeKeyResponse; signed in. Draft: 0x20
	RequestSetPassword   NodeRequest = 0x40 // SetPasswordRequest → nil; signed in
	RequestListDevices   NodeRequest = 0x41 // nil → ListDevicesResponse; signed in
	RequestRemoveDevice  NodeRequest = 0x42 // RemoveDeviceRequest → nil; signed in
	RequestDeleteAccount NodeRequest = 0x43 // DeleteAccountRequest → nil; signed in
	RequestSetKey        NodeRequest = 0x44 // SetKeyRequest → nil; signed in
)

// A ClientRequest is a CNClientRequestType: the `reqt` of what a node asks
// of a client (section 2).
type ClientRequest uint8

const (
	RequestDeliver ClientRequest = 0x00 // DeliverRequest → nil
	RequestReturn  ClientRequest = 0x01 // ReturnRequest → nil
)

// A MessageID names a message: made by its sender, new for every message and
// every recipient (section 5.3). Version 7 UUIDs serve best.
type MessageID [MessageIDSize]byte

// A HandshakeRequest is HANDSHAKE's body. In the seed's form it is nil; a
// Version in it must say what the packet's `ver` says (section 4).
type HandshakeRequest struct {
	Version string // `ver`?; empty when absent
}

// A HandshakeResponse answers HANDSHAKE.
type HandshakeResponse struct {
	Version    string // `ver`: the node's
	Compatible bool   // `comp`: the client's major version is not greater than the node's
}

// A RegisterRequest is REGISTER's body. Lengths and names are the handler's
// to check, each has an error of its own.
type RegisterRequest struct {
	User     string // `user`
	Password string // `pass`
	Invite   string // `inv`?
	// HasInvite tells an absent `inv` from an empty one.
	HasInvite bool
}

// A SignInRequest is SIGN_IN's body. Exactly one of Password and Token is
// there, which HasToken tells; its length, and that of User, is the handler's to check.
type SignInRequest struct {
	User     string // `user`
	Device   string // `dev`?; "default" when absent
	Password string // `pass`, when HasToken is false
	Token    []byte // `tok`, when HasToken is true
	HasToken bool
	Receive  bool // `recv`?; true when absent, and then left out
}

// A SignInResponse answers SIGN_IN.
type SignInResponse struct {
	Address string // `addr`
	Token   []byte // `tok`?; nil when absent
}

// Registration says who may REGISTER: the `reg` of GET_INFO.
type Registration uint8

const (
	RegistrationOpen   Registration = 0x00
	RegistrationInvite Registration = 0x01
	RegistrationClosed Registration = 0x02
)

// A GetInfoResponse answers GET_INFO.
type GetInfoResponse struct {
	Node         string       // `node`
	Software     string       // `soft`: software and version
	Registration Registration // `reg`
	Time         time.Time    // `time`, milliseconds on the wire
}

// A ForwardRequest is FORWARD's body. Parse leaves Node as it came.
type ForwardRequest struct {
	Node   string     // `node`; at most MaxRawNodeSize, checked and mapped by the handler
	Wait   bool       // `wait`
	Sealed []byte     // `msg`; aliases the input
	Ref    *MessageID // `ref`?
}

// A ForwardResponse answers FORWARD with `wait` true; with `wait` false the
// answer is nil.
type ForwardResponse struct {
	Response []byte // `resp`: what the destination answered
}

// A GetNodeKeyRequest is GET_NODE_KEY's body.
type GetNodeKeyRequest struct {
	Node string // `node`
	New  bool   // `new`?: past the node's cache; left out when false
}

// A GetNodeKeyResponse answers GET_NODE_KEY.
type GetNodeKeyResponse struct {
	Key []byte // `key`: an OpenPGP certificate, un-armored
}

// A SetPasswordRequest is SET_PASSWORD's body.
type SetPasswordRequest struct {
	Old string // `old`
	New string // `new`
}

// A Device is one installation of a client program of a user.
type Device struct {
	Name   string    // `dev`
	Seen   time.Time // `seen`, milliseconds on the wire
	Online bool      // `on`: receiving now
}

// A ListDevicesResponse answers LIST_DEVICES.
type ListDevicesResponse struct {
	Devices []Device // `devs`
}

// A RemoveDeviceRequest is REMOVE_DEVICE's body.
type RemoveDeviceRequest struct {
	Device string // `dev`
}

// A DeleteAccountRequest is DELETE_ACCOUNT's body.
type DeleteAccountRequest struct {
	Password string // `pass`
}

// A SetKeyRequest is SET_KEY's body.
type SetKeyRequest struct {
	Key []byte // `key`: an OpenPGP certificate; nil on the wire, and here, for none
}

// A DeliverRequest is DELIVER's body.
type DeliverRequest struct {
	ID      MessageID // `mid`: the sender's
	From    string    // `from`?: the address the sending node vouched for; empty when anonymous
	Time    time.Time // `time` when the recipient's node stored it, milliseconds on the wire
	Message []byte    // `msg`; aliases the input
}

// A ReturnRequest is RETURN's body: a message that could not be delivered.
// It has Response, or Code where HasCode is set.
type ReturnRequest struct {
	ID       MessageID  // `mid`: made by the node
	Ref      *MessageID // `ref`?: of the FORWARD
	Node     string     // `node`: the destination
	Time     time.Time  // `time` when stored, milliseconds on the wire
	Response []byte     // `resp`?: the destination's refusal, an encoded CNNodeForwardResponse
	Code     ErrorCode  // `code`?
	HasCode  bool
}
