package client_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/client"
	"github.com/tipt/tipt-go/internal/devca"
	"github.com/tipt/tipt-go/internal/tipttest"
)

// patience is how long a test waits for what should come soon.
const patience = time.Minute

// quiet is where servers of tests log.
var quiet = log.New(io.Discard, "", 0)

// rootsOf returns the certificate of an authority.
func rootsOf(t testing.TB, ca *devca.CA) []*x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(ca.CertPEM())
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return []*x509.Certificate{root}
}

// A cutter is a proxy in front of a node that cuts each connection after a number of bytes,
// those of both directions taken together.
type cutter struct {
	addr string
	node string

	mu     sync.Mutex // guards the following
	limits []int      // of the next connections; those after them are not cut
	used   int        // limits given out
	open   map[*cut]bool
	closed bool

	running sync.WaitGroup
}

// A cut is one connection through a cutter.
type cut struct {
	client, node net.Conn

	mu    sync.Mutex // guards the following
	left  int        // bytes until it is cut; negative: never
	bytes int        // that went through
}

func newCutter(t *testing.T, node string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &cutter{addr: l.Addr().String(), node: node, open: make(map[*cut]bool)}
	p.running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.running.Go(func() { p.serve(t, c) })
		}
	})
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		p.mu.Lock()
		p.closed = true
		for c := range p.open {
			c.end()
		}
		p.mu.Unlock()
		p.running.Wait()
	})
	return p
}

func (p *cutter) serve(t *testing.T, here net.Conn) {
	there, err := net.Dial("tcp", p.node)
	if err != nil {
		t.Errorf("proxy: %v", err)
		_ = here.Close()
		return
	}
	c := &cut{client: here, node: there, left: -1}
	p.mu.Lock()
	if p.used < len(p.limits) {
		c.left = p.limits[p.used]
		p.used++
	}
	p.open[c] = true
	if p.closed {
		c.end()
	}
	p.mu.Unlock()
	if c.left == 0 {
		c.end()
	}
	var both sync.WaitGroup
	both.Go(func() { c.copy(there, here) })
	both.Go(func() { c.copy(here, there) })
	both.Wait()
	p.mu.Lock()
	delete(p.open, c)
	p.mu.Unlock()
}

// copy passes bytes on until the connection is cut or ends.
func (c *cut) copy(to, from net.Conn) {
	defer c.end()
	b := make([]byte, 16<<10)
	for {
		n, err := from.Read(b)
		if !c.pass(to, b[:n]) || err != nil {
			return
		}
	}
}

// pass writes as much of b as may go through and reports whether that is all and more may come.
func (c *cut) pass(to io.Writer, b []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(b)
	if c.left >= 0 {
		n = min(n, c.left)
		c.left -= n
	}
	c.bytes += n
	_, err := to.Write(b[:n])
	return err == nil && c.left != 0
}

func (c *cut) end() {
	_ = c.client.Close()
	_ = c.node.Close()
}

// cutAll ends all connections and has the next ones cut after these numbers of bytes.
func (p *cutter) cutAll(limits []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limits, p.used = limits, 0
	for c := range p.open {
		c.end()
	}
}

// unused is how many limits have not been given out.
func (p *cutter) unused() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.limits) - p.used
}

// bytes is how much went through the connections that are open.
func (p *cutter) bytes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for c := range p.open {
		c.mu.Lock()
		n += c.bytes
		c.mu.Unlock()
	}
	return n
}

// A selfWriter sends messages to itself through a cutter.
type selfWriter struct {
	*client.Client
	t       *testing.T
	proxy   *cutter
	address tipt.Address
	sent    []string

	mu       sync.Mutex // guards the following
	received []string
	changed  chan struct{} // holds one value when received may have grown
}

func newSelfWriter(t *testing.T, n *tipttest.Node, user tipt.UserName) *selfWriter {
	t.Helper()
	w := &selfWriter{
		t:       t,
		proxy:   newCutter(t, n.Addr),
		address: tipt.Address{User: user, Node: n.Name},
		changed: make(chan struct{}, 1),
	}
	options := &client.Options{RootCAs: rootsOf(t, n.CA), Connect: w.proxy.addr}
	var err error
	w.Client, err = client.DialWithPauses(t.Context(), n.Name, options, time.Millisecond, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	if err := w.Register(t.Context(), string(user), "correct horse", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := w.SignIn(t.Context(), client.Credentials{User: string(user), Password: "correct horse"}); err != nil {
		t.Fatal(err)
	}
	var receiving sync.WaitGroup
	receiving.Go(func() {
		if err := w.Receive(t.Context(), w.handle); !errors.Is(err, context.Canceled) {
			t.Errorf("Receive: %v", err)
		}
	})
	t.Cleanup(receiving.Wait)
	return w
}

func (w *selfWriter) handle(_ context.Context, m client.Message) error {
	text, ok := m.Text()
	if !ok || m.From != w.address.String() {
		w.t.Errorf("received %+v", m)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.received = append(w.received, text)
	select {
	case w.changed <- struct{}{}:
	default:
	}
	return nil
}

// send sends one more message.
func (w *selfWriter) send() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	text := fmt.Sprint("message ", len(w.sent))
	w.sent = append(w.sent, text)
	if err := w.Send(ctx, client.Outgoing{To: w.address, Text: text}); err != nil {
		w.t.Fatal(err)
	}
}

// wantAll waits until each message has come, once, in order.
func (w *selfWriter) wantAll() {
	w.t.Helper()
	timeout := time.After(patience)
	for {
		w.mu.Lock()
		received := slices.Clone(w.received)
		w.mu.Unlock()
		if !slices.Equal(received, w.sent[:min(len(received), len(w.sent))]) {
			w.t.Fatalf("received %q, want the beginning of %q", received, w.sent)
		}
		if len(received) == len(w.sent) {
			return
		}
		select {
		case <-w.changed:
		case <-timeout:
			w.t.Fatalf("received %d of %d messages", len(received), len(w.sent))
		}
	}
}

// TestCutAfterEachByte cuts the connection of a session that signs in, sends,
// receives and acknowledges after each number of bytes in turn.
func TestCutAfterEachByte(t *testing.T) {
	n := tipttest.Start(t)
	measure := newSelfWriter(t, n, "measure")
	measure.send()
	measure.wantAll()
	measure.proxy.cutAll(nil)
	measure.send()
	measure.wantAll()
	session := measure.proxy.bytes() + 200 // certificates and signatures vary by a few bytes
	t.Logf("a session is %d bytes", session-200)
	if session < 1000 {
		t.Fatalf("a session has %d bytes, which cannot be", session)
	}

	const writers = 4
	for i := range writers {
		t.Run(fmt.Sprintf("from %d in steps of %d", i, writers), func(t *testing.T) {
			t.Parallel()
			var limits []int
			for limit := i; limit <= session; limit += writers {
				limits = append(limits, limit)
			}
			w := newSelfWriter(t, n, tipt.UserName(fmt.Sprint("writer", i)))
			w.send()
			w.proxy.cutAll(limits)
			for w.proxy.unused() > 0 {
				w.send()
			}
			w.send()
			w.wantAll()
		})
	}
}
