package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/ws"
	"github.com/tipt/tipt-go/link"
	"github.com/tipt/tipt-go/seal"
)

// connectTimeout bounds one attempt to connect, to the answer to SIGN_IN.
const connectTimeout = 30 * time.Second

// errSilent is why a connection ends on which a PING had no answer in time.
var errSilent = errors.New("no answer to a PING")

// A session is one connection of a client that has been greeted by HANDSHAKE.
type session struct {
	client *Client
	link   *link.Link
	born   time.Time
	done   chan struct{} // closed when the link has ended
	err    error         // why it ended; read it after done

	mu      sync.Mutex // guards the following
	wait    time.Duration
	inbox   []*delivery   // not yet answered, in order of arrival
	arrived chan struct{} // holds one value when inbox may have grown
	sealers map[tipt.NodeName]*seal.Sealer
	ended   bool // sealers stays empty
}

// connect makes one attempt at a connection: it dials, shakes hands and, once
// SignIn has succeeded before, signs in again.
func (c *Client) connect(ctx context.Context) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := c.dial(ctx)
	if err != nil {
		var refused *ws.StatusError
		if errors.As(err, &refused) && refused.Status >= 500 {
			return nil, &UnavailableError{Status: refused.Status, RetryAfter: refused.RetryAfter}
		}
		return nil, err
	}
	s := &session{
		client:  c,
		born:    time.Now(),
		done:    make(chan struct{}),
		arrived: make(chan struct{}, 1),
		sealers: make(map[tipt.NodeName]*seal.Sealer),
	}
	s.link = link.New(conn, link.Options{Handler: s, Logger: c.options.Logger, Tap: c.options.Tap})
	go func() {
		// Not the caller's context, which ends with Dial; Close ends the link itself.
		s.err = s.link.Run(context.WithoutCancel(ctx))
		s.forgetSealers()
		close(s.done)
	}()
	if err := c.greet(ctx, s); err != nil {
		s.link.CloseNow()
		<-s.done
		return nil, err
	}
	return s, nil
}

func (c *Client) greet(ctx context.Context, s *session) error {
	if err := s.handshake(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	signIn := c.signIn
	c.mu.Unlock()
	if signIn == nil {
		return nil
	}
	if _, err := s.signIn(ctx, *signIn); err != nil {
		return fmt.Errorf("sign in again: %w", err)
	}
	return nil
}

func (s *session) handshake(ctx context.Context) error {
	p, err := s.link.Call(ctx, uint8(tipt.RequestHandshake), nil)
	if err != nil {
		return fmt.Errorf("handshake: %w", s.cause(ctx, err))
	}
	var resp tipt.HandshakeResponse
	if err := resp.Parse(p.Body, p.Newer); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	if !resp.Compatible {
		return fmt.Errorf("%w: %s", ErrIncompatible, resp.Version)
	}
	return nil
}

// cause returns why the connection ended where err says only that it did.
func (s *session) cause(ctx context.Context, err error) error {
	if !errors.Is(err, link.ErrClosed) {
		return err
	}
	select {
	case <-s.done:
		return s.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run keeps the connection up until the client ends.
func (c *Client) run(s *session) {
	defer close(c.finished)
	defer c.endLife()
	pause := c.pause
	for {
		err := c.attend(s)
		if c.life.Err() != nil {
			return
		}
		if reason := fatal(err); reason != nil {
			c.end(reason)
			return
		}
		c.setSession(nil)
		if time.Since(s.born) > pause.window() {
			pause.attempts = 0
		}
		if s = c.reconnect(&pause, err, s.goingAway()); s == nil {
			return
		}
		c.setSession(s)
	}
}

// attend pings (section 1.5) until the connection ends and returns why.
func (c *Client) attend(s *session) error {
	tick := time.NewTicker(tipt.PingInterval)
	defer tick.Stop()
	for {
		select {
		case <-s.done:
			return s.err
		case <-c.life.Done():
			s.link.Close(tipt.CloseNormal, "")
			select {
			case <-s.done:
			case <-time.After(tipt.CloseLinger):
				s.link.CloseNow()
				<-s.done
			}
			return s.err
		case <-tick.C:
			ctx, cancel := context.WithTimeout(c.life, tipt.PongTimeout)
			err := s.link.PingWait(ctx)
			cancel()
			if errors.Is(err, context.DeadlineExceeded) {
				s.link.CloseNow()
				<-s.done
				return errSilent
			}
		}
	}
}

// reconnect tries until there is a connection again, or returns nil when the
// client has ended.
func (c *Client) reconnect(pause *backoff, err error, wait time.Duration) *session {
	for {
		d := wait + pause.next()
		c.log.Warn("not connected", "error", err, "pause", d)
		if c.sleep(c.life, d) != nil {
			return nil
		}
		var s *session
		s, err = c.connect(c.life)
		if err == nil {
			c.log.Info("connected again")
			return s
		}
		if c.life.Err() != nil {
			return nil
		}
		if reason := fatal(err); reason != nil {
			c.end(reason)
			return nil
		}
		wait = waitOf(err)
	}
}

// goingAway is how long the node asked to be left alone when it announced its end.
func (s *session) goingAway() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wait
}

// ServeEvent implements [link.Handler].
func (s *session) ServeEvent(p tipt.Packet) {
	if tipt.ClientEvent(p.Code) != tipt.EventGoingAway {
		return // section 2: an event that a client does not know is ignored
	}
	var event tipt.GoingAwayEvent
	if err := event.Parse(p.Body, p.Newer); err != nil {
		s.client.log.Warn("GOING_AWAY not understood", "error", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wait = event.Wait
}
