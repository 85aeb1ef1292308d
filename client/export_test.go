package client

import (
	"context"
	"time"

	"github.com/tipt/tipt-go"
)

// DialWithPauses is Dial with other pauses between attempts to connect than
// section 7 wants.
func DialWithPauses(ctx context.Context, node tipt.NodeName, o *Options, shortest, longest time.Duration) (*Client, error) {
	c, err := newClient(node, o)
	if err != nil {
		return nil, err
	}
	c.pause = backoff{min: shortest, max: longest}
	return c, c.start(ctx)
}
