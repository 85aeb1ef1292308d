package conform

import (
	"fmt"
	"slices"
	"time"
)

func clientWideScenarios() []clientScenario {
	var all []clientScenario
	for n := range widenings {
		all = append(all, clientScenario{name: fmt.Sprintf("client-wide-%d", n+1), clauses: []string{"T-2.72"}, run: func(st *stage) { clientWide(st, n) }})
	}
	return all
}

// widenings is how many markers there are at most beside a value's smallest: those of a small uint64.
const widenings = 4

// markers are those that a type takes, of ascending width.
func markers(declared string) []byte {
	switch declared {
	case "str8":
		return []byte{0xd9}
	case "str16":
		return []byte{0xd9, 0xda}
	case "str32":
		return []byte{0xd9, 0xda, 0xdb}
	case "bin16":
		return []byte{0xc4, 0xc5}
	case "bin32":
		return []byte{0xc4, 0xc5, 0xc6}
	case "uint8":
		return []byte{0xcc}
	case "uint16":
		return []byte{0xcc, 0xcd}
	case "uint32":
		return []byte{0xcc, 0xcd, 0xce}
	case "uint64":
		return []byte{0xcc, 0xcd, 0xce, 0xcf}
	}
	return nil
}

// wideTypes are the types of keys of what a node sends, and of what other clients do. Those that are not here have
// one marker alone. A key in an `err` stands behind that.
var wideTypes = map[string]string{
	"ver": "str8", "id": "uint8", "addr": "str16", "node": "str8", "soft": "str8", "time": "uint64", "key": "bin16", "resp": "bin32",
	"from": "str16", "msg": "bin32", "wait": "uint16", "text": "str32", "err.msg": "str8", "err.wait": "uint32",
}

// widened encodes a value with the nth of the markers that its type takes and that are wider than its smallest, or
// with the widest where there are not as many.
func widened(v any, declared string, n int) any {
	if _, is := v.(raw); is || v == nil {
		return v
	}
	smallest := pack(v)[0]
	all := markers(declared)
	if i := slices.Index(all, smallest); i >= 0 {
		all = all[i+1:]
	}
	if len(all) == 0 {
		return v
	}
	return packAs(all[min(n, len(all)-1)], v)
}

// wide encodes a map, and the maps in it, with markers wider than the smallest.
func wide(f fields, n int) raw { return wideUnder("", f, n) }

func wideUnder(where string, f fields, n int) raw {
	changed := fields{}
	for i := 0; i < len(f); i += 2 {
		key, v := f[i].(string), f[i+1]
		if part, is := v.(fields); is {
			under := ""
			if key == "err" {
				under = "err."
			}
			v = wideUnder(under, part, n)
		} else {
			v = widened(v, wideTypes[where+key], n)
		}
		changed = append(changed, packAs(0xd9, key), v)
	}
	return changed.packAs(0xde)
}

// conversation has the client do everything, under a clause that says how its node's packets are, and returns the
// last line that it sent.
func conversation(st *stage, clause, what string, encode func(fields) raw) (*guest, *letter) {
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
	last := st.letter("and now")
	st.check(g.conn, g.open(), "the connection to go on "+what, g.state())
	return g, last
}

// clientWide has the client hear everything with the nth marker that is wider than the smallest.
func clientWide(st *stage, n int) {
	const what = "with wide markers"
	encode := func(f fields) raw { return wide(f, n) }
	friend := st.befriend(st.to + "@" + otherNode)
	st.behave(func(r *rules) { r.inside = encode })
	g, l := conversation(st, "T-2.72", what, encode)
	st.check(g.conn, l.ended != nil || len(st.asked(friend.address)) == 0, "a SEALED after a GET_USER_KEY whose answer has wide markers", "a TEXT")
	tell := func(what string, reqt int, body fields) {
		id := g.freeID()
		g.expect(id, reqt)
		g.sendBytes(encode(g.request(id, reqt, body)))
		g.wantTaken(id, what)
	}
	const brief = 5 // a number that has every width
	text := fmt.Sprintf("inside %s-%d.", st.s.run, n)
	msg := bin(encode(fields{"type", 0, "body", fields{"text", text, "time", brief}}))
	tell("a DELIVER with a TEXT "+what, reqDeliver, delivery(msg).with("time", brief))
	if !st.printed(text) {
		st.wrong(g.conn, "the text of a TEXT "+what+" on a line of standard output", st.state())
	}
	refusal := bin(encode(fields{"err", fields{"code", errNoSuchUser, "msg", "nobody", "wait", brief}}))
	tell("a RETURN "+what, reqReturn, returned(randomBytes(16), "resp", refusal).with("time", brief))
	tell("a RETURN with a `code` "+what, reqReturn, returned(nil, "code", errNodeRefused).with("time", brief))
	if !g.drafts { // whose `err` has one marker alone
		st.behave(func(r *rules) {
			usual := r.answer
			r.answer = func(g *guest, p *packet, l *letter) bool {
				if !l.isMessage() || l.text != "refused" {
					return usual(g, p, l)
				}
				g.replyAs(p, encode(fields{"ver", g.ver, "id", p.id, "pakt", pktResponse, "err", fields{"code", errOutboxFull, "msg", "full", "wait", brief}}))
				return true
			}
		})
		st.line("refused")
		st.letter("refused")
	}
	g.sendBytes(encode(g.root(fields{"ver", g.ver, "id", 0, "pakt", pktEvent, "reqt", evtGoingAway, "body", fields{"wait", brief}})))
	g.goesOn("what has wide markers")
	st.pause(time.Second / 10) // for what it makes of the event
	st.check(g.conn, g.open(), "the connection to go on after an error and an EVENT "+what, g.state())
}
