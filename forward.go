package tipt

// A ForwardType is the `type` of a CNNodeForwardRequest: what a client asks
// of the destination node inside a sealed FORWARD (section 5.3).
type ForwardType uint8

const (
	ForwardMessage    ForwardType = 0x00 // MessageForward → nil
	ForwardGetUserKey ForwardType = 0x01 // GetUserKeyForward → UserKeyAnswer, sealed
)

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
	Message []byte    // `msg`; at most MaxMessageSize
}

// A GetUserKeyForward is the body of GET_USER_KEY.
type GetUserKeyForward struct {
	User string            // `user`, not yet mapped
	Seal [SealKeySize]byte // `seal`: random, made for this request alone; the answer is sealed with it
}

// A ForwardAnswer is a CNNodeForwardResponse: `err`, or `body` that is nil
// (MESSAGE) or a map (GET_USER_KEY).
type ForwardAnswer struct {
	Body []byte // one encoded map, or nil
	Err  *ForwardError
}

// A UserKeyAnswer is the `body` of GET_USER_KEY's answer.
type UserKeyAnswer struct {
	Key []byte // `key`: a certificate, nil where the user has none
}
