package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/client"
	"github.com/tipt/tipt-go/seal"
)

// A keyChange is why nothing is sent to a person and nothing passes for signed by them: their key is another one than
// was kept, or is gone, and the person here has not accepted that.
type keyChange struct {
	user tipt.Address
	gone bool
}

func (e *keyChange) Unwrap() error { return client.ErrUserKeyChanged }

func (e *keyChange) Error() string {
	if e.gone {
		return fmt.Sprintf("%s has no key any more, so nothing is sent there, where nodes could read it; %s", e.user, e.remedy())
	}
	return fmt.Sprintf("%s has a new key, or somebody wants to read along, so nothing is sent there; %s", e.user, e.remedy())
}

// about says what it means for a message.
func (e *keyChange) about() string {
	if e.gone {
		return fmt.Sprintf("%s has no key any more, or what follows, with a signature, is from somebody else; %s", e.user, e.remedy())
	}
	return fmt.Sprintf("%s has a new key, or what follows is from somebody else; %s", e.user, e.remedy())
}

func (e *keyChange) remedy() string {
	return fmt.Sprintf("ask by another way than this, such as the telephone, then run `tipt key accept %s`", e.user)
}

// refuseUserKey makes each change a keyChange.
func refuseUserKey(user tipt.Address, _, is string) error {
	return &keyChange{user: user, gone: is == ""}
}

// A flaw is why a message is not opened, or does not count as signed: a code for programs, and words for people.
type flaw struct{ code, words string }

// unopened is the flaw in a message's SealError. It is empty where there is none.
func unopened(err error) flaw {
	switch {
	case err == nil:
		return flaw{}
	case errors.Is(err, client.ErrNoKey):
		return flaw{"no-key", err.Error()}
	case errors.Is(err, seal.ErrCannotOpen):
		return flaw{"other-key", "sealed to a key that is not on this device"}
	}
	return flaw{"invalid", strings.TrimPrefix(err.Error(), "seal: ")}
}

// unsigned is the flaw in a message's SignError. It is empty where there is none.
func unsigned(err error) flaw {
	change, changed := errors.AsType[*keyChange](err)
	unavailable, isUnavailable := errors.AsType[*client.UserKeyError](err)
	switch {
	case err == nil:
		return flaw{}
	case changed && change.gone:
		return flaw{"key-withdrawn", "signed with a key that its owner has withdrawn, or never had"}
	case changed:
		return flaw{"key-changed", "signed with another key than the one kept for the sender"}
	case isUnavailable:
		return flaw{"key-unavailable", fmt.Sprintf("signed with a key that is not known here and could not be had now: %v", unavailable.Err)}
	case errors.Is(err, seal.ErrUnsigned):
		return flaw{"missing", "not signed, though the sender has a key"}
	case errors.Is(err, seal.ErrNoSigningKey):
		return flaw{"other-key", "signed with another key than the sender's"}
	}
	return flaw{"invalid", strings.TrimPrefix(err.Error(), "seal: ")}
}

// warnUnsigned says why the signature of a message does not count, and what to do about that. That none came
// shows where the sender's name is.
func (i *invocation) warnUnsigned(m client.Message) {
	if m.SignError == nil || errors.Is(m.SignError, seal.ErrUnsigned) {
		return
	}
	text := fmt.Sprintf("what follows from %s does not count as signed: %s", sender(m), unsigned(m.SignError).words)
	if change, ok := errors.AsType[*keyChange](m.SignError); ok {
		text = change.about()
	}
	_ = i.status.say(text) // the message itself is more than why it is not signed
}
