package tipt

import "time"

// A ClientEvent is a CNClientEventType: the `reqt` of an EVENT that a node
// sends (section 2).
type ClientEvent uint8

const (
	EventGoingAway ClientEvent = 0x00 // GoingAwayEvent: the node stops or restarts
)

// A GoingAwayEvent is GOING_AWAY's body.
type GoingAwayEvent struct {
	Wait time.Duration // `wait`: before connecting again, whole seconds on the wire
}
