package link

import (
	"sync/atomic"
	"time"

	"github.com/tipt/tipt-go"
)

// busyWait is the `wait` of the link's own BUSY.
const busyWait = time.Second

// A Request is a request of the peer. Exactly one of Reply and Fail must be
// called, once, by any goroutine; a second call panics.
type Request struct {
	Code     uint8         // `reqt`
	Body     []byte        // `body`; it counts as memory in use until the answer, and is the handler's to keep
	Version  string        // tipt.Packet.Version
	Newer    bool          // tipt.Packet.Newer
	Revision tipt.Revision // in which it came and is answered

	link     *Link
	held     int64 // what it counts among Link.working
	response outgoing
	answered atomic.Bool
}

// Reply answers with body, nil for none, and takes it over. A body of more than
// 4 KiB for which there is no room becomes the error BUSY (section 3.6).
func (r *Request) Reply(body []byte) { r.answer(body, nil) }

// Fail answers with an error.
func (r *Request) Fail(e *tipt.Error) { r.answer(nil, e) }

func (r *Request) answer(body []byte, e *tipt.Error) {
	if r.answered.Swap(true) {
		panic("link: a request was answered twice")
	}
	l := r.link
	l.mu.Lock()
	if l.state == ended {
		l.mu.Unlock() // what it held was given back
		return
	}
	l.serving--
	l.working -= r.held
	if l.state == open {
		size := overhead + int64(len(body))
		switch {
		case size <= smallSize:
			l.budget.force(size)
		case l.unsent+size > unsentLimit || !l.budget.Reserve(size):
			body, e, size = nil, busy(), overhead
			l.budget.force(size)
		}
		r.response.body, r.response.err, r.response.size = body, e, size
		l.queueLocked(&l.responses, &r.response)
	}
	l.mu.Unlock()
	l.budget.Release(r.held)
}

// Emit sends an event after the requests queued before it. It does not wait: the error
// is ErrFull or ErrClosed. Emit takes over body.
func (l *Link) Emit(code uint8, body []byte) error {
	o := &outgoing{typ: tipt.PacketEvent, code: code, body: body, size: overhead + int64(len(body))}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.state != open:
		return ErrClosed
	case l.unsent+o.size > unsentLimit:
		return ErrFull
	case o.size <= smallSize:
		l.budget.force(o.size)
	case !l.budget.Reserve(o.size):
		return ErrFull
	}
	l.queueLocked(&l.requests, o)
	return nil
}
