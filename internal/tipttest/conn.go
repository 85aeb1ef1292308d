package tipttest

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
)

// patience is how long a test waits for what must come. It bounds a failing test, and
// decides nothing in one that passes.
const patience = 30 * time.Second

// A Conn is a client's connection with nothing between the test and the
// packets: no link, no library. Its methods fail the test when they fail.
type Conn struct {
	t    testing.TB
	ws   *websocket.Conn
	node *Node

	// Version is the `ver` of what is sent.
	Version string
	// Revision is the form of what is sent and read.
	Revision tipt.Revision
	// held are packets that came while another was waited for.
	held []tipt.Packet
}

// Dial opens a connection on which nothing has been said.
func (n *Node) Dial(t testing.TB) *Conn { return n.DialPath(t, "/ws") }

// DialPath is Dial with a path of its own.
func (n *Node) DialPath(t testing.TB, path string) *Conn {
	t.Helper()
	ws, _, err := n.Upgrade(path)
	if err != nil {
		t.Fatalf("dial %s: %v", path, err)
	}
	ws.SetReadLimit(tipt.MaxPacketSize + 1)
	t.Cleanup(func() { _ = ws.CloseNow() }) // usually closed already
	return &Conn{t: t, ws: ws, node: n, Version: tipt.Version}
}

// Upgrade asks for a WebSocket and returns what came of it.
func (n *Node) Upgrade(path string) (*websocket.Conn, *http.Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return websocket.Dial(ctx, "wss://"+string(n.Name)+path, &websocket.DialOptions{HTTPClient: n.HTTP()})
}

// HTTP returns a client that reaches the node under its name.
func (n *Node) HTTP() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: n.Pool(), MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, n.Addr)
		},
	}}
}

// Greet makes the HANDSHAKE, in the form of Revision.
func (c *Conn) Greet() *Conn {
	c.t.Helper()
	var body tipt.HandshakeRequest
	if c.Revision == tipt.RevisionDraft {
		body.Version = c.Version
	}
	c.Ask(0, tipt.RequestHandshake, body.Append(nil))
	c.WantReply(0)
	return c
}

// SignIn greets and signs in by password. Register the user first.
func (c *Conn) SignIn(user, password string) tipt.SignInResponse {
	c.t.Helper()
	return c.Greet().SignInAs(tipt.SignInRequest{User: user, Password: password, Device: "default", Receive: true})
}

// SignInAs signs in.
func (c *Conn) SignInAs(r tipt.SignInRequest) tipt.SignInResponse {
	c.t.Helper()
	c.Ask(0, tipt.RequestSignIn, r.Append(nil))
	var response tipt.SignInResponse
	if err := response.Parse(c.WantReply(0).Body, false); err != nil {
		c.t.Fatal(err)
	}
	return response
}

// Register makes an account on a connection of its own.
func (n *Node) Register(t testing.TB, user, password string) {
	t.Helper()
	c := n.Dial(t).Greet()
	c.Ask(0, tipt.RequestRegister, tipt.RegisterRequest{User: user, Password: password}.Append(nil))
	c.WantReply(0)
	c.Hang()
}

// Ask sends a request.
func (c *Conn) Ask(id uint8, code tipt.NodeRequest, body []byte) {
	c.t.Helper()
	c.Send(tipt.Packet{ID: id, Type: tipt.PacketRequest, Code: uint8(c.Revision.NodeRequest(uint8(code))), Body: body})
}

// Answer sends a response to a request of the node.
func (c *Conn) Answer(id uint8, e *tipt.Error) {
	c.t.Helper()
	c.Send(tipt.Packet{ID: id, Type: tipt.PacketResponse, Err: e})
}

// Send sends a packet.
func (c *Conn) Send(p tipt.Packet) {
	c.t.Helper()
	p.Version = c.Version
	c.SendBytes(tipt.AppendPacket(nil, c.Revision, &p))
}

// SendBytes sends a binary message.
func (c *Conn) SendBytes(b []byte) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.ws.Write(ctx, websocket.MessageBinary, b); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// SendText sends a text message, which no node takes.
func (c *Conn) SendText(text string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.ws.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		c.t.Fatalf("send a text: %v", err)
	}
}

// Ping sends a PING and waits for its PONG, reading packets meanwhile.
func (c *Conn) Ping() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ponged := make(chan error, 1)
	go func() { ponged <- c.ws.Ping(ctx) }()
	reading, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		if err := <-ponged; err != nil {
			c.t.Errorf("ping: %v", err)
		}
		stop()
	}()
	_, b, err := c.ws.Read(reading)
	if err == nil {
		c.t.Errorf("wanted a PONG alone, got the packet % x", b)
	}
}

// Read returns the next packet, those held back first.
func (c *Conn) Read() tipt.Packet {
	c.t.Helper()
	if len(c.held) > 0 {
		p := c.held[0]
		c.held = c.held[1:]
		return p
	}
	return c.read()
}

func (c *Conn) read() tipt.Packet {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	kind, b, err := c.ws.Read(ctx)
	if err != nil {
		c.t.Fatalf("read: %v", err)
	}
	if kind != websocket.MessageBinary {
		c.t.Fatalf("read a text message %q", b)
	}
	p, err := tipt.ParsePacket(b, c.Revision)
	if err != nil {
		c.t.Fatalf("read % x: %v", b, err)
	}
	return p
}

// find returns the first packet that is wanted, and holds the others back.
func (c *Conn) find(wanted func(tipt.Packet) bool) tipt.Packet {
	c.t.Helper()
	for i, p := range c.held {
		if wanted(p) {
			c.held = append(c.held[:i], c.held[i+1:]...)
			return p
		}
	}
	for {
		p := c.read()
		if wanted(p) {
			return p
		}
		c.held = append(c.held, p)
	}
}

// WantResponse returns the response to a request.
func (c *Conn) WantResponse(id uint8) tipt.Packet {
	c.t.Helper()
	return c.find(func(p tipt.Packet) bool { return p.Type == tipt.PacketResponse && p.ID == id })
}

// WantReply returns a response without an error.
func (c *Conn) WantReply(id uint8) tipt.Packet {
	c.t.Helper()
	p := c.WantResponse(id)
	if p.Err != nil {
		c.t.Fatalf("response %d: %v", id, p.Err)
	}
	return p
}

// WantError returns the error of a response that has one with that code.
func (c *Conn) WantError(id uint8, code tipt.ErrorCode) *tipt.Error {
	c.t.Helper()
	p := c.WantResponse(id)
	if p.Err == nil {
		c.t.Fatalf("response %d: no error, want %v", id, code)
	}
	if p.Err.Code != code {
		c.t.Fatalf("response %d: %v, want %v", id, p.Err, code)
	}
	return p.Err
}

// WantDeliver returns the next DELIVER and its id, unanswered.
func (c *Conn) WantDeliver() (uint8, tipt.DeliverRequest) {
	c.t.Helper()
	p := c.find(func(p tipt.Packet) bool { return p.Type == tipt.PacketRequest })
	if p.Code != uint8(tipt.RequestDeliver) {
		c.t.Fatalf("got request %v, want DELIVER", tipt.ClientRequest(p.Code))
	}
	var d tipt.DeliverRequest
	if err := d.Parse(p.Body, false); err != nil {
		c.t.Fatal(err)
	}
	return p.ID, d
}

// WantReturn returns the next RETURN and its id, unanswered.
func (c *Conn) WantReturn() (uint8, tipt.ReturnRequest) {
	c.t.Helper()
	p := c.find(func(p tipt.Packet) bool { return p.Type == tipt.PacketRequest })
	if p.Code != uint8(tipt.RequestReturn) {
		c.t.Fatalf("got request %v, want RETURN", tipt.ClientRequest(p.Code))
	}
	var r tipt.ReturnRequest
	if err := r.Parse(p.Body, false); err != nil {
		c.t.Fatal(err)
	}
	return p.ID, r
}

// WantEvent returns the next event.
func (c *Conn) WantEvent() tipt.Packet {
	c.t.Helper()
	return c.find(func(p tipt.Packet) bool { return p.Type == tipt.PacketEvent })
}

// WantQuiet shows that the node has nothing more to say: what GET_INFO is
// answered with comes next.
func (c *Conn) WantQuiet(id uint8) {
	c.t.Helper()
	c.Ask(id, tipt.RequestGetInfo, nil)
	p := c.Read()
	if p.Type != tipt.PacketResponse || p.ID != id {
		c.t.Fatalf("got %v %d with code %d, want nothing", p.Type, p.ID, p.Code)
	}
}

// WantClose waits for the node to close with a code.
func (c *Conn) WantClose(code int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		_, _, err := c.ws.Read(ctx)
		if err == nil {
			continue
		}
		var closed websocket.CloseError
		if !errors.As(err, &closed) || int(closed.Code) != code {
			c.t.Fatalf("connection ended with %v, want close code %d", err, code)
		}
		return
	}
}

// Hang drops the connection without a close frame.
func (c *Conn) Hang() {
	_ = c.ws.CloseNow() // the node may have closed it
}

// Seal seals a request to the node's key.
func (n *Node) Seal(t testing.TB, r tipt.SealedRequest) []byte {
	t.Helper()
	return n.SealBytes(t, r.Append(nil))
}

// SealBytes seals whatever to the node's key.
func (n *Node) SealBytes(t testing.TB, b []byte) []byte {
	t.Helper()
	cert, err := seal.ParseCertificate(n.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := cert.Seal(b, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// Message makes the body of a FORWARD with a MESSAGE to a user of this node.
func (n *Node) Message(t testing.TB, to string, id tipt.MessageID, body string, wait bool) []byte {
	t.Helper()
	sealed := n.Seal(t, tipt.SealedRequest{
		Type:    tipt.ForwardMessage,
		Message: &tipt.MessageForward{To: to, ID: id, Message: []byte(body)},
	})
	return tipt.ForwardRequest{Node: string(n.Name), Wait: wait, Sealed: sealed, Ref: &id}.Append(nil)
}
