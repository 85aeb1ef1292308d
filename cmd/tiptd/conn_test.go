package main_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/internal/ws"
	"github.com/tipt/tipt-go/link"
	"github.com/tipt/tipt-go/seal"
)

// A conn is a client's connection without the client library: a test that uses it
// knows just what it has asked and what has been answered.
type conn struct {
	*link.Link
	node   tipt.NodeName
	local  string        // the address it comes from
	ended  chan struct{} // closed when it has ended
	cause  error         // why it ended; to be read after ended
	events chan tipt.Packet
}

// A listener is told what the node delivers. It must not block.
type listener func(*link.Request)

// dial opens a connection and makes the HANDSHAKE. deliver may be nil: then what is
// delivered stays unanswered.
func dial(ctx context.Context, d *tipttest.Daemon, addr string, deliver listener) (*conn, error) {
	c := &conn{node: d.Name, ended: make(chan struct{}), events: make(chan tipt.Packet, 1)}
	transport, err := ws.Dial(ctx, "wss://"+string(d.Name)+"/ws", ws.DialOptions{
		TLS: &tls.Config{RootCAs: d.CA.Pool(), MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err == nil {
				c.local = conn.LocalAddr().String()
			}
			return conn, err
		},
	})
	if err != nil {
		return nil, err
	}
	c.Link = link.New(transport, link.Options{Handler: handler{c, deliver}})
	go func() {
		c.cause = c.Run(context.Background()) // hang ends it
		close(c.ended)
	}()
	if _, err := c.ask(ctx, tipt.RequestHandshake, nil); err != nil {
		c.hang()
		return nil, err
	}
	return c, nil
}

// A handler is the link.Handler of a conn.
type handler struct {
	conn    *conn
	deliver listener
}

func (h handler) ServeTipt(r *link.Request) {
	if h.deliver != nil {
		h.deliver(r)
	}
}

func (h handler) ServeEvent(p tipt.Packet) {
	select {
	case h.conn.events <- p:
	default: // the first one is the one that tests look at
	}
}

// hang drops the connection.
func (c *conn) hang() {
	c.CloseNow()
	<-c.ended
}

// ask makes a request and waits for its answer. The error is a *tipt.Error when the
// node refuses.
func (c *conn) ask(ctx context.Context, code tipt.NodeRequest, body []byte) (tipt.Packet, error) {
	return c.Call(ctx, uint8(code), body)
}

// wantRead waits until the node has read all that was asked before: it answers GET_INFO
// as soon as it has read that.
func (c *conn) wantRead(ctx context.Context, t *testing.T) {
	t.Helper()
	if _, err := c.ask(ctx, tipt.RequestGetInfo, nil); err != nil {
		t.Fatal(err)
	}
}

func (c *conn) register(ctx context.Context, user, password, invite string) error {
	request := tipt.RegisterRequest{User: user, Password: password, Invite: invite, HasInvite: invite != ""}
	_, err := c.ask(ctx, tipt.RequestRegister, request.Append(nil))
	return err
}

func (c *conn) signIn(ctx context.Context, request tipt.SignInRequest) (tipt.SignInResponse, error) {
	var response tipt.SignInResponse
	p, err := c.ask(ctx, tipt.RequestSignIn, request.Append(nil))
	if err != nil {
		return response, err
	}
	return response, response.Parse(p.Body, p.Newer)
}

// certificate asks for the node's own key.
func (c *conn) certificate(ctx context.Context) (*seal.Certificate, error) {
	var response tipt.GetNodeKeyResponse
	p, err := c.ask(ctx, tipt.RequestGetNodeKey, tipt.GetNodeKeyRequest{Node: string(c.node)}.Append(nil))
	if err != nil {
		return nil, err
	}
	if err := response.Parse(p.Body, p.Newer); err != nil {
		return nil, err
	}
	return seal.ParseCertificate(response.Key)
}

// message makes the body of a FORWARD with a MESSAGE to a user of the node.
func message(key *seal.Certificate, node tipt.NodeName, to string, id tipt.MessageID, content []byte, wait bool) ([]byte, error) {
	request := tipt.SealedRequest{
		Type:    tipt.ForwardMessage,
		Message: &tipt.MessageForward{To: to, ID: id, Message: content},
	}
	sealed, err := key.Seal(request.Append(nil), time.Now())
	if err != nil {
		return nil, err
	}
	return tipt.ForwardRequest{Node: string(node), Wait: wait, Sealed: sealed, Ref: &id}.Append(nil), nil
}

// accepted returns why a FORWARD is not to be taken as accepted: the node's refusal, the
// destination's, or what ended the connection.
func accepted(p tipt.Packet, err error, wait bool) error {
	if err != nil {
		return err
	}
	if !wait {
		return tipt.ParseNil(p.Body)
	}
	var response tipt.ForwardResponse
	if err := response.Parse(p.Body, p.Newer); err != nil {
		return err
	}
	var answer tipt.ForwardAnswer
	if err := answer.Parse(response.Response); err != nil {
		return err
	}
	if answer.Err != nil {
		return answer.Err
	}
	return nil
}

// A user is somebody with a connection, for tests in which nothing goes wrong.
type user struct {
	*conn
	t    *testing.T
	name string
	key  *seal.Certificate
}

const password = "correct horse"

// register makes accounts.
func register(t *testing.T, d *tipttest.Daemon, addr string, names ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := dial(ctx, d, addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.hang()
	for _, name := range names {
		if err := c.register(ctx, name, password, ""); err != nil {
			t.Fatalf("register %s: %v", name, err)
		}
	}
}

// signIn opens a connection for a user who is registered; it ends with the test.
func signIn(t *testing.T, d *tipttest.Daemon, addr, name string, deliver listener) *user {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := dial(ctx, d, addr, deliver)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.hang)
	if _, err := c.signIn(ctx, tipt.SignInRequest{User: name, Password: password, Receive: true}); err != nil {
		t.Fatalf("sign in as %s: %v", name, err)
	}
	key, err := c.certificate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return &user{conn: c, t: t, name: name, key: key}
}

// send sends a message with `wait` true and returns the error.
func (u *user) send(to string, content []byte) error {
	body, err := message(u.key, u.node, to, tipt.NewMessageID(), content, true)
	if err != nil {
		u.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(u.t.Context(), patience)
	defer cancel()
	p, err := u.ask(ctx, tipt.RequestForward, body)
	return accepted(p, err, true)
}

// upgrade asks for a WebSocket and returns the answer.
func upgrade(t *testing.T, d *tipttest.Daemon, addr string) *http.Response {
	t.Helper()
	return get(t, d, addr, "/ws", http.Header{
		"Connection":            {"Upgrade"},
		"Upgrade":               {"websocket"},
		"Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key":     {"dGhlIHNhbXBsZSBub25jZQ=="}, // RFC 6455, section 1.3
	})
}

// get makes an HTTP request on a connection of its own, and drops that once the answer is read.
func get(t *testing.T, d *tipttest.Daemon, addr, path string, header http.Header) *http.Response {
	t.Helper()
	transport := &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: d.CA.Pool(), MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+string(d.Name)+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(request.Header, header)
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatalf("get %s: %v", path, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusSwitchingProtocols {
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatalf("get %s: %v", path, err)
		}
		response.Body = io.NopCloser(bytes.NewReader(body))
	}
	return response
}

// wantCode checks that a request was refused for a reason.
func wantCode(t *testing.T, what string, err error, code tipt.ErrorCode) {
	t.Helper()
	if !errors.Is(err, code) {
		t.Errorf("%s: %v, want %v", what, err, code)
	}
}

// wantClose waits for the node to close the connection with a code.
func (c *conn) wantClose(t *testing.T, code int) {
	t.Helper()
	select {
	case <-c.ended:
	case <-time.After(patience):
		t.Fatalf("the connection does not end, want close code %d", code)
	}
	var closed *link.CloseError
	if !errors.As(c.cause, &closed) || closed.Local || closed.Code != code {
		t.Fatalf("the connection ended with %v, want close code %d of the node", c.cause, code)
	}
}
