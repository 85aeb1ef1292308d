package tipt

import (
	"time"

	"github.com/tinylib/msgp/msgp"

	"github.com/tipt/tipt-go/internal/msgpack"
)

// DefaultDevice is the device of a SIGN_IN that names none (section 4).
const DefaultDevice = "default"

// A HandshakeRequest is HANDSHAKE's body. In the seed's form it is nil; a
// Version in it must say what the packet's `ver` says (section 4), which is the
// handler's to check.
type HandshakeRequest struct {
	Version string // `ver`?; empty when absent
}

// Append appends the body: nothing without a Version.
func (x HandshakeRequest) Append(b []byte) []byte {
	if x.Version == "" {
		return b
	}
	b = msgp.AppendMapHeader(b, 1)
	b = msgp.AppendString(b, "ver")
	return msgp.AppendString(b, x.Version)
}

var handshakeKeys = msgpack.Declare("ver")

// Parse parses the body.
func (x *HandshakeRequest) Parse(body []byte, newer bool) error {
	*x = HandshakeRequest{}
	if len(body) == 0 {
		return nil
	}
	m := readBody(body, newer, handshakeKeys)
	for m.Next() {
		x.Version, _ = readVersion(&m)
	}
	return bodyError(m.Err())
}

// A HandshakeResponse answers HANDSHAKE.
type HandshakeResponse struct {
	Version    string // `ver`: the node's
	Compatible bool   // `comp`: the client's major version is not greater than the node's
}

// Append appends the body.
func (x HandshakeResponse) Append(b []byte) []byte {
	b = msgp.AppendMapHeader(b, 2)
	b = msgp.AppendString(b, "ver")
	b = msgp.AppendString(b, x.Version)
	b = msgp.AppendString(b, "comp")
	return msgp.AppendBool(b, x.Compatible)
}

var handshakeResponseKeys = msgpack.Declare("ver", "comp")

// Parse parses the body.
func (x *HandshakeResponse) Parse(body []byte, newer bool) error {
	*x = HandshakeResponse{}
	m := readBody(body, newer, handshakeResponseKeys)
	for m.Next() {
		switch m.Key() {
		case "ver":
			x.Version, _ = readVersion(&m)
		case "comp":
			x.Compatible = m.Bool()
		}
	}
	return bodyError(m.Err())
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

// Append appends the body.
func (x RegisterRequest) Append(b []byte) []byte {
	n := uint32(2)
	if x.HasInvite {
		n++
	}
	b = msgp.AppendMapHeader(b, n)
	b = msgp.AppendString(b, "user")
	b = msgp.AppendString(b, x.User)
	b = msgp.AppendString(b, "pass")
	b = msgp.AppendString(b, x.Password)
	if x.HasInvite {
		b = msgp.AppendString(b, "inv")
		b = msgp.AppendString(b, x.Invite)
	}
	return b
}

var registerKeys = msgpack.Declare("user", "pass", "inv?")

// Parse parses the body.
func (x *RegisterRequest) Parse(body []byte, newer bool) error {
	*x = RegisterRequest{}
	m := readBody(body, newer, registerKeys)
	for m.Next() {
		switch m.Key() {
		case "user":
			x.User = m.Str(8)
		case "pass":
			x.Password = m.Str(8)
		case "inv":
			x.Invite, x.HasInvite = m.Str(8), true
		}
	}
	return bodyError(m.Err())
}

// A SignInRequest is SIGN_IN's body. Exactly one of Password and Token is
// there, which HasToken tells; its length, and that of User, is the handler's to check.
type SignInRequest struct {
	User     string // `user`
	Device   string // `dev`?; DefaultDevice when absent, and then left out
	Password string // `pass`, when HasToken is false
	Token    []byte // `tok`, when HasToken is true; aliases the input
	HasToken bool
	Receive  bool // `recv`?; true when absent, and then left out
}

// Append appends the body. An empty Device is left out like [DefaultDevice].
func (x SignInRequest) Append(b []byte) []byte {
	n := uint32(2)
	device := x.Device != "" && x.Device != DefaultDevice
	if device {
		n++
	}
	if !x.Receive {
		n++
	}
	b = msgp.AppendMapHeader(b, n)
	b = msgp.AppendString(b, "user")
	b = msgp.AppendString(b, x.User)
	if device {
		b = msgp.AppendString(b, "dev")
		b = msgp.AppendString(b, x.Device)
	}
	if x.HasToken {
		b = msgp.AppendString(b, "tok")
		b = msgp.AppendBytes(b, x.Token)
	} else {
		b = msgp.AppendString(b, "pass")
		b = msgp.AppendString(b, x.Password)
	}
	if !x.Receive {
		b = msgp.AppendString(b, "recv")
		b = msgp.AppendBool(b, false)
	}
	return b
}

var signInKeys = msgpack.Declare("user", "dev?", "pass?", "tok?", "recv?")

// Parse parses the body.
func (x *SignInRequest) Parse(body []byte, newer bool) error {
	*x = SignInRequest{Device: DefaultDevice, Receive: true}
	var hasPassword bool
	m := readBody(body, newer, signInKeys)
	for m.Next() {
		switch m.Key() {
		case "user":
			x.User = m.Str(8)
		case "dev":
			x.Device = readStr(&m, 8, MaxDeviceNameSize)
			if m.Err() == nil && x.Device == "" {
				m.Fail("0 bytes", "at least 1")
			}
		case "pass":
			x.Password, hasPassword = m.Str(8), true
		case "tok":
			x.Token, x.HasToken = m.Bin(8), true
		case "recv":
			x.Receive = m.Bool()
		}
	}
	if err := m.Err(); err != nil {
		return bodyError(err)
	}
	return bodyError(oneOf("pass", hasPassword, "tok", x.HasToken))
}

// oneOf is an error unless exactly one of two keys is there.
func oneOf(a string, hasA bool, b string, hasB bool) *msgpack.Error {
	switch {
	case hasA && hasB:
		return &msgpack.Error{Key: b, Found: "the key beside " + a, Want: "one of them"}
	case !hasA && !hasB:
		return &msgpack.Error{Key: a, Found: "neither it nor " + b, Want: "one of them"}
	}
	return nil
}

// A SignInResponse answers SIGN_IN.
type SignInResponse struct {
	Address string // `addr`
	Token   []byte // `tok`?; nil when absent; aliases the input
}

// Append appends the body.
func (x SignInResponse) Append(b []byte) []byte {
	n := uint32(1)
	if x.Token != nil {
		n++
	}
	b = msgp.AppendMapHeader(b, n)
	b = msgp.AppendString(b, "addr")
	b = msgp.AppendString(b, x.Address)
	if x.Token != nil {
		b = msgp.AppendString(b, "tok")
		b = msgp.AppendBytes(b, x.Token)
	}
	return b
}

var signInResponseKeys = msgpack.Declare("addr", "tok?")

// Parse parses the body.
func (x *SignInResponse) Parse(body []byte, newer bool) error {
	*x = SignInResponse{}
	m := readBody(body, newer, signInResponseKeys)
	for m.Next() {
		switch m.Key() {
		case "addr":
			x.Address = readStr(&m, 16, MaxAddressSize)
		case "tok":
			x.Token = m.Bin(8)
			checkExact(&m, len(x.Token), TokenSize)
		}
	}
	return bodyError(m.Err())
}

// Registration says who may REGISTER: the `reg` of GET_INFO.
type Registration uint8

const (
	RegistrationOpen   Registration = 0x00
	RegistrationInvite Registration = 0x01
	RegistrationClosed Registration = 0x02
)

// String is "open", "invite" or "closed".
func (r Registration) String() string {
	switch r {
	case RegistrationOpen:
		return "open"
	case RegistrationInvite:
		return "invite"
	case RegistrationClosed:
		return "closed"
	}
	return hexEnum(uint8(r))
}

// A GetInfoResponse answers GET_INFO.
type GetInfoResponse struct {
	Node         string       // `node`
	Software     string       // `soft`: software and version
	Registration Registration // `reg`; one that is not known here is no error
	Time         time.Time    // `time`, milliseconds on the wire
}

// Append appends the body.
func (x GetInfoResponse) Append(b []byte) []byte {
	b = msgp.AppendMapHeader(b, 4)
	b = msgp.AppendString(b, "node")
	b = msgp.AppendString(b, x.Node)
	b = msgp.AppendString(b, "soft")
	b = msgp.AppendString(b, x.Software)
	b = msgp.AppendString(b, "reg")
	b = msgp.AppendUint8(b, uint8(x.Registration))
	b = msgp.AppendString(b, "time")
	return appendTime(b, x.Time)
}

var getInfoKeys = msgpack.Declare("node", "soft", "reg", "time")

// Parse parses the body.
func (x *GetInfoResponse) Parse(body []byte, newer bool) error {
	*x = GetInfoResponse{}
	m := readBody(body, newer, getInfoKeys)
	for m.Next() {
		switch m.Key() {
		case "node":
			x.Node = readStr(&m, 8, MaxNodeNameSize)
		case "soft":
			x.Software = readStr(&m, 8, MaxSoftwareSize)
		case "reg":
			x.Registration = Registration(m.Enum())
		case "time":
			x.Time = readTime(&m)
		}
	}
	return bodyError(m.Err())
}
