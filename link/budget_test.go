package link_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/link"
)

const mib = 1 << 20

// TestWorkingBytes: past 8 MiB of requests being worked on a request is BUSY, of whatever
// size, while small responses and PINGs are still read; an answer makes room again.
func TestWorkingBytes(t *testing.T) {
	each(t, func(t *testing.T, e ends) {
		h, requests := keep()
		var ignored []error
		o := link.Options{Handler: h, Ignored: func(err error) { ignored = append(ignored, err) }}
		a, peer := run(t, "a", e.a, o), newRaw(t, e.b)

		for i := range 7 {
			peer.send(t, request(uint8(i), 1, body(i, mib)))
		}
		var held []*link.Request
		for range 7 {
			held = append(held, <-requests)
		}
		peer.send(t, request(100, 1, body(0, mib)), event(1, body(0, mib)))
		p := peer.want(t, "request over 8 MiB")
		wantBusy(t, p, 100)

		done, answers := results(2)
		start(t, a, 1, nil, done)
		out := peer.want(t, "call of a busy link")
		peer.send(t, response(out.ID, body(55, 1_000)))
		if r := <-answers; r.err != nil || number(r.packet.Body) != 55 {
			t.Errorf("small response to a busy link: %v", r.err)
		}
		start(t, a, 1, nil, done)
		out = peer.want(t, "call of a busy link")
		peer.send(t, response(out.ID, body(56, 2*mib)))
		if r := <-answers; r.err != nil || number(r.packet.Body) != 56 {
			t.Errorf("large response to a busy link without a budget: %v", r.err)
		}

		// Small ones still go in, then not even those, but for one without a body.
		peer.send(t, request(101, 1, body(0, mib-100_000)))
		held = append(held, <-requests)
		for i := range 40 {
			peer.send(t, request(uint8(200+i), 1, body(0, 3_000)))
		}
		peer.send(t, request(102, 1, nil))
		for r := range requests {
			if r.Body == nil {
				r.Reply(nil)
				break
			}
			held = append(held, r)
		}
		accepted := len(held) - 8
		if accepted < 30 || accepted > 35 {
			t.Errorf("%d requests of 3 KB went into 100 KB", accepted)
		}
		for i := accepted; i < 40; i++ {
			wantBusy(t, peer.want(t, "small request over 8 MiB"), uint8(200+i))
		}
		if p := peer.want(t, "request without a body"); p.ID != 102 || p.Err != nil {
			t.Errorf("request without a body: %s", describe(p))
		}

		held[0].Reply(nil)
		held[1].Reply(nil)
		peer.want(t, "answer")
		peer.want(t, "answer")
		peer.send(t, request(100, 1, body(0, mib)))
		if r := <-requests; number(r.Body) != 0 || len(r.Body) < mib {
			t.Error("no room after an answer")
		}
		if len(ignored) != 1 || !errors.Is(ignored[0], tipt.ErrBusy) {
			t.Errorf("ignored: %v, want one event for lack of memory", ignored)
		}
	})
}

func wantBusy(t *testing.T, p tipt.Packet, id uint8) {
	t.Helper()
	if p.Type != tipt.PacketResponse || p.ID != id || p.Err == nil || p.Err.Code != tipt.ErrBusy || p.Err.Wait == 0 {
		t.Errorf("%s, want BUSY with a wait for %d", describe(p), id)
	}
}

// TestBudget: links that share a budget answer BUSY past it, and what one gives
// back the other can have. At the end nothing is held.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := link.NewBudget(7 * mib) // 5.25 for what is large, of which each needs twice its size to come
		h, requests := keep()
		a, peerA := budgeted(t, "a", budget, h)
		b, peerB := budgeted(t, "b", budget, h)

		peerA.send(t, request(1, 1, body(1, 2*mib)), request(2, 1, body(2, mib)))
		first, second := <-requests, <-requests
		peerB.send(t, request(1, 1, body(3, 2*mib)))
		wantBusy(t, peerB.want(t, "request over the budget"), 1)
		peerB.send(t, request(1, 1, body(4, 100)))
		(<-requests).Reply(nil)
		peerB.want(t, "small request")

		first.Reply(nil)
		peerA.want(t, "answer")
		peerB.send(t, request(1, 1, body(5, 2*mib)))
		if r := <-requests; number(r.Body) != 5 {
			t.Errorf("request %d", number(r.Body))
		}
		synctest.Wait()
		if used := budget.Used(); used < 3*mib || used > 3*mib+1000 {
			t.Errorf("%d bytes are held by requests of 3 MiB", used)
		}
		hangUp(a, b)
		if used := budget.Used(); used != 0 {
			t.Errorf("%d bytes are held after the end", used)
		}
		second.Reply(body(0, mib)) // late: neither written nor counted
		if used := budget.Used(); used != 0 {
			t.Errorf("%d bytes are held after a late answer", used)
		}
	})
}

// budgeted returns a link that runs, and its peer.
func budgeted(t *testing.T, name string, budget *link.Budget, h link.Handler) (*side, *raw) {
	ca, cb := link.Pipe()
	return run(t, name, ca, link.Options{Handler: h, Budget: budget}), newRaw(t, cb)
}

// TestBudgetAsBytesCome: a message that arrives takes memory as its bytes do.
func TestBudgetAsBytesCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := link.NewBudget(2 * mib)
		ca, _ := link.Pipe()
		out, in := io.Pipe()
		h, requests := keep()
		a := run(t, "a", slowConn{ca, out}, link.Options{Handler: h, Budget: budget})
		packet := encode(request(1, 1, body(1, 500_000)))
		for sent := 0; sent < len(packet); {
			n := min(10_000, len(packet)-sent)
			if _, err := in.Write(packet[sent : sent+n]); err != nil {
				t.Fatal(err)
			}
			sent += n
			synctest.Wait()
			if used := budget.Used(); used > int64(sent)+64<<10 {
				t.Fatalf("%d bytes are held after %d came", used, sent)
			}
		}
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
		(<-requests).Reply(nil)
		synctest.Wait()
		if used := budget.Used(); used != 0 {
			t.Errorf("%d bytes are held after the answer", used)
		}
		hangUp(a)
	})
}

// TestBudgetForSmall: large messages that do not end leave room for small ones.
func TestBudgetForSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := link.NewBudget(mib)
		h, requests := keep()
		ca, _ := link.Pipe()
		out, in := io.Pipe()
		a := run(t, "a", slowConn{ca, out}, link.Options{Handler: h, Budget: budget})
		b, peer := budgeted(t, "b", budget, h)
		packet := encode(request(1, 1, body(1, 2*mib)))
		if _, err := in.Write(packet[:mib+mib/2]); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if used := budget.Used(); used < mib/4*3-65<<10 || used > mib/4*3 {
			t.Errorf("%d bytes are held by a large message", used)
		}
		for i := range 20 {
			peer.send(t, request(uint8(i), 1, body(i, 4_000)))
			synctest.Wait()
			if len(requests) != i+1 {
				t.Fatalf("small request %d is not served: %s", i, describe(peer.want(t, "answer")))
			}
		}
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
		hangUp(a, b)
		if used := budget.Used(); used != 0 {
			t.Errorf("%d bytes are held after the end", used)
		}
	})
}

// A slowConn's messages all come out of one reader.
type slowConn struct {
	link.Conn
	message *io.PipeReader
}

func (c slowConn) Next() (io.Reader, error) {
	if _, err := c.message.Read(nil); err != nil {
		return c.Conn.Next()
	}
	return c.message, nil
}

// TestBudgetDelaysCalls: calls wait for the budget, and what another link gives
// back lets them go.
func TestBudgetDelaysCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := link.NewBudget(4 * mib)
		a, peerA := budgeted(t, "a", budget, nil)
		b, peerB := budgeted(t, "b", budget, nil)
		c, peerC := budgeted(t, "c", budget, nil)

		done, answers := results(10)
		start(t, a, 1, body(0, mib+mib/2-1000), done) // its peer does not read; calls may have 1.5 MiB
		synctest.Wait()
		if b.TryGo(1, body(0, mib), done) || b.HasRoom() {
			t.Error("TryGo went over the budget")
		}
		told := false
		b.Room(func() { told = true })
		started := false
		go func() {
			if err := c.Go(context.WithoutCancel(t.Context()), 1, body(0, mib), done); err != nil {
				t.Error(err)
			}
			started = true
		}()
		synctest.Wait()
		if told || started {
			t.Fatalf("told of room: %v, call went over the budget: %v", told, started)
		}
		start(t, b, 1, nil, done) // a small one may have more
		peerB.want(t, "small call")

		peerA.want(t, "large call")
		synctest.Wait()
		if !told || !started {
			t.Fatalf("after the large call was written: told of room: %v, call goes: %v", told, started)
		}
		peerC.want(t, "call that waited")
		hangUp(a, b, c)
		for range 3 {
			if r := <-answers; !errors.Is(r.err, link.ErrClosed) {
				t.Errorf("call left unanswered: %v", r.err)
			}
		}
		if used := budget.Used(); used != 0 {
			t.Errorf("%d bytes are held after the end", used)
		}
	})
}

// TestBudgetOfSmallCalls: requests that are worked on, and large calls that wait, keep no small call from a
// peer that reads; one to a peer that does not read waits.
func TestBudgetOfSmallCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := link.NewBudget(8 * mib)
		h, requests := keep()
		a, peerA := budgeted(t, "a", budget, h)
		deaf, peerDeaf := budgeted(t, "deaf", budget, nil)
		b, peerB := budgeted(t, "b", budget, nil)
		c, peerC := budgeted(t, "c", budget, nil)
		done, _ := results(10)
		start(t, deaf, 1, body(0, 300_000), done)
		for i := range 3 {
			peerA.send(t, request(uint8(i), 1, body(i, mib/10*14)))
			synctest.Wait()
		}
		if used := budget.Used(); used < 4*mib+300_000 || used > 6*mib {
			t.Fatalf("%d bytes are held", used)
		}
		went := false
		go func() {
			if err := b.Go(context.WithoutCancel(t.Context()), 1, body(0, 10_000), done); err != nil {
				t.Error(err)
			}
			went = true
		}()
		synctest.Wait()
		if went {
			t.Error("a large call went")
		}
		told := false
		if deaf.TryGo(1, nil, done) || deaf.HasRoom() {
			t.Error("a small call went to a peer that has not read what is before it")
		}
		deaf.Room(func() { told = true })
		if !c.TryGo(1, nil, done) {
			t.Fatal("a small call to a peer that reads did not go")
		}
		peerC.want(t, "small call")

		(<-requests).Reply(nil)
		peerA.want(t, "answer")
		synctest.Wait()
		if !told || went {
			t.Errorf("with more than three eighths held: told of room for a small call: %v, large call went: %v", told, went)
		}
		for range 2 {
			(<-requests).Reply(nil)
			peerA.want(t, "answer")
		}
		synctest.Wait()
		if !went {
			t.Error("a large call did not go with the requests answered")
		}
		peerB.want(t, "large call")
		peerDeaf.want(t, "large call")
		hangUp(a, b, c, deaf)
		if deaf.HasRoom() {
			t.Error("an ended link has room")
		}
		if used := budget.Used(); used != 0 {
			t.Errorf("%d bytes are held after the end", used)
		}
	})
}

// TestBudgetOfWriting: a peer that does not read costs buffers besides the packet.
func TestBudgetOfWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := link.NewBudget(mib)
		a, peer := budgeted(t, "a", budget, nil)
		done, _ := results(1)
		const size = 200_000
		start(t, a, 1, body(0, size), done)
		synctest.Wait()
		if used := budget.Used(); used < size+50<<10 {
			t.Errorf("%d bytes are held while a packet of %d is being written", used, size)
		}
		peer.want(t, "call")
		synctest.Wait()
		if used := budget.Used(); used != 0 {
			t.Errorf("%d bytes are held once it was written", used)
		}
		hangUp(a)
	})
}

// TestBudgetOfEndedLink: a link that ends while it waits for the budget is not
// called any more, and does not keep the others waiting.
func TestBudgetOfEndedLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := link.NewBudget(4 * mib) // calls may have 1.5 MiB of it
		a, _ := budgeted(t, "a", budget, nil)
		also, peer := budgeted(t, "also", budget, nil)
		b, _ := budgeted(t, "b", budget, nil)
		c, peerC := budgeted(t, "c", budget, nil)
		done, _ := results(10)
		start(t, a, 1, body(0, 600_000), done)
		start(t, also, 1, body(0, 600_000), done)
		for _, s := range []*side{b, c} {
			size := 1_500_000
			if s == c {
				size = 500_000
			}
			go func() {
				err := s.Go(context.WithoutCancel(t.Context()), 1, body(0, size), done)
				if (err != nil) != (s == b) {
					t.Errorf("%s: %v", s.name, err)
				}
			}()
			synctest.Wait()
		}
		b.Room(func() { t.Error("an ended link was told of room") })
		hangUp(b)
		begin := time.Now()
		peer.want(t, "large call") // what it held is enough for c's call, not for b's
		peerC.want(t, "call that waited")
		if d := time.Since(begin); d != 0 {
			t.Errorf("c's call waited %v more", d)
		}
	})
}

// TestLargeResponseOverBudget: a response for which a node has no memory is to the
// caller as if the peer were BUSY; small ones are always read.
func TestLargeResponseOverBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := link.NewBudget(2 * mib)
		h, requests := keep()
		a, peer := budgeted(t, "a", budget, h)
		peer.send(t, request(1, 1, body(0, 700_000)))
		<-requests
		done, answers := results(2)
		start(t, a, 1, nil, done)
		start(t, a, 1, nil, done)
		peer.want(t, "call")
		peer.want(t, "call")
		peer.send(t, response(0, body(0, 900_000)))
		r := <-answers
		wantCode(t, "large response without memory", r.err, tipt.ErrBusy)
		peer.send(t, response(1, body(8, 3_000)))
		if r := <-answers; r.err != nil || number(r.packet.Body) != 8 {
			t.Errorf("small response without memory: %v", r.err)
		}
	})
}

// TestUnsentResponses: past 4 MiB unsent a large response becomes BUSY and a request
// is answered BUSY, so that a peer which does not read costs no more.
func TestUnsentResponses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := link.NewBudget(100 * mib)
		h, requests := keep()
		_, peer := budgeted(t, "a", budget, h)
		for i := range 200 {
			peer.send(t, request(uint8(i), 1, nil))
			synctest.Wait()
		}
		served := len(requests)
		if served != 200 {
			t.Fatalf("%d requests arrived", served)
		}
		for range served {
			(<-requests).Reply(body(0, 100_000))
		}
		if used := budget.Used(); used < 4*mib-200_000 || used > 4*mib+200_000 {
			t.Errorf("%d bytes wait to be sent, want about 4 MiB", used)
		}
		// Small ones go over it, and then a request is not even looked at.
		for i := range 56 {
			peer.send(t, request(uint8(200+i), 1, nil))
			synctest.Wait()
			select {
			case r := <-requests:
				r.Reply(body(0, 3_900))
			default:
			}
		}
		if used := budget.Used(); used > 4*mib+mib/2 {
			t.Errorf("%d bytes wait to be sent", used)
		}
		var answered, large, small int
		for range tipt.MaxInFlight {
			switch p := peer.want(t, "response"); {
			case p.Err == nil:
				answered++
			case p.Err.Code != tipt.ErrBusy:
				t.Errorf("response: %v", p.Err)
			case p.ID < 200:
				large++
			default:
				small++
			}
		}
		// 4 MiB are 41 of the large ones, and the pipe holds one or two.
		if answered < 41 || large < 150 || small == 0 {
			t.Errorf("%d answered; BUSY instead of %d large responses and to %d requests", answered, large, small)
		}
		synctest.Wait()
		if used := budget.Used(); used != 0 {
			t.Errorf("%d bytes are held", used)
		}
	})
}
