package tipt

// A NodeRequest is a CNNodeRequestType: the `reqt` of what a client sends
// to its node (section 2).
type NodeRequest uint8

const (
	RequestHandshake     NodeRequest = 0x00 // HandshakeRequest → HandshakeResponse; first, once
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

// String is the request's name in the specification.
func (r NodeRequest) String() string {
	switch r {
	case RequestHandshake:
		return "HANDSHAKE"
	case RequestRegister:
		return "REGISTER"
	case RequestSignIn:
		return "SIGN_IN"
	case RequestGetInfo:
		return "GET_INFO"
	case RequestForward:
		return "FORWARD"
	case RequestGetNodeKey:
		return "GET_NODE_KEY"
	case RequestSetPassword:
		return "SET_PASSWORD"
	case RequestListDevices:
		return "LIST_DEVICES"
	case RequestRemoveDevice:
		return "REMOVE_DEVICE"
	case RequestDeleteAccount:
		return "DELETE_ACCOUNT"
	case RequestSetKey:
		return "SET_KEY"
	}
	return hexEnum(uint8(r))
}

// A ClientRequest is a CNClientRequestType: the `reqt` of what a node asks
// of a client (section 2).
type ClientRequest uint8

const (
	RequestDeliver ClientRequest = 0x00 // DeliverRequest → nil
	RequestReturn  ClientRequest = 0x01 // ReturnRequest → nil
)

// String is the request's name in the specification.
func (r ClientRequest) String() string {
	switch r {
	case RequestDeliver:
		return "DELIVER"
	case RequestReturn:
		return "RETURN"
	}
	return hexEnum(uint8(r))
}
