//go:build external

package faults_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/letters"
	"github.com/tipt/tipt-go/internal/ws"
	"github.com/tipt/tipt-go/link"
)

// play has a participant connect to its node, again and again.
func (r *run) play(ctx context.Context, p *letters.Participant) {
	source := rand.New(rand.NewPCG(rand.Uint64(), 0)) // how often it is used depends on the time
	for ctx.Err() == nil {
		away, err := r.connect(ctx, p)
		r.judge(p, err)
		select {
		case <-r.ledger.Leaving():
			return
		default:
		}
		if away {
			p.Away(ctx)
			continue
		}
		sleep(ctx, source, 500*time.Millisecond)
	}
}

// connect makes one connection and uses it to its end, of which it returns the cause.
func (r *run) connect(ctx context.Context, p *letters.Participant) (away bool, err error) {
	m := r.machines[p.Device.User.Node]
	entering, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := p.Enter(entering, m.door())
	if err != nil {
		return false, err
	}
	var watching sync.WaitGroup
	watching.Go(func() { r.watch(ctx, c) })
	away = p.Use(ctx, c)
	watching.Wait()
	return away, c.Cause
}

// watch drops a connection on which the node does not answer any more. A client program
// waits longer (docs/protocol.md, section 7).
func (r *run) watch(ctx context.Context, c *letters.Conn) {
	for {
		hurried, cancel := context.WithTimeout(ctx, 8*time.Second)
		err := c.PingWait(hurried)
		cancel()
		if err != nil {
			c.CloseNow()
			return
		}
		select {
		case <-time.After(2 * time.Second):
		case <-c.Ended:
			return
		}
	}
}

// judge judges why a connection ended, or why there is none.
func (r *run) judge(p *letters.Participant, err error) {
	if closed, ok := errors.AsType[*link.CloseError](err); ok {
		switch {
		case !closed.Local && closed.Code == tipt.CloseGoingAway:
		case !closed.Local && closed.Code == tipt.CloseReplaced: // by one that the network held up
		default:
			r.ledger.Fail("the connection of %v ended: %v", p.Device, err)
		}
	}
	node := p.Device.User.Node
	if refusal, ok := errors.AsType[*tipt.Error](err); ok && !r.excuses.Refused(node, node, refusal.Code) {
		r.ledger.Fail("%v cannot sign in: %v", p.Device, err)
	}
	if status, ok := errors.AsType[*ws.StatusError](err); ok && status.Status != http.StatusServiceUnavailable {
		r.ledger.Fail("%v cannot connect: %v", p.Device, err)
	}
}
