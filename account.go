package tipt

import (
	"strconv"
	"time"

	"github.com/tinylib/msgp/msgp"

	"github.com/tipt/tipt-go/internal/msgpack"
)

// A SetPasswordRequest is SET_PASSWORD's body. Both lengths are the handler's to check.
type SetPasswordRequest struct {
	Old string // `old`
	New string // `new`
}

// Append appends the body.
func (x SetPasswordRequest) Append(b []byte) []byte {
	b = msgp.AppendMapHeader(b, 2)
	b = msgp.AppendString(b, "old")
	b = msgp.AppendString(b, x.Old)
	b = msgp.AppendString(b, "new")
	return msgp.AppendString(b, x.New)
}

var setPasswordKeys = msgpack.Declare("old", "new")

// Parse parses the body.
func (x *SetPasswordRequest) Parse(body []byte, newer bool) error {
	*x = SetPasswordRequest{}
	m := readBody(body, newer, setPasswordKeys)
	for m.Next() {
		switch m.Key() {
		case "old":
			x.Old = m.Str(8)
		case "new":
			x.New = m.Str(8)
		}
	}
	return bodyError(m.Err())
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

// Append appends the body.
func (x ListDevicesResponse) Append(b []byte) []byte {
	b = msgp.AppendMapHeader(b, 1)
	b = msgp.AppendString(b, "devs")
	b = msgp.AppendArrayHeader(b, uint32(len(x.Devices)))
	for _, d := range x.Devices {
		b = msgp.AppendMapHeader(b, 3)
		b = msgp.AppendString(b, "dev")
		b = msgp.AppendString(b, d.Name)
		b = msgp.AppendString(b, "seen")
		b = appendTime(b, d.Seen)
		b = msgp.AppendString(b, "on")
		b = msgp.AppendBool(b, d.Online)
	}
	return b
}

var listDevicesKeys = msgpack.Declare("devs")

// Parse parses the body.
func (x *ListDevicesResponse) Parse(body []byte, newer bool) error {
	*x = ListDevicesResponse{}
	var devices []byte
	m := readBody(body, newer, listDevicesKeys)
	for m.Next() {
		devices = m.Array()
	}
	if err := m.Err(); err != nil {
		return bodyError(err)
	}
	n, rest := msgpack.ReadArray(devices)
	x.Devices = make([]Device, 0, min(n, len(rest)/minDeviceSize))
	for i := range n {
		var d Device
		var err *msgpack.Error
		if d, rest, err = parseDevice(rest, newer); err != nil {
			return bodyError(err.At("devs[" + strconv.Itoa(i) + "]"))
		}
		x.Devices = append(x.Devices, d)
	}
	return nil
}

// minDeviceSize is the size of the shortest element of `devs`.
const minDeviceSize = len("\x83" + "\xa3dev\xa0" + "\xa4seen\x00" + "\xa2on\xc2")

var deviceKeys = msgpack.Declare("dev", "seen", "on")

// parseDevice parses the first element of what is left of `devs`.
func parseDevice(devices []byte, newer bool) (d Device, rest []byte, err *msgpack.Error) {
	const depth = bodyDepth + 2
	b, rest, err := msgpack.Element(devices, depth)
	if err != nil {
		return d, nil, err
	}
	m := msgpack.ReadMap(b, depth, msgpack.Unknown(newer), deviceKeys)
	for m.Next() {
		switch m.Key() {
		case "dev":
			d.Name = readStr(&m, 8, MaxDeviceNameSize)
		case "seen":
			d.Seen = readTime(&m)
		case "on":
			d.Online = m.Bool()
		}
	}
	return d, rest, m.Err()
}

// A RemoveDeviceRequest is REMOVE_DEVICE's body.
type RemoveDeviceRequest struct {
	Device string // `dev`
}

// Append appends the body.
func (x RemoveDeviceRequest) Append(b []byte) []byte {
	b = msgp.AppendMapHeader(b, 1)
	b = msgp.AppendString(b, "dev")
	return msgp.AppendString(b, x.Device)
}

var removeDeviceKeys = msgpack.Declare("dev")

// Parse parses the body.
func (x *RemoveDeviceRequest) Parse(body []byte, newer bool) error {
	*x = RemoveDeviceRequest{}
	m := readBody(body, newer, removeDeviceKeys)
	for m.Next() {
		x.Device = readStr(&m, 8, MaxDeviceNameSize)
	}
	return bodyError(m.Err())
}

// A DeleteAccountRequest is DELETE_ACCOUNT's body. The password's length is the handler's to check.
type DeleteAccountRequest struct {
	Password string // `pass`
}

// Append appends the body.
func (x DeleteAccountRequest) Append(b []byte) []byte {
	b = msgp.AppendMapHeader(b, 1)
	b = msgp.AppendString(b, "pass")
	return msgp.AppendString(b, x.Password)
}

var deleteAccountKeys = msgpack.Declare("pass")

// Parse parses the body.
func (x *DeleteAccountRequest) Parse(body []byte, newer bool) error {
	*x = DeleteAccountRequest{}
	m := readBody(body, newer, deleteAccountKeys)
	for m.Next() {
		x.Password = m.Str(8)
	}
	return bodyError(m.Err())
}

// A SetKeyRequest is SET_KEY's body.
type SetKeyRequest struct {
	Key []byte // `key`: an OpenPGP certificate; nil on the wire, and here, for none; aliases the input
}

// Append appends the body.
func (x SetKeyRequest) Append(b []byte) []byte { return appendOptionalKey(b, x.Key) }

var setKeyKeys = msgpack.Declare("key")

// Parse parses the body. A key over its limit is an [*Error] with [ErrTooLarge].
func (x *SetKeyRequest) Parse(body []byte, newer bool) error {
	*x = SetKeyRequest{}
	m := readBody(body, newer, setKeyKeys)
	for m.Next() {
		if !m.Nil() {
			x.Key = m.Bin(16)
		}
	}
	if err := m.Err(); err != nil {
		return bodyError(err)
	}
	return checkTooLarge("key", len(x.Key), MaxKeySize)
}

// appendOptionalKey appends a map with a `key` that is nil for none.
func appendOptionalKey(b, key []byte) []byte {
	b = msgp.AppendMapHeader(b, 1)
	b = msgp.AppendString(b, "key")
	if key == nil {
		return msgp.AppendNil(b)
	}
	return msgp.AppendBytes(b, key)
}
