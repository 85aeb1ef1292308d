package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/link"
)

// errLostBefore is wrapped by call's error when the node refused a request that had been lost with a
// connection before: it may have been carried out then.
var errLostBefore = errors.New("refused after a connection was lost on which it may have been done")

// call makes a request of the node until it is answered: again after BUSY, and
// again on the next connection when one is lost. For requests that may be carried out twice.
func (c *Client) call(ctx context.Context, code tipt.NodeRequest, body []byte) (tipt.Packet, error) {
	return c.callWith(ctx, code, func(*session) ([]byte, error) { return body, nil })
}

// callWith is call with a body that is made anew for each connection.
func (c *Client) callWith(ctx context.Context, code tipt.NodeRequest, bodyFor func(*session) ([]byte, error)) (tipt.Packet, error) {
	busy := backoff{min: time.Second, max: time.Minute}
	suspicions := 0
	lost := false
	var s *session
	var body []byte
	var madeFor *session
	for {
		var err error
		if s, err = c.use(ctx, s); err != nil {
			return tipt.Packet{}, err
		}
		if s != madeFor {
			if body, err = bodyFor(s); err != nil {
				return tipt.Packet{}, err
			}
			madeFor = s
		}
		p, err := s.link.Call(ctx, uint8(code), body)
		var refusal *tipt.Error
		switch {
		case err == nil:
			return p, nil
		case errors.As(err, &refusal):
			if refusal.Code != tipt.ErrBusy {
				if lost {
					err = fmt.Errorf("%w: %w", errLostBefore, err)
				}
				return tipt.Packet{}, err
			}
			if err := c.sleep(ctx, refusal.Wait+busy.next()); err != nil {
				return tipt.Packet{}, err
			}
			s = nil // it may serve the next attempt
		case !errors.Is(err, link.ErrClosed):
			return tipt.Packet{}, err
		default:
			lost = true
			err = s.cause(ctx, err)
			if suspect(err) {
				suspicions++
			}
			if suspicions == 2 {
				return tipt.Packet{}, fmt.Errorf("given up after a second such close: %w", err)
			}
		}
	}
}

// callOnce makes a request that must not be repeated blindly.
func (c *Client) callOnce(ctx context.Context, code tipt.NodeRequest, body []byte) (tipt.Packet, error) {
	s, err := c.use(ctx, nil)
	if err != nil {
		return tipt.Packet{}, err
	}
	p, err := s.link.Call(ctx, uint8(code), body)
	if errors.Is(err, link.ErrClosed) {
		err = fmt.Errorf("%w: %w", ErrUnknownOutcome, s.cause(ctx, err))
	}
	return p, err
}
