package link_test

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/link"
)

func TestCall(t *testing.T) {
	each(t, func(t *testing.T, e ends) {
		h := handler{request: func(r *link.Request) {
			switch r.Code {
			case 1:
				r.Reply(r.Body)
			case 2:
				r.Reply(nil)
			default:
				r.Fail(&tipt.Error{Code: tipt.ErrRejected, Message: "no", Wait: 7 * time.Second})
			}
		}}
		a, b := run(t, "a", e.a, link.Options{Handler: h}), run(t, "b", e.b, link.Options{Handler: h})
		for _, s := range []*side{a, b} {
			for _, size := range []int{0, 100, 4 << 10, 20 << 10, 70_000, 2_000_000} {
				want := body(size&0xff, size)
				p, err := s.Call(t.Context(), 1, bytes.Clone(want))
				if err != nil || !bytes.Equal(p.Body, want) {
					t.Errorf("%s: echo of %d bytes: %d bytes, %v", s.name, size, len(p.Body), err)
				}
			}
			if p, err := s.Call(t.Context(), 2, nil); err != nil || p.Body != nil {
				t.Errorf("%s: nil body: %v, %v", s.name, p.Body, err)
			}
			_, err := s.Call(t.Context(), 3, nil)
			var e *tipt.Error
			if !errors.As(err, &e) {
				t.Fatalf("%s: failing call: %v", s.name, err)
			}
			if diff := cmp.Diff(&tipt.Error{Code: tipt.ErrRejected, Message: "no", Wait: 7 * time.Second}, e); diff != "" {
				t.Errorf("%s: failing call: (-want +got)\n%s", s.name, diff)
			}
		}
	})
}

func TestCallTooLargeForAPacket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, cb := link.Pipe()
		a := run(t, "a", ca, link.Options{})
		run(t, "b", cb, link.Options{})
		if _, err := a.Call(t.Context(), 1, body(0, tipt.MaxPacketSize)); err == nil {
			t.Error("no error")
		}
	})
}

// TestAllIDs: all 256 ids are used, 0 among them, and the next call waits for one.
func TestAllIDs(t *testing.T) {
	each(t, func(t *testing.T, e ends) {
		h, requests := keep()
		a := run(t, "a", e.a, link.Options{})
		run(t, "b", e.b, link.Options{Handler: h})

		done, answers := results(tipt.MaxInFlight + 1)
		for i := range tipt.MaxInFlight {
			start(t, a, 1, body(i, 0), done)
		}
		var held []*link.Request
		for range tipt.MaxInFlight {
			held = append(held, <-requests)
		}
		if a.TryGo(1, nil, done) {
			t.Error("TryGo made a 257th request")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := a.Go(ctx, 1, nil, done); !errors.Is(err, context.Canceled) {
			t.Errorf("257th Go: %v, want it to wait for ctx", err)
		}

		started := make(chan error)
		go func() { started <- a.Go(context.WithoutCancel(t.Context()), 1, body(256, 0), done) }()
		e.settle()
		select {
		case r := <-requests:
			t.Fatalf("request %d was sent without an id", number(r.Body))
		case err := <-started:
			t.Fatalf("257th Go did not wait: %v", err)
		default:
		}
		held[77].Reply(body(77, 0))
		if err := <-started; err != nil {
			t.Fatalf("257th Go: %v", err)
		}
		if r := <-answers; number(r.packet.Body) != 77 {
			t.Errorf("answer %d, want 77", number(r.packet.Body))
		}
		last := <-requests
		if number(last.Body) != 256 {
			t.Errorf("request %d, want 256", number(last.Body))
		}
		held[77] = last
		for i := range held {
			held[len(held)-1-i].Reply(nil)
		}
		for range held {
			if r := <-answers; r.err != nil {
				t.Error(r.err)
			}
		}
	})
}

// TestGoWaitsInOrder: callers that wait for an id get one in the order they came.
func TestGoWaitsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, cb := link.Pipe()
		h, requests := keep()
		a := run(t, "a", ca, link.Options{})
		run(t, "b", cb, link.Options{Handler: h})
		done, _ := results(1000)
		for i := range tipt.MaxInFlight {
			start(t, a, 1, body(i, 0), done)
		}
		impatient, cancel := context.WithCancel(t.Context())
		for i := range 5 {
			ctx := context.WithoutCancel(t.Context())
			if i == 1 {
				ctx = impatient
			}
			go func() {
				if err := a.Go(ctx, 1, body(1000+i, 0), done); (err != nil) != (i == 1) {
					t.Errorf("waiting Go %d: %v", i, err)
				}
			}()
			synctest.Wait()
		}
		cancel()
		synctest.Wait()
		for range tipt.MaxInFlight {
			(<-requests).Reply(nil)
		}
		for _, want := range []int{1000, 1002, 1003, 1004} {
			if got := number((<-requests).Body); got != want {
				t.Errorf("request %d, want %d", got, want)
			}
		}
	})
}

// TestGoDoesNotOvertake: a call for which there is room does not overtake one for
// which there is none, until that is given up.
func TestGoDoesNotOvertake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, cb := link.Pipe()
		a, peer := run(t, "a", ca, link.Options{}), newRaw(t, cb)
		done, _ := results(100)
		sent := fill(a, 200_000, done)

		impatient, cancel := context.WithCancel(t.Context())
		var returned atomic.Int32
		for i, ctx := range []context.Context{impatient, t.Context()} {
			go func() {
				defer returned.Add(1)
				if err := a.Go(ctx, 1, body(1000+i, 200_000-199_000*i), done); (err != nil) != (i == 0) {
					t.Errorf("waiting Go %d: %v", i, err)
				}
			}()
			synctest.Wait()
		}
		if a.TryGo(1, nil, done) || returned.Load() != 0 {
			t.Error("a call overtook those that wait")
		}
		cancel()
		synctest.Wait()
		if !a.TryGo(1, body(1002, 0), done) {
			t.Error("no room for a small call, though none waits any more")
		}
		for i := range sent {
			if got := number(peer.want(t, "queued call").Body); got != i {
				t.Errorf("call %d, want %d", got, i)
			}
		}
		for _, want := range []int{1001, 1002} {
			if got := number(peer.want(t, "call that waited").Body); got != want {
				t.Errorf("call %d, want %d", got, want)
			}
		}
	})
}

// TestAbandonedCall: a call given up keeps its id until the late response comes,
// which then reaches nobody (section 3.2).
func TestAbandonedCall(t *testing.T) {
	each(t, func(t *testing.T, e ends) {
		h, requests := keep()
		a := run(t, "a", e.a, link.Options{})
		run(t, "b", e.b, link.Options{Handler: h})

		ctx, cancel := context.WithCancel(t.Context())
		given := make(chan error)
		go func() {
			_, err := a.Call(ctx, 1, body(1, 0))
			given <- err
		}()
		late := <-requests
		cancel()
		if err := <-given; !errors.Is(err, context.Canceled) {
			t.Fatalf("abandoned call: %v", err)
		}

		// Its id is not to be had: 255 others fit, no more.
		done, answers := results(tipt.MaxInFlight)
		for i := range tipt.MaxInFlight - 1 {
			start(t, a, 1, body(100+i, 0), done)
		}
		if a.TryGo(1, body(999, 0), done) {
			t.Fatal("the id of an abandoned call was used again")
		}
		var held []*link.Request
		for range tipt.MaxInFlight - 1 {
			held = append(held, <-requests)
		}
		room := make(chan struct{})
		a.Room(func() { close(room) })
		late.Reply(body(1, 0))
		<-room // the late response has come
		if !a.TryGo(1, body(999, 0), done) {
			t.Fatal("the late response did not free the id")
		}
		held = append(held, <-requests)
		for _, r := range held {
			r.Reply(r.Body)
		}
		seen := map[int]bool{}
		for range held {
			r := <-answers
			if r.err != nil {
				t.Fatal(r.err)
			}
			seen[number(r.packet.Body)] = true
		}
		if seen[1] || !seen[999] || len(seen) != tipt.MaxInFlight {
			t.Errorf("%d answers; the late one among them: %v", len(seen), seen[1])
		}
	})
}

// TestUnwrittenCall: a call given up before its packet was written frees its
// id and its room at once, and is never heard of.
func TestUnwrittenCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, cb := link.Pipe()
		a, peer := run(t, "a", ca, link.Options{}), newRaw(t, cb)

		// The peer reads nothing, so these fill the pipe and the writer stands.
		done, _ := results(2)
		start(t, a, 1, body(0, 1_000_000), done)
		synctest.Wait()

		for range 2 * tipt.MaxInFlight { // each would take an id for ever
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			if _, err := a.Call(ctx, 2, body(0, 1_000_000)); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("call behind a writer that stands: %v", err)
			}
			cancel()
		}
		start(t, a, 3, nil, done)
		for _, want := range []uint8{1, 3} {
			if p := peer.want(t, "what was not given up"); p.Code != want {
				t.Errorf("code %d, want %d", p.Code, want)
			}
		}
	})
}

// TestLateResponseAtCancel: a response that comes when the caller is just giving up
// is either its or nobody's.
func TestLateResponseAtCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, cb := link.Pipe()
		h := handler{request: func(r *link.Request) {
			time.AfterFunc(time.Second, func() { r.Reply(r.Body) })
		}}
		a := run(t, "a", ca, link.Options{})
		run(t, "b", cb, link.Options{Handler: h})
		for i := range 200 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			p, err := a.Call(ctx, 1, body(i, 0))
			if err == nil && number(p.Body) != i || err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("call %d: answer %d, %v", i, number(p.Body), err)
			}
			cancel()
		}
	})
}

// TestOrder: calls and events are written in the order they were made, and the peer's
// handler sees them in the order of arrival.
func TestOrder(t *testing.T) {
	each(t, func(t *testing.T, e ends) {
		const n = 500
		var order []int
		all := make(chan struct{})
		arrived := func(b []byte) {
			if order = append(order, number(b)); len(order) == n {
				close(all)
			}
		}
		h := handler{
			request: func(r *link.Request) { arrived(r.Body); r.Reply(nil) },
			event:   func(p tipt.Packet) { arrived(p.Body) },
		}
		a := run(t, "a", e.a, link.Options{})
		run(t, "b", e.b, link.Options{Handler: h})
		done, _ := results(n)
		for i := range n {
			if i%3 == 0 {
				if err := a.Emit(5, body(i, i*10)); err != nil {
					t.Fatal(err)
				}
				continue
			}
			start(t, a, 1, body(i, i*20), done)
		}
		<-all
		for i, got := range order {
			if i != got {
				t.Fatalf("packet %d came in place %d", got, i)
			}
		}
	})
}

// A countingConn keeps how many packets were written at once.
type countingConn struct {
	link.Conn
	writes chan []int // sizes of their packets
}

func (c countingConn) Write(packets [][]byte) error {
	var sizes []int
	for _, p := range packets {
		sizes = append(sizes, len(p))
	}
	c.writes <- sizes
	return c.Conn.Write(packets)
}

// TestJoin: what waits is handed over together, up to 64 KiB.
func TestJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, cb := link.Pipe()
		writes := make(chan []int, 100)
		l := link.New(countingConn{ca, writes}, link.Options{})
		done, _ := results(200)
		for range 100 {
			if err := l.Go(t.Context(), 1, body(0, 100), done); err != nil {
				t.Fatal(err)
			}
		}
		for range 10 {
			if err := l.Go(t.Context(), 1, body(0, 20_000), done); err != nil {
				t.Fatal(err)
			}
		}
		h, requests := keep()
		run(t, "b", cb, link.Options{Handler: h})
		ended := make(chan error)
		go func() { ended <- l.Run(context.WithoutCancel(t.Context())) }()
		for range 110 {
			<-requests
		}
		l.CloseNow()
		if err := <-ended; err == nil {
			t.Error("Run ended without saying why")
		}
		if len(writes) != 4 {
			t.Errorf("%d writes for 10 KB in 100 packets and 200 KB in 10", len(writes))
		}
		close(writes)
		for sizes := range writes {
			total := 0
			for _, n := range sizes {
				total += n
			}
			if total > 70_000 {
				t.Errorf("a write of %d bytes in %d packets", total, len(sizes))
			}
		}
	})
}

// TestResponsesFirst: what waits to be written is written responses first.
func TestResponsesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, cb := link.Pipe()
		h, requests := keep()
		a, peer := run(t, "a", ca, link.Options{Handler: h}), newRaw(t, cb)
		peer.send(t, request(9, 1, nil))
		done, _ := results(3)
		start(t, a, 1, body(0, 500_000), done) // more than the pipe holds
		synctest.Wait()
		start(t, a, 2, nil, done)
		start(t, a, 3, nil, done)
		(<-requests).Reply(body(0, 5_000))
		synctest.Wait()
		var got []string
		for range 4 {
			p := peer.want(t, "packet")
			got = append(got, p.Type.String())
		}
		if diff := cmp.Diff([]string{"REQUEST", "RESPONSE", "REQUEST", "REQUEST"}, got); diff != "" {
			t.Errorf("order: (-want +got)\n%s", diff)
		}
	})
}

func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, cb := link.Pipe()
		a, peer := run(t, "a", ca, link.Options{}), newRaw(t, cb)
		called := 0
		a.Room(func() { called++ })
		if called != 1 {
			t.Fatal("Room did not tell of room that is there")
		}
		done, _ := results(100)
		sent := fill(a, 100_000, done)
		if sent < 25 || sent > 40 {
			t.Fatalf("%d calls of 100 KB were queued, want about 3 MiB", sent)
		}
		a.Room(func() { called++ })
		synctest.Wait()
		if called != 1 {
			t.Fatal("Room told of room that is not there")
		}
		for i := range sent {
			if p := peer.want(t, "queued call"); number(p.Body) != i {
				t.Fatalf("call %d in place %d", number(p.Body), i)
			}
		}
		synctest.Wait()
		if called != 2 {
			t.Fatalf("Room's function was called %d times, want once more", called-1)
		}
		if !a.TryGo(1, body(0, 100_000), done) {
			t.Error("no room after Room told of it")
		}
	})
}

func TestEmitFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, cb := link.Pipe()
		a, peer := run(t, "a", ca, link.Options{}), newRaw(t, cb)
		n := 0
		err := a.Emit(1, body(n, 100_000))
		for ; err == nil && n < 1000; err = a.Emit(1, body(n, 100_000)) {
			n++
		}
		if !errors.Is(err, link.ErrFull) || n < 35 || n > 45 {
			t.Fatalf("%d events of 100 KB, then %v; want about 4 MiB, then ErrFull", n, err)
		}
		for i := range n {
			if p := peer.want(t, "event"); p.Type != tipt.PacketEvent || number(p.Body) != i {
				t.Fatalf("%s in place %d", describe(p), i)
			}
		}
		synctest.Wait()
		if err := a.Emit(1, body(0, 100_000)); err != nil {
			t.Errorf("Emit with room: %v", err)
		}
	})
}
