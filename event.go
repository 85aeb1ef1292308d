package tipt

import (
	"math"
	"time"

	"github.com/tinylib/msgp/msgp"

	"github.com/tipt/tipt-go/internal/msgpack"
)

// A ClientEvent is a CNClientEventType: the `reqt` of an EVENT that a node
// sends (section 2).
type ClientEvent uint8

const (
	EventGoingAway ClientEvent = 0x00 // GoingAwayEvent: the node stops or restarts
)

// String is the event's name in the specification.
func (e ClientEvent) String() string {
	if e == EventGoingAway {
		return "GOING_AWAY"
	}
	return hexEnum(uint8(e))
}

// A GoingAwayEvent is GOING_AWAY's body.
type GoingAwayEvent struct {
	Wait time.Duration // `wait`: before connecting again, whole seconds on the wire
}

// Append appends the body.
func (x GoingAwayEvent) Append(b []byte) []byte {
	b = msgp.AppendMapHeader(b, 1)
	b = msgp.AppendString(b, "wait")
	return msgp.AppendUint64(b, units(x.Wait, time.Second, math.MaxUint16))
}

var goingAwayKeys = msgpack.Declare("wait")

// Parse parses the body.
func (x *GoingAwayEvent) Parse(body []byte, newer bool) error {
	*x = GoingAwayEvent{}
	m := readBody(body, newer, goingAwayKeys)
	for m.Next() {
		x.Wait = time.Duration(m.Uint(16)) * time.Second
	}
	return bodyError(m.Err())
}
