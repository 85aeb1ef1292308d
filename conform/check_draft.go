package conform

import "fmt"

func draftScenarios() []scenario {
	return []scenario{
		{name: "draft-handshake", clauses: []string{"T-9.1", "T-9.3", "T-9.5", "T-9.190"}, run: checkDraftHandshake},
		{name: "draft-packets", clauses: []string{"T-9.2", "T-9.6"}, run: checkDraftPackets},
		{name: "draft-fixed", clauses: []string{"T-9.4"}, run: checkDraftFixed},
	}
}

// dialAs opens a connection whose packets have a form, whatever the form of the run.
func (t *T) dialAs(drafts bool) *conn {
	c := t.dial()
	c.speak(drafts)
	return c
}

func checkDraftHandshake(t *T) {
	t.on("T-9.1")
	for _, ver := range []string{"1.0.0", "0.9.9-x", "1.999.0"} {
		c := t.dialAs(true)
		c.ver = ver
		p := c.wantOK(c.exchange(reqHandshake, nil))
		t.check(c, p.body.get("comp").is(true), "comp true for ver "+ver+" in body", "another, or none")
	}
	c := t.dialAs(true)
	c.ver = "2.0.0"
	p := c.exchange(reqHandshake, nil)
	t.check(c, p.body.get("comp").is(false), "comp false for ver 2.0.0 in body", p.String())
	c.wantClose("comp false", 1002)
	refused := t.dialAs(true)
	for _, body := range []fields{{"ver", "1.0"}, {"ver", 1}, {"ver", nil}, {"ver", "1.0.0", "more", 1}, {"ver", packAs(0xda, "1.0.0")}} {
		refused.try(reqHandshake, body, fmt.Sprintf("body % x in the drafts' form", []byte(body.pack())), errMalformed)
	}
	t.on("T-9.3")
	refused.speak(false)
	refused.want(refused.exchange(reqGetInfo, nil), "GET_INFO before a HANDSHAKE was taken", errHandshakeRequired)
	for _, code := range []int{reqGetInfo, reqRegister, 0x7f} {
		refused.tryBytes(code, fmt.Sprintf("request 0x%02x without ver before a HANDSHAKE was taken", code), func(id uint8) raw {
			return refused.request(id, code, nil).without("ver").pack()
		}, errMalformed)
	}
	for _, body := range []any{nil, fields{}, fields{"more", 1}} {
		refused.tryBytes(reqHandshake, "HANDSHAKE without any ver", func(id uint8) raw {
			return refused.request(id, reqHandshake, body).without("ver").pack()
		}, errMalformed)
	}
	refused.speak(true)
	refused.want(refused.exchange(reqHandshake, nil), "HANDSHAKE in the drafts' form after errors", ok)
	t.on("T-9.190")
	for _, drafts := range []bool{true, false} {
		c := t.dialAs(drafts)
		c.ver = "1.0"
		c.want(c.exchange(reqHandshake, nil), "HANDSHAKE with ver 1.0", errMalformed)
		c.ver = "1.0.0"
		c.speak(!drafts)
		c.want(c.exchange(reqHandshake, nil), "HANDSHAKE in the other form after one that was refused", ok)
		c.want(c.exchange(reqGetInfo, nil), "GET_INFO in the form of the HANDSHAKE that was taken", ok)
	}
	t.on("T-9.5")
	more := func(f fields) raw { return append(f, "more", 1).pack() }
	old := t.dialAs(true)
	old.wantOK(old.exchange(reqHandshake, nil))
	old.tryRoot("an unknown key after a HANDSHAKE of 1.0.0", more, errMalformed)
	old.try(reqRegister, fields{"user", "no@name", "pass", "long enough", "more", 1}, "an unknown key after a HANDSHAKE of 1.0.0", errMalformed)
	c = t.dialAs(true)
	c.ver = old.newer()
	c.wantOK(c.exchangeBytes(reqHandshake, func(id uint8) raw { return more(c.request(id, reqHandshake, nil)) }))
	c.tryRoot("an unknown key after a newer HANDSHAKE", more, ok)
	c.try(reqRegister, fields{"user", "no@name", "pass", "long enough", "more", 1}, "an unknown key after a newer HANDSHAKE",
		errNameInvalid, errInviteInvalid, errRegistrationClosed)
}

func checkDraftPackets(t *T) {
	t.clause = ""
	other := t.member()
	c := t.dialAs(true)
	t.on("T-9.2")
	c.wantOK(c.exchange(reqHandshake, nil))
	c.want(c.exchange(reqForward, t.forward(true, nil)), "FORWARD, without sign-in", errSignInRequired)
	t.on("T-9.6")
	u := t.registerOn(c)
	c.signIn(u)
	c.try(reqRegister, fields{"user", u.name, "pass", u.pass}, "a sign-in before it", errSignedIn)
	c.try(reqSetKey, fields{"key", nil}, "nil", ok)
	t.check(c, len(c.devices()) == 1, "one device", "another number")
	t.on("T-9.2")
	p := c.try(reqGetNodeKey, fields{"node", t.s.node}, "the code 0x20", ok)
	t.check(c, p.body.get("key").bytes() != nil, "the node's key as the answer to 0x20", p.String())
	c.try(reqGetNodeKey, t.forward(true, nil), "a FORWARD's body", errMalformed)
	c.wantAnswer("FORWARD with the code 0x21", c.sealed("by request", recipe{}), ok)
	c.sendBytes(c.root(fields{"id", 5, "pakt", pktEvent, "reqt", reqForward, "body", t.forward(false, c.sealed("by event", recipe{}))}).pack())
	c.sendBytes(fields{"id", 5, "pakt", pktEvent, "reqt", reqForward, "body", t.forward(false, c.sealed("by no event", recipe{}))}.pack())
	first := c.deliver()
	t.check(c, text(first) == "by request", "the message sent by a request", text(first))
	c.answer(first, errRejected)
	c.wantTexts("sent by an EVENT of code 0x21, and none of 0x20", "by event")
	c.nothingBefore("no message by an EVENT of code 0x20, nor one that was answered with a bare code")
	t.on("T-9.6")
	other.send(u, "from a client of the seed")
	c.wantTexts("of a client of the seed", "from a client of the seed")
	c.send(other.user, "from a client of the drafts")
	other.wantTexts("of a client of the drafts", "from a client of the drafts")
	t.on("T-9.2")
	c.send(u, "last")
	p = c.deliver()
	c.sendBytes(fields{"id", p.id, "pakt", pktResponse, "err", fields{"code", errRejected}}.pack())
	c.wantClose("an err of the seed's form in a RESPONSE", 1002)
}

func checkDraftFixed(t *T) {
	c := t.dialAs(false)
	t.on("T-9.4")
	c.wantOK(c.exchange(reqHandshake, nil))
	without := func(code int, body any) func(id uint8) raw {
		return func(id uint8) raw { return c.request(id, code, body).without("ver").pack() }
	}
	c.tryBytes(reqGetInfo, "GET_INFO without ver after a HANDSHAKE of the seed", without(reqGetInfo, nil), errMalformed)
	c.tryBytes(reqHandshake, "a HANDSHAKE of the drafts after one of the seed", without(reqHandshake, fields{"ver", "1.0.0"}), errMalformed)
	c.alive("a HANDSHAKE that came too late")
	d := t.dialAs(true)
	d.wantOK(d.exchange(reqHandshake, nil))
	d.want(d.exchange(reqHandshake, nil), "a second HANDSHAKE in the drafts' form", errHandshakeDone)
	for _, code := range []int{reqGetInfo, reqHandshake} {
		d.tryBytes(code, requestNames[code]+" with ver in its root after a HANDSHAKE of the drafts", func(id uint8) raw {
			return append(d.request(id, code, nil), "ver", d.ver).pack()
		}, errMalformed)
	}
	d.alive("a root of the other form")
}
