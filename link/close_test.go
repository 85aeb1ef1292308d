package link_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/link"
)

// TestClose: Close writes what is queued, then the code; the other side sees it, and
// both know who closed.
func TestClose(t *testing.T) {
	for _, code := range []int{tipt.CloseNormal, tipt.CloseGoingAway, tipt.CloseMaintenance, tipt.CloseOverload, tipt.CloseReplaced, tipt.CloseSignedOut} {
		each(t, func(t *testing.T, e ends) {
			h, requests := keep()
			a, b := run(t, "a", e.a, link.Options{}), run(t, "b", e.b, link.Options{Handler: h})
			done, answers := results(100)
			for i := range 50 {
				start(t, a, 1, body(i, 40_000), done)
			}
			a.Close(code, "enough")
			a.Close(tipt.CloseInternal, "the first one counts")
			wantClosed(t, a, true, code)
			wantClosed(t, b, false, code)
			var ce *link.CloseError
			if !errors.As(b.err, &ce) || ce.Reason != "enough" {
				t.Errorf("b: Run: %v, want the reason", b.err)
			}
			if len(requests) != 50 {
				t.Errorf("%d of 50 queued requests came", len(requests))
			}
			for range 50 {
				if r := <-answers; !errors.Is(r.err, link.ErrClosed) {
					t.Errorf("call left unanswered: %v", r.err)
				}
			}
			if len(answers) != 0 {
				t.Error("a call ended twice")
			}
			for _, s := range []*side{a, b} {
				if _, err := s.Call(t.Context(), 1, nil); !errors.Is(err, link.ErrClosed) {
					t.Errorf("%s: call afterwards: %v", s.name, err)
				}
				if s.TryGo(1, nil, done) {
					t.Errorf("%s: TryGo works afterwards", s.name)
				}
				if err := s.Emit(1, nil); !errors.Is(err, link.ErrClosed) {
					t.Errorf("%s: Emit afterwards: %v", s.name, err)
				}
				if err := s.PingWait(t.Context()); !errors.Is(err, link.ErrClosed) {
					t.Errorf("%s: PingWait afterwards: %v", s.name, err)
				}
				s.Ping()
				s.Close(code, "")
				s.CloseNow()
			}
			for range 50 {
				(<-requests).Reply(nil) // too late, and harmless
			}
		})
	}
}

// TestCloseAfterReply: the answer that is queued leaves before the close frame.
func TestCloseAfterReply(t *testing.T) {
	each(t, func(t *testing.T, e ends) {
		closing := make(chan *side, 1)
		h := handler{request: func(r *link.Request) {
			r.Reply(body(3, 0))
			(<-closing).Close(tipt.CloseProtocol, "incompatible")
		}}
		a, b := run(t, "a", e.a, link.Options{Handler: h}), run(t, "b", e.b, link.Options{})
		closing <- a
		if p, err := b.Call(t.Context(), 1, nil); err != nil || number(p.Body) != 3 {
			t.Errorf("answer before the close: %v", err)
		}
		wantClosed(t, b, false, tipt.CloseProtocol)
		wantClosed(t, a, true, tipt.CloseProtocol)
	})
}

// TestBothClose: both ends are closed at about the same time. One may hear of the other's close
// before its own is called, but not both.
func TestBothClose(t *testing.T) {
	each(t, func(t *testing.T, e ends) {
		a, b := run(t, "a", e.a, link.Options{}), run(t, "b", e.b, link.Options{})
		a.Close(tipt.CloseGoingAway, "")
		b.Close(tipt.CloseNormal, "")
		own := 0
		for _, s := range []*side{a, b} {
			var ce *link.CloseError
			if err := s.wait(); !errors.As(err, &ce) {
				t.Fatalf("%s: Run: %v, want a close", s.name, err)
			}
			if (ce.Code == tipt.CloseGoingAway) != (ce.Local == (s == a)) {
				t.Errorf("%s: Run: %v, which is the other's code", s.name, ce)
			}
			if ce.Local {
				own++
			}
		}
		if own == 0 {
			t.Error("each says that the other closed")
		}
	})
}

// TestCloseFrameWithoutCode: a peer that gives no code gets none back.
func TestCloseFrameWithoutCode(t *testing.T) {
	each(t, func(t *testing.T, e ends) {
		a, peer := run(t, "a", e.a, link.Options{}), newRaw(t, e.b)
		closed := make(chan error)
		go func() { closed <- peer.Close(tipt.CloseNoStatus, "") }()
		peer.wantClose(t, tipt.CloseNoStatus)
		if err := <-closed; err != nil {
			t.Error(err)
		}
		peer.CloseNow()
		wantClosed(t, a, false, tipt.CloseNoStatus)
	})
}

// TestNothingIsHeardAfterClose: what the peer sends after Close reaches no handler,
// for the 5 s in which it is discarded; then the connection is cut.
func TestNothingIsHeardAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, cb := link.Pipe()
		var heard atomic.Int32
		h := handler{request: func(*link.Request) { heard.Add(1) }, event: func(tipt.Packet) { heard.Add(1) }}
		a, peer := run(t, "a", ca, link.Options{Handler: h}), newRaw(t, cb)
		a.Close(tipt.CloseReplaced, "")
		begin := time.Now()
		for id := uint8(0); ; id++ {
			p := request(id, 1, body(0, 100_000))
			p.Version = tipt.Version
			if err := peer.Write([][]byte{tipt.AppendPacket(nil, 0, &p), encode(event(1, nil)), {0xc1}}); err != nil {
				break // it was taken until here
			}
			time.Sleep(10 * time.Millisecond)
		}
		wantClosed(t, a, true, tipt.CloseReplaced)
		if d := time.Since(begin); d < tipt.CloseLinger || d > tipt.CloseLinger+time.Second {
			t.Errorf("input was discarded for %v", d)
		}
		if n := heard.Load(); n != 0 {
			t.Errorf("the handler heard %d packets after Close", n)
		}
	})
}

// fill makes calls to a peer that does not read until no more are queued, and returns
// their number. It is for synctest bubbles.
func fill(s *side, size int, done func(tipt.Packet, error)) (calls int) {
	for s.TryGo(1, body(calls, size), done) {
		calls++
		synctest.Wait()
	}
	return calls
}

// TestPeerNeverReads: a peer that takes nothing is cut off after 30 s, and all
// calls end.
func TestPeerNeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := link.NewBudget(100 * mib)
		a, _ := budgeted(t, "a", budget, nil)
		done, answers := results(1000)
		calls := fill(a, 100_000, done)
		waiting := make(chan error)
		go func() { waiting <- a.Go(context.WithoutCancel(t.Context()), 1, body(0, 100_000), done) }()
		begin := time.Now()
		if err := a.wait(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Run: %v, want a deadline", err)
		}
		if d := time.Since(begin); d != link.StallTimeout {
			t.Errorf("cut off after %v, want %v", d, link.StallTimeout)
		}
		if err := <-waiting; !errors.Is(err, link.ErrClosed) {
			t.Errorf("call that waited: %v", err)
		}
		for range calls {
			if r := <-answers; !errors.Is(r.err, link.ErrClosed) {
				t.Errorf("call left unanswered: %v", r.err)
			}
		}
		if used := budget.Used(); used != 0 {
			t.Errorf("%d bytes are held", used)
		}
	})
}

// TestPeerReadsSlowly: a peer that takes a little every 20 s gets everything.
func TestPeerReadsSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, cb := link.Pipe()
		a, peer := run(t, "a", ca, link.Options{}), newRaw(t, cb)
		done, answers := results(1)
		start(t, a, 1, body(4, 2_000_000), done)
		m, err := peer.Next()
		if err != nil {
			t.Fatal(err)
		}
		got, part := 0, make([]byte, 16<<10)
		for err == nil {
			var n int
			n, err = m.Read(part)
			got += n
			time.Sleep(20 * time.Second)
		}
		if !errors.Is(err, io.EOF) || got < 2_000_000 {
			t.Fatalf("%d bytes, then %v", got, err)
		}
		peer.send(t, response(0, nil))
		if r := <-answers; r.err != nil {
			t.Error(r.err)
		}
	})
}

// TestCloseToASlowPeer: Close does not wait for its peer longer than 30 s, also when
// it was called before Run.
func TestCloseToASlowPeer(t *testing.T) {
	for _, early := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) { testCloseToASlowPeer(t, early) })
	}
}

func testCloseToASlowPeer(t *testing.T, early bool) {
	ca, cb := link.Pipe()
	peer := newRaw(t, cb)
	a := &side{Link: link.New(ca, link.Options{}), name: "a", ended: make(chan struct{})}
	done, _ := results(1)
	if early {
		start(t, a, 1, body(4, 2_000_000), done)
		a.Close(tipt.CloseGoingAway, "")
	}
	go func() {
		defer close(a.ended)
		a.err = a.Run(context.WithoutCancel(t.Context()))
	}()
	synctest.Wait()
	if !early {
		start(t, a, 1, body(4, 2_000_000), done)
		a.Close(tipt.CloseGoingAway, "")
	}
	begin := time.Now()
	m, err := peer.Next()
	for err == nil {
		_, err = m.Read(make([]byte, 1<<10))
		time.Sleep(time.Second)
		select {
		case <-a.ended:
			err = io.EOF
		default:
		}
	}
	wantClosed(t, a, true, tipt.CloseGoingAway)
	if d := time.Since(begin); d > link.StallTimeout+time.Second {
		t.Errorf("ended after %v, want %v", d, link.StallTimeout)
	}
}

// TestMessageAtClose: a message that was coming when Close was called is not heard.
func TestMessageAtClose(t *testing.T) {
	for _, packet := range [][]byte{encode(request(1, 1, body(0, 100))), encode(event(1, nil)), encode(request(1, 1, body(0, 10_000)))} {
		synctest.Test(t, func(t *testing.T) {
			ca, _ := link.Pipe()
			out, in := io.Pipe()
			heard := func() { t.Error("a message was heard after Close") }
			h := handler{request: func(*link.Request) { heard() }, event: func(tipt.Packet) { heard() }}
			a := run(t, "a", slowConn{ca, out}, link.Options{Handler: h})
			half := len(packet) / 2
			if _, err := in.Write(packet[:half]); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			a.Close(tipt.CloseReplaced, "")
			if _, err := in.Write(packet[half:]); err != nil {
				t.Fatal(err)
			}
			if err := in.Close(); err != nil {
				t.Fatal(err)
			}
			wantClosed(t, a, true, tipt.CloseReplaced)
		})
	}
}

// TestWaitingCallAtClose: calls and PINGs that wait are told at Close.
func TestWaitingCallAtClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, _ := link.Pipe()
		a := run(t, "a", ca, link.Options{})
		done, _ := results(1000)
		fill(a, 10_000, done)
		a.Room(func() { t.Error("told of room on a closed link") })
		refused := make(chan error, 2)
		go func() { refused <- a.Go(context.WithoutCancel(t.Context()), 1, body(0, 10_000), done) }()
		go func() { refused <- a.PingWait(context.WithoutCancel(t.Context())) }()
		synctest.Wait()
		begin := time.Now()
		a.Close(tipt.CloseNormal, "")
		for range 2 {
			if err := <-refused; !errors.Is(err, link.ErrClosed) {
				t.Errorf("what waited: %v", err)
			}
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("what waited was told after %v", d)
		}
	})
}

// A closingConn is one whose writes fail because the peer's close frame has come and is
// not yet with the reader.
type closingConn struct {
	link.Conn
	dropped chan struct{}
	once    sync.Once
}

func (c *closingConn) Bind(_, _ func()) {}

func (c *closingConn) Write([][]byte) error { return net.ErrClosed }

func (c *closingConn) Next() (io.Reader, error) {
	<-c.dropped
	return nil, &link.CloseError{Code: tipt.CloseReplaced}
}

func (c *closingConn) CloseNow() { c.once.Do(func() { close(c.dropped) }) }

// TestCloseWhileWriting: a write that fails does not hide with which code the peer closed,
// for clients do not come back after some of them.
func TestCloseWhileWriting(t *testing.T) {
	l := link.New(&closingConn{dropped: make(chan struct{})}, link.Options{})
	if err := l.Emit(0, nil); err != nil {
		t.Fatal(err)
	}
	var closed *link.CloseError
	if err := l.Run(t.Context()); !errors.As(err, &closed) || closed.Code != tipt.CloseReplaced {
		t.Errorf("Run: %v, want close code %d", err, tipt.CloseReplaced)
	}
}

func TestRunContext(t *testing.T) {
	each(t, func(t *testing.T, e ends) {
		newRaw(t, e.b)
		cause := errors.New("the node stops")
		ctx, cancel := context.WithCancelCause(context.WithoutCancel(t.Context()))
		l := link.New(e.a, link.Options{})
		ended := make(chan error)
		go func() { ended <- l.Run(ctx) }()
		done, answers := results(1)
		if err := l.Go(t.Context(), 1, nil, done); err != nil {
			t.Fatal(err)
		}
		cancel(cause)
		if err := <-ended; !errors.Is(err, cause) {
			t.Errorf("Run: %v, want the context's cause", err)
		}
		if r := <-answers; !errors.Is(r.err, link.ErrClosed) {
			t.Errorf("call left unanswered: %v", r.err)
		}
	})
}

func TestCloseNow(t *testing.T) {
	each(t, func(t *testing.T, e ends) {
		a, b := run(t, "a", e.a, link.Options{}), run(t, "b", e.b, link.Options{})
		a.CloseNow()
		if err := a.wait(); !errors.Is(err, link.ErrClosed) {
			t.Errorf("a: Run: %v, want ErrClosed", err)
		}
		var ce *link.CloseError
		if err := b.wait(); err == nil || errors.As(err, &ce) {
			t.Errorf("b: Run: %v, want a lost connection", err)
		}
	})
}

// TestBeforeRun: what is sent before Run waits for it, a Close too.
func TestBeforeRun(t *testing.T) {
	each(t, func(t *testing.T, e ends) {
		l := link.New(e.a, link.Options{})
		done, answers := results(1)
		if err := l.Go(t.Context(), 1, body(6, 0), done); err != nil {
			t.Fatal(err)
		}
		l.Close(tipt.CloseOverload, "")
		h, requests := keep()
		b := run(t, "b", e.b, link.Options{Handler: h})
		ended := make(chan error)
		go func() { ended <- l.Run(context.WithoutCancel(t.Context())) }()
		wantClosed(t, b, false, tipt.CloseOverload)
		var ce *link.CloseError
		if err := <-ended; !errors.As(err, &ce) || !ce.Local || ce.Code != tipt.CloseOverload {
			t.Errorf("Run: %v", err)
		}
		if len(requests) != 1 {
			t.Errorf("%d requests came, want the one sent before Run", len(requests))
		}
		if r := <-answers; !errors.Is(r.err, link.ErrClosed) {
			t.Errorf("call left unanswered: %v", r.err)
		}
	})
}

// TestDrain: two sides that both send all they can, and answer as much, come to an end.
func TestDrain(t *testing.T) {
	each(t, func(t *testing.T, e ends) {
		a, b := run(t, "a", e.a, link.Options{Handler: echo}), run(t, "b", e.b, link.Options{Handler: echo})
		const n = 400
		var answered, refused atomic.Int32
		ended := make(chan struct{})
		for _, s := range []*side{a, b} {
			go func() {
				defer func() { ended <- struct{}{} }()
				all := make(chan struct{}, n)
				for i := range n {
					err := s.Go(context.WithoutCancel(t.Context()), 1, body(i, i%7*20_000), func(p tipt.Packet, err error) {
						switch {
						case err == nil && number(p.Body) == i:
							answered.Add(1)
						case errors.Is(err, tipt.ErrBusy):
							refused.Add(1)
						default:
							t.Errorf("%s: call %d: answer %d, %v", s.name, i, number(p.Body), err)
						}
						all <- struct{}{}
					})
					if err != nil {
						t.Errorf("%s: Go: %v", s.name, err)
						return
					}
				}
				for range n {
					<-all
				}
			}()
		}
		<-ended
		<-ended
		if total := answered.Load() + refused.Load(); total != 2*n || answered.Load() == 0 {
			t.Errorf("%d answered, %d refused, want %d", answered.Load(), refused.Load(), 2*n)
		}
	})
}
