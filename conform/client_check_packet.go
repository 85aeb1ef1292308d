package conform

import (
	"fmt"
	"slices"
	"strings"
)

func clientPacketScenarios() []clientScenario {
	all := []clientScenario{
		{name: "client-nil", run: clientNil, clauses: []string{"T-2.73"}},
		{name: "client-newer", run: clientNewer, clauses: []string{"T-2.74"}},
		{name: "client-events", run: clientEvents, clauses: []string{"T-2.35"}},
		{name: "client-event-ids", run: clientEventIDs, clauses: []string{"T-2.220"}},
		{name: "client-malformed", run: clientMalformed, clauses: []string{"T-2.27", "T-2.120", "T-3.72"}},
		{name: "client-unknown", run: clientUnknown, clauses: []string{"T-3.71"}},
		{name: "client-doubled", run: clientDoubled, clauses: []string{"T-3.75"}},
		{name: "client-unasked", run: clientUnasked, clauses: []string{"T-3.75"}},
		{name: "client-bad-response", run: clientBadResponse, clauses: []string{"T-3.73"}},
	}
	deliver := func(g *guest) fields { return g.request(7, reqDeliver, delivery(textMessage("x"))) }
	for _, tt := range []struct {
		name, what string
		packet     func(*guest) raw
	}{
		{"client-no-msgpack", "what is no msgpack", func(*guest) raw { return raw{0xc1, 0xc1} }},
		{"client-no-map", "a root that is no map", func(*guest) raw { return pack([]any{1, 2}) }},
		{"client-cut-short", "a REQUEST that is cut off before its pakt", func(g *guest) raw { return deliver(g).with("pakt", raw{}).pack()[:12] }},
		{"client-no-id", "a REQUEST without an id", func(g *guest) raw { return deliver(g).without("id").pack() }},
		{"client-no-pakt", "a packet without a pakt", func(g *guest) raw { return deliver(g).without("pakt").pack() }},
		{"client-unknown-pakt", "a packet of an unknown pakt", func(g *guest) raw { return deliver(g).with("pakt", 3).pack() }},
		{"client-last-pakt", "a packet of the last pakt that there can be", func(g *guest) raw { return deliver(g).with("pakt", 0x7f).pack() }},
		{"client-event-without-id", "an EVENT without an id", func(g *guest) raw { return deliver(g).with("pakt", pktEvent).without("id").pack() }},
	} {
		all = append(all, clientScenario{name: tt.name, clauses: []string{"T-3.73"}, run: func(st *stage) {
			g := st.connected()
			st.on("T-3.73")
			g.sendBytes(tt.packet(g))
			g.wantClose(tt.what, 1002)
		}})
	}
	return slices.Concat(all, clientWideScenarios(), clientAnswerScenarios())
}

// answered has the node answer as it does, but with packets that are changed.
func (st *stage) answered(encode func(fields) raw) {
	st.behave(func(r *rules) {
		r.answer = func(g *guest, p *packet, l *letter) bool {
			g.encode = encode
			g.serve(p, l)
			return true
		}
	})
}

func clientNil(st *stage) {
	conversation(st, "T-2.73", "with nil for what is absent", func(f fields) raw {
		if f.get("pakt") != pktResponse {
			return f.pack()
		}
		if f.get("body") == nil {
			f = append(f, "body", nil)
		}
		return append(f, "reqt", nil).pack()
	})
}

func clientNewer(st *stage) {
	const version = "1.1.0"
	st.behave(func(r *rules) { r.version = version })
	more := fields{"deep", []any{1, "x", nil, raw{0xd0, 0x85}, raw{0xca, 0, 0, 0, 0}}}
	conversation(st, "T-2.74", "of a newer version", func(f fields) raw {
		if body, has := f.get("body").(fields); has && f.get("ver") == nil && body.get("ver") == version {
			return f.pack() // the client has to know the version first
		}
		if body, has := f.get("body").(fields); has {
			f = f.with("body", append(fields{"early", more}, append(body, "more", true)...))
		}
		return append(fields{"early", more}, append(f, "more", "unheard of")...).pack()
	})
}

func clientEvents(st *stage) {
	st.behave(func(r *rules) {
		r.answer = func(g *guest, _ *packet, _ *letter) bool {
			g.tell(0x7f, fields{"what", "ever"})
			g.tell(0x01, nil)
			g.tell(evtGoingAway, fields{"wait", "soon"}) // malformed
			return false
		}
	})
	st.start()
	g := st.guest()
	st.on("T-2.35")
	st.signedIn(g)
	st.line("in between")
	st.letter("in between")
	g.tell(0x55, nil)
	good := g.root(fields{"ver", g.ver, "id", 0, "pakt", pktEvent, "reqt", evtGoingAway})
	for _, other := range others {
		if other.kind != kindUint {
			g.sendBytes(append(good, "body", fields{"wait", other.value}).pack())
		}
		if other.kind != kindMap {
			g.sendBytes(append(good, "body", other.value).pack())
		}
	}
	g.sendBytes(append(good, "body", fields{}).pack())
	g.sendBytes(good.pack())
	whole := append(good, "body", fields{"wait", 1000}).pack()
	for n := len(good.pack()); n < len(whole); n++ {
		g.sendBytes(whole[:n])
	}
	g.goesOn("events that it does not know, or that are malformed")
	st.check(g.conn, g.open(), "the connection to go on after events that it does not know, or that are malformed", g.state())
}

// clientEventIDs sends EVENTs with all ids while a FORWARD of the client and DELIVERs are in flight. A client that
// prints a message before it answers it has not answered the first DELIVER when they come.
func clientEventIDs(st *stage) {
	g := st.connected()
	release := st.hold(aMessage)
	st.line("in flight")
	forward := st.letter("in flight").p.id
	free := st.stuff()
	defer free()
	long := g.deliver(delivery(textMessage(strings.Repeat("more than a pipe holds ", 20_000))))
	st.on("T-2.220")
	for id := range 256 {
		g.sendBytes(g.root(fields{"ver", g.ver, "id", id, "pakt", pktEvent, "reqt", 0x55}).pack())
	}
	malformed := fields{"wait", "soon"}
	for _, id := range []uint8{forward, long} {
		g.sendBytes(g.root(fields{"ver", g.ver, "id", int(id), "pakt", pktEvent, "reqt", evtGoingAway}).with("body", malformed).pack())
	}
	short := g.deliver(delivery(textMessage("under the id of an EVENT")))
	free()
	g.wantTaken(long, "a DELIVER that is in flight while an EVENT has its id")
	g.wantTaken(short, "a DELIVER whose id an EVENT had")
	release()
	st.line("another")
	st.letter("another")
	g.goesOn("EVENTs with ids that are in flight")
	st.check(g.conn, g.open() && st.called() == 1, "the connection to go on after EVENTs with ids that are in flight", g.state())
}

func clientUnknown(st *stage) {
	g := st.connected()
	st.on("T-3.71")
	for reqt := reqReturn + 1; reqt <= 0x7f; reqt++ {
		for _, body := range []any{nil, fields{"what", "ever"}} {
			p := g.response(g.ask(reqt, body))
			st.check(g.conn, p.code == errUnsupported, fmt.Sprintf("UNSUPPORTED for a request 0x%02x", reqt), guestResponse(p))
		}
	}
	g.goesOn("requests that it does not know")
}

func clientDoubled(st *stage) {
	g := st.connected()
	st.behave(func(r *rules) {
		r.answer = func(g *guest, p *packet, l *letter) bool {
			if l.isMessage() {
				g.serve(p, l)
				g.serve(p, l)
			}
			return l.isMessage()
		}
	})
	st.on("T-3.75")
	st.line("answered twice")
	st.letter("answered twice")
	g.wantClose("a second response", 1002)
}

func clientUnasked(st *stage) {
	g := st.connected()
	st.on("T-3.75")
	g.sendBytes(g.root(fields{"ver", g.ver, "id", 201, "pakt", pktResponse}).pack())
	g.wantClose("a response to no request", 1002)
}

func clientBadResponse(st *stage) {
	g := st.connected()
	st.behave(func(r *rules) {
		r.answer = func(g *guest, p *packet, l *letter) bool {
			if l.isMessage() {
				g.sendBytes(g.root(fields{"ver", g.ver, "id", p.id, "pakt", pktResponse, "err", "an error"}).pack())
			}
			return l.isMessage()
		}
	})
	st.on("T-3.73")
	st.line("answered badly")
	st.letter("answered badly")
	g.wantClose("a response whose err is a string", 1002)
}
