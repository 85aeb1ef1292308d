package client

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/link"
	"github.com/tipt/tipt-go/seal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// nodeName is the node of the tests.
const nodeName tipt.NodeName = "node.example"

var (
	alice        = tipt.Address{User: "alice", Node: nodeName}
	bobElsewhere = tipt.Address{User: "bob", Node: "other.example"}
	token        = []byte("0123456789abcdef0123456789abcdef")
)

// A fakeNode is the other end of a client's connections, in the bubble of a
// synctest. It greets and signs in by itself; what else the client asks the test answers.
type fakeNode struct {
	t     *testing.T
	key   *seal.NodeKey      // owned by the test
	asked chan *link.Request // what the test is to answer

	mu       sync.Mutex                  // guards the following; see change
	refuse   func() error                // nil, or why a connection is refused
	wrap     func(c link.Conn) link.Conn // nil, or what the client's end is put into
	signIn   *tipt.Error                 // nil, or what SIGN_IN is answered with
	hold     bool                        // SIGN_IN is for the test to answer
	versions tipt.HandshakeResponse
	dials    []time.Time
	signIns  []tipt.SignInRequest
	conn     *fakeConn // the latest
}

// change has f change how the node behaves. refuse and wrap are called with mu held.
func (n *fakeNode) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

// dialed returns when the client tried to connect.
func (n *fakeNode) dialed() []time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.dials)
}

// signedIn returns the sign-ins that the node did by itself.
func (n *fakeNode) signedIn() []tipt.SignInRequest {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.signIns)
}

// now returns the latest connection.
func (n *fakeNode) now() *fakeConn {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.conn
}

// A fakeConn is one connection as the node sees it.
type fakeConn struct {
	*link.Link
	node  *fakeNode
	ended chan error
}

func newFakeNode(t *testing.T) *fakeNode {
	t.Helper()
	return &fakeNode{
		t:        t,
		key:      newNodeKey(t),
		asked:    make(chan *link.Request, tipt.MaxInFlight),
		versions: tipt.HandshakeResponse{Version: tipt.Version, Compatible: true},
	}
}

func newNodeKey(t *testing.T) *seal.NodeKey {
	t.Helper()
	key, err := seal.NewNodeKey(string(nodeName), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (n *fakeNode) dial(context.Context) (link.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dials = append(n.dials, time.Now())
	if n.refuse != nil {
		if err := n.refuse(); err != nil {
			return nil, err
		}
	}
	here, there := link.Pipe()
	c := &fakeConn{node: n, ended: make(chan error, 1)}
	c.Link = link.New(there, link.Options{Handler: c})
	n.conn = c
	go func() { c.ended <- c.Run(context.Background()) }()
	if n.wrap != nil {
		here = n.wrap(here)
	}
	return here, nil
}

func (c *fakeConn) ServeEvent(tipt.Packet) {}

func (c *fakeConn) ServeTipt(r *link.Request) {
	n := c.node
	n.mu.Lock()
	defer n.mu.Unlock()
	switch code := tipt.NodeRequest(r.Code); {
	case code == tipt.RequestHandshake:
		r.Reply(n.versions.Append(nil))
	case code == tipt.RequestSignIn && !n.hold:
		var req tipt.SignInRequest
		if err := req.Parse(r.Body, r.Newer); err != nil {
			n.t.Errorf("SIGN_IN: %v", err)
		}
		n.signIns = append(n.signIns, req)
		if n.signIn != nil {
			r.Fail(n.signIn)
			return
		}
		resp := tipt.SignInResponse{Address: alice.String()}
		if !req.HasToken {
			resp.Token = token
		}
		r.Reply(resp.Append(nil))
	default:
		n.asked <- r
	}
}

// want returns the next request of the client, which must be of that type.
func (n *fakeNode) want(code tipt.NodeRequest) *link.Request {
	n.t.Helper()
	synctest.Wait()
	select {
	case r := <-n.asked:
		if r.Code != uint8(code) {
			n.t.Fatalf("client asked %v, want %v", tipt.NodeRequest(r.Code), code)
		}
		return r
	default:
		n.t.Fatalf("client asked nothing, want %v", code)
		return nil
	}
}

// wantNothing shows that the client asks nothing.
func (n *fakeNode) wantNothing() {
	n.t.Helper()
	synctest.Wait()
	select {
	case r := <-n.asked:
		n.t.Fatalf("client asked %v, want nothing", tipt.NodeRequest(r.Code))
	default:
	}
}

// wantForward returns the next request, a FORWARD, and what is sealed in it.
func (n *fakeNode) wantForward() (*link.Request, tipt.ForwardRequest, tipt.SealedRequest) {
	n.t.Helper()
	r := n.want(tipt.RequestForward)
	var req tipt.ForwardRequest
	if err := req.Parse(r.Body, r.Newer); err != nil {
		n.t.Fatal(err)
	}
	opened, err := n.key.Open(req.Sealed, time.Now())
	if err != nil {
		n.t.Fatal(err)
	}
	var sealed tipt.SealedRequest
	if err := sealed.Parse(opened); err != nil {
		n.t.Fatal(err)
	}
	return r, req, sealed
}

// giveKey answers the next request, a GET_NODE_KEY, and returns it.
func (n *fakeNode) giveKey() tipt.GetNodeKeyRequest {
	n.t.Helper()
	r := n.want(tipt.RequestGetNodeKey)
	var req tipt.GetNodeKeyRequest
	if err := req.Parse(r.Body, r.Newer); err != nil {
		n.t.Fatal(err)
	}
	r.Reply(tipt.GetNodeKeyResponse{Key: n.key.Certificate()}.Append(nil))
	return req
}

// answered is FORWARD's response with an answer of the destination.
func answered(e *tipt.ForwardError) []byte {
	return tipt.ForwardResponse{Response: tipt.ForwardAnswer{Err: e}.Append(nil)}.Append(nil)
}

// deliver sends the client a message and returns where its answer goes to.
func (c *fakeConn) deliver(m tipt.DeliverRequest) <-chan error {
	c.node.t.Helper()
	return c.request(tipt.RequestDeliver, m.Append(nil))
}

func (c *fakeConn) request(code tipt.ClientRequest, body []byte) <-chan error {
	c.node.t.Helper()
	answer := make(chan error, 1)
	err := c.Go(context.Background(), uint8(code), body, func(_ tipt.Packet, err error) { answer <- err })
	if err != nil {
		c.node.t.Fatal(err)
	}
	return answer
}

// newTestClient makes a client of the fake node that is not yet connected.
func newTestClient(t *testing.T, n *fakeNode, o *Options) *Client {
	t.Helper()
	c, err := newClient(nodeName, o)
	if err != nil {
		t.Fatal(err)
	}
	c.dial = n.dial
	for _, user := range []tipt.Address{bob, bobElsewhere} {
		hasNoCertificate(c, user)
	}
	return c
}

// hasNoCertificate makes the client know, for good, that a user has none.
func hasNoCertificate(c *Client, user tipt.Address) {
	c.users[user] = &userKey{turn: make(chan struct{}, 1), fetched: time.Now().Add(100 * 365 * 24 * time.Hour)}
}

// signedIn makes a client of the fake node that has signed in.
func signedIn(t *testing.T, n *fakeNode, o *Options) *Client {
	t.Helper()
	c := newTestClient(t, n, o)
	if err := c.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	in, err := c.SignIn(t.Context(), Credentials{User: "alice", Password: "correct horse"})
	if err != nil {
		t.Fatal(err)
	}
	if in.Address != alice {
		t.Fatalf("signed in as %v, want %v", in.Address, alice)
	}
	return c
}

// A pending is a call of the test's that runs in a goroutine.
type pending struct {
	t    *testing.T
	done chan error
}

func begin(t *testing.T, f func() error) *pending {
	p := &pending{t: t, done: make(chan error, 1)}
	go func() { p.done <- f() }()
	return p
}

// want waits for the call's end with an error that errors.Is target, nil for none.
func (p *pending) want(target error) {
	p.t.Helper()
	synctest.Wait()
	select {
	case err := <-p.done:
		if !errors.Is(err, target) {
			p.t.Fatalf("call ended with %v, want %v", err, target)
		}
	default:
		p.t.Fatalf("call has not ended, want %v", target)
	}
}

func (p *pending) wantRunning() {
	p.t.Helper()
	synctest.Wait()
	select {
	case err := <-p.done:
		p.t.Fatalf("call ended with %v, want it to go on", err)
	default:
	}
}

// wantAnswer waits for the client's answer to a DELIVER or RETURN.
func wantAnswer(t *testing.T, answer <-chan error, want error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-answer:
		if !errors.Is(err, want) {
			t.Fatalf("client answered %v, want %v", err, want)
		}
	default:
		t.Fatalf("client has not answered, want %v", want)
	}
}

func wantNoAnswer(t *testing.T, answer <-chan error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-answer:
		t.Fatalf("client answered %v, want no answer yet", err)
	default:
	}
}
