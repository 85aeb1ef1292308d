// Package account keeps the users of a node: their names, passwords, devices,
// tokens and certificates, and the invitations to register (docs/protocol.md,
// section 4). What a method answers is on the disk when it returns.
//
// Errors that have a code on the wire are a [*tipt.Error]; all others are faults of
// the node or of the context and wrap what was being done.
//
// # Credentials
//
// Passwords are kept as argon2id hashes, tokens and invitations as their
// SHA-256. A sign-in that fails takes the same steps whether the user exists or
// not: by password one hash, by token one look at the account and one at the device.
//
// A sign-in and what voids its credentials (SET_PASSWORD, REMOVE_DEVICE,
// DELETE_ACCOUNT, disabling) exclude each other per user: a token that an old
// password bought never outlives the password.
package account

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
)

// Options configure Accounts.
type Options struct {
	// Node is the name that users' addresses end with.
	Node tipt.NodeName
	// Registration says who may REGISTER. The zero value is open, as on the wire.
	Registration tipt.Registration
	// Hash is the cost of hashing a password. Hashes made at another cost go on serving.
	Hash HashCost
	// Evaluator computes the hashes. If nil, this process does.
	Evaluator Evaluator
	// MaxDevices is how many devices a user may have. If zero, [tipt.MaxDevices].
	MaxDevices int
	// NoLimits switches the waits after wrong passwords off, for tests and
	// benchmarks. The bound on passwords being hashed at once stays.
	NoLimits bool
	// Logger gets the log. If nil, [slog.Default].
	Logger *slog.Logger
}

// Accounts are the users of one node. Its methods may be called concurrently. It
// starts no goroutine.
type Accounts struct {
	store        store.Store
	committer    *store.Committer
	node         tipt.NodeName
	registration tipt.Registration
	maxDevices   int
	log          *slog.Logger

	hasher   *hasher
	throttle *throttle // nil with NoLimits
	locks    userLocks
	// changes counts what may have taken credentials' force away, by who holds the user's
	// lock. While it stays the same, SIGN_IN need not look at them twice.
	changes atomic.Uint64

	// What an unknown user's password and token are compared with.
	noPassword string
	noToken    []byte
}

// New returns the accounts in s, which writes through c.
func New(s store.Store, c *store.Committer, o Options) *Accounts {
	cost := o.Hash.orDefault()
	if o.Evaluator == nil {
		o.Evaluator = inProcess{}
	}
	if o.MaxDevices == 0 {
		o.MaxDevices = tipt.MaxDevices
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	a := &Accounts{
		store:        s,
		committer:    c,
		node:         o.Node,
		registration: o.Registration,
		maxDevices:   o.MaxDevices,
		log:          o.Logger,
		hasher:       newHasher(o.Evaluator, cost),
		noPassword:   unmatchable(cost).String(),
		noToken:      randomBytes(sha256.Size),
	}
	if !o.NoLimits {
		a.throttle = newThrottle(maxThrottled)
	}
	return a
}

// Lookup returns the account that a name means, which need not be in its
// mapped form. What is no name is NAME_INVALID; [store.ErrNotFound] is an
// account that does not exist or was deleted.
func (a *Accounts) Lookup(ctx context.Context, name string) (store.User, error) {
	mapped, err := tipt.ParseUserName(name)
	if err != nil {
		return store.User{}, err
	}
	user, known, err := a.find(ctx, mapped)
	if err == nil && !known {
		err = fmt.Errorf("user %s: %w", mapped, store.ErrNotFound)
	}
	return user, err
}

// find returns the account of that name. An account that does not exist or
// was deleted is the zero User, and known is false.
func (a *Accounts) find(ctx context.Context, name tipt.UserName) (user store.User, known bool, err error) {
	user, err = a.store.User(ctx, name)
	return living(user, err)
}

func (a *Accounts) findByID(ctx context.Context, id store.UserID) (user store.User, known bool, err error) {
	user, err = a.store.UserByID(ctx, id)
	return living(user, err)
}

func living(user store.User, err error) (store.User, bool, error) {
	switch {
	case errors.Is(err, store.ErrNotFound) || err == nil && user.Deleted:
		return store.User{}, false, nil
	case err != nil:
		return store.User{}, false, fmt.Errorf("read the account: %w", err)
	}
	return user, true, nil
}

// lockForChange locks a user for what takes credentials' force away.
func (a *Accounts) lockForChange(ctx context.Context, user store.UserID) (func(), error) {
	unlock, err := a.locks.lock(ctx, user)
	if err != nil {
		return nil, err
	}
	return func() {
		a.changes.Add(1)
		unlock()
	}, nil
}

// SetKey stores a user's certificate, which the caller has checked, or with nil
// removes it.
func (a *Accounts) SetKey(ctx context.Context, user store.UserID, key []byte) error {
	if err := a.committer.Do(ctx, &store.SetKey{User: user, Key: key}); err != nil {
		return fmt.Errorf("store the certificate: %w", err)
	}
	return nil
}

// List returns accounts by name, deleted ones too: those after the given
// name, at most limit.
func (a *Accounts) List(ctx context.Context, after tipt.UserName, limit int) ([]store.User, error) {
	users, err := a.store.Users(ctx, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	return users, nil
}

// SetDisabled locks the user that a name means out, or lets the user in again,
// and returns the account as it is now. Closing its connections is left to the
// caller. Its errors are those of Lookup.
func (a *Accounts) SetDisabled(ctx context.Context, name string, disabled bool) (store.User, error) {
	user, err := a.Lookup(ctx, name)
	if err != nil {
		return store.User{}, err
	}
	unlock, err := a.lockForChange(ctx, user.ID)
	if err != nil {
		return store.User{}, err
	}
	defer unlock()
	if err := a.committer.Do(ctx, &store.SetDisabled{User: user.ID, Disabled: disabled}); err != nil {
		return store.User{}, fmt.Errorf("disable or enable the account: %w", err)
	}
	user.Disabled = disabled
	return user, nil
}

// NewInvite makes an invitation, which serves for one REGISTER: 26 letters and
// digits, at least 128 bits of them random.
func (a *Accounts) NewInvite(ctx context.Context) (string, error) {
	invite := rand.Text()
	op := &store.AddInvite{Hash: sha256.Sum256([]byte(invite)), Time: time.Now()}
	if err := a.committer.Do(ctx, op); err != nil {
		return "", fmt.Errorf("store the invitation: %w", err)
	}
	return invite, nil
}

// Hashes returns how many times argon2id was evaluated so far.
func (a *Accounts) Hashes() int64 { return a.hasher.evaluated.Load() }

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}
