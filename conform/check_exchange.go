package conform

import (
	"fmt"
	"slices"
	"time"
)

func exchangeScenarios() []scenario {
	return []scenario{
		{name: "unreadable", clauses: []string{"T-3.5", "T-3.6", "T-3.7"}, run: checkUnreadable},
		{name: "readable", clauses: []string{"T-3.2", "T-3.3"}, run: checkReadable},
		{name: "not-answered", clauses: []string{"T-2.34", "T-3.4", "T-3.12"}, run: checkNotAnswered},
		{name: "all-ids", clauses: []string{"T-3.9", "T-3.10", "T-3.15"}, run: checkAllIDs},
		{name: "id-in-flight", clauses: []string{"T-3.11", "T-2.36"}, run: checkIDInFlight},
		{name: "malformed-responses", clauses: []string{"T-3.8", "T-6.4", "T-3.12"}, run: checkMalformedResponses},
		{name: "responses", clauses: []string{"T-2.6", "T-3.14", "T-3.141", "T-6.3"}, run: checkResponses},
		{name: "clock", clauses: []string{"T-3.20", "T-3.21"}, run: checkClock},
		{name: "pipeline", clauses: []string{"T-3.22", "T-3.23"}, run: checkPipeline},
	}
}

func checkUnreadable(t *T) {
	request := fields{"ver", "1.0.0", "id", 1, "pakt", pktRequest, "reqt", reqGetInfo}
	response := fields{"ver", "1.0.0", "id", 1, "pakt", pktResponse}
	cases := []struct {
		clause, what string
		b            raw
	}{
		{"T-3.5", "an empty message", nil},
		{"T-3.5", "nil", raw{0xc0}},
		{"T-3.5", "a number", raw{0x01}},
		{"T-3.5", "an array", pack([]any{1, 0})},
		{"T-3.5", "marker c1", raw{0xc1}},
		{"T-3.5", "text in a binary message", raw(`{"id":1,"pakt":0}`)},
		{"T-3.5", "an empty map", fields{}.pack()},
		{"T-3.5", "a root in a map 32", request.packAs(0xdf)},
		{"T-3.5", "no id", request.without("id").pack()},
		{"T-3.5", "no pakt", request.without("pakt").pack()},
		{"T-3.5", "id twice", append(request, "id", 1).pack()},
		{"T-3.5", "pakt twice", append(request, "pakt", 0).pack()},
		{"T-3.5", "id of 256", request.with("id", 256).pack()},
		{"T-3.5", "marker c1 before id and pakt", fields{"ver", raw{0xc1}, "id", 1, "pakt", 0}.pack()},
		{"T-3.5", "the end before pakt", fields{"id", 1, "ver", "1.0.0"}.packAs(0xde)[:10]},
		{"T-3.5", "a length past the end before pakt", fields{"id", 1, "ver", head(0xdb, 1000), "pakt", 0}.pack()},
		{"T-3.5", "5 levels before pakt", fields{"id", 1, "x", nested(4, false), "pakt", 0}.pack()},
		{"T-3.5", "a RESPONSE without id", response.without("id").pack()},
		{"T-3.5", "a RESPONSE with an id of 256", response.with("id", 256).pack()},
		{"T-3.5", "a RESPONSE with id twice", append(response, "id", 2).pack()},
		{"T-3.6", "an EVENT without id", request.with("pakt", pktEvent).without("id").pack()},
		{"T-3.6", "an EVENT with an id of 256", request.with("pakt", pktEvent).with("id", 256).pack()},
		{"T-3.6", "an EVENT with id twice", append(request.with("pakt", pktEvent), "id", 2).pack()},
	}
	add := func(clause, what string, b raw) {
		cases = append(cases, struct {
			clause, what string
			b            raw
		}{clause, what, b})
	}
	for _, k := range []struct {
		name  string
		wider []byte
	}{{"id", wider["uint8"]}, {"pakt", wider["enum"]}} {
		for _, marker := range k.wider {
			add("T-3.5", fmt.Sprintf("%s in marker %02x", k.name, marker), request.with(k.name, packAs(marker, 1)).pack())
		}
		for _, other := range others {
			if other.kind != kindUint {
				add("T-3.5", other.name+" as "+k.name, request.with(k.name, other.value).pack())
			}
		}
		for _, extension := range extensions {
			add("T-3.5", fmt.Sprintf("an extension % x as %s", extension[:2], k.name), request.with(k.name, extension).pack())
		}
	}
	inFront := fields{"id", 200, "pakt", 0}.pack()
	for cut := range len(inFront) {
		add("T-3.5", fmt.Sprintf("a packet cut off after %d bytes", cut), inFront[:cut])
	}
	for pakt := 3; pakt < 0x80; pakt++ {
		add("T-3.7", fmt.Sprintf("a packet of pakt 0x%02x", pakt), request.with("pakt", pakt).pack())
	}
	for batch := range slices.Chunk(cases, together) {
		t.clause = ""
		var conns []*conn
		for _, tt := range batch {
			c := t.greeted()
			c.sendBytes(tt.b)
			conns = append(conns, c)
		}
		for i, tt := range batch {
			t.on(tt.clause)
			conns[i].wantClose(tt.what, 1002)
			conns[i].hang()
		}
	}
}

// together is how many connections a scenario has closed at once, where each closes one.
const together = 16

// allIDs are all there are.
func allIDs() []uint8 {
	ids := make([]uint8, 256)
	for i := range ids {
		ids[i] = uint8(i)
	}
	return ids
}

func checkReadable(t *T) {
	c := t.greeted()
	t.on("T-3.2")
	for range allIDs() {
		c.tryBytes(reqGetInfo, "no reqt", func(id uint8) raw { return c.root(fields{"ver", c.ver, "id", id, "pakt", 0}).pack() }, errMalformed)
	}
	c.tryBytes(reqGetInfo, "only id and pakt", func(id uint8) raw { return fields{"id", id, "pakt", 0}.pack() }, errMalformed)
	c.tryBytes(reqGetInfo, "the end behind pakt", func(id uint8) raw {
		return append(raw{0x84}, fields{"id", id, "pakt", 0}.content()...)
	}, errMalformed)
	c.tryBytes(reqGetInfo, "marker c1 behind pakt", func(id uint8) raw {
		return fields{"id", id, "pakt", 0, "ver", raw{0xc1}}.pack()
	}, errMalformed)
	c.tryBytes(reqGetInfo, "5 levels behind pakt", func(id uint8) raw {
		return fields{"id", id, "pakt", 0, "ver", c.ver, "reqt", reqGetInfo, "x", nested(4, true)}.pack()
	}, errMalformed)
	t.on("T-3.3")
	for _, other := range others {
		c.tryBytes(reqGetInfo, other.name+" for ver before id and pakt", func(id uint8) raw {
			f := fields{"ver", other.value, "id", id, "pakt", 0, "reqt", reqGetInfo}
			if other.kind == kindStr {
				f = f.with("ver", packAs(0xdb, c.ver))
			}
			return f.pack()
		}, errMalformed)
	}
	for _, v := range slices.Concat(extensions, []raw{fields{}.packAs(0xdf), head(0xdd, 0), pack("\xff"), packAs(0xdb, "long"), fields{5, 6}.pack()}) {
		c.tryBytes(reqGetInfo, fmt.Sprintf("bytes % x before id and pakt", []byte(v)), func(id uint8) raw {
			return fields{"x", v, "ver", c.ver, "reqt", reqGetInfo, "id", id, "pakt", 0}.pack()
		}, errMalformed)
	}
	c.tryBytes(reqGetInfo, "a key that is no string before id and pakt", func(id uint8) raw {
		return fields{7, 8, "id", id, "pakt", 0, "ver", c.ver, "reqt", reqGetInfo}.pack()
	}, errMalformed)
}

func checkNotAnswered(t *T) {
	u := t.newUser()
	for _, s := range states {
		t.clause = ""
		c := s.reach(t, u)
		for code := range 0x80 {
			if code != reqForward {
				c.sendBytes(c.root(fields{"ver", c.ver, "id", 128 + code, "pakt", pktEvent, "reqt", code}).pack())
			}
		}
		t.on("T-2.34")
		if !s.greeted {
			c.speak(t.s.drafts())
			c.want(c.exchange(reqHandshake, nil), "HANDSHAKE after events of every code but FORWARD's "+s.what, ok)
		}
		c.alive("events of other codes than FORWARD " + s.what)
		t.on("T-3.4")
		c.quiet("no answer to events of other codes than FORWARD " + s.what)
		if !s.signedIn {
			t.clause = ""
			c.signIn(u) // and no event has done so
		}
		c.hang()
	}
	t.clause = ""
	c := t.signIn(u)
	event := c.root(fields{"ver", c.ver, "id", 255, "pakt", pktEvent, "reqt", reqForward, "body", t.forward(false, []byte("x"))})
	for _, b := range []raw{
		event.with("ver", 1).pack(), event.without("reqt").pack(), event.without("body").pack(), event.with("reqt", packAs(0xcc, 0x20)).pack(),
		append(event.pack(), 0), append(event, "err", fields{"code", 1}).pack(), append(event, "more", 1).pack(), event.with("ver", "1").pack(),
		event.with("body", []any{}).pack(), event.pack()[:len(event.pack())-1],
	} {
		c.sendBytes(b)
		c.quiet(fmt.Sprintf("nothing for the malformed EVENT % x", []byte(b)))
	}
	t.on("T-3.12")
	for batch := range slices.Chunk(allIDs(), together) {
		t.clause = ""
		var conns []*conn
		for _, id := range batch {
			c := t.greeted()
			c.sendBytes(c.root(fields{"ver", c.ver, "id", id, "pakt", pktResponse}).pack())
			conns = append(conns, c)
		}
		t.on("T-3.12")
		for i, id := range batch {
			conns[i].wantClose(fmt.Sprintf("a RESPONSE with id %d, which is not in flight", id), 1002)
			conns[i].hang()
		}
	}
}

func checkAllIDs(t *T) {
	c := t.greeted()
	t.on("T-3.9")
	for id := range 256 {
		c.expect(uint8(id), reqGetInfo)
		c.sendBytes(c.request(uint8(id), reqGetInfo, nil).pack())
		c.want(c.response(uint8(id)), fmt.Sprintf("GET_INFO with id %d", id), ok)
	}
	t.on("T-3.15")
	for _, id := range slices.Repeat(allIDs(), 2) {
		c.expect(id, reqGetInfo)
		c.sendBytes(c.request(id, reqGetInfo, nil).pack())
		c.want(c.response(id), fmt.Sprintf("GET_INFO with id %d, which was used before", id), ok)
	}
	t.on("T-3.10")
	// REGISTER waits for nothing and makes the rest wait: all are in flight together.
	c.next = 0
	for id := range 256 {
		body, code := any(nil), reqGetInfo
		if id == 0 {
			body, code = fields{"user", "no@name", "pass", "long enough"}, reqRegister
		}
		c.ask(code, body)
	}
	for id := range 256 {
		if p := c.response(uint8(id)); id > 0 {
			c.want(p, "one of 256 requests sent without waiting", ok, errBusy)
		}
	}
}

func checkIDInFlight(t *T) {
	c := t.member()
	c2 := t.signIn(c.user, "dev", "other")
	t.on("T-2.36")
	id := c.ask(reqForward, fields{"node", "unreachable.invalid", "wait", true, "msg", bin("x")})
	for _, one := range append(allIDs(), id) {
		c.sendBytes(c.root(fields{"ver", c.ver, "id", one, "pakt", pktEvent, "reqt", reqGetInfo}).pack())
	}
	c.response(id)
	for _, id := range allIDs() {
		c.expect(id, reqGetInfo)
		c.sendBytes(c.request(id, reqGetInfo, nil).pack())
		c.want(c.response(id), fmt.Sprintf("GET_INFO with id %d after an EVENT with it", id), ok)
	}
	t.on("T-3.11")
	// What takes long enough is a check of a password.
	b := append(clientFrame(true, opBinary, c2.request(3, reqSetPassword, fields{"old", "wrong", "new", "long enough"}).pack()),
		clientFrame(true, opBinary, c2.request(3, reqGetInfo, nil).pack())...)
	c2.expect(3, reqSetPassword)
	c2.mu.Lock()
	c2.note(true, "pair of packets with id 3", nil)
	c2.mu.Unlock()
	c2.write(b)
	c2.wantClose("a REQUEST with an id that is in flight", 1002)
}

func checkClock(t *T) {
	silent, refused, greeted := t.dial(), t.dial(), t.greeted()
	refused.ver = "1.0"
	t.on("T-3.21")
	refused.want(refused.exchange(reqHandshake, nil), "HANDSHAKE with ver 1.0", errMalformed)
	refused.ver = "1.0.0"
	if !t.s.drafts() {
		refused.want(refused.exchange(reqGetInfo, nil), "GET_INFO before HANDSHAKE", errHandshakeRequired)
		refused.want(refused.exchange(reqHandshake, fields{"ver", "0.0.1"}), "HANDSHAKE that contradicts itself", errMalformed)
	}
	t.on("T-3.20")
	silent.wantClose("3 s without HANDSHAKE", 1008)
	silent.wantInTime()
	t.on("T-3.21")
	refused.wantClose("3 s without an accepted HANDSHAKE", 1008)
	refused.wantInTime()
	t.pause(1500*time.Millisecond - min(time.Since(silent.opened)-3*time.Second, 1500*time.Millisecond))
	greeted.alive("4 s with an accepted HANDSHAKE")
}

// wantInTime checks that the connection was closed after 3 s without HANDSHAKE, give or take what a busy machine
// takes.
func (c *conn) wantInTime() {
	const early, late = 2500 * time.Millisecond, 6 * time.Second
	if c.open() {
		return // which was found already
	}
	took := c.closedAt().Sub(c.opened)
	c.t.check(c, took >= early && took <= late, "a close 3 s after the upgrade", took.String())
}

func checkPipeline(t *T) {
	u := t.newUser()
	first := t.signIn(u)
	for i := range 3 {
		first.send(u, fmt.Sprint(i))
	}
	first.hang()
	body := fields{"user", u.name, "pass", u.pass, "dev", "pipelined"}
	for n := 0; !t.pipeline() || !t.firstDeliver(body); n++ {
		if n == patient {
			t.skip("the node was too busy for a pipeline")
		}
	}
}

// pipeline sends requests without waiting. It returns false when the node was too busy for
// one of them, and so said nothing about the rest.
func (t *T) pipeline() bool {
	u := &user{name: t.name(), pass: "correct horse"}
	body := fields{"user", u.name, "pass", u.pass, "dev", "pipelined"}
	t.on("T-3.22")
	c := t.dial()
	requests := []struct {
		code int
		body any
		want int
	}{
		{reqHandshake, nil, ok},
		{reqGetInfo, nil, ok},
		{reqListDevices, nil, errSignInRequired},
		{reqRegister, t.registration(u.name, u.pass), ok},
		{reqSignIn, body, ok},
		{reqListDevices, nil, ok},
		{reqSignIn, body, errSignedIn},
		{reqForward, t.forward(true, t.seal(message(u.name, randomBytes(16), nil), recipe{})), ok},
	}
	var ids []uint8
	for _, r := range requests {
		ids = append(ids, c.ask(r.code, r.body))
	}
	for i, r := range requests {
		p := c.response(ids[i])
		if p.code == errBusy {
			return false
		}
		if c.want(p, requestNames[r.code]+" sent without waiting", r.want) && r.code == reqRegister {
			t.users = append(t.users, u)
		}
	}
	return true
}

// firstDeliver sees that DELIVER comes after SIGN_IN's response. It returns false when the node was
// too busy.
func (t *T) firstDeliver(body fields) bool {
	t.on("T-3.23")
	c := t.dial()
	c.ask(reqHandshake, nil)
	id := c.ask(reqSignIn, body)
	for {
		p := c.find(func(*packet) bool { return true })
		switch {
		case p == nil:
			t.fatal(c, "SIGN_IN's response", c.state())
		case p.pakt == pktRequest:
			t.fatal(c, "SIGN_IN's response before any DELIVER", p.String())
		case p.pakt == pktResponse && p.id == id:
			if p.code == errBusy {
				return false
			}
			c.want(p, "SIGN_IN", ok)
			c.deliver()
			return true
		}
	}
}
