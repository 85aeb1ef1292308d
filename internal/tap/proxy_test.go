package tap

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tipt/tipt-go/internal/devca"
)

const patience = 20 * time.Second

// A syncBuffer is a buffer that several goroutines use.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// serverTLS is the configuration of a server called node.example.
func serverTLS(t *testing.T, ca *devca.CA) *tls.Config {
	t.Helper()
	cert, key, err := ca.Issue("node.example")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}
}

// startProxy runs a proxy to a node until stop, and returns where it listens.
func startProxy(t *testing.T, ca *devca.CA, node string, tap *Tap) (addr string, stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p := Proxy{Listener: listener, TLS: serverTLS(t, ca), Target: targetOf(ca, node), Tap: tap}
	ended := make(chan error, 1)
	go func() { ended <- p.Serve(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return listener.Addr().String(), stop
}

func targetOf(ca *devca.CA, addr string) Target {
	return Target{Host: "node.example", Address: addr, TLS: &tls.Config{ServerName: "node.example", RootCAs: ca.Pool()}}
}

// fakeNode answers each connection's upgrade as it is told, keeps what comes, sends what it is told, and
// ends when the client has.
func fakeNode(t *testing.T, ca *devca.CA, answer string, say []byte) (addr string, heard func() (*http.Request, []byte)) {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", serverTLS(t, ca))
	if err != nil {
		t.Fatal(err)
	}
	type hearing struct {
		request *http.Request
		b       []byte
	}
	hearings := make(chan hearing, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := listener.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		r := bufio.NewReader(c)
		request, err := http.ReadRequest(r)
		if err != nil {
			t.Errorf("at the node: %v", err)
			return
		}
		if _, err := c.Write(append([]byte(answer), say...)); err != nil {
			t.Errorf("at the node: %v", err)
		}
		b, _ := io.ReadAll(r)
		hearings <- hearing{request, b}
	}()
	t.Cleanup(func() { listener.Close(); <-done })
	return listener.Addr().String(), func() (*http.Request, []byte) {
		select {
		case h := <-hearings:
			return h.request, h.b
		case <-time.After(patience):
			t.Fatal("the node heard nothing")
			return nil, nil
		}
	}
}

const switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nX-Odd:  as it is \r\nConnection: Upgrade\r\n\r\n"

// hostile are bytes that cross like all others: frames that no library sends, and what is none.
var hostile = bytes.Join([][]byte{
	masked(opBinary, false, "in fragments, "), masked(opPing, true, "between"), masked(opContinuation, true, "\xc1\xff"),
	masked(opText, true, "text"), unmasked(opBinary, true, "unmasked"),
	{0xf2, 0x01, 0xff},
	masked(opClose, true, "\x0f\xffreason"), masked(opClose, true, "x"),
	{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 'n', 'o', ' ', 'e', 'n', 'd'},
}, nil)

func TestProxyChangesNothing(t *testing.T) {
	ca, err := devca.New()
	if err != nil {
		t.Fatal(err)
	}
	said := bytes.Join([][]byte{unmasked(opBinary, true, "\xc1"), masked(opBinary, true, "masked"), unmasked(opClose, true, "\x03\xf0"), hostile}, nil)
	node, heard := fakeNode(t, ca, switching, said)
	var view syncBuffer
	addr, stop := startProxy(t, ca, node, New(Options{Viewer: &Viewer{Out: &view, Numbers: true}}))
	c, err := tls.Dial("tcp", addr, &tls.Config{ServerName: "node.example", RootCAs: ca.Pool()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	request := "GET /any%20path?tok=secret HTTP/1.1\r\nhost: localhost:1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nx-Odd:  a\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	if _, err := c.Write(append([]byte(request), hostile...)); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	if want := switching + string(said); string(got) != want {
		t.Errorf("the client got %q, want %q", got, want)
	}
	r, b := heard()
	if !bytes.Equal(b, hostile) {
		t.Errorf("the node got %q, want %q", b, hostile)
	}
	if r.Host != "node.example" || r.URL.Path != "/any path" || r.URL.RawQuery != "tok=secret" || r.Header.Get("x-odd") != "a" {
		t.Errorf("the node was asked for %+v", r)
	}
	stop()
	text := view.String()
	for _, want := range []string{
		"[1] → node  upgrade /any path", "← node  upgrade: 101", "→ node  MALFORMED, 16 bytes", "→ node  text message", "without a masking key", "a reserved bit",
		`close 4095 (not in section 1.6) "reason"`, "a code has two bytes", "a length over 63 bits", "← node  close 1008 (no accepted HANDSHAKE in time)",
		"→ node  end of the connection", "← node  end of the connection",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "secret") && !strings.Contains(text, "secret bytes") {
		t.Errorf("the query is shown:\n%s", text)
	}
}

func TestProxyOtherAnswers(t *testing.T) {
	ca, err := devca.New()
	if err != nil {
		t.Fatal(err)
	}
	upgrade := "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n"
	for name, tt := range map[string]struct{ request, answer, view string }{
		"refused":    {upgrade, "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nno", "upgrade: 503 Retry-After: 7"},
		"page":       {"GET /api/status HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "GET /api/status, passed on"},
		"with body":  {"POST /api/forward HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "POST /api/forward"},
		"no HTTP":    {upgrade, "hello\r\n\r\nyou", "is no HTTP"},
		"no answer":  {upgrade, "", "no answer to the upgrade"},
		"no request": {"hello\r\n\r\n", "", "no HTTP request came"},
	} {
		t.Run(name, func(t *testing.T) {
			node, _ := fakeNode(t, ca, tt.answer, nil)
			var view syncBuffer
			addr, stop := startProxy(t, ca, node, New(Options{Viewer: &Viewer{Out: &view}}))
			c, err := tls.Dial("tcp", addr, &tls.Config{ServerName: "node.example", RootCAs: ca.Pool()})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(patience))
			if _, err := io.WriteString(c, tt.request); err != nil {
				t.Fatal(err)
			}
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got, _ := io.ReadAll(c); string(got) != tt.answer {
				t.Errorf("the client got %q, want %q", got, tt.answer)
			}
			stop()
			if !strings.Contains(view.String(), tt.view) {
				t.Errorf("no %q in\n%s", tt.view, view.String())
			}
		})
	}
}

// A node that is not there is said to be so on both sides, as is a client that does not trust the proxy.
func TestProxyWithoutTheOther(t *testing.T) {
	ca, err := devca.New()
	if err != nil {
		t.Fatal(err)
	}
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	var view syncBuffer
	addr, stop := startProxy(t, ca, gone.Addr().String(), New(Options{Viewer: &Viewer{Out: &view}}))
	_, err = (&Target{Host: "node.example", Address: addr, TLS: targetOf(ca, "").TLS}).open(t.Context(), NewSecrets(), "", nil)
	if err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("the client was told %v, want 503", err)
	}
	stranger, err := devca.New()
	if err != nil {
		t.Fatal(err)
	}
	distrust := targetOf(stranger, addr)
	if c, err := distrust.Dial(t.Context()); err == nil {
		c.Close()
		t.Error("the client trusts anybody")
	}
	for end := time.Now().Add(patience); !strings.Contains(view.String(), "give it the root certificate") && time.Now().Before(end); {
		time.Sleep(time.Millisecond) // until the proxy has heard it
	}
	stop()
	for _, want := range []string{"connect to the node", "give it the root certificate"} {
		if !strings.Contains(view.String(), want) {
			t.Errorf("no %q in\n%s", want, view.String())
		}
	}
}
