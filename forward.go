package tipt

import (
	"slices"

	"github.com/tinylib/msgp/msgp"

	"github.com/tipt/tipt-go/internal/msgpack"
)

// A ForwardRequest is FORWARD's body. Parse leaves Node as it came.
type ForwardRequest struct {
	Node   string     // `node`; at most MaxRawNodeSize, checked and mapped by the handler
	Wait   bool       // `wait`
	Sealed []byte     // `msg`; at most MaxSealedSize; aliases the input
	Ref    *MessageID // `ref`?
}

// Append appends the body.
func (x ForwardRequest) Append(b []byte) []byte {
	n := uint32(3)
	if x.Ref != nil {
		n++
	}
	b = slices.Grow(b, 48+len(x.Node)+len(x.Sealed))
	b = msgp.AppendMapHeader(b, n)
	b = msgp.AppendString(b, "node")
	b = msgp.AppendString(b, x.Node)
	b = msgp.AppendString(b, "wait")
	b = msgp.AppendBool(b, x.Wait)
	b = msgp.AppendString(b, "msg")
	b = msgp.AppendBytes(b, x.Sealed)
	if x.Ref != nil {
		b = msgp.AppendString(b, "ref")
		b = msgp.AppendBytes(b, x.Ref[:])
	}
	return b
}

var (
	forwardKeys      = msgpack.Declare("node", "wait", "msg", "ref?")
	forwardEventKeys = msgpack.Declare("node", "wait?", "msg", "ref?")
)

// Parse parses the body of a REQUEST. A message over its limit is an [*Error] with [ErrTooLarge].
func (x *ForwardRequest) Parse(body []byte, newer bool) error {
	return x.parse(body, newer, false)
}

// ParseEvent parses the body of an EVENT, whose `wait` is not looked at and
// may be missing (section 2): Wait is false.
func (x *ForwardRequest) ParseEvent(body []byte, newer bool) error {
	return x.parse(body, newer, true)
}

func (x *ForwardRequest) parse(body []byte, newer, event bool) error {
	*x = ForwardRequest{}
	keys := forwardKeys
	if event {
		keys = forwardEventKeys
	}
	m := readBody(body, newer, keys)
	for m.Next() {
		switch m.Key() {
		case "node":
			x.Node = m.Str(16)
		case "wait":
			if event {
				m.Any()
			} else {
				x.Wait = m.Bool()
			}
		case "msg":
			x.Sealed = m.Bin(32)
		case "ref":
			x.Ref = readRef(&m)
		}
	}
	if err := m.Err(); err != nil {
		return bodyError(err)
	}
	return checkTooLarge("msg", len(x.Sealed), MaxSealedSize)
}

// A ForwardResponse answers FORWARD with `wait` true; with `wait` false the
// answer is nil.
type ForwardResponse struct {
	Response []byte // `resp`: what the destination answered; at most MaxForwardRespSize; aliases the input
}

// Append appends the body.
func (x ForwardResponse) Append(b []byte) []byte {
	b = slices.Grow(b, 16+len(x.Response))
	b = msgp.AppendMapHeader(b, 1)
	b = msgp.AppendString(b, "resp")
	return msgp.AppendBytes(b, x.Response)
}

var forwardResponseKeys = msgpack.Declare("resp")

// Parse parses the body.
func (x *ForwardResponse) Parse(body []byte, newer bool) error {
	*x = ForwardResponse{}
	m := readBody(body, newer, forwardResponseKeys)
	for m.Next() {
		x.Response = readBin(&m, 32, MaxForwardRespSize)
	}
	return bodyError(m.Err())
}

// A GetNodeKeyRequest is GET_NODE_KEY's body. Parse leaves Node as it came.
type GetNodeKeyRequest struct {
	Node string // `node`; at most MaxRawNodeSize, checked and mapped by the handler
	New  bool   // `new`?: past the node's cache; left out when false
}

// Append appends the body.
func (x GetNodeKeyRequest) Append(b []byte) []byte {
	n := uint32(1)
	if x.New {
		n++
	}
	b = msgp.AppendMapHeader(b, n)
	b = msgp.AppendString(b, "node")
	b = msgp.AppendString(b, x.Node)
	if x.New {
		b = msgp.AppendString(b, "new")
		b = msgp.AppendBool(b, true)
	}
	return b
}

var getNodeKeyKeys = msgpack.Declare("node", "new?")

// Parse parses the body.
func (x *GetNodeKeyRequest) Parse(body []byte, newer bool) error {
	*x = GetNodeKeyRequest{}
	m := readBody(body, newer, getNodeKeyKeys)
	for m.Next() {
		switch m.Key() {
		case "node":
			x.Node = m.Str(16)
		case "new":
			x.New = m.Bool()
		}
	}
	return bodyError(m.Err())
}

// A GetNodeKeyResponse answers GET_NODE_KEY.
type GetNodeKeyResponse struct {
	Key []byte // `key`: an OpenPGP certificate, un-armored; aliases the input
}

// Append appends the body.
func (x GetNodeKeyResponse) Append(b []byte) []byte {
	b = msgp.AppendMapHeader(b, 1)
	b = msgp.AppendString(b, "key")
	return msgp.AppendBytes(b, x.Key)
}

var nodeKeyKeys = msgpack.Declare("key")

// Parse parses the body.
func (x *GetNodeKeyResponse) Parse(body []byte, newer bool) error {
	*x = GetNodeKeyResponse{}
	m := readBody(body, newer, nodeKeyKeys)
	for m.Next() {
		x.Key = readBin(&m, 16, MaxKeySize)
	}
	return bodyError(m.Err())
}
