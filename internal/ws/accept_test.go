package ws_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"github.com/tipt/tipt-go"
	tiptws "github.com/tipt/tipt-go/internal/ws"
	"github.com/tipt/tipt-go/link"
)

// A node accepts connections over TLS, with a certificate made by httptest.
type node struct {
	*httptest.Server
	tls      *tls.Config // for its clients
	accepted chan *tiptws.Conn
	refused  chan error

	received *bytes.Buffer // keeps what its client gets, under TLS; nil: nothing does
}

// A teeConn keeps what is read from it.
type teeConn struct {
	net.Conn
	read *bytes.Buffer
}

func (c teeConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read.Write(b[:n])
	return n, err
}

func newNode(t testing.TB) *node {
	accepted, refused := make(chan *tiptws.Conn, 1), make(chan error, 1)
	n := newNodeWith(t, func(w http.ResponseWriter, r *http.Request) {
		if c, err := tiptws.Accept(w, r); err != nil {
			refused <- err
		} else {
			accepted <- c
		}
	})
	n.accepted, n.refused = accepted, refused
	return n
}

// newNodeWith returns a node that serves upgrades in another way, or is different otherwise.
func newNodeWith(t testing.TB, serve http.HandlerFunc, changes ...func(*httptest.Server)) *node {
	n := &node{Server: httptest.NewUnstartedServer(serve)}
	for _, change := range changes {
		change(n.Server)
	}
	n.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that do not trust it
	n.StartTLS()
	t.Cleanup(n.Close)
	n.tls = &tls.Config{RootCAs: n.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com"}
	return n
}

// url is where a WebSocket client finds the node.
func (n *node) url() string { return "wss" + strings.TrimPrefix(n.URL, "https") + "/ws" }

// connect opens a TLS connection and writes.
func (n *node) connect(t testing.TB, b string) (net.Conn, *bufio.Reader) {
	t.Helper()
	tcp, err := net.Dial("tcp", n.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if n.received != nil {
		tcp = teeConn{tcp, n.received}
	}
	nc := tls.Client(tcp, n.tls)
	t.Cleanup(func() {
		if err := nc.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Logf("close: %v", err) // the node may have cut it
		}
	})
	if _, err := nc.Write([]byte(b)); err != nil {
		t.Fatal(err)
	}
	return nc, bufio.NewReader(nc)
}

const (
	requestLine = "GET /ws HTTP/1.1\r\nHost: example.com\r\n"
	upgrade     = "Upgrade: websocket\r\nConnection: Upgrade\r\n"
	version     = "Sec-WebSocket-Version: 13\r\n"
	key         = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" // the example of RFC 6455
)

// join opens a connection up to the node's 101 and returns it.
func (n *node) join(t testing.TB) (net.Conn, *bufio.Reader) {
	t.Helper()
	nc, r := n.connect(t, requestLine+upgrade+version+key+"\r\n")
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %v, %v", resp, err)
	}
	return nc, r
}

func TestAccept(t *testing.T) {
	n := newNode(t)
	for _, test := range []struct{ name, request string }{
		{"plain", requestLine + upgrade + version + key},
		{"any path", "GET /x/../%20?y HTTP/1.1\r\nHost: elsewhere.example\r\n" + upgrade + version + key},
		{"any Origin", requestLine + "Origin: https://evil.example\r\n" + upgrade + version + key},
		{"offers", requestLine + "Sec-WebSocket-Protocol: chat, mqtt\r\nSec-WebSocket-Extensions: permessage-deflate\r\n" + upgrade + version + key},
		{"lists and case", requestLine + "upgrade: h2c, WebSocket\r\nconnection: keep-alive\r\nconnection: foo, UPGRADE\r\n" + version + key},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, r := n.connect(t, test.request+"\r\n")
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("status %s", resp.Status)
			}
			// The example of RFC 6455, section 1.3.
			if got := resp.Header.Get("Sec-WebSocket-Accept"); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
				t.Errorf("accept %q", got)
			}
			for _, name := range []string{"Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"} {
				if got := resp.Header.Get(name); got != "" {
					t.Errorf("%s: %s", name, got)
				}
			}
			(<-n.accepted).CloseNow()
		})
	}
}

func TestAcceptRefuses(t *testing.T) {
	n := newNode(t)
	for _, test := range []struct {
		name, request string
		status        int
	}{
		{"no upgrade", requestLine, 426},
		{"other upgrade", requestLine + "Upgrade: h2c\r\nConnection: Upgrade\r\n" + version + key, 426},
		{"no connection header", requestLine + "Upgrade: websocket\r\n" + version + key, 400},
		{"POST", "POST /ws HTTP/1.1\r\nHost: example.com\r\nContent-Length: 0\r\n" + upgrade + version + key, 400},
		{"HTTP/1.0", "GET /ws HTTP/1.0\r\nHost: example.com\r\n" + upgrade + version + key, 400},
		{"no version", requestLine + upgrade + key, 426},
		{"version 8", requestLine + upgrade + "Sec-WebSocket-Version: 8\r\n" + key, 426},
		{"no key", requestLine + upgrade + version, 400},
		{"short key", requestLine + upgrade + version + "Sec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\n", 400},
		{"key not in base64", requestLine + upgrade + version + "Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!==\r\n", 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, r := n.connect(t, test.request+"\r\n")
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != test.status {
				t.Errorf("status %s, want %d", resp.Status, test.status)
			}
			if strings.Contains(test.name, "version") && resp.Header.Get("Sec-WebSocket-Version") != "13" {
				t.Error("the response does not name the version")
			}
			if err := <-n.refused; err == nil {
				t.Error("no error")
			}
		})
	}
}

// masked encodes a client's frame.
func masked(t testing.TB, op ws.OpCode, fin bool, payload []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := ws.WriteFrame(&b, ws.MaskFrame(ws.NewFrame(op, fin, payload))); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestEarlyFrames: what comes along with the upgrade request is not lost.
func TestEarlyFrames(t *testing.T) {
	n := newNode(t)
	long := strings.Repeat("x", 3000)
	n.connect(t, requestLine+upgrade+version+key+"\r\n"+
		masked(t, ws.OpBinary, true, []byte("first"))+masked(t, ws.OpBinary, true, []byte(long))+masked(t, ws.OpBinary, false, []byte("th")))
	c := <-n.accepted
	defer c.CloseNow()
	for _, want := range []string{"first", long} {
		m, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(m); err != nil || string(got) != want {
			t.Errorf("message %q, %v", got, err)
		}
	}
}

// serving runs a link on the node's next connection.
func (n *node) serving(t testing.TB, h link.Handler) (*link.Link, <-chan error) {
	l := link.New(<-n.accepted, link.Options{Handler: h})
	ended := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ended <- l.Run(t.Context())
	}()
	t.Cleanup(func() {
		l.CloseNow()
		<-done
	})
	return l, ended
}

// readFrame reads a frame, as it is on the wire.
func readFrame(t testing.TB, r io.Reader) ws.Frame {
	t.Helper()
	h, err := ws.ReadHeader(r)
	if err != nil {
		t.Errorf("read frame: %v", err)
		return ws.Frame{}
	}
	payload := make([]byte, h.Length)
	if _, err := io.ReadFull(r, payload); err != nil {
		t.Errorf("read frame: %v", err)
	}
	return ws.Frame{Header: h, Payload: payload}
}

// TestPingWithinMessage: the node answers a PING while a large message arrives.
func TestPingWithinMessage(t *testing.T) {
	n := newNode(t)
	nc, r := n.join(t)
	n.serving(t, nil)
	packet := tipt.AppendPacket(nil, tipt.RevisionSeed, &tipt.Packet{
		Version: tipt.Version, Type: tipt.PacketRequest, ID: 9, Code: 1,
		Body: append([]byte{0x81, 0xa1, 'x', 0xc6, 0, 0x0f, 0x42, 0x40}, make([]byte, 1_000_000)...),
	})
	send := func(s string) {
		t.Helper()
		if _, err := nc.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	send(masked(t, ws.OpBinary, false, packet[:10]))
	for i, ping := range []string{"one", "two", ""} {
		send(masked(t, ws.OpContinuation, false, packet[10+i*200_000:10+(i+1)*200_000]))
		send(masked(t, ws.OpPing, true, []byte(ping)))
		if f := readFrame(t, r); f.Header.OpCode != ws.OpPong || string(f.Payload) != ping {
			t.Fatalf("opcode %x %q, want the PONG of %q", f.Header.OpCode, f.Payload, ping)
		}
	}
	send(masked(t, ws.OpContinuation, true, packet[10+600_000:]))
	f := readFrame(t, r)
	p, err := tipt.ParsePacket(f.Payload, tipt.RevisionSeed)
	if err != nil || p.ID != 9 || p.Type != tipt.PacketResponse {
		t.Errorf("response %+v, %v", p, err)
	}
}

// TestCloseFrameArrives: the close frame of the node reaches a client that goes on
// sending, since its input is still read; and what is over the limit is not waited for.
func TestCloseFrameArrives(t *testing.T) {
	var huge bytes.Buffer
	if err := ws.WriteHeader(&huge, ws.Header{Fin: true, OpCode: ws.OpBinary, Masked: true, Length: 1 << 40}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, input string
		code        int
	}{
		{"not masked", "\x82\x02hi", tipt.CloseProtocol},
		{"text", masked(t, ws.OpText, true, []byte("hi")), tipt.CloseText},
		{"too large", huge.String(), tipt.CloseTooLarge},
		{"unreadable", masked(t, ws.OpBinary, true, []byte{0xc1}), tipt.CloseProtocol},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNode(t)
			nc, r := n.join(t)
			_, ended := n.serving(t, nil)
			if _, err := nc.Write([]byte(test.input)); err != nil {
				t.Fatal(err)
			}
			junk := []byte(masked(t, ws.OpBinary, true, make([]byte, 100_000)))
			for range 40 {
				if _, err := nc.Write(junk); err != nil {
					t.Fatalf("the node does not read any more: %v", err)
				}
			}
			f := readFrame(t, r)
			code, reason := ws.ParseCloseFrameData(f.Payload)
			if f.Header.OpCode != ws.OpClose || int(code) != test.code || reason == "" {
				t.Errorf("opcode %x, code %d %q, want a close with %d", f.Header.OpCode, code, reason, test.code)
			}
			nc.Close()
			var ce *link.CloseError
			if err := <-ended; !errors.As(err, &ce) || !ce.Local || ce.Code != test.code {
				t.Errorf("Run: %v", err)
			}
		})
	}
}

// TestCloseHandshake: a client that closes gets its code back, and then TLS's goodbye.
func TestCloseHandshake(t *testing.T) {
	n := newNode(t)
	n.tls.MaxVersion = tls.VersionTLS12 // whose records tell from outside what they are
	n.received = new(bytes.Buffer)
	nc, r := n.join(t)
	_, ended := n.serving(t, nil)
	if _, err := nc.Write([]byte(masked(t, ws.OpClose, true, ws.NewCloseFrameBody(4000, "tab closed")))); err != nil {
		t.Fatal(err)
	}
	f := readFrame(t, r)
	if code, _ := ws.ParseCloseFrameData(f.Payload); f.Header.OpCode != ws.OpClose || code != tipt.CloseScript {
		t.Errorf("opcode %x, code %d", f.Header.OpCode, code)
	}
	if _, err := r.ReadByte(); err == nil {
		t.Error("a frame after the close frame")
	}
	last := lastRecord(n.received.Bytes())
	if alert := byte(21); last != alert {
		t.Errorf("the last TLS record is of type %d, want the alert close_notify", last)
	}
	var ce *link.CloseError
	if err := <-ended; !errors.As(err, &ce) || ce.Local || ce.Code != tipt.CloseScript || ce.Reason != "tab closed" {
		t.Errorf("Run: %v", err)
	}
}

// lastRecord returns the type of the last of some TLS records.
func lastRecord(b []byte) (kind byte) {
	for len(b) >= 5 {
		kind = b[0]
		b = b[min(len(b), 5+int(binary.BigEndian.Uint16(b[3:]))):]
	}
	return kind
}
