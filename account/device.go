package account

import (
	"context"
	"fmt"
	"time"

	"github.com/tipt/tipt-go/store"
)

// Devices lists a user's devices by name.
func (a *Accounts) Devices(ctx context.Context, user store.UserID) ([]store.Device, error) {
	devices, err := a.store.Devices(ctx, user)
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	return devices, nil
}

// RemoveDevice voids a device's token and drops its place. An unknown one is no
// error (section 4, REMOVE_DEVICE). Closing its connections is left to the caller.
func (a *Accounts) RemoveDevice(ctx context.Context, user store.UserID, device string) error {
	unlock, err := a.lockForChange(ctx, user)
	if err != nil {
		return err
	}
	defer unlock()
	if err := a.committer.Do(ctx, &store.RemoveDevice{User: user, Device: device}); err != nil {
		return fmt.Errorf("remove the device: %w", err)
	}
	return nil
}

// See notes that a device was connected until now. SIGN_IN notes its beginning. It waits, as long as ctx
// lasts, for room in the committer's queue alone; when it returns nil, done is called once, on the
// committer's goroutine, with what became of the note.
func (a *Accounts) See(ctx context.Context, user store.UserID, device string, done func(error)) error {
	if err := a.committer.Submit(ctx, done, &store.SeeDevice{User: user, Device: device, Time: time.Now()}); err != nil {
		return fmt.Errorf("note when the device was seen: %w", err)
	}
	return nil
}
