package tipt

import (
	"slices"
	"time"

	"github.com/tinylib/msgp/msgp"

	"github.com/tipt/tipt-go/internal/msgpack"
)

// A ContentType is the `type` of what clients of this project put into a
// message (section 8). Nodes never look at it.
type ContentType uint8

const (
	ContentText   ContentType = 0x00 // Text
	ContentSealed ContentType = 0x01 // bin32: an OpenPGP message that holds another content
)

// String is the type's name in the specification.
func (t ContentType) String() string {
	switch t {
	case ContentText:
		return "TEXT"
	case ContentSealed:
		return "SEALED"
	}
	return hexEnum(uint8(t))
}

// A Content is a message between clients. Exactly the member that Type names
// is set.
type Content struct {
	Type   ContentType
	Text   *Text
	Sealed []byte // aliases the input
}

// A Text is the body of TEXT.
type Text struct {
	Text string    // `text`
	Time time.Time // `time`: the sender's clock, milliseconds on the wire
}

// Append appends the content: the member that Type names, which must be set.
func (x Content) Append(b []byte) []byte {
	b = slices.Grow(b, 64+len(x.Sealed))
	b = msgp.AppendMapHeader(b, 2)
	b = msgp.AppendString(b, "type")
	b = msgp.AppendUint8(b, uint8(x.Type))
	b = msgp.AppendString(b, "body")
	if x.Type == ContentSealed {
		return msgp.AppendBytes(b, x.Sealed)
	}
	b = slices.Grow(b, 32+len(x.Text.Text))
	b = msgp.AppendMapHeader(b, 2)
	b = msgp.AppendString(b, "text")
	b = msgp.AppendString(b, x.Text.Text)
	b = msgp.AppendString(b, "time")
	return appendTime(b, x.Text.Time)
}

var contentKeys = msgpack.Declare("type", "body")

// Parse parses a content, in which unknown keys are always skipped. What it
// refuses is still a message, to be kept and shown as what it is (section 8).
func (x *Content) Parse(b []byte) error {
	*x = Content{}
	var sealed bool
	var text []byte
	m := msgpack.ReadMap(b, 1, msgpack.Step, contentKeys)
	for m.Next() {
		switch m.Key() {
		case "type":
			x.Type = ContentType(m.Enum())
		case "body":
			// Its type hangs on `type`, which may come after it.
			if sealed = m.IsBin(); sealed {
				x.Sealed = m.Bin(32)
			} else {
				text = m.Map()
			}
		}
	}
	if err := m.Err(); err != nil {
		return malformed(err)
	}
	switch {
	case x.Type > ContentSealed:
		return &MalformedError{Key: "type", Found: x.Type.String(), Want: "TEXT or SEALED"}
	case x.Type == ContentText && sealed:
		return &MalformedError{Key: "body", Found: "bin", Want: "map in a TEXT"}
	case x.Type == ContentSealed && !sealed:
		return &MalformedError{Key: "body", Found: "map", Want: "bin up to 32-bit length in a SEALED"}
	case x.Type == ContentSealed:
		return nil
	}
	return x.parseText(text)
}

var textKeys = msgpack.Declare("text", "time")

func (x *Content) parseText(body []byte) error {
	var t Text
	m := msgpack.ReadMap(body, bodyDepth, msgpack.Step, textKeys)
	for m.Next() {
		switch m.Key() {
		case "text":
			t.Text = m.Str(32)
		case "time":
			t.Time = readTime(&m)
		}
	}
	if err := m.Err(); err != nil {
		return bodyError(err)
	}
	x.Text = &t
	return nil
}
