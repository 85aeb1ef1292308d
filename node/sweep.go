package node

import (
	"context"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/fault"
)

const (
	// unsignedSweep is how often connections without a HANDSHAKE are looked at:
	// how late the 1008 of section 3.4 may come.
	unsignedSweep = 250 * time.Millisecond
	// silenceSweep is how often all connections are looked at.
	silenceSweep = 10 * time.Second
	// seenSweep is how often a device that stays connected is noted as seen, so that
	// it does not look long unseen after a crash.
	seenSweep = 24 * time.Hour
	// openerSweep is how often session keys whose time is over are wiped.
	openerSweep = time.Minute
)

// sweep keeps all times of all connections, so that none has a timer of its own.
func (n *Node) sweep(ctx context.Context) error {
	unsigned := time.NewTicker(unsignedSweep)
	defer unsigned.Stop()
	silence := time.NewTicker(silenceSweep)
	defer silence.Stop()
	opener := time.NewTicker(openerSweep)
	defer opener.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-unsigned.C:
			n.sweepUnsigned(now)
		case now := <-silence.C:
			for _, s := range n.list() {
				n.sweepSilent(s, now)
				n.sweepSeen(s, now)
			}
			n.rest()
		case <-opener.C:
			n.opener.Load().Sweep(fault.Now())
		}
	}
}

// rest lets goroutines go that connections kept for their next packets.
func (n *Node) rest() {
	if n.poller != nil {
		n.poller.Rest()
	}
}

// sweepUnsigned closes connections that made no HANDSHAKE in time (section 3.4).
func (n *Node) sweepUnsigned(now time.Time) {
	var late []*session
	n.mu.Lock()
	for s := range n.unsigned {
		if now.Sub(s.opened) >= tipt.HandshakeTimeout {
			late = append(late, s)
		}
	}
	n.mu.Unlock()
	for _, s := range late {
		s.mu.Lock()
		waiting := s.phase == fresh && !s.closed
		s.mu.Unlock()
		if waiting {
			s.close(tipt.ClosePolicy, "no HANDSHAKE within 3 s")
		}
	}
}

// sweepSilent pings a client that was silent for long and drops it when
// nothing comes back (section 1.5).
func (n *Node) sweepSilent(s *session, now time.Time) {
	heard := s.link.LastReceived()
	s.mu.Lock()
	pinged := s.pinged
	ping := now.Sub(heard) >= n.config.Silence && !pinged.After(heard)
	if ping {
		s.pinged = now
	}
	s.mu.Unlock()
	switch {
	case ping:
		s.link.Ping()
	case pinged.After(heard) && now.Sub(pinged) >= tipt.PongTimeout:
		s.log.Debug("connection is silent")
		s.link.CloseNow()
	}
}

func (n *Node) sweepSeen(s *session, now time.Time) {
	s.mu.Lock()
	due := s.phase == signedIn && now.Sub(s.noted) >= seenSweep
	if due {
		s.noted = now
	}
	as := s.account
	s.mu.Unlock()
	if due {
		n.seen(as)
	}
}
