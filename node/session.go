package node

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/fault"
	"github.com/tipt/tipt-go/link"
	"github.com/tipt/tipt-go/store"
)

// phase is how far a connection has come (section 3.4). It only grows.
type phase uint8

const (
	fresh    phase = 1 << iota // no HANDSHAKE accepted yet
	greeted                    // HANDSHAKE accepted
	signedIn                   // SIGN_IN succeeded: user, device and receives are set
)

// A session is one client connection: it decides what a request may do at this
// point of the conversation and has it done. The link below it knows ids
// and bytes, no request.
type session struct {
	// Static after construction.
	node   *Node
	link   *link.Link
	log    *slog.Logger
	number uint64
	from   netip.Addr
	opened time.Time

	// ctx ends with the connection; stop ends it. What is committed
	// nevertheless is committed.
	ctx  context.Context
	stop context.CancelFunc

	// notBefore is when the client was told to sign in again, owned by the SIGN_IN being carried out.
	notBefore time.Time

	mu       sync.Mutex // guards the following fields
	phase    phase
	form     tipt.Form  // by the client's HANDSHAKE
	gate     bool       // HANDSHAKE, REGISTER or SIGN_IN is being carried out
	pumping  bool       // some goroutine dispatches requests
	waiting  []arrival  // not yet dispatched, in order of arrival; bounded by the ids there are and by maxQueuedEvents
	noted    time.Time  // when the device was last noted as seen
	pinged   time.Time  // when the sweeper last sent a PING
	closed   bool       // replaced or signed out: nothing more has an effect
	account  signedInAs // where phase is signedIn; static from then on
	delivery *delivery  // nil before SIGN_IN and without `recv`; static from then on
	forwards forwards   // see message.go
}

// signedInAs says whose connection it is.
type signedInAs struct {
	user     store.UserID
	name     tipt.UserName
	address  string // name at the node
	device   string
	receives bool
}

// from is whose messages these are.
func (a signedInAs) from(node tipt.NodeName) tipt.Address {
	return tipt.Address{User: a.name, Node: node}
}

func newSession(n *Node, number uint64, from netip.Addr) *session {
	ctx, stop := context.WithCancel(n.alive)
	return &session{
		node:   n,
		log:    slog.New(&connectionLog{n.log.Handler(), number}),
		number: number,
		from:   from,
		opened: time.Now(),
		ctx:    ctx,
		stop:   stop,
		phase:  fresh,
	}
}

// ended is called when the connection has ended.
func (s *session) ended(cause error) {
	defer s.node.tasks.Done()
	s.stop()
	s.log.Debug("connection ended", "cause", cause)
	s.signOut()
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	delete(s.node.sessions, s)
	delete(s.node.unsigned, s)
}

// A request is a row of the table of section 2: who may make it, and what does it.
type request struct {
	allow phase
	// gate: requests behind this one wait for its outcome (section 3.4).
	gate bool
	// work is no longer done while the node is going away (section 3.6).
	work bool
	// serve must not block: it runs on the connection's reader. It answers r
	// itself, now or later.
	serve func(s *session, r *link.Request)
}

// lookUp is the table, in the specification's order. (A map of these methods would be
// an initialization cycle.)
func lookUp(name tipt.NodeRequest) (row request, known bool) {
	switch name {
	case tipt.RequestHandshake:
		return request{allow: fresh, gate: true, serve: (*session).handshake}, true
	case tipt.RequestRegister:
		return request{allow: greeted, gate: true, work: true, serve: (*session).register}, true
	case tipt.RequestSignIn:
		return request{allow: greeted, gate: true, work: true, serve: (*session).signIn}, true
	case tipt.RequestGetInfo:
		return request{allow: greeted | signedIn, serve: (*session).getInfo}, true
	case tipt.RequestForward:
		return request{allow: signedIn, work: true, serve: (*session).forward}, true
	case tipt.RequestGetNodeKey:
		return request{allow: signedIn, work: true, serve: (*session).getNodeKey}, true
	case tipt.RequestSetPassword:
		return request{allow: signedIn, work: true, serve: (*session).setPassword}, true
	case tipt.RequestListDevices:
		return request{allow: signedIn, work: true, serve: (*session).listDevices}, true
	case tipt.RequestRemoveDevice:
		return request{allow: signedIn, work: true, serve: (*session).removeDevice}, true
	case tipt.RequestDeleteAccount:
		return request{allow: signedIn, work: true, serve: (*session).deleteAccount}, true
	case tipt.RequestSetKey:
		return request{allow: signedIn, work: true, serve: (*session).setKey}, true
	default:
		return request{}, false
	}
}

// An arrival is a request, or a FORWARD as an EVENT.
type arrival struct {
	request *link.Request
	event   *tipt.Packet
}

// ServeTipt takes a request in its order of arrival.
func (s *session) ServeTipt(r *link.Request) { s.arrive(arrival{request: r}) }

func (s *session) arrive(a arrival) {
	s.mu.Lock()
	if s.gate || s.pumping {
		s.waiting = append(s.waiting, a)
		s.mu.Unlock()
		return
	}
	s.pumping = true
	s.mu.Unlock()
	s.dispatch(a)
	s.pump()
}

// pump serves what waits, up to the next request that closes the gate. The
// caller has set pumping.
func (s *session) pump() {
	for {
		s.mu.Lock()
		if s.gate || len(s.waiting) == 0 {
			if len(s.waiting) == 0 {
				s.waiting = nil
			}
			s.pumping = false
			s.mu.Unlock()
			return
		}
		a := s.waiting[0]
		s.waiting[0] = arrival{}
		s.waiting = s.waiting[1:]
		s.mu.Unlock()
		s.dispatch(a)
	}
}

// openGate ends a HANDSHAKE, REGISTER or SIGN_IN.
func (s *session) openGate() {
	s.mu.Lock()
	s.gate = false
	if s.pumping {
		s.mu.Unlock()
		return
	}
	s.pumping = true
	s.mu.Unlock()
	s.pump()
}

// dispatch serves a, or answers why not.
func (s *session) dispatch(a arrival) {
	if a.event != nil {
		s.serveEvent(a.event)
		return
	}
	name := a.request.Revision.NodeRequest(a.request.Code)
	row, known := lookUp(name)
	if refusal := s.enter(name, a.request.Version, row, known); refusal != nil {
		a.request.Fail(refusal)
		return
	}
	row.serve(s, a.request)
}

// beingClosed answers what comes while its connection closes: the next one serves it.
func beingClosed() *tipt.Error {
	return &tipt.Error{Code: tipt.ErrBusy, Message: "this connection is being closed", Wait: time.Second}
}

// enter checks what section 3.4 says, in its order, and returns why a request
// is not served now; or nil, having closed the gate for one that needs it.
func (s *session) enter(name tipt.NodeRequest, version string, row request, known bool) *tipt.Error {
	wait, draining := s.node.goingAway()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch handshake := name == tipt.RequestHandshake; {
	case s.closed:
		return beingClosed()
	case s.phase == fresh && !handshake:
		return &tipt.Error{Code: tipt.ErrHandshakeRequired, Message: "make a HANDSHAKE before " + name.String()}
	case s.phase != fresh && handshake:
		return &tipt.Error{Code: tipt.ErrHandshakeDone, Message: "HANDSHAKE is made once"}
	case s.phase != fresh && version != s.form.Version:
		return &tipt.Error{Code: tipt.ErrVersion, Message: "this connection's HANDSHAKE said version " + s.form.Version}
	case !known:
		return &tipt.Error{Code: tipt.ErrUnsupported, Message: "request type " + name.String() + " is not known here"}
	case row.allow&s.phase == 0 && s.phase == greeted:
		return &tipt.Error{Code: tipt.ErrSignInRequired, Message: "sign in before " + name.String()}
	case row.allow&s.phase == 0:
		return &tipt.Error{Code: tipt.ErrSignedIn, Message: name.String() + " is only for connections that have not signed in"}
	case draining && row.work:
		return &tipt.Error{Code: tipt.ErrBusy, Message: "the node is going away", Wait: wait}
	}
	if row.gate {
		s.gate = true
	}
	return nil
}

// async does what may block for r, beside the reader, and answers.
func (s *session) async(r *link.Request, work func() ([]byte, error)) {
	s.node.tasks.Go(func() {
		body, err := work()
		s.answer(r, body, err)
	})
}

// answer answers r. Only coded errors cross the wire; all else is logged here,
// once, and becomes INTERNAL.
func (s *session) answer(r *link.Request, body []byte, err error) {
	if err == nil {
		r.Reply(body)
		return
	}
	r.Fail(s.coded(r.Revision.NodeRequest(r.Code), err))
}

func (s *session) coded(name tipt.NodeRequest, err error) *tipt.Error {
	var coded *tipt.Error
	var malformed *tipt.MalformedError
	switch {
	case errors.As(err, &coded):
		return coded
	case errors.As(err, &malformed):
		return &tipt.Error{Code: tipt.ErrMalformed, Message: malformed.Error()}
	case s.ctx.Err() != nil && errors.Is(err, context.Canceled):
		return &tipt.Error{Code: tipt.ErrInternal, Message: "the connection ended"}
	}
	s.log.Error("request failed", "request", name.String(), "error", err)
	if errors.Is(err, store.ErrDiskFull) {
		return &tipt.Error{Code: tipt.ErrInternal, Message: "the node has no room to store this; try again later"}
	}
	return &tipt.Error{Code: tipt.ErrInternal, Message: "internal error"}
}

// close ends the connection from the node's side: nothing that it sends from
// now on has an effect.
func (s *session) close(code int, reason string) {
	s.mu.Lock()
	s.closed = true
	delivery := s.delivery
	s.mu.Unlock()
	if delivery != nil {
		delivery.close()
	}
	s.link.Close(code, reason)
}

// handshake serves HANDSHAKE (section 4).
func (s *session) handshake(r *link.Request) {
	defer s.openGate()
	var body tipt.HandshakeRequest
	if err := body.Parse(r.Body, r.Newer); err != nil {
		s.answer(r, nil, err)
		return
	}
	if body.Version != "" && body.Version != r.Version {
		r.Fail(&tipt.Error{Code: tipt.ErrMalformed, Message: "body.ver: says " + body.Version + ", the packet's ver " + r.Version})
		return
	}
	compatible := tipt.Compatible(r.Version, tipt.Version)
	if compatible {
		form := tipt.Form{Revision: r.Revision, Version: r.Version}
		s.mu.Lock()
		s.phase = greeted
		s.form = form
		s.mu.Unlock()
		// This is the connection's reader: what is served before HANDSHAKE is refused at once, and so
		// nothing can have made it wait. The next packet is read in the form that it chose.
		s.link.SetForm(form)
	}
	r.Reply(tipt.HandshakeResponse{Version: tipt.Version, Compatible: compatible}.Append(nil))
	if !compatible {
		s.close(tipt.CloseProtocol, "this node speaks version "+tipt.Version)
	}
}

// getInfo serves GET_INFO (section 4).
func (s *session) getInfo(r *link.Request) {
	if err := tipt.ParseNil(r.Body); err != nil {
		s.answer(r, nil, err)
		return
	}
	r.Reply(tipt.GetInfoResponse{
		Node:         string(s.node.config.Name),
		Software:     Software,
		Registration: s.node.config.Registration,
		Time:         fault.Now(),
	}.Append(nil))
}
