package client

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/link"
)

var (
	// ErrClosed is returned by calls on a Client after its Close.
	ErrClosed = errors.New("client closed")
	// ErrReplaced ends a Client: its device signed in on a newer connection (4001).
	ErrReplaced = errors.New("this device has signed in on another connection")
	// ErrSignedOut ends a Client: the device was removed, its password changed
	// elsewhere, or the account is gone or disabled (4002).
	ErrSignedOut = errors.New("this device has been signed out")
	// ErrIncompatible ends a Client: the node speaks an older protocol.
	ErrIncompatible = errors.New("the node speaks an older version of the protocol than " + tipt.Version)
	// ErrUnknownOutcome is returned when the connection was lost before the answer
	// to a request that must not be repeated blindly.
	ErrUnknownOutcome = errors.New("connection lost before the answer, the outcome is unknown")
	// ErrReject is for a Receive handler to return, wrapped or not: it refuses a
	// message for good, which is then not handed over again.
	ErrReject = errors.New("message rejected")
	// ErrNoKey is the SealError of a message that came sealed while Options.Key is not set.
	ErrNoKey = errors.New("sealed end to end, and there is no key here to open it with")
	// ErrNotSealed is returned by Send for a text that nobody else is to read, where nodes could.
	ErrNotSealed = errors.New("the recipient has no key, so nodes could read it")
	// ErrUserKeyChanged is returned where a user's primary key is another one than was kept, or gone, and
	// nobody has accepted that (Options.UserKeyChanged).
	ErrUserKeyChanged = errors.New("the key has changed")
)

// A KeyError is why the user's node did not hand out another node's key, without which nothing
// can be sealed to that node: nothing was sent to it.
type KeyError struct {
	Node tipt.NodeName
	Err  error
}

func (e *KeyError) Error() string { return fmt.Sprintf("get the key of %s: %v", e.Node, e.Err) }

func (e *KeyError) Unwrap() error { return e.Err }

// A UserKeyError is why another user's certificate could not be had, without which nothing can be sealed to that
// user and no signature of theirs counts: nothing was sent.
type UserKeyError struct {
	User tipt.Address
	Err  error
}

func (e *UserKeyError) Error() string {
	return fmt.Sprintf("get the certificate of %s: %v", e.User, e.Err)
}

func (e *UserKeyError) Unwrap() error { return e.Err }

// An UnavailableError is a node's refusal of a connection: it is overloaded or in
// maintenance (503), or something failed there (500).
type UnavailableError struct {
	Status     int           // of HTTP
	RetryAfter time.Duration // when to try again; 0 when the node did not say
}

func (e *UnavailableError) Error() string {
	why := "something fails there"
	if e.Status == http.StatusServiceUnavailable {
		why = "it is overloaded or in maintenance"
	}
	s := fmt.Sprintf("the node takes no connections now: %s (HTTP status %d)", why, e.Status)
	if e.RetryAfter > 0 {
		s += fmt.Sprintf(", try again in %v", e.RetryAfter)
	}
	return s
}

// fatal returns the error that ends the client when a connection ended, or
// could not be made, with err; nil when it is to be tried again.
func fatal(err error) error {
	var closed *link.CloseError
	if errors.As(err, &closed) && !closed.Local {
		switch closed.Code {
		case tipt.CloseReplaced:
			return ErrReplaced
		case tipt.CloseSignedOut:
			return ErrSignedOut
		}
	}
	if errors.Is(err, ErrIncompatible) || errors.Is(err, tipt.ErrCredentials) || errors.Is(err, tipt.ErrDisabled) {
		return err
	}
	return nil
}

// suspect says whether a connection ended in a way that a request under way
// may have caused (section 7).
func suspect(err error) bool {
	var closed *link.CloseError
	return errors.As(err, &closed) && (closed.Code == tipt.CloseProtocol || closed.Code == tipt.CloseTooLarge)
}

// waitOf is how long the node asked to be left alone when it refused.
func waitOf(err error) time.Duration {
	var unavailable *UnavailableError
	if errors.As(err, &unavailable) {
		return unavailable.RetryAfter
	}
	var refusal *tipt.Error
	if errors.As(err, &refusal) {
		return refusal.Wait
	}
	return 0
}
