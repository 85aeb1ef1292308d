package conform

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

func clientExchangeScenarios() []clientScenario {
	return []clientScenario{
		{name: "client-ids", run: clientIDs, clauses: []string{"T-3.77"}},
		{name: "client-id-in-flight", run: clientIDInFlight, clauses: []string{"T-3.76"}},
		{name: "client-flood", run: clientFlood, clauses: []string{"T-3.70", "T-3.77"}},
		{name: "client-any-order", run: clientAnyOrder, clauses: []string{"T-3.78"}},
		{name: "client-timeout", run: clientTimeout, clauses: []string{"T-5.28"}},
		{name: "client-late", run: clientLate, clauses: []string{"T-3.16", "T-3.79"}},
		{name: "client-unlisted-code", run: clientUnlistedCode, clauses: []string{"T-6.7"}},
		{name: "client-busy", run: clientBusy, clauses: []string{"T-7.4"}},
	}
}

func clientIDs(st *stage) {
	g := st.connected()
	release := st.hold(aMessage)
	st.line("the same id")
	l := st.letter("the same id")
	st.on("T-3.77")
	g.mu.Lock()
	g.next = l.p.id
	g.mu.Unlock()
	text := "of the same id " + st.s.run
	id := g.deliver(delivery(textMessage(text)))
	g.wantTaken(id, fmt.Sprintf("a DELIVER with id %d, which the client's FORWARD has too", id))
	release()
	st.line("another")
	st.letter("another")
	g.goesOn("requests of both sides with one id")
}

// quick is why it is not tested what a client does about a second REQUEST with an id: it may have answered the
// first before it reads that.
const quick = "needs a client that does not answer a DELIVER before it has printed it, and reads on meanwhile"

// clientIDInFlight keeps the client from printing a message, and so from answering it, while the next comes
// under the same id.
func clientIDInFlight(st *stage) {
	g := st.connected()
	free := st.stuff()
	defer free()
	id := g.deliver(delivery(textMessage(strings.Repeat("more than a pipe holds ", 20_000))))
	st.pause(time.Second)
	g.sendFrame("PING", true, opPing, []byte("reading on"))
	if !g.await(givingUp, func() bool { return len(g.pongs) > 0 || g.end != nil }) || !g.open() {
		st.skip(quick)
	}
	g.mu.Lock()
	_, inFlight := g.asked[id]
	g.mu.Unlock()
	if !inFlight {
		st.skip(quick)
	}
	st.on("T-3.76")
	g.sendBytes(g.request(id, reqDeliver, delivery(textMessage("under the same id"))).pack())
	g.wantClose("a REQUEST whose id is in flight", 1002)
}

// wantRoom waits until no more DELIVERs than that are without a response.
func (st *stage) wantRoom(g *guest, most int) {
	if g.await(st.s.patience, func() bool { return len(g.asked) <= most || g.end != nil }) && g.open() {
		return
	}
	if g.open() {
		st.on("T-3.70") // it goes on, but owes a response
	}
	st.fatal(g.conn, fmt.Sprintf("responses to all but %d DELIVERs", most), g.state())
}

// flooded is how many messages a flood has: each id serves more than once.
const flooded = 600

func clientFlood(st *stage) {
	g := st.connected()
	st.on("T-3.77")
	g.mu.Lock()
	g.next = 0
	g.mu.Unlock()
	mark := "flood " + st.s.run
	for i := range flooded {
		st.wantRoom(g, 63)
		g.deliver(delivery(textMessage(fmt.Sprintf("%s %d.", mark, i))))
	}
	st.wantRoom(g, 0)
	g.mu.Lock()
	refused := 0
	for _, p := range g.arrived {
		if p.pakt == pktResponse && p.code != ok {
			refused++
		}
	}
	g.mu.Unlock()
	st.on("T-3.70")
	st.check(g.conn, refused == 0, "no error", fmt.Sprintf("%d of %d DELIVERs refused", refused, flooded))
	if !st.await(func() bool { return st.countPrinted(mark) >= flooded }) {
		st.mu.Lock()
		n := st.countPrinted(mark)
		st.mu.Unlock()
		st.wrong(g.conn, fmt.Sprintf("%d messages on lines of standard output", flooded), fmt.Sprint(n))
	}
}

func clientAnyOrder(st *stage) {
	g := st.connected()
	st.line("first")
	st.letter("first") // the destination's key is known
	var held []*letter // guarded by st.mu
	st.behave(func(r *rules) {
		r.answer = func(_ *guest, p *packet, l *letter) bool {
			if !l.isMessage() || p.pakt != pktRequest {
				return false
			}
			st.mu.Lock()
			defer st.mu.Unlock()
			held = append(held, l)
			return true
		}
	})
	for i := range 3 {
		st.line(fmt.Sprintf("one of three, %d", i))
	}
	st.within(givingUp, func() bool { return len(held) == 3 })
	st.mu.Lock()
	waiting := held
	held = nil
	st.rules.answer = nil
	st.mu.Unlock()
	if len(waiting) < 2 {
		st.skip("two requests were never in flight")
	}
	st.on("T-3.78")
	for _, l := range slices.Backward(waiting) {
		g.serve(l.p, l)
	}
	st.line("last")
	st.letter("last")
	g.goesOn("responses in another order")
	st.check(g.conn, g.open() && st.called() == 1, "the connection to go on after responses in another order", g.state())
}

func clientTimeout(st *stage) {
	g := st.connected()
	var once bool // guarded by st.mu
	st.behave(func(r *rules) {
		r.answer = func(g *guest, p *packet, l *letter) bool {
			st.mu.Lock()
			first := l.isMessage() && l.wait && !once
			once = once || first
			st.mu.Unlock()
			if first {
				g.answer(p, errNodeTimeout)
			}
			return first
		}
	})
	st.line("of unknown outcome")
	l := st.letter("of unknown outcome")
	if !l.wait {
		st.skip("the client does not wait for the destination's answers")
	}
	st.on("T-5.28")
	again := st.letterWithin("of unknown outcome", givingUp)
	if again == nil {
		return // it may leave that to its user
	}
	st.check(g.conn, string(again.mid) == string(l.mid), fmt.Sprintf("mid % x again after NODE_TIMEOUT", l.mid), fmt.Sprintf("% x", again.mid))
}

// givingUp is how long a response is kept back.
const givingUp = 4 * time.Second

// many is more requests than there are ids.
const many = 300

func clientLate(st *stage) {
	g := st.connected()
	st.line("first")
	st.letter("first") // the destination's key is known
	release := st.hold(func(p *packet, l *letter) bool {
		return l.isMessage() && l.text == "answered late" || p.reqt == reqGetInfo
	})
	st.line("answered late")
	l := st.letter("answered late")
	st.line("second")
	st.line("third")
	st.pause(givingUp)
	st.on("T-3.16")
	if sent := func() bool { return st.countSent("second")+st.countSent("third") == 2 }; st.within(0, sent) {
		// One that waits for each response in turn sends nothing until this one has come, and is not asked to.
		for i := range many {
			st.line(fmt.Sprintf("one of many, %d", i))
		}
		// Not all of them have to come: it may get to the id and wait.
		st.within(st.s.patience, func() bool { return st.countSent("one of many") == many || !g.open() })
	}
	g.mu.Lock()
	again := g.doubled[l.p.id]
	g.mu.Unlock()
	st.check(g.conn, !again, fmt.Sprintf("no other REQUEST with id %d before its response", l.p.id), "one")
	release()
	st.on("T-3.79")
	st.letter("second")
	st.letter("third")
	g.goesOn("a response that came late")
	st.check(g.conn, g.open() && st.called() == 1, "the connection to go on after a response that came late", g.state())
}

func clientUnlistedCode(st *stage) {
	g := st.connected()
	st.behave(func(r *rules) {
		r.answer = func(g *guest, p *packet, l *letter) bool {
			if l == nil || l.text != "refused" {
				return false
			}
			g.answer(p, 0x7e, "msg", "a reason of the future")
			return true
		}
	})
	st.on("T-6.7")
	st.line("refused")
	st.letter("refused")
	st.line("not refused")
	st.letter("not refused")
	g.goesOn("an error whose code is not listed")
	st.check(g.conn, g.open() && st.called() == 1, "the connection to go on after an error whose code is not listed", g.state())
}

func clientBusy(st *stage) {
	g := st.connected()
	if g.drafts {
		st.skip(clientSeedAlone) // the other has no `wait`
	}
	const wait = 3 * time.Second
	var told time.Time // guarded by st.mu
	st.behave(func(r *rules) {
		r.answer = func(g *guest, p *packet, l *letter) bool {
			st.mu.Lock()
			first := l.isMessage() && told.IsZero()
			if first {
				told = time.Now()
			}
			st.mu.Unlock()
			if first {
				g.answer(p, errBusy, "wait", int(wait.Milliseconds()))
			}
			return first
		}
	})
	st.line("too busy")
	l := st.letter("too busy")
	st.on("T-7.4")
	again := st.letterWithin("too busy", wait+backOff)
	if again == nil {
		return // it may take BUSY as a failure
	}
	st.mu.Lock()
	after := again.at.Sub(told)
	st.mu.Unlock()
	st.check(g.conn, after >= wait, fmt.Sprintf("the request again %v after BUSY or later", wait), fmt.Sprintf("after %v", after.Round(time.Millisecond)))
	st.check(g.conn, string(again.mid) == string(l.mid), fmt.Sprintf("mid % x again", l.mid), fmt.Sprintf("% x", again.mid))
}
