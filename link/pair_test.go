package link_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/ws"
	"github.com/tipt/tipt-go/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dialTLS returns the two ends of a WebSocket over TLS on a loopback socket, with the
// certificate that httptest made.
func dialTLS(t testing.TB) (client, node link.Conn) {
	t.Helper()
	accepted := make(chan *ws.Conn, 1)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := ws.Accept(w, r)
		if err != nil {
			t.Errorf("accept: %v", err)
		}
		accepted <- c
	}))
	t.Cleanup(server.Close)
	config := server.Client().Transport.(*http.Transport).TLSClientConfig
	c, err := ws.Dial(t.Context(), "wss"+strings.TrimPrefix(server.URL, "https")+"/ws",
		ws.DialOptions{TLS: &tls.Config{RootCAs: config.RootCAs}})
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	return c, <-accepted
}

// A side is one link of a pair that runs.
type side struct {
	*link.Link
	name  string
	ended chan struct{} // closed when Run has returned
	err   error         // of Run
}

// run starts a link, which is dropped at the end of the test.
func run(t testing.TB, name string, c link.Conn, o link.Options) *side {
	s := &side{Link: link.New(c, o), name: name, ended: make(chan struct{})}
	ctx := context.WithoutCancel(t.Context())
	go func() {
		defer close(s.ended)
		s.err = s.Run(ctx)
	}()
	t.Cleanup(func() { hangUp(s) })
	return s
}

// wait returns Run's error.
func (s *side) wait() error {
	<-s.ended
	return s.err
}

// hangUp ends both sides.
func hangUp(sides ...*side) {
	for _, s := range sides {
		s.CloseNow()
	}
	for _, s := range sides {
		<-s.ended
	}
}

// ends are the two ends of a connection.
type ends struct {
	a, b link.Conn
	// settle returns once everything waits for something else. It does nothing over
	// sockets, where nobody can tell.
	settle func()
}

// each runs a test over a Pipe, within a synctest bubble, and over TLS, with
// either end in either role.
func each(t *testing.T, test func(t *testing.T, e ends)) {
	t.Run("pipe", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := link.Pipe()
			test(t, ends{a, b, synctest.Wait})
		})
	})
	t.Run("client of tls", func(t *testing.T) {
		client, node := dialTLS(t)
		test(t, ends{client, node, func() {}})
	})
	t.Run("node of tls", func(t *testing.T) {
		client, node := dialTLS(t)
		test(t, ends{node, client, func() {}})
	})
}

// A handler is made of functions; one that is nil is not to be called.
type handler struct {
	request func(*link.Request)
	event   func(tipt.Packet)
}

func (h handler) ServeTipt(r *link.Request) { h.request(r) }
func (h handler) ServeEvent(p tipt.Packet)  { h.event(p) }

// keep returns a handler that keeps all requests, unanswered.
func keep() (handler, chan *link.Request) {
	requests := make(chan *link.Request, tipt.MaxInFlight)
	return handler{request: func(r *link.Request) { requests <- r }}, requests
}

// echo is a handler that answers each request with its body at once.
var echo = handler{request: func(r *link.Request) { r.Reply(r.Body) }}

// body returns the map {"n": n, "pad": size bytes}.
func body(n, size int) []byte {
	b := []byte{
		0x82, 0xa1, 'n', 0xcd, byte(n >> 8), byte(n), 0xa3, 'p', 'a', 'd', 0xc6,
		byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size),
	}
	return append(b, make([]byte, size)...)
}

// number returns n of a body.
func number(b []byte) int {
	if len(b) < 6 {
		return -1
	}
	return int(b[4])<<8 | int(b[5])
}

// A result is what a call came to.
type result struct {
	packet tipt.Packet
	err    error
}

// results returns a done function for Go and where its results come out.
func results(n int) (func(tipt.Packet, error), chan result) {
	c := make(chan result, n)
	return func(p tipt.Packet, err error) { c <- result{p, err} }, c
}

// start makes a call that must be queued without an error.
func start(t testing.TB, s *side, code uint8, body []byte, done func(tipt.Packet, error)) {
	t.Helper()
	if err := s.Go(context.WithoutCancel(t.Context()), code, body, done); err != nil {
		t.Fatalf("%s: Go: %v", s.name, err)
	}
}

// A raw peer sends and receives packets as it likes.
type raw struct {
	link.Conn
	pongs chan struct{}

	mu     sync.Mutex
	pinged int
}

func newRaw(t testing.TB, c link.Conn) *raw {
	r := &raw{Conn: c, pongs: make(chan struct{}, 1000)}
	t.Cleanup(c.CloseNow)
	c.Bind(func() {
		r.mu.Lock()
		r.pinged++
		r.mu.Unlock()
	}, func() { r.pongs <- struct{}{} })
	return r
}

// send writes packets.
func (r *raw) send(t testing.TB, packets ...tipt.Packet) {
	t.Helper()
	var encoded [][]byte
	for _, p := range packets {
		p.Version = tipt.Version
		encoded = append(encoded, tipt.AppendPacket(nil, tipt.RevisionSeed, &p))
	}
	if err := r.Write(encoded); err != nil {
		t.Errorf("raw peer: write: %v", err)
	}
}

// receive reads one packet; the error is that of the connection.
func (r *raw) receive(t testing.TB) (tipt.Packet, error) {
	t.Helper()
	m, err := r.Next()
	if err != nil {
		return tipt.Packet{}, err
	}
	b, err := io.ReadAll(m)
	if err != nil {
		return tipt.Packet{}, err
	}
	p, err := tipt.ParsePacket(b, tipt.RevisionSeed)
	if err != nil {
		t.Errorf("raw peer: % x: %v", b, err)
	}
	return p, nil
}

// want reads one packet that must come.
func (r *raw) want(t testing.TB, why string) tipt.Packet {
	t.Helper()
	p, err := r.receive(t)
	if err != nil {
		t.Fatalf("%s: %v", why, err)
	}
	return p
}

// wantClose reads until the peer's close frame, which must have that code.
func (r *raw) wantClose(t testing.TB, code int) {
	t.Helper()
	for {
		_, err := r.receive(t)
		if err == nil {
			continue
		}
		var ce *link.CloseError
		if !errors.As(err, &ce) || ce.Local || ce.Code != code {
			t.Fatalf("raw peer: %v, want the peer's close frame with %d", err, code)
		}
		return
	}
}

func request(id, code uint8, body []byte) tipt.Packet {
	return tipt.Packet{Type: tipt.PacketRequest, ID: id, Code: code, Body: body}
}

func response(id uint8, body []byte) tipt.Packet {
	return tipt.Packet{Type: tipt.PacketResponse, ID: id, Body: body}
}

func event(code uint8, body []byte) tipt.Packet {
	return tipt.Packet{Type: tipt.PacketEvent, Code: code, Body: body}
}

// wantCode checks an error of a call.
func wantCode(t testing.TB, why string, err error, code tipt.ErrorCode) {
	t.Helper()
	if !errors.Is(err, code) {
		t.Errorf("%s: %v, want %v", why, err, code)
	}
}

// wantClosed checks how Run ended.
func wantClosed(t testing.TB, s *side, local bool, code int) {
	t.Helper()
	err := s.wait()
	var ce *link.CloseError
	if !errors.As(err, &ce) || ce.Local != local || ce.Code != code {
		t.Errorf("%s: Run: %v, want a close with %d, local %v", s.name, err, code, local)
	}
}

func describe(p tipt.Packet) string {
	return fmt.Sprintf("%v %d code %#x n %d err %v", p.Type, p.ID, p.Code, number(p.Body), p.Err)
}
