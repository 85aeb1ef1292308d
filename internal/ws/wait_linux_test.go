package ws_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/tipt/tipt-go"
	tiptws "github.com/tipt/tipt-go/internal/ws"
	"github.com/tipt/tipt-go/link"
)

// A watching node has its idle connections watched by a Poller. Each echoes requests.
type watching struct {
	*node
	conns chan *tiptws.Conn // those that were accepted
	links chan *link.Link   // theirs
	ended chan error        // gets what ended each
	run   func()            // runs the Poller until the test has ended
}

// echoes answers each request with its body.
type echoes struct{}

func (echoes) ServeTipt(r *link.Request) { r.Reply(r.Body) }
func (echoes) ServeEvent(tipt.Packet)    {}

// newWatching returns a node for up to so many connections.
func newWatching(t testing.TB, connections int) *watching {
	t.Helper()
	w := newLooking(t, connections)
	w.run()
	return w
}

// newLooking is newWatching with a Poller that does not run yet.
func newLooking(t testing.TB, connections int) *watching {
	t.Helper()
	poller, err := tiptws.NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	polled := make(chan error, 1)
	var links sync.WaitGroup
	t.Cleanup(func() {
		links.Wait()
		cancel()
		if err := <-polled; err != nil {
			t.Error(err)
		}
	})
	w := &watching{
		conns: make(chan *tiptws.Conn, connections),
		links: make(chan *link.Link, connections),
		ended: make(chan error, connections),
		run:   func() { go func() { polled <- poller.Run(ctx) }() },
	}
	w.node = newNodeWith(t, func(rw http.ResponseWriter, r *http.Request) {
		c, err := tiptws.Accept(rw, r)
		if err != nil {
			t.Error(err)
			return
		}
		c.Watch(poller)
		l := link.New(c, link.Options{Handler: echoes{}})
		links.Add(1)
		l.Start(func(err error) {
			w.ended <- err
			links.Done()
		})
		w.conns <- c
		w.links <- l
	}, func(s *httptest.Server) { s.Listener = tiptws.Listener(s.Listener) })
	return w
}

// request is a frame with a request whose body has so many bytes.
func request(t testing.TB, id uint8, size int) string {
	t.Helper()
	body := append([]byte{0x81, 0xa1, 'x', 0xc6, 0, byte(size >> 16), byte(size >> 8), byte(size)}, make([]byte, size)...)
	return masked(t, ws.OpBinary, true, tipt.AppendPacket(nil, tipt.RevisionSeed, &tipt.Packet{
		Version: tipt.Version, Type: tipt.PacketRequest, ID: id, Code: 1, Body: body,
	}))
}

// wantResponse reads a message and reports whether it is a response for id, as it should.
func wantResponse(t testing.TB, r io.Reader, id uint8) bool {
	t.Helper()
	var message []byte
	for last := false; !last; {
		f := readFrame(t, r)
		if f.Header.OpCode == 0 && message == nil {
			return false // it has failed
		}
		message, last = append(message, f.Payload...), f.Header.Fin
	}
	p, err := tipt.ParsePacket(message, tipt.RevisionSeed)
	if err != nil || p.Type != tipt.PacketResponse || p.ID != id {
		t.Errorf("got %v %d, %v, want the response %d", p.Type, p.ID, err, id)
		return false
	}
	return true
}

// awaitParked waits until nobody reads c.
func awaitParked(t testing.TB, c *tiptws.Conn) {
	t.Helper()
	for range 10_000 {
		if c.Parked() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("the connection does not park")
}

// TestTrim: crypto/tls has the fields that trim relies on. Where this fails after an update
// of Go, idle connections work as before but hold up to 18 KiB more each: look at tls.Conn
// anew.
func TestTrim(t *testing.T) {
	if !tiptws.LayoutKnown(reflect.TypeFor[tls.Conn]()) {
		t.Fatalf("the buffers of tls.Conn are not known in %s", runtime.Version())
	}
	type inner struct{ hand bytes.Buffer }
	_ = inner{}.hand // for those who look for fields that nobody uses
	for _, other := range []reflect.Type{
		reflect.TypeFor[struct{}](),
		reflect.TypeFor[struct{ rawInput bytes.Buffer }](),
		reflect.TypeFor[struct {
			rawInput []byte
			hand     bytes.Buffer
		}](),
		reflect.TypeFor[struct{ rawInput, hand *bytes.Buffer }](),
		reflect.TypeFor[struct {
			rawInput bytes.Buffer
			inner
		}](),
	} {
		if tiptws.LayoutKnown(other) {
			t.Errorf("%v is taken for a tls.Conn", other)
		}
	}
}

// TestParkedHoldsNothing: a connection on which nothing happens has neither a goroutine nor
// a buffer, whatever went over it, and serves on all the same.
func TestParkedHoldsNothing(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			w := newWatching(t, 1)
			w.tls.MinVersion, w.tls.MaxVersion = version, version
			nc, r := w.join(t)
			c := <-w.conns
			for i, size := range []int{0, 10, 20_000, 100, 1_000_000, 1} {
				if _, err := io.WriteString(nc, request(t, uint8(i), size)); err != nil {
					t.Fatal(err)
				}
				wantResponse(t, r, uint8(i))
				n, ok := c.Buffers()
				for !ok { // it is not parked yet, or once more
					runtime.Gosched()
					n, ok = c.Buffers()
				}
				if n > 0 {
					t.Errorf("%d bytes of buffers are left by a request of %d", n, size)
				}
			}
			nc.Close()
			if err := <-w.ended; !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

// A choppy connection writes in pieces, and lets others run in between.
type choppy struct {
	net.Conn
	random *rand.Rand
}

func (c choppy) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = c.Conn.Write(b[n:min(len(b), n+1+c.random.IntN(200))])
		n += m
		if c.random.IntN(4) == 0 {
			runtime.Gosched()
		}
	}
	return n, err
}

// TestNothingIsMissed: however bytes come, in the middle of records and frames and while the
// connection is being parked, each request is answered, without more having to come.
func TestNothingIsMissed(t *testing.T) {
	const connections, rounds = 20, 150
	w := newWatching(t, connections)
	var clients sync.WaitGroup
	for i := range connections {
		clients.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			tcp, err := net.Dial("tcp", w.Listener.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer tcp.Close()
			nc := tls.Client(choppy{tcp, random}, w.tls)
			r := bufio.NewReader(nc)
			io.WriteString(nc, requestLine+upgrade+version+key+"\r\n")
			if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
				t.Errorf("upgrade: %v, %v", resp, err)
				return
			}
			for range rounds {
				// Some requests in one record, and some in records that follow each other.
				n := 1 + random.IntN(4)
				var together string
				for id := range n {
					together += request(t, uint8(id), random.IntN(2)*random.IntN(5_000))
					if random.IntN(2) == 0 {
						io.WriteString(nc, together)
						together = ""
					}
				}
				io.WriteString(nc, together)
				for id := range n {
					if !wantResponse(t, r, uint8(id)) {
						return
					}
				}
			}
		})
	}
	clients.Wait()
	for range connections {
		<-w.ended
	}
}

// TestRestComesLater: the end of a message may come long after its beginning.
func TestRestComesLater(t *testing.T) {
	w := newWatching(t, 1)
	nc, r := w.join(t)
	c := <-w.conns
	awaitParked(t, c)
	whole := request(t, 7, 300)
	for _, cut := range []int{1, 2, 5, 8, 100, len(whole) - 1} {
		io.WriteString(nc, whole[:cut])
		time.Sleep(5 * time.Millisecond) // whatever the reader does meanwhile, it is to be right
		io.WriteString(nc, whole[cut:])
		wantResponse(t, r, 7)
		awaitParked(t, c)
	}

	packet := tipt.AppendPacket(nil, tipt.RevisionSeed, &tipt.Packet{
		Version: tipt.Version, Type: tipt.PacketRequest, ID: 8, Code: 1,
	})
	pause := func() {
		io.WriteString(nc, masked(t, ws.OpPing, true, []byte("still there?")))
		if f := readFrame(t, r); f.Header.OpCode != ws.OpPong {
			t.Errorf("got a frame %x, want a PONG", f.Header.OpCode)
		}
		time.Sleep(5 * time.Millisecond)
	}
	io.WriteString(nc, masked(t, ws.OpBinary, false, packet[:5]))
	pause()
	io.WriteString(nc, masked(t, ws.OpContinuation, false, packet[5:9]))
	pause()
	io.WriteString(nc, masked(t, ws.OpContinuation, true, packet[9:]))
	wantResponse(t, r, 8)
	nc.Close()
	<-w.ended
}

// TestManyAtOnce: when more connections have something than the Poller is told of at a time,
// all are served.
func TestManyAtOnce(t *testing.T) {
	const connections = 300
	w := newLooking(t, connections)
	ncs, rs := make([]net.Conn, connections), make([]*bufio.Reader, connections)
	for i := range ncs {
		ncs[i], rs[i] = w.join(t)
		awaitParked(t, <-w.conns)
		if _, err := io.WriteString(ncs[i], request(t, 9, 10)); err != nil {
			t.Fatal(err)
		}
	}
	w.run()
	for _, r := range rs {
		wantResponse(t, r, 9)
	}
	for _, nc := range ncs {
		nc.Close()
	}
	for range ncs {
		<-w.ended
	}
}

// TestCloseWhileParked: a parked connection ends when this side wants it to, with whatever
// it is told at the same time.
func TestCloseWhileParked(t *testing.T) {
	const connections = 100
	w := newWatching(t, connections)
	ncs := make([]net.Conn, connections)
	links := make([]*link.Link, connections)
	for i := range ncs {
		ncs[i], _ = w.join(t)
		links[i] = <-w.links
		awaitParked(t, <-w.conns)
	}
	var all sync.WaitGroup
	for i, l := range links {
		for range 2 {
			all.Go(l.CloseNow)
		}
		if i%2 == 0 {
			all.Go(func() { io.WriteString(ncs[i], request(t, 1, 100)) })
		}
		if i%3 == 0 {
			all.Go(func() { ncs[i].Close() })
		}
		if i%5 == 0 {
			all.Go(func() { l.Close(tipt.CloseGoingAway, "") })
		}
	}
	all.Wait()
	for range connections {
		<-w.ended // once for each, as newWatching has a WaitGroup
	}
}

// TestFarewellWhileParked: a parked connection is closed in good order.
func TestFarewellWhileParked(t *testing.T) {
	w := newWatching(t, 1)
	nc, r := w.join(t)
	l := <-w.links
	awaitParked(t, <-w.conns)
	l.Close(tipt.CloseGoingAway, "later")
	if f := readFrame(t, r); f.Header.OpCode != ws.OpClose {
		t.Errorf("got a frame %x, want a close frame", f.Header.OpCode)
	}
	write(t, nc.(*tls.Conn), ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(tipt.CloseGoingAway, ""))))
	var closed *link.CloseError
	if err := <-w.ended; !errors.As(err, &closed) || !closed.Local || closed.Code != tipt.CloseGoingAway {
		t.Errorf("ended with %v", err)
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("read %v after the close frames, want EOF", err)
	}
}

// TestManyEndAtOnce: so do many whose peers are gone, and their file descriptors are another's
// at once.
func TestManyEndAtOnce(t *testing.T) {
	const connections = 150
	w := newWatching(t, 3*connections)
	for round := range 3 {
		ncs := make([]net.Conn, connections)
		for i := range ncs {
			var r *bufio.Reader
			ncs[i], r = w.join(t)
			if _, err := io.WriteString(ncs[i], request(t, 3, 10)); err != nil {
				t.Fatal(err)
			}
			wantResponse(t, r, 3)
		}
		var all sync.WaitGroup
		for _, nc := range ncs {
			all.Go(func() { nc.(*tls.Conn).NetConn().Close() })
		}
		all.Wait()
		for i := range connections {
			if err := <-w.ended; err == nil {
				t.Fatalf("round %d, connection %d ended without a cause", round, i)
			}
		}
	}
}

// TestParkedNeedsNoGoroutine: a hundred parked connections have none.
func TestParkedNeedsNoGoroutine(t *testing.T) {
	const connections = 100
	w := newWatching(t, connections)
	var before int
	for i := range connections {
		nc, r := w.join(t)
		if _, err := io.WriteString(nc, request(t, 1, 10)); err != nil {
			t.Fatal(err)
		}
		wantResponse(t, r, 1)
		awaitParked(t, <-w.conns)
		if i == 9 {
			before = runtime.NumGoroutine() // what is kept for later is there by now
		}
	}
	// Those of the HTTP server are about to end.
	var now int
	for range 1000 {
		if now = runtime.NumGoroutine(); now <= before+5 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if now > before+5 {
		t.Errorf("%d goroutines for 10 connections, %d for %d", before, now, connections)
	}
	for range connections {
		(<-w.links).CloseNow()
	}
	for range connections {
		if err := <-w.ended; !errors.Is(err, link.ErrClosed) {
			t.Errorf("ended with %v", err)
		}
	}
}

// TestNotWatched: a connection of another listener has a goroutine, and works.
func TestNotWatched(t *testing.T) {
	ended := make(chan error, 1)
	n := newNodeWith(t, func(w http.ResponseWriter, r *http.Request) {
		poller, err := tiptws.NewPoller()
		if err != nil {
			t.Error(err)
			return
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		defer func() { ended <- poller.Run(ctx) }()
		c, err := tiptws.Accept(w, r)
		if err != nil {
			t.Error(err)
			return
		}
		c.Watch(poller)
		link.New(c, link.Options{Handler: echoes{}}).Start(func(err error) { ended <- err })
	})
	nc, r := n.join(t)
	io.WriteString(nc, request(t, 1, 10))
	wantResponse(t, r, 1)
	nc.Close()
	for range 2 {
		if err := <-ended; err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(fmt.Errorf("ended with %w", err))
		}
	}
}
