// Package link runs one Tipt connection: requests, responses and events in
// both directions, numbered with the 8-bit ids of docs/protocol.md, section 3.
// It knows ids and bytes and no request type, and neither end is special: a
// node and a client use the same [Link].
//
// The 8-bit id is the semaphore. A side has at most 256 requests in flight
// (section 3.2), so the tables of calls made and of requests being served, and
// the responses waiting to be written, are bounded by construction. Only bytes
// need bounds of their own: see [Options] and [Budget].
package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tipt/tipt-go"
)

var (
	// ErrClosed is the error of calls that a connection leaves unanswered
	// when it ends, and of those made after Close. Whether the peer carried the
	// request out is unknown when its packet had been queued (section 1.6).
	ErrClosed = errors.New("link: closed")

	// ErrFull is Emit's error when too much waits to be written.
	ErrFull = errors.New("link: too much is unsent")
)

// A CloseError says how a connection was closed.
type CloseError struct {
	Local  bool // this side closed first
	Code   int  // section 1.6; 1005 when the peer gave none
	Reason string
}

func (e *CloseError) Error() string {
	by := "peer"
	if e.Local {
		by = "this side"
	}
	return fmt.Sprintf("link: closed by %s with %d %s", by, e.Code, e.Reason)
}

// A Handler is told what the peer asks. Both methods are called by the
// goroutine that reads the connection, one call at a time, in the order of
// arrival, and must not block: nothing is read meanwhile.
type Handler interface {
	// ServeTipt starts to serve a request; any goroutine may answer it later.
	ServeTipt(r *Request)

	// ServeEvent takes a well-formed event. The packet's Body is the handler's to keep.
	ServeEvent(p tipt.Packet)
}

// Options are a Link's options. The zero value is usable.
type Options struct {
	// Handler serves the peer. nil: requests are answered UNSUPPORTED and
	// events are dropped.
	Handler Handler

	// Budget bounds the memory of all links that share it. nil: only the
	// connection's own bounds hold.
	Budget *Budget

	// Logger is told, at level debug, why a connection is closed and what was
	// ignored. nil: nothing is logged.
	Logger *slog.Logger

	// Tap is called with each packet as it crosses the wire, sent ones just
	// before they are written. It must neither block nor keep the slice. nil: none.
	Tap func(sent bool, packet []byte)

	// Ignored is called for each event that is dropped because it is malformed or
	// because there is no memory for it (section 2, EVENT). It must not block. nil: none.
	Ignored func(error)
}

// New returns a link over c. It starts nothing: see [Link.Run].
func New(c Conn, o Options) *Link { panic("unwritten") }

// Run runs the connection until it ends and returns why: a [*CloseError], the
// transport's error, or the cause of ctx, whose end drops the connection as
// [Link.CloseNow] does. It owns every goroutine of the link and returns after the last
// of them. It is called once.
func (l *Link) Run(ctx context.Context) error { panic("unwritten") }

// Call sends a request and waits for its response. The error is a
// [*tipt.Error] when the peer answered with one, ctx's when it ended first, ErrClosed when
// the connection did. A call given up keeps its id until the late response comes
// (section 3.2), unless its packet was not written yet. Call takes over body.
func (l *Link) Call(ctx context.Context, code uint8, body []byte) (tipt.Packet, error) {
	panic("unwritten")
}

// Go sends a request and returns without waiting for its response. It waits
// until an id is free and there is room among the unsent bytes; ctx bounds this
// wait alone. The requests of one goroutine are written in the order of its calls.
//
// When Go returns nil, done will run exactly once: on the reading goroutine when
// the response comes, with a [*tipt.Error] when it holds one, or with ErrClosed at the end
// of the connection. It must not block; the packet's Body is its to keep. When Go
// returns an error, done does not run. Go takes over body.
func (l *Link) Go(ctx context.Context, code uint8, body []byte, done func(tipt.Packet, error)) error {
	panic("unwritten")
}

// TryGo is Go without waiting: it reports false, and does nothing, when there
// is no id or no room now or the link is closed.
func (l *Link) TryGo(code uint8, body []byte, done func(tipt.Packet, error)) bool {
	panic("unwritten")
}

// Room arranges for f to be called once when what TryGo refused last may
// succeed; a later Room replaces f. f must not block. It may be called before Room returns
// and by any goroutine, and is not called any more once the link is closed.
func (l *Link) Room(f func()) { panic("unwritten") }

// Emit sends an event after the requests queued before it. It does not wait: the error
// is ErrFull or ErrClosed. Emit takes over body.
func (l *Link) Emit(code uint8, body []byte) error { panic("unwritten") }

// Close writes what is queued, then a close frame, discards input for up to
// tipt.CloseLinger until the peer has closed too, and ends Run. It does not wait and
// only the first call counts. From then on calls fail with ErrClosed, replies are
// dropped, and the handler is told nothing more, except for a call of it under way.
func (l *Link) Close(code int, reason string) { panic("unwritten") }

// CloseNow drops the connection without a close frame.
func (l *Link) CloseNow() { panic("unwritten") }

// SetReadLimit sets the size in bytes over which an arriving packet closes the
// connection with 1009. It is tipt.MaxPacketSize at first.
func (l *Link) SetReadLimit(n int64) { panic("unwritten") }

// SetRevision sets the form of packets from the next one that is read and the
// next one that is queued (section 9).
func (l *Link) SetRevision(rev tipt.Revision) { panic("unwritten") }

// Ping sends a PING and does not wait: [Link.LastReceived] tells of the answer.
func (l *Link) Ping() { panic("unwritten") }

// PingWait sends a PING and waits for a PONG. The error is ctx's or ErrClosed.
func (l *Link) PingWait(ctx context.Context) error { panic("unwritten") }

// LastReceived returns when something of the peer arrived last, at first when
// the link was made.
func (l *Link) LastReceived() time.Time { panic("unwritten") }

// Serving returns the number of requests of the peer that await Reply or Fail.
func (l *Link) Serving() int { panic("unwritten") }

// A Link is one end of a connection. Its methods may be called by several
// goroutines at once, those that send also before Run.
type Link struct{}

// A Request is a request of the peer. Exactly one of Reply and Fail must be
// called, once, by any goroutine; a second call panics.
type Request struct {
	Code    uint8  // `reqt`
	Body    []byte // `body`; it counts as memory in use until the answer, and is the handler's to keep
	Version string // `ver`
	Newer   bool   // tipt.Packet.Newer
}

// Reply answers with body, nil for none, and takes it over. A body of more than
// 4 KiB for which there is no room becomes the error BUSY (section 3.6).
func (r *Request) Reply(body []byte) { panic("unwritten") }

// Fail answers with an error.
func (r *Request) Fail(e *tipt.Error) { panic("unwritten") }
