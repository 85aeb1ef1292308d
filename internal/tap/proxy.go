package tap

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// A Target is the node behind a wss URL.
type Target struct {
	Host    string // and the port, where it is not 443, as in the URL
	Address string // host and port to connect to
	TLS     *tls.Config
}

const (
	dialTimeout = 15 * time.Second
	// maxHead bounds the head of an HTTP request or response.
	maxHead = 64 << 10
	// lingering is how long one direction may go on when the other has ended. A node
	// lingers for 5 s behind its close frame.
	lingering = 30 * time.Second
)

// Dial connects to the node and verifies its certificate.
func (t *Target) Dial(ctx context.Context) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	tcp, err := new(net.Dialer).DialContext(ctx, "tcp", t.Address)
	if err != nil {
		return nil, fmt.Errorf("connect to the node: %w", err)
	}
	c := tls.Client(tcp, t.TLS)
	if err := c.HandshakeContext(ctx); err != nil {
		_ = tcp.Close() // given up
		return nil, fmt.Errorf("connect to the node: %w", err)
	}
	return c, nil
}

// A Proxy stands between clients and a node, and passes every byte on as it comes, but for the
// Host of an upgrade. What it shows it reads in passing.
type Proxy struct {
	Listener net.Listener // of TCP
	TLS      *tls.Config  // towards clients
	Target   Target
	Tap      *Tap
}

// Serve serves until ctx is done. It closes the listener, and waits for its connections.
func (p *Proxy) Serve(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var group sync.WaitGroup
	defer group.Wait()
	defer context.AfterFunc(ctx, func() { _ = p.Listener.Close() })() // which ends Accept
	for {
		tcp, err := p.Listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			stop()
			_ = p.Listener.Close() // it has failed
			return fmt.Errorf("take a connection: %w", err)
		}
		group.Go(func() { p.serve(ctx, tls.Server(tcp, p.TLS)) })
	}
}

// serve serves a client to its end.
func (p *Proxy) serve(ctx context.Context, client *tls.Conn) {
	defer func() { _ = client.Close() }()                                   // it may have ended
	defer context.AfterFunc(ctx, func() { _ = client.NetConn().Close() })() // ends what waits for the client
	c := p.Tap.Connection()
	_ = client.SetDeadline(time.Now().Add(dialTimeout)) // fails as what follows then does
	if err := client.HandshakeContext(ctx); err != nil {
		if ctx.Err() == nil {
			c.Say("no TLS with a client: %s", whyNoTLS(err))
		}
		return
	}
	from := bufio.NewReader(client)
	head, request, err := readRequest(from)
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, io.EOF) {
			c.Say("no HTTP request came: %v", err)
		}
		return
	}
	_ = client.SetDeadline(time.Time{}) // likewise
	node, err := p.Target.Dial(ctx)
	if err != nil {
		if ctx.Err() == nil {
			c.Say("%v; the client is answered 503", err)
			// As a node refuses (section 1.3). The client may have gone.
			_, _ = io.WriteString(client, "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		}
		return
	}
	defer func() { _ = node.Close() }() // likewise
	defer context.AfterFunc(ctx, func() { _ = node.NetConn().Close() })()
	if _, err := node.Write(withHost(head, p.Target.Host)); err != nil {
		c.Say("the node took no request: %v", err)
		return
	}
	r := &relay{ctx: ctx, c: c, client: client, node: node, fromClient: from, fromNode: bufio.NewReader(node)}
	if request.Header.Get("Upgrade") == "" {
		r.page(request)
		return
	}
	c.Cross(Crossing{ToNode: true, Kind: Open, Path: request.URL.Path, Header: offered(request.Header)})
	r.upgrade(request)
}

// whyNoTLS says what to do about a client that did not want the proxy's certificate.
func whyNoTLS(err error) string {
	if text := err.Error(); strings.Contains(text, "unknown certificate authority") || strings.Contains(text, "bad certificate") {
		return text + "; give it the root certificate named at the start"
	}
	return err.Error()
}

// offered are the fields of an upgrade that are worth repeating: what a node ignores (section 1.3
// and 1.5), and what is not as RFC 6455 has it.
func offered(h http.Header) map[string]string {
	kept := make(map[string]string)
	for _, name := range []string{"Origin", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"} {
		if lines := h.Values(name); len(lines) > 0 {
			kept[name] = strings.Join(lines, ", ")
		}
	}
	key, err := base64.StdEncoding.DecodeString(h.Get("Sec-WebSocket-Key"))
	for name, right := range map[string]bool{
		"Upgrade":               strings.EqualFold(h.Get("Upgrade"), "websocket"),
		"Connection":            strings.EqualFold(h.Get("Connection"), "Upgrade"),
		"Sec-WebSocket-Version": h.Get("Sec-WebSocket-Version") == "13",
		"Sec-WebSocket-Key":     err == nil && len(key) == 16,
	} {
		if !right {
			kept[name] = strings.Join(h.Values(name), ", ")
		}
	}
	return kept
}

// readHead reads the head of a request or response as it is.
func readHead(r *bufio.Reader) ([]byte, error) {
	var head []byte
	for {
		line, err := r.ReadSlice('\n')
		head = append(head, line...)
		switch {
		case len(head) > maxHead:
			return nil, fmt.Errorf("a head of more than %d bytes", maxHead)
		case errors.Is(err, bufio.ErrBufferFull):
		case err != nil:
			return nil, err
		case len(bytes.TrimRight(line, "\r\n")) == 0:
			return head, nil
		}
	}
}

func readRequest(r *bufio.Reader) ([]byte, *http.Request, error) {
	head, err := readHead(r)
	if err != nil {
		return nil, nil, err
	}
	request, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	return head, request, err
}

// withHost returns a request's head with another Host.
func withHost(head []byte, host string) []byte {
	lines := bytes.SplitAfter(head, []byte("\n"))
	for i, line := range lines {
		if name, _, ok := bytes.Cut(line, []byte(":")); ok && i > 0 && strings.EqualFold(string(name), "Host") {
			lines[i] = []byte("Host: " + host + "\r\n")
		}
	}
	return bytes.Join(lines, nil)
}

// A relay passes bytes on between two connections.
type relay struct {
	ctx          context.Context // of the proxy, which ends connections that have not ended
	c            *Connection
	client, node *tls.Conn
	fromClient   *bufio.Reader
	fromNode     *bufio.Reader
}

// page passes on a request that asks for no upgrade, with all that follows it.
func (r *relay) page(request *http.Request) {
	r.c.Say("%s %s, passed on and not looked into", request.Method, plain(request.URL.Path))
	var group sync.WaitGroup
	group.Go(func() { pass(r.fromClient, r.client, r.node, io.Discard, func(string) {}) })
	pass(r.fromNode, r.node, r.client, io.Discard, func(string) {})
	group.Wait()
}

// upgrade passes on the node's answer, and both sides' frames.
func (r *relay) upgrade(request *http.Request) {
	up := NewFrames(true, r.c.Cross)
	var group sync.WaitGroup
	group.Go(func() { pass(r.fromClient, r.client, r.node, up, r.ending(up)) })
	if upgraded, err := r.answer(request); err != nil {
		if r.ctx.Err() == nil {
			r.c.Cross(Crossing{Kind: End, Why: err.Error()})
		}
		_ = r.client.NetConn().Close() // as the node did
		_ = r.node.NetConn().Close()
	} else if upgraded {
		down := NewFrames(false, r.c.Cross)
		pass(r.fromNode, r.node, r.client, down, r.ending(down))
	} else {
		pass(r.fromNode, r.node, r.client, io.Discard, func(string) {})
	}
	group.Wait()
}

// ending tells frames of their end, unless it is the proxy that ends.
func (r *relay) ending(f *Frames) func(why string) {
	return func(why string) {
		if r.ctx.Err() == nil {
			f.End(why)
		}
	}
}

// answer passes on the head of the node's answer to an upgrade.
func (r *relay) answer(request *http.Request) (upgraded bool, err error) {
	head, err := readHead(r.fromNode)
	if err != nil {
		return false, fmt.Errorf("no answer to the upgrade: %w", err)
	}
	response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), request)
	if err != nil {
		r.c.Say("the node's answer is no HTTP: %v", err)
		response = &http.Response{}
	}
	r.c.Cross(Crossing{Kind: Open, Status: response.StatusCode, RetryAfter: response.Header.Get("Retry-After")})
	if _, err := r.client.Write(head); err != nil {
		return false, fmt.Errorf("the client has gone: %w", err)
	}
	return response.StatusCode == http.StatusSwitchingProtocols, nil
}

// pass passes on what comes from one side. Each piece is seen before it is passed on: an answer
// to it cannot be seen first.
func pass(from *bufio.Reader, side, other *tls.Conn, seen io.Writer, end func(why string)) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		_, _ = seen.Write(b[:n]) // Frames never fail
		_, failed := other.Write(b[:n])
		switch {
		case failed != nil:
			end("the other side takes nothing more")
			_ = side.NetConn().Close()
			return
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // with and without TLS's own end
			end("")
			_ = other.CloseWrite()                               // it may have ended
			_ = other.SetReadDeadline(time.Now().Add(lingering)) // likewise
			return
		case err != nil:
			end("cut off")
			_ = other.NetConn().Close() // as this side did
			return
		}
	}
}
