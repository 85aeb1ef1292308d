package conform

import (
	"bytes"
	"fmt"
	"strings"
	"time"
)

func clientMessageScenarios() []clientScenario {
	return []clientScenario{
		{name: "client-large", run: clientLarge, clauses: []string{"T-4.122"}},
		{name: "client-anonymous", run: clientAnonymous, clauses: []string{"T-4.123"}},
		{name: "client-return", run: clientReturn, clauses: []string{"T-4.124"}},
		{name: "client-repeated", run: clientRepeated, clauses: []string{"T-4.82"}},
		{name: "client-killed", run: clientKilled, clauses: []string{"T-4.126"}},
		{name: "client-forms", run: clientForms, clauses: []string{"T-8.4", "T-8.6"}},
		{name: "client-mids", run: clientMIDs, clauses: []string{"T-5.17", "T-5.28", "T-5.74", "T-5.170"}},
	}
}

func clientLarge(st *stage) {
	g := st.connected()
	st.on("T-4.122")
	text := "large " + st.s.run + " "
	text += strings.Repeat("x", 1_990_000-len(textMessage(text))-4) // a longer text has a longer head
	msg := textMessage(text)
	id := g.deliver(delivery(msg))
	g.wantTaken(id, fmt.Sprintf("a DELIVER with a `msg` of %d bytes", len(msg)))
	if !st.printed("large " + st.s.run) {
		st.wrong(g.conn, "a large message on a line of standard output", st.state())
	}
}

func clientAnonymous(st *stage) {
	g := st.connected()
	st.on("T-4.123")
	text := "from nobody " + st.s.run
	id := g.deliver(delivery(textMessage(text)).without("from"))
	g.wantTaken(id, "a DELIVER without `from`")
	if !st.printed(text) {
		st.wrong(g.conn, "a message without `from` on a line of standard output", st.state())
	}
}

// returned is the body of a RETURN.
func returned(ref []byte, more ...any) fields {
	f := fields{"mid", randomBytes(16), "node", otherNode, "time", stamp(time.Now())}
	if ref != nil {
		f = append(f, "ref", bin(ref))
	}
	return append(f, more...)
}

func clientReturn(st *stage) {
	g := st.connected()
	st.line("soon to come back")
	l := st.letter("soon to come back")
	st.on("T-4.124")
	refusal := bin(fields{"err", fields{"code", errNoSuchUser, "msg", "nobody"}}.pack())
	for _, tt := range []struct {
		what string
		body fields
	}{
		{"with `resp`", returned(l.mid, "resp", refusal)},
		{"with `code`", returned(l.mid, "code", errNodeTimeout)},
		{"without `ref`", returned(nil, "code", errNodeRefused)},
		{"with a `resp` that is no msgpack", returned(l.mid, "resp", bin{0xc1})},
	} {
		g.wantTaken(g.ask(reqReturn, tt.body), "a RETURN "+tt.what)
		g.wantTaken(g.ask(reqReturn, tt.body), "the same RETURN again, "+tt.what)
	}
	g.goesOn("RETURNs")
}

func clientRepeated(st *stage) {
	g := st.connected()
	st.on("T-4.82")
	text := "only once " + st.s.run
	body := delivery(textMessage(text))
	for range 2 {
		g.wantTaken(g.deliver(body), "a DELIVER")
	}
	other := "by another " + st.s.run
	g.wantTaken(g.deliver(body.with("from", "other@"+otherNode).with("msg", textMessage(other))), "a DELIVER with the same `mid` of another sender")
	if !st.printed(other) {
		st.wrong(g.conn, "a message with the same `mid` of another sender on a line of standard output", st.state())
	}
	g.hang()
	if next := st.guestWithin(st.s.patience + backOff); next != nil {
		g = next
		st.signedIn(g)
		g.wantTaken(g.deliver(body), "a DELIVER that comes again on the next connection")
		g.goesOn("a message that came again")
	}
	st.mu.Lock()
	n := st.countPrinted(text)
	st.mu.Unlock()
	st.check(g.conn, n == 1, "a message that came three times on one line of standard output", fmt.Sprintf("%d lines", n))
}

func clientForms(st *stage) {
	g := st.connected()
	st.on("T-8.4")
	for _, tt := range []struct {
		what string
		msg  bin
	}{
		{"that is plain text", bin("just words")},
		{"of no bytes", bin{}},
		{"of a type of the future", bin(fields{"type", 9, "body", fields{"x", 1}}.pack())},
		{"of type SEALED that nobody can open", bin(fields{"type", 1, "body", randomBytes(50)}.pack())},
		{"of type TEXT without a text", bin(fields{"type", 0, "body", fields{"time", 5}}.pack())},
		{"of type TEXT whose text is a number", bin(fields{"type", 0, "body", fields{"text", 7, "time", 5}}.pack())},
		{"that is a number", bin{0x07}},
	} {
		st.mu.Lock()
		before := st.program.out.count()
		st.mu.Unlock()
		g.wantTaken(g.deliver(delivery(tt.msg)), "a DELIVER with a `msg` "+tt.what)
		if !st.await(func() bool { return st.program.out.count() > before }) {
			st.wrong(g.conn, "something printed for a `msg` "+tt.what, st.state())
		}
	}
	g.goesOn("messages of other forms")
	st.on("T-8.6")
	text := "with more " + st.s.run
	msg := bin(fields{"more", 1, "type", 0, "body", fields{"text", text, "time", stamp(time.Now()), "more", fields{"deep", nil}}}.pack())
	g.wantTaken(g.deliver(delivery(msg)), "a DELIVER of a TEXT with unknown keys")
	if !st.printed(text) {
		st.wrong(g.conn, "the text of a TEXT with unknown keys on a line of standard output", st.state())
	}
}

// clientKilled kills the client while it takes messages, and starts it again.
func clientKilled(st *stage) {
	const most, enough = 400, 100
	g := st.connected()
	texts := make(map[uint8]string) // by the id of the DELIVER
	answered := func() (done []string) {
		g.mu.Lock()
		defer g.mu.Unlock()
		for id, text := range texts {
			if _, waiting := g.asked[id]; !waiting {
				done = append(done, text)
				delete(texts, id)
			}
		}
		return done
	}
	var all []string
	for i := range most {
		if !g.await(st.s.patience, func() bool { return len(g.asked) < 64 || g.end != nil }) || !g.open() {
			st.fatal(g.conn, "responses to DELIVERs", g.state())
		}
		if all = append(all, answered()...); len(all) >= enough {
			break
		}
		text := fmt.Sprintf("safe %s %d.", st.s.run, i)
		texts[g.deliver(delivery(textMessage(text)))] = text
	}
	first, before := st.program, g.conn
	signalGroup(first.cmd, true)
	<-first.done
	g.hang()
	all = append(all, answered()...)
	st.start()
	g = st.again()
	st.signedIn(g)
	fence := "after that " + st.s.run
	g.wantTaken(g.deliver(delivery(textMessage(fence))), "a DELIVER")
	if !st.printed(fence) {
		st.fatal(g.conn, "a message on a line of standard output", st.state())
	}
	st.on("T-4.126")
	st.mu.Lock()
	said := strings.Join(append(first.out.from(0), st.program.out.from(0)...), "\n")
	st.mu.Unlock()
	lost := 0
	for _, text := range all {
		if !strings.Contains(said, text) {
			lost++
		}
	}
	st.check(before, lost == 0, "every message that was answered shown before the client was killed, or after it was started again",
		fmt.Sprintf("%d of %d were not", lost, len(all)))
}

func clientMIDs(st *stage) {
	st.connected()
	var letters []*letter
	for range 3 {
		st.line("the same words")
		letters = append(letters, st.letter("the same words"))
	}
	for i, l := range letters {
		conn := l.g.conn
		for _, other := range letters[:i] {
			st.on("T-5.28")
			st.check(conn, !bytes.Equal(l.mid, other.mid), "another `mid` for another message", fmt.Sprintf("% x again", l.mid))
			st.on("T-5.170")
			if l.how != nil && other.how != nil && bytes.Equal(l.how.first, other.how.first) {
				st.check(conn, l.how.seipd == 2, "a session key that is used again with SEIPD 2 alone", fmt.Sprintf("SEIPD %d", l.how.seipd))
			}
		}
		st.on("T-5.17")
		st.check(conn, l.how.keys == 1, "a message sealed to one subkey", fmt.Sprintf("%d session key packets", l.how.keys))
		st.on("T-5.74")
		st.check(conn, version(l.mid) == 7, "a UUID of version 7 as `mid`", fmt.Sprintf("% x", l.mid))
	}
}
