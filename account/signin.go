package account

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
)

// SignedIn is what a SIGN_IN that succeeded gives.
type SignedIn struct {
	User       store.UserID
	Name       tipt.UserName
	Address    string // `addr`: Name at the node
	Device     string
	ByPassword bool
	Token      []byte   // `tok`: nil where none was issued
	Place      int64    // Seq of the last message the device took, where `recv` is true
	Dropped    []string // devices dropped in favour of a new one; their connections are to be closed with 4002
}

// SignIn checks the credentials of a SIGN_IN and makes or renews its device
// (section 4). Lengths of user, password and token are judged here, that of the
// device is the parser's.
//
// The peer's address serves to count wrong passwords alone. Enter is called
// with what is known by then once the credentials are right: it lets the connection in or
// refuses it, and returns the user's devices that are connected, the one longest signed in
// first. Until SignIn returns, whatever could take the credentials' force away waits, and so
// do the user's other sign-ins; it must not block. When SignIn fails after that,
// the connection is to be taken out again.
//
// Refusals: Enter's; CREDENTIALS; DISABLED, for right credentials only; and, by password,
// BUSY with a wait when too many passwords are being hashed or were wrong. By password
// each refusal but BUSY has evaluated argon2id once; by token none has.
func (a *Accounts) SignIn(ctx context.Context, req tipt.SignInRequest, from netip.Addr, enter func(SignedIn) (online []string, err error)) (SignedIn, error) {
	changes := a.changes.Load()
	name, err := tipt.ParseUserName(req.User)
	if err != nil {
		name = "" // nobody's
	}
	counted := string(name)
	if counted == "" {
		counted = req.User
	}
	if !req.HasToken {
		// Of those who are refused in any case not even the account is looked up.
		if err := a.mustWait(counted, from); err != nil {
			return SignedIn{}, err
		}
	}
	user, known, err := a.find(ctx, name)
	if err != nil {
		return SignedIn{}, err
	}
	if req.HasToken {
		err = a.verifyToken(ctx, user, req)
	} else {
		err = a.verifyPassword(ctx, user, known, counted, from, req.Password)
	}
	if err != nil {
		return SignedIn{}, err
	}

	unlock, err := a.locks.lock(ctx, user.ID)
	if err != nil {
		return SignedIn{}, err
	}
	defer unlock()
	if a.changes.Load() != changes {
		err = a.unchanged(ctx, user, req)
	} else if user.Disabled {
		err = disabled()
	}
	if err != nil {
		return SignedIn{}, err
	}
	in := SignedIn{
		User:       user.ID,
		Name:       user.Name,
		Address:    tipt.Address{User: user.Name, Node: a.node}.String(),
		Device:     req.Device,
		ByPassword: !req.HasToken,
	}
	online, err := enter(in)
	if err != nil {
		return SignedIn{}, err
	}
	op := &store.SignIn{
		User:       user.ID,
		Device:     req.Device,
		IfNone:     !req.Receive,
		Receive:    req.Receive,
		Time:       time.Now(),
		Online:     online,
		MaxDevices: a.maxDevices,
	}
	var token []byte
	if !req.HasToken {
		token = randomBytes(tipt.TokenSize)
		hash := sha256.Sum256(token)
		op.TokenHash = hash[:]
	}
	err = a.committer.Do(ctx, op)
	if err != nil || op.TokenSet { // so that the device's older token is void, and what else it dropped
		a.changes.Add(1)
	}
	if err != nil {
		return SignedIn{}, fmt.Errorf("sign the device in: %w", err)
	}
	if op.NoUser {
		return SignedIn{}, wrongCredentials()
	}
	if op.TokenSet {
		in.Token = token
	}
	in.Place, in.Dropped = op.Place, op.Dropped
	return in, nil
}

// unchanged looks, with the user's lock held, whether credentials that were
// right before are right still.
func (a *Accounts) unchanged(ctx context.Context, before store.User, req tipt.SignInRequest) error {
	user, known, err := a.findByID(ctx, before.ID)
	switch {
	case err != nil:
		return err
	case !known:
		return wrongCredentials()
	case req.HasToken:
		if err := a.verifyToken(ctx, user, req); err != nil {
			return err
		}
	case user.Password != before.Password:
		return wrongCredentials()
	}
	if user.Disabled {
		return disabled()
	}
	return nil
}

// verifyToken refuses with CREDENTIALS what is not the token of the device. User
// is the zero User for an unknown one.
func (a *Accounts) verifyToken(ctx context.Context, user store.User, req tipt.SignInRequest) error {
	device, err := a.store.Device(ctx, user.ID, req.Device)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("read the device: %w", err)
	}
	// A device without a token, or none, is compared all the same.
	want := a.noToken
	if len(device.TokenHash) != 0 {
		want = device.TokenHash
	}
	got := sha256.Sum256(req.Token)
	if subtle.ConstantTimeCompare(got[:], want) != 1 {
		return wrongCredentials()
	}
	return nil
}

func wrongCredentials() error {
	return &tipt.Error{Code: tipt.ErrCredentials, Message: "unknown user, wrong password or wrong token"}
}

func disabled() error {
	return &tipt.Error{Code: tipt.ErrDisabled, Message: "this account is disabled"}
}
