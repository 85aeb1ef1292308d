package conform

import (
	"fmt"
	"slices"
	"strings"
)

// A malformation is a body, or a packet, that is not as it is declared.
type malformation struct {
	what, key string // the key is "" where it is not one alone
	body      any
	packet    func(g *guest, id uint8) raw // in place of the body's; or nil
}

// malformations are those of each key of a body, by a shape that has its keys.
func malformations(s shape, good func() fields) (all []malformation) {
	add := func(key, what string, body fields) {
		all = append(all, malformation{what: "with " + what + " as `" + key + "`", key: key, body: body})
	}
	for _, f := range s {
		if good().get(f.key) == nil {
			continue
		}
		if !f.optional {
			all = append(all, malformation{what: "without `" + f.key + "`", key: f.key, body: good().without(f.key)})
		}
		for _, other := range others {
			// A library may show a signed number that is not negative as one without a sign.
			if other.kind != kindOf(f.declared) && (kindOf(f.declared) != kindUint || other.value[0] != 0xd3) {
				add(f.key, other.name, good().with(f.key, other.value))
			}
		}
		add(f.key, "an extension", good().with(f.key, raw{0xd4, 1, 0}))
		// Which key it is is lost with a library that reads no further.
		all = append(all, malformation{what: "with the marker c1 as `" + f.key + "`", body: good().with(f.key, unused)})
		switch {
		case kindOf(f.declared) == kindBin && f.exact:
			for _, n := range []uint64{0, f.most - 1, f.most + 1} {
				add(f.key, fmt.Sprintf("%d bytes", n), good().with(f.key, randomBytes(int(n))))
			}
		case kindOf(f.declared) == kindBin && f.most < 1<<16:
			add(f.key, fmt.Sprintf("%d bytes", f.most+1), good().with(f.key, randomBytes(int(f.most)+1)))
		case kindOf(f.declared) == kindStr:
			add(f.key, fmt.Sprintf("%d bytes", f.most+1), good().with(f.key, strings.Repeat("x", int(f.most)+1)))
			all = append(all, malformation{what: "with no UTF-8 as `" + f.key + "`", body: good().with(f.key, raw{0xa1, 0xff})})
		}
	}
	for _, other := range others {
		if other.kind != kindMap {
			all = append(all, malformation{what: "with " + other.name + " as `body`", key: "body", body: other.value})
		}
	}
	return all
}

func clientMalformed(st *stage) {
	g := st.connected()
	deliver := func() fields { return delivery(textMessage("malformed")) }
	byNode := func() fields { return returned(randomBytes(16), "code", errNodeRefused) }
	byOther := func() fields { return returned(randomBytes(16), "resp", cannotOpen()) }
	whole := func(g *guest, id uint8) fields { return g.request(id, reqDeliver, deliver()) }
	roots := []malformation{
		{what: "without a body", key: "", body: nil},
		{what: "with a number as `ver`", packet: func(g *guest, id uint8) raw { return whole(g, id).with("ver", 1).pack() }},
		{what: "without a `reqt`", packet: func(g *guest, id uint8) raw { return whole(g, id).without("reqt").pack() }},
		{what: "with nil as `reqt`", packet: func(g *guest, id uint8) raw { return whole(g, id).with("reqt", nil).pack() }},
		{what: "with a string as `reqt`", packet: func(g *guest, id uint8) raw { return whole(g, id).with("reqt", "DELIVER").pack() }},
		{what: "with an `err`", packet: func(g *guest, id uint8) raw { return append(whole(g, id), "err", fields{"code", errInternal}).pack() }},
		{what: "with bytes behind the root", packet: func(g *guest, id uint8) raw { return append(whole(g, id).pack(), 0) }},
	}
	if g.drafts {
		roots = append(roots, malformation{what: "with a `ver` in the root", packet: func(g *guest, id uint8) raw { return whole(g, id).with("ver", g.ver).pack() }})
	} else {
		roots = append(roots, malformation{what: "without a `ver`", packet: func(g *guest, id uint8) raw { return whole(g, id).without("ver").pack() }})
	}
	for _, kind := range []struct {
		name string
		reqt int
		all  []malformation
	}{
		{"DELIVER", reqDeliver, slices.Concat(roots, malformations(deliverShape, deliver), cuts(reqDeliver, deliver()))},
		{"RETURN", reqReturn, slices.Concat(malformations(returnShape, byNode), malformations(returnShape, byOther), cuts(reqReturn, byNode()), []malformation{
			{what: "with neither `resp` nor `code`", body: byNode().without("code")},
			{what: "with both `resp` and `code`", body: append(byNode(), "resp", cannotOpen())},
		})},
	} {
		for _, tt := range kind.all {
			st.refuses(g, kind.name, kind.reqt, tt)
		}
	}
	st.on("T-3.72")
	g.goesOn("malformed requests")
}

// cuts are requests that are cut off, wherever `id` and `pakt` can be read.
func cuts(reqt int, body fields) (all []malformation) {
	packed := func(g *guest, id uint8) (b raw, from int) {
		return g.request(id, reqt, body).pack(), len(g.request(id, reqt, nil).without("reqt").pack())
	}
	// How much there is to cut off is the same in both forms.
	for n := 1; n <= len(fields{"reqt", reqt, "body", body}.pack())-1; n++ {
		all = append(all, malformation{what: fmt.Sprintf("that lacks its last %d bytes", n), packet: func(g *guest, id uint8) raw {
			b, from := packed(g, id)
			return b[:max(from, len(b)-n)]
		}})
	}
	return all
}

// refuses sends a malformed request, which is to be answered, and should be with MALFORMED and what is wrong.
func (st *stage) refuses(g *guest, name string, reqt int, m malformation) {
	id := g.freeID()
	g.expect(id, reqt)
	if m.packet != nil {
		g.sendBytes(m.packet(g, id))
	} else {
		g.sendBytes(g.request(id, reqt, m.body).pack())
	}
	what := name + " " + m.what
	st.on("T-3.72")
	p := g.find(func(p *packet) bool { return p.pakt == pktResponse && p.id == id })
	if p == nil {
		st.fatal(g.conn, "a response to a "+what, g.state())
	}
	st.on("T-2.27")
	st.check(g.conn, p.code == errMalformed, "MALFORMED for a "+what, guestResponse(p))
	switch {
	case g.drafts:
		st.apart["T-2.120"] = clientSeedAlone // the other has no place for it
	case m.key != "" && p.code == errMalformed:
		st.on("T-2.120")
		msg := p.root.get("err").get("msg").str()
		st.check(g.conn, strings.Contains(msg, m.key), fmt.Sprintf("an `err` with a `msg` that says that %s is wrong, for a %s", m.key, what), guestResponse(p))
	}
}
