package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/bench/internal/bare"
	"github.com/tipt/tipt-go/internal/sqlite3"
	"github.com/tipt/tipt-go/seal"
)

// A floor is a running one.
type floor struct {
	// Static.
	name   tipt.NodeName
	key    *seal.NodeKey
	opener opener // with key
	db     *database
	peer   *peer // nil without another node

	wake chan struct{} // holds a value when there may be something in queue

	mu    sync.Mutex // guards the following fields
	queue []operation
	users map[string]*user
}

// A user has a mailbox and at most one connection that receives.
type user struct {
	name   string
	stored int64 // the last sequence number given out; belongs to the committer

	mu     sync.Mutex // guards the following fields
	conn   *bare.Conn
	free   []uint8                   // ids of DELIVERs
	under  [tipt.MaxDelivering]int64 // the sequence numbers delivered under each
	sent   int64                     // the last one delivered
	last   int64                     // the last one there is
	recent []message                 // what follows sent, as far as it is at hand
}

func (f *floor) user(name string) *user {
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.users[name]
	if u == nil {
		u = &user{name: name}
		f.users[name] = u
	}
	return u
}

// accept serves connections until ctx is done.
func (f *floor) accept(ctx context.Context, listener net.Listener, config *tls.Config) error {
	var served sync.WaitGroup
	defer served.Wait()
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	for {
		nc, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		served.Go(func() {
			// How a connection ends is of no interest.
			defer func() { _ = nc.Close() }()
			defer context.AfterFunc(ctx, func() { _ = nc.Close() })()
			if c, err := bare.Accept(tls.Server(nc, config)); err == nil {
				s := session{floor: f, conn: c}
				_ = s.run()
			}
		})
	}
}

// A session is a connection.
type session struct {
	floor *floor
	conn  *bare.Conn
	user  *user
}

func (s *session) run() error {
	defer func() {
		if s.user != nil {
			s.user.leave(s.conn)
		}
	}()
	for {
		b, err := s.conn.Next()
		if err != nil {
			return err
		}
		p, err := tipt.ParsePacket(b, tipt.RevisionSeed)
		if err != nil {
			return err
		}
		if p.Type == tipt.PacketResponse {
			err = s.taken(p.ID)
		} else {
			err = s.serve(p)
		}
		if err != nil {
			return err
		}
	}
}

// respond queues a response.
func respond(c *bare.Conn, id uint8, body []byte) {
	c.Queue(&tipt.Packet{Version: tipt.Version, Type: tipt.PacketResponse, ID: id, Body: body})
}

func (s *session) serve(p tipt.Packet) error {
	switch tipt.NodeRequest(p.Code) {
	case tipt.RequestHandshake:
		respond(s.conn, p.ID, tipt.HandshakeResponse{Version: tipt.Version, Compatible: true}.Append(nil))
	case tipt.RequestRegister:
		respond(s.conn, p.ID, nil)
	case tipt.RequestSignIn:
		return s.signIn(p)
	case tipt.RequestGetNodeKey:
		var r tipt.GetNodeKeyRequest
		if err := r.Parse(p.Body, false); err != nil {
			return err
		}
		key, err := s.floor.certificate(r.Node)
		if err != nil {
			return err
		}
		respond(s.conn, p.ID, tipt.GetNodeKeyResponse{Key: key}.Append(nil))
	case tipt.RequestForward:
		return s.forward(p)
	default:
		return fmt.Errorf("request %#02x", p.Code)
	}
	return nil
}

// certificate returns the key of this node or of the other.
func (f *floor) certificate(node string) ([]byte, error) {
	if node == string(f.name) {
		return f.key.Certificate(), nil
	}
	if f.peer == nil || node != f.peer.name {
		return nil, fmt.Errorf("no node %s", node)
	}
	return f.peer.certificate()
}

func (s *session) signIn(p tipt.Packet) error {
	var r tipt.SignInRequest
	if err := r.Parse(p.Body, false); err != nil {
		return err
	}
	s.user = s.floor.user(r.User)
	response := tipt.SignInResponse{Address: s.address()}
	if !r.HasToken {
		response.Token = make([]byte, tipt.TokenSize) // any will do
	}
	respond(s.conn, p.ID, response.Append(nil))
	if !r.Receive {
		return nil
	}
	return s.user.arrive(s.floor.db, s.conn)
}

func (s *session) address() string { return s.user.name + "@" + string(s.floor.name) }

func (s *session) forward(p tipt.Packet) error {
	var r tipt.ForwardRequest
	if err := r.Parse(p.Body, false); err != nil {
		return err
	}
	if s.user == nil {
		return errors.New("FORWARD before SIGN_IN")
	}
	id := p.ID
	answer := func(c *bare.Conn) { respond(c, id, nil) }
	if r.Node != string(s.floor.name) {
		if s.floor.peer == nil {
			return fmt.Errorf("no node %s", r.Node)
		}
		s.floor.peer.accept(s.user.name, append([]byte(nil), r.Sealed...), s.conn, answer)
		return nil
	}
	o, err := s.floor.opened(r.Sealed, tipt.Address{User: tipt.UserName(s.user.name), Node: s.floor.name})
	if err != nil {
		return err
	}
	if r.Wait {
		body := tipt.ForwardResponse{Response: tipt.ForwardAnswer{}.Append(nil)}.Append(nil)
		answer = func(c *bare.Conn) { respond(c, id, body) }
	}
	o.from, o.done = s.conn, answer
	s.floor.submit(o)
	return nil
}

// An opener opens messages, as a [seal.Opener] does, which keeps their session keys.
type opener interface {
	Open(sealed []byte, from tipt.Address, now time.Time) ([]byte, error)
}

// openEach is an opener that keeps none.
type openEach struct{ *seal.NodeKey }

func (o openEach) Open(sealed []byte, _ tipt.Address, now time.Time) ([]byte, error) {
	return o.NodeKey.Open(sealed, now)
}

// opened opens a sealed message.
func (f *floor) opened(sealed []byte, sender tipt.Address) (operation, error) {
	now := time.Now()
	plaintext, err := f.opener.Open(sealed, sender, now)
	if err != nil {
		return operation{}, err
	}
	var r tipt.SealedRequest
	if err := r.Parse(plaintext); err != nil {
		return operation{}, err
	}
	if r.Type != tipt.ForwardMessage {
		return operation{}, fmt.Errorf("a %v is sealed", r.Type)
	}
	return operation{
		to:      f.user(r.Message.To),
		message: message{sender: sender.String(), id: r.Message.ID, time: now, body: r.Message.Message},
	}, nil
}

// taken notes that a DELIVER was answered.
func (s *session) taken(id uint8) error {
	u := s.user
	if u == nil || int(id) >= tipt.MaxDelivering {
		return fmt.Errorf("response for id %d, which is not in flight", id)
	}
	u.mu.Lock()
	seq := u.under[id]
	u.free = append(u.free, id)
	u.mu.Unlock()
	// Clients take in order, so what was before it is taken too.
	s.floor.submit(operation{to: u, taken: seq})
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.deliverLocked(s.floor.db)
}

// arrive makes c the connection that receives, from the oldest message on.
func (u *user) arrive(db *database, c *bare.Conn) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.conn, u.sent, u.recent, u.free = c, 0, nil, nil
	for id := range tipt.MaxDelivering {
		u.free = append(u.free, uint8(id))
	}
	return u.deliverLocked(db)
}

func (u *user) leave(c *bare.Conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.conn == c {
		u.conn, u.recent = nil, nil
	}
}

// visible makes a message that was stored known, and returns the connection on which something
// was queued for it, if any.
func (u *user) visible(db *database, m *message) (*bare.Conn, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.conn == nil {
		u.last = m.seq
		return nil, nil
	}
	if u.sent+int64(len(u.recent)) == u.last && len(u.recent) < 4*tipt.MaxDelivering {
		u.recent = append(u.recent, *m)
	}
	u.last = m.seq
	return u.conn, u.deliverLocked(db)
}

// deliverLocked queues DELIVERs as far as ids are free and messages there.
func (u *user) deliverLocked(db *database) error {
	for u.conn != nil && len(u.free) > 0 && u.sent < u.last {
		if len(u.recent) == 0 {
			if err := u.readLocked(db); err != nil {
				return err
			}
			if len(u.recent) == 0 {
				u.sent = u.last // all of it was taken before
				return nil
			}
		}
		m := &u.recent[0]
		id := u.free[len(u.free)-1]
		u.free = u.free[:len(u.free)-1]
		u.under[id], u.sent = m.seq, m.seq
		u.conn.Queue(&tipt.Packet{
			Version: tipt.Version, Type: tipt.PacketRequest, ID: id, Code: uint8(tipt.RequestDeliver),
			Body: tipt.DeliverRequest{ID: m.id, From: m.sender, Time: m.time, Message: m.body}.Append(nil),
		})
		u.recent = u.recent[1:]
	}
	return nil
}

// readLocked reads the next messages from the database.
func (u *user) readLocked(db *database) error {
	db.reading.Lock()
	defer db.reading.Unlock()
	return db.read.Query(5, func(v []sqlite3.Value) bool {
		u.recent = append(u.recent, message{
			seq: v[0].Integer, sender: v[1].Text, id: tipt.MessageID(v[2].Blob),
			time: time.UnixMilli(v[3].Integer), body: v[4].Blob,
		})
		return true
	}, "SELECT seq, sender, mid, time, body FROM messages WHERE user = ? AND seq > ? ORDER BY seq LIMIT 0+?",
		u.name, u.sent, int64(tipt.MaxDelivering))
}
