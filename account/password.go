package account

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
)

// SetPassword replaces a user's password and voids the tokens of all the user's
// devices but keep (section 4, SET_PASSWORD). Closing the others' connections is left
// to the caller. From is where the request came from: a wrong old password counts
// like one of a SIGN_IN. Refusals, in this order: BUSY with a wait, CREDENTIALS,
// PASSWORD_INVALID.
func (a *Accounts) SetPassword(ctx context.Context, user store.UserID, keep string, req tipt.SetPasswordRequest, from netip.Addr) error {
	before, err := a.confirm(ctx, user, req.Old, from)
	if err != nil {
		return err
	}
	if err := checkPassword(req.New); err != nil {
		return err
	}
	hash, err := a.hasher.hash(ctx, req.New)
	if err != nil {
		return err
	}
	return a.replace(ctx, before, &store.SetPassword{User: user, Password: hash, Keep: keep})
}

// DeleteAccount removes an account with its mailbox and devices; the name stays
// taken (section 4, DELETE_ACCOUNT). Closing its connections is left to the caller.
// Refusals: BUSY with a wait, CREDENTIALS.
func (a *Accounts) DeleteAccount(ctx context.Context, user store.UserID, req tipt.DeleteAccountRequest, from netip.Addr) error {
	before, err := a.confirm(ctx, user, req.Password, from)
	if err != nil {
		return err
	}
	return a.replace(ctx, before, &store.DeleteUser{User: user})
}

// confirm checks the password of a signed-in user.
func (a *Accounts) confirm(ctx context.Context, id store.UserID, pass string, from netip.Addr) (store.User, error) {
	user, known, err := a.findByID(ctx, id)
	if err != nil {
		return store.User{}, err
	}
	return user, a.verifyPassword(ctx, user, known, string(user.Name), from, pass)
}

// replace commits op unless the password that allowed it is not the user's any more.
func (a *Accounts) replace(ctx context.Context, before store.User, op store.Op) error {
	unlock, err := a.lockForChange(ctx, before.ID)
	if err != nil {
		return err
	}
	defer unlock()
	user, known, err := a.findByID(ctx, before.ID)
	switch {
	case err != nil:
		return err
	case !known || user.Password != before.Password:
		return wrongCredentials()
	}
	if err := a.committer.Do(ctx, op); err != nil {
		return fmt.Errorf("change the account: %w", err)
	}
	return nil
}

// mustWait refuses with BUSY a password that would not be looked at now.
func (a *Accounts) mustWait(name string, from netip.Addr) error {
	if wait := a.throttle.wait(newThrottleKey(name, from)); wait > 0 {
		return throttled(wait)
	}
	return a.hasher.full()
}

// verifyPassword refuses with CREDENTIALS what is not the user's password, after
// exactly one evaluation of argon2id, and with BUSY, after none, when there
// are too many at once or were too many wrong ones for that name from there.
func (a *Accounts) verifyPassword(ctx context.Context, user store.User, known bool, name string, from netip.Addr, pass string) error {
	encoded := a.noPassword
	if known {
		encoded = user.Password
	}
	stored, err := parseHash(encoded)
	if err != nil {
		return fmt.Errorf("read the password of user %d: %w", user.ID, err)
	}
	counted := newThrottleKey(name, from)
	// Those that must wait anyway do not stand in line for a hash.
	if wait := a.throttle.wait(counted); wait > 0 {
		return throttled(wait)
	}
	release, err := a.hasher.acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	attempt, wait, err := a.throttle.begin(ctx, counted)
	switch {
	case err != nil:
		return fmt.Errorf("wait for another sign-in of that name: %w", err)
	case wait > 0:
		return throttled(wait)
	}
	if a.hasher.matches(stored, pass) {
		attempt.succeed()
		return nil
	}
	if failures := attempt.fail(); failures == freeFailures && known {
		a.log.Warn("wrong passwords, further ones must wait", "user", user.Name, "failures", failures)
	}
	return wrongCredentials()
}
