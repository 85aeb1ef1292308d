package account

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
)

// Register makes an account (section 4, REGISTER). Refusals, in the order
// looked at: REGISTRATION_CLOSED, INVITE_INVALID, NAME_INVALID, PASSWORD_INVALID,
// NAME_TAKEN; besides them BUSY when too many passwords are being hashed.
// Only success uses an invitation, and only where one is needed.
func (a *Accounts) Register(ctx context.Context, req tipt.RegisterRequest) error {
	if a.registration == tipt.RegistrationClosed {
		return &tipt.Error{Code: tipt.ErrRegistrationClosed, Message: "this node takes no new users"}
	}
	invite, err := a.invite(ctx, req)
	if err != nil {
		return err
	}
	name, err := tipt.ParseUserName(req.User)
	if err != nil {
		return err
	}
	if err := checkPassword(req.Password); err != nil {
		return err
	}
	// Before the hash, which is dear; CreateUser decides.
	switch _, err := a.store.User(ctx, name); {
	case err == nil:
		return nameTaken(name)
	case !errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("look whether the name is taken: %w", err)
	}
	hash, err := a.hasher.hash(ctx, req.Password)
	if err != nil {
		return err
	}
	op := &store.CreateUser{Name: name, Password: hash, Invite: invite, Time: time.Now()}
	if err := a.committer.Do(ctx, op); err != nil {
		return fmt.Errorf("create the account: %w", err)
	}
	switch {
	case op.InviteInvalid:
		return inviteInvalid()
	case op.NameTaken:
		return nameTaken(name)
	}
	return nil
}

// invite returns the hash of the invitation to use up, nil where none is needed.
func (a *Accounts) invite(ctx context.Context, req tipt.RegisterRequest) (*[sha256.Size]byte, error) {
	if req.HasInvite && (req.Invite == "" || len(req.Invite) > tipt.MaxInviteSize) {
		return nil, inviteInvalid()
	}
	if a.registration != tipt.RegistrationInvite {
		return nil, nil
	}
	if !req.HasInvite {
		return nil, inviteInvalid()
	}
	hash := sha256.Sum256([]byte(req.Invite))
	switch err := a.store.Invite(ctx, hash); {
	case errors.Is(err, store.ErrNotFound):
		return nil, inviteInvalid()
	case err != nil:
		return nil, fmt.Errorf("look up the invitation: %w", err)
	}
	return &hash, nil
}

func checkPassword(pass string) error {
	if len(pass) < tipt.MinPasswordSize || len(pass) > tipt.MaxPasswordSize {
		return &tipt.Error{
			Code:    tipt.ErrPasswordInvalid,
			Message: fmt.Sprintf("a password has %d to %d bytes", tipt.MinPasswordSize, tipt.MaxPasswordSize),
		}
	}
	return nil
}

func inviteInvalid() error {
	return &tipt.Error{Code: tipt.ErrInviteInvalid, Message: "registering takes an unused invitation"}
}

func nameTaken(name tipt.UserName) error {
	return &tipt.Error{Code: tipt.ErrNameTaken, Message: fmt.Sprintf("the name %s is taken", name)}
}
