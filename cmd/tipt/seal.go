package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/client"
	"github.com/tipt/tipt-go/seal"
)

// lookAtSeal looks at a message before it is shown. It logs why a signature does not count. Its error is
// that this device lacks the key that the message is sealed to: the message then waits for it, unless
// unopened ones are wanted.
func (i *invocation) lookAtSeal(ctx context.Context, c *client.Client, acc *account, m client.Message, unopened bool) error {
	if m.SignError != nil {
		i.log.Warn("a signature does not count", "from", m.From, "error", m.SignError)
	}
	lacking := errors.Is(m.SealError, client.ErrNoKey) || errors.Is(m.SealError, seal.ErrCannotOpen)
	if !lacking || unopened || acc.passing {
		return nil
	}
	return i.awaitKey(ctx, c, acc, m)
}

// refuseUserKey is what becomes of a person's key that is another one than was kept, or is gone: nothing is
// sent on its word, and nothing passes for signed by it, until the person here accepts it.
func refuseUserKey(user tipt.Address, was, is string) error {
	now := "is " + is
	if is == "" {
		now = "there is none any more, so that nodes could read what you write"
	}
	return fmt.Errorf("%w: it was %s, and %s; somebody on the way may want to read along: ask %s, but not here, and if all is well, run `tipt key accept %[4]s`", client.ErrUserKeyChanged, was, now, user)
}
