package tipt

import (
	"slices"

	"github.com/tinylib/msgp/msgp"

	"github.com/tipt/tipt-go/internal/msgpack"
)

// A ForwardType is the `type` of a CNNodeForwardRequest: what a client asks
// of the destination node inside a sealed FORWARD (section 5.3).
type ForwardType uint8

const (
	ForwardMessage    ForwardType = 0x00 // MessageForward → nil
	ForwardGetUserKey ForwardType = 0x01 // GetUserKeyForward → UserKeyAnswer, sealed
)

// String is the type's name in the specification.
func (t ForwardType) String() string {
	switch t {
	case ForwardMessage:
		return "MESSAGE"
	case ForwardGetUserKey:
		return "GET_USER_KEY"
	}
	return hexEnum(uint8(t))
}

// A SealedRequest is a CNNodeForwardRequest, what FORWARD's `msg` holds once
// opened. Unknown keys are always skipped in it. Exactly the member that Type names is set.
type SealedRequest struct {
	Type       ForwardType
	Message    *MessageForward
	GetUserKey *GetUserKeyForward
}

// A MessageForward is the body of MESSAGE: a message for a user of the
// destination.
type MessageForward struct {
	To      string    // `to`: a user's name, not yet mapped
	ID      MessageID // `mid`
	Message []byte    // `msg`; at most MaxMessageSize; aliases the input
}

// A GetUserKeyForward is the body of GET_USER_KEY.
type GetUserKeyForward struct {
	User string            // `user`, not yet mapped
	Seal [SealKeySize]byte // `seal`: random, made for this request alone; the answer is sealed with it
}

// Append appends the request: the member that Type names, which must be set.
func (x SealedRequest) Append(b []byte) []byte {
	if x.Type == ForwardMessage {
		b = slices.Grow(b, 64+len(x.Message.To)+len(x.Message.Message))
	}
	b = msgp.AppendMapHeader(b, 2)
	b = msgp.AppendString(b, "type")
	b = msgp.AppendUint8(b, uint8(x.Type))
	b = msgp.AppendString(b, "body")
	if x.Type == ForwardGetUserKey {
		b = msgp.AppendMapHeader(b, 2)
		b = msgp.AppendString(b, "user")
		b = msgp.AppendString(b, x.GetUserKey.User)
		b = msgp.AppendString(b, "seal")
		return msgp.AppendBytes(b, x.GetUserKey.Seal[:])
	}
	b = msgp.AppendMapHeader(b, 3)
	b = msgp.AppendString(b, "to")
	b = msgp.AppendString(b, x.Message.To)
	b = msgp.AppendString(b, "mid")
	b = msgp.AppendBytes(b, x.Message.ID[:])
	b = msgp.AppendString(b, "msg")
	return msgp.AppendBytes(b, x.Message.Message)
}

var sealedKeys = msgpack.Declare("type", "body")

// Parse parses the request. The error is a [*MalformedError], or for an unknown type a
// [*ForwardError] with [ErrForwardUnsupported]. Where the body of a GET_USER_KEY is
// malformed but for its `seal`, GetUserKey is set nevertheless, to its Seal alone:
// the answer is to be sealed with it (section 5.3).
func (x *SealedRequest) Parse(b []byte) error {
	*x = SealedRequest{}
	var body []byte
	m := msgpack.ReadMap(b, 1, msgpack.Step, sealedKeys)
	for m.Next() {
		switch m.Key() {
		case "type":
			x.Type = ForwardType(m.Enum())
		case "body":
			body = m.Map()
		}
	}
	if err := m.Err(); err != nil {
		return malformed(err)
	}
	switch x.Type {
	case ForwardMessage:
		return x.parseMessage(body)
	case ForwardGetUserKey:
		return x.parseGetUserKey(body)
	}
	return &ForwardError{Code: ErrForwardUnsupported, Message: "type " + x.Type.String()}
}

var messageKeys = msgpack.Declare("to", "mid", "msg")

func (x *SealedRequest) parseMessage(body []byte) error {
	var f MessageForward
	m := msgpack.ReadMap(body, bodyDepth, msgpack.Step, messageKeys)
	for m.Next() {
		switch m.Key() {
		case "to":
			f.To = m.Str(8)
		case "mid":
			readExact(&m, f.ID[:])
		case "msg":
			f.Message = readBin(&m, 32, MaxMessageSize)
		}
	}
	if err := m.Err(); err != nil {
		return bodyError(err)
	}
	x.Message = &f
	return nil
}

var getUserKeyKeys = msgpack.Declare("user", "seal")

func (x *SealedRequest) parseGetUserKey(body []byte) error {
	var f GetUserKeyForward
	m := msgpack.ReadMap(body, bodyDepth, msgpack.Step, getUserKeyKeys)
	for m.Next() {
		switch m.Key() {
		case "user":
			f.User = m.Str(8)
		case "seal":
			readExact(&m, f.Seal[:])
		}
	}
	if err := m.Err(); err != nil {
		if seal, ok := readSeal(body); ok {
			x.GetUserKey = &GetUserKeyForward{Seal: seal}
		}
		return bodyError(err)
	}
	x.GetUserKey = &f
	return nil
}

var sealKeys = msgpack.Declare("seal")

// readSeal reads the `seal` of a GET_USER_KEY's body, whatever else is in it.
func readSeal(body []byte) (seal [SealKeySize]byte, ok bool) {
	m := msgpack.ReadMap(body, bodyDepth, msgpack.Step, sealKeys)
	for m.Next() {
		readExact(&m, seal[:])
	}
	return seal, m.Err() == nil
}

// A ForwardAnswer is a CNNodeForwardResponse: `err`, or `body` that is nil
// (MESSAGE) or a map (GET_USER_KEY).
type ForwardAnswer struct {
	Body []byte // one encoded map, or nil; aliases the input
	Err  *ForwardError
}

// Append appends the answer.
func (x ForwardAnswer) Append(b []byte) []byte {
	b = msgp.AppendMapHeader(b, 1)
	if x.Err != nil {
		b = msgp.AppendString(b, "err")
		return appendFailure(b, uint8(x.Err.Code), x.Err.Message, x.Err.Wait)
	}
	b = msgp.AppendString(b, "body")
	if x.Body == nil {
		return msgp.AppendNil(b)
	}
	return append(b, x.Body...)
}

var answerKeys = msgpack.Declare("body?", "err?")

// Parse parses an answer, in which unknown keys are always skipped. One with
// neither `body` nor `err` says the same as a nil `body` (section 5.5).
func (x *ForwardAnswer) Parse(b []byte) error {
	*x = ForwardAnswer{}
	var failure []byte
	m := msgpack.ReadMap(b, 1, msgpack.Step, answerKeys)
	for m.Next() {
		switch m.Key() {
		case "body":
			if !m.Nil() {
				x.Body = m.Map()
			}
		case "err":
			failure = m.Map()
		}
	}
	if err := m.Err(); err != nil {
		return malformed(err)
	}
	if failure == nil {
		return nil
	}
	if x.Body != nil {
		return &MalformedError{Key: "body", Found: "map beside err", Want: "nil or no such key"}
	}
	code, message, wait, err := readFailure(failure, msgpack.Step)
	if err != nil {
		return malformed(err)
	}
	x.Err = &ForwardError{Code: ForwardErrorCode(code), Message: message, Wait: wait}
	return nil
}

// A UserKeyAnswer is the `body` of GET_USER_KEY's answer.
type UserKeyAnswer struct {
	Key []byte // `key`: a certificate, nil where the user has none; aliases the input
}

// Append appends the body.
func (x UserKeyAnswer) Append(b []byte) []byte { return appendOptionalKey(b, x.Key) }

var userKeyKeys = msgpack.Declare("key")

// Parse parses the body. Unknown keys are always skipped in it.
func (x *UserKeyAnswer) Parse(body []byte) error {
	*x = UserKeyAnswer{}
	m := readBody(body, true, userKeyKeys)
	for m.Next() {
		if !m.Nil() {
			x.Key = readBin(&m, 16, MaxKeySize)
		}
	}
	return bodyError(m.Err())
}
