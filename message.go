package tipt

import "time"

// A ContentType is the `type` of what clients of this project put into a
// message (section 8). Nodes never look at it.
type ContentType uint8

const (
	ContentText   ContentType = 0x00 // Text
	ContentSealed ContentType = 0x01 // bin32: an OpenPGP message that holds another content
)

// A Content is a message between clients. Exactly the member that Type names
// is set.
type Content struct {
	Type   ContentType
	Text   *Text
	Sealed []byte
}

// A Text is the body of TEXT.
type Text struct {
	Text string    // `text`
	Time time.Time // `time`: the sender's clock, milliseconds on the wire
}
