package conform

import (
	"fmt"
)

func clientPacketScenarios() []clientScenario {
	all := []clientScenario{
		{name: "client-wide", run: clientWide, clauses: []string{"T-2.72"}},
		{name: "client-nil", run: clientNil, clauses: []string{"T-2.73"}},
		{name: "client-newer", run: clientNewer, clauses: []string{"T-2.74"}},
		{name: "client-events", run: clientEvents, clauses: []string{"T-2.35"}},
		{name: "client-malformed", run: clientMalformed, clauses: []string{"T-2.27", "T-3.72"}},
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
		{"client-no-id", "a REQUEST without an id", func(g *guest) raw { return deliver(g).without("id").pack() }},
		{"client-no-pakt", "a packet without a pakt", func(g *guest) raw { return deliver(g).without("pakt").pack() }},
		{"client-unknown-pakt", "a packet of an unknown pakt", func(g *guest) raw { return deliver(g).with("pakt", 3).pack() }},
		{"client-event-without-id", "an EVENT without an id", func(g *guest) raw { return deliver(g).with("pakt", pktEvent).without("id").pack() }},
	} {
		all = append(all, clientScenario{name: tt.name, clauses: []string{"T-3.73"}, run: func(st *stage) {
			g := st.connected()
			st.on("T-3.73")
			g.sendBytes(tt.packet(g))
			g.wantClose(tt.what, 1002)
		}})
	}
	return all
}

// wide encodes a map and what is in it with the largest markers that the keys' types allow, where those
// are given.
func wide(f fields, markers map[string]byte) raw {
	changed := fields{}
	for i := 0; i < len(f); i += 2 {
		key := f[i].(string)
		v := f[i+1]
		if marker := markers[key]; marker != 0 && v != nil {
			v = packAs(marker, v)
		}
		changed = append(changed, packAs(0xd9, key), v)
	}
	return changed.packAs(0xde)
}

// wideMarkers are the widest for keys of what a node sends.
var wideMarkers = map[string]byte{
	"ver": 0xd9, "id": 0xcc, "addr": 0xda, "tok": 0xc4, "node": 0xd9, "soft": 0xd9, "time": 0xcf, "key": 0xc5, "resp": 0xc6,
	"mid": 0xc4, "from": 0xda, "msg": 0xc6,
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

// conversation has the client do everything, under a clause that says how its node's packets are.
func conversation(st *stage, clause, what string, encode func(fields) raw) {
	st.answered(encode)
	st.start()
	g := st.guest()
	st.on(clause)
	st.signedIn(g)
	st.line("how is it " + what)
	st.letter("how is it " + what)
	text := what + " " + st.s.run
	id := g.freeID()
	g.expect(id, reqDeliver)
	g.sendBytes(encode(g.request(id, reqDeliver, delivery(textMessage(text)))))
	g.wantTaken(id, "a DELIVER "+what)
	if !st.printed(text) {
		st.wrong(g.conn, "a message "+what+" on a line of standard output", st.state())
	}
	st.line("and now")
	st.letter("and now")
	st.check(g.conn, g.open(), "the connection to go on "+what, g.state())
}

func clientWide(st *stage) {
	conversation(st, "T-2.72", "with wide markers", func(f fields) raw {
		if body, has := f.get("body").(fields); has {
			f = f.with("body", wide(body, wideMarkers))
		}
		return wide(f, wideMarkers)
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
	g.goesOn("events that it does not know")
	st.check(g.conn, g.open(), "the connection to go on after events that it does not know", g.state())
}

func clientMalformed(st *stage) {
	g := st.connected()
	good := func() fields { return delivery(textMessage("malformed")) }
	type broken struct {
		what   string
		packet func(id uint8) raw
	}
	all := []broken{
		{"without `mid`", func(id uint8) raw { return g.request(id, reqDeliver, good().without("mid")).pack() }},
		{"with a `mid` of 15 bytes", func(id uint8) raw { return g.request(id, reqDeliver, good().with("mid", make(bin, 15))).pack() }},
		{"with a `mid` that is a number", func(id uint8) raw { return g.request(id, reqDeliver, good().with("mid", 5)).pack() }},
		{"with a string as `time`", func(id uint8) raw { return g.request(id, reqDeliver, good().with("time", "noon")).pack() }},
		{"without `time`", func(id uint8) raw { return g.request(id, reqDeliver, good().without("time")).pack() }},
		{"with nil as `from`", func(id uint8) raw { return g.request(id, reqDeliver, good().with("from", nil)).pack() }},
		{"with a number as `msg`", func(id uint8) raw { return g.request(id, reqDeliver, good().with("msg", 1)).pack() }},
		{"without `msg`", func(id uint8) raw { return g.request(id, reqDeliver, good().without("msg")).pack() }},
		{"without a body", func(id uint8) raw { return g.request(id, reqDeliver, nil).pack() }},
		{"with an array as body", func(id uint8) raw { return g.request(id, reqDeliver, []any{1}).pack() }},
		{"with a number as `ver`", func(id uint8) raw { return g.request(id, reqDeliver, good()).with("ver", 1).pack() }},
		{"without a `reqt`", func(id uint8) raw { return g.request(id, reqDeliver, good()).without("reqt").pack() }},
		{"with bytes behind the root", func(id uint8) raw { return append(g.request(id, reqDeliver, good()).pack(), 0) }},
		{"that is cut off", func(id uint8) raw {
			whole := g.request(id, reqDeliver, good()).pack()
			return whole[:len(whole)-3]
		}},
		{"with an extension as `time`", func(id uint8) raw { return g.request(id, reqDeliver, good().with("time", raw{0xd4, 1, 0})).pack() }},
	}
	if g.drafts {
		all = append(all, broken{"with a `ver` in the root", func(id uint8) raw { return g.request(id, reqDeliver, good()).with("ver", g.ver).pack() }})
	} else {
		all = append(all, broken{"without a `ver`", func(id uint8) raw { return g.request(id, reqDeliver, good()).without("ver").pack() }})
	}
	for _, tt := range all {
		id := g.freeID()
		g.expect(id, reqDeliver)
		g.sendBytes(tt.packet(id))
		st.on("T-3.72")
		p := g.find(func(p *packet) bool { return p.pakt == pktResponse && p.id == id })
		if p == nil {
			st.fatal(g.conn, "a response to a DELIVER "+tt.what, g.state())
		}
		st.on("T-2.27")
		st.check(g.conn, p.code == errMalformed, "MALFORMED for a DELIVER "+tt.what, guestResponse(p))
	}
	st.on("T-3.72")
	g.goesOn("malformed requests")
}

func clientUnknown(st *stage) {
	g := st.connected()
	st.on("T-3.71")
	for _, reqt := range []int{0x02, 0x20, 0x7f} {
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
