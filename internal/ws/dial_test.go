package ws_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/tipt/tipt-go"
	tiptws "github.com/tipt/tipt-go/internal/ws"
	"github.com/tipt/tipt-go/link"
)

func TestDialStatus(t *testing.T) {
	for _, test := range []struct {
		name, retry string
		status      int
		min, max    time.Duration
	}{
		{"overload", "120", 503, 2 * time.Minute, 2 * time.Minute},
		{"date", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), 503, 58 * time.Minute, time.Hour},
		{"date gone by", "Sun, 06 Nov 1994 08:49:37 GMT", 503, 0, 0},
		{"nonsense", "soon", 503, 0, 0},
		{"negative", "-5", 503, 0, 0},
		{"internal error", "", 500, 0, 0},
		{"redirect", "", 302, 0, 0},
		{"no WebSocket", "", 200, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			asked := 0
			closed := make(chan struct{})
			n := newNodeWith(t, func(w http.ResponseWriter, r *http.Request) {
				asked++
				w.Header().Set("Retry-After", test.retry)
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(test.status)
			}, func(s *httptest.Server) {
				s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
					if state == http.StateClosed {
						close(closed)
					}
				}
			})
			_, err := tiptws.Dial(t.Context(), n.url(), tiptws.DialOptions{TLS: n.tls})
			var se *tiptws.StatusError
			if !errors.As(err, &se) || se.Status != test.status {
				t.Fatalf("error %v, want status %d", err, test.status)
			}
			if se.RetryAfter < test.min || se.RetryAfter > test.max {
				t.Errorf("retry after %v", se.RetryAfter)
			}
			<-closed // the client keeps no connection
			if asked != 1 {
				t.Errorf("%d requests", asked)
			}
		})
	}
}

func TestDialRefuses(t *testing.T) {
	n := newNode(t)
	old := newNodeWith(t, func(http.ResponseWriter, *http.Request) { t.Error("a request over TLS 1.1") },
		func(s *httptest.Server) { s.TLS = &tls.Config{MinVersion: tls.VersionTLS10} })
	for _, test := range []struct {
		name, url string
		tls       *tls.Config
	}{
		{"unknown root", n.url(), &tls.Config{RootCAs: x509.NewCertPool()}},
		{"no TLS configuration", n.url(), nil},
		{"other name", n.url(), &tls.Config{RootCAs: n.tls.RootCAs, ServerName: "tipt.test"}},
		{"no verification", n.url(), &tls.Config{RootCAs: n.tls.RootCAs, InsecureSkipVerify: true}},
		{"TLS 1.1", old.url(), &tls.Config{RootCAs: old.tls.RootCAs, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}},
		{"no TLS", strings.Replace(n.url(), "wss", "ws", 1), n.tls},
		{"no URL", "example.com", n.tls},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := tiptws.Dial(t.Context(), test.url, tiptws.DialOptions{TLS: test.tls}); err == nil {
				t.Error("no error")
			}
		})
	}
	if len(n.accepted) != 0 {
		t.Error("a connection was made")
	}
}

// dial connects a client to the node.
func (n *node) dial(t testing.TB) *tiptws.ClientConn {
	t.Helper()
	c, err := tiptws.Dial(t.Context(), n.url(), tiptws.DialOptions{TLS: n.tls})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestDialContext: the function given makes the connection, and ctx bounds nothing
// but the handshake.
func TestDialContext(t *testing.T) {
	n := newNode(t)
	ctx, cancel := context.WithCancel(t.Context())
	dialled := ""
	c, err := tiptws.Dial(ctx, "wss://node.test/ws", tiptws.DialOptions{
		TLS: n.tls,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			dialled = addr
			return new(net.Dialer).DialContext(ctx, network, n.Listener.Addr().String())
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if dialled != "node.test:443" {
		t.Errorf("dialled %s", dialled)
	}
	cancel()
	l := link.New(c, link.Options{})
	ended := make(chan error, 1)
	go func() { ended <- l.Run(context.Background()) }()
	n.serving(t, nil)
	if err := l.PingWait(t.Context()); err != nil {
		t.Errorf("after the end of Dial's context: %v", err)
	}
	l.CloseNow()
	if err := <-ended; !errors.Is(err, link.ErrClosed) {
		t.Errorf("Run: %v", err)
	}
}

func TestDialContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	client, server := net.Pipe()
	defer server.Close()
	defer client.Close()
	_, err := tiptws.Dial(ctx, "wss://node.test/ws", tiptws.DialOptions{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			cancel() // and the node never answers
			return client, nil
		},
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Dial: %v", err)
	}
}

// badNode returns a node that speaks frames of its own to a client.
func badNode(t *testing.T, serve func(nc net.Conn)) *node {
	return newNodeWith(t, func(w http.ResponseWriter, r *http.Request) {
		nc, _, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close()
		serve(nc)
	})
}

func write(t *testing.T, w io.Writer, frames ...ws.Frame) {
	for _, f := range frames {
		if err := ws.WriteFrame(w, f); err != nil {
			t.Error(err)
		}
	}
}

// TestClientAnswersPingWithinMessage: so does a client.
func TestClientAnswersPingWithinMessage(t *testing.T) {
	n := badNode(t, func(nc net.Conn) {
		write(t, nc, ws.NewFrame(ws.OpBinary, false, []byte("one")), ws.NewPingFrame([]byte("now")))
		f := readFrame(t, nc)
		if f.Header.OpCode != ws.OpPong || string(ws.UnmaskFrame(f).Payload) != "now" {
			t.Errorf("client sent %x %q", f.Header.OpCode, f.Payload)
		}
		write(t, nc, ws.NewFrame(ws.OpContinuation, true, []byte("two")), ws.NewFrame(ws.OpBinary, true, []byte("three")))
	})
	c := n.dial(t)
	defer c.CloseNow()
	pinged := 0
	c.Bind(func() { pinged++ }, func() {})
	for _, want := range []string{"onetwo", "three"} {
		m, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(m); err != nil || string(got) != want {
			t.Errorf("message %q, %v", got, err)
		}
	}
	if pinged != 1 {
		t.Errorf("told of %d PINGs", pinged)
	}
	var ce *link.CloseError
	if _, err := c.Next(); err == nil || errors.Is(err, io.EOF) || errors.As(err, &ce) {
		t.Errorf("lost connection: %v", err)
	}
}

// TestClientRefuses: a client closes with the code of section 1 for what a node may not send.
func TestClientRefuses(t *testing.T) {
	for _, test := range []struct {
		name  string
		frame ws.Frame
		code  int
	}{
		{"text", ws.NewTextFrame([]byte("hi")), tipt.CloseText},
		{"too large", ws.NewBinaryFrame(make([]byte, tipt.MaxPacketSize+1)), tipt.CloseTooLarge},
		{"unreadable", ws.NewBinaryFrame([]byte{0xc1}), tipt.CloseProtocol},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := badNode(t, func(nc net.Conn) {
				write(t, nc, test.frame)
				f := readFrame(t, nc)
				code, _ := ws.ParseCloseFrameData(ws.UnmaskFrame(f).Payload)
				if f.Header.OpCode != ws.OpClose || int(code) != test.code {
					t.Errorf("client sent %x with %d, want a close with %d", f.Header.OpCode, code, test.code)
				}
				write(t, nc, ws.NewCloseFrame(ws.NewCloseFrameBody(code, "")))
			})
			l := link.New(n.dial(t), link.Options{})
			var ce *link.CloseError
			if err := l.Run(t.Context()); !errors.As(err, &ce) || !ce.Local || ce.Code != test.code {
				t.Errorf("Run: %v", err)
			}
		})
	}
}

// TestClientWritesFragments: a long message of a client is the same at the node.
func TestClientWritesFragments(t *testing.T) {
	n := newNode(t)
	c := n.dial(t)
	defer c.CloseNow()
	peer := <-n.accepted
	defer peer.CloseNow()
	c.Bind(func() {}, func() {})
	peer.Bind(func() {}, func() {})
	packets := [][]byte{nil, []byte("short"), bytes.Repeat([]byte("0123456789"), 200_000), bytes.Repeat([]byte("x"), 32<<10)}
	written := make(chan error, 1)
	go func() { written <- c.Write(packets) }()
	for i, want := range packets {
		m, err := peer.Next()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(m); err != nil || !bytes.Equal(got, want) {
			t.Errorf("packet %d: %d bytes, %v", i, len(got), err)
		}
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}
