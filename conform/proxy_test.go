package conform

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/node"
)

// A defect makes a good node a broken one: a proxy between it and the suite that changes what
// crosses. Each function may be nil.
type defect struct {
	clause string // what it breaks
	name   string
	only   string // scenario to run, where not those of the clause

	admit func(*http.Request) int            // status by which a connection is refused, or 0
	head  func(http.Header)                  // of the upgrade's response
	page  func(*http.Request, *page)         // an HTTP response that is no upgrade
	up    func(*bent, frame) []frame         // a client's frame
	down  func(*bent, frame) []frame         // a node's frame
	ask   func(*bent, fields) []raw          // a client's packet that can be read; nil: as it is
	say   func(b *bent, f fields, c int) any // a node's packet, with the request that it answers or -1: nil, fields or []raw
	begin func(*bent)                        // a new connection
	keep  bool                               // the client's connection outlives the node's
	// The oldest and the newest TLS, where not those of the node.
	oldest, newest uint16

	own    func(*node.Config)   // the node is one of its own, configured so and with an operator
	second bool                 // it is one that reaches the second node
	hand   func(*http.Request)  // what it hands over to the second node
	back   func(*http.Response) // what the second node answers
	stays  bool                 // it waits for the second node without end
	// What it hands over, or asks for, without verifying whom: a method; and whether it follows redirects.
	credulous string
	follows   bool
	pace      time.Duration // at which it tries again what the second node fails to take; 0: its own
}

// A page is an HTTP response.
type page struct {
	status int
	header http.Header
	body   []byte
}

// A bent is a connection through a proxy.
type bent struct {
	client, node net.Conn

	mu    sync.Mutex // guards the following and what goes to client and node
	asked map[uint8]int
	count int // for the defect to use
	note  string
}

// proxy serves a broken node until the test ends, and returns its address.
func proxy(t *testing.T, n *tipttest.Node, d defect) (address string, stop func()) {
	t.Helper()
	cert, key, err := n.CA.Issue(string(n.Name))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	oldest := uint16(tls.VersionTLS12)
	if d.oldest != 0 {
		oldest = d.oldest
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: oldest, MaxVersion: d.newest})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return // closed below
			}
			group.Go(func() { serve(n, d, c) })
		}
	})
	return listener.Addr().String(), func() {
		_ = listener.Close() // whose error is that it is closed
		group.Wait()
	}
}

// serve serves one connection; what fails ends it.
func serve(n *tipttest.Node, d defect, client net.Conn) {
	defer client.Close()
	r := bufio.NewReader(client)
	request, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	if request.Header.Get("Upgrade") == "" {
		forwardPage(n, d, request, client)
		return
	}
	node, err := tls.Dial("tcp", n.Addr, &tls.Config{ServerName: string(n.Name), RootCAs: n.Pool()})
	if err != nil {
		return
	}
	defer node.Close()
	if d.admit != nil {
		if status := d.admit(request); status != 0 {
			writePage(client, &page{status: status, header: http.Header{}})
			return
		}
	}
	if err := request.Write(node); err != nil {
		return
	}
	nr := bufio.NewReader(node)
	response, err := http.ReadResponse(nr, request)
	if err != nil {
		return
	}
	if d.head != nil {
		d.head(response.Header)
	}
	if err := response.Write(client); err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		return
	}
	b := &bent{client: client, node: node, asked: make(map[uint8]int)}
	if d.begin != nil {
		d.begin(b)
	}
	var group sync.WaitGroup
	group.Go(func() {
		if !d.keep {
			defer client.Close()
		}
		b.relay(nr, func(f frame) { b.fromNode(d, f) })
	})
	b.relay(r, func(f frame) { b.fromClient(d, f) })
	_ = node.Close() // so that the other ends
	group.Wait()
}

func forwardPage(n *tipttest.Node, d defect, request *http.Request, client net.Conn) {
	transport := &http.Transport{
		DisableKeepAlives: true, ExpectContinueTimeout: dialTime,
		TLSClientConfig: &tls.Config{RootCAs: n.Pool()},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, n.Addr)
		},
	}
	request.URL.Scheme, request.URL.Host, request.RequestURI = "https", string(n.Name), ""
	if request.Header.Get("Expect") != "" {
		request.Body = &continued{ReadCloser: request.Body, client: client}
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return
	}
	p := &page{response.StatusCode, response.Header, body}
	if d.page != nil {
		d.page(request, p)
	}
	writePage(client, p)
}

// continued asks for a body when it is first read.
type continued struct {
	io.ReadCloser
	client io.Writer
	asked  bool
}

func (c *continued) Read(b []byte) (int, error) {
	if !c.asked {
		c.asked = true
		if _, err := io.WriteString(c.client, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return 0, err
		}
	}
	return c.ReadCloser.Read(b)
}

func writePage(w io.Writer, p *page) {
	response := &http.Response{
		StatusCode: p.status, ProtoMajor: 1, ProtoMinor: 1, Header: p.header, Body: io.NopCloser(bytes.NewReader(p.body)),
		ContentLength: int64(len(p.body)), Close: true,
	}
	_ = response.Write(w) // the suite sees when it fails
}

func (b *bent) relay(r *bufio.Reader, take func(frame)) {
	for {
		if head, err := r.Peek(2); err == nil && head[1]&0x7f == 127 {
			// What is too long is not waited for.
			if long, err := r.Peek(10); err == nil && binary.BigEndian.Uint64(long[2:]) > 2_100_000 {
				b.mu.Lock()
				b.shut(1009)
				b.mu.Unlock()
			}
		}
		f, err := readFrame(r)
		if err != nil {
			return
		}
		b.mu.Lock()
		take(f)
		b.mu.Unlock()
	}
}

func (b *bent) fromClient(d defect, f frame) {
	frames := []frame{f}
	if f.opcode == opBinary && f.final {
		packet, err := unpackFields(f.payload)
		if err == nil && number(packet, "pakt") == pktRequest {
			b.asked[uint8(number(packet, "id"))] = number(packet, "reqt")
		}
		if d.ask != nil && err == nil {
			if packets := d.ask(b, packet); packets != nil {
				frames = nil
				for _, p := range packets {
					if len(p) > 0 {
						frames = append(frames, frame{final: true, opcode: opBinary, payload: p})
					}
				}
			}
		}
	}
	if d.up != nil {
		frames = d.up(b, f)
	}
	for _, f := range frames {
		_, _ = b.node.Write(clientFrame(f.final, f.opcode, f.payload)) // the reader sees the end
	}
}

func (b *bent) fromNode(d defect, f frame) {
	frames := []frame{f}
	if d.say != nil && f.opcode == opBinary && f.final {
		if packet, err := unpackFields(f.payload); err == nil {
			asked := -1
			if number(packet, "pakt") == pktResponse {
				asked = b.asked[uint8(number(packet, "id"))]
			}
			switch changed := d.say(b, packet, asked).(type) {
			case fields:
				frames[0].payload = changed.pack()
			case []raw:
				frames = nil
				for _, p := range changed {
					frames = append(frames, frame{final: true, opcode: opBinary, payload: p})
				}
			}
		}
	}
	if d.down != nil {
		frames = d.down(b, f)
	}
	for _, f := range frames {
		b.send(f)
	}
}

// send sends a frame to the client, as a node does. The caller holds mu.
func (b *bent) send(f frame) {
	first := f.opcode | f.bits<<4
	if f.final {
		first |= 0x80
	}
	head := []byte{first, byte(len(f.payload))}
	switch n := len(f.payload); {
	case n > 0xffff:
		head = binary.BigEndian.AppendUint64([]byte{first, 127}, uint64(n))
	case n > 125:
		head = binary.BigEndian.AppendUint16([]byte{first, 126}, uint16(n))
	}
	_, _ = b.client.Write(append(head, f.payload...)) // likewise
}

// tell sends a packet to the client in the node's place.
func (b *bent) tell(f fields) []raw {
	b.send(frame{final: true, opcode: opBinary, payload: f.pack()})
	return []raw{}
}

// fail answers a request with an error in the node's place.
func (b *bent) fail(f fields, code int) []raw {
	answer := fields{"ver", "1.0.0", "id", f.get("id"), "pakt", pktResponse}
	if code != ok {
		answer = append(answer, "err", fields{"code", code, "msg", "body ver reqt user pass"})
	}
	return b.tell(answer)
}

// shut closes the connection in the node's place.
func (b *bent) shut(code int) []raw {
	b.send(frame{final: true, opcode: opClose, payload: []byte{byte(code >> 8), byte(code)}})
	return []raw{}
}

var errNoMap = errors.New("no map")

// unpackFields decodes a root map whose values stay encoded.
func unpackFields(b []byte) (fields, error) {
	v, err := unpack(b)
	if err != nil {
		return nil, err
	}
	if v.kind != kindMap {
		return nil, errNoMap
	}
	return v.fields(b), nil
}

// fields returns a map's keys, and its values as they are encoded.
func (v *value) fields(b []byte) fields {
	f := fields{}
	for i := 0; i < len(v.items); i += 2 {
		key, item := v.items[i], v.items[i+1]
		if key.kind == kindStr {
			f = append(f, string(key.content), raw(b[item.head:item.end]))
		} else {
			f = append(f, raw(b[key.head:key.end]), raw(b[item.head:item.end]))
		}
	}
	return f
}

// part decodes the map under a key.
func (f fields) part(key string) fields {
	b, _ := f.get(key).(raw)
	part, err := unpackFields(b)
	if err != nil {
		return nil
	}
	return part
}

// number returns a number under a key, or -1.
func number(f fields, key string) int {
	b, _ := f.get(key).(raw)
	v, err := unpack(b)
	if err != nil {
		return -1
	}
	return int(v.num())
}

// code is the error's of a response, or ok.
func (f fields) code() int {
	if e := f.part("err"); e != nil {
		return number(e, "code")
	}
	return ok
}
