package node

import (
	"errors"
	"time"

	"github.com/tipt/tipt-go"
)

// finishTimeout is how long a drain waits for requests that are being worked
// on. With the 5 s that a close frame lingers it stays within the 30 s of section 3.6.
const finishTimeout = 20 * time.Second

// errStopping is returned when the operator asks something of a node that
// is about to end.
var errStopping = errors.New("the node is stopping")

// goingAway reports whether the node is draining, and how long a client does
// well to wait before it connects again.
func (n *Node) goingAway() (wait time.Duration, draining bool) {
	return minRetry * time.Second, state(n.state.Load()) != running
}

// drain ends all connections in good order: they are told GOING_AWAY, what is
// being worked on is answered, and then they are closed (section 3.6). The
// state is maintenance or stopping. It returns when the last has been told to close.
func (n *Node) drain(to state) {
	sessions := n.setState(to)
	event := tipt.GoingAwayEvent{Wait: minRetry * time.Second}.Append(nil)
	for _, s := range sessions {
		if err := s.link.Emit(uint8(tipt.EventGoingAway), event); err != nil {
			s.log.Debug("announce GOING_AWAY", "error", err)
		}
	}
	n.finish(sessions)
	code, reason := tipt.CloseGoingAway, "the node stops"
	if to == maintenance {
		code, reason = tipt.CloseMaintenance, "maintenance"
	}
	for _, s := range sessions {
		s.close(code, reason)
	}
}

// finish waits until nothing is being worked on for these connections, or for finishTimeout.
func (n *Node) finish(sessions []*session) {
	timeout := time.After(finishTimeout)
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for _, s := range sessions {
		for s.link.Serving() > 0 {
			select {
			case <-timeout:
				return
			case <-look.C:
			}
		}
	}
}

// setMaintenance begins or ends maintenance.
func (n *Node) setMaintenance(on bool) error {
	if on {
		n.drain(maintenance)
	} else {
		n.setState(running)
	}
	if state(n.state.Load()) == stopping {
		return errStopping
	}
	return nil
}
