package tipt

import "time"

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
	Message string        // `msg`, for people; may be empty
	Wait    time.Duration // `wait`, whole milliseconds on the wire; 0 is absent
}

// A ForwardError is the `err` of a CNNodeForwardResponse (section 5.3).
// errors.Is matches it by its code.
type ForwardError struct {
	Code    ForwardErrorCode
	Message string        // `msg`, for people; may be empty
	Wait    time.Duration // `wait`, whole milliseconds on the wire; 0 is absent
}
