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
		return fmt.Sprintf("%s has no key any more, so nothing is sent there, where nodes could read it; ask why by another way than this, such as the telephone, then run `tipt key accept %[1]s`", e.user)
	}
	return fmt.Sprintf("%s has another key than the one kept here, so nothing is sent there; most likely it was made anew, but somebody may want to read along: ask by another way than this, such as the telephone, then run `tipt key accept %[1]s`", e.user)
}

// refuseUserKey makes each change a keyChange.
func refuseUserKey(user tipt.Address, _, is string) error {
	return &keyChange{user: user, gone: is == ""}
}

// A doubt is why a message does not count as signed: a code for programs, and words for people.
type doubt struct{ code, words string }

// doubtOf judges a message's SignError. It is empty where there is none.
func doubtOf(err error) doubt {
	change, changed := errors.AsType[*keyChange](err)
	unavailable, isUnavailable := errors.AsType[*client.UserKeyError](err)
	switch {
	case err == nil:
		return doubt{}
	case changed && change.gone:
		return doubt{"key-withdrawn", "signed with a key that its owner has withdrawn, or never had"}
	case changed:
		return doubt{"key-changed", "signed with another key than the one kept for the sender"}
	case isUnavailable:
		return doubt{"key-unavailable", fmt.Sprintf("signed with a key that is not known here and could not be had now: %v", unavailable.Err)}
	case errors.Is(err, seal.ErrUnsigned):
		return doubt{"missing", "not signed, though the sender has a key"}
	case errors.Is(err, seal.ErrNoSigningKey):
		return doubt{"other-key", "signed with another key than the sender's"}
	}
	return doubt{"invalid", strings.TrimPrefix(err.Error(), "seal: ")}
}

// warnUnsigned says why the signature of a message does not count, and what to do about that. That none came
// shows where the sender's name is.
func (i *invocation) warnUnsigned(m client.Message) {
	if m.SignError == nil || errors.Is(m.SignError, seal.ErrUnsigned) {
		return
	}
	text := fmt.Sprintf("what follows from %s does not count as signed: %s", sender(m), doubtOf(m.SignError).words)
	if change, ok := errors.AsType[*keyChange](m.SignError); ok {
		text = fmt.Sprintf("what follows may not be from %s: %v", sender(m), change)
	}
	i.log.Warn(text)
}
