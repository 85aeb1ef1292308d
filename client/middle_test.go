package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/internal/ws"
	"github.com/tipt/tipt-go/link"
)

// A middle is in front of a node, with a certificate for its name, and passes on what clients ask
// and what it answers, but for what the test does to it: all that a forwarding node can do.
type middle struct {
	addr string
	url  string // of the node
	at   string // where it is
	tls  *tls.Config
	t    *testing.T

	mu     sync.Mutex // guards the following; see change
	ask    func(code tipt.NodeRequest, body []byte) []byte
	answer func(code tipt.NodeRequest, body []byte) ([]byte, error)
	asked  map[tipt.NodeRequest]int // requests that came

	running sync.WaitGroup
}

// errWithheld is for answer to return: the client gets no answer.
var errWithheld = errors.New("withheld")

func newMiddle(t *testing.T, n *tipttest.Node) *middle {
	t.Helper()
	cert, key, err := n.CA.Issue(string(n.Name))
	if err != nil {
		t.Fatal(err)
	}
	m := &middle{
		url:   "wss://" + string(n.Name) + "/ws",
		at:    n.Addr,
		tls:   &tls.Config{RootCAs: n.Pool(), MinVersion: tls.VersionTLS12},
		t:     t,
		asked: make(map[tipt.NodeRequest]int),
	}
	m.addr = serve(t, cert, key, 0, m.serve)
	t.Cleanup(m.running.Wait)
	return m
}

// change sets what is done from now on to what clients ask and to what they are answered: body in,
// body out, or a *tipt.Error or errWithheld. nil leaves it as it is.
func (m *middle) change(
	ask func(code tipt.NodeRequest, body []byte) []byte,
	answer func(code tipt.NodeRequest, body []byte) ([]byte, error),
) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ask, m.answer = ask, answer
}

// count is how many requests of a type have come.
func (m *middle) count(code tipt.NodeRequest) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked[code]
}

func (m *middle) serve(w http.ResponseWriter, r *http.Request) {
	dialed, err := ws.Dial(r.Context(), m.url, ws.DialOptions{
		TLS: m.tls,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, m.at)
		},
	})
	if err != nil { // the node restarts
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	conn, err := ws.Accept(w, r)
	if err != nil {
		m.t.Errorf("accept: %v", err)
		dialed.CloseNow()
		return
	}
	down, up := new(toNode), new(toClient)
	down.middle = m
	client, node := link.New(conn, link.Options{Handler: down}), link.New(dialed, link.Options{Handler: up})
	down.node, up.client = node, client
	// Why they end is the client's and the node's to say.
	m.running.Go(func() { _ = client.Run(context.Background()); node.CloseNow() })
	m.running.Go(func() { _ = node.Run(context.Background()); client.CloseNow() })
}

// toNode passes a client's requests on.
type toNode struct {
	middle *middle
	node   *link.Link
}

func (*toNode) ServeEvent(tipt.Packet) {}

func (d *toNode) ServeTipt(r *link.Request) {
	m, code, body := d.middle, tipt.NodeRequest(r.Code), r.Body
	m.mu.Lock()
	m.asked[code]++
	if m.ask != nil {
		body = m.ask(code, body)
	}
	m.mu.Unlock()
	err := d.node.Go(context.Background(), r.Code, body, func(p tipt.Packet, err error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if err == nil && m.answer != nil {
			p.Body, err = m.answer(code, p.Body)
		}
		var refusal *tipt.Error
		switch {
		case err == nil:
			r.Reply(p.Body)
		case errors.As(err, &refusal):
			r.Fail(refusal)
		}
	})
	if err != nil && !errors.Is(err, link.ErrClosed) {
		m.t.Errorf("pass a request on: %v", err)
	}
}

// toClient passes the node's requests on.
type toClient struct {
	client *link.Link
}

func (*toClient) ServeEvent(tipt.Packet) {}

func (u *toClient) ServeTipt(r *link.Request) {
	// Where the client has gone, the node's connection ends too.
	_ = u.client.Go(context.Background(), r.Code, r.Body, func(p tipt.Packet, err error) {
		var refusal *tipt.Error
		switch {
		case err == nil:
			r.Reply(p.Body)
		case errors.As(err, &refusal):
			r.Fail(refusal)
		}
	})
}
