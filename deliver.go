package tipt

import (
	"encoding/hex"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/tinylib/msgp/msgp"

	"github.com/tipt/tipt-go/internal/msgpack"
)

// A MessageID names a message: made by its sender, new for every message and
// every recipient (section 5.3). Version 7 UUIDs serve best.
type MessageID [MessageIDSize]byte

// NewMessageID makes a UUID of version 7.
func NewMessageID() MessageID { return MessageID(uuid.Must(uuid.NewV7())) }

// String is the id in lower-case hex.
func (id MessageID) String() string { return hex.EncodeToString(id[:]) }

// A DeliverRequest is DELIVER's body.
type DeliverRequest struct {
	ID      MessageID // `mid`: the sender's
	From    string    // `from`?: the address the sending node vouched for; empty when anonymous
	Time    time.Time // `time` when the recipient's node stored it, milliseconds on the wire
	Message []byte    // `msg`; at most MaxMessageSize; aliases the input
}

// Append appends the body.
func (x DeliverRequest) Append(b []byte) []byte {
	n := uint32(3)
	if x.From != "" {
		n++
	}
	b = slices.Grow(b, 64+len(x.From)+len(x.Message))
	b = msgp.AppendMapHeader(b, n)
	b = msgp.AppendString(b, "mid")
	b = msgp.AppendBytes(b, x.ID[:])
	if x.From != "" {
		b = msgp.AppendString(b, "from")
		b = msgp.AppendString(b, x.From)
	}
	b = msgp.AppendString(b, "time")
	b = appendTime(b, x.Time)
	b = msgp.AppendString(b, "msg")
	return msgp.AppendBytes(b, x.Message)
}

var deliverKeys = msgpack.Declare("mid", "from?", "time", "msg")

// Parse parses the body. A client has no TOO_LARGE to answer with: here a message
// over its limit is malformed like the rest.
func (x *DeliverRequest) Parse(body []byte, newer bool) error {
	*x = DeliverRequest{}
	m := readBody(body, newer, deliverKeys)
	for m.Next() {
		switch m.Key() {
		case "mid":
			readExact(&m, x.ID[:])
		case "from":
			x.From = readStr(&m, 16, MaxAddressSize)
		case "time":
			x.Time = readTime(&m)
		case "msg":
			x.Message = readBin(&m, 32, MaxMessageSize)
		}
	}
	return bodyError(m.Err())
}

// A ReturnRequest is RETURN's body: a message that could not be delivered.
// It has Response, or Code where HasCode is set.
type ReturnRequest struct {
	ID       MessageID  // `mid`: made by the node
	Ref      *MessageID // `ref`?: of the FORWARD
	Node     string     // `node`: the destination
	Time     time.Time  // `time` when stored, milliseconds on the wire
	Response []byte     // `resp`?: the destination's refusal, an encoded CNNodeForwardResponse; at most MaxReturnRespSize; aliases the input
	Code     ErrorCode  // `code`?
	HasCode  bool
}

// Append appends the body.
func (x ReturnRequest) Append(b []byte) []byte {
	n := uint32(4)
	if x.Ref != nil {
		n++
	}
	b = slices.Grow(b, 96+len(x.Node)+len(x.Response))
	b = msgp.AppendMapHeader(b, n)
	b = msgp.AppendString(b, "mid")
	b = msgp.AppendBytes(b, x.ID[:])
	if x.Ref != nil {
		b = msgp.AppendString(b, "ref")
		b = msgp.AppendBytes(b, x.Ref[:])
	}
	b = msgp.AppendString(b, "node")
	b = msgp.AppendString(b, x.Node)
	b = msgp.AppendString(b, "time")
	b = appendTime(b, x.Time)
	if x.HasCode {
		b = msgp.AppendString(b, "code")
		return msgp.AppendUint8(b, uint8(x.Code))
	}
	b = msgp.AppendString(b, "resp")
	return msgp.AppendBytes(b, x.Response)
}

var returnKeys = msgpack.Declare("mid", "ref?", "node", "time", "resp?", "code?")

// Parse parses the body.
func (x *ReturnRequest) Parse(body []byte, newer bool) error {
	*x = ReturnRequest{}
	var hasResponse bool
	m := readBody(body, newer, returnKeys)
	for m.Next() {
		switch m.Key() {
		case "mid":
			readExact(&m, x.ID[:])
		case "ref":
			x.Ref = readRef(&m)
		case "node":
			x.Node = readStr(&m, 8, MaxNodeNameSize)
		case "time":
			x.Time = readTime(&m)
		case "resp":
			x.Response, hasResponse = readBin(&m, 32, MaxReturnRespSize), true
		case "code":
			x.Code, x.HasCode = ErrorCode(m.Enum()), true
		}
	}
	if err := m.Err(); err != nil {
		return bodyError(err)
	}
	return bodyError(oneOf("resp", hasResponse, "code", x.HasCode))
}
