package main

import (
	"context"
	"errors"

	"github.com/tipt/tipt-go/client"
	"github.com/tipt/tipt-go/seal"
)

// lookAtSeal looks at a message before it is shown. It says why a signature does not count. Its error is
// that this device lacks the key that the message is sealed to: the message then waits for it, unless
// unopened ones are wanted.
func (i *invocation) lookAtSeal(ctx context.Context, c *client.Client, acc *account, m client.Message, unopened bool) error {
	i.warnUnsigned(m)
	lacking := errors.Is(m.SealError, client.ErrNoKey) || errors.Is(m.SealError, seal.ErrCannotOpen)
	if !lacking || unopened || acc.passing {
		return nil
	}
	return i.awaitKey(ctx, c, acc, m)
}
