package letters

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/ws"
	"github.com/tipt/tipt-go/link"
	"github.com/tipt/tipt-go/seal"
)

// A Door is where a node takes its clients in.
type Door struct {
	Node  tipt.NodeName
	Addr  string // HOST:PORT
	Roots *x509.CertPool
}

// A Conn is a client's connection without the client library: a test that uses it
// knows just what it has asked and what has been answered.
type Conn struct {
	*link.Link
	Node   tipt.NodeName
	Local  string              // the address it comes from
	Ended  chan struct{}       // closed when it has ended
	Cause  error               // why it ended; to be read after Ended
	Events chan tipt.Packet    // has the first one
	answer func(*link.Request) // nil: what is delivered stays unanswered
}

// Dial opens a connection and makes the HANDSHAKE. deliver is told what the node
// delivers and must not block; without it that stays unanswered.
func Dial(ctx context.Context, d Door, deliver func(*link.Request)) (*Conn, error) {
	c := &Conn{Node: d.Node, Ended: make(chan struct{}), Events: make(chan tipt.Packet, 1), answer: deliver}
	transport, err := ws.Dial(ctx, "wss://"+string(d.Node)+"/ws", ws.DialOptions{
		TLS: &tls.Config{RootCAs: d.Roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, d.Addr)
			if err == nil {
				c.Local = conn.LocalAddr().String()
			}
			return conn, err
		},
	})
	if err != nil {
		return nil, err
	}
	c.Link = link.New(transport, link.Options{Handler: handler{c}})
	go func() {
		c.Cause = c.Run(context.Background()) // Hang ends it
		close(c.Ended)
	}()
	if _, err := c.Ask(ctx, tipt.RequestHandshake, nil); err != nil {
		c.Hang()
		return nil, err
	}
	return c, nil
}

// A handler is the link.Handler of a Conn.
type handler struct{ conn *Conn }

func (h handler) ServeTipt(r *link.Request) {
	if h.conn.answer != nil {
		h.conn.answer(r)
	}
}

func (h handler) ServeEvent(p tipt.Packet) {
	select {
	case h.conn.Events <- p:
	default: // the first one is the one that tests look at
	}
}

// Hang drops the connection.
func (c *Conn) Hang() {
	c.CloseNow()
	<-c.Ended
}

// Ask makes a request and waits for its answer. The error is a *tipt.Error when the
// node refuses.
func (c *Conn) Ask(ctx context.Context, code tipt.NodeRequest, body []byte) (tipt.Packet, error) {
	return c.Call(ctx, uint8(code), body)
}

// Register makes REGISTER. invite may be "".
func (c *Conn) Register(ctx context.Context, user, password, invite string) error {
	request := tipt.RegisterRequest{User: user, Password: password, Invite: invite, HasInvite: invite != ""}
	_, err := c.Ask(ctx, tipt.RequestRegister, request.Append(nil))
	return err
}

// SignIn makes SIGN_IN.
func (c *Conn) SignIn(ctx context.Context, request tipt.SignInRequest) (tipt.SignInResponse, error) {
	var response tipt.SignInResponse
	p, err := c.Ask(ctx, tipt.RequestSignIn, request.Append(nil))
	if err != nil {
		return response, err
	}
	return response, response.Parse(p.Body, p.Newer)
}

// Certificate makes GET_NODE_KEY.
func (c *Conn) Certificate(ctx context.Context, node tipt.NodeName) (*seal.Certificate, error) {
	var response tipt.GetNodeKeyResponse
	p, err := c.Ask(ctx, tipt.RequestGetNodeKey, tipt.GetNodeKeyRequest{Node: string(node)}.Append(nil))
	if err != nil {
		return nil, err
	}
	if err := response.Parse(p.Body, p.Newer); err != nil {
		return nil, err
	}
	return seal.ParseCertificate(response.Key)
}

// Message makes the body of a FORWARD with a MESSAGE. key is that of to's node.
func Message(key *seal.Certificate, to tipt.Address, id tipt.MessageID, content []byte, wait bool) ([]byte, error) {
	request := tipt.SealedRequest{
		Type:    tipt.ForwardMessage,
		Message: &tipt.MessageForward{To: string(to.User), ID: id, Message: content},
	}
	sealed, err := key.Seal(request.Append(nil), time.Now())
	if err != nil {
		return nil, err
	}
	return tipt.ForwardRequest{Node: string(to.Node), Wait: wait, Sealed: sealed, Ref: &id}.Append(nil), nil
}

// Accepted returns why a FORWARD is not to be taken as accepted: the node's refusal, the
// destination's, or what ended the connection.
func Accepted(p tipt.Packet, err error, wait bool) error {
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
