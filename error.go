package tipt

import (
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"

	"github.com/tipt/tipt-go/internal/msgpack"
)

// An ErrorCode is the `code` of an `err` in a response: a
// CNNodeResponseError or a CNClientResponseError (section 6; their numbers
// do not collide). It is an error itself, so errors.Is(err, ErrBusy) works on
// whatever wraps it.
type ErrorCode uint8

const (
	ErrInternal          ErrorCode = 0x00 // something failed that is not the peer's fault
	ErrMalformed         ErrorCode = 0x01 // the packet or its body breaks the rules of section 2 or 4
	ErrUnsupported       ErrorCode = 0x02 // unknown or reserved request type
	ErrHandshakeRequired ErrorCode = 0x03 // HANDSHAKE comes first
	ErrHandshakeDone     ErrorCode = 0x04 // HANDSHAKE comes once
	ErrVersion           ErrorCode = 0x05 // `ver` differs from the HANDSHAKE's
	ErrSignInRequired    ErrorCode = 0x06 // only after SIGN_IN
	ErrSignedIn          ErrorCode = 0x07 // only before SIGN_IN
	ErrBusy              ErrorCode = 0x08 // rate or load; `wait` says when to retry
	ErrTooLarge          ErrorCode = 0x09 // `msg` or `key` over its limit

	ErrNameTaken          ErrorCode = 0x10 // REGISTER
	ErrNameInvalid        ErrorCode = 0x11 // REGISTER, section 4 Names
	ErrPasswordInvalid    ErrorCode = 0x12 // REGISTER, SET_PASSWORD: 8 to 255 bytes
	ErrRegistrationClosed ErrorCode = 0x13 // REGISTER
	ErrInviteInvalid      ErrorCode = 0x14 // REGISTER

	ErrCredentials ErrorCode = 0x18 // unknown user, wrong password or wrong token
	ErrDisabled    ErrorCode = 0x19 // right credentials of a disabled account

	ErrNodeInvalid     ErrorCode = 0x20 // not a node's name
	ErrNodeUnreachable ErrorCode = 0x21 // nothing was delivered
	ErrNodeTimeout     ErrorCode = 0x22 // outcome unknown; retry with the same `mid`
	ErrNodeRefused     ErrorCode = 0x23 // the destination, or this node's operator, refused
	ErrOutboxFull      ErrorCode = 0x24 // too much of this user waits to be forwarded

	ErrRejected ErrorCode = 0x30 // a client does not want this DELIVER
)

// A ForwardErrorCode is the `code` of an `err` in a destination's answer
// (CNNodeForwardError, section 6). Like [ErrorCode] it is an error itself.
type ForwardErrorCode uint8

const (
	ErrForwardMalformed   ForwardErrorCode = 0x01 // the sealed request breaks the rules of section 5.3
	ErrForwardUnsupported ForwardErrorCode = 0x02 // unknown type of sealed request
	ErrNoSuchUser         ForwardErrorCode = 0x30 // no such user on that node
	ErrMailboxFull        ForwardErrorCode = 0x31 // the recipient's mailbox has no room
	ErrCannotOpen         ForwardErrorCode = 0x34 // fetch the node's key anew and seal again
)

// An Error is the `err` of a failed response (section 6). errors.Is matches
// it by its code.
type Error struct {
	Code    ErrorCode
	Message string        // `msg`, for people; may be empty, and is cut to MaxErrorTextSize
	Wait    time.Duration // `wait`, whole milliseconds on the wire; 0 is absent
}

// A ForwardError is the `err` of a CNNodeForwardResponse (section 5.3).
// errors.Is matches it by its code.
type ForwardError struct {
	Code    ForwardErrorCode
	Message string        // `msg`, for people; may be empty, and is cut to MaxErrorTextSize
	Wait    time.Duration // `wait`, whole milliseconds on the wire; 0 is absent
}

// A MalformedError says which rule of section 2 or 4 a packet or a body breaks.
type MalformedError struct {
	Key   string // a path such as "body.msg"; empty: the value as a whole
	Found string
	Want  string
	// Readable is set by ParsePacket: id and type could be read nevertheless
	// (section 3.1).
	Readable bool
}

// Error is such as `body.user: found uint 16, want str up to 8-bit length`.
func (e *MalformedError) Error() string {
	key := e.Key
	if key == "" {
		key = "root"
	}
	return key + ": found " + e.Found + ", want " + e.Want
}

// Is reports whether target is what a response calls it: [ErrMalformed] or
// [ErrForwardMalformed].
func (e *MalformedError) Is(target error) bool {
	return target == ErrMalformed || target == ErrForwardMalformed
}

// Error is the code's name and text, or instead of the latter the message that came with it.
func (e *Error) Error() string { return errorText(e.Code, e.Message, e.Wait) }

// Is reports whether target is e's code.
func (e *Error) Is(target error) bool { return target == e.Code }

// Error is the code's name and text, or instead of the latter the message that came with it.
func (e *ForwardError) Error() string { return errorText(e.Code, e.Message, e.Wait) }

// Is reports whether target is e's code.
func (e *ForwardError) Is(target error) bool { return target == e.Code }

func errorText(code interface {
	error
	String() string
}, message string, wait time.Duration,
) string {
	s := code.Error()
	if message != "" {
		s = code.String() + ": " + message
	}
	if wait > 0 {
		s += " (retry in " + wait.String() + ")"
	}
	return s
}

// String is the code's name in the specification.
func (c ErrorCode) String() string {
	name, _ := c.text()
	return name
}

// Error is the code's name and a sentence for people.
func (c ErrorCode) Error() string {
	name, text := c.text()
	return name + ": " + text
}

func (c ErrorCode) text() (name, text string) {
	switch c {
	case ErrInternal:
		return "INTERNAL", "something failed on the other side"
	case ErrMalformed:
		return "MALFORMED", "the request does not have the form it must have"
	case ErrUnsupported:
		return "UNSUPPORTED", "no such request is known"
	case ErrHandshakeRequired:
		return "HANDSHAKE_REQUIRED", "HANDSHAKE must come first"
	case ErrHandshakeDone:
		return "HANDSHAKE_DONE", "HANDSHAKE was already done"
	case ErrVersion:
		return "VERSION", "the version differs from that of the HANDSHAKE"
	case ErrSignInRequired:
		return "SIGN_IN_REQUIRED", "only a signed-in user may ask this"
	case ErrSignedIn:
		return "SIGNED_IN", "the connection has already signed in"
	case ErrBusy:
		return "BUSY", "too much is being asked at the moment"
	case ErrTooLarge:
		return "TOO_LARGE", "the message or key is too large"
	case ErrNameTaken:
		return "NAME_TAKEN", "the name belongs to somebody else"
	case ErrNameInvalid:
		return "NAME_INVALID", "this cannot be a user's name"
	case ErrPasswordInvalid:
		return "PASSWORD_INVALID", "a password has 8 to 255 bytes"
	case ErrRegistrationClosed:
		return "REGISTRATION_CLOSED", "this node takes no new users"
	case ErrInviteInvalid:
		return "INVITE_INVALID", "the invitation is missing, unknown or used"
	case ErrCredentials:
		return "CREDENTIALS", "unknown user, or wrong password or token"
	case ErrDisabled:
		return "DISABLED", "the account is disabled"
	case ErrNodeInvalid:
		return "NODE_INVALID", "this cannot be a node's name"
	case ErrNodeUnreachable:
		return "NODE_UNREACHABLE", "the node cannot be reached, nothing was delivered"
	case ErrNodeTimeout:
		return "NODE_TIMEOUT", "the node did not answer, the outcome is unknown"
	case ErrNodeRefused:
		return "NODE_REFUSED", "the node refused"
	case ErrOutboxFull:
		return "OUTBOX_FULL", "too many messages are still to be forwarded"
	case ErrRejected:
		return "REJECTED", "the client does not want this message"
	}
	return hexEnum(uint8(c)), "unknown error"
}

// String is the code's name in the specification.
func (c ForwardErrorCode) String() string {
	name, _ := c.text()
	return name
}

// Error is the code's name and a sentence for people.
func (c ForwardErrorCode) Error() string {
	name, text := c.text()
	return name + ": " + text
}

func (c ForwardErrorCode) text() (name, text string) {
	switch c {
	case ErrForwardMalformed:
		return "MALFORMED", "the sealed request does not have the form it must have"
	case ErrForwardUnsupported:
		return "UNSUPPORTED", "no such sealed request is known"
	case ErrNoSuchUser:
		return "NO_SUCH_USER", "the node has no user of this name"
	case ErrMailboxFull:
		return "MAILBOX_FULL", "the recipient's mailbox is full"
	case ErrCannotOpen:
		return "CANNOT_OPEN", "the node's key has changed, seal the request anew"
	}
	return hexEnum(uint8(c)), "unknown error"
}

// parseFailure parses an `err` map.
func parseFailure(b []byte, newer bool) (*Error, *msgpack.Error) {
	code, message, wait, err := readFailure(b, msgpack.Unknown(newer))
	if err != nil {
		return nil, err
	}
	return &Error{Code: ErrorCode(code), Message: message, Wait: wait}, nil
}

var failureKeys = msgpack.Declare("code", "msg?", "wait?")

func readFailure(b []byte, unknown msgpack.Unknown) (code uint8, message string, wait time.Duration, err *msgpack.Error) {
	m := msgpack.ReadMap(b, 2, unknown, failureKeys)
	for m.Next() {
		switch m.Key() {
		case "code":
			code = m.Enum()
		case "msg":
			message = m.Str(8)
		case "wait":
			wait = time.Duration(m.Uint(32)) * time.Millisecond
		}
	}
	if err := m.Err(); err != nil {
		return 0, "", 0, err.At("err")
	}
	return code, message, wait, nil
}

// appendFailure appends an `err` map. A wait is rounded up to a millisecond, so that
// nobody comes back too early.
func appendFailure(b []byte, code uint8, message string, wait time.Duration) []byte {
	message = cutText(message, MaxErrorTextSize)
	n := uint32(1)
	if message != "" {
		n++
	}
	if wait > 0 {
		n++
	}
	b = msgp.AppendMapHeader(b, n)
	b = msgp.AppendString(b, "code")
	b = msgp.AppendUint8(b, code)
	if message != "" {
		b = msgp.AppendString(b, "msg")
		b = msgp.AppendString(b, message)
	}
	if wait > 0 {
		b = msgp.AppendString(b, "wait")
		b = msgp.AppendUint64(b, units(wait, time.Millisecond, math.MaxUint32))
	}
	return b
}

// units is d in whole units, rounded up, 0 to limit.
func units(d, unit time.Duration, limit uint64) uint64 {
	if d <= 0 {
		return 0
	}
	n := uint64(d / unit)
	if d%unit != 0 {
		n++
	}
	return min(n, limit)
}

// cutText is s in UTF-8 and at most size bytes, cut between characters.
func cutText(s string, size int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= size {
		return s
	}
	for size > 0 && !utf8.RuneStart(s[size]) {
		size--
	}
	return s[:size]
}
